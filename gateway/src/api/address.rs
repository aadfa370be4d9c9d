//! `PATCH /v1/me`, `/v1/me/email/verify`: the mail address and the language of a person.
//!
//! Owns: both as JSON. Not: where they are kept (with the settings of notices) and what is sent there.
//! Holds: an address is in force once a code that was sent there came back; until then the one before stays.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use http::HeaderMap;
use kluis_raft::{
    command::NoticeCommand,
    model::{Lang, NoticeBox, VaultId},
    view,
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Caller, Gateway, json, notifications::changed, vault::OpenVault};
use crate::{
    notify::{mail::MailAddress, texts::VerificationCode},
    problem::{Code, Problem, ProblemBody},
};

/// What a person says of themselves; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// Mail address; a code is sent there. `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub email: Option<Option<String>>,
    /// Language of titles and mails: `nl`, `fr`, `de` or `en`.
    #[serde(default)]
    pub lang: Option<String>,
}

/// A code that came by mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailCode {
    /// Eight digits.
    pub code: String,
}

/// Mail address and language of a person.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnContact {
    /// The verified mail address.
    pub email: Option<String>,
    /// One that waits for its code.
    pub email_pending: Option<String>,
    /// Language of titles and mails.
    #[schema(value_type = String)]
    pub lang: &'static str,
}

/// Tells `null` from what is absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Mail address and language as they are shown.
///
/// # Errors
/// 503 when an address does not open.
pub(super) fn contact(vault: &OpenVault, own: &NoticeBox) -> Result<OwnContact, Problem> {
    let open = |sealed| vault.open_address(sealed).map(|address| address.as_str().to_owned());
    Ok(OwnContact {
        email: own.address.as_ref().map(open).transpose()?,
        email_pending: own.pending.as_ref().map(|pending| open(&pending.address)).transpose()?,
        lang: own.lang.as_str(),
    })
}

fn wrong(pointer: &str, why: impl std::fmt::Display) -> Problem {
    Problem::new(Code::BadJson, "the body is not the JSON that is wanted").with_error(pointer, why.to_string())
}

fn code_hash(gateway: &Gateway, vault: VaultId, code: &VerificationCode) -> [u8; 32] {
    gateway.lookup.hash(&[&b"kluis mail code v1"[..], &vault.to_bytes(), code.as_str().as_bytes()].concat())
}

/// Changes mail address or language of the caller.
#[utoipa::path(
    patch, path = "/v1/me", tag = "me", security(("bearer" = [])),
    request_body(content = ChangeMe, content_type = "application/json"),
    responses(
        (status = 200, body = OwnContact),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OwnContact>, Problem> {
    let change: ChangeMe = json::body(&gateway, &headers, body).await?;
    // All is read before any of it is done.
    let lang = change.lang.map(|text| Lang::parse(&text).ok_or_else(|| wrong("/lang", "nl, fr, de or en"))).transpose()?;
    let address = match change.email {
        Some(Some(text)) => Some(Some(MailAddress::parse(&text).map_err(|bad| wrong("/email", bad))?)),
        Some(None) => Some(None),
        None => None,
    };
    if matches!(address, Some(Some(_))) && !gateway.notify.has_mail() {
        return Err(Problem::plain(Code::MailOff));
    }
    let read = gateway.metadata.view();
    let mut own = Box::new(view::notice::notice_box(&*read, caller.vault)?);
    let vault = OpenVault::open(&gateway, read, caller.vault).await?;
    if let Some(lang) = lang {
        own = changed(&gateway, NoticeCommand::SetLang { vault: caller.vault, lang }).await?;
    }
    match address {
        Some(Some(address)) => {
            let sealed = vault.seal_address(&address)?;
            if own.address.as_ref() != Some(&sealed) {
                let code = VerificationCode::generate(&*gateway.entropy);
                let command = NoticeCommand::SetAddress {
                    vault: caller.vault,
                    address: sealed,
                    code: vault.seal_code(&code)?,
                    code_hash: code_hash(&gateway, caller.vault, &code),
                };
                own = changed(&gateway, command).await?;
            }
        }
        Some(None) => own = changed(&gateway, NoticeCommand::RemoveAddress { vault: caller.vault }).await?,
        None => {}
    }
    Ok(Json(contact(&vault, &own)?))
}

/// Brings back the code that was sent to a mail address, which is in force from then on.
#[utoipa::path(
    post, path = "/v1/me/email/verify", tag = "me", security(("bearer" = [])),
    request_body(content = EmailCode, content_type = "application/json"),
    responses(
        (status = 200, body = OwnContact),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn verify(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OwnContact>, Problem> {
    let EmailCode { code } = json::body(&gateway, &headers, body).await?;
    let code = VerificationCode::parse(&code).ok_or_else(|| wrong("/code", "eight digits"))?;
    let command = NoticeCommand::VerifyAddress { vault: caller.vault, code_hash: code_hash(&gateway, caller.vault, &code) };
    let own = changed(&gateway, command).await?;
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    Ok(Json(contact(&vault, &own)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_takes_away_and_absence_does_not() {
        let read = |text: &str| serde_json::from_str::<ChangeMe>(text).map(|change| change.email).map_err(|_| ());
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"email": null}"#), Ok(Some(None)));
        assert_eq!(read(r#"{"email": "a"}"#), Ok(Some(Some("a".to_owned()))));
        assert_eq!(read(r#"{"email": 1}"#), Err(()));
        assert_eq!(read(r#"{"mail": "a"}"#), Err(()));
    }
}
