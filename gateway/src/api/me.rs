//! `/v1/me`: what we know of the person who asks.
//!
//! Owns: the sealed profile's layout ([`Profile`]) and how it is shown. Holds: the national number, though it is
//! in the profile, is never shown: who asks knows it, and whoever took a token over need not learn it.

use std::sync::Arc;

use axum::{Json, extract::State};
use kluis_raft::{model::Role, view};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    Caller, Gateway, address,
    documents::rfc3339,
    sessions::{SessionView, shown},
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// What is sealed as the profile of an account: JSON, so that members can be added.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Profile {
    /// Full name.
    pub name: String,
    /// First names.
    pub given_name: String,
    /// Last name.
    pub family_name: String,
    /// Birth date, as the identity provider wrote it.
    pub birthdate: String,
    /// Eleven digits.
    pub national_number: String,
}

/// Personal: never in logs.
impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Profile(..)")
    }
}

/// How full a vault is, in bytes of plaintext.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quota {
    /// Bytes of stored versions.
    pub used_bytes: u64,
    /// Bytes that running uploads hold.
    pub reserved_bytes: u64,
    /// Most bytes.
    pub limit_bytes: u64,
}

/// The person who asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// Opaque id.
    pub id: String,
    /// Opaque id of the vault, for talks with operators.
    pub vault_id: String,
    /// Full name.
    pub name: String,
    /// First names.
    pub given_name: String,
    /// Last name.
    pub family_name: String,
    /// Birth date.
    pub birthdate: String,
    /// `citizen`, `notary`.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<&'static str>,
    /// How full the vault is.
    pub quota: Quota,
    /// Documents in it.
    pub documents: u64,
    /// First sign-in.
    pub created_at: String,
    /// Mail address and language.
    pub contact: address::OwnContact,
    /// This session.
    pub session: SessionView,
}

/// The name of a role.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Citizen => "citizen",
        Role::Notary => "notary",
    }
}

/// The person who asks, with the vault's quota.
#[utoipa::path(
    get, path = "/v1/me", tag = "me", security(("bearer" = [])),
    responses(
        (status = 200, body = Me),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Json<Me>, Problem> {
    let read = gateway.metadata.view();
    let account = view::account(&*read, caller.account)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let own = view::notice::notice_box(&*read, account.vault)?;
    let vault = OpenVault::open(&gateway, read, account.vault).await?;
    let plain = vault.open_profile(&account.profile)?;
    let profile: Profile = serde_json::from_slice(&plain).map_err(|_| Problem::internal("an account's profile is damaged"))?;
    Ok(Json(Me {
        id: account.id.to_string(),
        vault_id: account.vault.to_string(),
        name: profile.name.clone(),
        given_name: profile.given_name.clone(),
        family_name: profile.family_name.clone(),
        birthdate: profile.birthdate.clone(),
        roles: account.roles.iter().map(|r| role_name(*r)).collect(),
        quota: Quota {
            used_bytes: vault.record.used_bytes,
            reserved_bytes: vault.record.reserved_bytes,
            limit_bytes: vault.record.quota_bytes,
        },
        documents: vault.record.documents,
        created_at: rfc3339(account.created_ms),
        contact: address::contact(&vault, &own)?,
        session: shown(caller.session()?, caller.session()?, &vault)?,
    }))
}
