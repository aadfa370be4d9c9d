//! Several gateways as one: a request goes to the next when one does not answer.
//!
//! Owns: addresses, credentials, when to try again and where. Not: what is asked.
//! Holds: (1) the token goes only to the given gateways, over TLS that the given CA vouches for; no
//! redirect is followed; (2) a refusal is final, only silence and "not now" are tried again; (3) a request
//! that changes something carries what makes its repetition harmless (an idempotency key, an ETag, an offset).

use std::{convert::Infallible, fmt, fs, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, header, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    admin_client::cause,
    exit::{Exit, ExitError},
};

/// Attempts at one request, over all gateways.
pub const ATTEMPTS_MAX: usize = 24;
/// Time that an answer to a small request may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Longest pause between rounds over the gateways.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Largest JSON answer that is read, in bytes.
const JSON_MAX_BYTES: usize = 4 << 20;

/// Which gateways, and as whom.
#[derive(Debug, Clone, Args)]
pub struct GatewayArgs {
    /// Addresses of gateways, separated by commas; the next is used when one does not answer
    #[arg(long, value_name = "URL", env = "KLUIS_GATEWAY", value_delimiter = ',')]
    gateway: Vec<Url>,
    /// CA certificates that the gateways' certificates come from (PEM); the system's when it is not given
    #[arg(long, value_name = "FILE", env = "KLUIS_CA")]
    ca: Option<PathBuf>,
    /// Bearer token. Better in KLUIS_TOKEN: other users can see flags
    #[arg(long, env = "KLUIS_TOKEN", hide_env_values = true)]
    token: Option<Token>,
}

/// A bearer token as it was given; never shown.
#[derive(Clone)]
struct Token(Zeroizing<String>);

impl FromStr for Token {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.trim().to_owned())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Gateways that a caller may ask.
pub struct Gateways {
    addresses: Vec<Url>,
    client: Client,
    token: Zeroizing<String>,
}

impl GatewayArgs {
    /// Ready to ask.
    ///
    /// # Errors
    /// An unreadable CA, an address that is not https.
    pub fn connect(&self) -> Result<Gateways, ExitError> {
        if self.gateway.is_empty() {
            return Err(ExitError::usage("no gateway was given", "set KLUIS_GATEWAY to one or several addresses, or give --gateway"));
        }
        for url in &self.gateway {
            if url.scheme() != "https" {
                return Err(ExitError::usage(format!("{url} is not an https address"), "a token is sent over TLS only"));
            }
        }
        let Token(token) = self
            .token
            .clone()
            .ok_or_else(|| ExitError::usage("no token was given", "set KLUIS_TOKEN; in a demo `kluis demo sign-in` prints one"))?;
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .pool_idle_timeout(Duration::from_secs(20));
        if let Some(ca) = &self.ca {
            let pem = fs::read(ca).map_err(|e| ExitError::file("read", ca, &e))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|e| ExitError::usage(format!("{} is not usable: {}", ca.display(), cause(&e)), ""))?;
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|e| ExitError::failed(format!("TLS cannot be set up: {}", cause(&e))))?;
        Ok(Gateways { addresses: self.gateway.clone(), client, token })
    }
}

/// How one attempt ended.
pub enum Attempt<T> {
    /// Done.
    Done(T),
    /// Not done, but the same may work elsewhere or later: why, and the least pause before.
    Again(ExitError, Duration),
    /// Refused for good.
    Stop(ExitError),
}

/// The part of a problem document (RFC 9457) that is shown.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    trace_id: Option<String>,
}

impl Gateways {
    /// The request for a path at the gateway of an attempt: the first attempts go round the gateways.
    ///
    /// # Errors
    /// The path makes no address.
    pub fn request(&self, attempt: usize, method: Method, path: &str) -> Result<RequestBuilder, ExitError> {
        let address = self
            .addresses
            .get(attempt % self.addresses.len().max(1))
            .ok_or_else(|| ExitError::usage("no gateway was given", "set KLUIS_GATEWAY"))?;
        let url = address.join(path).map_err(|e| ExitError::failed(format!("{address}{path} is no address: {e}")))?;
        Ok(self.client.request(method, url).bearer_auth(self.token.as_str()))
    }

    /// The pause after an attempt: none until every gateway was asked, then longer round by round.
    pub async fn pause(&self, attempt: usize, least: Duration) {
        tokio::time::sleep(pause_after(attempt, self.addresses.len()).max(least)).await;
    }

    /// Tries until it is done, refused, or [`ATTEMPTS_MAX`] attempts have failed.
    ///
    /// # Errors
    /// The refusal, or why the last attempt failed.
    pub async fn attempts<T, F: Future<Output = Attempt<T>>>(&self, mut once: impl FnMut(usize) -> F) -> Result<T, ExitError> {
        let mut last = ExitError::unreachable("no gateway answered", "");
        for attempt in 0..ATTEMPTS_MAX {
            match once(attempt).await {
                Attempt::Done(value) => return Ok(value),
                Attempt::Stop(error) => return Err(error),
                Attempt::Again(error, least) => {
                    last = error;
                    self.pause(attempt, least).await;
                }
            }
        }
        Err(last.or_advice("are the gateways running? KLUIS_GATEWAY takes several, separated by commas"))
    }

    /// A small request, until a gateway answers with success.
    ///
    /// # Errors
    /// Unreachable, or a refusal.
    pub async fn send(&self, method: Method, path: &str, with: &dyn Fn(RequestBuilder) -> RequestBuilder) -> Result<Response, ExitError> {
        self.attempts(|attempt| {
            let request = self.request(attempt, method.clone(), path).map(|r| with(r).timeout(ANSWER_DEADLINE));
            async move {
                match request {
                    Err(error) => Attempt::Stop(error),
                    Ok(request) => judge(request.send().await).await,
                }
            }
        })
        .await
    }

    /// A small request whose answer is JSON.
    ///
    /// # Errors
    /// Unreachable, a refusal, or an answer of another form.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        with: &dyn Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, ExitError> {
        decode(self.send(method, path, with).await?).await
    }
}

/// The JSON of an answer.
///
/// # Errors
/// The connection was lost, or the answer has another form.
pub async fn decode<T: DeserializeOwned>(answer: Response) -> Result<T, ExitError> {
    let url = answer.url().clone();
    let body = bounded(answer).await.map_err(|e| ExitError::unreachable(format!("{url} broke off: {e}"), ""))?;
    serde_json::from_slice(&body).map_err(|e| ExitError::failed(format!("{url} gave an answer of another form: {e}")))
}

async fn bounded(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|e| cause(&e))? {
        if body.len() + part.len() > JSON_MAX_BYTES {
            return Err(format!("more than {JSON_MAX_BYTES} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// What an answer, or its absence, means for the attempt.
pub async fn judge(answer: reqwest::Result<Response>) -> Attempt<Response> {
    let answer = match answer {
        Ok(answer) if answer.status().is_success() => return Attempt::Done(answer),
        Ok(answer) => answer,
        Err(error) if error.is_builder() => {
            return Attempt::Stop(ExitError::usage(format!("the request cannot be made: {}", cause(&error)), ""));
        }
        Err(error) => {
            let whom = error.url().map_or_else(|| "the gateway".to_owned(), |url| url.origin().ascii_serialization());
            return Attempt::Again(ExitError::unreachable(format!("{whom} does not answer: {}", cause(&error)), ""), Duration::ZERO);
        }
    };
    let status = answer.status();
    let wait = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let wait = Duration::from_secs(wait.unwrap_or(0)).min(Duration::from_secs(10));
    let body = bounded(answer).await.unwrap_or_default();
    let (error, again) = judge_refusal(status, &body);
    if again { Attempt::Again(error, wait) } else { Attempt::Stop(error) }
}

/// What a refusal with this body says to a person, and whether the same request may be tried again.
pub fn judge_refusal(status: StatusCode, body: &[u8]) -> (ExitError, bool) {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let again = is_passing(status, &problem.code);
    (refusal(status, problem), again)
}

/// Whether the same request may be answered otherwise in a moment.
fn is_passing(status: StatusCode, code: &str) -> bool {
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
        // The first attempt reached the cluster and is still at work: its answer is asked for again.
        StatusCode::CONFLICT => code == "request_in_flight",
        _ => false,
    }
}

fn refusal(status: StatusCode, problem: Problem) -> ExitError {
    let title = if problem.title.is_empty() { format!("the gateway answered {status}") } else { problem.title };
    let detail = problem.detail.map(|d| format!(": {d}")).unwrap_or_default();
    let code = if problem.code.is_empty() { String::new() } else { format!(" ({})", problem.code) };
    let exit = match status {
        StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Exit::Refused,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let advice = match (status, problem.trace_id) {
        (StatusCode::UNAUTHORIZED, _) => "sign in again: `kluis demo sign-in` prints a token in a demo".to_owned(),
        (_, Some(trace)) => format!("in the gateway's log it is {trace}"),
        (_, None) => String::new(),
    };
    ExitError::new(exit, format!("{title}{detail}{code}"), advice)
}

fn pause_after(attempt: usize, gateways: usize) -> Duration {
    let gateways = gateways.max(1);
    if !(attempt + 1).is_multiple_of(gateways) {
        return Duration::ZERO;
    }
    let round = u32::try_from(attempt / gateways).unwrap_or(u32::MAX).min(6);
    Duration::from_millis(200).saturating_mul(1 << round).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gateway_is_asked_before_the_first_pause_and_pauses_grow_to_a_bound() {
        let pauses: Vec<u128> = (0..9).map(|attempt| pause_after(attempt, 3).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 200, 0, 0, 400, 0, 0, 800]);
        assert_eq!(pause_after(ATTEMPTS_MAX - 1, 1), PAUSE_MAX);
        assert_eq!(pause_after(usize::MAX - 1, 0), PAUSE_MAX);
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        assert!(is_passing(StatusCode::SERVICE_UNAVAILABLE, ""));
        assert!(is_passing(StatusCode::CONFLICT, "request_in_flight"));
        assert!(!is_passing(StatusCode::CONFLICT, "offset_mismatch"));
        for status in [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY, StatusCode::INTERNAL_SERVER_ERROR]
        {
            assert!(!is_passing(status, "request_in_flight"), "{status}");
        }
    }

    #[test]
    fn a_refusal_says_its_code_and_where_to_look() {
        let problem = Problem { code: "over_quota".into(), title: "The vault is full".into(), detail: None, trace_id: Some("ab".into()) };
        let error = refusal(StatusCode::INSUFFICIENT_STORAGE, problem);
        assert_eq!(error.to_string(), "The vault is full (over_quota)\n  -> in the gateway's log it is ab");
        assert_eq!(refusal(StatusCode::PRECONDITION_FAILED, Problem::default()).exit, Exit::Refused);
    }
}
