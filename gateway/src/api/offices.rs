//! `/v1/offices`: the directory of notaries' offices; `/v1/me/reference-office`: the one that a person names.
//!
//! Owns: the directory's search, the import of the register ([`import`], which operators call through a node). Not: what
//! an office does ([`super::office`]).
//! Holds: (1) the directory shows what the public register says and nothing else; (2) a national number of the register
//! is hashed here and kept nowhere; (3) naming an office shows it nothing.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, State},
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::{Command, OfficeCommand, RegisterEntry, RegisterNotary},
    model::{Office, OfficeId, StaffId, VaultId},
    outcome::{OfficeOutcome, Outcome},
    store::Read,
    view,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    acting::role_name,
    documents::{id, rfc3339},
    json,
    office::STAFF_NAME,
    params::Params,
};
use crate::{
    auth::national_number::NationalNumber,
    keys::vault_key::seal_text,
    problem::{Code, Problem, ProblemBody},
};

/// Most offices of one answer.
const FOUND_MAX: usize = 50;
const QUERY_CHARS_MAX: usize = 100;

/// An office of the directory.
#[derive(Debug, Serialize, ToSchema)]
pub struct OfficeView {
    /// Opaque id, for ever the same.
    pub id: String,
    /// Number in the register.
    pub register_number: String,
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Names of its notaries.
    pub notaries: Vec<String>,
    /// `active`, `closed`, or `merged` into `successor`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// The office that took over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// The offices that this one took over.
    pub successor_of: Vec<String>,
}

/// Offices that were found.
#[derive(Debug, Serialize, ToSchema)]
pub struct OfficeList {
    /// At most 50.
    pub offices: Vec<OfficeView>,
    /// Whether there are more: ask with more words.
    pub more: bool,
}

/// The office that a person names.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReference {
    /// The office.
    pub office_id: String,
}

/// The office that a person named.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReferenceView {
    /// The office as it is now: the successor of the one that was named, where it ended.
    pub office: OfficeView,
    /// Since when.
    pub since: String,
}

/// An office that the caller is staff of.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnOffice {
    /// The office.
    pub office: OfficeView,
    /// `reader`, `clerk`, `notary`.
    #[schema(value_type = String)]
    pub role: &'static str,
}

/// The offices that the caller is staff of.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnOffices {
    /// The offices: what `Kluis-Office` takes.
    pub offices: Vec<OwnOffice>,
}

fn shown(office: &Office, all: &[Office]) -> OfficeView {
    let state = match (office.is_active(), office.successor) {
        (true, _) => "active",
        (false, None) => "closed",
        (false, Some(_)) => "merged",
    };
    OfficeView {
        id: office.id.to_string(),
        register_number: office.register.clone(),
        name: office.name.clone(),
        address: office.address.clone(),
        notaries: office.notaries.clone(),
        state,
        successor: office.successor.map(|id| id.to_string()),
        successor_of: all.iter().filter(|other| other.successor == Some(office.id)).map(|other| other.id.to_string()).collect(),
    }
}

/// Whether an office has every word somewhere.
fn matches(office: &Office, words: &[String]) -> bool {
    let parts = [&office.name, &office.address, &office.register].into_iter().chain(&office.notaries);
    let whole = parts.map(|part| part.to_lowercase()).collect::<Vec<_>>().join("\n");
    words.iter().all(|word| whole.contains(word.as_str()))
}

/// Finds offices by words of their name, address, notaries or number.
#[utoipa::path(
    get, path = "/v1/offices", tag = "offices", security(("bearer" = [])),
    params(("q" = Option<String>, Query, description = "Words, at most 100 characters; all of them are wanted.")),
    responses(
        (status = 200, body = OfficeList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(gateway): State<Arc<Gateway>>, _caller: Caller, RawQuery(query): RawQuery) -> Result<Json<OfficeList>, Problem> {
    let params = Params::parse(query.as_deref(), &["q"])?;
    let asked = params.value("q").unwrap_or_default();
    if asked.chars().count() > QUERY_CHARS_MAX {
        return Err(Problem::new(Code::BadParameter, format!("q: at most {QUERY_CHARS_MAX} characters")));
    }
    let words: Vec<String> = asked.split_whitespace().map(str::to_lowercase).collect();
    let all = view::office::offices(&*gateway.metadata.view())?;
    let mut found = all.iter().filter(|office| matches(office, &words));
    let offices = found.by_ref().take(FOUND_MAX).map(|office| shown(office, &all)).collect();
    Ok(Json(OfficeList { offices, more: found.next().is_some() }))
}

/// An office.
#[utoipa::path(
    get, path = "/v1/offices/{id}", tag = "offices", security(("bearer" = [])),
    params(("id" = String, Path, description = "The office's id.")),
    responses(
        (status = 200, body = OfficeView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(State(gateway): State<Arc<Gateway>>, _caller: Caller, Path(office): Path<String>) -> Result<Json<OfficeView>, Problem> {
    let office: OfficeId = id(&office)?;
    let all = view::office::offices(&*gateway.metadata.view())?;
    let found = all.iter().find(|known| known.id == office).ok_or_else(|| Problem::plain(Code::NotFound))?;
    Ok(Json(shown(found, &all)))
}

/// The offices that the caller is staff of.
#[utoipa::path(
    get, path = "/v1/me/offices", tag = "offices", security(("bearer" = [])),
    responses(
        (status = 200, body = OwnOffices),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn own(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Json<OwnOffices>, Problem> {
    let read = gateway.metadata.view();
    let account = view::account(&*read, caller.account)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let all = view::office::offices(&*read)?;
    let offices = view::office::offices_of(&*read, &account.lookup)?;
    let offices = offices.iter().map(|(office, role)| OwnOffice { office: shown(office, &all), role: role_name(*role) }).collect();
    Ok(Json(OwnOffices { offices }))
}

/// The office that the caller named.
#[utoipa::path(
    get, path = "/v1/me/reference-office", tag = "offices", security(("bearer" = [])),
    responses(
        (status = 200, body = ReferenceView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn reference(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Json<ReferenceView>, Problem> {
    named_by(&*gateway.metadata.view(), caller.vault)
}

fn named_by(read: &dyn Read, vault: VaultId) -> Result<Json<ReferenceView>, Problem> {
    let (reference, office) = view::office::reference(read, vault)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
    let all = view::office::offices(read)?;
    Ok(Json(ReferenceView { office: shown(&office, &all), since: rfc3339(reference.since_ms) }))
}

/// Names an office as one's reference. The office is not told, and sees nothing.
#[utoipa::path(
    put, path = "/v1/me/reference-office", tag = "offices", security(("bearer" = [])),
    request_body(content = NewReference, content_type = "application/json"),
    responses(
        (status = 200, body = ReferenceView),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn set_reference(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ReferenceView>, Problem> {
    let NewReference { office_id } = json::body(&gateway, &headers, body).await?;
    let command = OfficeCommand::SetReference { on: caller.in_person().behalf(), office: id(&office_id)? };
    gateway.propose(Command::Office(Box::new(command))).await?;
    named_by(&*gateway.current().await?, caller.vault)
}

/// Names no office any more.
#[utoipa::path(
    delete, path = "/v1/me/reference-office", tag = "offices", security(("bearer" = [])),
    responses(
        (status = 204, description = "None is named."),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn clear_reference(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<StatusCode, Problem> {
    let command = OfficeCommand::ClearReference { on: caller.in_person().behalf() };
    gateway.propose(Command::Office(Box::new(command))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A notary as a line of the register has them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotaryLine {
    /// Name.
    pub name: String,
    /// National number, of one who may act for the office.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub national_number: Option<String>,
    /// Whether the notary is suspended.
    #[serde(default)]
    pub suspended: bool,
}

/// Numbers are personal: never in logs.
impl std::fmt::Debug for NotaryLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotaryLine(..)")
    }
}

/// A line of the register.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficeLine {
    /// Number in the register.
    pub register_number: String,
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Its notaries.
    #[serde(default)]
    pub notaries: Vec<NotaryLine>,
    /// Register numbers of the offices that it took over, which stand on lines before.
    #[serde(default)]
    pub successor_of: Vec<String>,
    /// Whether it ended.
    #[serde(default)]
    pub closed: bool,
}

/// Takes an office of the register in; whether it is new. Vault and key are made with it.
///
/// # Errors
/// 422 for a line that breaks a limit, 409 when it changed meanwhile, 503.
pub async fn import(gateway: &Gateway, line: &OfficeLine) -> Result<bool, Problem> {
    let now_ms = gateway.clock.now_ms();
    let read = gateway.current().await?;
    let (office, vault, key, keys) = match view::office::by_register(&*read, &line.register_number)? {
        Some(known) => {
            let record = view::vault(&*read, known.vault)?.ok_or_else(|| Problem::internal("an office has no vault"))?;
            (known.id, known.vault, gateway.keys.vault_key(known.vault, &record.keys).await?, Vec::new())
        }
        None => {
            let vault = VaultId::new(now_ms, gateway.random());
            let (key, keys) = gateway.keys.create_vault_key(vault).await?;
            (OfficeId::new(now_ms, gateway.random()), vault, key, keys)
        }
    };
    let mut members = Vec::new();
    for notary in &line.notaries {
        let Some(number) = &notary.national_number else { continue };
        let bad = |_| Problem::new(Code::Unprocessable, format!("office {}: a national number is none", line.register_number));
        let number: NationalNumber = number.parse().map_err(bad)?;
        let lookup = number.lookup_hash(&gateway.lookup);
        let known = view::office::member(&*read, office, &lookup)?;
        let id = known.map_or_else(|| StaffId::new(now_ms, gateway.random()), |known| known.id);
        let name = seal_text(&key, STAFF_NAME, &id.to_bytes(), notary.name.as_bytes())?;
        members.push(RegisterNotary { id, lookup, name, suspended: notary.suspended });
    }
    let entry = RegisterEntry {
        office,
        vault,
        keys,
        register: line.register_number.clone(),
        name: line.name.clone(),
        address: line.address.clone(),
        notaries: line.notaries.iter().map(|notary| notary.name.clone()).collect(),
        members,
        closed: line.closed,
        successor_of: line.successor_of.clone(),
    };
    match gateway.propose(Command::Office(Box::new(OfficeCommand::ImportRegister { entries: vec![entry] }))).await? {
        Outcome::Office(OfficeOutcome::Imported { created, .. }) => Ok(created > 0),
        other => Err(Problem::internal(format!("unexpected answer about the register: {other:?}"))),
    }
}
