//! Invitations: made, withdrawn, accepted, declined, lapsed, forgotten.
//!
//! Holds: (1) an invitation is answered once; (2) its code finds it until it is forgotten, so that who comes late is
//! told that it is over, and who guesses that there is nothing; (3) a block reads as an invitation that is over, for
//! both sides.

use super::{contacts, in_person, must_live};
use crate::{
    apply::{due, stop::Stop},
    codec,
    command::{Behalf, NewContact, NewInvitation, Shown},
    keys,
    model::{ContactKind, Invitation, InvitationId, InvitationRef, InvitationState, TimeMs, VerifiedName},
    outcome::{Outcome, PeopleOutcome, PeopleRefusal},
    store::{Read, StoreError, Transaction},
    view,
};

fn told(invitation: Invitation) -> Outcome {
    Outcome::People(PeopleOutcome::Invitation(Box::new(invitation)))
}

pub(super) fn invite(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, new: &NewInvitation) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    must_live(tx, on.vault)?;
    if new.kind == ContactKind::NotaryOffice {
        return Err(PeopleRefusal::OfficeInvited.into());
    }
    if new.to.as_ref().is_some_and(|to| to.address.0.len() > VerifiedName::SEALED_MAX) {
        return Err(PeopleRefusal::Limit.into());
    }
    if tx.get(&keys::invitation(on.vault, new.id))?.is_some() || tx.get(&keys::invitation_by_code(&new.code))?.is_some() {
        return Err(PeopleRefusal::IdTaken.into());
    }
    if let Some(to) = &new.to
        && let Some(InvitationRef { invitation, .. }) = codec::load(tx, &keys::invitation_to(on.vault, &to.hash))?
        && let Some(open) = view::people::invitation(tx, on.vault, invitation)?
    {
        if open.state_at(now) == InvitationState::Open {
            return Err(PeopleRefusal::AlreadyInvited.into());
        }
        // Its time is over, and due work comes later.
        finish(tx, now, open, InvitationState::Expired)?;
    }
    let known = view::people::invitations(tx, on.vault)?;
    let open = known.iter().filter(|invitation| invitation.state_at(now) == InvitationState::Open).count();
    if open >= Invitation::OPEN_MAX || known.len() >= Invitation::KEPT_MAX {
        return Err(PeopleRefusal::TooManyInvitations.into());
    }
    let invitation = Invitation {
        id: new.id,
        from: on.vault,
        kind: new.kind,
        code: new.code,
        to: new.to.clone(),
        state: InvitationState::Open,
        created_ms: now,
        expires_ms: now.saturating_add(Invitation::LIFETIME_MS),
        ended_ms: None,
    };
    let at = InvitationRef { vault: on.vault, invitation: new.id };
    let key = keys::invitation(on.vault, new.id);
    tx.store(key.clone(), &invitation)?;
    tx.store(keys::invitation_by_code(&new.code), &at)?;
    if let Some(to) = &new.to {
        tx.store(keys::invitation_to(on.vault, &to.hash), &at)?;
    }
    due::schedule(tx, invitation.expires_ms, &key);
    Ok(told(invitation))
}

/// Ends an open invitation.
pub(super) fn finish(
    tx: &mut Transaction<'_>,
    now: TimeMs,
    mut invitation: Invitation,
    state: InvitationState,
) -> Result<Invitation, StoreError> {
    invitation.state = state;
    invitation.ended_ms = Some(now);
    if let Some(to) = &invitation.to {
        tx.delete(keys::invitation_to(invitation.from, &to.hash));
    }
    let key = keys::invitation(invitation.from, invitation.id);
    tx.store(key.clone(), &invitation)?;
    due::schedule(tx, now.saturating_add(Invitation::KEPT_MS), &key);
    Ok(invitation)
}

pub(super) fn withdraw(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, id: InvitationId) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    let invitation = view::people::invitation(tx, on.vault, id)?.ok_or(PeopleRefusal::NotFound)?;
    if invitation.state_at(now) != InvitationState::Open {
        return Err(PeopleRefusal::InvitationExpired.into());
    }
    Ok(told(finish(tx, now, invitation, InvitationState::Withdrawn)?))
}

/// The open invitation that somebody shows the code of.
fn shown_to(read: &dyn Read, now: TimeMs, on: &Behalf, shown: &Shown) -> Result<Invitation, Stop> {
    let invitation = view::people::invitation_of(read, &shown.code)?.ok_or(PeopleRefusal::NotFound)?;
    if shown.id.is_some_and(|id| id != invitation.id) {
        return Err(PeopleRefusal::NotFound.into());
    }
    if invitation.from == on.vault {
        return Err(PeopleRefusal::SelfInvite.into());
    }
    let over = invitation.state_at(now) != InvitationState::Open
        || view::people::is_blocked(read, invitation.from, on.vault)?
        || view::sharing::is_dead(read, invitation.from)?;
    if over { Err(PeopleRefusal::InvitationExpired.into()) } else { Ok(invitation) }
}

pub(super) fn accept(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, shown: &Shown, new: &NewContact) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    must_live(tx, on.vault)?;
    let invitation = shown_to(tx, now, on, shown)?;
    let contact = contacts::begin(tx, now, (on.vault, invitation.from), invitation.kind.mirrored(), new)?;
    finish(tx, now, invitation, InvitationState::Accepted)?;
    Ok(Outcome::People(PeopleOutcome::Contact(Box::new(contact))))
}

pub(super) fn decline(tx: &mut Transaction<'_>, now: TimeMs, on: &Behalf, shown: &Shown) -> Result<Outcome, Stop> {
    in_person(tx, on)?;
    let invitation = shown_to(tx, now, on, shown)?;
    finish(tx, now, invitation, InvitationState::Declined)?;
    Ok(Outcome::Done)
}

/// An invitation's time has come: it lapses, or is forgotten.
pub(in crate::apply) fn due(tx: &mut Transaction<'_>, now: TimeMs, key: &[u8]) -> Result<(), StoreError> {
    let Some(invitation) = codec::load::<Invitation>(tx, key)? else { return Ok(()) };
    match invitation.ended_ms {
        Some(ended_ms) => {
            if ended_ms.saturating_add(Invitation::KEPT_MS) <= now {
                tx.delete(keys::invitation_by_code(&invitation.code));
                tx.delete(key.to_vec());
            }
        }
        None => {
            if invitation.expires_ms <= now {
                finish(tx, now, invitation, InvitationState::Expired)?;
            }
        }
    }
    Ok(())
}
