//! Mail by SMTP.
//!
//! Owns: addresses as they are taken, and one message to one server. Not: what it says ([`super::texts`]).
//! Holds: (1) an address is ASCII, of a named domain, and holds nothing that a header or a command could be smuggled in
//! by; (2) without TLS nothing leaves this machine; (3) what a server says is not kept nor logged, for servers repeat
//! addresses: only its status is; (4) all tries of a delivery have one `Message-ID`.

use std::{fmt, time::Duration};

use kluis_raft::model::{DeliveryId, Failure};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
        extension::ClientId,
    },
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{BadNotifier, texts::MailText};

/// Longest time that a message may take.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of an address (RFC 5321, with its errata).
pub const ADDRESS_BYTES_MAX: usize = 254;
/// Statuses that speak of how we sign in at the server, not of the message: the operator mends that, and nothing is lost.
const SIGN_IN_STATUSES: [u16; 4] = [530, 534, 535, 538];

/// A mail address that can be written to.
#[derive(Clone, PartialEq, Eq)]
pub struct MailAddress(Address);

/// Personal: never in logs.
impl fmt::Debug for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailAddress(..)")
    }
}

/// An address that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no mail address of at most {ADDRESS_BYTES_MAX} ASCII characters, as in name@example.org")]
pub struct BadAddress;

impl MailAddress {
    /// The address in `text`.
    ///
    /// # Errors
    /// When it is none, or of a kind that is not taken.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        // Quoted local parts may hold anything; nobody's address has one.
        let is_plain =
            text.len() <= ADDRESS_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\<>()[],;:".contains(&byte));
        if !is_plain {
            return Err(BadAddress);
        }
        let address: Address = text.parse().map_err(|_| BadAddress)?;
        let domain = address.domain();
        let is_named = domain.rsplit_once('.').is_some_and(|(_, last)| last.bytes().any(|byte| byte.is_ascii_alphabetic()));
        if is_named { Ok(Self(address)) } else { Err(BadAddress) }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

/// How the way to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte.
    Implicit,
    /// The connection is made safe before anything is said; without that, nothing is sent.
    StartTls,
    /// Not at all: only for a server on this machine.
    None,
}

/// The mail server.
#[derive(Clone)]
pub struct MailConfig {
    /// Its name, which its certificate has.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom mails are from.
    pub from: MailAddress,
    /// How the way there is protected.
    pub tls: MailTls,
    /// User and password, if it asks for them.
    pub login: Option<(String, Zeroizing<String>)>,
    /// Authorities (PEM) of its certificate; `None`: the system's.
    pub ca_pem: Option<Vec<u8>>,
}

impl fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailConfig").field("host", &self.host).field("port", &self.port).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Sends mails by one server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    domain: String,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailer(..)")
    }
}

impl Mailer {
    /// A sender for this server; nothing is connected yet.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(config: &MailConfig) -> Result<Self, BadNotifier> {
        let tls = match config.tls {
            MailTls::None => Tls::None,
            MailTls::StartTls => Tls::Required(tls_parameters(config)?),
            MailTls::Implicit => Tls::Wrapper(tls_parameters(config)?),
        };
        let domain = config.from.0.domain().to_owned();
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
            .port(config.port)
            .tls(tls)
            .timeout(Some(DEADLINE))
            .hello_name(ClientId::Domain(domain.clone()));
        if let Some((user, password)) = &config.login {
            builder = builder.credentials(Credentials::new(user.clone(), password.as_str().to_owned()));
        }
        Ok(Self { transport: builder.build(), from: Mailbox::new(None, config.from.0.clone()), domain })
    }

    /// Sends a mail, once.
    ///
    /// # Errors
    /// Why the server did not take it.
    pub async fn send(&self, id: DeliveryId, to: &MailAddress, text: &MailText) -> Result<(), Failure> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.0.clone()))
            .subject(text.subject())
            .message_id(Some(format!("<{id}@{}>", self.domain)))
            // So that no holiday notice answers (RFC 3834).
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(text.body().to_owned())
            .map_err(|_| Failure::NoTarget)?;
        match timeout(DEADLINE, self.transport.send(message)).await {
            Err(_) => Err(Failure::TimedOut),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
        }
    }
}

fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    match error.status().map(u16::from) {
        Some(status) if SIGN_IN_STATUSES.contains(&status) => {
            tracing::error!(code = "MAIL_SIGN_IN_REFUSED", status, "the mail server refuses [mail] user and password_file");
            Failure::Unreachable
        }
        Some(status) => Failure::Status(status),
        None if error.is_timeout() => Failure::TimedOut,
        None => Failure::Unreachable,
    }
}

fn tls_parameters(config: &MailConfig) -> Result<TlsParameters, BadNotifier> {
    let bad = |error: lettre::transport::smtp::Error| BadNotifier(format!("[mail] TLS cannot be set up: {error}"));
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(pem) = &config.ca_pem {
        let certificate = Certificate::from_pem(pem).map_err(bad)?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_plain() {
        for good in ["alice@example.org", "a.b+c@mail.example.co.uk", "x@a1.be"] {
            assert_eq!(MailAddress::parse(good).unwrap().as_str(), good);
        }
        let long = format!("{}@example.org", "a".repeat(300));
        for bad in [
            "",
            "alice",
            "@example.org",
            "alice@",
            "alice@localhost",
            "alice@127.0.0.1",
            "alice@[127.0.0.1]",
            "alice@example.org\r\nBcc: bob@example.org",
            "alice@example.org, bob@example.org",
            "Alice <alice@example.org>",
            "\"a b\"@example.org",
            "al ice@example.org",
            "alice@exam\u{e9}ple.org",
            long.as_str(),
        ] {
            assert_eq!(MailAddress::parse(bad), Err(BadAddress), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_cannot_break_a_line(text in "\\PC{0,40}@\\PC{0,40}") {
            if let Ok(address) = MailAddress::parse(&text) {
                prop_assert_eq!(address.as_str(), text.as_str());
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
