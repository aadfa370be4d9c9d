//! Requests that two programs could read in two ways, and heads that are too large: bytes on a TLS connection.
//!
//! A request that is hidden in another would show as a second answer here, and as a document at the end.

use kluis_tests::fresh_key;

use super::world::World;

/// Heads that are refused, each with what may come back. `closed`: without an answer.
pub async fn heads(world: &World) {
    let host = format!("Host: {}", world.wire.host());
    let live = |fields: &[&str]| world.head("GET /livez HTTP/1.1", "", fields);
    let key = format!("Idempotency-Key: {}", fresh_key());
    let hidden = world.head("POST /v1/documents?name=hidden HTTP/1.1", &world.token, &[&key, "Content-Length: 1"]) + "x";
    let long_uri = format!("GET /livez?{} HTTP/1.1\r\n{host}\r\n\r\n", "a".repeat(100_000));
    let uri = format!("GET /livez?{} HTTP/1.1\r\n{host}\r\n\r\n", "a".repeat(9_000));
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let close = ["Connection: close"];
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("a proper request", live(&close), &["200"]),
        ("two Content-Lengths that differ", live(&["Content-Length: 4", "Content-Length: 5"]) + "12345", &["400"]),
        ("Content-Length: 4, 4", live(&["Content-Length: 4, 4"]) + "1234", &["400"]),
        ("Content-Length: +4", live(&["Content-Length: +4"]) + "1234", &["400"]),
        ("Content-Length: -1", live(&["Content-Length: -1"]), &["400"]),
        ("Content-Length: 2^64", live(&["Content-Length: 18446744073709551616"]), &["400", "413"]),
        ("Transfer-Encoding: xchunked", live(&["Transfer-Encoding: xchunked"]) + "0\r\n\r\n", &["400"]),
        ("Transfer-Encoding: chunked, identity", live(&["Transfer-Encoding: chunked, identity"]) + "0\r\n\r\n", &["400"]),
        ("Transfer-Encoding twice", live(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]) + "0\r\n\r\n", &["400"]),
        ("Transfer-Encoding in HTTP/1.0", world.head("GET /livez HTTP/1.0", "", &["Transfer-Encoding: chunked"]) + "0\r\n\r\n", &["400"]),
        ("blank before the colon", live(&["X-A : 1"]), &["400"]),
        ("folded field", live(&["X-A: 1\r\n 2"]), &["400"]),
        ("NUL in a value", live(&["X-A: 1\u{0}2"]), &["400"]),
        ("bare CR in a value", live(&["X-A: 1\r2"]), &["400"]),
        // The parser would take each of these (RFC 9112 section 2.2): DECISIONS 0016.
        ("bare LF as every line's end", format!("GET /livez HTTP/1.1\n{host}\n\n"), &["400"]),
        ("bare LF behind the request line", format!("GET /livez HTTP/1.1\n{host}\r\n\r\n"), &["400"]),
        ("bare LF behind a field", format!("GET /livez HTTP/1.1\r\n{host}\nX-A: 1\r\n\r\n"), &["400"]),
        ("bare LF as the empty line", format!("GET /livez HTTP/1.1\r\n{host}\r\n\n"), &["400"]),
        ("bare LF before the request", format!("\nGET /livez HTTP/1.1\r\n{host}\r\n\r\n"), &["400"]),
        ("empty line before the request", format!("\r\n{}", live(&close)), &["200"]),
        ("two requests at once", live(&[]) + &live(&close), &["200 + 200"]),
        // A gateway may end the connection rather than read a body that nobody wants.
        ("a body with line feeds, then a request", live(&["Content-Length: 4"]) + "\n\n\n\n" + &live(&close), &["200 + 200", "200"]),
        (
            "a body with line feeds, then a request with bare LFs",
            live(&["Content-Length: 4"]) + "\n\n\n\n" + &format!("GET /livez HTTP/1.1\n{host}\n\n"),
            &["200 + 400", "200"],
        ),
        ("no Host", "GET /livez HTTP/1.1\r\nX-A: 1\r\n\r\n".to_owned(), &["400 host_refused"]),
        ("two Hosts", live(&["Host: other.example"]), &["400 host_refused"]),
        ("absolute form for another host", world.head("GET https://other.example/livez HTTP/1.1", "", &[]), &["421 wrong_host"]),
        ("CONNECT", format!("CONNECT other.example:443 HTTP/1.1\r\n{host}\r\n\r\n"), &["405 method_not_allowed"]),
        ("TRACE", world.head("TRACE /livez HTTP/1.1", "", &[]), &["405 method_not_allowed"]),
        ("unknown method", world.head("BREW /livez HTTP/1.1", "", &[]), &["405 method_not_allowed"]),
        ("method that is not this URL's", world.head("PUT /livez HTTP/1.1", "", &["Content-Length: 0"]), &["405 method_not_allowed"]),
        ("HTTP/0.9", "GET /livez\r\n\r\n".to_owned(), &["400", "closed"]),
        ("HTTP/1.9", world.head("GET /livez HTTP/1.9", "", &[]), &["400", "closed"]),
        ("HTTP/2 preface over HTTP/1.1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage".to_owned(), &["400", "closed"]),
        ("URL of 100 kB", long_uri, &["414"]),
        ("URL of 9 kB", uri, &["414 uri_too_long"]),
        ("field of 20 kB", live(&[&format!("X-A: {}", "a".repeat(20_000))]), &["431 headers_too_large"]),
        ("101 fields", format!("GET /livez HTTP/1.1\r\n{host}\r\n{many}\r\n"), &["431"]),
        ("unknown URL", world.head("GET /nowhere HTTP/1.1", "", &[]), &["404 not_found"]),
        (
            "Expect: 100-continue with a bad token",
            world.head("POST /v1/documents?name=x HTTP/1.1", "bad", &["Expect: 100-continue", "Content-Length: 1000", &key]),
            &["401 unauthenticated"],
        ),
    ];
    for (name, request, expected) in cases {
        let exchange = world.wire.exchange(request).await;
        world.check(name, expected, exchange.brief());
        if exchange.answers.iter().any(|a| a.status == 405) {
            let allow = exchange.answers.first().and_then(|a| a.header("allow"));
            world.holds(format!("{name}: Allow"), allow.is_some_and(|a| a.contains("GET")), allow);
        }
    }

    // After these the gateway must not read on: what follows is not where it seems to be.
    for (name, fields, body) in [
        ("Content-Length and Transfer-Encoding", ["Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n"),
        ("Transfer-Encoding and Content-Length", ["Transfer-Encoding: chunked", "Content-Length: 5"], "0\r\n\r\n"),
        ("two Content-Lengths", ["Content-Length: 4", "Content-Length: 0"], "1234"),
        ("Content-Length that is none", ["Content-Length: 4, 4", "X-A: 1"], "1234"),
    ] {
        let exchange = world.wire.exchange(live(&fields) + body + &hidden).await;
        world.check(format!("{name}, with a request behind"), &["400 closed", "200 closed", "closed"], exchange.brief_with_end());
    }
    let listed = world.listed(&world.token).await;
    world.holds("no hidden request was carried out", listed == world.acknowledged(), listed.len());

    let mut garbage = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    garbage.extend([0xff; 600]);
    let exchange = world.wire.h2().exchange(garbage).await;
    world.holds("HTTP/2 preface and garbage", exchange.closed, exchange.brief());
    let exchange = world.wire.h2().exchange(&b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"[..]).await;
    world.holds("HTTP/1.1 where HTTP/2 was agreed", exchange.closed && !exchange.answers.iter().any(|a| a.status == 200), exchange.brief());
}

/// Chunked bodies that are none.
pub async fn chunked(world: &World) {
    let trailers: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (name, body) in [
        ("chunk of more than 2^64 bytes", "10000000000000000\r\nx\r\n0\r\n\r\n".to_owned()),
        ("chunk of -1 bytes", "-1\r\nx\r\n0\r\n\r\n".to_owned()),
        ("chunk whose size is no number", "zz\r\nx\r\n0\r\n\r\n".to_owned()),
        ("bare LF in chunks", "1\nx\n0\n\n".to_owned()),
        ("chunk longer than its size", "1\r\nxyz\r\n0\r\n\r\n".to_owned()),
        ("chunk extension of 20 kB", format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(20_000))),
        ("200 trailers", format!("1\r\nx\r\n0\r\n{trailers}\r\n")),
    ] {
        let key = format!("Idempotency-Key: {}", fresh_key());
        let head = world.head("POST /v1/documents?name=chunked HTTP/1.1", &world.token, &[&key, "Transfer-Encoding: chunked"]);
        let exchange = world.wire.exchange(head + &body).await;
        world.check(name, &["400 closed", "400 length_mismatch closed", "closed"], exchange.brief_with_end());
    }
    let key = format!("Idempotency-Key: {}", fresh_key());
    let head = world.head("POST /v1/documents?name=chunked HTTP/1.1", &world.other, &[&key, "Transfer-Encoding: chunked"]);
    let behind = world.head("GET /livez HTTP/1.1", "", &[]);
    let exchange = world.wire.exchange(head + "5\r\nhello\r\n0\r\n\r\n" + &behind).await;
    world.check("proper chunks, and nothing is read behind them", &["201 closed"], exchange.brief_with_end());
}
