//! The master key in an HSM, against a real PKCS#11 library: SoftHSM 2.
//!
//! The library reads its configuration from the environment of the process, once. So the test starts itself again
//! with that variable set, instead of changing the environment of threads that run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use kluis_chunkstore::env::{Blocking, Entropy};
use kluis_gateway::keys::{
    KeyError, KeyRing, MasterKey, SecretKey,
    pkcs11::{Pkcs11Config, Pkcs11MasterKey},
};
use kluis_raft::model::VaultId;

const LIBRARIES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
const DIR: &str = "KLUIS_TEST_SOFTHSM_DIR";
const PIN: &str = "4711-0815";

struct Threads;

impl Blocking for Threads {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(job);
    }
}

struct Random;

impl Entropy for Random {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).unwrap();
    }
}

#[test]
fn master_key_in_softhsm() {
    match std::env::var_os(DIR) {
        Some(dir) => tokio::runtime::Runtime::new().unwrap().block_on(checks(Path::new(&dir))),
        None => start_again(),
    }
}

fn start_again() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("softhsm2.conf");
    fs::create_dir(dir.path().join("tokens")).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\nobjectstore.backend = file\n", dir.path().join("tokens").display())).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "kluis", "--so-pin", "12345678", "--pin", PIN])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .expect("softhsm2-util cannot be run; deploy/setup.sh installs it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let checked = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "master_key_in_softhsm", "--nocapture"])
        .env("SOFTHSM2_CONF", &conf)
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success() && said.contains("1 passed"), "{said}");
}

fn config(dir: &Path, key_label: &str) -> Pkcs11Config {
    let module = LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists());
    let module = module.expect("SoftHSM's library is missing; deploy/setup.sh installs it");
    let pin_file = dir.join("pin");
    fs::write(&pin_file, format!("{PIN}\n")).unwrap();
    fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o600)).unwrap();
    Pkcs11Config { module, token: "kluis".to_owned(), pin_file, key_label: key_label.to_owned() }
}

fn open(config: &Pkcs11Config) -> Result<Pkcs11MasterKey, KeyError> {
    Pkcs11MasterKey::open(config, Arc::new(Threads), Arc::new(Random))
}

async fn checks(dir: &Path) {
    let config = config(dir, "master");

    // What is missing or wrong is said, not guessed around.
    assert_eq!(open(&config).err(), Some(KeyError::NoGeneration(1)));
    let other_token = Pkcs11Config { token: "other".to_owned(), ..config.clone() };
    assert!(matches!(open(&other_token), Err(KeyError::Unavailable(_))));
    let no_module = Pkcs11Config { module: "/nonexistent.so".into(), ..config.clone() };
    assert!(matches!(open(&no_module), Err(KeyError::Unavailable(_))));
    fs::set_permissions(&config.pin_file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(open(&config), Err(KeyError::Exposed { .. })));
    fs::set_permissions(&config.pin_file, fs::Permissions::from_mode(0o600)).unwrap();

    // Made once; wraps are bound to their context.
    Pkcs11MasterKey::create(&config).unwrap();
    assert!(matches!(Pkcs11MasterKey::create(&config), Err(KeyError::Exists(_))));
    let master = Arc::new(open(&config).unwrap());
    assert_eq!(master.id(), "pkcs11:kluis/master");
    let wrapped = master.wrap(b"vault 1", &[7; 32]).await.unwrap();
    assert_eq!(wrapped.len(), 65);
    assert_eq!(master.unwrap(b"vault 1", &wrapped).await.unwrap().expose(), &[7; 32]);
    assert_eq!(master.unwrap(b"vault 2", &wrapped).await.unwrap_err(), KeyError::Refused);
    let mut edited = wrapped.clone();
    edited[40] ^= 1;
    assert_eq!(master.unwrap(b"vault 1", &edited).await.unwrap_err(), KeyError::Refused);
    assert!(matches!(master.unwrap(b"vault 1", &wrapped[1..]).await, Err(KeyError::Malformed(_))));
    assert_eq!(master.unwrap(b"vault 1", &wrapped).await.unwrap().expose(), &[7; 32], "a refusal breaks nothing");

    // More callers than sessions.
    let callers: Vec<_> = (0..40u8)
        .map(|byte| {
            let master = master.clone();
            tokio::spawn(async move {
                let wrapped = master.wrap(&[byte], &[byte; 32]).await?;
                master.unwrap(&[byte], &wrapped).await
            })
        })
        .collect();
    for (byte, caller) in (0..40u8).zip(callers) {
        assert_eq!(caller.await.unwrap().unwrap().expose(), &[byte; 32]);
    }

    // A new generation wraps, the old one unwraps until it is destroyed.
    assert_eq!(Pkcs11MasterKey::rotate(&config).unwrap(), 2);
    let rotated = open(&config).unwrap();
    assert_eq!(rotated.generations().await.unwrap(), [1, 2]);
    assert!(rotated.unwrap(b"vault 1", &wrapped).await.is_ok());
    let newer = rotated.wrap(b"vault 1", &[7; 32]).await.unwrap();
    assert_eq!(newer[1..5], [0, 0, 0, 2]);
    assert!(matches!(Pkcs11MasterKey::destroy(&config, 2), Err(KeyError::Malformed(_))));
    Pkcs11MasterKey::destroy(&config, 1).unwrap();
    assert_eq!(Pkcs11MasterKey::destroy(&config, 1), Err(KeyError::NoGeneration(1)));
    let last = open(&config).unwrap();
    assert_eq!(last.unwrap(b"vault 1", &wrapped).await.unwrap_err(), KeyError::NoGeneration(1));
    assert!(last.unwrap(b"vault 1", &newer).await.is_ok());

    // A vault key through the ring, as the gateway does it.
    let ring = KeyRing::new(vec![Arc::new(last)], Arc::new(Random)).unwrap();
    let (_, wraps) = ring.create_vault_key(VaultId(1)).await.unwrap();
    assert!(ring.vault_key(VaultId(1), &wraps).await.is_ok());
    assert_eq!(ring.vault_key(VaultId(2), &wraps).await.unwrap_err(), KeyError::Refused);

    // Another key of the same token is another master key.
    let second = Pkcs11Config { key_label: "second".to_owned(), ..config.clone() };
    Pkcs11MasterKey::create(&second).unwrap();
    let stranger = open(&second).unwrap();
    assert_eq!(stranger.unwrap(b"vault 1", &newer).await.err(), Some(KeyError::NoGeneration(2)));
    let foreign = stranger.wrap(b"vault 1", SecretKey::from_bytes([7; 32]).expose()).await.unwrap();
    assert_eq!(stranger.unwrap(b"vault 1", &foreign).await.unwrap().expose(), &[7; 32]);

    // A token that goes is away, not without its key; one that comes back is found again, by everybody in the process.
    let (tokens, away) = (dir.join("tokens"), dir.join("away"));
    fs::rename(&tokens, &away).unwrap();
    for _ in 0..2 {
        assert!(matches!(stranger.unwrap(b"vault 1", &foreign).await, Err(KeyError::Unavailable(_))));
        assert!(matches!(stranger.wrap(b"vault 1", &[7; 32]).await, Err(KeyError::Unavailable(_))));
        assert!(matches!(ring.create_vault_key(VaultId(3)).await, Err(KeyError::Unavailable(_))));
    }
    fs::rename(&away, &tokens).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = stranger.unwrap(b"vault 1", &foreign).await {
        assert!(matches!(error, KeyError::Unavailable(_)) && Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, wraps) = loop {
        match ring.create_vault_key(VaultId(3)).await {
            Ok(made) => break made,
            Err(error) => assert!(matches!(error, KeyError::Unavailable(_)) && Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(ring.vault_key(VaultId(3), &wraps).await.is_ok());
    assert_eq!(stranger.unwrap(b"vault 1", &newer).await.err(), Some(KeyError::NoGeneration(2)), "each has its own key again");
}
