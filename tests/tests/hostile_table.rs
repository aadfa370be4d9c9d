//! The register of hostile input: each kind with the answer that it must get, and the tests that show it.
//!
//! Owns: which promise about bad input, faults and attacks is shown where. Not: the tests themselves.
//! Holds: (1) every kind is here once, by its number; (2) a test that is named exists, by file and function;
//! (3) what is shown only in part says what is not, and what waits for a feature names the feature.
//! Why data and no page: a page would go on naming a test that is gone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, fs, path::Path};

/// A file and a function in it.
type Test = (&'static str, &'static str);

/// Where a kind of input is shown to get its answer.
enum Shown {
    /// Here.
    By(&'static [Test]),
    /// Here, except for this.
    Partly(&'static [Test], &'static str),
    /// Nowhere: there is no such thing yet.
    Later(&'static str),
}
use Shown::{By, Later, Partly};

const HEADS: Test = ("tests/tests/bad_input/heads.rs", "heads");
const CHUNKED: Test = ("tests/tests/bad_input/heads.rs", "chunked");
const BODIES: Test = ("tests/tests/bad_input/uploads.rs", "bodies");
const NAMES: Test = ("tests/tests/bad_input/uploads.rs", "names");
const FLOODS: Test = ("tests/tests/floods/main.rs", "cluster_floods_take_bounded_memory_and_others_are_served");
const RAIN: Test = ("tests/tests/peers.rs", "cluster_serves_documents_under_a_rain_of_garbage_datagrams");
const ROT: Test = ("tests/tests/disk_damage.rs", "rot_cuts_and_lost_indexes_are_mended");
const SIGNED_URLS: &str = "pre-signed URLs";
const AUDIT: &str = "the audit log";

/// Number, kind, answer, where.
const TABLE: &[(u8, &str, &str, Shown)] = &[
    (1, "both ways of telling a body's length at once, a request hidden behind", "one answer at most, then the end", By(&[HEADS])),
    (2, "lengths that differ, are lists, have a sign or overflow", "400", By(&[HEADS])),
    (3, "a length above the limit", "413 before the body", By(&[BODIES])),
    (
        4,
        "transfer codings other than one chunked, or in HTTP/1.0",
        "400",
        By(&[HEADS, ("gateway/src/api/tests.rs", "heads_that_can_be_read_in_two_ways_are_refused")]),
    ),
    (5, "blanks, folds, NUL and CR where they do not belong", "400", By(&[HEADS])),
    (
        6,
        "lines that end in LF alone",
        "400",
        By(&[
            HEADS,
            ("gateway/src/strict/mod.rs", "a_lone_lf_reaches_the_parser_as_what_it_refuses"),
            ("gateway/src/strict/lines.rs", "a_lone_lf_is_found_wherever_it_stands"),
        ]),
    ),
    (7, "no host, two hosts, another host", "400, 400, 421", By(&[HEADS])),
    (8, "methods that are not served", "405 with Allow", By(&[HEADS])),
    (
        9,
        "other protocols and garbage for HTTP",
        "400 or the end",
        Partly(&[HEADS], "there is no port without TLS that a hello could reach"),
    ),
    (10, "chunks that are none", "400 and the end", By(&[CHUNKED])),
    (11, "a huge chunk that never comes", "408", By(&[("tests/tests/bad_input/slow.rs", "stuck_chunk")])),
    (
        12,
        "targets, fields and numbers of fields above their limits",
        "414 or 431",
        By(&[HEADS, ("tests/tests/floods/heads.rs", "endless")]),
    ),
    (
        13,
        "HTTP/2 frames without end",
        "told to calm down, memory bounded",
        By(&[
            FLOODS,
            ("tests/tests/floods/frames.rs", "floods"),
            ("gateway/src/strict/frames.rs", "only_frames_that_carry_nothing_are_counted"),
        ]),
    ),
    (14, "a head of a byte a second", "cut off at the deadline", By(&[("tests/tests/bad_input/slow.rs", "slow_head")])),
    (15, "a connection that says nothing", "cut off at the deadline", By(&[("tests/tests/bad_input/slow.rs", "silent")])),
    (
        16,
        "a body below the least rate",
        "408, nothing left behind",
        By(&[
            ("tests/tests/bad_input/slow.rs", "slow_body"),
            ("gateway/src/server.rs", "a_slow_body_ends_with_an_error"),
            ("tests/tests/orphans.rs", "abandoned_expired_and_deleted_uploads_leave_nothing"),
        ]),
    ),
    (17, "a client that never reads", "cut off", By(&[("gateway/src/server.rs", "a_client_that_never_reads_is_cut_off")])),
    (
        18,
        "thousands of idle connections from one address",
        "64 kept, others served",
        By(&[FLOODS, ("tests/tests/floods/idle.rs", "one_address"), ("gateway/src/server.rs", "one_address_cannot_take_all_places")]),
    ),
    (19, "a wish to continue, with a bad token", "401 and no 100", By(&[HEADS])),
    (
        20,
        "a body shorter than announced",
        "400 length_mismatch",
        Partly(&[BODIES], "a client that ends the connection may not be there for the answer"),
    ),
    (21, "a digest of other bytes", "422 digest_mismatch", By(&[BODIES])),
    (22, "compressed content", "415", By(&[BODIES])),
    (
        23,
        "nothing, the limit, one byte more",
        "201, 201, 413",
        Partly(&[BODIES, ("tests/tests/bad_input/uploads.rs", "big")], "5 GB are not sent: one byte more is refused, 1 GB goes in"),
    ),
    (
        24,
        "parts of an upload out of order",
        "400 or 409 with the number",
        Later("uploads in numbered parts; resumable ones have offsets (`tus.rs`)"),
    ),
    (25, "ranges that are none, and too many", "416 or 400", By(&[("tests/tests/bad_input/reads.rs", "ranges")])),
    (26, "conditions that do not hold", "412", By(&[("tests/tests/bad_input/reads.rs", "conditions")])),
    (27, "one key for two requests", "the first answer, or 422", By(&[("tests/tests/bad_input/uploads.rs", "idempotency")])),
    (
        28,
        "two writers at once",
        "one newest version, never mixed",
        By(&[
            ("tests/tests/bad_input/reads.rs", "two_writers"),
            ("gateway/src/api/tests.rs", "versions_follow_one_another_under_if_match"),
        ]),
    ),
    (29, "names that look like paths", "plain names", By(&[NAMES])),
    (30, "names with control characters or broken encoding", "400 bad_name", By(&[NAMES])),
    (31, "names that are too long or decomposed", "400 bad_name", By(&[NAMES, ("gateway/src/api/name.rs", "refusals")])),
    (32, "names that would split a header field", "encoded", By(&[NAMES, ("gateway/src/api/name.rs", "disposition_is_one_line_of_ascii")])),
    (
        33,
        "documents that a browser would run",
        "saved, never shown",
        By(&[NAMES, ("gateway/src/api/tests.rs", "a_document_goes_in_comes_out_and_goes")]),
    ),
    (
        34,
        "long lists and forged cursors",
        "pages, 400 bad_cursor",
        Partly(&[("tests/tests/bad_input/reads.rs", "lists")], "a million documents are not stored; a page has 200 at most"),
    ),
    (
        35,
        "tokens that are none",
        "401 with one text",
        By(&[("tests/tests/bad_input/tokens.rs", "bad_tokens"), ("tests/tests/bad_input/tokens.rs", "expired")]),
    ),
    (36, "what is another's, what is not there", "the same 404", By(&[("tests/tests/bad_input/tokens.rs", "foreign_documents")])),
    (37, "a token that may read, and writes", "403", Later("tokens with fewer rights than their person")),
    (
        38,
        "guessed tokens, more than ten a minute",
        "429 with Retry-After",
        By(&[("tests/tests/floods/tokens.rs", "guessing"), ("gateway/src/api/tests.rs", "a_flood_of_bad_tokens_is_slowed")]),
    ),
    (39, "an ended session at another site", "401 at once", By(&[("tests/tests/bad_input/tokens.rs", "revoked")])),
    (40, "a signed address, changed", "403", Later(SIGNED_URLS)),
    (41, "a signed address, used twice", "409", Later(SIGNED_URLS)),
    (
        42,
        "operators' calls without their certificate",
        "403, or refused in TLS",
        By(&[("tests/tests/bad_input/operators.rs", "strangers")]),
    ),
    (
        43,
        "nodes with wrong certificates",
        "each its alert",
        Partly(
            &[("tests/tests/peers/certificates.rs", "wrong_certificates_are_refused_by_their_alert")],
            "certificates are not yet revoked",
        ),
    ),
    (
        44,
        "a node that speaks for another",
        "identity_mismatch",
        By(&[("tests/tests/peers/certificates.rs", "hellos_that_do_not_fit_are_refused_by_code")]),
    ),
    (
        45,
        "early data, replayed",
        "never accepted",
        Partly(
            &[("tests/tests/peers/certificates.rs", "nothing_is_answered_before_a_hello")],
            "no client of these tests sends early data; no listener offers it",
        ),
    ),
    (46, "garbage datagrams", "others served, nobody dies", Partly(&[RAIN], "bytes that are sent back are not counted")),
    (
        47,
        "streams without end, gaps, too many",
        "bounded memory",
        By(&[
            ("tests/tests/peers/greedy.rs", "bodies_that_are_never_finished_take_no_more_than_their_share"),
            ("tests/tests/peers/greedy.rs", "answers_that_are_never_read_are_given_up"),
        ]),
    ),
    (
        48,
        "frames that are none",
        "each its code",
        By(&[("tests/tests/peers/frames.rs", "wrong_messages_have_their_codes_and_leave_the_connection_whole")]),
    ),
    (
        49,
        "shards that were changed or are another's",
        "refused by code",
        By(&[("tests/tests/peers/frames.rs", "a_changed_shard_and_a_disk_that_is_not_here_are_refused_by_name")]),
    ),
    (
        50,
        "join tokens that are used, late, foreign or forged",
        "refused by reason",
        By(&[("tests/tests/join.rs", "cluster_refuses_tokens_that_are_used_foreign_forged_or_too_old")]),
    ),
    (
        51,
        "a node without its storage",
        "storage_id_mismatch, leaders stay",
        By(&[
            ("tests/tests/emptied_node.rs", "a_node_without_its_storage_does_not_come_back_as_itself"),
            ("raft/tests/consensus.rs", "a_wiped_node_is_refused_under_its_old_id_and_comes_back_as_a_new_one_by_snapshot"),
        ]),
    ),
    (
        52,
        "disks of another node, one disk twice",
        "named, the rest runs",
        By(&[
            ("tests/tests/disk_damage.rs", "lost_disks_are_replaced_and_swapped_ones_are_named"),
            ("tests/tests/configuration.rs", "a_disk_that_is_not_this_nodes_is_named_and_the_rest_is_used"),
        ]),
    ),
    (
        53,
        "votes and entries of who is no peer, or of an old term",
        "refused",
        Partly(
            &[
                ("raft/tests/consensus.rs", "a_peer_speaks_only_for_itself_and_garbage_is_refused"),
                ("raft/tests/consensus.rs", "a_leader_that_is_cut_off_has_no_quorum_and_the_others_go_on"),
            ],
            "nodes cannot be removed yet; terms may rise while a node is cut off",
        ),
    ),
    (
        54,
        "snapshots that are cut, changed, foreign or too large",
        "the old state stays",
        By(&[
            ("raft/tests/consensus.rs", "a_snapshot_that_is_cut_off_leaves_the_old_state"),
            ("raft/src/consensus/snapshot.rs", "every_cut_is_refused"),
            ("raft/src/consensus/snapshot.rs", "every_flipped_byte_is_refused"),
            ("raft/src/consensus/snapshot.rs", "another_cluster_a_tail_and_too_many_bytes_are_refused"),
        ]),
    ),
    (
        55,
        "a damaged log",
        "stops in the middle, cut at the tail",
        By(&[
            ("raft/src/store/rocks.rs", "a_record_damaged_in_the_middle_stops_the_database"),
            ("raft/src/store/rocks.rs", "a_record_cut_at_the_tail_is_dropped_and_all_before_it_kept"),
            ("raft/src/consensus/log_store.rs", "a_hole_and_a_damaged_entry_are_named"),
        ]),
    ),
    (
        56,
        "bits that flip on disks",
        "found and mended",
        Partly(
            &[ROT, ("chunkstore/src/disk/tests/damage.rs", "a_flipped_bit_anywhere_gives_no_wrong_bytes")],
            "tables of the metadata's database are not flipped",
        ),
    ),
    (
        57,
        "fewer shards than are needed",
        "503 not_enough_shards with both numbers",
        By(&[
            ("tests/tests/disk_damage.rs", "too_few_shards_are_a_clear_answer_and_never_part_of_a_document"),
            ("gateway/src/api/tests.rs", "content_that_cannot_be_read_is_a_clear_503"),
        ]),
    ),
    (
        58,
        "full disks",
        "others, 507, deletion works",
        By(&[("tests/tests/faulty_disk/main.rs", "cluster_full_disks_refuse_and_delete_and_come_back")]),
    ),
    (
        59,
        "a sync that fails once",
        "out of use until cleared",
        By(&[("tests/tests/faulty_disk/main.rs", "cluster_a_disk_that_fails_its_sync_is_out_of_use_until_it_is_cleared")]),
    ),
    (
        60,
        "a disk that turns read-only",
        "reads go on, writes go elsewhere",
        By(&[("tests/tests/faulty_disk/main.rs", "cluster_a_read_only_disk_reads_on_and_others_take_the_writes")]),
    ),
    (
        61,
        "a disk that is slow",
        "hedged, then avoided",
        Partly(
            &[("tests/tests/faulty_disk/main.rs", "cluster_any_call_may_fail_and_what_is_acknowledged_is_read")],
            "slowness alone is not made here",
        ),
    ),
    (
        62,
        "power that fails at any sync",
        "whole or absent",
        By(&[("chunkstore/src/disk/tests/model.rs", "a_disk_is_a_map_that_outlives_power_cuts")]),
    ),
    (
        63,
        "nodes killed in the middle of uploads",
        "what was acknowledged is there",
        By(&[("tests/tests/random_kill.rs", "nodes_die_every_second_and_every_acknowledged_document_is_there")]),
    ),
    (
        64,
        "a leader that stands still for a while",
        "nothing stale, another leads",
        By(&[("tests/tests/frozen_leader.rs", "a_leader_that_was_frozen_gives_no_stale_answer_and_steps_down")]),
    ),
    (
        65,
        "links that work one way or flap",
        "one leader, writes go on",
        Partly(
            &[("raft/tests/consensus.rs", "a_leader_that_is_cut_off_has_no_quorum_and_the_others_go_on")],
            "links are cut both ways here",
        ),
    ),
    (
        66,
        "a site that comes back",
        "nothing lost, nothing returns from the dead",
        By(&[("tests/tests/site_loss.rs", "a_site_and_one_more_node_are_lost_and_documents_go_on")]),
    ),
    (
        67,
        "clocks that jump",
        "metadata unmoved, tokens end",
        Partly(
            &[("tests/tests/bad_input/tokens.rs", "expired"), ("raft/src/apply/tests.rs", "invariants_hold_and_requests_happen_once")],
            "a real clock is not set back, and no alert is raised for it",
        ),
    ),
    (
        68,
        "webhooks to addresses inside",
        "422",
        By(&[
            ("gateway/src/api/tests/notices.rs", "webhooks_to_addresses_inside_are_refused"),
            ("gateway/src/notify/target.rs", "only_public_targets_are_taken"),
        ]),
    ),
    (
        69,
        "webhooks to names that change",
        "checked as used",
        By(&[("gateway/src/notify/webhook.rs", "a_name_that_leads_inside_is_not_connected_to")]),
    ),
    (
        70,
        "webhooks that answer without end",
        "bounded",
        By(&[
            ("gateway/src/notify/webhook.rs", "only_the_head_of_an_answer_counts_and_redirects_are_failures"),
            ("gateway/src/notify/webhook.rs", "an_answer_that_never_comes_is_not_waited_for"),
            ("raft/src/apply/notice/tests.rs", "failures_are_shown_tried_again_ever_later_and_given_up"),
        ]),
    ),
    (
        71,
        "line ends and terminal codes in text",
        "written out",
        By(&[("node/src/logging.rs", "one_event_is_one_line_without_control_characters"), NAMES]),
    ),
    (72, "an audit log that was changed", "the first wrong line is named", Later(AUDIT)),
    (
        73,
        "what people stored, searched everywhere",
        "not found",
        Partly(
            &[
                ("tests/tests/secrecy.rs", "nothing_that_is_stored_or_secret_lies_about"),
                ("gateway/src/api/tests.rs", "disks_see_neither_content_nor_name"),
            ],
            "memory images are not searched",
        ),
    ),
    (
        74,
        "shards of two documents, exchanged",
        "does not open, mended",
        Partly(
            &[ROT, ("gateway/src/seal.rs", "each_wrong_place_has_its_answer")],
            "who forges the disk's checksums too makes a read fail; it is not mended",
        ),
    ),
    (
        75,
        "a master key that is out of reach",
        "503 kek_unavailable",
        By(&[
            ("gateway/src/api/vault.rs", "a_key_out_of_reach_is_a_clear_503"),
            ("gateway/src/keys/file.rs", "a_destroyed_generation_takes_its_wraps_along"),
        ]),
    ),
    (
        76,
        "configurations that are wrong",
        "refused with file, line and what to do",
        By(&[
            ("tests/tests/configuration.rs", "every_field_wrong_in_turn_is_named_with_its_file_and_line"),
            ("tests/tests/configuration.rs", "unknown_names_are_refused_with_the_nearest"),
            ("tests/tests/configuration.rs", "secrets_that_others_can_read_are_refused_with_what_to_do"),
            ("tests/tests/configuration.rs", "a_node_that_must_not_run_says_why_by_its_exit_code"),
        ]),
    ),
    (77, "nodes of two versions", "the old format until all agree", Later("a second version")),
    (78, "everything deleted by who may", "kept for a while", Later("a bin for deleted documents")),
];

/// Kinds that the table has.
const KINDS: u8 = 78;

#[test]
fn every_kind_of_hostile_input_has_its_place() {
    let numbers: Vec<u8> = TABLE.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=KINDS).collect::<Vec<u8>>(), "a kind is missing or there twice");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut missing, mut named, mut counts) = (Vec::new(), BTreeSet::new(), [0; 3]);
    for (number, kind, answer, shown) in TABLE {
        let (tests, note): (&[Test], &str) = match shown {
            By(tests) => (*tests, ""),
            Partly(tests, not) => (*tests, *not),
            Later(feature) => (&[], *feature),
        };
        counts[match shown {
            By(_) => 0,
            Partly(..) => 1,
            Later(_) => 2,
        }] += 1;
        assert_eq!(tests.is_empty(), matches!(shown, Later(_)), "{number}: a kind that is shown is shown by a test");
        assert_eq!(note.is_empty(), matches!(shown, By(_)), "{number}: what is not shown is said");
        println!("{number:>3} {kind} -> {answer}{}{note}", if note.is_empty() { "" } else { "; not yet: " });
        for (file, function) in tests {
            named.insert((file, function));
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            if !["(", "<"].iter().any(|end| text.contains(&format!("fn {function}{end}"))) {
                missing.push(format!("{number}: {file} has no {function}"));
            }
        }
    }
    println!("{} shown, {} in part, {} wait for a feature; {} tests", counts[0], counts[1], counts[2], named.len());
    assert!(missing.is_empty(), "the register names tests that are not there:\n  {}", missing.join("\n  "));
}
