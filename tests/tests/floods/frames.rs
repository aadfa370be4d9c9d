//! HTTP/2 by hand: frames that cost the sender nothing, without end (RFC 9113).
//!
//! Holds: a flood is one burst of bytes, so what a gateway does about it does not depend on who is faster.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::wire::{PATIENCE, Target};

const DATA: u8 = 0;
/// The frame of a head.
pub const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// The request ends here.
pub const END_STREAM: u8 = 1;
/// The head ends here.
pub const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;
const CANCEL: [u8; 4] = 8_u32.to_be_bytes();

/// Times that each flood comes.
const TIMES: u8 = 20;

/// What a gateway did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It said why it ends the connection.
    GoAway(u32),
    /// It ended the one stream.
    Reset(u32),
    /// It answered there, with another status than 200.
    Refused,
    /// It ended the connection without a word, or its word was lost with the connection.
    Closed,
    /// It went on as if nothing were wrong.
    Served,
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a client begins with.
pub fn opening() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// The head of a request without a token, in the static table's words (RFC 7541): method, https, /, authority.
fn head(method: u8) -> Vec<u8> {
    vec![method, 0x87, 0x84, 0x01, 1, b'x']
}

/// What an answer 200 begins with, in the static table's words.
const STATUS_200: u8 = 0x88;
const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// Streams of a client: odd.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// Each kind of flood, several times.
pub async fn floods(target: &Target) {
    let target = target.h2();
    let rapid = streams(1_000)
        .flat_map(|stream| [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(GET)), frame(RST_STREAM, 0, stream, &CANCEL)].concat());
    let mut endless = frame(HEADERS, END_STREAM, 1, &head(GET));
    endless.extend(frame(CONTINUATION, 0, 1, &[0x00, 1, b'a', 1, b'b']).repeat(2_000));
    let mut empty = frame(HEADERS, END_HEADERS, 1, &head(POST));
    empty.extend(frame(DATA, 0, 1, &[]).repeat(2_000));
    let floods: [(&str, Vec<u8>); 5] = [
        ("rapid reset", rapid.collect()),
        ("CONTINUATION without end", endless),
        ("empty DATA", empty),
        ("PING", frame(PING, 0, 0, &[7; 8]).repeat(2_000)),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(2_000)),
    ];
    for (net, (name, flood)) in (0..).zip(floods) {
        let bytes = [opening(), flood].concat();
        let mut calmed = 0;
        for number in 0..TIMES {
            let got = target.pour_h2(Ipv4Addr::new(127, 4, net, number + 1), &bytes, true).await;
            // A client that is still sending may lose the last word with the connection.
            assert!(matches!(got, Outcome::GoAway(ENHANCE_YOUR_CALM) | Outcome::Closed), "{name}: {got:?}");
            calmed += u8::from(got != Outcome::Closed);
        }
        println!("ok   flood of {name}, {TIMES} times -> GOAWAY ENHANCE_YOUR_CALM {calmed} times, else closed");
        assert!(calmed > 0, "{name}: the reason was never told");
    }
    // The same client in ordinary words is served: the floods differ by what they say they differ by.
    let proper = [opening(), frame(PING, 0, 0, &[7; 8]).repeat(20), frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(GET))];
    let got = target.pour_h2(Ipv4Addr::new(127, 4, 9, 1), &proper.concat(), false).await;
    println!("ok   twenty PINGs and a request -> {got:?}");
    assert_eq!(got, Outcome::Served);
}

impl Target {
    /// Sends bytes over HTTP/2 and reads until the gateway refused them, answered, or ended the connection. What
    /// it answers to a flood is not its last word.
    pub async fn pour_h2(&self, from: Ipv4Addr, bytes: &[u8], is_flood: bool) -> Outcome {
        let (mut reader, mut writer) = tokio::io::split(self.tls(from).await.expect("a new address is taken"));
        let send = async {
            let _ = writer.write_all(bytes).await;
            let _ = writer.flush().await;
            // Nothing more: who is done here waits for the reader.
            std::future::pending::<()>().await;
        };
        let read = async {
            let (mut got, mut answered) = (Vec::new(), Outcome::Closed);
            loop {
                while let Some((kind, stream, payload, rest)) = split(&got) {
                    let code = |at: usize| payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes(code.try_into().unwrap()));
                    match kind {
                        GOAWAY => return Outcome::GoAway(code(4)),
                        RST_STREAM if stream == 1 => answered = Outcome::Reset(code(0)),
                        HEADERS if stream == 1 && answered == Outcome::Closed => {
                            answered = if payload.first() == Some(&STATUS_200) { Outcome::Served } else { Outcome::Refused };
                        }
                        _ => {}
                    }
                    got = rest;
                }
                if answered != Outcome::Closed && !is_flood {
                    return answered;
                }
                if !matches!(reader.read_buf(&mut got).await, Ok(count) if count > 0) {
                    return Outcome::Closed;
                }
            }
        };
        timeout(PATIENCE, async {
            tokio::select! {
                outcome = read => outcome,
                () = send => Outcome::Closed,
            }
        })
        .await
        .unwrap_or(Outcome::Served)
    }
}

/// The first frame (kind, stream, payload) and what is behind it; `None` when it is not whole.
fn split(bytes: &[u8]) -> Option<(u8, u32, Vec<u8>, Vec<u8>)> {
    let head: &[u8; 9] = bytes.get(..9)?.try_into().ok()?;
    let len = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).ok()?;
    let payload = bytes.get(9..9 + len)?.to_vec();
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Some((head[3], stream, payload, bytes[9 + len..].to_vec()))
}
