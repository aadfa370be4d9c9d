//! Promise: no bytes from the network, a disk or a file make a parser panic, take memory without bound, or accept
//! what it would not write.
//!
//! One test a target of `kluis_tests::fuzz`: a fixed number of runs from a fixed seed. `make fuzz` runs the same
//! for minutes, or the same targets with libFuzzer. What a person sets:
//!
//! | variable | meaning |
//! |---|---|
//! | `KLUIS_FUZZ_RUNS` | runs of each target; 20000 if absent, fewer where a run is slow |
//! | `KLUIS_FUZZ_MINUTES` | minutes for all targets together instead, or for `KLUIS_FUZZ_TARGET` alone |
//! | `KLUIS_FUZZ_SEED` | another seed; with minutes, each session has its own unless this is set |
//! | `KLUIS_FUZZ_INPUT` | a file: this input and no other |
//! | `KLUIS_FUZZ_TRACE` | `1`: each input is written to a file before it is tried, for one that kills the process or hangs |

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kluis_tests::fuzz::{
    self, Target, dictionary,
    engine::{self, Finding, Until},
    memory::{Counting, measured},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RUNS: u64 = 20_000;
const SEED: u64 = 1;

/// Where inputs that break something, traces and corpora go: below cargo's target directory.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn until(target: &Target) -> Until {
    let Some(minutes) = number("KLUIS_FUZZ_MINUTES") else {
        return Until::Runs((number("KLUIS_FUZZ_RUNS").unwrap_or(RUNS) / u64::from(target.one_of)).max(1));
    };
    let targets = if env::var_os("KLUIS_FUZZ_TARGET").is_some_and(|name| !name.is_empty()) { 1 } else { fuzz::all().count() as u64 };
    Until::Instant(Instant::now() + Duration::from_secs((minutes * 60 / targets).max(1)))
}

fn seed(until: Until) -> u64 {
    number("KLUIS_FUZZ_SEED").unwrap_or_else(|| match until {
        Until::Runs(_) => SEED,
        // A long session that does what the last one did finds nothing new.
        Until::Instant(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    })
}

fn fuzz_target(name: &str) {
    let target = fuzz::find(name).expect("the target exists");
    if let Some(file) = env::var_os("KLUIS_FUZZ_INPUT") {
        let input = fs::read(file).expect("KLUIS_FUZZ_INPUT can be read");
        let (accepted, peak_bytes) = engine::try_one(target, &input).unwrap_or_else(|finding| fail(target, &finding));
        println!("{name}: {} bytes, accepted: {accepted}, {peak_bytes} bytes of memory", input.len());
        return;
    }
    let until = until(target);
    let seed = seed(until);
    let trace = env::var_os("KLUIS_FUZZ_TRACE").map(|_| {
        fs::create_dir_all(folder("trace")).unwrap();
        folder("trace").join(name)
    });
    let report = engine::run(target, seed, until, trace.as_deref()).unwrap_or_else(|finding| fail(target, &finding));
    println!("{name}: seed {seed}, {} runs, {} accepted, at most {} bytes of memory", report.runs, report.accepted, report.peak_bytes);
}

/// Ends the test with everything that repeats the finding.
fn fail(target: &Target, finding: &Finding) -> ! {
    let path = finding.keep(&folder("findings"), target.name).expect("the input can be written");
    let (shown, more) = finding.input.split_at(finding.input.len().min(512));
    let more = if more.is_empty() { String::new() } else { format!("... and {} bytes", more.len()) };
    panic!(
        "{name}: {why}\ninput: {hex}{more}\nagain: KLUIS_FUZZ_INPUT={path} cargo test -p kluis-tests --test fuzz -- --exact {name}",
        name = target.name,
        why = finding.why,
        hex = hex::encode(shown),
        path = path.display(),
    );
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            fuzz_target(stringify!($name));
        })+

        const TESTED: &[&str] = &[$(stringify!($name)),+];
    };
}

targets!(
    // Disk.
    disk_label,
    segment_header,
    segment_name,
    record_header,
    segment_scan,
    index_preamble,
    index_block,
    index_checkpoint,
    // Peers.
    frame,
    peer_request,
    peer_answer,
    peer_fault,
    hello,
    names,
    certificate,
    identity_files,
    erasure,
    // Metadata.
    raft_message,
    raft_log_entry,
    raft_meta,
    record,
    state_key,
    snapshot,
    commands,
    // HTTP.
    range,
    etags,
    document_name,
    label,
    query,
    request_head,
    tus_fields,
    json_body,
    bearer_token,
    card_certificate,
    card_token,
    cursor,
    national_number,
    hash_state,
    // Tokens.
    jws,
    jwe,
    jwk_set,
    private_key,
    token_object,
    id_token,
    login_state,
    login_state_content,
    discovery,
    ocsp_answer,
    token_answer,
    user_agent,
    // Keys.
    key_file,
    wrapped_key,
    lookup_key_wraps,
    document_key,
    sealed_text,
    sealed_chunk,
    // Files.
    config,
    units,
    join_token,
    member_files,
    problem_details,
    // Log.
    log_note,
    log_checkpoint,
    log_proof,
    log_opening,
    log_entry_bytes,
    log_key_text,
    log_tile,
    // What is scanned.
    clamd_answer,
    clamd_version,
    content_type,
    zip_directory,
    pdf_files,
    // Notices.
    webhook_url,
    mail_address,
    mail_code,
    export_file,
);

#[test]
fn every_target_has_its_test_and_takes_a_seed() {
    let tested: BTreeSet<&str> = TESTED.iter().copied().collect();
    let known: BTreeSet<&str> = fuzz::all().map(|target| target.name).collect();
    assert_eq!(tested, known, "a target is tested by its name in `targets!`");
    assert_eq!(known.len(), fuzz::all().count(), "two targets have one name");
    let refusing: Vec<&str> =
        fuzz::all().filter(|target| !(target.seeds)().iter().any(|seed| (target.run)(seed))).map(|target| target.name).collect();
    assert_eq!(refusing, Vec::<&str>::new(), "targets that accept none of their seeds do not reach their parser");
}

#[test]
fn seeds_are_the_same_each_time() {
    for target in fuzz::all() {
        assert_eq!((target.seeds)(), (target.seeds)(), "{}: what changes from run to run cannot be repeated", target.name);
    }
}

/// The corpora that `make fuzz` gives to libFuzzer, one folder a target.
#[test]
fn seeds_are_written_as_corpora() {
    for target in fuzz::all() {
        let dir = folder("corpus").join(target.name);
        fs::create_dir_all(&dir).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{number}")), seed).unwrap();
            assert_eq!(&fs::read(dir.join(format!("seed-{number}"))).unwrap(), seed);
        }
    }
}

#[test]
fn every_dictionary_is_well_formed_and_used() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/dictionaries");
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let words = dictionary::words(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let distinct: BTreeSet<&Vec<u8>> = words.iter().collect();
        assert_eq!(distinct.len(), words.len(), "{}: a word is there twice", path.display());
        assert!(fuzz::all().any(|target| target.dictionary == text), "{}: no target uses it", path.display());
        files += 1;
    }
    let used: BTreeSet<&str> = fuzz::all().map(|target| target.dictionary).collect();
    assert_eq!(used.len(), files);
}

/// Without this, every limit of memory would hold for a counter that does not count.
#[test]
fn memory_is_counted() {
    let (kept, peak_bytes) = measured(|| {
        drop(std::hint::black_box(vec![1u8; 3 << 20]));
        vec![1u8; 1 << 20]
    });
    assert!((3 << 20..4 << 20).contains(&peak_bytes), "{peak_bytes} bytes were counted");
    let greedy: fn(&[u8]) -> bool = |data| std::hint::black_box(vec![1u8; usize::from(data[0]) << 20]).len() > 1;
    let greedy = Target { name: "greedy", run: greedy, seeds: Vec::new, dictionary: "", one_of: 1 };
    assert!(engine::try_one(&greedy, &[1]).is_ok());
    let finding = engine::try_one(&greedy, &[64]).unwrap_err();
    assert!(finding.why.contains("bytes of memory"), "{}", finding.why);
    drop(kept);
}
