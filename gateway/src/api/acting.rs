//! In whose vault a person acts: the own one, or that of an office (`Kluis-Office`).
//!
//! Owns: [`Acting`]. Not: who asks ([`super::caller`]); commands check office and role once more where they take effect.
//! Holds: somebody who is no staff, one who was suspended, the staff of an office that ended, and an office that does not
//! exist are one answer.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use kluis_raft::{
    command::Behalf,
    model::{Account, AccountId, Actor, OfficeId, Trail, VaultId},
    policy::OfficeRole,
    store::Read,
    view::{self, people::Subject},
};

use super::{
    Caller, Gateway,
    documents::field,
    me::Profile,
    trail::{self, Details},
    vault::OpenVault,
};
use crate::problem::{Code, Problem};

static OFFICE: HeaderName = HeaderName::from_static("kluis-office");

/// A person in the vault that the request is about.
#[derive(Debug, Clone)]
pub struct Acting {
    /// The vault.
    pub vault: VaultId,
    /// What the person may do there; `None` in the own vault, where it is everything.
    pub role: Option<OfficeRole>,
    /// The office that the vault is of.
    pub office: Option<OfficeId>,
    /// The person.
    pub by: AccountId,
}

impl Caller {
    /// The caller as staff of an office.
    ///
    /// # Errors
    /// 403 `role` when the caller is none, for a service too.
    pub fn acting(&self, gateway: &Gateway, office: OfficeId) -> Result<Acting, Problem> {
        self.session()?;
        let read = gateway.metadata.view();
        let refused = || Problem::plain(Code::Role);
        let account = view::account(&*read, self.account)?.ok_or_else(refused)?;
        let office = view::office::office(&*read, office)?.ok_or_else(refused)?;
        let role = view::office::role(&*read, &office, &account.lookup)?.ok_or_else(refused)?;
        Ok(Acting { vault: office.vault, role: Some(role), office: Some(office.id), by: account.id })
    }

    /// The caller in the own vault.
    pub fn in_person(&self) -> Acting {
        Acting { vault: self.vault, role: None, office: None, by: self.account }
    }

    /// The caller in the vault that the head of the request names: an office's, or the own one.
    ///
    /// # Errors
    /// 400 for a header that is no id, 403 `role`.
    pub fn acting_by(&self, gateway: &Gateway, headers: &HeaderMap) -> Result<Acting, Problem> {
        match field(headers, &OFFICE)? {
            None => Ok(self.in_person()),
            Some(text) => {
                let office = text.parse().map_err(|_| Problem::new(Code::BadHeader, "kluis-office: the id of an office is wanted"))?;
                self.acting(gateway, office)
            }
        }
    }

    /// The caller as staff of the office that the head of the request names.
    ///
    /// # Errors
    /// 400 when it names none, 403 `role`.
    pub fn acting_for_office(&self, gateway: &Gateway, headers: &HeaderMap) -> Result<Acting, Problem> {
        let acting = self.acting_by(gateway, headers)?;
        match acting.office {
            Some(_) => Ok(acting),
            None => Err(Problem::new(Code::BadHeader, "kluis-office: say for which office you act")),
        }
    }
}

impl Acting {
    /// What a command says of who acts.
    pub fn behalf(&self) -> Behalf {
        Behalf { vault: self.vault, office: self.office, by: self.by }
    }

    /// Refuses staff below a role.
    ///
    /// # Errors
    /// 403 `role`.
    pub fn require(&self, least: OfficeRole) -> Result<(), Problem> {
        if self.role.is_none_or(|role| role >= least) { Ok(()) } else { Err(Problem::plain(Code::Role)) }
    }

    /// The vault with its key.
    ///
    /// # Errors
    /// 404, 503.
    pub async fn open(&self, gateway: &Gateway) -> Result<OpenVault, Problem> {
        OpenVault::open(gateway, gateway.metadata.view(), self.vault).await
    }

    fn actor(&self, caller: &Caller) -> Actor {
        if self.office.is_some() { Actor::Office { office: self.vault, staff: self.by } } else { caller.actor() }
    }

    /// What an act brings for the history of the vault that it is done in.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn trail(&self, gateway: &Gateway, caller: &Caller, vault: &OpenVault) -> Result<Trail, Problem> {
        trail::trail(&*gateway.entropy, vault.key(), self.actor(caller), &Details::new(caller.address, None))
    }

    /// What an act brings for the history of another vault: not from where.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn trail_elsewhere(&self, gateway: &Gateway, caller: &Caller, other: &OpenVault) -> Result<Trail, Problem> {
        trail::trail(&*gateway.entropy, other.key(), self.actor(caller), &Details::default())
    }
}

/// A vault with its key, and the legal name of whose it is.
///
/// # Errors
/// 404 when there is none, 503 when its key is out of reach.
pub async fn named(gateway: &Gateway, read: Arc<dyn Read>, vault: VaultId) -> Result<(OpenVault, String), Problem> {
    let subject = view::people::subject(&*read, vault)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let open = OpenVault::open(gateway, read, vault).await?;
    let name = match subject {
        Subject::Person(account) => legal_name(&open, &account)?,
        Subject::Office(office) => office.name,
    };
    Ok((open, name))
}

fn legal_name(vault: &OpenVault, account: &Account) -> Result<String, Problem> {
    let plain = vault.open_profile(&account.profile)?;
    let profile: Profile = serde_json::from_slice(&plain).map_err(|_| Problem::internal("an account's profile is damaged"))?;
    Ok(profile.name.clone())
}

/// A role in an office by its name.
///
/// # Errors
/// 400.
pub fn role(text: &str) -> Result<OfficeRole, Problem> {
    [OfficeRole::Reader, OfficeRole::Clerk, OfficeRole::Notary]
        .into_iter()
        .find(|role| role_name(*role) == text)
        .ok_or_else(|| bad_member("/role", "one of: reader, clerk, notary"))
}

/// The name of a role in an office.
pub fn role_name(role: OfficeRole) -> &'static str {
    match role {
        OfficeRole::Reader => "reader",
        OfficeRole::Clerk => "clerk",
        OfficeRole::Notary => "notary",
    }
}

/// A member of a JSON body that cannot be used.
pub fn bad_member(pointer: &str, why: &str) -> Problem {
    Problem::new(Code::BadJson, "the body is not the JSON that is wanted").with_error(pointer, why)
}

/// A text that a person wrote: bounded, and no control characters but line ends where there may be several lines.
///
/// # Errors
/// 400.
pub fn text(pointer: &str, text: &str, bytes_max: usize, lines: bool) -> Result<(), Problem> {
    let sound = |c: char| !c.is_control() || (lines && matches!(c, '\n' | '\t'));
    if (1..=bytes_max).contains(&text.len()) && text.chars().all(sound) {
        return Ok(());
    }
    Err(bad_member(pointer, &format!("1 to {bytes_max} bytes of UTF-8, without control characters")))
}
