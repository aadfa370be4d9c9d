//! Promise: the contract that a gateway serves is the contract that it keeps.
//!
//! Owns: the OpenAPI document against the routes of a running gateway, the pages for people, the header fields
//! that every answer has. Not: what single operations do.
//! Holds: (1) a documented operation exists and an undocumented one is refused with 405; (2) every operation
//! has an id, its answers and the schema of errors; (3) pages load nothing from anywhere else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use kluis_tests::{Cluster, ClusterOptions};
use reqwest::{Client, Method, Response};
use serde_json::Value;

/// What is published: leaving one out of the document, or taking one away, breaks clients.
const PUBLISHED: [(&str, &[&str]); 90] = [
    ("/livez", &["get"]),
    ("/metrics", &["get"]),
    ("/readyz", &["get"]),
    ("/readyz/{check}", &["get"]),
    ("/v1/auth", &["get"]),
    ("/v1/auth/callback", &["get"]),
    ("/v1/auth/eid/callback", &["post"]),
    ("/v1/auth/eid/start", &["post"]),
    ("/v1/auth/{provider}/jwks", &["get"]),
    ("/v1/auth/{provider}/start", &["get", "post"]),
    ("/v1/categories", &["get"]),
    ("/v1/deaths", &["post"]),
    ("/v1/deaths/{id}/reverse", &["post"]),
    ("/v1/contacts", &["get", "post"]),
    ("/v1/contacts/{id}", &["delete", "get", "patch"]),
    ("/v1/contacts/{id}/block", &["post"]),
    ("/v1/contacts/{id}/unblock", &["post"]),
    ("/v1/documents", &["get", "post"]),
    ("/v1/documents/{id}", &["delete", "get", "patch"]),
    ("/v1/documents/{id}/content", &["get", "head", "put"]),
    ("/v1/documents/{id}/history", &["get"]),
    ("/v1/documents/{id}/placement", &["get"]),
    ("/v1/documents/{id}/proofs", &["get"]),
    ("/v1/documents/{id}/restore", &["post"]),
    ("/v1/documents/{id}/shares", &["get", "post"]),
    ("/v1/documents/{id}/shares/batch-revoke", &["post"]),
    ("/v1/documents/{id}/shares/{sid}", &["delete", "get", "patch"]),
    ("/v1/documents/{id}/shares/{sid}/veto", &["post"]),
    ("/v1/documents/{id}/trash", &["post"]),
    ("/v1/documents/{id}/versions", &["get"]),
    ("/v1/documents/{id}/versions/{n}/restore", &["post"]),
    ("/v1/incoming", &["get"]),
    ("/v1/incoming/{id}", &["get"]),
    ("/v1/incoming/{id}/accept", &["post"]),
    ("/v1/incoming/{id}/content", &["get", "head"]),
    ("/v1/incoming/{id}/copy", &["post"]),
    ("/v1/incoming/{id}/refuse", &["post"]),
    ("/v1/incoming/{id}/request-access", &["post"]),
    ("/v1/l/{token}", &["get"]),
    ("/v1/l/{token}/content", &["get", "head"]),
    ("/v1/l/{token}/open", &["post"]),
    ("/v1/links", &["get", "post"]),
    ("/v1/links/{id}", &["delete"]),
    ("/v1/legal/privacy", &["get"]),
    ("/v1/invitations", &["get", "post"]),
    ("/v1/invitations/accept", &["post"]),
    ("/v1/invitations/decline", &["post"]),
    ("/v1/invitations/look", &["post"]),
    ("/v1/invitations/{id}", &["delete"]),
    ("/v1/invitations/{id}/accept", &["post"]),
    ("/v1/invitations/{id}/decline", &["post"]),
    ("/v1/log/checkpoint", &["get"]),
    ("/v1/log/key", &["get"]),
    ("/v1/log/proof", &["get"]),
    ("/v1/log/tile/{level}/{*index}", &["get"]),
    ("/v1/me", &["get", "patch"]),
    ("/v1/me/email/verify", &["post"]),
    ("/v1/me/erasure", &["post"]),
    ("/v1/me/export", &["post"]),
    ("/v1/me/history", &["get"]),
    ("/v1/notification-settings", &["get", "put"]),
    ("/v1/notifications", &["get"]),
    ("/v1/notifications/read-all", &["post"]),
    ("/v1/notifications/{id}/read", &["post"]),
    ("/v1/search", &["get"]),
    ("/v1/me/offices", &["get"]),
    ("/v1/me/reference-office", &["delete", "get", "put"]),
    ("/v1/messages/threads", &["get", "post"]),
    ("/v1/messages/threads/{id}", &["get"]),
    ("/v1/messages/threads/{id}/read", &["post"]),
    ("/v1/office/requests", &["get", "post"]),
    ("/v1/office/requests/{id}/close", &["post"]),
    ("/v1/office/staff", &["get", "post"]),
    ("/v1/office/staff/{id}", &["delete", "patch"]),
    ("/v1/offices", &["get"]),
    ("/v1/offices/{id}", &["get"]),
    ("/v1/requests", &["get"]),
    ("/v1/requests/{id}/arrivals", &["post"]),
    ("/v1/services", &["get", "post"]),
    ("/v1/services/{id}", &["delete"]),
    ("/v1/services/{id}/rotate", &["post"]),
    ("/v1/sessions", &["delete", "get"]),
    ("/v1/sessions/{id}", &["delete"]),
    ("/v1/templates", &["get"]),
    ("/v1/uploads", &["options", "post"]),
    ("/v1/uploads/{id}", &["delete", "get", "head", "patch"]),
    ("/v1/webhooks", &["get", "post"]),
    ("/v1/webhooks/{id}", &["delete", "get", "patch"]),
    ("/v1/webhooks/{id}/deliveries", &["get"]),
    ("/v1/webhooks/{id}/test", &["post"]),
];
/// Pages and the document itself: not operations of the contract.
const PAGES: [&str; 3] = ["/", "/v1/docs", "/v1/openapi.json"];
const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];

fn start() -> Cluster {
    Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, ..ClusterOptions::default() })
}

#[tokio::test]
async fn cluster_serves_the_contract_that_it_keeps() {
    let cluster = start();
    let (client, gateway) = (cluster.client(), cluster.gateway(0));
    let document = read(&client, &format!("{gateway}/v1/openapi.json")).await.json::<Value>().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], gateway.as_str());
    assert!(!document["info"]["title"].as_str().unwrap().is_empty() && !document["info"]["version"].as_str().unwrap().is_empty());

    let operations = operations(&document);
    let published: BTreeMap<String, BTreeSet<String>> =
        PUBLISHED.iter().map(|(path, methods)| ((*path).to_owned(), methods.iter().map(ToString::to_string).collect())).collect();
    assert_eq!(operations, published);

    complete(&document);
    references_lead_somewhere(&document, &document);
    for (path, methods) in &operations {
        agree(&client, &gateway, path, methods).await;
    }
    for page in PAGES {
        agree(&client, &gateway, page, &BTreeSet::from(["get".to_owned()])).await;
    }
}

/// The methods of each documented path.
fn operations(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let methods = |item: &Value| item.as_object().unwrap().keys().filter(|k| METHODS.contains(&k.as_str())).cloned().collect();
    document["paths"].as_object().unwrap().iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// Every operation has an id of its own, a sentence, its parameters, its answers; every one that can fail has the
/// schema of errors.
fn complete(document: &Value) {
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let problem = &document["components"]["schemas"]["ProblemBody"]["properties"];
    for member in ["type", "title", "status", "detail", "instance", "code", "trace_id", "errors"] {
        assert!(problem[member].is_object(), "a problem has {member}");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| METHODS.contains(&method.as_str())) {
            let at = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{at} has no operationId"));
            assert!(ids.insert(id.to_owned()), "{at}: operationId {id} is used twice");
            let words = [&operation["summary"], &operation["description"]];
            assert!(words.iter().any(|w| w.as_str().is_some_and(|w| !w.is_empty())), "{at} says nothing of itself");
            let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("{at} has no responses"));
            assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{at} never succeeds: {responses:?}");
            let named: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|p| p["in"] == "path")
                .filter_map(|p| p["name"].as_str())
                .collect();
            let wanted: BTreeSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .map(|name| name.trim_start_matches('*'))
                .collect();
            assert_eq!(named, wanted, "{at}: parameters in its path");
            // What asks nobody for anything cannot be refused.
            if path.starts_with("/v1/") && method != "options" {
                let schema = &responses["default"]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/ProblemBody", "{at}: schema of errors");
            }
            let signs_in = path.starts_with("/v1/auth") && (method == "get" || path == "/v1/auth/eid/callback");
            let public = ["/v1/log/", "/v1/l/", "/v1/legal/", "/v1/templates"].iter().any(|start| path.starts_with(start));
            let is_open = !path.starts_with("/v1/") || signs_in || public || method == "options";
            assert_eq!(operation["security"].is_array(), !is_open, "{at}: says whether it needs a token");
        }
    }
}

/// Every `$ref` points at something.
fn references_lead_somewhere(document: &Value, at: &Value) {
    match at {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            members.values().for_each(|value| references_lead_somewhere(document, value));
        }
        Value::Array(values) => values.iter().for_each(|value| references_lead_somewhere(document, value)),
        _ => {}
    }
}

/// A path takes the methods that are documented for it, and no others.
async fn agree(client: &Client, gateway: &str, path: &str, methods: &BTreeSet<String>) {
    let url = format!(
        "{gateway}{}",
        path.replace("{id}", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
            .replace("{sid}", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
            .replace("{n}", "1")
            .replace("{token}", "none")
            .replace("{provider}", "itsme")
            .replace("{check}", "quorum_read")
            .replace("{level}", "0")
            .replace("{*index}", "000.p/1")
    );
    for method in METHODS {
        // HTTP has HEAD wherever there is GET.
        let is_taken = methods.contains(method) || (method == "head" && methods.contains("get"));
        let answer = client.request(Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap(), &url).send().await.unwrap();
        assert_eq!(answer.status().as_u16() != 405, is_taken, "{method} {path}: {answer:?}");
        secured(&answer, &format!("{method} {path}"));
        if !is_taken {
            let allow: BTreeSet<String> =
                answer.headers()["allow"].to_str().unwrap().split(',').map(|m| m.trim().to_ascii_lowercase()).collect();
            assert!(allow.is_superset(methods), "{method} {path} is told {allow:?}");
        }
        let status = answer.status().as_u16();
        let is_error = status >= 400 && !path.starts_with("/readyz") && method != "head";
        if is_error {
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {path}: {status}");
            let trace = answer.headers()["request-id"].to_str().unwrap().to_owned();
            let body: Value = answer.json().await.unwrap();
            assert_eq!((body["status"].as_u64(), body["trace_id"].as_str()), (Some(status.into()), Some(trace.as_str())), "{body}");
            assert!(body["code"].is_string() && body["title"].is_string() && body["type"].is_string(), "{body}");
        }
    }
}

/// The header fields that every answer has.
fn secured(answer: &Response, at: &str) {
    let field = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    assert!(field("strict-transport-security").contains("max-age="), "{at}: {answer:?}");
    assert!(field("content-security-policy").contains("default-src 'none'"), "{at}: {answer:?}");
    assert!(field("content-security-policy").contains("frame-ancestors 'none'"), "{at}: {answer:?}");
    assert_eq!(field("x-content-type-options"), "nosniff", "{at}: {answer:?}");
    assert_eq!(field("referrer-policy"), "no-referrer", "{at}: {answer:?}");
    assert_eq!(field("x-frame-options"), "DENY", "{at}: {answer:?}");
    assert!(!field("cache-control").is_empty(), "{at}: {answer:?}");
    let id = field("request-id");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{at}: {answer:?}");
}

async fn read(client: &Client, url: &str) -> Response {
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{url}: {answer:?}");
    secured(&answer, url);
    answer
}

#[tokio::test]
async fn cluster_pages_load_nothing_from_elsewhere() {
    let cluster = start();
    let (client, gateway) = (cluster.client(), cluster.gateway(0));
    let document = read(&client, &format!("{gateway}/v1/openapi.json")).await.json::<Value>().await.unwrap();
    for page in ["/", "/v1/docs"] {
        let answer = read(&client, &format!("{gateway}{page}")).await;
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        for part in ["script-src", "http:", "https:", "*", "unsafe-inline", "data:"] {
            assert!(!policy.contains(part), "{page}: {part} in {policy}");
        }
        let html = answer.text().await.unwrap();
        assert!(html.starts_with("<!doctype html>") && html.contains("<html lang=\"en\">") && html.contains("<main>"), "{page}");
        // No other origin, no script, nothing that loads by itself.
        let lower = html.to_ascii_lowercase();
        for part in ["//", "<script", "<iframe", "<img", "<link", "<object", "<embed", "@import", "url(", "srcset", "javascript:"] {
            assert_eq!(lower.find(part), None, "{page}: {part}");
        }
        assert_eq!(handler(&lower), None, "{page}: a tag runs something");
        for link in html.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(link, _)| link) {
            assert!(link.starts_with('/') || link.starts_with('#'), "{page}: {link}");
        }
        if page == "/v1/docs" {
            for (path, methods) in operations(&document) {
                for method in methods {
                    let heading = format!("{} {}", method.to_ascii_uppercase(), path);
                    assert!(html.contains(&heading), "the page does not tell of {heading}");
                }
            }
        }
    }
}

/// Where a tag has an event handler (`onclick=` and its kind).
fn handler(html: &str) -> Option<usize> {
    html.match_indices('<').find_map(|(at, _)| {
        let tag = html[at..].split_once('>')?.0;
        tag.split_ascii_whitespace().skip(1).any(|a| a.starts_with("on") && a.contains('=')).then_some(at)
    })
}
