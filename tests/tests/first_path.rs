//! A document goes the whole way through three real processes: signed in, stored, listed, fetched elsewhere, deleted.
//!
//! Owns: the first path that everybody takes, by HTTP and by the command line. Not: what goes wrong on it
//! (the other files).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, fs};

use aws_lc_rs::digest::{SHA256, digest};
use kluis_tests::{Api, Cluster, ClusterOptions, content, program::said};
use reqwest::{StatusCode, header};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_goes_through_three_real_processes() {
    let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, ..ClusterOptions::default() });
    let processes: BTreeSet<u32> = cluster.node_ids().into_iter().map(|id| cluster.node(id).pid).collect();
    assert_eq!(processes.len(), 3, "each node is a process of its own");

    people_sign_in_by_the_real_flow(&cluster).await;
    let token = cluster.sign_in(0);
    let api = Api::new(&cluster, token.as_str());
    documents_are_the_same_at_every_gateway(&api).await;
    the_command_line_goes_there_and_back(&cluster, &token);
    a_terminal_sees_a_bar_and_a_pipe_sees_data_only(&cluster, &token);
    nobody_sees_the_documents_of_another(&cluster, &api).await;
    the_status_is_one_screen_and_json(&cluster);

    let after: BTreeSet<u32> = cluster.node_ids().into_iter().map(|id| cluster.node(id).pid).collect();
    assert_eq!(after, processes);
    assert_eq!(cluster.live_nodes(), [1, 2, 3]);
}

/// Walks the code flow by hand, as a browser would.
async fn people_sign_in_by_the_real_flow(cluster: &Cluster) {
    let (client, gateway) = (cluster.client(), cluster.gateway(1));
    let start = client.get(format!("{gateway}/v1/auth/itsme/start")).header(header::ACCEPT, "application/json").send().await.unwrap();
    assert_eq!(start.status(), StatusCode::SEE_OTHER);
    let cookie = start.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page_address = start.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let provider = cluster.demo["identity_provider"].as_str().unwrap();
    assert!(page_address.starts_with(provider), "{page_address}");

    let page = client.get(&page_address).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.text().await.unwrap();
    let action = page.split_once("action=\"").and_then(|(_, rest)| rest.split_once('"')).expect("the page has a form").0;
    let action = action.replace("&amp;", "&");
    let action = if action.starts_with("http") { action } else { format!("{provider}{action}") };
    let back = client.post(action).form(&[("person", "0")]).send().await.unwrap();
    assert!(back.status().is_redirection(), "{}", back.status());
    let callback = back.headers()[header::LOCATION].to_str().unwrap().to_owned();
    assert!(callback.starts_with(&format!("{gateway}/v1/auth/callback")), "{callback}");

    let stranger = client.get(&callback).header(header::ACCEPT, "application/json").send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED, "another browser cannot finish the sign-in");
    let own = client.get(&callback).header(header::ACCEPT, "application/json").header(header::COOKIE, cookie).send().await.unwrap();
    // The attempt of the stranger may have used the sign-in up: then it has to be begun again, never to succeed twice.
    if own.status().is_success() {
        let body: Value = own.json().await.unwrap();
        let me = Api::new(cluster, body["token"].as_str().unwrap()).me().await.unwrap();
        assert_eq!(me["name"], "Anna Proefpersoon");
    } else {
        assert_eq!(own.status(), StatusCode::UNAUTHORIZED);
    }

    let me = Api::new(cluster, cluster.sign_in(0)).me().await.unwrap();
    assert_eq!(me["name"], "Anna Proefpersoon");
    assert!(!me.to_string().contains(&cluster.national_number(0)), "the national number is never shown");
    let dir = cluster.path().display().to_string();
    let weak = cluster.kluis(&["demo", "sign-in", "--dir", &dir, &cluster.national_number(4)]);
    assert!(!weak.status.success() && String::from_utf8_lossy(&weak.stderr).contains("weak_identity"), "{}", said(&weak));
    let nobody = cluster.kluis(&["demo", "sign-in", "--dir", &dir, "00000000000"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));
}

async fn documents_are_the_same_at_every_gateway(api: &Api) {
    for (seed, len) in [(1, 0), (2, 1), (3, 300), (4, 16 * 1024), (5, 16 * 1024 + 1), (6, 1 << 20), (7, (5 << 20) + 7)] {
        let body = content(seed, len);
        let doc = api.at(0).put(&format!("document {seed}"), body.clone()).await.unwrap_or_else(|e| panic!("{len} bytes: {e}"));
        assert_eq!((doc.version, doc.size, doc.name), (1, len as u64, format!("document {seed}")));
        assert_eq!(doc.sha256, hex::encode(digest(&SHA256, &body)));
        for gateway in 0..3 {
            let got = api.at(gateway).get(&doc.id).await.unwrap_or_else(|e| panic!("{len} bytes at gateway {gateway}: {e}"));
            assert!(got == body, "{len} bytes came back as {} others at gateway {gateway}", got.len());
        }
        assert_eq!(api.at(2).read(&doc.id).await.unwrap().sha256, doc.sha256);
    }
    let listed = api.at(1).list().await.unwrap();
    assert_eq!(listed.len(), 7);
    assert_eq!(listed[0].name, "document 7", "newest first");
    for doc in listed {
        api.at(2).delete(&doc.id).await.unwrap();
        let gone = api.at(0).once().get(&doc.id).await.unwrap_err();
        assert_eq!((gone.status, gone.code.as_str()), (Some(404), "not_found"));
    }
    assert!(api.at(0).list().await.unwrap().is_empty());
    assert_eq!(api.at(1).me().await.unwrap()["quota"]["used_bytes"], 0);
}

fn the_command_line_goes_there_and_back(cluster: &Cluster, token: &str) {
    let files = tempfile::tempdir().unwrap();
    let (from, to) = (files.path().join("in.bin"), files.path().join("out.bin"));
    let body = content(8, (3 << 20) + 1);
    fs::write(&from, &body).unwrap();
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let json = |args: &[&str]| -> Value {
        let all: Vec<&str> = ["--output", "json", "document"].iter().chain(args).copied().collect();
        let output = cluster.kluis_as(token, &all);
        assert!(output.status.success(), "{all:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{all:?} printed no JSON ({e}): {}", said(&output)))
    };
    for resumable in [false, true] {
        let mut put = vec!["put", from.as_str(), "--name", "in.bin", "--type", "text/x-test"];
        put.extend(resumable.then_some("--resumable"));
        let doc = json(&put);
        let fields: BTreeSet<&str> = doc.as_object().unwrap().keys().map(String::as_str).collect();
        let wanted = ["created_at", "etag", "id", "media_type", "name", "sha256", "size", "updated_at", "version"];
        assert_eq!(fields, BTreeSet::from(wanted));
        assert_eq!((&doc["name"], &doc["media_type"]), (&Value::from("in.bin"), &Value::from("text/x-test")));
        assert_eq!(doc["sha256"], hex::encode(digest(&SHA256, &body)));
        let id = doc["id"].as_str().unwrap().to_owned();
        let listed = json(&["list"]);
        assert_eq!(listed["documents"].as_array().unwrap().len(), 1);
        assert_eq!(listed["documents"][0], doc);
        // By a beginning of its id: the first characters are those of the time, so take most of it.
        let fetched = json(&["get", &id[..20], "--to", &to]);
        assert_eq!(fetched, doc);
        assert!(fs::read(&to).unwrap() == body, "other bytes came back");
        fs::remove_file(&to).unwrap();
        assert_eq!(json(&["delete", &id])["deleted"], true);
        let gone = cluster.kluis_as(token, &["document", "get", &id, "--to", &to]);
        assert!(!gone.status.success() && !fs::exists(&to).unwrap(), "{}", said(&gone));
    }
    let nobody = cluster.kluis_as("not-a-token", &["document", "list"]);
    assert!(!nobody.status.success() && nobody.stdout.is_empty(), "{}", said(&nobody));
}

fn a_terminal_sees_a_bar_and_a_pipe_sees_data_only(cluster: &Cluster, token: &str) {
    let files = tempfile::tempdir().unwrap();
    let (from, to) = (files.path().join("it's in.bin"), files.path().join("out.bin"));
    let body = content(10, 3 << 20);
    fs::write(&from, &body).unwrap();
    let (from, to) = (from.display().to_string(), to.display().to_string());

    for resumable in [false, true] {
        let mut put = vec!["--output", "json", "document", "put", from.as_str()];
        put.extend(resumable.then_some("--resumable"));
        let stored = cluster.kluis_on_terminal(token, &put);
        assert!(stored.status.success(), "{}", said(&stored));
        assert_full_bar(&stored.stderr, "storing");
        let doc: Value = serde_json::from_slice(&stored.stdout).unwrap_or_else(|e| panic!("not JSON alone ({e}): {}", said(&stored)));
        let id = doc["id"].as_str().unwrap();

        let fetched = cluster.kluis_on_terminal(token, &["document", "get", id, "--to", to.as_str()]);
        assert!(fetched.status.success(), "{}", said(&fetched));
        assert_full_bar(&fetched.stderr, "fetching");
        assert_eq!(String::from_utf8_lossy(&fetched.stdout).lines().count(), 1, "{}", said(&fetched));
        assert!(fs::read(&to).unwrap() == body, "other bytes came back");
        let shown = cluster.kluis_on_terminal(token, &["document", "get", id, "--to", "-"]);
        assert_full_bar(&shown.stderr, "fetching");
        assert!(shown.stdout == body, "standard output has other bytes than the document");

        // No terminal: neither a bar nor anything that drives one.
        let piped = cluster.kluis_as(token, &["document", "get", id, "--to", "-"]);
        assert!(piped.status.success() && piped.stdout == body, "{} bytes, {}", piped.stdout.len(), piped.status);
        assert!(piped.stderr.is_empty(), "{}", piped.stderr.escape_ascii());
        let again = cluster.kluis_as(token, &put);
        assert!(again.status.success() && again.stderr.is_empty(), "{}", said(&again));
        let second: Value = serde_json::from_slice(&again.stdout).unwrap();
        for id in [id, second["id"].as_str().unwrap()] {
            assert!(cluster.kluis_as(token, &["document", "delete", id]).status.success());
        }
        fs::remove_file(&to).unwrap();
    }
}

/// Fails unless a bar of this verb got full on the terminal, and was taken away with a carriage return in the end.
#[track_caller]
fn assert_full_bar(terminal: &[u8], verb: &str) {
    let text = String::from_utf8_lossy(terminal);
    let full = text
        .split(['\r', '\n'])
        .any(|line| line.contains(&format!("{verb} [##############################] 100%")) && line.contains("3.00 MiB of 3.00 MiB"));
    assert!(full, "no full bar in: {}", terminal.escape_ascii());
    let last = text.rsplit(['\r', '\n']).find(|line| !line.is_empty()).unwrap_or_default();
    assert!(!last.contains('#') && text.contains('\u{1b}'), "the bar is left behind: {}", terminal.escape_ascii());
}

async fn nobody_sees_the_documents_of_another(cluster: &Cluster, api: &Api) {
    let doc = api.put("Anna's", content(9, 100)).await.unwrap();
    let other = Api::new(cluster, cluster.sign_in(1)).once();
    assert!(other.list().await.unwrap().is_empty());
    assert_eq!(other.get(&doc.id).await.unwrap_err().status, Some(404));
    assert_eq!(other.delete(&doc.id).await.unwrap_err().status, Some(404));
    assert_eq!(api.get(&doc.id).await.unwrap(), content(9, 100));
    assert_eq!(Api::new(cluster, "").once().list().await.unwrap_err().status, Some(401));
}

fn the_status_is_one_screen_and_json(cluster: &Cluster) {
    let dir = cluster.path().display().to_string();
    let table = cluster.kluis(&["status", "--dir", &dir, "--exit-status"]);
    assert!(table.status.success(), "{}", said(&table));
    let screen = String::from_utf8(table.stdout).unwrap();
    assert!(screen.lines().count() <= 24, "{screen}");
    assert!(screen.contains("HEALTH   OK") && screen.contains("voters 3/3") && !screen.contains('\u{1b}'), "{screen}");

    let json = cluster.kluis(&["status", "--dir", &dir, "--output", "json"]);
    let status: Value = serde_json::from_slice(&json.stdout).unwrap();
    let parts: BTreeSet<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(parts, BTreeSet::from(["cluster", "findings", "margin", "metadata", "nodes", "sites", "work"]));
    assert_eq!(status["cluster"]["code"], "4+5");
    assert_eq!((&status["metadata"]["voters"], &status["metadata"]["voters_up"]), (&Value::from(3), &Value::from(3)));
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|n| n["up"] == true && n["disks"].as_array().unwrap().len() == 3), "{status}");
    assert_eq!(status["margin"]["sites_may_fail"], 1);
}
