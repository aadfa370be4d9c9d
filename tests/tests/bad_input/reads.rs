//! What is asked of a document that exists: ranges and conditions, right and wrong; lists with wrong cursors.

use kluis_tests::content;

use super::world::World;

/// Ranges of a document of several chunks.
pub async fn ranges(world: &World) {
    let content = content(10, 2_500_000);
    let made = world.upload("ranges", &[], &content).await;
    world.check("a document of several chunks", &["201"], made.brief());
    let path = format!("{}/content", made.header("location"));
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048580", 1_048_570, 1_048_581),
        ("bytes=-7", 2_499_993, 2_500_000),
        ("bytes=2000000-", 2_000_000, 2_500_000),
        ("bytes=2400000-99999999999999999999", 2_400_000, 2_500_000),
        ("bytes=0-9,5-19,3000000-", 0, 20),
    ] {
        let got = world.call("GET", &path, &[("range", range)], b"").await;
        world.check(format!("range {range}"), &["206"], got.brief());
        world.check(format!("range {range}: place"), &[&format!("bytes {start}-{}/2500000", end - 1)], got.header("content-range"));
        world.holds(format!("range {range}: bytes"), got.body == content[start..end], got.body.len());
    }
    let two = world.call("GET", &path, &[("range", "bytes=0-3,1048574-1048578")], b"").await;
    world.check("two ranges", &["206"], two.brief());
    let boundary = two.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap_or("none").to_owned();
    let part = |start: usize, end: usize| {
        let head = format!("\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {start}-{}/2500000\r\n\r\n", end - 1);
        [head.as_bytes(), &content[start..end]].concat()
    };
    let expected = [part(0, 4), part(1_048_574, 1_048_579), format!("\r\n--{boundary}--\r\n").into_bytes()].concat();
    world.holds("two ranges: bytes", two.body == expected, two.body.len());

    for bad in ["bytes=", "bytes=5-2", "bytes=2500000-", "bytes=-0", "bytes=18446744073709551616-", "bytes=a-b", "bytes=1-2-3", "bytes=-"] {
        let refused = world.call("GET", &path, &[("range", bad)], b"").await;
        world.check(format!("range {bad}"), &["416 range_not_satisfiable"], refused.brief());
        world.check(format!("range {bad}: length"), &["bytes */2500000"], refused.header("content-range"));
    }
    for count in [17, 1000] {
        let many = format!("bytes={}", vec!["0-1"; count].join(","));
        world.check(format!("{count} ranges"), &["400 too_many_ranges"], world.call("GET", &path, &[("range", &many)], b"").await.brief());
    }
    let unit = world.call("GET", &path, &[("range", "items=0-1")], b"").await;
    world.holds("range in another unit is no range", unit.status == 200 && unit.body == content, unit.brief());
    let stale = world.call("GET", &path, &[("range", "bytes=0-1"), ("if-range", "\"r999\"")], b"").await;
    world.holds("range of an older state is no range", stale.status == 200 && stale.body == content, stale.brief());
}

/// Conditions: nobody's change is lost, nothing is sent twice.
pub async fn conditions(world: &World) {
    let made = world.upload("conditions", &[], b"one").await;
    let (path, etag) = (made.header("location").to_owned(), made.header("etag").to_owned());
    let (content, id) = (format!("{path}/content"), made.json()["id"].as_str().unwrap().to_owned());
    for (method, at) in [("PUT", &content), ("DELETE", &path)] {
        let missing = world.call(method, at, &[], b"two").await;
        world.check(format!("{method} without If-Match"), &["428 precondition_required"], missing.brief());
        let stale = world.call(method, at, &[("if-match", "\"r999\"")], b"two").await;
        world.check(format!("{method} with a stale If-Match"), &["412 precondition_failed"], stale.brief());
        let weak = world.call(method, at, &[("if-match", &format!("W/{etag}"))], b"two").await;
        world.check(format!("{method} with a weak If-Match"), &["412 precondition_failed"], weak.brief());
        let broken = world.call(method, at, &[("if-match", "r1")], b"two").await;
        world.check(format!("{method} with an If-Match that is none"), &["400 bad_header"], broken.brief());
    }
    for at in [&path, &content] {
        let same = world.call("GET", at, &[("if-none-match", &etag)], b"").await;
        world.holds("unchanged is not sent again", same.status == 304 && same.body.is_empty(), &same);
        let any = world.call("GET", at, &[("if-none-match", "*")], b"").await;
        world.check("If-None-Match: *", &["304"], any.brief());
        let other = world.call("GET", at, &[("if-none-match", "\"r999\"")], b"").await;
        world.check("If-None-Match of another state", &["200"], other.brief());
        let broken = world.call("GET", at, &[("if-none-match", "r1")], b"").await;
        world.check("If-None-Match that is none", &["400 bad_header"], broken.brief());
    }
    let second = world.call("PUT", &content, &[("if-match", &etag)], b"two").await;
    world.check("PUT with the right If-Match", &["200"], second.brief());
    let late = world.call("PUT", &content, &[("if-match", &etag)], b"three").await;
    world.check("PUT with an If-Match that became stale", &["412 precondition_failed"], late.brief());
    let got = world.call("GET", &content, &[], b"").await;
    world.holds("the newest version is whole", got.body == b"two", &got.body);
    for (query, expected) in [("?version=0", "400 bad_parameter"), ("?version=3", "404 not_found"), ("?version=x", "400 bad_parameter")] {
        world.check(format!("content{query}"), &[expected], world.call("GET", &format!("{content}{query}"), &[], b"").await.brief());
    }
    let gone = world.call("DELETE", &path, &[("if-match", second.header("etag"))], b"").await;
    world.check("DELETE with the right If-Match", &["204"], gone.brief());
    world.forget(&id);
    for at in [&path, &content] {
        world.check("a deleted document", &["404 not_found"], world.call("GET", at, &[], b"").await.brief());
    }
}

/// Two writers at once: under one name each has a document of his own, of one document one writes and the other is
/// told, and bytes are never mixed.
pub async fn two_writers(world: &World) {
    let bodies = [content(20, 1_300_000), content(21, 1_300_000)];
    let (first, second) = tokio::join!(world.upload("twins", &[], &bodies[0]), world.upload("twins", &[], &bodies[1]));
    world.holds("two documents of one name", first.json()["id"] != second.json()["id"], first.json());
    for (made, body) in [&first, &second].into_iter().zip(&bodies) {
        world.check("one of two documents of one name", &["201"], made.brief());
        let got = world.call("GET", &format!("{}/content", made.header("location")), &[], b"").await;
        world.holds("its bytes are its own", got.body == *body, got.body.len());
    }
    let (path, etag) = (format!("{}/content", first.header("location")), first.header("etag").to_owned());
    let condition = [("if-match", etag.as_str())];
    let (one, other) = tokio::join!(
        world.send(0, &world.token, "PUT", &path, &condition, &bodies[0]),
        world.send(1, &world.token, "PUT", &path, &condition, &bodies[1])
    );
    let (winner, loser, body) = if one.status == 200 { (one, other, &bodies[0]) } else { (other, one, &bodies[1]) };
    world.check("one of two writers at once", &["200"], winner.brief());
    world.check("the other one", &["412 precondition_failed"], loser.brief());
    let got = world.call("GET", &path, &[], b"").await;
    world.holds("the newest version is the one that was acknowledged", got.body == *body, got.body.len());
}

/// Lists: bounds and cursors.
pub async fn lists(world: &World) {
    let page = world.call("GET", "/v1/documents?limit=1", &[], b"").await;
    let next = page.json()["next"].as_str().unwrap_or_default().to_owned();
    world.holds("a page names the next", page.header("link").contains(&next) && !next.is_empty(), &page.headers);
    let foreign = world.send(0, &world.other, "GET", &format!("/v1/documents?cursor={next}"), &[], b"").await;
    world.check("cursor of another person", &["400 bad_cursor"], foreign.brief());
    let long = "A".repeat(300);
    for bad in ["x", "AAAA", "%2e", long.as_str()] {
        let refused = world.call("GET", &format!("/v1/documents?cursor={bad}"), &[], b"").await;
        world.check(format!("cursor {}", &bad[..bad.len().min(8)]), &["400 bad_cursor"], refused.brief());
    }
    for bad in ["0", "201", "-1", "x", "18446744073709551616"] {
        let refused = world.call("GET", &format!("/v1/documents?limit={bad}"), &[], b"").await;
        world.check(format!("limit {bad}"), &["400 bad_parameter"], refused.brief());
    }
}
