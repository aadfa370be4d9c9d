//! An upload is begun and committed while the n-th call to a replica's database fails: of the leader or of a follower, by a
//! client of that very replica or of another one.
//!
//! Owns: the commands, what was told, what must hold of it. Not: the group ([`super::group`]).
//! Holds: every n, from the first call on.

use std::{collections::BTreeMap, time::Duration};

use kluis_chunkstore::{code::Code, ids::BlobId, placement::Avoid};
use kluis_raft::{
    client::Metadata,
    command::{BeginUpload, Command, CommitUpload},
    consensus::Consensus,
    invariants,
    model::{Actor, Attributes, BlobLayout, DocumentId, Scan, Sealed, Trail, UploadId, UploadTarget},
    outcome::Outcome,
    store::Read,
    view,
};
use tokio::time::sleep;

use super::{
    Covered,
    group::{Group, REPLICAS, ids, sign_in},
};
use crate::sim::rng::Rng;

/// Whose vault.
const PERSON: u64 = 1;
const SIZE: u64 = 100;
const CHUNK_BYTES: u32 = 64;
/// After this an upload that was begun and not committed goes.
const LIFETIME: Duration = Duration::from_secs(5);
/// In which the calls of a follower come that nobody waits for: a heartbeat and a look of the driver.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Whose calls fail, and where the client asks.
struct Aim {
    name: &'static str,
    leader: bool,
    own_client: bool,
}

const AIMS: [Aim; 4] = [
    Aim { name: "the leader, by its client", leader: true, own_client: true },
    Aim { name: "the leader, by another's client", leader: true, own_client: false },
    Aim { name: "a follower, by its client", leader: false, own_client: true },
    Aim { name: "a follower, by another's client", leader: false, own_client: false },
];

pub(super) async fn run(rng: &mut Rng) -> Covered {
    let mut covered = Covered::default();
    let mut group = Group::found(rng, 100_000).await;
    group.node(1).propose(sign_in(PERSON)).await.expect("somebody signs in");
    // What was tried, with whether it was acknowledged.
    let mut tried: BTreeMap<u64, bool> = BTreeMap::new();
    for aim in AIMS {
        for n in 1.. {
            let Some(leader) = group.leader().await else {
                covered.violated(aim.name, n, "nobody leads");
                return covered;
            };
            let next = leader % REPLICAS + 1;
            let victim = if aim.leader { leader } else { next };
            let client = if aim.own_client { victim } else { victim % REPLICAS + 1 };
            let number = tried.len() as u64 + 1;

            let armed = group.databases(victim).fail_nth(n);
            let acknowledged = upload(&group.node(client), number).await;
            sleep(AFTERWARDS).await;
            let struck = armed.heal();
            tried.insert(number, acknowledged);
            covered.acknowledged += u64::from(acknowledged);
            if !acknowledged && !struck {
                covered.violated(aim.name, n, "an upload was refused although no call failed");
            }

            group.power_cut(victim).await;
            if let Err(why) = group.start(victim).await {
                covered.violated(aim.name, n, format!("the replica does not start again: {why}"));
                return covered;
            }
            if !group.agree().await {
                covered.violated(aim.name, n, "the replicas never agree");
                return covered;
            }
            judge(&*group.node(victim).view(), &tried, aim.name, n, &mut covered);
            if !covered.ran(aim.name, n, struck) {
                break;
            }
        }
    }
    sleep(2 * LIFETIME).await;
    if !group.agree().await {
        covered.violated("the end", 0, "the replicas never agree");
    }
    for id in 1..=REPLICAS {
        nothing_left(&*group.node(id).view(), &mut covered);
    }
    covered
}

/// Whether the whole was acknowledged.
async fn upload(node: &Consensus, number: u64) -> bool {
    let (account, vault) = ids(PERSON);
    let begin = BeginUpload {
        upload: UploadId(u128::from(number)),
        vault,
        account,
        blob: BlobId(u128::from(number)),
        target: UploadTarget::NewDocument(DocumentId(u128::from(number))),
        name: Sealed(vec![3; 20]),
        wrapped_key: vec![4; 40],
        code: Code::STANDARD,
        chunk_bytes: CHUNK_BYTES,
        length: Some(SIZE),
        expected_sha256: None,
        reserve_bytes: SIZE,
        lifetime_ms: u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX),
        idempotency: None,
        resumable: false,
        attributes: Attributes::default(),
        shares: Vec::new(),
    };
    if !matches!(node.propose(Command::BeginUpload(Box::new(begin))).await, Ok(Outcome::Upload(_))) {
        return false;
    }
    let commit = CommitUpload {
        upload: UploadId(u128::from(number)),
        size: SIZE,
        sha256: digest(number),
        chunks: u32::try_from(SIZE.div_ceil(u64::from(CHUNK_BYTES))).unwrap_or(u32::MAX),
        layouts: vec![BlobLayout { topology: 1, avoid: Avoid::nothing() }],
        reduced: false,
        settled: true,
        scan: Scan::NotAsked,
        trail: Trail::bare(Actor::Account(account), digest(number)),
    };
    matches!(node.propose(Command::CommitUpload(Box::new(commit))).await, Ok(Outcome::Committed(_)))
}

fn digest(number: u64) -> [u8; 32] {
    let mut digest = [9; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    digest
}

/// What was acknowledged is there, what was not is absent or whole, and the state is sound.
fn judge(read: &dyn Read, tried: &BTreeMap<u64, bool>, aim: &str, n: u64, covered: &mut Covered) {
    let (_, vault) = ids(PERSON);
    for (number, acknowledged) in tried {
        match view::document(read, vault, DocumentId(u128::from(*number))) {
            Ok(Some(found)) if found.current.size == SIZE && found.current.sha256 == digest(*number) => {}
            Ok(None) if !acknowledged => {}
            other => covered.violated(aim, n, format!("document {number} (acknowledged: {acknowledged}) is {other:?}")),
        }
    }
    match invariants::violations(read) {
        Ok(found) => found.into_iter().for_each(|what| covered.violated(aim, n, what)),
        Err(why) => covered.violated(aim, n, why),
    }
}

/// No upload and no reserved byte is left.
fn nothing_left(read: &dyn Read, covered: &mut Covered) {
    let (_, vault) = ids(PERSON);
    let uploads = view::uploads(read, 10).map(|uploads| uploads.len());
    if uploads != Ok(0) {
        covered.violated("the end", 0, format!("uploads are left: {uploads:?}"));
    }
    match view::vault(read, vault) {
        Ok(Some(found)) if found.reserved_bytes == 0 && found.used_bytes == found.documents * SIZE => {}
        other => covered.violated("the end", 0, format!("the vault is {other:?}")),
    }
}
