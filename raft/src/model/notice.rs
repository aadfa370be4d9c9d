//! Notices: what the owner of a vault is told, by which ways, and how far the telling came.
//!
//! Owns: the closed list of kinds, settings, webhooks and deliveries. Not: what a notice says in words, nor how it is
//! sent (the gateway's `notify`).
//! Holds: (1) names of kinds are part of answers and webhooks and never change; (2) what is sent out follows from a
//! [`Content`], which has room for neither a name nor a national number; (3) a mail address, a webhook's address and
//! its secret are only ever [`Sealed`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DocumentId, Sealed, TimeMs, VaultId, ulid_id};

ulid_id!(
    /// A notice.
    NoticeId
);
ulid_id!(
    /// A webhook of a vault.
    WebhookId
);
ulid_id!(
    /// One notice on its way to one receiver. Receivers are shown it, so that they take what comes twice once.
    DeliveryId
);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, mail $mail:literal;)+) => {
        /// Everything that somebody is told.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum NoticeKind {
            $($(#[$doc])* $name,)+
        }

        impl NoticeKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in answers and webhooks.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The kind of a name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }

            /// The ways that it takes where nobody chose. By mail goes what asks for an act, or warns. A webhook was
            /// made by its owner, and gets everything.
            pub fn default_channels(self) -> Channels {
                let mail = match self { $(Self::$name => $mail,)+ };
                Channels { mail, webhook: true }
            }
        }
    };
}

kinds! {
    /// Somebody invites the person to become contacts.
    InvitationReceived = "invitation.received", mail true;
    /// An invitation was accepted.
    InvitationAccepted = "invitation.accepted", mail false;
    /// An invitation was refused.
    InvitationRefused = "invitation.refused", mail false;
    /// An invitation was not answered in time.
    InvitationExpired = "invitation.expired", mail false;
    /// A document was shared with the person.
    ShareOffered = "share.offered", mail true;
    /// A share was accepted.
    ShareAccepted = "share.accepted", mail false;
    /// A share was refused by whom it was offered to.
    ShareRefused = "share.refused", mail false;
    /// A share was taken back.
    ShareRevoked = "share.revoked", mail false;
    /// A shared document was opened.
    ShareOpened = "share.opened", mail false;
    /// A shared document was copied.
    ShareCopied = "share.copied", mail false;
    /// A document that is shared with the person has a new version.
    ShareNewVersion = "share.new_version", mail false;
    /// A share that waited for a death is open.
    ShareAfterDeath = "share.after_death", mail true;
    /// Somebody asks for access because the person cannot act.
    AccessRequested = "access.requested", mail true;
    /// Malware was found in a document: it was refused, or put in quarantine.
    MalwareRefused = "malware.refused", mail true;
    /// A document was erased for good.
    ErasureDone = "erasure.done", mail false;
    /// A deed arrived.
    DeedArrived = "deed.arrived", mail true;
    /// An office wrote.
    OfficeMessage = "office.message", mail true;
    /// Items that an office asked for arrived.
    RequestArrived = "request.arrived", mail false;
    /// A certification came a step further.
    CertificationStep = "certification.step", mail true;
    /// The operator's signature under a certification failed.
    CountersignFailed = "certification.countersign_failed", mail true;
    /// The vault is four fifths full.
    Quota80 = "quota.80", mail false;
    /// The vault is nearly full.
    Quota95 = "quota.95", mail true;
    /// The vault is full.
    Quota100 = "quota.100", mail true;
    /// The person's death was reported.
    DeathReported = "death.reported", mail true;
    /// Somebody looked the person up by national number.
    LookedUp = "identity.looked_up", mail true;
    /// The succession plan was changed.
    PlanChanged = "plan.changed", mail true;
    /// Somebody signed in with a device that was never seen before.
    NewDevice = "session.new_device", mail true;
    /// The privacy policy was changed.
    PolicyChanged = "policy.changed", mail true;
    /// The person is asked to take part in an estate.
    EstateInvited = "estate.invited", mail true;
    /// An estate was released.
    EstateReleased = "estate.released", mail true;
    /// The time to take what an estate left comes to its end.
    EstateDeadline = "estate.deadline", mail true;
    /// What an estate left was erased.
    EstateErased = "estate.erased", mail true;
    /// An heir was found late.
    EstateLateHeir = "estate.late_heir", mail true;
    /// A death was reported wrongly, and what followed was taken back.
    EstateReversed = "estate.reversed", mail true;
    /// A vault must be transferred by the office.
    TransferDue = "transfer.due", mail true;
    /// Another office claims the same vault.
    ClaimConflict = "transfer.claim_conflict", mail true;
}

/// The ways that a kind of notice takes besides the list in the vault, where every notice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// By mail, once there is a verified address.
    pub mail: bool,
    /// To the vault's webhooks.
    pub webhook: bool,
}

/// Languages of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Lang {
    /// Dutch.
    #[default]
    Nl,
    /// French.
    Fr,
    /// German.
    De,
    /// English.
    En,
}

impl Lang {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nl, Self::Fr, Self::De, Self::En];

    /// Its two letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nl => "nl",
            Self::Fr => "fr",
            Self::De => "de",
            Self::En => "en",
        }
    }

    /// The language of two letters.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.as_str() == text)
    }
}

/// What else a notice says, for its owner's eyes in the vault: never sent anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeDetails {
    /// What the text is bound to; the kind says what that is.
    pub place: u128,
    /// Sealed under the vault's key.
    pub text: Sealed,
}

impl NoticeDetails {
    /// Most bytes of the sealed text.
    pub const BYTES_MAX: usize = 2048;
}

/// A notice as whoever causes it gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNotice {
    /// Who is told: the owner of this vault.
    pub vault: VaultId,
    /// What happened.
    pub kind: NoticeKind,
    /// To which document of the vault.
    pub document: Option<DocumentId>,
    /// What else there is to say.
    pub details: Option<NoticeDetails>,
}

/// A notice in a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its id: later ones are greater.
    pub id: NoticeId,
    /// In whose vault.
    pub vault: VaultId,
    /// What happened.
    pub kind: NoticeKind,
    /// To which document.
    pub document: Option<DocumentId>,
    /// What else there is to say.
    pub details: Option<NoticeDetails>,
    /// When.
    pub created_ms: TimeMs,
    /// When its owner read it.
    pub read_ms: Option<TimeMs>,
}

impl Notice {
    /// Most notices of a vault: one more pushes the oldest out.
    pub const PER_VAULT_MAX: u32 = 500;
    /// How long a notice is kept.
    pub const KEPT_MS: u64 = 90 * 24 * 3600 * 1000;
}

/// A mail address that is to be verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingAddress {
    /// The address, sealed.
    pub address: Sealed,
    /// The code that is sent to it, sealed.
    pub code: Sealed,
    /// Keyed hash of the code.
    pub code_hash: [u8; 32],
    /// When the code was made.
    pub since_ms: TimeMs,
    /// Wrong codes so far.
    pub tries: u8,
}

impl PendingAddress {
    /// How long a code is good.
    pub const LIFETIME_MS: u64 = 3600 * 1000;
    /// Wrong codes after which it is good no more.
    pub const TRIES_MAX: u8 = 5;
    /// Least time between two codes: who types addresses of others must not flood them.
    pub const PAUSE_MS: u64 = 30 * 1000;
    /// Most codes of a vault in a day.
    pub const PER_DAY_MAX: u32 = 10;
}

/// How a vault's owner is told things, and how much there is to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NoticeBox {
    /// Goes up with every change of the settings.
    pub revision: u64,
    /// Language of mails and titles.
    pub lang: Lang,
    /// Ways by kind, where they are not the default.
    pub channels: BTreeMap<NoticeKind, Channels>,
    /// The verified mail address, sealed.
    pub address: Option<Sealed>,
    /// One that is to be verified.
    pub pending: Option<PendingAddress>,
    /// A day since 1970, and the codes that were made in it.
    pub codes: (u64, u32),
    /// Notices and deliveries that were ever made: makes their ids differ.
    pub made: u64,
    /// Notices that are there.
    pub count: u32,
    /// Those that were not read.
    pub unread: u32,
    /// Deliveries that wait.
    pub waiting: u32,
    /// The step of fullness that the owner was told of last: 0, 80, 95 or 100.
    pub quota_told: u8,
}

impl NoticeBox {
    /// The ways that a kind takes.
    pub fn channels_of(&self, kind: NoticeKind) -> Channels {
        self.channels.get(&kind).copied().unwrap_or(kind.default_channels())
    }
}

/// An address that a vault's notices are posted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Of which vault.
    pub vault: VaultId,
    /// Goes up with every change that its owner makes.
    pub revision: u64,
    /// The address, sealed.
    pub url: Sealed,
    /// The secret that signs, sealed.
    pub secret: Sealed,
    /// Whether notices go there.
    pub enabled: bool,
    /// Since when nothing arrives.
    pub failing_since_ms: Option<TimeMs>,
    /// When it was made.
    pub created_ms: TimeMs,
}

impl Webhook {
    /// Most webhooks of a vault.
    pub const PER_VAULT_MAX: usize = 5;
    /// Most bytes of a sealed address or secret.
    pub const SEALED_BYTES_MAX: usize = 4096;
    /// One that took nothing for so long is switched off.
    pub const FAILING_MAX_MS: u64 = 5 * 24 * 3600 * 1000;
}

/// Where a delivery goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// To the mail address.
    Mail,
    /// To a webhook.
    Webhook(WebhookId),
}

/// A kind of receiver: each has a queue of its own, so that gateways which cannot serve one do not look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Channel {
    /// Mail.
    Mail = 0,
    /// Webhooks.
    Webhook = 1,
}

impl Target {
    /// Its queue.
    pub fn channel(self) -> Channel {
        match self {
            Self::Mail => Channel::Mail,
            Self::Webhook(_) => Channel::Webhook,
        }
    }
}

/// What a delivery says: closed, and without room for anybody's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// That there is a notice.
    Notice {
        /// Which.
        notice: NoticeId,
        /// Of what kind.
        kind: NoticeKind,
        /// About which document.
        document: Option<DocumentId>,
    },
    /// The code that verifies the mail address.
    Code,
    /// Nothing: its owner tries a webhook.
    Test,
}

/// Why a delivery did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The receiver answered with this status (HTTP or SMTP).
    Status(u16),
    /// Nobody answers there, or not in a way that can be trusted.
    Unreachable,
    /// The answer took too long.
    TimedOut,
    /// The name leads to an address that nothing is sent to.
    Forbidden,
    /// There is no such receiver any more, or it is switched off.
    NoTarget,
    /// The vault's key is out of reach.
    NoKey,
}

impl Failure {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status(_) => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Forbidden => "forbidden_target",
            Self::NoTarget => "no_target",
            Self::NoKey => "no_key",
        }
    }

    /// Whether trying again is of no use: the mail server says so (5yz), the webhook's does (410), or there is nobody.
    pub fn is_final(self, channel: Channel) -> bool {
        match (self, channel) {
            (Self::NoTarget, _) | (Self::Status(410), Channel::Webhook) => true,
            (Self::Status(status), Channel::Mail) => (500..600).contains(&status),
            _ => false,
        }
    }
}

/// How far a delivery came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// It is tried at this time, and not before: also while a gateway tries, which has it for a while.
    Waiting {
        /// When.
        next_ms: TimeMs,
    },
    /// The receiver took it.
    Delivered {
        /// When.
        at_ms: TimeMs,
    },
    /// It was given up.
    Dead {
        /// When.
        at_ms: TimeMs,
    },
}

/// One notice on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id, the same at every try.
    pub id: DeliveryId,
    /// Of which vault.
    pub vault: VaultId,
    /// Where it goes.
    pub target: Target,
    /// What it says.
    pub content: Content,
    /// When it was made.
    pub created_ms: TimeMs,
    /// Tries that were begun.
    pub attempts: u32,
    /// How far it came.
    pub state: DeliveryState,
    /// Why the last try failed.
    pub failure: Option<Failure>,
}

impl Delivery {
    /// Most deliveries of a vault that wait: no more are made then.
    pub const WAITING_MAX: u32 = 500;
    /// What did not arrive within this time is given up.
    pub const GIVEN_UP_MS: u64 = 24 * 3600 * 1000;
    /// How long a delivery that is over is shown.
    pub const KEPT_MS: u64 = 3 * 24 * 3600 * 1000;
    /// Longest that a gateway has a delivery for itself.
    pub const LEASE_MAX_MS: u64 = 10 * 60 * 1000;
    /// The pause after the first failure.
    const PAUSE_FIRST_MS: u64 = 2_000;
    /// The longest pause.
    const PAUSE_MAX_MS: u64 = 3600 * 1000;

    /// The pause after a failed try: twice as long each time, up to an hour; half of it is chance, so that what failed
    /// together does not come back together.
    pub fn pause_ms(attempt: u32, random: u64) -> u64 {
        let doublings = attempt.saturating_sub(1).min(16);
        let full = (Self::PAUSE_FIRST_MS << doublings).min(Self::PAUSE_MAX_MS);
        full / 2 + random % (full / 2 + 1)
    }
}

/// What a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// The receiver took it.
    Delivered,
    /// It did not arrive.
    Failed(Failure),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn kinds_have_names_of_their_own() {
        let names: BTreeSet<&str> = NoticeKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), NoticeKind::ALL.len());
        for kind in NoticeKind::ALL {
            assert_eq!(NoticeKind::parse(kind.name()), Some(*kind));
        }
        assert_eq!(NoticeKind::parse("quota.81"), None);
    }

    #[test]
    fn pauses_grow_to_an_hour_and_never_fall_below_half() {
        for (attempt, full) in [(0, 2_000), (1, 2_000), (2, 4_000), (3, 8_000), (11, 2_048_000), (12, 3_600_000), (u32::MAX, 3_600_000)] {
            assert_eq!(Delivery::pause_ms(attempt, 0), full / 2, "{attempt}");
            for random in [1, 77, full, u64::MAX] {
                assert!((full / 2..=full).contains(&Delivery::pause_ms(attempt, random)), "{attempt} {random}");
            }
        }
    }

    #[test]
    fn what_is_final_depends_on_who_says_it() {
        assert!(Failure::Status(550).is_final(Channel::Mail) && !Failure::Status(451).is_final(Channel::Mail));
        assert!(!Failure::Status(500).is_final(Channel::Webhook) && Failure::Status(410).is_final(Channel::Webhook));
        assert!(Failure::NoTarget.is_final(Channel::Mail) && !Failure::Forbidden.is_final(Channel::Webhook));
    }
}
