//! By what right somebody acts on a document, and whether it still holds.
//!
//! Owns: the facts that the policy is asked with, of callers and of running downloads. Not: the policy
//! ([`kluis_raft::policy`]), nor what a command decides again.
//! Holds: (1) a service does at most what its scopes say, beside the table of routes; (2) [`Right::holds`] asks the
//! state anew, so whatever ended (session, service, share, link, document) stops a download at its next chunk.

use kluis_raft::{
    model::{Document, DocumentId, LinkHash, Scan, Scope, ShareId, TimeMs},
    policy::{Action, Agent, Case, Phase, Scopes, decide},
    store::Read,
    view,
};

use super::{Caller, Gateway, caller::Credential};
use crate::problem::{Code, Problem};

/// The time that ends of shares and links are judged by: the later of the own clock and the cluster's.
///
/// # Errors
/// 503 before the cluster was initialised.
pub fn now(gateway: &Gateway, read: &dyn Read) -> Result<TimeMs, Problem> {
    Ok(gateway.clock.now_ms().max(gateway.cluster(read)?.clock_ms))
}

/// Through whom the caller's vault acts.
pub fn agent(caller: &Caller) -> Agent {
    match &caller.credential {
        Credential::Session(_) => Agent::Person,
        Credential::Service { service, .. } => {
            let has = |scope| service.scopes.contains(&scope);
            Agent::Service(Scopes {
                // Whose documents it reads, the table of routes tells apart.
                read: has(Scope::DocumentsRead) || has(Scope::SharesRead),
                write: has(Scope::DocumentsWrite),
                share: has(Scope::SharesWrite),
            })
        }
    }
}

/// Whether the caller may do this with an own document, of which a version with this scan is asked for.
///
/// # Errors
/// 403, 409, 410: the policy's no.
pub fn own(caller: &Caller, document: &Document, scan: &Scan, action: Action) -> Result<(), Problem> {
    let case = Case { agent: agent(caller), ..Case::owner(Phase::of(document.state, scan)) };
    decide(case, action).map_err(|denial| Problem::denied(denial, Code::DocumentGone))
}

/// By what right bytes leave.
pub enum Right {
    /// They are the caller's own.
    Owner {
        /// Who reads.
        caller: Caller,
        /// The document.
        document: DocumentId,
    },
    /// They are shared with the caller.
    Recipient {
        /// Who reads.
        caller: Caller,
        /// The share.
        share: ShareId,
    },
    /// The caller opened a link.
    Link {
        /// Which.
        hash: LinkHash,
        /// The opening.
        opened_ms: TimeMs,
    },
}

impl Right {
    /// Looks it up once more.
    ///
    /// # Errors
    /// 401, 404, 410: what ended; 409 while the document is not to be read.
    pub fn holds(&self, read: &dyn Read, now_ms: TimeMs) -> Result<(), Problem> {
        match self {
            Self::Owner { caller, document } => {
                caller.again(read, now_ms)?;
                let found = view::document(read, caller.vault, *document)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
                own(caller, &found, &found.current.scan, Action::Read)
            }
            Self::Recipient { caller, share } => {
                caller.again(read, now_ms)?;
                let found = view::sharing::share_for_reading(read, caller.vault, *share, now_ms)?;
                let content = found.and_then(|found| found.content);
                content.map(|_| ()).map_err(|denial| Problem::denied(denial, Code::ShareRevoked))
            }
            Self::Link { hash, opened_ms } => {
                let found = view::sharing::link_for_reading(read, hash, *opened_ms, now_ms)?;
                found.map(|_| ()).map_err(|denial| Problem::denied(denial, Code::Expired))
            }
        }
    }
}
