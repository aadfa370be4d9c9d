//! The way to a responder that knows whether a card was revoked.
//!
//! Owns: which addresses are asked, and the request with its bounds. Not: what is asked and answered (`super::ocsp`).
//! Holds: (1) a certificate's address is asked only when its host is one that the operator named: a certificate is
//! somebody else's text; (2) every request ends after [`DEADLINE`], no answer is read past [`ANSWER_BYTES_MAX`], no
//! redirect is followed; (3) plain HTTP only: answers are signed, and need no other authority's word.

use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
    redirect,
};
use url::Url;

use crate::auth::oidc::{AuthError, BadProvider, DEADLINE};

/// Most bytes of an answer: real ones have about two thousand.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Responder {
    client: Client,
    /// Hosts, with their port where it is not 80.
    hosts: Vec<String>,
}

impl Responder {
    pub(super) fn new(hosts: Vec<String>) -> Result<Self, BadProvider> {
        let builder = Client::builder().timeout(DEADLINE).connect_timeout(DEADLINE).redirect(redirect::Policy::none());
        let client = builder.referer(false).no_proxy().tls_certs_only([]).build();
        Ok(Self { client: client.map_err(|error| BadProvider(error.to_string()))?, hosts })
    }

    /// Whether any host may be asked at all.
    pub(super) fn is_used(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// The first address that may be asked.
    pub(super) fn choose<'a>(&self, mut addresses: impl Iterator<Item = &'a str>) -> Option<Url> {
        addresses.find_map(|address| Url::parse(address).ok().filter(|url| self.may_ask(url)))
    }

    fn may_ask(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let place = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        url.scheme() == "http" && url.username().is_empty() && url.password().is_none() && self.hosts.contains(&place)
    }

    /// What the responder at `url` answers.
    pub(super) async fn ask(&self, url: Url, question: Vec<u8>) -> Result<Vec<u8>, AuthError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            tracing::warn!(host, %error, "the responder for cards does not answer");
            AuthError::RevocationUnknown
        };
        let request = self.client.post(url).header(CONTENT_TYPE, HeaderValue::from_static("application/ocsp-request")).body(question);
        let mut response = request.send().await.map_err(&unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(AuthError::RevocationUnknown);
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(&unreachable)? {
            if answer.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(AuthError::RevocationUnknown);
            }
            answer.extend_from_slice(&piece);
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_hosts_are_asked() {
        let responder = Responder::new(vec!["ocsp.example".to_owned(), "127.0.0.1:8888".to_owned()]).unwrap();
        let chosen = |address: &str| responder.choose([address].into_iter()).is_some();
        assert!(chosen("http://ocsp.example/x") && chosen("http://127.0.0.1:8888") && chosen("http://ocsp.example:80/"));
        for bad in [
            "https://ocsp.example/",
            "http://ocsp.example:81/",
            "http://169.254.169.254/",
            "http://ocsp.example@evil.example/",
            "http://a@ocsp.example/",
            "http://ocsp.example.evil.example/",
            "file:///etc/passwd",
            "x",
        ] {
            assert!(!chosen(bad), "{bad}");
        }
        assert!(responder.choose(["http://evil.example/", "http://ocsp.example/"].into_iter()).is_some());
    }
}
