//! Who asks: the session behind a bearer token or a cookie, or the service behind a secret, looked up linearizably.
//!
//! Owns: [`Caller`], and what else is read from the head of every request ([`Peer`], [`Trace`]).
//! Holds: (1) a session that was ended anywhere is refused here from the moment that ending it was
//! answered, for the look-up waits for the majority; (2) a token that is missing, malformed, unknown,
//! ended or too old gets one and the same answer; (3) a cookie alone changes nothing when another site
//! had the browser send it; (4) a service gets past here only on a route that its scope names.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::extract::{FromRequestParts, MatchedPath};
use http::{HeaderMap, Method, header, request::Parts};
use kluis_raft::{
    command::{Command, IdentityCommand},
    model::{AccountId, Actor, Scope, SecretHash, Service, Session, SessionId, VaultId},
    store::Read,
    view,
};

use crate::{
    api::{
        Gateway,
        access::{self, Need},
    },
    auth::token::{BearerToken, ServiceToken},
    problem::{Code, Problem},
    rate::{self, Asker},
};

/// Name of the session cookie: the prefix has browsers take it only over HTTPS, for this host alone.
pub const COOKIE: &str = "__Host-kluis";

/// The client's address, put in by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The trace id of a request (32 hexadecimal digits), put in by the router.
#[derive(Debug, Clone)]
pub struct Trace(pub Arc<str>);

/// How long uses of sessions are gathered before they are told to the metadata group together.
const SEEN_DELAY: Duration = Duration::from_secs(10);

/// A signed-in person, or a service.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who answers for the request.
    pub account: AccountId,
    /// The vault that it is about.
    pub vault: VaultId,
    /// What was shown.
    pub credential: Credential,
    /// When it was looked up.
    pub at_ms: u64,
    /// The address that the request came from, for the history.
    pub address: Option<IpAddr>,
}
/// What a caller showed.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A person's token.
    Session(Box<Session>),
    /// A service's secret.
    Service {
        /// The service.
        service: Box<Service>,
        /// Which of its secrets.
        secret: SecretHash,
    },
}

impl Caller {
    /// The person of a session.
    pub fn of_session(session: Session, at_ms: u64) -> Self {
        Self { account: session.account, vault: session.vault, credential: Credential::Session(Box::new(session)), at_ms, address: None }
    }

    /// A service that showed this secret.
    pub fn of_service(service: Service, secret: SecretHash, at_ms: u64) -> Self {
        let (account, vault) = (service.account, service.vault);
        Self { account, vault, credential: Credential::Service { service: Box::new(service), secret }, at_ms, address: None }
    }

    /// The session of the person who asks.
    ///
    /// # Errors
    /// 403 for a service.
    pub fn session(&self) -> Result<&Session, Problem> {
        match &self.credential {
            Credential::Session(session) => Ok(session),
            Credential::Service { .. } => Err(Problem::plain(Code::ScopeExceeded)),
        }
    }

    /// Who acts, as the log has it.
    pub fn actor(&self) -> Actor {
        match &self.credential {
            Credential::Session(session) => Actor::Account(session.account),
            Credential::Service { service, .. } => Actor::Service(service.id.0),
        }
    }

    /// Refuses a service without this scope; a person has all of them.
    ///
    /// # Errors
    /// 403.
    pub fn require_scope(&self, scope: Scope) -> Result<(), Problem> {
        match &self.credential {
            Credential::Session(_) => Ok(()),
            Credential::Service { service, .. } if service.scopes.contains(&scope) => Ok(()),
            Credential::Service { .. } => Err(Problem::plain(Code::ScopeExceeded)),
        }
    }

    /// Looks the credential up once more: who was signed out meanwhile is refused.
    ///
    /// # Errors
    /// 401; 500 when the store fails.
    pub fn again(&self, read: &dyn Read, now_ms: u64) -> Result<(), Problem> {
        let holds = match &self.credential {
            Credential::Session(session) => find(read, &session.id, now_ms)?.is_some(),
            Credential::Service { secret, .. } => find_service(read, secret, now_ms)?.is_some(),
        };
        if holds { Ok(()) } else { Err(Problem::unauthenticated()) }
    }

    fn meets(&self, need: Option<Need>) -> Result<(), Problem> {
        match need {
            Some(Need::Nothing) => Ok(()),
            Some(Need::Scope(scope)) => self.require_scope(scope),
            Some(Need::Person) | None => self.session().map(|_| ()),
        }
    }
}

/// For what cannot be undone: the person proved who they are, at a high level, within the last ten minutes.
///
/// # Errors
/// 403 `step_up_required`, which says how; 403 for a service.
pub fn require_step_up(caller: &Caller) -> Result<(), Problem> {
    if caller.session()?.is_stepped_up(caller.at_ms) { Ok(()) } else { Err(Problem::plain(Code::StepUpRequired)) }
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
        let found = look_up(gateway, text, by_cookie, now_ms).await?;
        let Some(mut caller) = found else {
            if let Some(address) = address {
                gateway.guards.note_bad_token(address, now_ms);
            }
            return Err(Problem::unauthenticated());
        };
        if by_cookie && !is_safe(&parts.method) && !is_same_origin(&parts.headers) {
            return Err(Problem::plain(Code::CrossSite));
        }
        caller.address = peer;
        let route = parts.extensions.get::<MatchedPath>();
        caller.meets(route.and_then(|path| access::need(&parts.method, path.as_str())))?;
        if let (Some(_), Some(class)) = (address, route.and_then(|path| rate::class(&parts.method, path.as_str()))) {
            gateway.guards.rates.take(&limits.rates, Asker::Person(caller.account), class, now_ms).map_err(rate::refused)?;
        }
        note_seen(gateway, &caller);
        Ok(caller)
    }
}

/// Who shows `text`. A service's secret is taken from the header only: browsers do not hold one.
async fn look_up(gateway: &Gateway, text: &str, by_cookie: bool, now_ms: u64) -> Result<Option<Caller>, Problem> {
    if let Ok(token) = BearerToken::parse(text) {
        let found = find(&*gateway.current().await?, &token.session_id(), now_ms)?;
        return Ok(found.map(|session| Caller::of_session(session, now_ms)));
    }
    match ServiceToken::parse(text) {
        Ok(token) if !by_cookie => {
            let secret = token.secret_hash();
            let found = find_service(&*gateway.current().await?, &secret, now_ms)?;
            Ok(found.map(|service| Caller::of_service(service, secret, now_ms)))
        }
        _ => Ok(None),
    }
}

/// Notes that a session is used, once in [`Session::SEEN_STEP_MS`]; the first one noted tells all of a moment together.
fn note_seen(gateway: &Arc<Gateway>, caller: &Caller) {
    let Credential::Session(session) = &caller.credential else { return };
    if caller.at_ms < session.last_seen_ms.saturating_add(Session::SEEN_STEP_MS) || !gateway.guards.note_seen(session.id) {
        return;
    }
    let gateway = Arc::clone(gateway);
    tokio::spawn(async move {
        tokio::time::sleep(SEEN_DELAY).await;
        let command = IdentityCommand::NoteSeen { sessions: gateway.guards.take_seen() };
        if let Err(error) = gateway.metadata.propose(Command::Identity(Box::new(command))).await {
            tracing::debug!(%error, "when sessions were seen is not noted this time");
        }
    });
}

/// The service, if it and this secret of it have not expired.
///
/// # Errors
/// 500 when the store fails.
pub fn find_service(read: &dyn Read, secret: &SecretHash, now_ms: u64) -> Result<Option<Service>, Problem> {
    Ok(view::service_of(read, secret)?.filter(|service| service.accepts(secret, now_ms)))
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
