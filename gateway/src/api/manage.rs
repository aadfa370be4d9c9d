//! A document after its upload: name and attributes, trash and restore, old versions; and the list of categories.
//!
//! Owns: `PATCH /v1/documents/{id}`, `/trash`, `/restore`, `/versions/{n}/restore`, `/v1/categories`. Not: its end
//! ([`super::documents::delete`]).
//! Holds: nothing is changed without the ETag that the client saw.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use kluis_raft::{
    command::{ChangeDocument, Command, DocumentCommand},
    model::{Category, DocType, Document},
    outcome::{DocumentOutcome, Outcome},
    policy::Action,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    attributes::{self, Said, bad_member},
    documents::{DocumentView, answer, etag, find, require_match},
    json,
    name::{DocumentName, Label},
    rights, trail,
    vault::OpenVault,
};
use crate::problem::{Code, Problem, ProblemBody};

/// A change of a document: what is not there stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentPatch {
    /// The new name.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// A key of `GET /v1/categories`; null is `other`.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<String>)]
    category: Option<Option<String>>,
    /// A key of `GET /v1/categories`; null is `other`.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<String>)]
    doc_type: Option<Option<String>>,
    /// All labels from now on; null is none.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<Vec<String>>)]
    labels: Option<Option<Vec<String>>>,
    /// Whether it may be shared at all. False ends all its shares and links at once, those that wait included.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<bool>)]
    shareable: Option<Option<bool>>,
    /// When what it says runs out, YYYY-MM-DD; null takes it away.
    #[serde(default, deserialize_with = "json::given")]
    #[schema(value_type = Option<String>)]
    expires_on: Option<Option<String>>,
}

/// Changes name or attributes of a document: a JSON merge patch.
#[utoipa::path(
    patch, path = "/v1/documents/{id}", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("If-Match" = String, Header, description = "The ETag that you saw, or *."),
    ),
    request_body(content = DocumentPatch, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, body = DocumentView, headers(("ETag" = String, description = "The new revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let patch: DocumentPatch = json::patch(&gateway, &headers, body).await?;
    let (vault, document) = find(&gateway, &caller, &document).await?;
    rights::own(&caller, &document, &document.current.scan, Action::Change)?;
    require_match(&headers, &etag(&document))?;
    let mut label = vault.open_label(document.id, &document.name)?;
    let trail = trail::of_caller(&gateway, &caller, &vault, Some(&label))?;
    let change = read_patch(patch, &vault, &document, &mut label)?;
    let document = changed(&gateway, DocumentCommand::Change(change), trail).await?;
    answer(&vault, &document, StatusCode::OK)
}

fn read_patch(patch: DocumentPatch, vault: &OpenVault, document: &Document, label: &mut Label) -> Result<ChangeDocument, Problem> {
    let text =
        |member: &Option<Option<String>>, default: &str| member.as_ref().map(|value| value.clone().unwrap_or_else(|| default.to_owned()));
    let (category, doc_type) = (text(&patch.category, Category::Other.key()), text(&patch.doc_type, DocType::Other.key()));
    let labels = patch.labels.map(Option::unwrap_or_default);
    let shareable = match patch.shareable {
        None => None,
        Some(Some(shareable)) => Some(shareable),
        Some(None) => return Err(bad_member("shareable", "true or false is wanted")),
    };
    let said = Said::checked(category.as_deref(), doc_type.as_deref(), labels, shareable, None, &bad_member)?;
    let expires_on = match &patch.expires_on {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(attributes::date(text, &bad_member)?)),
    };
    let name = match &patch.name {
        None => None,
        Some(None) => return Err(Problem::new(Code::BadName, "a document has a name")),
        Some(Some(name)) => {
            label.name = DocumentName::new(name).map_err(|e| Problem::new(Code::BadName, e.to_string()))?;
            Some(vault.seal_label(document.id, label)?)
        }
    };
    Ok(ChangeDocument {
        vault: vault.id(),
        document: document.id,
        revision: document.revision,
        name,
        category: said.category,
        doc_type: said.doc_type,
        labels: said.labels.as_deref().map(|words| attributes::sealed(vault, words)).transpose()?,
        shareable: said.shareable,
        expires_on,
    })
}

async fn changed(gateway: &Gateway, act: DocumentCommand, trail: kluis_raft::model::Trail) -> Result<Document, Problem> {
    match gateway.propose(Command::Document { act: Box::new(act), trail: Box::new(trail) }).await? {
        Outcome::Document(DocumentOutcome::Changed { document, .. }) => Ok(*document),
        other => Err(Problem::internal(format!("unexpected answer about a document: {other:?}"))),
    }
}

/// Does `act` with the caller's document, under the policy and the ETag that the client saw.
async fn act(
    gateway: &Gateway,
    caller: &Caller,
    (document, headers): (&str, &HeaderMap),
    action: Action,
    act: fn(&Document, u32) -> DocumentCommand,
    number: u32,
) -> Result<Response, Problem> {
    let (vault, document) = find(gateway, caller, document).await?;
    rights::own(caller, &document, &document.current.scan, action)?;
    require_match(headers, &etag(&document))?;
    let label = vault.open_label(document.id, &document.name)?;
    let trail = trail::of_caller(gateway, caller, &vault, Some(&label))?;
    let document = changed(gateway, act(&document, number), trail).await?;
    answer(&vault, &document, StatusCode::OK)
}

/// Puts a document into the trash: its shares show nothing meanwhile, after 30 days it is erased.
#[utoipa::path(
    post, path = "/v1/documents/{id}/trash", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("If-Match" = String, Header, description = "The ETag that you saw, or *."),
    ),
    responses(
        (status = 200, body = DocumentView, headers(("ETag" = String, description = "The new revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn trash(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let command = |d: &Document, _: u32| DocumentCommand::Trash { vault: d.vault, document: d.id, revision: d.revision };
    act(&gateway, &caller, (document.as_str(), &headers), Action::Trash, command, 0).await
}

/// Takes a document out of the trash.
#[utoipa::path(
    post, path = "/v1/documents/{id}/restore", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("If-Match" = String, Header, description = "The ETag that you saw, or *."),
    ),
    responses(
        (status = 200, body = DocumentView, headers(("ETag" = String, description = "The new revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn restore(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let command = |d: &Document, _: u32| DocumentCommand::Restore { vault: d.vault, document: d.id, revision: d.revision };
    act(&gateway, &caller, (document.as_str(), &headers), Action::Restore, command, 0).await
}

/// Makes an older version the content again: a new version over the same bytes.
#[utoipa::path(
    post, path = "/v1/documents/{id}/versions/{n}/restore", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("n" = u32, Path, description = "The version's number."),
        ("If-Match" = String, Header, description = "The ETag that you saw, or *."),
    ),
    responses(
        (status = 200, body = DocumentView, headers(("ETag" = String, description = "The new revision."))),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn restore_version(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((document, number)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let number = super::documents::id(&number)?;
    let command =
        |d: &Document, version: u32| DocumentCommand::RestoreVersion { vault: d.vault, document: d.id, revision: d.revision, version };
    act(&gateway, &caller, (document.as_str(), &headers), Action::AddVersion, command, number).await
}

/// A text in the four languages.
#[derive(Debug, Serialize, ToSchema)]
pub struct Texts {
    /// Dutch.
    #[schema(value_type = String)]
    nl: &'static str,
    /// French.
    #[schema(value_type = String)]
    fr: &'static str,
    /// German.
    #[schema(value_type = String)]
    de: &'static str,
    /// English.
    #[schema(value_type = String)]
    en: &'static str,
}

/// A key with its text.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// What requests and answers say.
    #[schema(value_type = String)]
    key: &'static str,
    /// What people read.
    label: Texts,
}

/// The categories and types of documents.
#[derive(Debug, Serialize, ToSchema)]
pub struct Categories {
    /// Where a document is filed, in the order that they are shown in.
    categories: Vec<KeyView>,
    /// What it is.
    types: Vec<KeyView>,
}

fn key(key: &'static str, [nl, fr, de, en]: [&'static str; 4]) -> KeyView {
    KeyView { key, label: Texts { nl, fr, de, en } }
}

fn category(category: Category) -> [&'static str; 4] {
    match category {
        Category::Personal => ["Persoonlijk", "Personnel", "Persönlich", "Personal"],
        Category::Finance => ["Financiën", "Finances", "Finanzen", "Finance"],
        Category::Possessions => ["Bezittingen", "Biens", "Besitz", "Possessions"],
        Category::Home => ["Woning", "Logement", "Wohnung", "Home"],
        Category::Family => ["Familie", "Famille", "Familie", "Family"],
        Category::Work => ["Werk", "Travail", "Arbeit", "Work"],
        Category::Health => ["Gezondheid", "Santé", "Gesundheit", "Health"],
        Category::Succession => ["Nalatenschap", "Succession", "Nachlass", "Succession"],
        Category::Other => ["Andere", "Autres", "Sonstiges", "Other"],
    }
}

fn doc_type(doc_type: DocType) -> [&'static str; 4] {
    match doc_type {
        DocType::Deed => ["Notariële akte", "Acte notarié", "Notarielle Urkunde", "Notarial deed"],
        DocType::Contract => ["Contract", "Contrat", "Vertrag", "Contract"],
        DocType::Diploma => ["Diploma", "Diplôme", "Diplom", "Diploma"],
        DocType::Will => ["Testament", "Testament", "Testament", "Will"],
        DocType::Tax => ["Belastingen", "Impôts", "Steuern", "Tax"],
        DocType::BankStatement => ["Rekeninguittreksel", "Extrait de compte", "Kontoauszug", "Bank statement"],
        DocType::Payslip => ["Loonfiche", "Fiche de paie", "Gehaltsabrechnung", "Payslip"],
        DocType::Identity => ["Identiteitsbewijs", "Pièce d'identité", "Ausweis", "Proof of identity"],
        DocType::Certificate => ["Attest", "Attestation", "Bescheinigung", "Certificate"],
        DocType::Epc => ["EPC-attest", "Certificat PEB", "Energieausweis", "Energy performance certificate"],
        DocType::ElectricalCertificate => {
            ["Elektrische keuring", "Contrôle électrique", "Prüfung der Elektroanlage", "Electrical inspection report"]
        }
        DocType::PasswordList => ["Wachtwoordenlijst", "Liste de mots de passe", "Passwortliste", "List of passwords"],
        DocType::Other => ["Andere", "Autres", "Sonstiges", "Other"],
    }
}

/// The categories and types that a document can have, in four languages.
#[utoipa::path(
    get, path = "/v1/categories", tag = "documents", security(("bearer" = [])),
    responses(
        (status = 200, body = Categories),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn categories(_: Caller) -> Json<Categories> {
    Json(Categories {
        categories: Category::ALL.iter().map(|c| key(c.key(), category(*c))).collect(),
        types: DocType::ALL.iter().map(|t| key(t.key(), doc_type(*t))).collect(),
    })
}
