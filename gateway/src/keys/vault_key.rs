//! The keys below the master key: vault keys, document keys, the look-up key, and personal text.
//!
//! Owns: what is bound to what, and the cache of unwrapped vault keys. Not: the chunks ([`crate::seal`]).
//! Holds: (1) a wrapped document key opens only for its vault and blob, a sealed text only for its vault,
//! purpose and id; (2) at most [`CACHE_ENTRIES_MAX`] vault keys are in memory, none of them from the master key
//! longer than [`CACHE_LIFETIME`] ago; they are wiped when they leave.
//!
//! Why vault keys are cached at all: an HSM answers in tens of microseconds to milliseconds, every request
//! needs one. Why not longer: a vault that was destroyed must be unreadable for gateways too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use kluis_chunkstore::{env::Entropy, ids::BlobId};
use kluis_raft::model::{Sealed, VaultId, WrappedKey};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{KeyError, MasterKey, SecretKey, derive, open_gcm, random_nonce, seal_gcm};

/// Most unwrapped vault keys in memory.
pub const CACHE_ENTRIES_MAX: usize = 1_000;
/// How long an unwrapped vault key is used before the master key is asked again.
pub const CACHE_LIFETIME: Duration = Duration::from_secs(600);

const VAULT_KEY_CONTEXT: &[u8] = b"kluis vault key v1";
const LOG_KEY_CONTEXT: &[u8] = b"kluis log key v1";
const LOOKUP_KEY_CONTEXT: &[u8] = b"kluis lookup key v1";
const DOCUMENT_KEY_CONTEXT: &[u8] = b"kluis document key v1";
const LINK_KEY_CONTEXT: &[u8] = b"kluis link key v1";
const TEXT_ID_CONTEXT: &[u8] = b"kluis text id v1";
const TEXT_CONTEXT: &[u8] = b"kluis text v1";
const TEXT_NONCE_CONTEXT: &[u8] = b"kluis text nonce v1";
const FORMAT: u8 = 1;

/// The key of one vault: wraps its document keys and seals its personal text.
pub struct VaultKey {
    documents: SecretKey,
    text: SecretKey,
    text_nonces: hmac::Key,
}

impl std::fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VaultKey(..)")
    }
}

impl VaultKey {
    /// The key of what a link shows: follows from the link's token, which is nowhere stored.
    ///
    /// # Errors
    /// [`KeyError::Cipher`].
    pub fn of_link(token: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(&derive(&SecretKey::from_bytes(*token), LINK_KEY_CONTEXT)?)
    }

    pub(super) fn new(key: &SecretKey) -> Result<Self, KeyError> {
        let text_nonces = derive(key, TEXT_NONCE_CONTEXT)?;
        Ok(Self {
            documents: derive(key, DOCUMENT_KEY_CONTEXT)?,
            text: derive(key, TEXT_CONTEXT)?,
            text_nonces: hmac::Key::new(hmac::HMAC_SHA256, text_nonces.expose()),
        })
    }
}

/// The key of one stored blob, that is of one immutable version: [`crate::seal`] derives chunk keys from it.
#[derive(Clone, Debug)]
pub struct DocumentKey(SecretKey);

impl DocumentKey {
    /// A new random key: one for each upload attempt.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(SecretKey::generate(entropy))
    }

    /// The document key of these bytes.
    pub fn from_secret(key: SecretKey) -> Self {
        Self(key)
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.0
    }

    /// The key under its vault's, bound to vault and blob: 61 bytes.
    ///
    /// # Errors
    /// [`KeyError::Cipher`].
    pub fn wrap(&self, entropy: &dyn Entropy, key: &VaultKey, vault: VaultId, blob: BlobId) -> Result<Vec<u8>, KeyError> {
        let nonce = random_nonce(entropy);
        let sealed = seal_gcm(key.documents.expose(), nonce, &Self::aad(vault, blob), self.0.expose())?;
        Ok(framed(nonce, &sealed))
    }

    /// The key that [`DocumentKey::wrap`] wrapped.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when it was wrapped for another vault or blob, or edited; [`KeyError::Malformed`].
    pub fn unwrap(key: &VaultKey, vault: VaultId, blob: BlobId, wrapped: &[u8]) -> Result<Self, KeyError> {
        let (nonce, sealed) = unframed(wrapped)?;
        let opened = open_gcm(key.documents.expose(), nonce, &Self::aad(vault, blob), sealed)?;
        SecretKey::try_from(opened.as_slice()).map(Self)
    }

    fn aad(vault: VaultId, blob: BlobId) -> Vec<u8> {
        [DOCUMENT_KEY_CONTEXT, &vault.to_bytes(), &blob.to_bytes()].concat()
    }
}

/// The key of the keyed hash under which accounts are found by national number. One for the whole cluster,
/// for the same person must be found from every gateway; never changes.
#[derive(Clone, Debug)]
pub struct LookupKey(SecretKey);

impl LookupKey {
    /// The look-up key of these bytes.
    pub fn from_secret(key: SecretKey) -> Self {
        Self(key)
    }

    /// HMAC-SHA-256 of `bytes`.
    pub fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut out = [0; 32];
        out.iter_mut().zip(hmac::sign(&key, bytes).as_ref()).for_each(|(to, from)| *to = *from);
        out
    }

    /// A key for another purpose that every gateway must share.
    ///
    /// # Errors
    /// [`KeyError::Cipher`].
    pub fn derive(&self, label: &[u8]) -> Result<SecretKey, KeyError> {
        derive(&self.0, label)
    }
}

/// Personal text (a name, a profile) so that only the vault's key opens it, bound to `purpose` and `id`.
/// The same text in the same place gives the same bytes, so that a retried command is the same command; the
/// nonce is a keyed hash of all of it, so no nonce meets two texts.
///
/// # Errors
/// [`KeyError::Cipher`].
pub fn seal_text(key: &VaultKey, purpose: &str, id: &[u8; 16], plain: &[u8]) -> Result<Sealed, KeyError> {
    let aad = text_aad(purpose, id);
    let mut context = hmac::Context::with_key(&key.text_nonces);
    context.update(&aad);
    context.update(plain);
    let mut nonce = [0; 12];
    nonce.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    let sealed = seal_gcm(key.text.expose(), nonce, &aad, plain)?;
    Ok(Sealed(framed(nonce, &sealed)))
}

/// The text that [`seal_text`] sealed for the same `purpose` and `id`.
///
/// # Errors
/// [`KeyError::Refused`] when it was sealed for another vault, purpose or id, or edited;
/// [`KeyError::Malformed`].
pub fn open_text(key: &VaultKey, purpose: &str, id: &[u8; 16], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (nonce, ciphertext) = unframed(&sealed.0)?;
    open_gcm(key.text.expose(), nonce, &text_aad(purpose, id), ciphertext)
}

/// A keyed hash of a text: equal texts of one vault are found by it without opening any.
pub fn text_id(key: &VaultKey, plain: &[u8]) -> u128 {
    let mut context = hmac::Context::with_key(&key.text_nonces);
    context.update(TEXT_ID_CONTEXT);
    context.update(plain);
    let mut id = [0; 16];
    id.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(id)
}

/// All but the last field have a fixed length, so no two different places give the same bytes.
fn text_aad(purpose: &str, id: &[u8; 16]) -> Vec<u8> {
    [TEXT_CONTEXT, id, purpose.as_bytes()].concat()
}

/// Format byte, nonce, ciphertext with tag.
fn framed(nonce: [u8; 12], sealed: &[u8]) -> Vec<u8> {
    [&[FORMAT][..], &nonce, sealed].concat()
}

fn unframed(bytes: &[u8]) -> Result<([u8; 12], &[u8]), KeyError> {
    let bad = KeyError::Malformed("not a sealed text or key");
    match bytes.split_first() {
        Some((&FORMAT, rest)) => match rest.split_first_chunk::<12>() {
            Some((nonce, sealed)) => Ok((*nonce, sealed)),
            None => Err(bad),
        },
        _ => Err(bad),
    }
}

/// The gateway's keys: its master keys, and the vault keys that it unwrapped lately.
pub struct KeyRing {
    masters: Vec<Arc<dyn MasterKey>>,
    entropy: Arc<dyn Entropy>,
    cache: Mutex<Cache>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.masters.iter().map(|master| master.id())).finish()
    }
}

impl KeyRing {
    /// A ring of these master keys, in order of preference: every new key is wrapped under each of them, any
    /// of them unwraps.
    ///
    /// # Errors
    /// [`KeyError::NoMaster`] when there are none.
    pub fn new(masters: Vec<Arc<dyn MasterKey>>, entropy: Arc<dyn Entropy>) -> Result<Self, KeyError> {
        if masters.is_empty() {
            return Err(KeyError::NoMaster);
        }
        Ok(Self { masters, entropy, cache: Mutex::default() })
    }

    /// A new vault key, and its wraps for the vault's record.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] while an HSM does not answer.
    pub async fn create_vault_key(&self, vault: VaultId) -> Result<(Arc<VaultKey>, Vec<WrappedKey>), KeyError> {
        let key = SecretKey::generate(&*self.entropy);
        let wraps = self.wrap_under_all(&vault_context(vault), &key).await?;
        // Not cached: it becomes the vault's key only when the command that carries it is applied.
        Ok((Arc::new(VaultKey::new(&key)?), wraps))
    }

    /// The key of `vault`, from memory or unwrapped from one of `wraps`, which are those of the vault's record.
    ///
    /// # Errors
    /// [`KeyError::NoMaster`] when no wrap is for a master key of this ring; otherwise why the last one failed.
    pub async fn vault_key(&self, vault: VaultId, wraps: &[WrappedKey]) -> Result<Arc<VaultKey>, KeyError> {
        if wraps.is_empty() {
            // The vault was closed: a key that is still in memory is forgotten too.
            self.forget(vault);
            return Err(KeyError::NoMaster);
        }
        if let Some(key) = self.cache().find(vault, Instant::now()) {
            return Ok(key);
        }
        let key = Arc::new(VaultKey::new(&self.unwrap_any(&vault_context(vault), wraps).await?)?);
        self.cache().insert(vault, key.clone(), Instant::now());
        Ok(key)
    }

    /// Forgets the key of `vault`, as when it was destroyed.
    pub fn forget(&self, vault: VaultId) {
        self.cache().entries.remove(&vault);
    }

    /// A new look-up key and its wraps, for `SetLookupKey`. The first one that the cluster takes is the one.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] while an HSM does not answer.
    pub async fn create_lookup_key(&self) -> Result<(LookupKey, Sealed), KeyError> {
        let key = SecretKey::generate(&*self.entropy);
        let wraps = self.wrap_under_all(LOOKUP_KEY_CONTEXT, &key).await?;
        Ok((LookupKey(key), render_wraps(&wraps)?))
    }

    /// The look-up key of the cluster.
    ///
    /// # Errors
    /// As [`KeyRing::vault_key`]; [`KeyError::Malformed`].
    pub async fn lookup_key(&self, sealed: &Sealed) -> Result<LookupKey, KeyError> {
        self.unwrap_any(LOOKUP_KEY_CONTEXT, &parse_wraps(sealed)?).await.map(LookupKey)
    }

    /// A new seed of the key that signs the log's checkpoints, and its wraps, for `SetKey`. The first one that the
    /// cluster takes is the one.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] while an HSM does not answer.
    pub async fn create_log_key(&self) -> Result<(SecretKey, Sealed), KeyError> {
        let key = SecretKey::generate(&*self.entropy);
        let wraps = self.wrap_under_all(LOG_KEY_CONTEXT, &key).await?;
        Ok((key, render_wraps(&wraps)?))
    }

    /// The seed of the key that signs the log's checkpoints.
    ///
    /// # Errors
    /// As [`KeyRing::vault_key`]; [`KeyError::Malformed`].
    pub async fn log_key(&self, sealed: &Sealed) -> Result<SecretKey, KeyError> {
        self.unwrap_any(LOG_KEY_CONTEXT, &parse_wraps(sealed)?).await
    }

    async fn wrap_under_all(&self, context: &[u8], key: &SecretKey) -> Result<Vec<WrappedKey>, KeyError> {
        let mut wraps = Vec::with_capacity(self.masters.len());
        for master in &self.masters {
            wraps.push(WrappedKey { master: master.id().to_owned(), bytes: master.wrap(context, key.expose()).await? });
        }
        Ok(wraps)
    }

    async fn unwrap_any(&self, context: &[u8], wraps: &[WrappedKey]) -> Result<SecretKey, KeyError> {
        let mut failure = KeyError::NoMaster;
        for master in &self.masters {
            for wrap in wraps.iter().filter(|wrap| wrap.master == master.id()) {
                match master.unwrap(context, &wrap.bytes).await {
                    Ok(key) => return Ok(key),
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn vault_context(vault: VaultId) -> Vec<u8> {
    [VAULT_KEY_CONTEXT, &vault.to_bytes()].concat()
}

/// For each wrap: length of the master's name (1 byte), name, length of the wrap (2 bytes), wrap.
pub(super) fn render_wraps(wraps: &[WrappedKey]) -> Result<Sealed, KeyError> {
    let too_long = |_| KeyError::Malformed("the name of a master key has at most 255 bytes");
    let mut out = Vec::new();
    for wrap in wraps {
        out.push(u8::try_from(wrap.master.len()).map_err(too_long)?);
        out.extend_from_slice(wrap.master.as_bytes());
        out.extend_from_slice(&u16::try_from(wrap.bytes.len()).map_err(too_long)?.to_be_bytes());
        out.extend_from_slice(&wrap.bytes);
    }
    Ok(Sealed(out))
}

pub(super) fn parse_wraps(sealed: &Sealed) -> Result<Vec<WrappedKey>, KeyError> {
    let bad = || KeyError::Malformed("not a wrapped look-up key");
    let mut rest = sealed.0.as_slice();
    let mut wraps = Vec::new();
    while let Some((name_len, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(usize::from(*name_len)).ok_or_else(bad)?;
        let (len, after) = after.split_first_chunk::<2>().ok_or_else(bad)?;
        let (bytes, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or_else(bad)?;
        let master = std::str::from_utf8(name).map_err(|_| bad())?.to_owned();
        wraps.push(WrappedKey { master, bytes: bytes.to_vec() });
        rest = after;
    }
    Ok(wraps)
}

#[derive(Default)]
struct Cache {
    entries: HashMap<VaultId, Entry>,
    /// Counts look-ups: orders entries by their latest use.
    uses: u64,
}

struct Entry {
    key: Arc<VaultKey>,
    since: Instant,
    used: u64,
}

impl Cache {
    fn find(&mut self, vault: VaultId, now: Instant) -> Option<Arc<VaultKey>> {
        self.uses += 1;
        let entry = self.entries.get_mut(&vault)?;
        if now.saturating_duration_since(entry.since) >= CACHE_LIFETIME {
            self.entries.remove(&vault);
            return None;
        }
        entry.used = self.uses;
        Some(entry.key.clone())
    }

    fn insert(&mut self, vault: VaultId, key: Arc<VaultKey>, now: Instant) {
        if self.entries.len() >= CACHE_ENTRIES_MAX && !self.entries.contains_key(&vault) {
            self.entries.retain(|_, entry| now.saturating_duration_since(entry.since) < CACHE_LIFETIME);
        }
        // A scan of a thousand entries is far cheaper than the unwrapping that led here.
        while self.entries.len() >= CACHE_ENTRIES_MAX && !self.entries.contains_key(&vault) {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(vault, _)| *vault) else { break };
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        self.entries.insert(vault, Entry { key, since: now, used: self.uses });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::{file::FileMasterKey, tests::TestEntropy};

    fn key(byte: u8) -> VaultKey {
        VaultKey::new(&SecretKey::from_bytes([byte; 32])).unwrap()
    }

    fn ring(dir: &tempfile::TempDir, names: &[&str]) -> KeyRing {
        let masters = names.iter().map(|name| -> Arc<dyn MasterKey> {
            let path = dir.path().join(name);
            if !path.exists() {
                FileMasterKey::create(&path, &TestEntropy).unwrap();
            }
            Arc::new(FileMasterKey::open(&path, Arc::new(TestEntropy)).unwrap())
        });
        KeyRing::new(masters.collect(), Arc::new(TestEntropy)).unwrap()
    }

    #[tokio::test]
    async fn any_master_opens_a_vault_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let vault = VaultId(5);
        let (made, wraps) = ring(&dir, &["a", "b"]).create_vault_key(vault).await.unwrap();
        let sealed = seal_text(&made, "name", &[1; 16], b"will.pdf").unwrap();
        for names in [&["a"][..], &["b"], &["c", "b"]] {
            let opened = ring(&dir, names).vault_key(vault, &wraps).await.unwrap();
            assert_eq!(*open_text(&opened, "name", &[1; 16], &sealed).unwrap(), b"will.pdf");
        }
        assert_eq!(ring(&dir, &["c"]).vault_key(vault, &wraps).await.unwrap_err(), KeyError::NoMaster);
        assert_eq!(ring(&dir, &["a"]).vault_key(VaultId(6), &wraps).await.unwrap_err(), KeyError::Refused);
    }

    #[tokio::test]
    async fn the_lookup_key_is_the_same_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let (made, sealed) = ring(&dir, &["a", "b"]).create_lookup_key().await.unwrap();
        let opened = ring(&dir, &["b"]).lookup_key(&sealed).await.unwrap();
        assert_eq!(made.hash(b"number"), opened.hash(b"number"));
        assert_ne!(made.hash(b"number"), opened.hash(b"numbes"));
        for cut in 1..sealed.0.len() {
            let cut = Sealed(sealed.0[..cut].to_vec());
            assert!(ring(&dir, &["b"]).lookup_key(&cut).await.is_err());
        }
    }

    #[tokio::test]
    async fn the_logs_key_is_the_same_everywhere_and_no_other_key() {
        let dir = tempfile::tempdir().unwrap();
        let (made, sealed) = ring(&dir, &["a", "b"]).create_log_key().await.unwrap();
        let opened = ring(&dir, &["b"]).log_key(&sealed).await.unwrap();
        assert_eq!(made.expose(), opened.expose());
        assert_eq!(ring(&dir, &["b"]).lookup_key(&sealed).await.unwrap_err(), KeyError::Refused);
    }

    #[test]
    fn a_document_key_is_bound_to_vault_and_blob() {
        let document = DocumentKey::generate(&TestEntropy);
        let wrapped = document.wrap(&TestEntropy, &key(1), VaultId(1), BlobId(2)).unwrap();
        assert_eq!(wrapped.len(), 61);
        let opened = DocumentKey::unwrap(&key(1), VaultId(1), BlobId(2), &wrapped).unwrap();
        assert_eq!(opened.secret().expose(), document.secret().expose());
        for (k, vault, blob) in [(2, 1, 2), (1, 9, 2), (1, 1, 9)] {
            let refused = DocumentKey::unwrap(&key(k), VaultId(vault), BlobId(blob), &wrapped).unwrap_err();
            assert_eq!(refused, KeyError::Refused);
        }
        // A copy to another vault wraps the same key again; no byte of the blob changes.
        let copied = opened.wrap(&TestEntropy, &key(2), VaultId(3), BlobId(2)).unwrap();
        assert!(DocumentKey::unwrap(&key(2), VaultId(3), BlobId(2), &copied).is_ok());
    }

    #[test]
    fn the_cache_is_bounded_in_number_and_time() {
        let (mut cache, now, key) = (Cache::default(), Instant::now(), Arc::new(key(1)));
        let bound = u128::try_from(CACHE_ENTRIES_MAX).unwrap();
        for id in 0..bound {
            cache.insert(VaultId(id), key.clone(), now);
        }
        assert!(cache.find(VaultId(0), now).is_some());
        cache.insert(VaultId(bound), key.clone(), now);
        assert_eq!(cache.entries.len(), CACHE_ENTRIES_MAX);
        assert!(cache.find(VaultId(1), now).is_none(), "the longest unused one went");
        assert!(cache.find(VaultId(0), now).is_some());
        assert!(cache.find(VaultId(0), now + CACHE_LIFETIME).is_none());
        assert_eq!(cache.entries.len(), CACHE_ENTRIES_MAX - 1);
    }

    proptest! {
        #[test]
        fn text_opens_only_in_its_place(
            plain in proptest::collection::vec(any::<u8>(), 0..200), id: [u8; 16], other: [u8; 16], bit: proptest::sample::Index,
        ) {
            let sealed = seal_text(&key(1), "name", &id, &plain).unwrap();
            prop_assert_eq!(&sealed, &seal_text(&key(1), "name", &id, &plain).unwrap());
            prop_assert_eq!(&open_text(&key(1), "name", &id, &sealed).unwrap()[..], &plain[..]);
            prop_assert!(open_text(&key(2), "name", &id, &sealed).is_err());
            prop_assert!(open_text(&key(1), "profile", &id, &sealed).is_err());
            prop_assert!(id == other || open_text(&key(1), "name", &other, &sealed).is_err());
            let mut edited = sealed.0;
            let bit = bit.index(edited.len() * 8);
            edited[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open_text(&key(1), "name", &id, &Sealed(edited)).is_err());
        }
    }
}
