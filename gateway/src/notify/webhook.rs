//! Webhooks: what is posted, how it is signed (Standard Webhooks 1.0), and the client that posts it.
//!
//! Owns: payload, signature, and the bounds of a request. Not: which addresses are taken ([`super::target`]).
//! Holds: (1) a name is resolved by us, every address that it has is judged, and the connection goes to one of those: a
//! name that changes gains nothing; (2) no redirect is followed, no proxy asked, no connection kept; (3) a request ends
//! after [`DEADLINE`], and of an answer nothing but its head is read, however long it is; (4) all tries of a delivery have
//! the same id and the same body.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kluis_chunkstore::env::Entropy;
use kluis_raft::model::{Content, Delivery, DeliveryId, Failure};
use reqwest::{
    Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    header::CONTENT_TYPE,
    redirect,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    BadNotifier,
    target::{WebhookUrl, is_public, may_connect},
};
use crate::{api::documents::rfc3339, keys::SecretKey, problem::Problem};

/// Longest time that a request may take, from the name to the head of the answer.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// What a secret begins with, as text.
const SECRET_PREFIX: &str = "whsec_";
/// Type of what a test posts.
const TEST_TYPE: &str = "webhook.test";

/// The secret that a webhook's posts are signed with.
#[derive(Debug, Clone)]
pub struct HookSecret(SecretKey);

impl HookSecret {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(SecretKey::generate(entropy))
    }

    /// The secret of these bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        SecretKey::try_from(bytes).ok().map(Self)
    }

    /// Its bytes, to be sealed.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// As its owner is shown it, once.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(self.0.expose())))
    }

    /// The `webhook-signature` of a body.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
    }
}

/// What is posted: kinds, times and opaque ids, never words of people.
#[derive(Debug, Serialize)]
pub struct Payload {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data,
}

#[derive(Debug, Serialize)]
struct Data {
    vault: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
}

impl Payload {
    /// Of a delivery: the same at every try.
    pub fn of(delivery: &Delivery) -> Self {
        let (kind, notice, document) = match delivery.content {
            Content::Notice { notice, kind, document } => (kind.name(), Some(notice.to_string()), document.map(|id| id.to_string())),
            Content::Code | Content::Test => (TEST_TYPE, None, None),
        };
        let data = Data { vault: delivery.vault.to_string(), notice, document };
        Self { kind, timestamp: rfc3339(delivery.created_ms), data }
    }

    /// As JSON.
    ///
    /// # Errors
    /// 500, never with these fields.
    pub fn to_json(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(Problem::internal)
    }
}

/// What knows the network addresses of names.
#[async_trait]
trait Names: Send + Sync {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The operating system's.
struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// A name that leads inside.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the name leads to an address that nothing is sent to")]
struct LeadsInside;

/// Gives the client only addresses that it may connect to. One that is not public spoils the name: who has both in it
/// plays for the other one.
struct GuardedNames(Arc<dyn Names>);

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let names = Arc::clone(&self.0);
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            if !found.iter().all(|address| is_public(*address)) {
                return Err(Box::new(LeadsInside) as Box<dyn std::error::Error + Send + Sync>);
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Posts to webhooks.
#[derive(Debug)]
pub struct HookClient {
    client: Client,
    loopback: bool,
}

impl HookClient {
    /// A client that connects to the public network, and with `loopback` to this machine where the address says so by
    /// number.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(loopback: bool) -> Result<Self, BadNotifier> {
        Self::with_names(loopback, &(Arc::new(SystemNames) as Arc<dyn Names>))
    }

    fn with_names(loopback: bool, names: &Arc<dyn Names>) -> Result<Self, BadNotifier> {
        let builder = || -> ClientBuilder {
            Client::builder()
                .timeout(DEADLINE)
                .connect_timeout(DEADLINE)
                .redirect(redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .pool_max_idle_per_host(0)
                .user_agent("kluis-webhooks")
                .dns_resolver(Arc::new(GuardedNames(Arc::clone(names))))
        };
        let client = match builder().build() {
            Ok(client) => client,
            Err(error) => {
                // Without the system's certificates nobody can be trusted; the rest of the gateway works all the same.
                tracing::warn!(%error, "webhooks over https will fail: this machine has no certificate authorities");
                builder().tls_certs_only([]).build().map_err(|error| BadNotifier(error.to_string()))?
            }
        };
        Ok(Self { client, loopback })
    }

    /// Whether webhooks may lead to this machine.
    pub fn allows_loopback(&self) -> bool {
        self.loopback
    }

    /// Posts a body, once.
    ///
    /// # Errors
    /// Why it did not arrive.
    pub async fn post(
        &self,
        url: &WebhookUrl,
        secret: &HookSecret,
        id: DeliveryId,
        timestamp_s: u64,
        body: Vec<u8>,
    ) -> Result<(), Failure> {
        // A number is connected to as it is, without asking for names.
        if url.literal().is_some_and(|address| !may_connect(address, self.loopback)) {
            return Err(Failure::Forbidden);
        }
        let id = id.to_string();
        let signature = secret.sign(&id, timestamp_s, &body);
        let request = self.client.post(url.url().clone()).header(CONTENT_TYPE, "application/json").header("webhook-id", &id);
        let request = request.header("webhook-timestamp", timestamp_s.to_string()).header("webhook-signature", signature);
        let answer = request.body(body).send().await.map_err(|error| failure(&error))?;
        // What follows the head is not read: the connection ends here.
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(Failure::Status(status.as_u16())) }
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::TimedOut;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LeadsInside>() {
            return Failure::Forbidden;
        }
        cause = error.source();
    }
    Failure::Unreachable
}

#[cfg(test)]
mod tests {
    use kluis_raft::model::{DeliveryState, DocumentId, NoticeId, NoticeKind, Target, VaultId, WebhookId};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn secret() -> HookSecret {
        HookSecret::from_bytes(&[7; 32]).unwrap()
    }

    fn delivery(content: Content) -> Delivery {
        Delivery {
            id: DeliveryId(1),
            vault: VaultId(2),
            target: Target::Webhook(WebhookId(3)),
            content,
            created_ms: 1_800_000_000_000,
            attempts: 1,
            state: DeliveryState::Waiting { next_ms: 0 },
            failure: None,
        }
    }

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let bytes = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let body = br#"{"test": 2432232314}"#;
        let text = [&b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330."[..], body].concat();
        assert_eq!(STANDARD.encode(hmac::sign(&key, &text).as_ref()), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // Ours has 32 bytes, and the same form.
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let wanted = STANDARD.encode(hmac::sign(&key, b"a.5.x").as_ref());
        assert_eq!(secret().sign("a", 5, b"x"), format!("v1,{wanted}"));
        assert_eq!(secret().to_text().strip_prefix("whsec_").map(|text| STANDARD.decode(text).unwrap()), Some(vec![7; 32]));
    }

    #[test]
    fn what_is_posted_names_nobody() {
        let content = Content::Notice { notice: NoticeId(4), kind: NoticeKind::ErasureDone, document: Some(DocumentId(5)) };
        let json: serde_json::Value = serde_json::from_slice(&Payload::of(&delivery(content)).to_json().unwrap()).unwrap();
        let wanted = serde_json::json!({
            "type": "erasure.done",
            "timestamp": "2027-01-15T08:00:00Z",
            "data": {
                "vault": VaultId(2).to_string(),
                "notice": NoticeId(4).to_string(),
                "document": DocumentId(5).to_string(),
            },
        });
        assert_eq!(json, wanted);
    }

    struct FixedNames(Vec<IpAddr>);

    #[async_trait]
    impl Names for FixedNames {
        async fn addresses(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
            Ok(self.0.clone())
        }
    }

    async fn post(client: &HookClient, url: &str) -> Result<(), Failure> {
        let url = WebhookUrl::parse(url, true).unwrap();
        client.post(&url, &secret(), DeliveryId(1), 5, b"{}".to_vec()).await
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_connected_to() {
        for inside in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"] {
            for addresses in [vec![inside], vec!["93.184.216.34", inside], vec![inside, "93.184.216.34"]] {
                let names = FixedNames(addresses.iter().map(|address| address.parse().unwrap()).collect());
                // Also where webhooks may lead to this machine: not by name.
                let client = HookClient::with_names(true, &(Arc::new(names) as Arc<dyn Names>)).unwrap();
                assert_eq!(post(&client, "https://hooks.example.org/").await, Err(Failure::Forbidden), "{addresses:?}");
            }
        }
        let client = HookClient::new(false).unwrap();
        assert_eq!(post(&client, "http://127.0.0.1:1/").await, Err(Failure::Forbidden), "what was taken once is judged again");
    }

    /// Answers one request with these bytes, and then keeps the connection open.
    async fn answering(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut taken = [0; 4096];
            let _ = socket.read(&mut taken).await;
            let _ = socket.write_all(answer).await;
            // Ends when the client does.
            while socket.read(&mut taken).await.is_ok_and(|len| len > 0) {}
        });
        (url, serving)
    }

    #[tokio::test]
    async fn only_the_head_of_an_answer_counts_and_redirects_are_failures() {
        let client = HookClient::new(true).unwrap();
        let answers: [(&'static [u8], Result<(), Failure>); 5] = [
            (b"HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            // A gigabyte that never comes: the head is enough.
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx", Ok(())),
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Err(Failure::Status(302))),
            (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", Err(Failure::Status(500))),
            (b"nonsense\r\n\r\n", Err(Failure::Unreachable)),
        ];
        for (answer, result) in answers {
            let (url, serving) = answering(answer).await;
            assert_eq!(post(&client, &url).await, result, "{}", answer.escape_ascii());
            serving.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_not_waited_for() {
        let client = HookClient::new(true).unwrap();
        let (url, serving) = answering(b"").await;
        assert_eq!(post(&client, &url).await, Err(Failure::TimedOut));
        serving.abort();
    }
}
