//! Heads that do not end, and heads that are small on the wire and large when they are decoded.

use std::net::Ipv4Addr;

use futures_util::{StreamExt as _, stream};

use super::{
    frames::{END_HEADERS, END_STREAM, HEADERS, Outcome, frame, opening},
    wire::Target,
};

/// Connections that send such heads at once.
const CONNECTIONS: u8 = 150;
/// Bytes of a head: more than a gateway holds for one.
const HEAD_BYTES: usize = 600_000;

/// One address each, so that none is refused for its number.
fn address(net: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 3, net, number + 1)
}

/// Over HTTP/1.1: fields without end.
pub async fn endless(target: &Target) {
    let mut head = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n", target.host());
    while head.len() < HEAD_BYTES {
        head += "X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    }
    let answers = stream::iter(0..CONNECTIONS).map(|number| target.pour(address(0, number), head.as_bytes()));
    let answers: Vec<Vec<u8>> = answers.buffer_unordered(usize::from(CONNECTIONS)).collect().await;
    let refused = answers.iter().filter(|answer| answer.starts_with(b"HTTP/1.1 431")).count();
    let cut = answers.iter().filter(|answer| answer.is_empty()).count();
    println!("ok   {CONNECTIONS} heads of {HEAD_BYTES} bytes -> {refused} were answered 431, {cut} cut off");
    assert_eq!(refused + cut, usize::from(CONNECTIONS), "a head without an end was answered otherwise");
}

/// Over HTTP/2: one field of 4 kB is put into the compression table, then named some ten thousand times.
pub async fn growing(target: &Target) {
    let target = target.h2();
    // GET https / and an authority, by the static table; then a field that enters the dynamic one (RFC 7541).
    let mut block = vec![0x82, 0x87, 0x84, 0x01, 1, b'x', 0x40, 1, b'a'];
    // 3,900 as an integer with a prefix of seven bits: 127, then 3,773 in groups of seven bits.
    block.extend([0x7f, 0xbd, 0x1d]);
    block.extend([b'v'; 3_900]);
    block.resize(16_384, 0xbe);
    let bomb = [opening(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)].concat();
    for number in 0..20 {
        let got = target.pour_h2(address(1, number), &bomb, false).await;
        assert!(matches!(got, Outcome::GoAway(_) | Outcome::Reset(_) | Outcome::Closed | Outcome::Refused), "{got:?}");
        if number == 0 {
            println!("ok   a head of 12,000 times 4 kB in 16 kB -> {got:?}");
        }
    }
}
