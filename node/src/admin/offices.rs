//! The register of offices, as an operator brings it: a piece at a time.
//!
//! Owns: the piece, and the answer. Not: what becomes of a line (`kluis_gateway::api::offices`).
//! Holds: (1) only a node with a gateway does this, for keys are made here and numbers hashed; (2) a line that was taken
//! in before changes nothing, so a piece may be sent again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use http::StatusCode;
use kluis_gateway::{
    api::offices::{self, OfficeLine},
    problem::Problem,
};
use serde::{Deserialize, Serialize};

use super::{Admin, AdminProblem};

/// Most lines of a piece.
pub const LINES_MAX: usize = 20;

/// A piece of the register.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterPiece {
    /// Its lines, in order.
    pub offices: Vec<OfficeLine>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Imported {
    /// Offices that are new.
    pub created: usize,
    /// Offices that were known.
    pub updated: usize,
}

pub(super) async fn import(
    State(admin): State<Arc<Admin>>,
    body: Result<Json<RegisterPiece>, JsonRejection>,
) -> Result<Json<Imported>, AdminProblem> {
    let Json(piece) = body?;
    if piece.offices.len() > LINES_MAX {
        return Err(AdminProblem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too_many_lines",
            format!("a piece has at most {LINES_MAX} lines"),
        ));
    }
    // 503, so that a client with several addresses goes on to the next node.
    let gateway = admin.gateway.get().ok_or_else(|| {
        AdminProblem::new(StatusCode::SERVICE_UNAVAILABLE, "no_gateway", "this node serves no gateway; ask one that does")
    })?;
    let mut imported = Imported::default();
    for line in &piece.offices {
        let is_new = offices::import(gateway, line).await.map_err(|problem| refused(&line.register_number, &problem))?;
        if is_new {
            imported.created += 1;
        } else {
            imported.updated += 1;
        }
    }
    Ok(Json(imported))
}

fn refused(number: &str, problem: &Problem) -> AdminProblem {
    AdminProblem::new(problem.code.status(), problem.code.as_str(), format!("office {number}: {}", problem.detail))
}
