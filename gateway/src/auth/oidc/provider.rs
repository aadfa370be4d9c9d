//! An identity provider, as it is reached: its discovery document, its keys, and requests to it.
//!
//! Owns: the HTTP client with its bounds, and the two caches. Not: what is asked and answered ([`super`]).
//! Holds: (1) every request ends after [`DEADLINE`], no answer is read past [`ANSWER_BYTES_MAX`], no redirect is
//! followed; (2) nothing goes over plain HTTP but to this machine; (3) unknown key ids make at most one
//! request for keys in [`KEYS_REFRESH`], so forged tokens cannot make us a burden to the provider.

use std::{sync::Arc, time::Duration};

use reqwest::{Certificate, Client, RequestBuilder, StatusCode, header::CONTENT_TYPE, redirect};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::{Host, Url};

use super::{AuthError, BadProvider};
use crate::auth::jose::{self, JoseError, SignatureAlgorithm, jwk::JwkSet};

/// Longest time that one request to a provider may take.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long a discovery document and keys are used without asking again.
const CACHE_LIFETIME: Duration = Duration::from_secs(3600);
/// Least time between two requests for keys.
const KEYS_REFRESH: Duration = Duration::from_secs(30);

/// What we use of a discovery document (OpenID Connect Discovery 1.0, RFC 8414, RFC 9126, RFC 9207).
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) pushed_authorization_request_endpoint: Option<Url>,
    pub(super) require_pushed_authorization_requests: bool,
    pub(super) authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct RawDiscovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    pushed_authorization_request_endpoint: Option<String>,
    #[serde(default)]
    require_pushed_authorization_requests: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Discovery {
    /// The document in `body`; `None` when it is malformed or sends us over plain http.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let raw: RawDiscovery = serde_json::from_slice(body).ok()?;
        let url = |text: &str| Url::parse(text).ok().filter(is_private_enough);
        let optional = |text: Option<&str>| text.map_or(Some(None), |text| url(text).map(Some));
        Some(Self {
            issuer: raw.issuer,
            authorization_endpoint: url(&raw.authorization_endpoint)?,
            token_endpoint: url(&raw.token_endpoint)?,
            jwks_uri: url(&raw.jwks_uri)?,
            userinfo_endpoint: optional(raw.userinfo_endpoint.as_deref())?,
            pushed_authorization_request_endpoint: optional(raw.pushed_authorization_request_endpoint.as_deref())?,
            require_pushed_authorization_requests: raw.require_pushed_authorization_requests,
            authorization_response_iss_parameter_supported: raw.authorization_response_iss_parameter_supported,
        })
    }
}

/// An answer of a provider.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

struct Cached<T> {
    value: Arc<T>,
    since: Instant,
}

impl<T> Cached<T> {
    fn new(value: T) -> Self {
        Self { value: Arc::new(value), since: Instant::now() }
    }

    fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.since)
    }
}

/// What was fetched goes into the cache; when nothing could be fetched, what is there is used on.
fn renew<T>(cached: &mut Option<Cached<T>>, fetched: Result<T, AuthError>) -> Result<Arc<T>, AuthError> {
    match fetched {
        Ok(fresh) => Ok(cached.insert(Cached::new(fresh)).value.clone()),
        Err(error) => cached.as_ref().map(|known| known.value.clone()).ok_or(error),
    }
}

pub(super) struct Provider {
    issuer: Url,
    client: Client,
    // Held over the request, so that a crowd of sign-ins makes one.
    discovery: Mutex<Option<Cached<Discovery>>>,
    keys: Mutex<Option<Cached<JwkSet>>>,
}

impl Provider {
    pub(super) fn new(issuer: Url, ca_pem: Option<&[u8]>) -> Result<Self, BadProvider> {
        if !is_private_enough(&issuer) {
            return Err(BadProvider("an issuer is reached over https (or http on this machine)".to_owned()));
        }
        if issuer.query().is_some() || issuer.fragment().is_some() {
            return Err(BadProvider("an issuer has neither query nor fragment".to_owned()));
        }
        let bad = |error: reqwest::Error| BadProvider(error.to_string());
        let mut builder =
            Client::builder().timeout(DEADLINE).connect_timeout(DEADLINE).redirect(redirect::Policy::none()).referer(false).no_proxy();
        match ca_pem {
            Some(pem) => builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(bad)?),
            // No TLS is spoken to a loopback provider; the system's roots need not even exist.
            None if issuer.scheme() == "http" => builder = builder.tls_certs_only([]),
            None => {}
        }
        Ok(Self { issuer, client: builder.build().map_err(bad)?, discovery: Mutex::default(), keys: Mutex::default() })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the answer, both within the bounds.
    pub(super) async fn fetch(&self, request: RequestBuilder) -> Result<Answer, AuthError> {
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            tracing::warn!(issuer = %self.issuer, %error, "the identity provider does not answer");
            AuthError::ProviderUnreachable
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                tracing::warn!(issuer = %self.issuer, "the identity provider's answer is too long");
                return Err(AuthError::ProviderUnreachable);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, content_type, body })
    }

    async fn fetch_ok(&self, url: Url) -> Result<Vec<u8>, AuthError> {
        let answer = self.fetch(self.client.get(url)).await?;
        if answer.status == StatusCode::OK { Ok(answer.body) } else { Err(AuthError::ProviderUnreachable) }
    }

    /// The discovery document. An old one is used on while the provider does not give a new one.
    pub(super) async fn discovery(&self) -> Result<Arc<Discovery>, AuthError> {
        let mut cached = self.discovery.lock().await;
        if let Some(known) = cached.as_ref().filter(|known| known.age() < CACHE_LIFETIME) {
            return Ok(known.value.clone());
        }
        renew(&mut cached, self.fetch_discovery().await)
    }

    async fn fetch_discovery(&self) -> Result<Discovery, AuthError> {
        let mut url = self.issuer.clone();
        url.set_path(&format!("{}/.well-known/openid-configuration", self.issuer.path().trim_end_matches('/')));
        let body = self.fetch_ok(url).await?;
        let discovery = Discovery::parse(&body).ok_or(AuthError::ProviderUnreachable)?;
        // A document for another issuer would have its tokens accepted in the name of this one.
        let own = self.issuer.as_str();
        let same = discovery.issuer == own || (self.issuer.path() == "/" && own.strip_suffix('/') == Some(discovery.issuer.as_str()));
        if same { Ok(discovery) } else { Err(AuthError::TokenInvalid { which: "iss" }) }
    }

    /// The payload of a token that this provider signed. Keys are fetched again when it names an unknown one.
    pub(super) async fn verify(&self, token: &str, alg: SignatureAlgorithm) -> Result<Vec<u8>, AuthError> {
        let keys = self.keys(CACHE_LIFETIME).await?;
        match jose::verify(token, alg, &keys) {
            Err(JoseError::UnknownKey) => {
                let keys = self.keys(KEYS_REFRESH).await?;
                jose::verify(token, alg, &keys).map_err(AuthError::from)
            }
            other => other.map_err(AuthError::from),
        }
    }

    /// The provider's keys, no older than `age_max` when they can be had.
    async fn keys(&self, age_max: Duration) -> Result<Arc<JwkSet>, AuthError> {
        let discovery = self.discovery().await?;
        let mut cached = self.keys.lock().await;
        if let Some(known) = cached.as_ref().filter(|known| known.age() < age_max) {
            return Ok(known.value.clone());
        }
        let fetched = self.fetch_ok(discovery.jwks_uri.clone()).await;
        let parsed = fetched.and_then(|body| JwkSet::parse(&body).map_err(|_| AuthError::ProviderUnreachable));
        renew(&mut cached, parsed)
    }
}

/// Whether what is sent to `url` stays between the provider and us.
fn is_private_enough(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_only_on_this_machine() {
        for good in ["https://idp.example", "http://127.0.0.1:8400", "http://[::1]/", "http://localhost:1"] {
            assert!(is_private_enough(&good.parse().unwrap()), "{good}");
        }
        for bad in ["http://idp.example", "http://10.0.0.1", "http://127.0.0.1.evil.example", "ftp://localhost", "file:///etc/passwd"] {
            assert!(!is_private_enough(&bad.parse().unwrap()), "{bad}");
        }
        assert!(Provider::new("https://idp.example/?a".parse().unwrap(), None).is_err());
        assert!(Provider::new("http://idp.example/".parse().unwrap(), None).is_err());
    }
}
