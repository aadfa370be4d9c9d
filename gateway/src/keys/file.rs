//! A master key in a file: the default of the demo and of small installations without an HSM.
//!
//! ```text
//! kluis master key v1
//! id 3f0c9a5be1d27746
//! generation 1 <43 characters of base64url: 32 bytes>
//! generation 2 <...>
//! ```
//! Owns: that file. Not: what the key wraps.
//! Holds: (1) a file that others can read is refused; (2) a file is never overwritten by a new key: it is
//! replaced as a whole, with all generations that still exist, after the new one is on the medium.
//!
//! The file must lie outside the disks and outside their backups: whoever has both reads everything.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::Entropy;
use zeroize::Zeroizing;

use super::{KeyError, MasterKey, SecretKey, WrapFormat, open_gcm, random_nonce, seal_gcm};

const HEAD: &str = "kluis master key v1";
/// Far above any number of generations that make sense.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A master key that was read from a file.
pub struct FileMasterKey {
    id: String,
    generations: Vec<(u32, SecretKey)>,
    entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for FileMasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileMasterKey({}, {} generations)", self.id, self.generations.len())
    }
}

impl FileMasterKey {
    /// Makes a file with a new key, mode 0600, on the medium when this returns. Missing directories are made
    /// with mode 0700.
    ///
    /// # Errors
    /// [`KeyError::Exists`] when there is a file; [`KeyError::Io`].
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<(), KeyError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error(path))?;
        }
        let mut id = [0; 8];
        entropy.fill(&mut id);
        let content = Content { id: format!("file:{}", hex::encode(id)), generations: vec![(1, SecretKey::generate(entropy))] };
        write_new(path, &content).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists(path.display().to_string()),
            _ => io_error(path)(error),
        })
    }

    /// Adds a generation, which wraps from the next [`FileMasterKey::open`] on. Returns its number.
    ///
    /// # Errors
    /// As [`FileMasterKey::open`].
    pub fn rotate(path: &Path, entropy: &dyn Entropy) -> Result<u32, KeyError> {
        let mut content = read(path)?;
        let newest = content.generations.last().map_or(0, |(generation, _)| *generation);
        let next = newest.checked_add(1).ok_or(KeyError::Malformed("no generation is left"))?;
        content.generations.push((next, SecretKey::generate(entropy)));
        replace(path, &content)?;
        Ok(next)
    }

    /// Takes a generation out of the file. Whatever only it wrapped is unreadable from then on: wrap
    /// everything that is to live under a newer one first.
    ///
    /// # Errors
    /// [`KeyError::NoGeneration`]; [`KeyError::Malformed`] for the newest one; as [`FileMasterKey::open`].
    pub fn destroy(path: &Path, generation: u32) -> Result<(), KeyError> {
        let mut content = read(path)?;
        if content.generations.last().is_some_and(|(newest, _)| *newest == generation) {
            return Err(KeyError::Malformed("the newest generation is in use; rotate first"));
        }
        let before = content.generations.len();
        content.generations.retain(|(other, _)| *other != generation);
        if content.generations.len() == before {
            return Err(KeyError::NoGeneration(generation));
        }
        replace(path, &content)
    }

    /// Reads the key.
    ///
    /// # Errors
    /// [`KeyError::Exposed`] when the mode gives anything to group or others, or the owner is neither this
    /// process's user nor root; [`KeyError::Malformed`]; [`KeyError::Io`].
    pub fn open(path: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, KeyError> {
        let content = read(path)?;
        Ok(Self { id: content.id, generations: content.generations, entropy })
    }
}

#[async_trait]
impl MasterKey for FileMasterKey {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        let (generation, master) = self.generations.last().ok_or(KeyError::NoGeneration(0))?;
        let nonce = random_nonce(&*self.entropy);
        let aad = WrapFormat::aad(&self.id, *generation, context);
        WrapFormat::render(*generation, nonce, &seal_gcm(master.expose(), nonce, &aad, key)?)
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretKey, KeyError> {
        let (generation, nonce, ciphertext) = WrapFormat::parse(wrapped)?;
        let (_, master) = self.generations.iter().find(|(other, _)| *other == generation).ok_or(KeyError::NoGeneration(generation))?;
        let aad = WrapFormat::aad(&self.id, generation, context);
        SecretKey::try_from(open_gcm(master.expose(), nonce, &aad, ciphertext)?.as_slice())
    }

    async fn generations(&self) -> Result<Vec<u32>, KeyError> {
        Ok(self.generations.iter().map(|(generation, _)| *generation).collect())
    }
}

pub(super) struct Content {
    id: String,
    generations: Vec<(u32, SecretKey)>,
}

impl Content {
    pub(super) fn render(&self) -> Zeroizing<String> {
        // Sized from the start: growing would leave copies of keys behind.
        let mut text = Zeroizing::new(String::with_capacity(128 + 80 * self.generations.len()));
        text.push_str(HEAD);
        text.push_str("\nid ");
        text.push_str(&self.id);
        text.push('\n');
        for (generation, key) in &self.generations {
            text.push_str("generation ");
            text.push_str(&generation.to_string());
            text.push(' ');
            URL_SAFE_NO_PAD.encode_string(key.expose(), &mut text);
            text.push('\n');
        }
        text
    }

    pub(super) fn parse(text: &str) -> Result<Self, KeyError> {
        let bad = || KeyError::Malformed("not a master key file: see its three kinds of lines in the manual");
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(bad());
        }
        let id = lines.next().and_then(|line| line.strip_prefix("id ")).ok_or_else(bad)?;
        if !(1..=64).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad());
        }
        let mut generations: Vec<(u32, SecretKey)> = Vec::new();
        for line in lines {
            let (number, key) = line.strip_prefix("generation ").and_then(|rest| rest.split_once(' ')).ok_or_else(bad)?;
            let number: u32 = number.parse().map_err(|_| bad())?;
            if generations.last().map_or(0, |(last, _)| *last) >= number {
                return Err(KeyError::Malformed("generations of a master key file start at 1 and rise"));
            }
            let key = Zeroizing::new(URL_SAFE_NO_PAD.decode(key).map_err(|_| bad())?);
            generations.push((number, SecretKey::try_from(key.as_slice())?));
        }
        if generations.is_empty() {
            return Err(KeyError::Malformed("a master key file without a generation"));
        }
        Ok(Self { id: id.to_owned(), generations })
    }
}

fn read(path: &Path) -> Result<Content, KeyError> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    open_private(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io_error(path))?;
    Content::parse(&text)
}

/// Opens a file of secrets, refusing one that anybody else can read or could have written.
///
/// # Errors
/// [`KeyError::Exposed`], [`KeyError::Io`].
pub fn open_private(path: &Path) -> Result<fs::File, KeyError> {
    let file = fs::File::open(path).map_err(io_error(path))?;
    // The open file is asked, not the path, which could be another file by now.
    let metadata = file.metadata().map_err(io_error(path))?;
    let exposed = |why| Err(KeyError::Exposed { path: path.to_owned(), why });
    if !metadata.is_file() {
        return exposed("a key file must be a regular file");
    }
    if metadata.mode() & 0o077 != 0 {
        return exposed("group or others have access; chmod 600 it");
    }
    // The owner of /proc/self is the user that this process runs as.
    let own = fs::metadata("/proc/self").map_err(io_error(Path::new("/proc/self")))?.uid();
    if metadata.uid() != own && metadata.uid() != 0 {
        return exposed("belongs to another user; chown it");
    }
    Ok(file)
}

fn write_new(path: &Path, content: &Content) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.render().as_bytes())?;
    file.sync_all()?;
    sync_parent(path)
}

fn replace(path: &Path, content: &Content) -> Result<(), KeyError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&temporary)(error)),
        _ => {}
    }
    write_new(&temporary, content).map_err(io_error(&temporary))?;
    fs::rename(&temporary, path).map_err(io_error(path))?;
    sync_parent(path).map_err(io_error(path))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> KeyError + use<> {
    let path = path.to_owned();
    move |error| KeyError::Io { path: path.clone(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::keys::tests::TestEntropy;

    fn made() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys").join("master");
        FileMasterKey::create(&path, &TestEntropy).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn wraps_are_bound_to_context_and_master() {
        let (_dir, path) = made();
        let master = FileMasterKey::open(&path, Arc::new(TestEntropy)).unwrap();
        let wrapped = master.wrap(b"vault 1", &[7; 32]).await.unwrap();
        assert_eq!(master.unwrap(b"vault 1", &wrapped).await.unwrap().expose(), &[7; 32]);
        assert_eq!(master.unwrap(b"vault 2", &wrapped).await.unwrap_err(), KeyError::Refused);
        for at in 0..wrapped.len() {
            let mut edited = wrapped.clone();
            edited[at] ^= 1;
            assert!(master.unwrap(b"vault 1", &edited).await.is_err(), "{at}");
        }
        assert!(master.unwrap(b"vault 1", &wrapped[1..]).await.is_err());
        let (_dir, other) = made();
        let other = FileMasterKey::open(&other, Arc::new(TestEntropy)).unwrap();
        assert_ne!(other.id(), master.id());
        assert_eq!(other.unwrap(b"vault 1", &wrapped).await.unwrap_err(), KeyError::Refused);
    }

    #[tokio::test]
    async fn a_destroyed_generation_takes_its_wraps_along() {
        let (_dir, path) = made();
        let first = FileMasterKey::open(&path, Arc::new(TestEntropy)).unwrap();
        let old = first.wrap(b"c", &[7; 32]).await.unwrap();
        assert_eq!(FileMasterKey::rotate(&path, &TestEntropy).unwrap(), 2);
        let second = FileMasterKey::open(&path, Arc::new(TestEntropy)).unwrap();
        assert_eq!(second.generations().await.unwrap(), [1, 2]);
        assert!(second.unwrap(b"c", &old).await.is_ok());
        let new = second.wrap(b"c", &[7; 32]).await.unwrap();
        assert!(matches!(FileMasterKey::destroy(&path, 2), Err(KeyError::Malformed(_))));
        FileMasterKey::destroy(&path, 1).unwrap();
        assert_eq!(FileMasterKey::destroy(&path, 1), Err(KeyError::NoGeneration(1)));
        let third = FileMasterKey::open(&path, Arc::new(TestEntropy)).unwrap();
        assert_eq!(third.unwrap(b"c", &old).await.unwrap_err(), KeyError::NoGeneration(1));
        assert!(third.unwrap(b"c", &new).await.is_ok());
        assert_eq!(third.id(), first.id());
    }

    #[test]
    fn exposed_wrong_and_existing_files_are_refused() {
        let (_dir, path) = made();
        assert!(matches!(FileMasterKey::create(&path, &TestEntropy), Err(KeyError::Exists(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(FileMasterKey::open(&path, Arc::new(TestEntropy)), Err(KeyError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            good.replace("v1", "v2"),
            good.replace("generation 1", "generation 0"),
            good.replace("generation 1 ", "generation 1 A"),
            format!("{good}{}", good.lines().last().unwrap()),
            good.lines().take(2).collect::<Vec<_>>().join("\n"),
        ] {
            fs::write(&path, &bad).unwrap();
            assert!(matches!(FileMasterKey::open(&path, Arc::new(TestEntropy)), Err(KeyError::Malformed(_))), "{bad:?}");
        }
        assert!(matches!(FileMasterKey::open(Path::new("/nonexistent"), Arc::new(TestEntropy)), Err(KeyError::Io { .. })));
    }
}
