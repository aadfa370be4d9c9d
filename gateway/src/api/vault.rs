//! One vault with its key: what is sealed and opened for its owner.
//!
//! Owns: which text is sealed under which purpose and id. Not: the ciphers ([`crate::keys`], [`crate::seal`]).
//! Holds: personal text (names, profiles, cursors, hash states) is bound to its vault and its place, so that
//! a sealed text moved to another record does not open.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::ids::BlobId;
use kluis_raft::{
    model::{DocumentId, DocumentLabel, LabelId, Sealed, ServiceId, ShareId, UploadId, Vault, VaultId},
    store::Read,
    view,
};
use zeroize::Zeroizing;

use crate::{
    api::{Gateway, name::Label},
    keys::{
        DocumentKey, KeyError, VaultKey,
        vault_key::{open_text, seal_text, text_id},
    },
    problem::{Code, Problem},
    seal::{ChunkSealer, SealError},
};

/// Purpose of a sealed name and media type; its id is the document's.
pub const LABEL: &str = "document label";
const CURSOR: &str = "list cursor";
const HASH: &str = "upload hash state";
/// Purpose of a sealed device; its id is the session's public one.
pub const DEVICE: &str = "session device";
const SERVICE: &str = "service name";
/// Purpose of the sealed name of what is shared; its id is the share's.
const SHARED_LABEL: &str = "shared label";
/// Purpose of the word that goes with a share; its id is the share's.
const MESSAGE: &str = "share message";
/// Purpose of the owner's own words on documents; its id is the word's.
const WORD: &str = "document word";
/// Purpose of a sealed profile; its id is the account's.
pub const PROFILE: &str = "account profile";

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        tracing::error!(code = Code::KeyUnavailable.as_str(), why = %error, "a key is out of reach");
        Self::plain(Code::KeyUnavailable)
    }
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        Self::internal(error)
    }
}

/// A vault's record and its key.
pub struct OpenVault {
    /// The record, as of the view that it was read from.
    pub record: Vault,
    key: Arc<VaultKey>,
    read: Option<Arc<dyn Read>>,
}

impl OpenVault {
    /// Reads and opens a vault.
    ///
    /// # Errors
    /// 404 when there is none, 503 when its key is out of reach.
    pub async fn open(gateway: &Gateway, read: Arc<dyn Read>, vault: VaultId) -> Result<Self, Problem> {
        let record = view::vault(&*read, vault)?.ok_or_else(|| Problem::plain(Code::NotFound))?;
        let key = gateway.keys.vault_key(vault, &record.keys).await?;
        Ok(Self { read: Some(read), ..Self::with_key(record, key) })
    }

    /// A vault whose key is at hand already.
    pub fn with_key(record: Vault, key: Arc<VaultKey>) -> Self {
        Self { record, key, read: None }
    }

    /// By what id this vault names another as a contact; `None` when they are none, or no more.
    ///
    /// # Errors
    /// 500 when the store fails.
    pub fn contact_id(&self, other: VaultId) -> Result<Option<String>, Problem> {
        let Some(read) = &self.read else { return Ok(None) };
        Ok(view::people::contact_with(&**read, self.record.id, other)?.map(|contact| contact.id.to_string()))
    }

    /// Its key.
    pub fn key(&self) -> &VaultKey {
        &self.key
    }

    /// Its id.
    pub fn id(&self) -> VaultId {
        self.record.id
    }

    /// Seals the label of a document.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_label(&self, document: DocumentId, label: &Label) -> Result<Sealed, Problem> {
        let plain = Zeroizing::new(label.encode().map_err(Problem::internal)?);
        Ok(seal_text(&self.key, LABEL, &document.to_bytes(), &plain)?)
    }

    /// Opens the label of a document.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_label(&self, document: DocumentId, sealed: &Sealed) -> Result<Label, Problem> {
        let plain = open_text(&self.key, LABEL, &document.to_bytes(), sealed)?;
        Label::decode(&plain).ok_or_else(|| Problem::internal("a document's label is damaged"))
    }

    /// Opens the owner's profile.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_profile(&self, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Problem> {
        Ok(open_text(&self.key, PROFILE, &self.record.owner.to_bytes(), sealed)?)
    }

    /// Seals the device of a session.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_device(&self, public_id: u128, plain: &[u8]) -> Result<Sealed, Problem> {
        Ok(seal_text(&self.key, DEVICE, &public_id.to_be_bytes(), plain)?)
    }

    /// Opens the device of a session.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_device(&self, public_id: u128, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Problem> {
        Ok(open_text(&self.key, DEVICE, &public_id.to_be_bytes(), sealed)?)
    }

    /// Seals the name of a service.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_service_name(&self, service: ServiceId, name: &str) -> Result<Sealed, Problem> {
        Ok(seal_text(&self.key, SERVICE, &service.to_bytes(), name.as_bytes())?)
    }

    /// Opens the name of a service.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_service_name(&self, service: ServiceId, sealed: &Sealed) -> Result<String, Problem> {
        let plain = open_text(&self.key, SERVICE, &service.to_bytes(), sealed)?;
        String::from_utf8(plain.to_vec()).map_err(|_| Problem::internal("a service's name is damaged"))
    }

    /// Seals a text that the other files of the API define: `purpose` and `id` are its place.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_words(&self, purpose: &str, id: u128, text: &str) -> Result<Sealed, Problem> {
        Ok(seal_text(&self.key, purpose, &id.to_be_bytes(), text.as_bytes())?)
    }

    /// Opens such a text.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_words(&self, purpose: &str, id: u128, sealed: &Sealed) -> Result<String, Problem> {
        let plain = open_text(&self.key, purpose, &id.to_be_bytes(), sealed)?;
        String::from_utf8(plain.to_vec()).map_err(|_| Problem::internal("a sealed text is damaged"))
    }

    /// A fresh document key for `blob`, and its wrap.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn new_document_key(&self, gateway: &Gateway, blob: BlobId) -> Result<(DocumentKey, Vec<u8>), Problem> {
        let key = DocumentKey::generate(&*gateway.entropy);
        let wrapped = key.wrap(&*gateway.entropy, &self.key, self.record.id, blob)?;
        Ok((key, wrapped))
    }

    /// The key of an existing blob.
    ///
    /// # Errors
    /// 503 when it does not unwrap.
    pub fn document_key(&self, blob: BlobId, wrapped: &[u8]) -> Result<DocumentKey, Problem> {
        Ok(DocumentKey::unwrap(&self.key, self.record.id, blob, wrapped)?)
    }

    /// A document key that this vault shall open.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn wrap_document_key(&self, gateway: &Gateway, key: &DocumentKey, blob: BlobId) -> Result<Vec<u8>, Problem> {
        Ok(key.wrap(&*gateway.entropy, &self.key, self.record.id, blob)?)
    }

    /// Seals the label of what is shared with this vault.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_shared_label(&self, share: ShareId, label: &Label) -> Result<Sealed, Problem> {
        let plain = Zeroizing::new(label.encode().map_err(Problem::internal)?);
        Ok(seal_text(&self.key, SHARED_LABEL, &share.to_bytes(), &plain)?)
    }

    /// Opens the label of what is shared with this vault.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_shared_label(&self, share: ShareId, sealed: &Sealed) -> Result<Label, Problem> {
        let plain = open_text(&self.key, SHARED_LABEL, &share.to_bytes(), sealed)?;
        Label::decode(&plain).ok_or_else(|| Problem::internal("a shared label is damaged"))
    }

    /// Seals the word that goes with a share; nothing where there is none.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_message(&self, share: ShareId, text: &str) -> Result<Sealed, Problem> {
        if text.is_empty() { Ok(Sealed::default()) } else { Ok(seal_text(&self.key, MESSAGE, &share.to_bytes(), text.as_bytes())?) }
    }

    /// Opens the word that goes with a share.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_message(&self, share: ShareId, sealed: &Sealed) -> Result<String, Problem> {
        if sealed.0.is_empty() {
            return Ok(String::new());
        }
        let plain = open_text(&self.key, MESSAGE, &share.to_bytes(), sealed)?;
        String::from_utf8(plain.to_vec()).map_err(|_| Problem::internal("a message is damaged"))
    }

    /// The id of one of the owner's own words on documents.
    pub fn word_id(&self, text: &str) -> LabelId {
        LabelId(text_id(&self.key, text.as_bytes()))
    }

    /// Seals one of the owner's own words on documents.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_word(&self, text: &str) -> Result<DocumentLabel, Problem> {
        let id = self.word_id(text);
        Ok(DocumentLabel { id, text: seal_text(&self.key, WORD, &id.0.to_be_bytes(), text.as_bytes())? })
    }

    /// Opens one of the owner's own words on documents.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_word(&self, word: &DocumentLabel) -> Result<String, Problem> {
        let plain = open_text(&self.key, WORD, &word.id.0.to_be_bytes(), &word.text)?;
        String::from_utf8(plain.to_vec()).map_err(|_| Problem::internal("a label is damaged"))
    }

    /// The sealer of an existing blob.
    ///
    /// # Errors
    /// 503 when its key does not unwrap.
    pub fn sealer(&self, blob: BlobId, wrapped: &[u8]) -> Result<Arc<ChunkSealer>, Problem> {
        let key = DocumentKey::unwrap(&self.key, self.record.id, blob, wrapped)?;
        Ok(Arc::new(ChunkSealer::new(&key, blob)?))
    }

    /// A cursor that only this vault's lists take, and that nobody can forge.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_cursor(&self, at: u128) -> Result<String, Problem> {
        let sealed = seal_text(&self.key, CURSOR, &self.record.id.to_bytes(), &at.to_be_bytes())?;
        Ok(URL_SAFE_NO_PAD.encode(sealed.0))
    }

    /// Where a cursor stands.
    ///
    /// # Errors
    /// 400 `bad_cursor`.
    pub fn open_cursor(&self, text: &str) -> Result<u128, Problem> {
        let bad = || Problem::plain(Code::BadCursor);
        if text.len() > 256 {
            return Err(bad());
        }
        let sealed = Sealed(URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?);
        let plain = open_text(&self.key, CURSOR, &self.record.id.to_bytes(), &sealed).map_err(|_| bad())?;
        let bytes: [u8; 16] = plain.as_slice().try_into().map_err(|_| bad())?;
        Ok(u128::from_be_bytes(bytes))
    }

    /// Seals the running hash of an upload: it holds up to 63 bytes of plaintext.
    ///
    /// # Errors
    /// 500 when the cipher fails.
    pub fn seal_hash(&self, upload: UploadId, state: &crate::upload::Sha256) -> Result<Sealed, Problem> {
        let plain = Zeroizing::new(state.export());
        Ok(seal_text(&self.key, HASH, &upload.to_bytes(), &plain)?)
    }

    /// The running hash of an upload; a fresh one when nothing was sealed yet.
    ///
    /// # Errors
    /// 503 when it does not open.
    pub fn open_hash(&self, upload: UploadId, sealed: &Sealed) -> Result<crate::upload::Sha256, Problem> {
        if sealed.0.is_empty() {
            return Ok(crate::upload::Sha256::default());
        }
        let plain = open_text(&self.key, HASH, &upload.to_bytes(), sealed)?;
        crate::upload::Sha256::import(&plain).ok_or_else(|| Problem::internal("an upload's hash state is damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_out_of_reach_is_a_clear_503() {
        for error in
            [KeyError::Unavailable("the token was pulled".into()), KeyError::NoGeneration(1), KeyError::NoMaster, KeyError::Refused]
        {
            let problem = Problem::from(error);
            assert_eq!((problem.code.as_str(), problem.code.status_number()), ("kek_unavailable", 503));
            assert!(problem.retry_after.is_some(), "whoever waits is told how long");
            assert!(!problem.detail.contains("token was pulled"), "what the device said is for operators");
        }
    }
}
