//! Every error that the API answers, each with its stable code (RFC 9457).
//!
//! Owns: the table of codes and the conversion of refusals from below into it. Not: the trace id and the
//! path, which [`crate::router`] adds when the answer leaves.
//! Holds: (1) a code, once published, keeps its meaning and its status; (2) no detail tells whether
//! something of another person exists; (3) every 401 has the same text.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use kluis_raft::{
    client::MetadataError,
    outcome::{IdentityRefusal, Refusal},
    policy::Denial,
    store::StoreError,
};
use serde::Serialize;

use crate::{auth::oidc::AuthError, ports::BytesError};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal, $help:literal;)+) => {
        /// A stable name of an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The text in `code`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status, as a number.
            pub fn status_number(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// One line for people, the same every time.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// What to do about it.
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)+ }
            }
        }
    };
}

codes! {
    BadRequest = "bad_request", 400, "The request is not well-formed", "Correct the request; the detail says where it is wrong.";
    BadName = "bad_name", 400, "The document's name cannot be used", "Use 1 to 255 characters (at most 1,024 bytes of UTF-8) in composed form (NFC), without control characters.";
    BadMediaType = "bad_media_type", 400, "The media type cannot be used", "Send a Content-Type of the form type/subtype, at most 255 bytes.";
    BadParameter = "bad_parameter", 400, "A parameter cannot be used", "Correct the parameter that the detail names.";
    BadHeader = "bad_header", 400, "A header field cannot be used", "Correct the header field that the detail names.";
    BadCursor = "bad_cursor", 400, "The cursor was not made by this service", "Take the cursor from the Link header of the page before, or start without one.";
    BadDigest = "bad_digest", 400, "The digest field cannot be read", "Send sha-256=:BASE64: as RFC 9530 describes.";
    BadJson = "bad_json", 400, "The JSON body cannot be used", "Correct the member that errors[] points at.";
    JsonTooDeep = "json_too_deep", 400, "The JSON body is nested too deeply", "Bodies have at most 16 levels.";
    TooManyRanges = "too_many_ranges", 400, "Too many ranges in one request", "Ask for at most 16 ranges at a time.";
    IdempotencyKeyMissing = "idempotency_key_missing", 400, "An Idempotency-Key is needed", "Send a fresh random Idempotency-Key with each new request, and the same one with each retry.";
    LengthMismatch = "length_mismatch", 400, "The content is shorter or longer than announced", "Send exactly as many bytes as announced.";
    HostRefused = "host_refused", 400, "The Host header is missing or given twice", "Send one Host header.";
    Unauthenticated = "unauthenticated", 401, "Sign in first", "Sign in, and send the token as Authorization: Bearer.";
    WeakIdentity = "weak_identity", 401, "The identity was not proved strongly enough", "Sign in with a means of the highest assurance level.";
    LoginExpired = "login_expired", 401, "The sign-in took too long", "Start the sign-in again.";
    LoginReplayed = "login_replayed", 401, "This sign-in was completed before", "Start the sign-in again.";
    LoginMismatch = "login_mismatch", 401, "The sign-in was not started in this browser", "Start the sign-in again, in one browser, with cookies on.";
    LoginRefused = "login_refused", 401, "The identity provider did not confirm the sign-in", "Start the sign-in again.";
    TokenInvalid = "token_invalid", 401, "The identity provider's statement cannot be trusted", "Start the sign-in again; if it happens again, tell the operators.";
    CertificateRefused = "certificate_refused", 401, "The card's certificate is not accepted", "Use a valid identity card, with its certificate for signing in; the detail says what is wrong.";
    CrossSite = "cross_site", 403, "The request came from another site", "Use the pages of this service, or a bearer token.";
    StepUpRequired = "step_up_required", 403, "This needs a fresh proof of who you are", "Send POST /v1/auth/NAME/start with this session's token, NAME from GET /v1/auth (for eid, with ?step_up=true), finish that sign-in, and repeat the request within ten minutes.";
    Underage = "underage", 403, "This service is for older people", "It can be used from the age that its operator set.";
    ScopeExceeded = "scope_exceeded", 403, "This credential does not reach so far", "Use a service with the scope that this operation needs, or sign in as a person.";
    Role = "role", 403, "Your role does not reach so far", "Ask somebody with the role that this needs; who is no staff of an office, or was suspended, does nothing there.";
    NotFound = "not_found", 404, "There is no such thing here", "Check the address. What is not yours is not shown either.";
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here", "Use one of the methods in the Allow header.";
    BodyTimeout = "body_timeout", 408, "The body came too slowly", "Send at least 1 KiB/s, or use a resumable upload.";
    RequestInFlight = "request_in_flight", 409, "The first request with this Idempotency-Key is still running", "Wait and repeat the request.";
    OffsetMismatch = "offset_mismatch", 409, "The offset is not where the upload stands", "Ask with HEAD where the upload stands, and go on from there.";
    UploadBusy = "upload_busy", 409, "Another request is writing to this upload", "Wait until it ends, or send it again later.";
    UploadRestart = "upload_restart", 409, "The upload met too many failures", "Begin a new upload.";
    TooManyServices = "too_many_services", 409, "The vault has as many services as it may have", "Delete one that is not used.";
    TooManyWebhooks = "too_many_webhooks", 409, "The vault has as many webhooks as it may have", "Delete one that is not used.";
    MailOff = "mail_off", 409, "This service sends no mail", "Use the list of notices, or a webhook.";
    SelfInvite = "self_invite", 409, "This is your own invitation", "Pass the code on to the one whom you invite.";
    AlreadyInvited = "already_invited", 409, "An invitation to this address is open", "Wait for the answer, or withdraw it first.";
    AlreadyContacts = "already_contacts", 409, "You are contacts already", "There is nothing to do.";
    Blocked = "blocked", 409, "You have blocked this one", "End the block first.";
    AlreadyStaff = "already_staff", 409, "This person is a member already", "Change the member's role.";
    LastNotary = "last_notary", 409, "An office keeps a notary who may act", "Add another notary first.";
    NotShared = "not_shared", 409, "The document is not shared with this office", "Share it first, then name it here.";
    Conflict = "conflict", 409, "The thing changed meanwhile", "Read it again and repeat the request.";
    CodeExpired = "code_expired", 410, "No code is expected", "Send the mail address again: a new code is sent there.";
    DocumentGone = "document_gone", 410, "The document was deleted", "It cannot be brought back.";
    Expired = "expired", 410, "The time of this is over", "It ran out, was used as often as it may be, or was stopped. Ask for a new one.";
    PreconditionFailed = "precondition_failed", 412, "The thing changed since you read it", "Read it again and send its new ETag.";
    TusVersion = "tus_version", 412, "This version of the tus protocol is not spoken here", "Send Tus-Resumable: 1.0.0.";
    TooLarge = "too_large", 413, "The content is too large", "The limit stands in the detail.";
    UriTooLong = "uri_too_long", 414, "The address is too long", "Use a shorter one.";
    ContentEncoding = "content_encoding", 415, "Encoded content is not taken", "Documents are kept as they are: send the bytes without Content-Encoding.";
    MediaTypeRefused = "media_type_refused", 415, "The body has the wrong media type", "Send the media type that the documentation names.";
    TypeRefused = "type_refused", 415, "This kind of content is not taken", "The detail says why. Programs, macros and what a password protects are not taken.";
    RangeNotSatisfiable = "range_not_satisfiable", 416, "The range lies outside the document", "Content-Range says how long the document is.";
    WrongHost = "wrong_host", 421, "This request is for another host", "Connect to the host that the address names.";
    DigestMismatch = "digest_mismatch", 422, "The content does not match its digest", "Send the content again.";
    MalwareDetected = "malware_detected", 422, "The content is malicious", "Nothing was stored. Check the device that the file comes from.";
    OfficeInactive = "office_inactive", 422, "The office is not active", "Take another office from the directory; successor_of and successor say which.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The Idempotency-Key was used for another request", "Use a fresh key for each new request.";
    UrlRefused = "url_refused", 422, "Notices are not posted to this address", "Use an https address of the public network, without a user, a password or a fragment.";
    CodeWrong = "code_wrong", 422, "The code is wrong", "Enter the eight digits of the newest mail.";
    Unprocessable = "unprocessable", 422, "A value breaks a limit", "The detail says which.";
    PreconditionRequired = "precondition_required", 428, "If-Match is needed", "Send the ETag that you saw in If-Match, so that nobody's change is lost.";
    TooManyRequests = "too_many_requests", 429, "Too many requests", "Wait as long as Retry-After says.";
    HeadersTooLarge = "headers_too_large", 431, "The header fields are too large", "Send at most 64 fields and 16 KiB.";
    Internal = "internal", 500, "Something failed on our side", "Try again; if it happens again, tell the operators the trace_id.";
    ContentDamaged = "content_damaged", 503, "The content cannot be read at present", "It is being repaired: try again later.";
    ProviderUnreachable = "provider_unreachable", 503, "The identity provider does not answer", "Try again later.";
    RevocationUnknown = "revocation_unknown", 503, "Whether the card was revoked cannot be found out at present", "Try again later, or sign in another way.";
    NoQuorum = "no_quorum", 503, "Too few sites are connected at present", "Try again later; nothing that was confirmed is lost.";
    WriteUnavailable = "write_unavailable", 503, "Too few disks can take the content at present", "Try again later.";
    NotEnoughShards = "not_enough_shards", 503, "Too few copies of the content are in reach at present", "Try again later.";
    KeyUnavailable = "kek_unavailable", 503, "The keys are out of reach at present", "Try again later.";
    ScanUnavailable = "scan_unavailable", 503, "The content cannot be checked for malware at present", "Nothing is stored unchecked: try again later.";
    Unavailable = "unavailable", 503, "This gateway cannot serve at present", "Try again later, or on another gateway.";
    QuotaExceeded = "quota_exceeded", 507, "The vault is full", "Delete documents, or ask for more space.";
    ClusterFull = "cluster_full", 507, "The cluster is full", "Tell the operators.";
    ShareRevoked = "share_revoked", 410, "The share is over", "Its time ran out, or its owner stopped it. Ask its owner.";
    WrongPassword = "wrong_password", 403, "The link's password is missing or wrong", "Ask whoever sent the link.";
    OpenFirst = "open_first", 403, "The link is to be opened first", "Send POST to .../open, and its answer's `opened` in Vault-Opened.";
    NotOwner = "not_owner", 403, "Only the owner of the document does this", "Copy it first, if its owner lets you: a copy is your own.";
    OwnDocument = "own_document", 409, "This is for documents of others", "It is your own document.";
    AcceptFirst = "accept_first", 403, "The share is to be accepted first", "Send POST to .../accept.";
    NotOpen = "not_open", 403, "The share is not open yet", "Send POST to .../request-access.";
    OpenAlready = "open_already", 409, "The share is open already", "There is nothing to ask for.";
    CopyNotAllowed = "copy_not_allowed", 403, "The owner does not let this be copied", "Read it where it is.";
    PendingScan = "pending_scan", 409, "The document was not scanned for malware yet", "Try again later.";
    Quarantined = "quarantined", 409, "Malware was found in the document", "Nobody can read it. Put it into the trash.";
    Trashed = "trashed", 409, "The document is in the trash", "Restore it first.";
    NotTrashed = "not_trashed", 409, "The document is not in the trash", "There is nothing to restore.";
    Deceased = "deceased", 409, "A death was confirmed", "Only the living do this.";
    NotShareable = "not_shareable", 409, "The document is not shareable", "Its owner said so; change `shareable` first.";
    NotAContact = "not_a_contact", 409, "Documents are shared with contacts only", "Invite the person first.";
    OwnVault = "own_vault", 409, "A document is not shared with its own vault", "Name a contact.";
    AlreadyShared = "already_shared", 409, "The document is shared with this contact already", "Change that share, or stop it first.";
    TooManyShares = "too_many_shares", 409, "There are as many shares as there may be", "Stop some that are not needed.";
    TooManyLinks = "too_many_links", 409, "There are as many links as there may be", "Stop some that are not needed.";
    VersionChanged = "version_changed", 409, "Another version is shown by now", "Read it again and repeat the request.";
    VersionUnknown = "version_unknown", 422, "The document has no such version", "Take a number from its versions.";
    BadTime = "bad_time", 422, "A time is past, or too far away", "The detail says which.";
    AlreadyRequested = "already_requested", 409, "Access was asked for already", "Wait for the time that the share names.";
    NothingRequested = "nothing_requested", 409, "Nobody asks for access at present", "Once a share is open, revoking it is what helps.";
    NotADraft = "not_a_draft", 409, "The share was given already", "There is nothing left to give.";
    AlreadyConfirmed = "already_confirmed", 409, "This death was confirmed already", "There is nothing to do.";
    NotConfirmed = "not_confirmed", 409, "No death was confirmed", "There is nothing to reverse.";
}

impl Code {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// What is wrong with one member or parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body, or the name of the parameter.
    pub pointer: String,
    /// What is wrong, for people.
    pub detail: String,
}

/// The body of every error (`application/problem+json`).
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// Where the error is described.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line, the same every time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// The stable name, for programs.
    pub code: String,
    /// What to tell the operators.
    pub trace_id: String,
    /// What is wrong in detail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Which.
    pub code: Code,
    /// What was wrong this time, for people; never personal text.
    pub detail: String,
    /// What is wrong in detail.
    pub errors: Vec<FieldError>,
    /// Header fields that the answer carries besides the usual ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long to wait, for 429 and 503.
    pub retry_after: Option<Duration>,
}

/// What `Retry-After` says: elections take 2 to 4 s, and clients add their own jitter.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl Problem {
    /// The error `code` with what was wrong this time.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let is_passing = matches!(code.status_number(), 503 | 429) || matches!(code, Code::RequestInFlight | Code::UploadBusy);
        let retry_after = is_passing.then_some(RETRY_AFTER);
        Self { code, detail: detail.into(), errors: Vec::new(), headers: Vec::new(), retry_after }
    }

    /// The error `code`, with its help as detail.
    pub fn plain(code: Code) -> Self {
        Self::new(code, code.help())
    }

    /// Not signed in: one text for a missing, malformed, unknown, expired or revoked token.
    pub fn unauthenticated() -> Self {
        Self::plain(Code::Unauthenticated).with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// Something of ours failed; `why` goes to the log, not to the client.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        tracing::error!(code = Code::Internal.as_str(), %why, "request failed");
        Self::plain(Code::Internal)
    }

    /// A no of the policy; `gone` is the code of what is over.
    pub fn denied(denial: Denial, gone: Code) -> Self {
        match denial {
            Denial::NotFound => Self::plain(Code::NotFound),
            Denial::Gone => Self::plain(gone),
            Denial::Forbidden(reason) => Self::new(by_name(reason.code()), denial.to_string()),
        }
    }

    /// With a header field more.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With one detailed error more.
    #[must_use]
    pub fn with_error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// The answer, for the request at `instance` with `trace_id`.
    pub fn render(&self, instance: &str, trace_id: &str) -> Response {
        let body = ProblemBody {
            kind: format!("/v1/docs#problem-{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status_number(),
            detail: self.detail.clone(),
            instance: instance.to_owned(),
            code: self.code.as_str().to_owned(),
            trace_id: trace_id.to_owned(),
            errors: self.errors.clone(),
        };
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        response
    }
}

impl IntoResponse for Problem {
    /// The router finds the problem among the extensions and renders it with path and trace id.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let code = match refusal {
            Refusal::AttemptUsed => Code::LoginReplayed,
            Refusal::SessionUnknown | Refusal::VaultUnknown | Refusal::UploadUnknown | Refusal::DocumentUnknown => Code::NotFound,
            Refusal::QuotaExceeded { .. } => Code::QuotaExceeded,
            Refusal::UploadBusy => Code::UploadBusy,
            Refusal::OffsetMismatch { .. } => Code::OffsetMismatch,
            Refusal::LengthMismatch { .. } => Code::LengthMismatch,
            Refusal::DigestMismatch => Code::DigestMismatch,
            Refusal::TooManyLayouts | Refusal::TooManyAttempts => Code::UploadRestart,
            Refusal::ReducedRefused => Code::WriteUnavailable,
            Refusal::RevisionMismatch { .. } => Code::PreconditionFailed,
            Refusal::IdempotencyMismatch => Code::IdempotencyKeyReused,
            Refusal::BlobChanged => Code::Conflict,
            Refusal::Invalid(_) => Code::Unprocessable,
            Refusal::NotInitialised => Code::Unavailable,
            Refusal::Document(refusal) => by_name(refusal.code()),
            Refusal::Sharing(refusal) => by_name(refusal.code()),
            Refusal::Notice(refusal) => by_name(refusal.code()),
            Refusal::Closing(refusal) => by_name(refusal.code()),
            Refusal::People(refusal) => by_name(refusal.code()),
            Refusal::Identity(refusal) => match refusal {
                IdentityRefusal::OtherPerson => Code::LoginMismatch,
                IdentityRefusal::TooWeak => Code::WeakIdentity,
                IdentityRefusal::ServiceUnknown => Code::NotFound,
                IdentityRefusal::TooManyServices { .. } => Code::TooManyServices,
            },
            other => return Self::internal(other),
        };
        // A thing that is not there and a thing that is not yours get the same words.
        if code == Code::NotFound { Self::plain(code) } else { Self::new(code, detail) }
    }
}

/// The code of a family's refusal; those that have no code of their own here are conflicts.
fn by_name(name: &str) -> Code {
    match name {
        "gone" => Code::DocumentGone,
        name => Code::ALL.iter().copied().find(|code| code.as_str() == name).unwrap_or(Code::Conflict),
    }
}

impl From<MetadataError> for Problem {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::NoQuorum => Self::plain(Code::NoQuorum),
            MetadataError::Stopping => Self::plain(Code::Unavailable),
            MetadataError::TooLarge => Self::new(Code::Unprocessable, error.to_string()),
            MetadataError::Store(why) => Self::internal(why),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<BytesError> for Problem {
    fn from(error: BytesError) -> Self {
        let code = match &error {
            BytesError::WriteUnavailable { .. } => Code::WriteUnavailable,
            BytesError::Full => Code::ClusterFull,
            BytesError::NotEnoughShards { .. } => Code::NotEnoughShards,
            BytesError::Unavailable(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = match error.code() {
            "weak_identity" => Code::WeakIdentity,
            "login_expired" => Code::LoginExpired,
            "login_replayed" => Code::LoginReplayed,
            "login_mismatch" => Code::LoginMismatch,
            "provider_unreachable" => Code::ProviderUnreachable,
            "provider_refused" => Code::LoginRefused,
            "token_invalid" => Code::TokenInvalid,
            "certificate_refused" => Code::CertificateRefused,
            "revocation_unknown" => Code::RevocationUnknown,
            _ => return Self::internal(error),
        };
        tracing::info!(code = code.as_str(), why = %error, "sign-in refused");
        // Fixed words of ours: the holder of a card learns what is wrong with it.
        if code == Code::CertificateRefused { Self::new(code, error.to_string()) } else { Self::plain(code) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.status().as_u16(), code.status_number(), "{code:?}");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code:?}");
            assert!(!code.title().is_empty() && !code.help().is_empty());
        }
    }

    #[test]
    fn the_published_table_stands() {
        // Codes are part of the interface: a change here is a change that breaks clients.
        let published = [
            ("bad_name", 400),
            ("bad_cursor", 400),
            ("too_many_ranges", 400),
            ("length_mismatch", 400),
            ("idempotency_key_missing", 400),
            ("unauthenticated", 401),
            ("weak_identity", 401),
            ("cross_site", 403),
            ("not_found", 404),
            ("method_not_allowed", 405),
            ("body_timeout", 408),
            ("request_in_flight", 409),
            ("offset_mismatch", 409),
            ("precondition_failed", 412),
            ("too_large", 413),
            ("uri_too_long", 414),
            ("content_encoding", 415),
            ("range_not_satisfiable", 416),
            ("wrong_host", 421),
            ("digest_mismatch", 422),
            ("idempotency_key_reused", 422),
            ("precondition_required", 428),
            ("too_many_requests", 429),
            ("headers_too_large", 431),
            ("internal", 500),
            ("no_quorum", 503),
            ("not_enough_shards", 503),
            ("kek_unavailable", 503),
            ("quota_exceeded", 507),
        ];
        for (name, status) in published {
            let found = Code::ALL.iter().find(|c| c.as_str() == name);
            assert_eq!(found.map(|c| c.status_number()), Some(status), "{name}");
        }
    }

    #[test]
    fn unavailable_answers_say_when_to_come_back() {
        let response = Problem::plain(Code::NoQuorum).render("/v1/me", "t");
        assert_eq!(response.headers().get(header::RETRY_AFTER).unwrap(), "2");
        assert!(Problem::plain(Code::NotFound).render("/", "t").headers().get(header::RETRY_AFTER).is_none());
    }

    #[test]
    fn missing_and_foreign_things_read_the_same() {
        let a: Problem = Refusal::DocumentUnknown.into();
        let b: Problem = Refusal::VaultUnknown.into();
        assert_eq!((a.code, a.detail), (b.code, b.detail));
    }
}
