//! A stricter reading in front of the HTTP parsers: what they tolerate and we do not.
//!
//! Reading order: [`lines`] (HTTP/1.1: every line ends in CR LF), [`frames`] (HTTP/2: frames that carry
//! nothing are counted), then here the stream that looks at bytes on their way in.
//!
//! Owns: when which bytes are looked at. Not: parsing: how long a body is we are told by the parser.
//! Holds: (1) of HTTP/1.1 the parser is never given a byte behind the head that it is reading, so each byte is
//! known to be of a head or of a body when it is looked at; (2) after a body whose length is not known
//! beforehand nothing is read as a head: the connection ends with its answer; (3) what is refused the parser
//! refuses: it is handed a byte, or frames, that it answers with an error and its own orderly end; (4) what
//! is held here is one read.
//! Why this way: a scanner without the parser's help would have to find the end of every body by itself, and
//! two readings of one length are what smuggling lives on (DECISIONS 0016).

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

pub mod frames;
pub mod lines;

use frames::Frames;
use lines::{Head, Seen};

/// Bytes of a head that are read at once.
const HEAD_READ_BYTES: usize = 4096;
/// In the place of a lone LF: no parser takes it anywhere in a head.
const REFUSED_BYTE: u8 = 0;

/// What the next bytes of an HTTP/1.1 connection are.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Of a head.
    Head(Head),
    /// Not known: the parser has a whole head and did not yet say what follows it.
    Asked,
    /// Of a body, of which this many bytes are to come.
    Body(u64),
    /// Of a body without a known end: nothing behind it is read as a head.
    Rest,
    /// Nobody's: the head was refused.
    Refused,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    waiting: Option<Waker>,
}

/// What one HTTP/1.1 connection is at: shared by the stream and by who learns what the parser found.
#[derive(Debug)]
pub struct Framing(Mutex<State>);

impl Default for Framing {
    fn default() -> Self {
        Self(Mutex::new(State { phase: Phase::Head(Head::default()), waiting: None }))
    }
}

impl Framing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what follows the head that was read: a body of this many bytes, or of a length that only its end
    /// tells. Whether the connection may carry another request after this one.
    pub fn body_follows(&self, len: Option<u64>) -> bool {
        let mut state = self.lock();
        state.phase = match len {
            Some(0) => Phase::Head(Head::default()),
            Some(len) => Phase::Body(len),
            None => Phase::Rest,
        };
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
        len.is_some()
    }
}

#[derive(Debug)]
enum Watch {
    Http1(Arc<Framing>),
    Http2 { frames: Frames, refused: bool },
}

/// A stream whose bytes are looked at on their way in. Writing goes through.
#[derive(Debug)]
pub struct Strict<S> {
    inner: S,
    watch: Watch,
    /// Read from `inner`, or put in its place, and not yet given.
    held: BytesMut,
}

impl<S> Strict<S> {
    /// A connection of HTTP/1.1. Whoever serves it calls [`Framing::body_follows`] for each request.
    pub fn http1(inner: S, framing: Arc<Framing>) -> Self {
        Self { inner, watch: Watch::Http1(framing), held: BytesMut::new() }
    }

    /// A connection of HTTP/2.
    pub fn http2(inner: S) -> Self {
        Self { inner, watch: Watch::Http2 { frames: Frames::new(Instant::now()), refused: false }, held: BytesMut::new() }
    }
}

/// Gives the first `count` bytes of what is held; `out` has room for them.
fn give(held: &mut BytesMut, count: usize, out: &mut ReadBuf<'_>) {
    let count = count.min(held.len()).min(out.remaining());
    out.put_slice(&held[..count]);
    held.advance(count);
    if held.is_empty() {
        // An idle connection keeps no room for heads that may come.
        *held = BytesMut::new();
    }
}

/// Reads at most `most` bytes; how many came.
fn read_some<S: AsyncRead + Unpin>(inner: &mut S, context: &mut Context<'_>, out: &mut ReadBuf<'_>, most: u64) -> Poll<io::Result<usize>> {
    let before = out.filled().len();
    match usize::try_from(most) {
        Ok(most) if most < out.remaining() => {
            let mut part = ReadBuf::new(out.initialize_unfilled_to(most));
            ready!(Pin::new(inner).poll_read(context, &mut part))?;
            let count = part.filled().len();
            out.advance(count);
        }
        _ => ready!(Pin::new(inner).poll_read(context, out))?,
    }
    Poll::Ready(Ok(out.filled().len() - before))
}

fn read_http1<S: AsyncRead + Unpin>(
    inner: &mut S,
    held: &mut BytesMut,
    state: &mut State,
    context: &mut Context<'_>,
    out: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    match &mut state.phase {
        Phase::Head(head) => {
            if held.is_empty() {
                let mut room = [0; HEAD_READ_BYTES];
                let mut buffer = ReadBuf::new(&mut room);
                ready!(Pin::new(inner).poll_read(context, &mut buffer))?;
                held.extend_from_slice(buffer.filled());
            }
            let count = held.len().min(out.remaining());
            match head.look(&held[..count]) {
                Seen::More => give(held, count, out),
                Seen::End(end) => {
                    give(held, end, out);
                    state.phase = Phase::Asked;
                }
                Seen::LoneLf(at) => {
                    give(held, at, out);
                    out.put_slice(&[REFUSED_BYTE]);
                    *held = BytesMut::new();
                    state.phase = Phase::Refused;
                }
            }
        }
        Phase::Asked => {
            state.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        Phase::Body(left) => {
            let count = if held.is_empty() {
                ready!(read_some(inner, context, out, *left))?
            } else {
                let before = out.filled().len();
                give(held, usize::try_from(*left).unwrap_or(usize::MAX), out);
                out.filled().len() - before
            };
            *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
            if *left == 0 {
                state.phase = Phase::Head(Head::default());
            }
        }
        Phase::Rest if held.is_empty() => return Pin::new(inner).poll_read(context, out),
        Phase::Rest => give(held, usize::MAX, out),
        // As if the client had ended: the parser has its reason to answer and close.
        Phase::Refused => {}
    }
    Poll::Ready(Ok(()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, watch, held } = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match watch {
            Watch::Http1(framing) => read_http1(inner, held, &mut framing.lock(), context, out),
            Watch::Http2 { refused, .. } if *refused => {
                give(held, usize::MAX, out);
                Poll::Ready(Ok(()))
            }
            Watch::Http2 { frames, refused } => {
                let before = out.filled().len();
                ready!(Pin::new(inner).poll_read(context, out))?;
                let new = out.filled().get(before..).unwrap_or_default();
                if let Some(at) = frames.look(new, Instant::now()) {
                    out.set_filled(before + at);
                    held.extend_from_slice(&frames::refusal());
                    *refused = true;
                    give(held, usize::MAX, out);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, data)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// All that one read gives.
    async fn next(stream: &mut Strict<&[u8]>) -> String {
        let mut buffer = [0; 64];
        let count = stream.read(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[tokio::test]
    async fn a_read_ends_with_the_head_and_with_the_body() {
        let framing = Arc::new(Framing::default());
        let bytes = b"PUT / HTTP/1.1\r\n\r\nab\ncdGET / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n";
        let mut stream = Strict::http1(&bytes[..], Arc::clone(&framing));
        assert_eq!(next(&mut stream).await, "PUT / HTTP/1.1\r\n\r\n");
        assert!(framing.body_follows(Some(5)));
        assert_eq!(next(&mut stream).await, "ab\ncd", "a body may hold what it likes");
        assert_eq!(next(&mut stream).await, "GET / HTTP/1.1\r\n\r\n");
        assert!(framing.body_follows(Some(0)));
        assert_eq!(next(&mut stream).await, "GET /x HTTP/1.1\r\n\r\n");
        assert!(framing.body_follows(Some(0)));
        assert_eq!(next(&mut stream).await, "", "the end is the end");
    }

    #[tokio::test]
    async fn nothing_is_given_until_it_is_known_what_follows_a_head() {
        let framing = Arc::new(Framing::default());
        let mut stream = Strict::http1(&b"GET / HTTP/1.1\r\n\r\nabc"[..], Arc::clone(&framing));
        next(&mut stream).await;
        let told = async {
            tokio::task::yield_now().await;
            assert!(!framing.body_follows(None), "nothing is a request behind such a body");
        };
        let (given, ()) = tokio::join!(next(&mut stream), told);
        assert_eq!(given, "abc");
    }

    #[tokio::test]
    async fn a_body_longer_than_one_read_is_counted() {
        let framing = Arc::new(Framing::default());
        let bytes = [&b"PUT / HTTP/1.1\r\n\r\n"[..], &[b'\n'; 10_000], b"GET / HTTP/1.1\r\n\r\n"].concat();
        let mut stream = Strict::http1(&bytes[..], Arc::clone(&framing));
        next(&mut stream).await;
        framing.body_follows(Some(10_000));
        let mut body = 0;
        while body < 10_000 {
            let piece = next(&mut stream).await;
            assert!(!piece.is_empty() && piece.bytes().all(|b| b == b'\n'), "{body}: {piece}");
            body += piece.len();
        }
        assert_eq!(next(&mut stream).await, "GET / HTTP/1.1\r\n\r\n");
    }

    #[tokio::test]
    async fn a_lone_lf_reaches_the_parser_as_what_it_refuses() {
        let mut stream = Strict::http1(&b"GET / HTTP/1.1\r\nA: b\nHost: x\r\n\r\n"[..], Arc::default());
        assert_eq!(next(&mut stream).await, "GET / HTTP/1.1\r\nA: b\0");
        assert_eq!(next(&mut stream).await, "");
    }

    #[tokio::test]
    async fn a_flood_of_pings_reaches_the_parser_as_what_it_refuses() {
        let ping: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &ping.repeat(5_000)].concat();
        let mut stream = Strict::http2(&bytes[..]);
        let mut given = Vec::new();
        stream.read_to_end(&mut given).await.unwrap();
        assert_eq!(given.len(), 24 + 1_001 * ping.len() + frames::refusal().len());
        assert!(given.ends_with(&frames::refusal()));
    }
}
