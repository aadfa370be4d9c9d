//! Who asks: the session behind a bearer token or a cookie, looked up linearizably.
//!
//! Owns: [`Caller`], and what else is read from the head of every request ([`Peer`], [`Trace`]).
//! Holds: (1) a session that was ended anywhere is refused here from the moment that ending it was
//! answered, for the look-up waits for the majority; (2) a token that is missing, malformed, unknown,
//! ended or too old gets one and the same answer; (3) a cookie alone changes nothing when another site
//! had the browser send it.

use std::{net::IpAddr, sync::Arc};

use axum::extract::FromRequestParts;
use http::{HeaderMap, Method, header, request::Parts};
use kluis_raft::{
    model::{Session, SessionId},
    store::Read,
    view,
};

use crate::{
    api::Gateway,
    auth::token::BearerToken,
    problem::{Code, Problem},
};

/// Name of the session cookie: the prefix has browsers take it only over HTTPS, for this host alone.
pub const COOKIE: &str = "__Host-kluis";

/// The client's address, put in by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The trace id of a request (32 hexadecimal digits), put in by the router.
#[derive(Debug, Clone)]
pub struct Trace(pub Arc<str>);

/// A signed-in person.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The session.
    pub session: Session,
    /// The address that the request came from, for the history.
    pub address: Option<IpAddr>,
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let limits = gateway.limits();
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let address = peer.filter(|address| !(limits.loopback_exempt && address.is_loopback()));
        let now_ms = gateway.clock.now_ms();
        if address.is_some_and(|a| gateway.guards.is_throttled(a, now_ms, limits.bad_tokens_per_minute)) {
            return Err(Problem::new(Code::TooManyRequests, "too many bad tokens came from this address"));
        }
        let (text, by_cookie) = token_text(&parts.headers).ok_or_else(Problem::unauthenticated)?;
        let found = match BearerToken::parse(text) {
            Ok(token) => find(&*gateway.current().await?, &token.session_id(), now_ms)?,
            Err(_) => None,
        };
        let Some(session) = found else {
            if let Some(address) = address {
                gateway.guards.note_bad_token(address, now_ms);
            }
            return Err(Problem::unauthenticated());
        };
        if by_cookie && !is_safe(&parts.method) && !is_same_origin(&parts.headers) {
            return Err(Problem::plain(Code::CrossSite));
        }
        Ok(Self { session, address: peer })
    }
}

/// The session, if it exists and has not ended.
///
/// # Errors
/// 500 when the store fails.
pub fn find(read: &dyn Read, id: &SessionId, now_ms: u64) -> Result<Option<Session>, Problem> {
    Ok(view::session(read, id)?.filter(|session| session.expires_ms > now_ms))
}

/// The token in the request, and whether it came as a cookie. Two tokens are none.
fn token_text(headers: &HeaderMap) -> Option<(&str, bool)> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = authorizations.next() {
        if authorizations.next().is_some() {
            return None;
        }
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then_some((token.trim(), false));
    }
    cookie(headers, COOKIE).map(|token| (token, true))
}

/// The value of a cookie; `None` when it is missing or given twice.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|value| value.as_bytes() == b"same-origin")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in pairs {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn one_token_or_none() {
        assert_eq!(token_text(&headers(&[("authorization", "Bearer abc")])), Some(("abc", false)));
        assert_eq!(token_text(&headers(&[("cookie", "a=b; __Host-kluis=abc")])), Some(("abc", true)));
        assert_eq!(token_text(&headers(&[("authorization", "bearer abc"), ("cookie", "__Host-kluis=x")])), Some(("abc", false)));
        for none in [
            vec![],
            vec![("authorization", "Basic abc")],
            vec![("authorization", "Bearer")],
            vec![("authorization", "Bearer a"), ("authorization", "Bearer b")],
            vec![("cookie", "__Host-kluis=a; __Host-kluis=b")],
            vec![("cookie", "kluis=a")],
        ] {
            assert_eq!(token_text(&headers(&none)), None, "{none:?}");
        }
    }
}
