//! Commands about notices, settings, webhooks and deliveries; what they come to, and why they are refused.

use serde::{Deserialize, Serialize};

use crate::model::{
    Attempt, Channels, Delivery, DeliveryId, Lang, NewNotice, NoticeBox, NoticeId, NoticeKind, Sealed, VaultId, Webhook, WebhookId,
};

/// Most deliveries of one [`NoticeCommand::Claim`].
pub const CLAIM_MAX: usize = 32;

/// Every write of this family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeCommand {
    /// A gateway tells of something that no other command does: a refusal.
    Post(NewNotice),
    /// A notice was read.
    MarkRead {
        /// Whose.
        vault: VaultId,
        /// Which.
        notice: NoticeId,
    },
    /// All notices up to one were read: later ones were not seen.
    MarkAllRead {
        /// Whose.
        vault: VaultId,
        /// The newest that was seen.
        until: NoticeId,
    },
    /// The owner chooses the ways of all kinds; those that are not named take the default.
    SetChannels {
        /// Whose.
        vault: VaultId,
        /// The revision that the client saw.
        revision: u64,
        /// The choices.
        channels: Vec<(NoticeKind, Channels)>,
    },
    /// The owner chooses a language.
    SetLang {
        /// Whose.
        vault: VaultId,
        /// Which.
        lang: Lang,
    },
    /// The owner gives a mail address: it is in force once the code that is sent there came back.
    SetAddress {
        /// Whose.
        vault: VaultId,
        /// The address, sealed.
        address: Sealed,
        /// The code, sealed.
        code: Sealed,
        /// Keyed hash of the code.
        code_hash: [u8; 32],
    },
    /// The owner wants no mail any more.
    RemoveAddress {
        /// Whose.
        vault: VaultId,
    },
    /// A code came back.
    VerifyAddress {
        /// Whose.
        vault: VaultId,
        /// Keyed hash of the code.
        code_hash: [u8; 32],
    },
    /// A webhook is made.
    CreateWebhook {
        /// Whose.
        vault: VaultId,
        /// Random id.
        id: WebhookId,
        /// The address, sealed.
        url: Sealed,
        /// The secret, sealed.
        secret: Sealed,
    },
    /// A webhook is changed.
    ChangeWebhook {
        /// Whose.
        vault: VaultId,
        /// Which.
        id: WebhookId,
        /// The revision that the client saw.
        revision: u64,
        /// Another address, sealed.
        url: Option<Sealed>,
        /// Whether notices go there.
        enabled: Option<bool>,
    },
    /// A webhook goes.
    DeleteWebhook {
        /// Whose.
        vault: VaultId,
        /// Which.
        id: WebhookId,
    },
    /// The owner tries a webhook, also one that is switched off.
    TestWebhook {
        /// Whose.
        vault: VaultId,
        /// Which.
        id: WebhookId,
    },
    /// A gateway takes deliveries that are due for itself; those that another one was faster with are not among its answer.
    Claim {
        /// Which.
        deliveries: Vec<(VaultId, DeliveryId)>,
        /// For how long: when the gateway died, another one may take them then.
        lease_ms: u64,
    },
    /// What a try came to.
    Report {
        /// Whose.
        vault: VaultId,
        /// Which.
        delivery: DeliveryId,
        /// Which try.
        attempt: u32,
        /// What it came to.
        result: Attempt,
        /// Random, for the pause before the next one.
        random: u64,
    },
}

/// What a command of the family came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeOutcome {
    /// The settings after a change.
    Settings(Box<NoticeBox>),
    /// The code was wrong.
    CodeWrong {
        /// Tries that are left.
        left: u8,
    },
    /// The webhook after a change.
    Webhook(Box<Webhook>),
    /// What was queued.
    Queued(DeliveryId),
    /// What the gateway has for itself.
    Claimed(Vec<Delivery>),
}

/// Why a command of the family was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NoticeRefusal {
    /// The notice is unknown, or another's.
    #[error("no such notice")]
    NoticeUnknown,
    /// The webhook is unknown, or another's.
    #[error("no such webhook")]
    WebhookUnknown,
    /// Something changed since the client saw it.
    #[error("it is at revision {actual}")]
    RevisionMismatch {
        /// Its revision.
        actual: u64,
    },
    /// The vault has as many webhooks as it may have.
    #[error("the vault has {limit} webhooks already")]
    TooManyWebhooks {
        /// Most webhooks.
        limit: usize,
    },
    /// A code was sent a moment ago, too many were today, or too much waits to be sent.
    #[error("too much was sent lately: try again later")]
    TooSoon,
    /// No code is expected, or it is too old, or too many were wrong.
    #[error("no code is expected: ask for a new one")]
    NoCode,
}

impl NoticeRefusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoticeUnknown | Self::WebhookUnknown => "not_found",
            Self::RevisionMismatch { .. } => "precondition_failed",
            Self::TooManyWebhooks { .. } => "too_many_webhooks",
            Self::TooSoon => "too_many_requests",
            Self::NoCode => "code_expired",
        }
    }
}
