//! Connections that do nothing, or nearly nothing.

use std::{net::Ipv4Addr, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_rustls::client::TlsStream;

use super::wire::{PATIENCE, Target, is_closed};

/// Connections from one address, and what of them is kept.
const FROM_ONE: usize = 5_000;
const KEPT: usize = 64;
/// Connections from many addresses.
const FROM_MANY: usize = 10_000;
/// Addresses that they come from.
const ADDRESSES: usize = 200;
/// One in this many makes its handshake and sends half a head.
const TALKERS: usize = 8;
/// Connections that are being made at a time.
const AT_ONCE: usize = 64;

/// A connection that is held open.
pub enum Held {
    /// Nothing was said.
    Silent(TcpStream),
    /// Half a head was sent.
    Talking(Box<TlsStream<TcpStream>>),
}

/// Thousands of connections from one address: as many are kept as one address may have, the others refused.
pub async fn one_address(target: &Target) -> Vec<(&'static str, usize)> {
    let from = Ipv4Addr::new(127, 1, 0, 1);
    let all: Vec<TcpStream> = connections(target, FROM_ONE, move |_| from).await;
    let until = Instant::now() + PATIENCE;
    let mut open = all.len();
    while open != KEPT {
        assert!(Instant::now() < until, "{open} of {FROM_ONE} connections of one address are open, {KEPT} should be");
        sleep(Duration::from_millis(100)).await;
        open = all.iter().filter(|stream| !is_closed(stream)).count();
    }
    vec![("idle connections from one address", all.len()), ("of which are kept", open)]
}

async fn connections(target: &Target, count: usize, from: impl Fn(usize) -> Ipv4Addr) -> Vec<TcpStream> {
    let made = stream::iter((0..count).map(|number| {
        let (target, from) = (target.clone(), from(number));
        async move { target.tcp(from).await.ok() }
    }));
    made.buffer_unordered(AT_ONCE).filter_map(|stream| async move { stream }).collect().await
}

/// Thousands of connections from many addresses, each below what it may have. Those that were taken stay open
/// as long as the answer is held.
pub async fn many_addresses(target: &Target, files: u64) -> Vec<Held> {
    assert!(files >= FROM_MANY as u64 + 1_000, "{files} open files are too few: raise the hard limit (ulimit -Hn)");
    let half = format!("GET /livez HTTP/1.1\r\nHost: {}\r\nX-A: ", target.host());
    let made = stream::iter((0..FROM_MANY).map(|number| {
        let (target, half) = (target.clone(), half.clone());
        // From 127.2.0.0 on, in turn.
        let from =
            Ipv4Addr::new(127, 2, u8::try_from(number % ADDRESSES / 100).unwrap(), u8::try_from(number % ADDRESSES % 100 + 1).unwrap());
        async move {
            if !number.is_multiple_of(TALKERS) {
                return target.tcp(from).await.ok().map(Held::Silent);
            }
            // Most of these are refused; a refusal is an end of the handshake.
            let mut stream = target.tls(from).await.ok()?;
            stream.write_all(half.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            Some(Held::Talking(Box::new(stream)))
        }
    }));
    let held: Vec<Held> = made.buffer_unordered(AT_ONCE).filter_map(|held| async move { held }).collect().await;
    let talking = held.iter().filter(|held| matches!(held, Held::Talking(stream) if !is_closed(stream.get_ref().0))).count();
    let closed = held.iter().filter(|held| matches!(held, Held::Silent(stream) if is_closed(stream))).count();
    println!("ok   {FROM_MANY} connections from {ADDRESSES} addresses -> {} were made, {talking} talk, {closed} are refused", held.len());
    assert!(talking > 0, "no slow client was taken: this shows nothing");
    held
}
