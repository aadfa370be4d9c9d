//! Why a command stops half-way: it is refused, or the store failed. Lets `?` serve for both.

use crate::{
    outcome::{DocumentRefusal, NoticeRefusal, Outcome, PeopleRefusal, Refusal, SharingRefusal},
    policy::Denial,
    store::StoreError,
};

/// See the module.
pub(super) enum Stop {
    /// The command is refused; what it wrote so far is dropped by [`super::apply`].
    Refused(Refusal),
    /// The replica must stop.
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<SharingRefusal> for Stop {
    fn from(refusal: SharingRefusal) -> Self {
        Self::Refused(Refusal::Sharing(refusal))
    }
}

impl From<DocumentRefusal> for Stop {
    fn from(refusal: DocumentRefusal) -> Self {
        Self::Refused(Refusal::Document(refusal))
    }
}

impl From<NoticeRefusal> for Stop {
    fn from(refusal: NoticeRefusal) -> Self {
        Self::Refused(Refusal::Notice(refusal))
    }
}

impl From<PeopleRefusal> for Stop {
    fn from(refusal: PeopleRefusal) -> Self {
        Self::Refused(Refusal::People(refusal))
    }
}

/// A no of the policy to a command about a share or a link.
pub(super) fn denied(denial: Denial) -> Stop {
    SharingRefusal::Denied(denial).into()
}

/// What the state machine answers.
pub(super) fn settle(result: Result<Outcome, Stop>) -> Result<Outcome, StoreError> {
    match result {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
        Err(Stop::Store(error)) => Err(error),
    }
}
