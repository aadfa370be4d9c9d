//! `/v1/invitations`: two people become contacts when one invites and the other accepts.
//!
//! An invitation is answered by whoever shows its code: 100 random bits, read out, written down or sent by e-mail.
//!
//! Owns: the text form of codes, the check of addresses. Not: whether an invitation stands (decided in its command).
//! Holds: (1) a code is in one answer, once; metadata has its hash; (2) who answers is told whose invitation it is, by
//! the legal name, before they accept; (3) an invitation of somebody blocked reads as one that is over.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::{Command, NewContact, NewInvitation as NewRecord, PeopleCommand, Shown},
    model::{Addressee, CodeHash, ContactId, ContactKind, Invitation, InvitationId, InvitationState},
    outcome::{Outcome, PeopleOutcome},
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    acting::{bad_member, named},
    contacts::{self, NAME},
    documents::{id, rfc3339},
    json,
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// Purpose of a sealed address; its id is the invitation's.
const ADDRESS: &str = "invitation address";
/// Digits of a code: no letter that is taken for another one (Crockford's base 32).
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_DIGITS: usize = 20;
const EMAIL_BYTES_MAX: usize = 254;

/// An invitation to be made: with `code`, or to `email`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// What the other one is: `parent`, `child`, `family`, `business_agent`, `trusted_person`.
    pub kind: String,
    /// `true`: the code is passed on by hand.
    #[serde(default)]
    pub code: bool,
    /// The address that it is sent to.
    #[serde(default)]
    pub email: Option<String>,
}

/// A code that somebody got.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenCode {
    /// The code; blanks, hyphens and case do not matter.
    pub code: String,
}

/// An invitation that was made.
#[derive(Serialize, ToSchema)]
pub struct Invited {
    /// Opaque id.
    pub id: String,
    /// What the other one shows. Shown this once.
    pub code: String,
    /// When it lapses.
    pub expires_at: String,
}

/// An invitation of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationView {
    /// Opaque id.
    pub id: String,
    /// What the other one is.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// `open`, `accepted`, `declined`, `withdrawn`, `expired`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Where it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it lapses.
    pub expires_at: String,
}

/// The invitations of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationList {
    /// Oldest first; those that ended in the last 30 days are among them.
    pub invitations: Vec<InvitationView>,
}

/// What somebody who has a code is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationSeen {
    /// Opaque id.
    pub id: String,
    /// The legal name of who invites.
    pub from: String,
    /// What who invites will be to the caller.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// When it lapses.
    pub expires_at: String,
}

/// The code of 100 random bits, in groups of five digits.
fn code_text(random: u128) -> String {
    let mut text = String::with_capacity(CODE_DIGITS + 3);
    for place in 0..CODE_DIGITS {
        if place > 0 && place.is_multiple_of(5) {
            text.push('-');
        }
        let digit = usize::try_from((random >> (5 * place)) & 31).unwrap_or(0);
        text.push(DIGITS.get(digit).map_or('0', |digit| char::from(*digit)));
    }
    text
}

/// The hash of a code, however it was typed.
fn code_hash(text: &str) -> Result<CodeHash, Problem> {
    let wanted = || bad_member("/code", "20 letters and digits, as they were given out");
    let mut plain = Vec::with_capacity(CODE_DIGITS);
    for c in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
        let digit = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let digit = u8::try_from(digit).ok().filter(|digit| DIGITS.contains(digit)).ok_or_else(wanted)?;
        if plain.len() == CODE_DIGITS {
            return Err(wanted());
        }
        plain.push(digit);
    }
    if plain.len() != CODE_DIGITS {
        return Err(wanted());
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"kluis invitation code v1");
    context.update(&plain);
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    Ok(CodeHash(out))
}

/// An address in the one spelling that it is hashed in.
fn email(text: &str) -> Result<String, Problem> {
    let bad = || bad_member("/email", "an address of the form name@example.org, at most 254 bytes");
    let lower = text.to_lowercase();
    let (name, domain) = lower.rsplit_once('@').ok_or_else(bad)?;
    let plain = lower.chars().all(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>' | '"' | ',' | ';' | '\\'));
    let sound =
        plain && !name.is_empty() && !name.contains('@') && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.');
    if sound && lower.len() <= EMAIL_BYTES_MAX { Ok(lower) } else { Err(bad()) }
}

/// The kind of a contact by its key.
fn kind(text: &str) -> Result<ContactKind, Problem> {
    text.parse().map_err(|_| {
        let known: Vec<&str> = ContactKind::ALL.iter().map(|kind| kind.key()).collect();
        bad_member("/kind", &format!("one of: {}", known.join(", ")))
    })
}

/// Invites somebody to become a contact.
#[utoipa::path(
    post, path = "/v1/invitations", tag = "contacts", security(("bearer" = [])),
    request_body(content = NewInvitation, content_type = "application/json"),
    responses(
        (status = 201, body = Invited),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let new: NewInvitation = json::body(&gateway, &headers, body).await?;
    let kind = kind(&new.kind)?;
    let address = new.email.as_deref().map(email).transpose()?;
    if new.code == address.is_some() {
        return Err(bad_member("/code", "either \"code\": true, or an \"email\""));
    }
    let id = InvitationId::new(gateway.clock.now_ms(), gateway.random());
    let to = match address {
        None => None,
        Some(address) => {
            let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
            let hash = gateway.lookup.hash(&[b"kluis e-mail v1", address.as_bytes()].concat());
            Some(Addressee { hash, address: vault.seal_words(ADDRESS, id.0, &address)? })
        }
    };
    let code = code_text(gateway.random());
    let new = NewRecord { id, kind, code: code_hash(&code)?, to };
    let made = changed(&gateway, PeopleCommand::Invite { on: caller.in_person().behalf(), new }).await?;
    let made = Invited { id: made.id.to_string(), code, expires_at: rfc3339(made.expires_ms) };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// The caller's own invitations.
#[utoipa::path(
    get, path = "/v1/invitations", tag = "contacts", security(("bearer" = [])),
    responses(
        (status = 200, body = InvitationList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Json<InvitationList>, Problem> {
    let (read, now_ms) = (gateway.metadata.view(), gateway.clock.now_ms());
    let found = view::people::invitations(&*read, caller.vault)?;
    let vault = OpenVault::open(&gateway, read, caller.vault).await?;
    let shown = |invitation: &Invitation| {
        let email = invitation.to.as_ref().map(|to| vault.open_words(ADDRESS, invitation.id.0, &to.address)).transpose()?;
        Ok::<_, Problem>(InvitationView {
            id: invitation.id.to_string(),
            kind: invitation.kind.key(),
            state: invitation.state_at(now_ms).key(),
            email,
            created_at: rfc3339(invitation.created_ms),
            expires_at: rfc3339(invitation.expires_ms),
        })
    };
    Ok(Json(InvitationList { invitations: found.iter().map(shown).collect::<Result<_, _>>()? }))
}

/// Takes an invitation back.
#[utoipa::path(
    delete, path = "/v1/invitations/{id}", tag = "contacts", security(("bearer" = [])),
    params(("id" = String, Path, description = "The invitation's id.")),
    responses(
        (status = 204, description = "Nobody can accept it any more."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn withdraw(State(gateway): State<Arc<Gateway>>, caller: Caller, Path(invitation): Path<String>) -> Result<StatusCode, Problem> {
    changed(&gateway, PeopleCommand::Withdraw { on: caller.in_person().behalf(), invitation: id(&invitation)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who invites, for whoever has the code.
#[utoipa::path(
    post, path = "/v1/invitations/look", tag = "contacts", security(("bearer" = [])),
    request_body(content = GivenCode, content_type = "application/json"),
    responses(
        (status = 200, body = InvitationSeen),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn look(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<InvitationSeen>, Problem> {
    let (invitation, _) = shown(&gateway, &caller, None, &headers, body).await?;
    let (_, from) = named(&gateway, gateway.metadata.view(), invitation.from).await?;
    let kind = invitation.kind.mirrored().key();
    Ok(Json(InvitationSeen { id: invitation.id.to_string(), from, kind, expires_at: rfc3339(invitation.expires_ms) }))
}

/// The open invitation that the body has the code of. The command decides once more.
async fn shown(
    gateway: &Gateway,
    caller: &Caller,
    id: Option<InvitationId>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Invitation, Shown), Problem> {
    let GivenCode { code } = json::body(gateway, headers, body).await?;
    let shown = Shown { code: code_hash(&code)?, id };
    let read = gateway.metadata.view();
    let found = view::people::invitation_of(&*read, &shown.code)?.filter(|found| id.is_none_or(|id| id == found.id));
    let found = found.ok_or_else(|| Problem::plain(Code::NotFound))?;
    if found.from == caller.vault {
        return Err(Problem::plain(Code::SelfInvite));
    }
    let open = found.state_at(gateway.clock.now_ms()) == InvitationState::Open;
    if !open || view::people::is_blocked(&*read, found.from, caller.vault)? {
        return Err(Problem::plain(Code::Expired));
    }
    Ok((found, shown))
}

/// Accepts the invitation of a code.
#[utoipa::path(
    post, path = "/v1/invitations/accept", tag = "contacts", security(("bearer" = [])),
    request_body(content = GivenCode, content_type = "application/json"),
    responses(
        (status = 201, body = contacts::ContactView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn accept(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    accept_any(&gateway, &caller, None, &headers, body).await
}

/// Accepts an invitation that came by e-mail.
#[utoipa::path(
    post, path = "/v1/invitations/{id}/accept", tag = "contacts", security(("bearer" = [])),
    params(("id" = String, Path, description = "The invitation's id.")),
    request_body(content = GivenCode, content_type = "application/json"),
    responses(
        (status = 201, body = contacts::ContactView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn accept_one(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(invitation): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    accept_any(&gateway, &caller, Some(id(&invitation)?), &headers, body).await
}

async fn accept_any(
    gateway: &Gateway,
    caller: &Caller,
    id: Option<InvitationId>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (invitation, shown) = shown(gateway, caller, id, headers, body).await?;
    let acting = caller.in_person();
    let (own, own_name) = named(gateway, gateway.metadata.view(), caller.vault).await?;
    let (other, their_name) = named(gateway, gateway.metadata.view(), invitation.from).await?;
    let id = ContactId::new(gateway.clock.now_ms(), gateway.random());
    let contact = NewContact {
        id,
        their_name: own.seal_words(NAME, id.0, &their_name)?,
        own_name: other.seal_words(NAME, id.0, &own_name)?,
        trail: acting.trail(gateway, caller, &own)?,
        their_trail: acting.trail_elsewhere(gateway, caller, &other)?,
    };
    let command = PeopleCommand::Accept { on: acting.behalf(), shown, contact: Box::new(contact) };
    contacts::begun(gateway, &own, command).await
}

/// Declines the invitation of a code.
#[utoipa::path(
    post, path = "/v1/invitations/decline", tag = "contacts", security(("bearer" = [])),
    request_body(content = GivenCode, content_type = "application/json"),
    responses(
        (status = 204, description = "Declined."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn decline(State(gateway): State<Arc<Gateway>>, caller: Caller, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    decline_any(&gateway, &caller, None, &headers, body).await
}

/// Declines an invitation that came by e-mail.
#[utoipa::path(
    post, path = "/v1/invitations/{id}/decline", tag = "contacts", security(("bearer" = [])),
    params(("id" = String, Path, description = "The invitation's id.")),
    request_body(content = GivenCode, content_type = "application/json"),
    responses(
        (status = 204, description = "Declined."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn decline_one(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(invitation): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    decline_any(&gateway, &caller, Some(id(&invitation)?), &headers, body).await
}

async fn decline_any(
    gateway: &Gateway,
    caller: &Caller,
    id: Option<InvitationId>,
    headers: &HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let (_, shown) = shown(gateway, caller, id, headers, body).await?;
    let command = PeopleCommand::Decline { on: caller.in_person().behalf(), shown };
    gateway.propose(Command::People(Box::new(command))).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn changed(gateway: &Gateway, command: PeopleCommand) -> Result<Invitation, Problem> {
    match gateway.propose(Command::People(Box::new(command))).await? {
        Outcome::People(PeopleOutcome::Invitation(invitation)) => Ok(*invitation),
        other => Err(Problem::internal(format!("unexpected answer about an invitation: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = code_text(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!((code.len(), code.matches('-').count()), (23, 3));
        let hash = code_hash(&code).unwrap();
        for typed in [code.to_lowercase(), code.replace('-', " "), code.replace('-', ""), code.replace('0', "o").replace('1', "l")] {
            assert_eq!(code_hash(&typed).unwrap(), hash, "{typed}");
        }
        assert_ne!(code_hash(&code_text(1)).unwrap(), code_hash(&code_text(2)).unwrap());
        for bad in ["", "U", &code[1..], &format!("{code}0"), &code.replace('-', "_"), "ÄBCDE-FGHJK-MNPQR-STVWX"] {
            assert_eq!(code_hash(bad).unwrap_err().errors[0].pointer, "/code", "{bad}");
        }
    }

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(email("Anna@Example.ORG").unwrap(), "anna@example.org");
        for bad in
            ["", "anna", "@example.org", "anna@", "anna@localhost", "a b@example.org", "a@b@example.org", "a@example.org\r\nBcc: x@y.z"]
        {
            assert!(email(bad).is_err(), "{bad}");
        }
    }
}
