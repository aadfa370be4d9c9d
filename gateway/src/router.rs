//! Every URL on one screen, and what happens to every request before and after its handler.
//!
//! Owns: the table of URLs, the checks of a request's head, trace ids, security headers, and the rendering of
//! problems. Not: what a URL does ([`crate::api`]).
//! Holds: (1) every answer carries a trace id and the security headers; (2) every error is a problem with a
//! code, also those that the framework makes; (3) a request whose head could be read in two ways by two
//! programs is refused.

use std::sync::Arc;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use tokio::time::Instant;
use tracing::Instrument;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{
        Gateway, address, auth,
        caller::{Peer, Trace},
        contacts, content, deaths, documents, erasure, export, facts, health, history, incoming, invitations, links, log, manage, me,
        messages, notifications, office, offices, open_links, openapi, placement, search, services, sessions, shares, uploads, webhooks,
    },
    problem::{Code, Problem},
    rate::{self, Asker, Class},
};

static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The table of URLs.
fn table() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(auth::start, auth::step_up))
        .routes(routes!(auth::jwks))
        .routes(routes!(auth::callback))
        .routes(routes!(sessions::list, sessions::end_others))
        .routes(routes!(sessions::end))
        .routes(routes!(me::read, address::change))
        .routes(routes!(documents::list, documents::create))
        .routes(routes!(documents::read, documents::delete, manage::change))
        .routes(routes!(documents::versions))
        .routes(routes!(content::read, content::write))
        .routes(routes!(uploads::abilities, uploads::create))
        .routes(routes!(uploads::read, uploads::write, uploads::delete))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::ready_one))
        .routes(routes!(health::metrics))
        .routes(routes!(auth::ways))
        .routes(routes!(auth::start_eid))
        .routes(routes!(auth::finish_eid))
        .routes(routes!(services::list, services::create))
        .routes(routes!(services::rotate))
        .routes(routes!(services::delete))
        .routes(routes!(history::of_vault))
        .routes(routes!(history::of_document))
        .routes(routes!(history::proofs))
        .routes(routes!(log::checkpoint))
        .routes(routes!(log::key))
        .routes(routes!(log::proof_file))
        .routes(routes!(log::tile))
        .routes(routes!(manage::trash))
        .routes(routes!(manage::restore))
        .routes(routes!(manage::restore_version))
        .routes(routes!(manage::categories))
        .routes(routes!(shares::list, shares::create))
        .routes(routes!(shares::read, shares::change, shares::revoke))
        .routes(routes!(shares::batch_revoke))
        .routes(routes!(shares::veto))
        .routes(routes!(incoming::list))
        .routes(routes!(incoming::read))
        .routes(routes!(incoming::accept))
        .routes(routes!(incoming::refuse))
        .routes(routes!(incoming::request_access))
        .routes(routes!(incoming::copy))
        .routes(routes!(incoming::content))
        .routes(routes!(links::list, links::create))
        .routes(routes!(links::delete))
        .routes(routes!(open_links::info))
        .routes(routes!(open_links::open))
        .routes(routes!(open_links::content))
        .routes(routes!(deaths::create))
        .routes(routes!(deaths::reverse))
        .routes(routes!(address::verify))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::read))
        .routes(routes!(notifications::read_all))
        .routes(routes!(notifications::read_settings, notifications::write_settings))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::read, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(search::search))
        .routes(routes!(placement::read))
        .routes(routes!(export::export))
        .routes(routes!(erasure::erase))
        .routes(routes!(facts::privacy))
        .routes(routes!(facts::templates))
        .routes(routes!(invitations::list, invitations::create))
        .routes(routes!(invitations::withdraw))
        .routes(routes!(invitations::look))
        .routes(routes!(invitations::accept))
        .routes(routes!(invitations::accept_one))
        .routes(routes!(invitations::decline))
        .routes(routes!(invitations::decline_one))
        .routes(routes!(contacts::list, contacts::create))
        .routes(routes!(contacts::read, contacts::rename, contacts::delete))
        .routes(routes!(contacts::block))
        .routes(routes!(contacts::unblock))
        .routes(routes!(offices::list))
        .routes(routes!(offices::read))
        .routes(routes!(offices::own))
        .routes(routes!(offices::reference, offices::set_reference, offices::clear_reference))
        .routes(routes!(office::staff, office::add_staff))
        .routes(routes!(office::change_role, office::remove_staff))
        .routes(routes!(office::asked, office::ask))
        .routes(routes!(office::close))
        .routes(routes!(office::requests))
        .routes(routes!(office::arrive))
        .routes(routes!(messages::list, messages::say))
        .routes(routes!(messages::read))
        .routes(routes!(messages::mark))
}

/// The whole service.
///
/// # Errors
/// When the contract cannot be rendered: never, once a test passed.
pub fn router(gateway: Arc<Gateway>) -> Result<Router, Problem> {
    let (router, api) = table().split_for_parts();
    let api = openapi::finish(api, &gateway.config.public_url);
    let json = Bytes::from(serde_json::to_vec(&api).map_err(Problem::internal)?);
    let docs = openapi::docs(&serde_json::to_value(&api).map_err(Problem::internal)?)?;
    let landing = openapi::landing()?;
    let contract = move || async move { ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json) };
    Ok(router
        .route("/v1/openapi.json", get(contract))
        .route("/v1/docs", get(move || async move { docs }))
        .route("/", get(move || async move { landing }))
        .fallback(|| async { Problem::plain(Code::NotFound) })
        .method_not_allowed_fallback(|| async { Problem::plain(Code::MethodNotAllowed) })
        .layer(from_fn_with_state(Arc::clone(&gateway), guard))
        .layer(from_fn_with_state(Arc::clone(&gateway), observe))
        .with_state(gateway))
}

/// Refuses heads that are too large or ambiguous, before anything looks at them.
async fn guard(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    match check_head(&gateway, &request).and_then(|()| check_rate(&gateway, &request)) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Counts the request for its address. An address without a route counts as reading.
fn check_rate(gateway: &Gateway, request: &Request) -> Result<(), Problem> {
    let limits = gateway.limits();
    let address = request.extensions().get::<Peer>().map(|peer| peer.0);
    let Some(address) = address.filter(|address| !(limits.loopback_exempt && address.is_loopback())) else { return Ok(()) };
    let route = request.extensions().get::<MatchedPath>();
    let Some(class) = route.map_or(Some(Class::Read), |route| rate::class(request.method(), route.as_str())) else { return Ok(()) };
    gateway.guards.rates.take(&limits.rates, Asker::at(address), class, gateway.clock.now_ms()).map_err(rate::refused)
}

/// Methods that any URL may have.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

fn check_head(gateway: &Gateway, request: &Request) -> Result<(), Problem> {
    let limits = gateway.limits();
    let (uri, headers) = (request.uri(), request.headers());
    let target = uri.path_and_query().map_or(0, |p| p.as_str().len());
    if target > limits.target_max_bytes {
        return Err(Problem::plain(Code::UriTooLong));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.header_max_bytes || headers.len() > limits.headers_max {
        return Err(Problem::plain(Code::HeadersTooLarge));
    }
    if !METHODS.split(", ").any(|m| m == request.method().as_str()) {
        let problem = Problem::plain(Code::MethodNotAllowed);
        return Err(problem.with_header(header::ALLOW, HeaderValue::from_static(METHODS)));
    }
    // Lengths that two programs could read in two ways are how a second request is smuggled in a first one.
    if headers.get_all(header::TRANSFER_ENCODING).iter().count() > 1 || headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return Err(Problem::new(Code::BadHeader, "the length of the body is given twice"));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Problem::plain(Code::HostRefused));
    }
    let authority = uri.authority().map(|a| a.as_str());
    match (host, authority) {
        (None, None) => Err(Problem::plain(Code::HostRefused)),
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(Problem::plain(Code::WrongHost))
        }
        // Over HTTP/1 the authority of an absolute target comes beside Host, not in its place.
        (None, Some(_)) if request.version() <= Version::HTTP_11 => Err(Problem::plain(Code::HostRefused)),
        _ => Ok(()),
    }
}

/// The trace id of a valid `traceparent` (W3C Trace Context, version 00).
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |t: &str, len: usize| t.len() == len && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_zero = |t: &str| t.bytes().all(|b| b == b'0');
    let sound = version == "00"
        && parts.next().is_none()
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2);
    sound.then_some(trace)
}

/// Gives each request its trace id, renders its problem, adds the headers that every answer has, counts and logs.
async fn observe(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let _counted = gateway.telemetry.request_begins();
    let trace: Arc<str> = match trace_id(request.headers()) {
        Some(id) => id.into(),
        None => format!("{:032x}", gateway.random()).into(),
    };
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route: Arc<str> = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).into();
    request.extensions_mut().insert(Trace(Arc::clone(&trace)));
    // The route, never the address itself: addresses hold identifiers, and a query may hold a name.
    let span = tracing::info_span!("request", trace_id = %trace, %method, route = %route);
    let mut response = next.run(request).instrument(span.clone()).await;

    let problem = response.extensions_mut().remove::<Problem>().or_else(|| foreign(&response));
    let code = problem.as_ref().map(|p| p.code);
    if let Some(problem) = problem {
        gateway.telemetry.problem(problem.code);
        let mut rendered = problem.render(&path, &trace);
        for name in [header::ALLOW, header::RETRY_AFTER] {
            if let (Some(value), false) = (response.headers().get(&name), rendered.headers().contains_key(&name)) {
                rendered.headers_mut().insert(name, value.clone());
            }
        }
        response = rendered;
    }
    finish_headers(response.headers_mut(), &trace);
    let status = response.status();
    gateway.telemetry.request_ends(&route, &method, status, began.elapsed().as_secs_f64());
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(status = status.as_u16(), code = code.map_or("", Code::as_str), ms, "answered"));
    response
}

/// A problem for an error that the framework answered by itself.
fn foreign(response: &Response) -> Option<Problem> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    // Readiness answers 503 with a body of its own.
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let code = match status {
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        _ if ours || status == StatusCode::SERVICE_UNAVAILABLE => return None,
        status if status.is_client_error() => Code::BadRequest,
        _ => Code::Internal,
    };
    Some(Problem::plain(code))
}

/// Headers that every answer has; a handler's own stay.
fn finish_headers(headers: &mut HeaderMap, trace: &str) {
    let defaults = [
        (header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(trace) {
        headers.insert(&REQUEST_ID, value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::access;

    #[test]
    fn only_sound_trace_ids_are_taken_over() {
        let id = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(text));
            trace_id(&headers).map(str::to_owned)
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(id(good).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_handlers_own_policy_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        finish_headers(&mut headers, "t");
        assert_eq!(headers.get(header::CONTENT_SECURITY_POLICY).unwrap(), "sandbox");
        assert_eq!(headers.get(header::X_CONTENT_TYPE_OPTIONS).unwrap(), "nosniff");
        assert_eq!(headers.get("request-id").unwrap(), "t");
    }

    #[test]
    fn the_contract_is_openapi_3_1_with_unique_operations() {
        let (_, api) = table().split_for_parts();
        let value = serde_json::to_value(openapi::finish(api, "https://vault.example")).unwrap();
        assert_eq!(value["openapi"], "3.1.0");
        let mut ids: Vec<&str> = Vec::new();
        for item in value["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                ids.push(operation["operationId"].as_str().unwrap());
            }
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        let operations = value["paths"].as_object().unwrap().iter();
        let operations: BTreeSet<(String, String)> = operations
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone())))
            .collect();
        let table: BTreeSet<(String, String)> =
            access::ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(operations, table, "every operation says in gateway/src/api/access.rs what it asks of its caller");
        for path in ["/v1/documents", "/v1/documents/{id}/content", "/v1/uploads/{id}", "/readyz/{check}"] {
            assert!(value["paths"].get(path).is_some(), "{path}");
        }
        assert!(value["components"]["schemas"].get("ProblemBody").is_some());
    }
}
