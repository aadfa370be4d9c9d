//! What a command asks of a node's operator interface: HTTPS with an operator's certificate.
//!
//! Owns: addresses and credentials of that interface, its calls as typed functions. Not: what they do on
//! the other side (`admin`), nor how answers are shown (`cli`).
//! Holds: (1) only the cluster's own CA is trusted, no proxy and no redirect is followed; (2) a call
//! that changes something goes to the next address only when the first was certainly not reached.
//!
//! | call | meaning |
//! |------|---------|
//! | `GET  /ops/status` | [`ClusterStatus`] |
//! | `POST /ops/tokens` [`TokenOptions`] | [`IssuedToken`] |
//! | `GET  /ops/topology/plan` | [`TopologyPlan`] |
//! | `POST /ops/topology` [`ApplyTopology`] | [`TopologyPlan`] that was applied; 412 when it is stale |
//! | `POST /ops/vaults/{id}/limits` [`VaultLimits`] | [`VaultLimitsNow`] |
//! | `POST /ops/offices` [`RegisterPiece`] | [`Imported`] |

use std::{fs, path::Path, time::Duration};

use kluis_chunkstore::ids::{DiskId, NodeId, SiteName};
use reqwest::{Certificate, Client, Identity, Method, StatusCode, redirect};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;
use zeroize::Zeroizing;

use kluis_raft::model::VaultId;

use crate::{
    admin::{
        VaultLimits, VaultLimitsNow,
        offices::{Imported, RegisterPiece},
    },
    demo::record::{self, DemoRecord},
    exit::{Exit, ExitError},
    options::{IssuedToken, TokenOptions},
    status::ClusterStatus,
};

/// Largest answer that is read, in bytes.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// A connection to the operator interface of one or more nodes.
#[derive(Debug, Clone)]
pub struct AdminClient {
    addresses: Vec<Url>,
    client: Client,
}

/// What the next topology would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyPlan {
    /// Version in force; 0 when there is none yet.
    pub current_version: u64,
    /// Version that applying makes; equal to the current one when there is nothing to change.
    pub next_version: u64,
    /// Disks that come in.
    pub added: Vec<PlannedDisk>,
    /// Disks that go out.
    pub removed: Vec<PlannedDisk>,
    /// Why the plan cannot be applied, if it cannot (too few disks a site, for one).
    pub refused: Option<String>,
}

/// A disk in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDisk {
    /// The disk.
    pub disk: DiskId,
    /// Its node.
    pub node: NodeId,
    /// Its site.
    pub site: SiteName,
    /// Its weight.
    pub weight: u32,
}

/// Leave to apply exactly the plan that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyTopology {
    /// The plan's next version.
    pub version: u64,
}

/// A refusal in the form of RFC 9457, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: Option<String>,
}

impl AdminClient {
    /// A client of these addresses (tried in turn), trusting `ca` and showing the operator's certificate.
    ///
    /// # Errors
    /// Unreadable files, no address, or credentials that are none.
    pub fn new(addresses: Vec<Url>, ca: &Path, certificate: &Path, key: &Path) -> Result<Self, ExitError> {
        if addresses.is_empty() {
            return Err(ExitError::usage("no admin address was given", "give --admin https://host:port, or --dir DIR of a demo"));
        }
        let read = |path: &Path| fs::read(path).map_err(|e| ExitError::file("read", path, &e));
        let mut pem = Zeroizing::new(read(certificate)?);
        pem.push(b'\n');
        pem.extend_from_slice(&Zeroizing::new(read(key)?));
        let bad = |what: &Path, e: reqwest::Error| ExitError::usage(format!("{} is not usable: {e}", what.display()), "");
        let client = Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&read(ca)?).map_err(|e| bad(ca, e))?)
            .identity(Identity::from_pem(&pem).map_err(|e| bad(certificate, e))?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|e| bad(certificate, e))?;
        Ok(Self { addresses, client })
    }

    /// A client of a running demo in `dir`, with its operator's credentials.
    ///
    /// # Errors
    /// No demo there, or as [`AdminClient::new`].
    pub fn of_demo(dir: &Path) -> Result<Self, ExitError> {
        let record = DemoRecord::read(dir)?;
        let addresses = record.nodes.iter().map(|n| n.admin.clone()).collect();
        Self::new(addresses, &record.ca_file, &record::operator_dir(dir).join("cert.pem"), &record::operator_dir(dir).join("key.pem"))
    }

    /// The cluster as the first node that answers sees it.
    ///
    /// # Errors
    /// Unreachable, or a refusal.
    pub async fn status(&self) -> Result<ClusterStatus, ExitError> {
        self.call(Method::GET, "ops/status", None::<&()>).await
    }

    /// A new join token.
    ///
    /// # Errors
    /// Unreachable, or a refusal.
    pub async fn create_token(&self, options: &TokenOptions) -> Result<IssuedToken, ExitError> {
        self.call(Method::POST, "ops/tokens", Some(options)).await
    }

    /// What the next topology would change.
    ///
    /// # Errors
    /// Unreachable, or a refusal.
    pub async fn plan_topology(&self) -> Result<TopologyPlan, ExitError> {
        self.call(Method::GET, "ops/topology/plan", None::<&()>).await
    }

    /// Applies the plan that was seen.
    ///
    /// # Errors
    /// Unreachable, or a refusal: [`Exit::Refused`] when the plan is stale or breaks a rule.
    pub async fn apply_topology(&self, version: u64) -> Result<TopologyPlan, ExitError> {
        self.call(Method::POST, "ops/topology", Some(&ApplyTopology { version })).await
    }

    /// Changes a vault's limits.
    ///
    /// # Errors
    /// Unreachable, or a refusal: no such vault, or a quota below what is in use.
    pub async fn set_vault_limits(&self, vault: VaultId, limits: &VaultLimits) -> Result<VaultLimitsNow, ExitError> {
        self.call(Method::POST, &format!("ops/vaults/{vault}/limits"), Some(limits)).await
    }

    /// Takes a piece of the register of offices in.
    ///
    /// # Errors
    /// Unreachable, or a refusal that names the line.
    pub async fn import_offices(&self, piece: &RegisterPiece) -> Result<Imported, ExitError> {
        self.call(Method::POST, "ops/offices", Some(piece)).await
    }

    async fn call<B: Serialize, T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&B>) -> Result<T, ExitError> {
        let mut last = None;
        for address in &self.addresses {
            let url = address.join(path).map_err(|e| ExitError::usage(format!("{address} is no address: {e}"), ""))?;
            let mut request = self.client.request(method.clone(), url);
            if let Some(body) = body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    last = Some(refusal(answer).await);
                }
                Ok(answer) if answer.status().is_success() => return decode(answer).await,
                Ok(answer) => return Err(refusal(answer).await),
                // A change that may have arrived is not sent again elsewhere.
                Err(e) if e.is_connect() || method == Method::GET => last = Some(unreachable(address, &e)),
                Err(e) => return Err(unreachable(address, &e)),
            }
        }
        Err(last.unwrap_or_else(|| ExitError::unreachable("no node answered", "")))
    }
}

async fn decode<T: DeserializeOwned>(answer: reqwest::Response) -> Result<T, ExitError> {
    let url = answer.url().clone();
    let bytes = bounded(answer).await?;
    serde_json::from_slice(&bytes).map_err(|e| ExitError::failed(format!("{url} gave an answer of another form: {e}")))
}

async fn bounded(mut answer: reqwest::Response) -> Result<Vec<u8>, ExitError> {
    let url = answer.url().clone();
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|e| unreachable(&url, &e))? {
        if bytes.len() + part.len() > ANSWER_MAX_BYTES {
            return Err(ExitError::failed(format!("{url} gave an answer of more than {ANSWER_MAX_BYTES} bytes")));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

async fn refusal(answer: reqwest::Response) -> ExitError {
    let status = answer.status();
    let bytes = bounded(answer).await.unwrap_or_default();
    let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
    let exit = match status {
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::UNPROCESSABLE_ENTITY => Exit::Refused,
        StatusCode::SERVICE_UNAVAILABLE => Exit::Unreachable,
        _ => Exit::Failed,
    };
    let title = if problem.title.is_empty() { format!("the node answered {status}") } else { problem.title };
    let detail = problem.detail.map(|d| format!(": {d}")).unwrap_or_default();
    let code = if problem.code.is_empty() { String::new() } else { format!(" ({})", problem.code) };
    ExitError::new(exit, format!("{title}{detail}{code}"), "")
}

fn unreachable(url: &Url, error: &reqwest::Error) -> ExitError {
    ExitError::unreachable(
        format!("{url} does not answer: {}", cause(error)),
        "is the node running? Its log says; `kluis status --admin URL` asks another one",
    )
}

/// The innermost reason of an error: the outer layers only say that a request failed.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(inner) = at.source() {
        at = inner;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_reason_is_shown() {
        let inner = std::io::Error::other("certificate expired");
        let outer = std::io::Error::other(Wrapped(inner));
        assert_eq!(cause(&outer), "certificate expired");
    }

    #[derive(Debug)]
    struct Wrapped(std::io::Error);

    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("request failed")
        }
    }

    impl std::error::Error for Wrapped {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn no_address_and_no_files_are_usage_errors_and_failures() {
        let none = Path::new("/does/not/exist");
        assert_eq!(AdminClient::new(vec![], none, none, none).unwrap_err().exit, Exit::Usage);
        let url = Url::parse("https://127.0.0.1:1").unwrap();
        assert_eq!(AdminClient::new(vec![url], none, none, none).unwrap_err().exit, Exit::Failed);
    }
}
