//! The contract: OpenAPI 3.1 from the code, as JSON and as a page for people; and the first page.
//!
//! Owns: what surrounds the generated operations (title, security, operation ids), and the pages. Not: the
//! operations, which stand beside their handlers.
//! Holds: the pages load nothing from anywhere: one file, one style sheet in it, no script, and a policy
//! that says so.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::Value;
use utoipa::openapi::{
    Components, InfoBuilder, License, OpenApi, OpenApiBuilder, Server,
    path::{Operation, PathItem},
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::problem::{Code, Problem};

/// What the generated operations are added to.
pub fn base() -> OpenApi {
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Kluis")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "A document vault on a three-site storage cluster. Errors are application/problem+json with a stable code.",
                ))
                .license(Some(License::new("Apache-2.0")))
                .build(),
        )
        .build()
}

/// The whole document: with the server's address, security, and an id for each operation.
pub fn finish(mut api: OpenApi, public_url: &str) -> OpenApi {
    api.servers = Some(vec![Server::new(public_url)]);
    api.components
        .get_or_insert_with(Components::new)
        .add_security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
    for (path, item) in &mut api.paths.paths {
        let slug: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        for (method, operation) in operations(item) {
            operation.operation_id = Some(format!("{method}{slug}"));
        }
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("head", &mut item.head),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
        ("options", &mut item.options),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|o| (method, o)))
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}\
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}h2{margin-top:2.5rem}h3{margin:2rem 0 .25rem}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #767676}\
a{color:#0645ad}:focus{outline:3px solid #0645ad;outline-offset:2px}\
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}a{color:#9ecbff}:focus{outline-color:#9ecbff}}";

/// A page that is made once and served many times.
#[derive(Clone)]
pub struct Page {
    text: Bytes,
    policy: HeaderValue,
}

impl Page {
    fn new(title: &str, body: &str) -> Result<Self, Problem> {
        let text = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>"
        );
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()).as_ref());
        let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
        Ok(Self { text: Bytes::from(text), policy: HeaderValue::from_str(&policy).map_err(Problem::internal)? })
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let content_type = HeaderValue::from_static("text/html; charset=utf-8");
        ([(header::CONTENT_TYPE, content_type), (header::CONTENT_SECURITY_POLICY, self.policy)], self.text).into_response()
    }
}

/// The first page.
///
/// # Errors
/// Never in practice.
pub fn landing() -> Result<Page, Problem> {
    Page::new(
        "Kluis",
        "<h1>Kluis</h1><p>A vault for documents, kept at three sites at once.</p>\
         <p><a href=\"/v1/docs\">How programs use it</a> · <a href=\"/v1/openapi.json\">OpenAPI 3.1</a></p>",
    )
}

/// The contract as a page for people.
///
/// # Errors
/// Never in practice.
pub fn docs(api: &Value) -> Result<Page, Problem> {
    let mut html =
        String::from("<h1>Kluis: the API</h1><p>The same as <a href=\"/v1/openapi.json\">OpenAPI 3.1</a>.</p><h2>Operations</h2>");
    let text = |value: &Value, key: &str| escape(value.get(key).and_then(Value::as_str).unwrap_or_default());
    let paths = api.get("paths").and_then(Value::as_object);
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let (summary, description) = (text(operation, "summary"), text(operation, "description"));
            let _ = write!(html, "<h3><code>{} {}</code></h3><p>{summary} {description}</p>", method.to_ascii_uppercase(), escape(path));
            let parameters = operation.get("parameters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let responses = operation.get("responses").and_then(Value::as_object);
            html.push_str("<table><tbody>");
            for parameter in parameters {
                let (name, place, about) = (text(parameter, "name"), text(parameter, "in"), text(parameter, "description"));
                let _ = write!(html, "<tr><th scope=\"row\"><code>{name}</code></th><td>{place}</td><td>{about}</td></tr>");
            }
            for (status, response) in responses.into_iter().flatten() {
                let _ = write!(
                    html,
                    "<tr><th scope=\"row\">{}</th><td>answer</td><td>{}</td></tr>",
                    escape(status),
                    text(response, "description")
                );
            }
            html.push_str("</tbody></table>");
        }
    }
    html.push_str("<h2>Errors</h2><table><thead><tr><th scope=\"col\">code</th><th scope=\"col\">status</th><th scope=\"col\">meaning</th></tr></thead><tbody>");
    for code in Code::ALL {
        let _ = write!(
            html,
            "<tr id=\"problem-{0}\"><th scope=\"row\"><code>{0}</code></th><td>{1}</td><td>{2}. {3}</td></tr>",
            code.as_str(),
            code.status_number(),
            escape(code.title()),
            escape(code.help()),
        );
    }
    html.push_str("</tbody></table>");
    Page::new("Kluis: the API", &html)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a href=\"&\">"), "&lt;a href=&quot;&amp;&quot;&gt;");
    }

    #[test]
    fn every_code_is_described() {
        let page = docs(&serde_json::json!({})).unwrap();
        let text = std::str::from_utf8(&page.text).unwrap();
        for code in Code::ALL {
            assert!(text.contains(&format!("id=\"problem-{}\"", code.as_str())));
        }
        assert!(!text.contains("http://") && !text.contains("<script"));
    }
}
