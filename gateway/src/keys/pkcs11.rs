//! A master key in an HSM, by PKCS#11: the key is made there and never leaves it.
//!
//! Owns: sessions with the token, and the wire form of a wrap (the same as [`super::file`]'s). Not: the token
//! itself, which an operator initialises.
//! Holds: (1) a key that the token would give away (not sensitive, or extractable) is refused; (2) an
//! HSM that is away makes [`KeyError::Unavailable`], never a refusal that looks like a bad key, and one that is
//! back is found again without a restart; (3) calls that may block run where the environment says, at most
//! [`SESSIONS_MAX`] at a time; (4) no session, handle or slot of a library that was ended is used after it.
//!
//! Generations are AES-256 keys with one label, told apart by `CKA_ID` (the number, 4 bytes, big-endian).
//! The nonce is made here: tokens that insist on their own need another mechanism (AES key wrap with the context
//! inside).

use std::{
    collections::HashMap,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError},
    time::Duration,
};

use async_trait::async_trait;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use kluis_chunkstore::env::{Blocking, Entropy};
use tokio::{
    sync::{Semaphore, oneshot},
    time::Instant,
};
use zeroize::Zeroizing;

use super::{KeyError, MasterKey, SecretKey, WrapFormat, file::open_private, random_nonce};

/// Most sessions with the token at a time; HSMs sell them by the dozen.
pub const SESSIONS_MAX: usize = 8;
/// Shortest time between two attempts to begin anew with the library: each may cost the HSM a handshake.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// How often a library was ended. Held while one is used, so that it is never ended under anybody: a library is
/// one thing for the whole process, and gives the numbers of sessions and keys anew when it begins anew.
static ENDED: RwLock<u64> = RwLock::new(0);

fn in_use() -> RwLockReadGuard<'static, u64> {
    ENDED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Where the master key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Config {
    /// The token vendor's library.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// File (0600) whose first line is the user PIN.
    pub pin_file: PathBuf,
    /// Label of the key, 1 to 64 characters.
    pub key_label: String,
}

/// A master key in an HSM.
pub struct Pkcs11MasterKey {
    id: String,
    line: Arc<Line>,
    blocking: Arc<dyn Blocking>,
    entropy: Arc<dyn Entropy>,
    permits: Semaphore,
}

impl std::fmt::Debug for Pkcs11MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pkcs11MasterKey({})", self.id)
    }
}

impl Pkcs11MasterKey {
    /// Makes the first generation of the key in the token. Blocks.
    ///
    /// # Errors
    /// [`KeyError::Exists`] when the label is taken; [`KeyError::Unavailable`]; those of the PIN file.
    pub fn create(config: &Pkcs11Config) -> Result<(), KeyError> {
        let ended = in_use();
        let token = Token::open(config, *ended)?;
        if !token.generations()?.is_empty() {
            return Err(KeyError::Exists(format!("key {} of token {}", config.key_label, config.token)));
        }
        token.generate(1)
    }

    /// Makes the next generation, which wraps from then on. Blocks. Returns its number.
    ///
    /// # Errors
    /// [`KeyError::NoGeneration`] when there is no key yet; [`KeyError::Unavailable`].
    pub fn rotate(config: &Pkcs11Config) -> Result<u32, KeyError> {
        let ended = in_use();
        let token = Token::open(config, *ended)?;
        let newest = *token.generations()?.last().ok_or(KeyError::NoGeneration(1))?;
        let next = newest.checked_add(1).ok_or(KeyError::Malformed("no generation is left"))?;
        token.generate(next)?;
        Ok(next)
    }

    /// Destroys a generation in the token. Blocks. Whatever only it wrapped is unreadable from then on.
    ///
    /// # Errors
    /// [`KeyError::NoGeneration`]; [`KeyError::Malformed`] for the newest one; [`KeyError::Unavailable`].
    pub fn destroy(config: &Pkcs11Config, generation: u32) -> Result<(), KeyError> {
        let ended = in_use();
        let token = Token::open(config, *ended)?;
        if token.generations()?.last() == Some(&generation) {
            return Err(KeyError::Malformed("the newest generation is in use; rotate first"));
        }
        let session = token.login(true)?;
        let key = token.find(&session, generation)?;
        session.destroy_object(key).map_err(unavailable)
    }

    /// Logs in to the token and checks the key. Blocks.
    ///
    /// # Errors
    /// [`KeyError::NoGeneration`] when the token has no such key; [`KeyError::Malformed`] when the token would
    /// give it away; [`KeyError::Unavailable`]; those of the PIN file.
    pub fn open(config: &Pkcs11Config, blocking: Arc<dyn Blocking>, entropy: Arc<dyn Entropy>) -> Result<Self, KeyError> {
        let ended = in_use();
        let token = Token::open(config, *ended)?;
        if token.generations()?.is_empty() {
            return Err(KeyError::NoGeneration(1));
        }
        let current = Mutex::new(Current { token: Arc::new(token), failed: None });
        Ok(Self {
            id: format!("pkcs11:{}/{}", config.token, config.key_label),
            line: Arc::new(Line { config: config.clone(), current }),
            blocking,
            entropy,
            permits: Semaphore::new(SESSIONS_MAX),
        })
    }

    async fn run<T: Send + 'static>(&self, job: impl Fn(&Token) -> Result<T, KeyError> + Send + 'static) -> Result<T, KeyError> {
        let stopping = || KeyError::Unavailable("the process is stopping".to_owned());
        let permit = self.permits.acquire().await.map_err(|_| stopping())?;
        let (done, result) = oneshot::channel();
        let line = self.line.clone();
        self.blocking.run(Box::new(move || {
            let _ = done.send(line.run(job));
        }));
        let result = result.await.map_err(|_| stopping())?;
        drop(permit);
        result
    }
}

#[async_trait]
impl MasterKey for Pkcs11MasterKey {
    fn id(&self) -> &str {
        &self.id
    }

    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, KeyError> {
        let (id, context, key) = (self.id.clone(), context.to_vec(), SecretKey::from_bytes(*key));
        let nonce = random_nonce(&*self.entropy);
        self.run(move |token| {
            let generation = *token.generations()?.last().ok_or(KeyError::NoGeneration(1))?;
            let aad = WrapFormat::aad(&id, generation, &context);
            let sealed = token.with_key(generation, |session, handle| encrypt(session, handle, nonce, &aad, key.expose()))?;
            WrapFormat::render(generation, nonce, &sealed)
        })
        .await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<SecretKey, KeyError> {
        let (generation, nonce, ciphertext) = WrapFormat::parse(wrapped)?;
        let (aad, ciphertext) = (WrapFormat::aad(&self.id, generation, context), ciphertext.to_vec());
        let probe = random_nonce(&*self.entropy);
        self.run(move |token| {
            let failure = match token.with_key(generation, |session, handle| decrypt(session, handle, nonce, &aad, &ciphertext)) {
                Ok(plain) => return SecretKey::try_from(plain.as_slice()),
                Err(KeyError::Unavailable(why)) => KeyError::Unavailable(why),
                Err(error) => return Err(error),
            };
            // Tokens answer a wrong tag with anything from "encrypted data invalid" to "general error". If the
            // token can still use this key, then it was the data.
            let probed = token.with_key(generation, |session, handle| {
                let sealed = encrypt(session, handle, probe, b"probe", &[0; 32])?;
                decrypt(session, handle, probe, b"probe", &sealed)
            });
            Err(if probed.is_ok() { KeyError::Refused } else { failure })
        })
        .await
    }

    async fn generations(&self) -> Result<Vec<u32>, KeyError> {
        self.run(|token| {
            let generations = token.generations()?;
            if generations.is_empty() { Err(KeyError::NoGeneration(1)) } else { Ok(generations) }
        })
        .await
    }
}

fn encrypt(session: &Session, key: ObjectHandle, mut nonce: [u8; 12], aad: &[u8], plain: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128.into())?);
    session.encrypt(&mechanism, key, plain)
}

fn decrypt(session: &Session, key: ObjectHandle, mut nonce: [u8; 12], aad: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, 128.into())?);
    session.decrypt(&mechanism, key, ciphertext).map(Zeroizing::new)
}

fn unavailable(error: Error) -> KeyError {
    KeyError::Unavailable(error.to_string())
}

/// The way to the token, and back to it after it was away.
struct Line {
    config: Pkcs11Config,
    current: Mutex<Current>,
}

struct Current {
    token: Arc<Token>,
    /// When the token was last looked for in vain.
    failed: Option<Instant>,
}

impl Line {
    /// Runs `job`, and once more, with the library begun anew, when the token was away: libraries that lost sight
    /// of a token (SoftHSM among them) do not see it again before.
    fn run<T>(&self, job: impl Fn(&Token) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let (lost, why) = {
            let ended = in_use();
            let token = self.token(*ended)?;
            match job(&token) {
                Err(KeyError::Unavailable(why)) => (token, why),
                Err(KeyError::NoGeneration(_)) if token.is_bare() => (token, "the token shows no such key any more".to_owned()),
                other => return other,
            }
        };
        if !Self::begin_anew(&lost) {
            return Err(KeyError::Unavailable(why));
        }
        drop(lost);
        let ended = in_use();
        let token = self.token(*ended)?;
        job(&token)
    }

    /// The token as the library shows it now.
    fn token(&self, ended: u64) -> Result<Arc<Token>, KeyError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.token.ended != ended {
            if current.failed.is_some_and(|failed| failed.elapsed() < REOPEN_EVERY) {
                return Err(KeyError::Unavailable("it was looked for in vain a moment ago".to_owned()));
            }
            match Token::open(&self.config, ended) {
                Ok(token) => {
                    *current = Current { token: Arc::new(token), failed: None };
                }
                Err(error) => {
                    current.failed = Some(Instant::now());
                    return Err(error);
                }
            }
        }
        Ok(current.token.clone())
    }

    /// Ends the library that lost the token, unless somebody did so already; whether the token is worth another look.
    fn begin_anew(lost: &Token) -> bool {
        let mut ended = match ENDED.try_write() {
            Ok(ended) => ended,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody is in the middle of a call: nobody waits for an HSM that may never answer.
            Err(TryLockError::WouldBlock) => return false,
        };
        if *ended != lost.ended {
            return true;
        }
        if lost.since.elapsed() < REOPEN_EVERY {
            return false;
        }
        lost.end();
        *ended += 1;
        true
    }
}

/// A session with the handles that were looked up in it.
struct Opened {
    session: Session,
    keys: HashMap<u32, ObjectHandle>,
}

struct Token {
    context: Pkcs11,
    slot: Slot,
    pin: AuthPin,
    label: String,
    idle: Mutex<Vec<Opened>>,
    /// What [`ENDED`] was when it was opened.
    ended: u64,
    /// When it was opened.
    since: Instant,
}

impl Token {
    fn open(config: &Pkcs11Config, ended: u64) -> Result<Self, KeyError> {
        if !(1..=64).contains(&config.key_label.chars().count()) || config.key_label.len() > 128 {
            return Err(KeyError::Malformed("the label of a key has 1 to 64 characters"));
        }
        let pin = read_pin(&config.pin_file)?;
        let context = Pkcs11::new(&config.module).map_err(unavailable)?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Once a process: another master key may live in the same library.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unavailable(error)),
        }
        let slot = find_slot(&context, &config.token)?;
        Ok(Self { context, slot, pin, label: config.key_label.clone(), idle: Mutex::default(), ended, since: Instant::now() })
    }

    /// Ends the library, for the whole process.
    fn end(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // One that was not begun cannot be ended: that is an error, and no loss.
        let _ = self.context.clone().finalize();
    }

    /// Whether the token shows no generation of the key: one that is away does so, too.
    fn is_bare(&self) -> bool {
        !matches!(self.generations(), Ok(found) if !found.is_empty())
    }

    /// A new session. Login holds for the whole process, so a second one finds it done.
    fn login(&self, read_write: bool) -> Result<Session, KeyError> {
        let session = match read_write {
            true => self.context.open_rw_session(self.slot),
            false => self.context.open_ro_session(self.slot),
        }
        .map_err(unavailable)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Runs `job` in an idle session, or a new one. A session in which anything failed is closed, and the job
    /// tried once more in a new one: tokens are restarted, and forget their sessions then.
    fn with_session<T>(&self, job: impl Fn(&mut Opened) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut opened) = idle {
            match job(&mut opened) {
                Err(KeyError::Unavailable(_)) => drop(opened),
                other => {
                    self.keep(opened);
                    return other;
                }
            }
        }
        let mut opened = Opened { session: self.login(false)?, keys: HashMap::new() };
        let result = job(&mut opened);
        if !matches!(result, Err(KeyError::Unavailable(_))) {
            self.keep(opened);
        }
        result
    }

    fn with_key<T>(&self, generation: u32, job: impl Fn(&Session, ObjectHandle) -> Result<T, Error>) -> Result<T, KeyError> {
        self.with_session(|opened| {
            let key = match opened.keys.get(&generation) {
                Some(key) => *key,
                None => {
                    let key = self.find(&opened.session, generation)?;
                    opened.keys.insert(generation, key);
                    key
                }
            };
            job(&opened.session, key).map_err(unavailable)
        })
    }

    fn keep(&self, opened: Opened) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < SESSIONS_MAX {
            idle.push(opened);
        }
    }

    fn template(&self) -> Vec<Attribute> {
        vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES), Attribute::Label(self.label.clone().into_bytes())]
    }

    /// The key of a generation, once the token says that it never gives it away.
    fn find(&self, session: &Session, generation: u32) -> Result<ObjectHandle, KeyError> {
        let mut template = self.template();
        template.push(Attribute::Id(generation.to_be_bytes().to_vec()));
        let found = session.find_objects(&template).map_err(unavailable)?;
        let key = match found.as_slice() {
            [key] => *key,
            [] => return Err(KeyError::NoGeneration(generation)),
            _ => return Err(KeyError::Malformed("two keys of the token have the same label and id")),
        };
        let attributes = session.get_attributes(key, &[AttributeType::Sensitive, AttributeType::Extractable]).map_err(unavailable)?;
        if attributes.contains(&Attribute::Sensitive(true)) && attributes.contains(&Attribute::Extractable(false)) {
            Ok(key)
        } else {
            Err(KeyError::Malformed("the token would give the master key away: it must be sensitive and not extractable"))
        }
    }

    fn generations(&self) -> Result<Vec<u32>, KeyError> {
        self.with_session(|opened| {
            let mut generations = Vec::new();
            for key in opened.session.find_objects(&self.template()).map_err(unavailable)? {
                for attribute in opened.session.get_attributes(key, &[AttributeType::Id]).map_err(unavailable)? {
                    // Keys of others under our label, with other ids, are none of ours.
                    if let Attribute::Id(id) = attribute
                        && let Ok(number) = <[u8; 4]>::try_from(id.as_slice())
                    {
                        generations.push(u32::from_be_bytes(number));
                    }
                }
            }
            generations.sort_unstable();
            Ok(generations)
        })
    }

    fn generate(&self, generation: u32) -> Result<(), KeyError> {
        let session = self.login(true)?;
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::ValueLen(32.into()),
            Attribute::Label(self.label.clone().into_bytes()),
            Attribute::Id(generation.to_be_bytes().to_vec()),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &template).map_err(unavailable)?;
        self.find(&session, generation).map(|_| ())
    }
}

/// Sessions of a library that was ended are let go of and not closed: their numbers may be those of new ones.
impl Drop for Token {
    fn drop(&mut self) {
        // Whoever ends a library never waits for its users, so asking twice in a thread holds nobody up.
        if *in_use() != self.ended {
            let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
            idle.drain(..).for_each(|opened| std::mem::forget(opened.session));
        }
    }
}

fn find_slot(context: &Pkcs11, label: &str) -> Result<Slot, KeyError> {
    for slot in context.get_slots_with_initialized_token().map_err(unavailable)? {
        if context.get_token_info(slot).map_err(unavailable)?.label().trim_end() == label {
            return Ok(slot);
        }
    }
    Err(KeyError::Unavailable(format!("no token has the label {label}")))
}

fn read_pin(path: &Path) -> Result<AuthPin, KeyError> {
    let io_error = |error: io::Error| KeyError::Io { path: path.to_owned(), why: error.to_string() };
    let file: fs::File = open_private(path)?;
    let mut text = Zeroizing::new(String::with_capacity(1024));
    file.take(1024).read_to_string(&mut text).map_err(io_error)?;
    let pin = text.lines().next().unwrap_or_default();
    if pin.is_empty() {
        return Err(KeyError::Malformed("the PIN file is empty"));
    }
    Ok(AuthPin::from(pin))
}
