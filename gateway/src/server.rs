//! The listener: TCP, TLS 1.3, HTTP/1.1 and HTTP/2, with a deadline on everything that a client can delay.
//!
//! Owns: accepting, the handshake, limits by address, pacing of bodies, stalled writes, certificates that can
//! be exchanged, and the orderly end. Not: what a request does ([`crate::router`]), what the parsers tolerate
//! ([`crate::strict`]).
//! Holds: (1) a client that sends nothing, sends slowly or never reads costs one task and its buffers for a
//! bounded time; (2) one address cannot take all connections, and the fewer places are left the fewer of them
//! an address gets, so that some hundred addresses together do not shut out the next one; (3) when the service
//! stops, running requests end and no new ones begin.
//!
//! The protocol is chosen by ALPN, not by looking at the first bytes: a client that sends half a preface and
//! waits is under the same deadline as any other.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{BoxError, Router, body::Body};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{
    api::{Gateway, caller::Peer},
    limits::Limits,
    strict::{Framing, Strict},
    telemetry::ConnectionRefusal,
};

/// A certificate with its key that can be exchanged while the service runs.
#[derive(Debug)]
pub struct ReloadableCert {
    current: RwLock<Arc<CertifiedKey>>,
}

impl ReloadableCert {
    /// A chain (own certificate first) with its key.
    ///
    /// # Errors
    /// When the key cannot be used or does not fit the certificate.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, rustls::Error> {
        Ok(Self { current: RwLock::new(certified(chain, key)?) })
    }

    /// Exchanges the certificate for all connections from now on. On an error the old one stays.
    ///
    /// # Errors
    /// As [`ReloadableCert::new`].
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), rustls::Error> {
        let new = certified(chain, key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new)
}

impl ResolvesServerCert for ReloadableCert {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// TLS for people and programs: 1.3 only, no client certificates, no early data (it can be replayed).
///
/// # Errors
/// When the provider lacks TLS 1.3: never.
pub fn tls_config(certificate: Arc<ReloadableCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `router` on `listener` until `stop`; running requests then have `drain` to end.
pub async fn serve(
    gateway: Arc<Gateway>,
    router: Router,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    stop: impl Future<Output = ()> + Send,
    drain: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Places::default());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually no file descriptor is left: wait for connections to end rather than spin.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = match Places::take(&places, address.ip(), gateway.limits()) {
            Ok(place) => place,
            Err(why) => {
                gateway.telemetry.connection_refused(why);
                continue;
            }
        };
        let connection = Connection { gateway: Arc::clone(&gateway), router: router.clone(), acceptor: acceptor.clone(), address };
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _counted = connection.gateway.telemetry.connection_opens();
            connection.run(socket, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and were cut off");
    }
}

struct Connection {
    gateway: Arc<Gateway>,
    router: Router,
    acceptor: TlsAcceptor,
    address: SocketAddr,
}

impl Connection {
    async fn run(self, socket: TcpStream, watcher: Watcher) {
        let limits = self.gateway.limits().clone();
        let telemetry = Arc::clone(&self.gateway.telemetry);
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let Ok(Ok(stream)) = timeout(limits.head_deadline(), self.acceptor.accept(socket)).await else {
            telemetry.connection_refused(ConnectionRefusal::Handshake);
            return;
        };
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
        let stalled = StallGuard::new(stream, limits.write_stall());
        let framing = (!is_h2).then(|| Arc::new(Framing::default()));
        let io = TokioIo::new(match &framing {
            Some(framing) => Strict::http1(stalled, Arc::clone(framing)),
            None => Strict::http2(stalled),
        });
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (asked, router, peer) = (Arc::clone(&asked), self.router, Peer(self.address.ip()));
            let (window, min) = (limits.body_window(), limits.body_window_min_bytes);
            hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let ends = framing.as_ref().is_some_and(|framing| !framing.body_follows(request.body().size_hint().exact()));
                request.extensions_mut().insert(peer);
                let request = request.map(|body| Body::new(PacedBody::new(body, window, min)));
                let answer = router.clone().oneshot(request);
                async move {
                    let mut answer = answer.await?;
                    if ends {
                        // What follows a body without a length is not read: nothing can be hidden there.
                        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(answer)
                }
            })
        };
        let connection = watcher.watch(builder(&limits, is_h2).serve_connection(io, service).into_owned());
        let mut connection = pin!(connection);
        tokio::select! {
            result = &mut connection => return note_end(result),
            () = sleep(limits.head_deadline()) => {}
        }
        if !asked.load(Ordering::Relaxed) {
            telemetry.connection_refused(ConnectionRefusal::Idle);
            return;
        }
        note_end(connection.await);
    }
}

fn note_end(result: Result<(), BoxError>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What HTTP/1.1 reads at once: room for a head, and large enough that bodies come in few calls.
const READ_BUFFER_BYTES: usize = 256 * 1024;
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const H2_PING: Duration = Duration::from_secs(20);

fn builder(limits: &Limits, is_h2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_deadline()).max_buf_size(READ_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(limits.header_max_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PING);
    if is_h2 { builder.http2_only() } else { builder.http1_only() }
}

/// Open connections, by address and in all.
#[derive(Debug, Default)]
struct Places {
    counts: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// Held while a connection is open.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    fn take(places: &Arc<Self>, address: IpAddr, limits: &Limits) -> Result<Place, ConnectionRefusal> {
        let mut counts = places.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.0 >= limits.connections_max {
            return Err(ConnectionRefusal::Total);
        }
        let exempt = limits.loopback_exempt && address.is_loopback();
        let held = counts.1.get(&address).copied().unwrap_or(0);
        if !exempt && held >= Self::share(counts.0, limits) {
            return Err(ConnectionRefusal::Address);
        }
        counts.0 += 1;
        counts.1.insert(address, held + 1);
        Ok(Place { places: Arc::clone(places), address })
    }

    /// What one address may hold while `taken` places are: all that it is allowed while half of them are free,
    /// then less and less, and one as long as there is any.
    fn share(taken: usize, limits: &Limits) -> usize {
        let (free, half) = (limits.connections_max.saturating_sub(taken), (limits.connections_max / 2).max(1));
        if free >= half {
            return limits.connections_per_address;
        }
        (limits.connections_per_address.saturating_mul(free) / half).max(1)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.0 = counts.0.saturating_sub(1);
        if let Some(held) = counts.1.get_mut(&self.address) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                counts.1.remove(&self.address);
            }
        }
    }
}

/// A body came more slowly than the minimum rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body came too slowly")]
pub struct BodyTooSlow;

/// A body that must keep a minimum rate. Only time spent waiting for the client counts: while our disks are
/// slow, the client is not.
struct PacedBody<B> {
    inner: B,
    window: Duration,
    min_bytes: u64,
    /// Since when we wait for the client at present.
    waiting: Option<Instant>,
    /// Waited in this window, before `waiting`.
    waited: Duration,
    /// Bytes in this window.
    bytes: u64,
    timer: Pin<Box<Sleep>>,
}

impl<B> PacedBody<B> {
    fn new(inner: B, window: Duration, min_bytes: u64) -> Self {
        Self { inner, window, min_bytes, waiting: None, waited: Duration::ZERO, bytes: 0, timer: Box::pin(sleep(window)) }
    }

    /// Closes the window when its time is over; whether it brought enough.
    fn is_fast_enough(&mut self) -> bool {
        if self.waited < self.window {
            return true;
        }
        let enough = self.bytes >= self.min_bytes;
        self.waited = Duration::ZERO;
        self.bytes = 0;
        enough
    }
}

impl<B> HttpBody for PacedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        if let Some(since) = this.waiting.take() {
            this.waited += since.elapsed();
        }
        if let Poll::Ready(frame) = polled {
            if let Some(Ok(frame)) = &frame {
                this.bytes += frame.data_ref().map_or(0, |d| u64::try_from(d.len()).unwrap_or(u64::MAX));
                if !this.is_fast_enough() {
                    return Poll::Ready(Some(Err(BodyTooSlow.into())));
                }
            }
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        if !this.is_fast_enough() {
            return Poll::Ready(Some(Err(BodyTooSlow.into())));
        }
        let now = Instant::now();
        this.waiting = Some(now);
        let left = this.window.saturating_sub(this.waited);
        this.timer.as_mut().reset(now + left);
        if this.timer.as_mut().poll(context).is_ready() {
            // Not before the window is over; look again then.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A stream on which a write that makes no progress for a while is an error.
struct StallGuard<S> {
    inner: S,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, stalled: None }
    }

    /// `result`, or an error when it has been pending for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let limit = self.limit;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(context, data);
        this.watch(context, result)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(context, data);
        this.watch(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_flush(context);
        this.watch(context, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_shutdown(context);
        this.watch(context, result)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let places = Arc::new(Places::default());
        let limits = Limits { connections_per_address: 2, connections_max: 4, ..Limits::default() };
        let (a, b, home): (IpAddr, IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), [127, 0, 0, 1].into());
        let held = [Places::take(&places, a, &limits).unwrap(), Places::take(&places, a, &limits).unwrap()];
        assert_eq!(Places::take(&places, a, &limits).unwrap_err(), ConnectionRefusal::Address);
        let more = [Places::take(&places, b, &limits).unwrap(), Places::take(&places, home, &limits).unwrap()];
        assert_eq!(Places::take(&places, b, &limits).unwrap_err(), ConnectionRefusal::Total);
        drop(held);
        assert!(Places::take(&places, a, &limits).is_ok());
        drop(more);
    }

    #[test]
    fn many_addresses_leave_a_place_for_the_next() {
        let places = Arc::new(Places::default());
        let limits = Limits::default();
        let mut held = Vec::new();
        for address in 0..200_u8 {
            while let Ok(place) = Places::take(&places, [192, 0, 2, address].into(), &limits) {
                held.push(place);
            }
        }
        assert!(held.len() > limits.connections_max / 2, "the places are used: {}", held.len());
        assert!(Places::take(&places, [198, 51, 100, 1].into(), &limits).is_ok(), "{} of {}", held.len(), limits.connections_max);
        let no_limit = Limits { connections_per_address: usize::MAX, ..limits };
        assert!(Places::take(&places, [192, 0, 2, 0].into(), &no_limit).is_ok(), "no limit stays none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_ends_with_an_error() {
        let slow = stream::unfold((), |()| async {
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let mut body = PacedBody::new(StreamBody::new(Box::pin(slow)), Duration::from_secs(10), 1024);
        let error = loop {
            match body.frame().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.is::<BodyTooSlow>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_the_clients_fault() {
        let ready = stream::iter((0..50).map(|_| Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"x")))));
        let mut body = PacedBody::new(StreamBody::new(ready), Duration::from_secs(10), 1024);
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            frame.unwrap();
            frames += 1;
            sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(frames, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_cut_off() {
        use tokio::io::AsyncWriteExt;
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut guarded = StallGuard::new(ours, Duration::from_secs(30));
        let error = guarded.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
