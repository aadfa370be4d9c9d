//! How notices leave the cluster: mail and webhooks.
//!
//! Reading order: [`texts`] (what is said, in four languages), [`target`] (where a webhook may lead), [`webhook`]
//! (signing and posting), [`mail`] (SMTP), [`plan`] (which deliveries a gateway takes); here: one delivery, from the
//! record to the receiver's answer.
//!
//! Owns: sending, once. Not: when, and what comes of it: the node's dispatcher asks [`plan`], sends by [`Notifier::send`]
//! and tells the metadata group (`kluis_raft::apply::outbox`).
//! Holds: (1) what is sent follows from a delivery's content and the person's language, so that no name, no document's
//! name and no national number can be in it; (2) a receiver gets the same id at every try; (3) nothing of a receiver's
//! answer is kept but its status.

use kluis_raft::{
    model::{Attempt, Channel, Content, Delivery, Failure, NoticeBox, Sealed, Target, WebhookId},
    view,
};
use zeroize::Zeroizing;

use self::{
    mail::{MailAddress, MailConfig, Mailer},
    target::WebhookUrl,
    texts::VerificationCode,
    webhook::{HookClient, HookSecret, Payload},
};
use crate::{
    api::{Gateway, vault::OpenVault},
    keys::vault_key::{open_text, seal_text},
    problem::Problem,
};

pub mod mail;
pub mod plan;
pub mod target;
pub mod texts;
pub mod webhook;

/// Purpose of a sealed mail address; its id is the vault's.
const ADDRESS: &str = "mail address";
/// Purpose of a sealed verification code; its id is the vault's.
const CODE: &str = "mail code";
/// Purpose of the sealed name of a document that was never stored; its id is the notice's place.
const NOTICE_NAME: &str = "notice name";
/// Purpose of a sealed webhook's address; its id is the webhook's.
const HOOK_URL: &str = "webhook address";
/// Purpose of a sealed webhook's secret; its id is the webhook's.
const HOOK_SECRET: &str = "webhook secret";

/// Most characters of a name in a notice.
const NAME_CHARS: usize = 60;

/// What a gateway sends with.
#[derive(Debug)]
pub struct Notifier {
    mailer: Option<Mailer>,
    hooks: HookClient,
}

/// Why there is no [`Notifier`]: the operators must correct the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadNotifier(pub String);

impl Notifier {
    /// Sends mail as `mail` says, or none; webhooks may lead to this machine where `loopback` says so.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(mail: Option<&MailConfig>, loopback: bool) -> Result<Self, BadNotifier> {
        Ok(Self { mailer: mail.map(Mailer::new).transpose()?, hooks: HookClient::new(loopback)? })
    }

    /// Whether mail can be sent.
    pub fn has_mail(&self) -> bool {
        self.mailer.is_some()
    }

    /// Whether webhooks may lead to this machine.
    pub fn allows_loopback(&self) -> bool {
        self.hooks.allows_loopback()
    }

    /// The queues that this gateway serves.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.mailer.iter().map(|_| Channel::Mail).chain([Channel::Webhook])
    }

    /// Sends a delivery, once.
    pub async fn send(&self, gateway: &Gateway, delivery: &Delivery) -> Attempt {
        let sent = match delivery.target {
            Target::Mail => self.send_mail(gateway, delivery).await,
            Target::Webhook(id) => self.send_hook(gateway, delivery, id).await,
        };
        match sent {
            Ok(()) => Attempt::Delivered,
            Err(failure) => Attempt::Failed(failure),
        }
    }

    async fn send_mail(&self, gateway: &Gateway, delivery: &Delivery) -> Result<(), Failure> {
        let mailer = self.mailer.as_ref().ok_or(Failure::NoTarget)?;
        let (own, vault) = opened(gateway, delivery).await?;
        let (address, text) = match delivery.content {
            Content::Notice { kind, .. } => {
                let address = own.address.as_ref().ok_or(Failure::NoTarget)?;
                (vault.open_address(address).map_err(no_key)?, texts::of_notice(kind, own.lang, &gateway.config.public_url))
            }
            Content::Code => {
                let pending = own.pending.as_ref().ok_or(Failure::NoTarget)?;
                let code = vault.open_code(&pending.code).map_err(no_key)?;
                (vault.open_address(&pending.address).map_err(no_key)?, texts::of_code(own.lang, &code))
            }
            Content::Test => return Err(Failure::NoTarget),
        };
        mailer.send(delivery.id, &address, &text).await
    }

    async fn send_hook(&self, gateway: &Gateway, delivery: &Delivery, id: WebhookId) -> Result<(), Failure> {
        let read = gateway.metadata.view();
        let hook = view::notice::webhook(&*read, delivery.vault, id).map_err(|_| Failure::NoKey)?.ok_or(Failure::NoTarget)?;
        if !hook.enabled && delivery.content != Content::Test {
            return Err(Failure::NoTarget);
        }
        let (_, vault) = opened(gateway, delivery).await?;
        let url = vault.open_hook_url(id, &hook.url).map_err(no_key)?;
        let secret = vault.open_hook_secret(id, &hook.secret).map_err(no_key)?;
        let body = Payload::of(delivery).to_json().map_err(no_key)?;
        self.hooks.post(&url, &secret, delivery.id, gateway.clock.now_ms() / 1000, body).await
    }
}

fn no_key(problem: Problem) -> Failure {
    tracing::warn!(code = problem.code.as_str(), "a notice cannot be sent at present");
    Failure::NoKey
}

async fn opened(gateway: &Gateway, delivery: &Delivery) -> Result<(NoticeBox, OpenVault), Failure> {
    let read = gateway.metadata.view();
    let own = view::notice::notice_box(&*read, delivery.vault).map_err(|_| Failure::NoKey)?;
    let vault = OpenVault::open(gateway, read, delivery.vault).await.map_err(no_key)?;
    Ok((own, vault))
}

fn text(plain: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(plain).map_err(|_| Problem::internal("a sealed text of a notice is damaged"))
}

/// What is sealed for notices.
impl OpenVault {
    /// Seals a mail address.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_address(&self, address: &MailAddress) -> Result<Sealed, Problem> {
        Ok(seal_text(self.key(), ADDRESS, &self.id().to_bytes(), address.as_str().as_bytes())?)
    }

    /// Opens a mail address.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_address(&self, sealed: &Sealed) -> Result<MailAddress, Problem> {
        let plain = open_text(self.key(), ADDRESS, &self.id().to_bytes(), sealed)?;
        MailAddress::parse(text(&plain)?).map_err(|_| Problem::internal("a sealed mail address is damaged"))
    }

    /// Seals a verification code.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_code(&self, code: &VerificationCode) -> Result<Sealed, Problem> {
        Ok(seal_text(self.key(), CODE, &self.id().to_bytes(), code.as_str().as_bytes())?)
    }

    fn open_code(&self, sealed: &Sealed) -> Result<VerificationCode, Problem> {
        let plain = open_text(self.key(), CODE, &self.id().to_bytes(), sealed)?;
        VerificationCode::parse(text(&plain)?).ok_or_else(|| Problem::internal("a sealed code is damaged"))
    }

    /// Seals the beginning of a document's name for a notice.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_notice_name(&self, place: u128, name: &str) -> Result<Sealed, Problem> {
        let short: String = name.chars().take(NAME_CHARS).collect();
        Ok(seal_text(self.key(), NOTICE_NAME, &place.to_be_bytes(), short.as_bytes())?)
    }

    /// Opens it.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_notice_name(&self, place: u128, sealed: &Sealed) -> Result<String, Problem> {
        let plain = open_text(self.key(), NOTICE_NAME, &place.to_be_bytes(), sealed)?;
        text(&plain).map(str::to_owned)
    }

    /// Seals the address of a webhook.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_hook_url(&self, id: WebhookId, url: &WebhookUrl) -> Result<Sealed, Problem> {
        Ok(seal_text(self.key(), HOOK_URL, &id.to_bytes(), url.as_str().as_bytes())?)
    }

    /// Opens the address of a webhook: one that was taken once is not judged again here, but where it is posted to.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_hook_url(&self, id: WebhookId, sealed: &Sealed) -> Result<WebhookUrl, Problem> {
        let plain = open_text(self.key(), HOOK_URL, &id.to_bytes(), sealed)?;
        WebhookUrl::parse(text(&plain)?, true).map_err(|_| Problem::internal("a sealed address of a webhook is damaged"))
    }

    /// Seals the secret of a webhook.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_hook_secret(&self, id: WebhookId, secret: &HookSecret) -> Result<Sealed, Problem> {
        Ok(seal_text(self.key(), HOOK_SECRET, &id.to_bytes(), secret.expose())?)
    }

    fn open_hook_secret(&self, id: WebhookId, sealed: &Sealed) -> Result<HookSecret, Problem> {
        let plain: Zeroizing<Vec<u8>> = open_text(self.key(), HOOK_SECRET, &id.to_bytes(), sealed)?;
        HookSecret::from_bytes(&plain).ok_or_else(|| Problem::internal("a sealed secret of a webhook is damaged"))
    }
}
