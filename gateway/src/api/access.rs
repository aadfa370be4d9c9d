//! What each route asks of who calls it: one table.
//!
//! Owns: the table. Not: who asks ([`super::caller`], which looks here before any handler runs).
//! Holds: (1) every operation of the OpenAPI document stands here, and nothing else (a test compares them); (2) a
//! service gets nowhere but where a scope is named: what is missing here is closed to services.

use http::Method;
use kluis_raft::model::Scope;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Everybody, without signing in.
    Nothing,
    /// A signed-in person. Identity, sessions, plans and services themselves are never a service's.
    Person,
    /// A signed-in person, or a service with this scope.
    Scope(Scope),
}

use Need::{Nothing, Person, Scope as Scoped};
use Scope::{DeathsReport, DocumentsRead, DocumentsWrite, SharesRead, SharesWrite};

/// Every operation: method, path, need.
pub const ROUTES: &[(&str, &str, Need)] = &[
    ("GET", "/v1/auth", Nothing),
    ("GET", "/v1/auth/{provider}/start", Nothing),
    ("POST", "/v1/auth/{provider}/start", Person),
    ("GET", "/v1/auth/{provider}/jwks", Nothing),
    ("GET", "/v1/auth/callback", Nothing),
    ("POST", "/v1/auth/eid/start", Nothing),
    ("POST", "/v1/auth/eid/callback", Nothing),
    ("GET", "/v1/sessions", Person),
    ("DELETE", "/v1/sessions", Person),
    ("DELETE", "/v1/sessions/{id}", Person),
    ("GET", "/v1/services", Person),
    ("POST", "/v1/services", Person),
    ("DELETE", "/v1/services/{id}", Person),
    ("POST", "/v1/services/{id}/rotate", Person),
    ("GET", "/v1/me", Person),
    ("GET", "/v1/documents", Scoped(DocumentsRead)),
    ("POST", "/v1/documents", Scoped(DocumentsWrite)),
    ("GET", "/v1/documents/{id}", Scoped(DocumentsRead)),
    ("DELETE", "/v1/documents/{id}", Person),
    ("GET", "/v1/documents/{id}/versions", Scoped(DocumentsRead)),
    ("GET", "/v1/documents/{id}/content", Scoped(DocumentsRead)),
    ("HEAD", "/v1/documents/{id}/content", Scoped(DocumentsRead)),
    ("PUT", "/v1/documents/{id}/content", Scoped(DocumentsWrite)),
    ("OPTIONS", "/v1/uploads", Nothing),
    ("POST", "/v1/uploads", Scoped(DocumentsWrite)),
    ("GET", "/v1/uploads/{id}", Scoped(DocumentsWrite)),
    ("HEAD", "/v1/uploads/{id}", Scoped(DocumentsWrite)),
    ("PATCH", "/v1/uploads/{id}", Scoped(DocumentsWrite)),
    ("DELETE", "/v1/uploads/{id}", Scoped(DocumentsWrite)),
    ("GET", "/v1/documents/{id}/history", Scoped(DocumentsRead)),
    ("GET", "/v1/documents/{id}/proofs", Scoped(DocumentsRead)),
    ("GET", "/v1/me/history", Person),
    ("GET", "/v1/log/checkpoint", Nothing),
    ("GET", "/v1/log/key", Nothing),
    ("GET", "/v1/log/proof", Nothing),
    ("GET", "/v1/log/tile/{level}/{*index}", Nothing),
    ("PATCH", "/v1/documents/{id}", Scoped(DocumentsWrite)),
    ("POST", "/v1/documents/{id}/trash", Scoped(DocumentsWrite)),
    ("POST", "/v1/documents/{id}/restore", Scoped(DocumentsWrite)),
    ("POST", "/v1/documents/{id}/versions/{n}/restore", Scoped(DocumentsWrite)),
    ("GET", "/v1/categories", Scoped(DocumentsRead)),
    ("GET", "/v1/documents/{id}/shares", Scoped(SharesRead)),
    ("POST", "/v1/documents/{id}/shares", Scoped(SharesWrite)),
    ("GET", "/v1/documents/{id}/shares/{sid}", Scoped(SharesRead)),
    ("PATCH", "/v1/documents/{id}/shares/{sid}", Scoped(SharesWrite)),
    ("DELETE", "/v1/documents/{id}/shares/{sid}", Scoped(SharesWrite)),
    ("POST", "/v1/documents/{id}/shares/batch-revoke", Scoped(SharesWrite)),
    ("POST", "/v1/documents/{id}/shares/{sid}/veto", Scoped(SharesWrite)),
    ("GET", "/v1/incoming", Scoped(SharesRead)),
    ("GET", "/v1/incoming/{id}", Scoped(SharesRead)),
    ("POST", "/v1/incoming/{id}/accept", Scoped(SharesWrite)),
    ("POST", "/v1/incoming/{id}/refuse", Scoped(SharesWrite)),
    ("POST", "/v1/incoming/{id}/request-access", Scoped(SharesWrite)),
    // The policy asks for documents:write as well.
    ("POST", "/v1/incoming/{id}/copy", Scoped(SharesRead)),
    ("GET", "/v1/incoming/{id}/content", Scoped(SharesRead)),
    ("HEAD", "/v1/incoming/{id}/content", Scoped(SharesRead)),
    ("GET", "/v1/links", Scoped(SharesRead)),
    ("POST", "/v1/links", Scoped(SharesWrite)),
    ("DELETE", "/v1/links/{id}", Scoped(SharesWrite)),
    ("GET", "/v1/l/{token}", Nothing),
    ("POST", "/v1/l/{token}/open", Nothing),
    ("GET", "/v1/l/{token}/content", Nothing),
    ("HEAD", "/v1/l/{token}/content", Nothing),
    ("POST", "/v1/deaths", Scoped(DeathsReport)),
    ("POST", "/v1/deaths/{id}/reverse", Scoped(DeathsReport)),
    ("PATCH", "/v1/me", Person),
    ("POST", "/v1/me/email/verify", Person),
    ("GET", "/v1/notifications", Person),
    ("POST", "/v1/notifications/{id}/read", Person),
    ("POST", "/v1/notifications/read-all", Person),
    ("GET", "/v1/notification-settings", Person),
    ("PUT", "/v1/notification-settings", Person),
    ("GET", "/v1/webhooks", Person),
    ("POST", "/v1/webhooks", Person),
    ("GET", "/v1/webhooks/{id}", Person),
    ("PATCH", "/v1/webhooks/{id}", Person),
    ("DELETE", "/v1/webhooks/{id}", Person),
    ("POST", "/v1/webhooks/{id}/test", Person),
    ("GET", "/v1/webhooks/{id}/deliveries", Person),
    ("GET", "/v1/search", Scoped(DocumentsRead)),
    ("GET", "/v1/documents/{id}/placement", Scoped(DocumentsRead)),
    ("POST", "/v1/me/export", Person),
    ("POST", "/v1/me/erasure", Person),
    ("GET", "/v1/legal/privacy", Nothing),
    ("GET", "/v1/templates", Nothing),
    ("GET", "/v1/contacts", Person),
    ("POST", "/v1/contacts", Person),
    ("DELETE", "/v1/contacts/{id}", Person),
    ("GET", "/v1/contacts/{id}", Person),
    ("PATCH", "/v1/contacts/{id}", Person),
    ("POST", "/v1/contacts/{id}/block", Person),
    ("POST", "/v1/contacts/{id}/unblock", Person),
    ("GET", "/v1/invitations", Person),
    ("POST", "/v1/invitations", Person),
    ("POST", "/v1/invitations/accept", Person),
    ("POST", "/v1/invitations/decline", Person),
    ("POST", "/v1/invitations/look", Person),
    ("DELETE", "/v1/invitations/{id}", Person),
    ("POST", "/v1/invitations/{id}/accept", Person),
    ("POST", "/v1/invitations/{id}/decline", Person),
    ("GET", "/v1/me/offices", Person),
    ("DELETE", "/v1/me/reference-office", Person),
    ("GET", "/v1/me/reference-office", Person),
    ("PUT", "/v1/me/reference-office", Person),
    ("GET", "/v1/messages/threads", Person),
    ("POST", "/v1/messages/threads", Person),
    ("GET", "/v1/messages/threads/{id}", Person),
    ("POST", "/v1/messages/threads/{id}/read", Person),
    ("GET", "/v1/office/requests", Person),
    ("POST", "/v1/office/requests", Person),
    ("POST", "/v1/office/requests/{id}/close", Person),
    ("GET", "/v1/office/staff", Person),
    ("POST", "/v1/office/staff", Person),
    ("DELETE", "/v1/office/staff/{id}", Person),
    ("PATCH", "/v1/office/staff/{id}", Person),
    ("GET", "/v1/offices", Person),
    ("GET", "/v1/offices/{id}", Person),
    ("GET", "/v1/requests", Person),
    ("POST", "/v1/requests/{id}/arrivals", Person),
    ("GET", "/livez", Nothing),
    ("GET", "/readyz", Nothing),
    ("GET", "/readyz/{check}", Nothing),
    ("GET", "/metrics", Nothing),
];

/// What a route asks; `None` when it is not in the table.
pub fn need(method: &Method, path: &str) -> Option<Need> {
    // A HEAD that has no line of its own is answered by the GET.
    let of = |wanted: &str| ROUTES.iter().find(|(method, route, _)| *method == wanted && *route == path).map(|(_, _, need)| *need);
    of(method.as_str()).or_else(|| if *method == Method::HEAD { of("GET") } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_and_sessions_are_never_a_services() {
        for (method, path, need) in ROUTES {
            let is_personal = ["/v1/auth", "/v1/sessions", "/v1/services", "/v1/me"].iter().any(|start| path.starts_with(start));
            assert!(!is_personal || !matches!(need, Scoped(_)), "{method} {path}");
        }
        assert_eq!(need(&Method::HEAD, "/v1/documents"), Some(Scoped(DocumentsRead)));
        assert_eq!(need(&Method::PUT, "/v1/documents"), None);
    }
}
