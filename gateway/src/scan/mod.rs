//! Scanning: nothing malicious becomes available.
//!
//! Reading order: this file (verdicts, what follows from one, the scan of one document), [`clamd`] (the engine),
//! [`content`] (what it is), [`deep`] (what is in it) with [`archive`], [`pdf`] and [`inflate`], [`source`], [`reason`].
//!
//! Owns: the verdict about content. Not: documents and their states; it knows bytes only.
//! Holds: (1) clean is said only of content that clamd saw to its end, whose type is on the list, and whose parts were
//! all seen the same way; (2) whatever fails on our side is [`Verdict::Unavailable`], never clean; (3) memory of a
//! scan is bounded, and so is the number of containers looked into at once.

pub mod archive;
pub mod clamd;
pub mod content;
pub mod deep;
pub mod inflate;
pub mod pdf;
pub mod reason;
pub mod source;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Semaphore, time::Instant};
use zeroize::Zeroizing;

use self::{
    archive::ArchiveLimits,
    clamd::{Address, Answer, Deadlines, Session, Version},
    content::{Judge, Judged, Kind},
    deep::Walk,
    pdf::PdfLimits,
    reason::Reason,
    source::{ByteSource, Held},
};

/// How long an answer about clamd's version is good for: signatures change a few times a day.
const VERSION_AGE: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing bad, and everything was seen.
    Clean {
        /// What it is.
        kind: Kind,
        /// Who says so, by which signatures: with others it may be asked again.
        by: Version,
    },
    /// Malware.
    Malware {
        /// Name of the signature.
        name: String,
    },
    /// Content that is not taken.
    Refused {
        /// Why.
        code: Reason,
    },
    /// Nothing bad was found, but not everything could be seen.
    NotScannable {
        /// Why.
        code: Reason,
    },
    /// No verdict could be had.
    Unavailable {
        /// Why, for the log.
        why: String,
    },
}

/// What happens to content that cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotScannable {
    /// It is refused.
    Refuse,
    /// It is stored, marked, and cannot be shared.
    Mark,
}

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is there.
    Available,
    /// It is there, marked, and cannot be shared.
    Marked,
    /// It is not taken: malware.
    Malware,
    /// It is not taken: its type, or what it has in it.
    Refused(Reason),
    /// Nobody may have it until there is a verdict.
    PendingScan,
}

/// What follows from a verdict.
pub fn dispose(verdict: &Verdict, not_scannable: NotScannable) -> Disposition {
    match verdict {
        Verdict::Clean { .. } => Disposition::Available,
        Verdict::Malware { .. } => Disposition::Malware,
        Verdict::Refused { code } => Disposition::Refused(*code),
        Verdict::NotScannable { code } => match not_scannable {
            NotScannable::Refuse => Disposition::Refused(*code),
            NotScannable::Mark => Disposition::Marked,
        },
        Verdict::Unavailable { .. } => Disposition::PendingScan,
    }
}

/// Bounds of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// A container up to so many bytes is kept while it streams; a larger one is read again.
    pub spool_bytes: usize,
    /// Bytes of one PDF, and of all containers in containers, that are held at a time.
    pub held_bytes: usize,
    /// Containers that are looked into at once.
    pub at_once: usize,
    /// Of archives.
    pub archive: ArchiveLimits,
    /// Of PDF.
    pub pdf: PdfLimits,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { spool_bytes: 4 << 20, held_bytes: 64 << 20, at_once: 4, archive: ArchiveLimits::default(), pdf: PdfLimits::default() }
    }
}

/// Settings of a scanner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannerConfig {
    /// Where clamd listens.
    pub address: Address,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// Bounds.
    pub limits: ScanLimits,
    /// What happens to content that cannot be looked into.
    pub not_scannable: NotScannable,
}

/// The scanner of a gateway.
pub struct Scanner {
    config: ScannerConfig,
    deep: Semaphore,
    version: Mutex<Option<(Instant, Version)>>,
}

impl Scanner {
    /// A scanner; clamd is asked only when there is something to scan.
    pub fn new(config: ScannerConfig) -> Self {
        let deep = Semaphore::new(config.limits.at_once.max(1));
        Self { config, deep, version: Mutex::new(None) }
    }

    /// What follows from a verdict by this scanner's settings.
    pub fn dispose(&self, verdict: &Verdict) -> Disposition {
        dispose(verdict, self.config.not_scannable)
    }

    fn limits(&self) -> &ScanLimits {
        &self.config.limits
    }

    /// Begins the scan of one document.
    ///
    /// # Errors
    /// [`Verdict::Unavailable`]
    pub async fn begin(self: &Arc<Self>) -> Result<Scan, Verdict> {
        let session = self.open().await?;
        Ok(Scan { scanner: Arc::clone(self), session, judge: Judge::new(), spool: Some(Zeroizing::default()) })
    }

    /// The clamd and the signatures in force, as of a minute ago at most.
    ///
    /// # Errors
    /// [`Verdict::Unavailable`]
    pub async fn version(&self) -> Result<Version, Verdict> {
        let known = self.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, version)) = known
            && at.elapsed() < VERSION_AGE
        {
            return Ok(version);
        }
        let version = clamd::version(&self.config.address, self.config.deadlines).await.map_err(|error| self.unavailable(&error))?;
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), version.clone()));
        Ok(version)
    }

    async fn open(&self) -> Result<Session, Verdict> {
        Session::open(&self.config.address, self.config.deadlines).await.map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &std::io::Error) -> Verdict {
        Verdict::Unavailable { why: format!("clamd at {}: {error}", self.config.address) }
    }

    /// Ends a stream. Anything but clean is a verdict. Some names are no signatures: clamd says so that it did not look.
    async fn answer(&self, session: Session) -> Result<(), Verdict> {
        match session.finish().await {
            Ok(Answer::Clean) => Ok(()),
            Ok(Answer::Found(name)) if name.starts_with("Heuristics.Limits.Exceeded") => Err(Verdict::Refused { code: Reason::TooLarge }),
            Ok(Answer::Found(name)) if name.starts_with("Heuristics.Encrypted") => Err(Verdict::NotScannable { code: Reason::Encrypted }),
            Ok(Answer::Found(name)) => Err(Verdict::Malware { name }),
            Ok(Answer::TooLong) => Err(Verdict::Refused { code: Reason::TooLarge }),
            Ok(Answer::Other(text)) => Err(Verdict::Unavailable { why: format!("clamd answered {text:?}") }),
            Err(error) => Err(self.unavailable(&error)),
        }
    }
}

/// The scan of one document, which is fed while the document arrives.
pub struct Scan {
    scanner: Arc<Scanner>,
    session: Session,
    judge: Judge,
    /// The content so far, while it may be a small container.
    spool: Option<Zeroizing<Vec<u8>>>,
}

impl Scan {
    /// Takes the next bytes. `false` when the verdict is certain already and no more bytes are wanted.
    pub async fn write(&mut self, data: &Bytes) -> bool {
        self.judge.update(data);
        let head = self.judge.head();
        let is_container = head.starts_with(b"%PDF-") || head.starts_with(b"PK") || head.len() < 5;
        let room = self.spool.as_ref().is_some_and(|spool| spool.len() + data.len() <= self.scanner.limits().spool_bytes);
        match &mut self.spool {
            Some(spool) if is_container && room => spool.extend_from_slice(data),
            spool => *spool = None,
        }
        self.session.write(data).await
    }

    /// The verdict, once all bytes came. Where `again` is given, a container that was too large to be kept is read
    /// from there; its bytes are those that were written.
    pub async fn finish(self, again: &dyn ByteSource) -> Verdict {
        self.judged(again).await.unwrap_or_else(|verdict| verdict)
    }

    async fn judged(self, again: &dyn ByteSource) -> Result<Verdict, Verdict> {
        let Self { scanner, session, judge, spool } = self;
        // Of nothing there is nothing to say.
        if judge.total() > 0 {
            scanner.answer(session).await?;
        }
        let kind = match judge.finish() {
            Judged::Is(kind) => kind,
            Judged::Refused(code) => return Err(Verdict::Refused { code }),
            Judged::Locked(code) => return Err(Verdict::NotScannable { code }),
        };
        let kind = if kind.is_container() {
            let closed = |error: tokio::sync::AcquireError| Verdict::Unavailable { why: error.to_string() };
            let _permit = scanner.deep.acquire().await.map_err(closed)?;
            let held = spool.map(Held);
            let source: &dyn ByteSource = match &held {
                Some(held) => held,
                None => again,
            };
            if source.len() != judge.total() {
                return Err(Verdict::Unavailable { why: "the content cannot be read again".to_owned() });
            }
            let mut walk = Walk::new(&scanner);
            let kind = walk.container(kind, source, 1).await?;
            if let Some(code) = walk.unseen {
                return Err(Verdict::NotScannable { code });
            }
            kind
        } else {
            kind
        };
        Ok(Verdict::Clean { kind, by: scanner.version().await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_content_is_available() {
        let by = Version { engine: "1".to_owned(), database: None, date: String::new() };
        let verdicts = [
            (Verdict::Clean { kind: Kind::Pdf, by }, Disposition::Available),
            (Verdict::Malware { name: "x".to_owned() }, Disposition::Malware),
            (Verdict::Refused { code: Reason::Macros }, Disposition::Refused(Reason::Macros)),
            (Verdict::NotScannable { code: Reason::Encrypted }, Disposition::Refused(Reason::Encrypted)),
            (Verdict::Unavailable { why: String::new() }, Disposition::PendingScan),
        ];
        for (verdict, disposition) in verdicts {
            assert_eq!(dispose(&verdict, NotScannable::Refuse), disposition, "{verdict:?}");
        }
        assert_eq!(dispose(&Verdict::NotScannable { code: Reason::Encrypted }, NotScannable::Mark), Disposition::Marked);
    }
}
