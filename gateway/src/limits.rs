//! Every size, count, rate and deadline of the HTTP side, with its unit and its reason.
//!
//! Owns: the numbers. Not: where they are enforced (each field names it).
//! Holds: every input that a stranger controls meets one of these before it costs memory or disk.
//! One struct, so that an operator sees all of them at once and a test can make any of them small.

use std::time::Duration;

use crate::rate::RateLimits;

/// Limits of one gateway. Sizes in bytes, times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one document. The default is the quota of a new vault: a larger one never fits.
    pub body_max_bytes: u64,
    /// Most bytes of a JSON body: the largest one that we define is under 4 KiB.
    pub json_max_bytes: usize,
    /// Deepest nesting of a JSON body: ours have two levels; parsers recurse.
    pub json_depth_max: usize,
    /// Most bytes of all header fields of a request (431 above).
    pub header_max_bytes: usize,
    /// Most header fields of a request (431 above).
    pub headers_max: usize,
    /// Most bytes of a request target (414 above).
    pub target_max_bytes: usize,
    /// Deadline for the TLS handshake, for the first request on a connection and for the head of every
    /// request over HTTP/1.1; an idle HTTP/1.1 connection is closed after as long.
    pub head_deadline_ms: u64,
    /// Bytes that a body must bring in each [`Limits::body_window_ms`] spent waiting for the client.
    pub body_window_min_bytes: u64,
    /// The window of the minimum rate: 10 KiB in 10 s is 1 KiB/s, slower than any real link.
    pub body_window_ms: u64,
    /// Longest that an answer waits for a client that does not read.
    pub write_stall_ms: u64,
    /// Connections that one address may hold.
    pub connections_per_address: usize,
    /// Connections in all: each costs at most a few hundred KiB when idle.
    pub connections_max: usize,
    /// Whether loopback addresses are exempt from the limits that count by address (a proxy, a test or
    /// a demo on the same machine is many clients behind one address).
    pub loopback_exempt: bool,
    /// Bad tokens that one address may show in a minute before it is answered 429.
    pub bad_tokens_per_minute: u32,
    /// Passwords that may be tried on one link in a minute, at each gateway, before the answer is 429: each costs a few
    /// hundred milliseconds of one core, and a guesser gets nowhere.
    pub link_passwords_per_minute: u32,
    /// HTTP/2 streams at once on a connection.
    pub streams_per_connection: u32,
    /// Ranges in one request: players ask for one, archivers for a few; thousands are an attack.
    pub ranges_max: usize,
    /// Most entries of one page of a list.
    pub page_max: usize,
    /// Entries of a page when the client does not say.
    pub page_default: usize,
    /// Unfinished uploads of one account in this gateway at once (each holds a few chunks of memory).
    pub uploads_per_account: usize,
    /// How long an upload may rest before it is given up.
    pub upload_lifetime_ms: u64,
    /// How long a writer of a resumable upload keeps others out without progress.
    pub upload_lease_ms: u64,
    /// How long an upload in one request is remembered when its gateway dies: as long a retry with the same
    /// `Idempotency-Key` is answered 409. Renewed while it runs.
    pub request_lease_ms: u64,
    /// Quota taken at a time while the length of an upload is unknown.
    pub reserve_step_bytes: u64,
    /// Chunks of one upload that are sealed and on their way to disks at once.
    pub upload_window_chunks: usize,
    /// Chunks of one download that are fetched ahead of the reader.
    pub download_window_chunks: usize,
    /// How often a running download asks again whether it is still allowed; 0 = before each chunk, as the
    /// promise has it (the question is batched and costs no log write).
    pub recheck_ms: u64,
    /// How long a session lives.
    pub session_lifetime_ms: u64,
    /// How often a person or an address may ask; addresses that are exempt are not counted, nor people who come from
    /// them.
    pub rates: RateLimits,
}

/// Most characters of a document's name: what file systems of clients take.
pub const NAME_CHARS_MAX: usize = 255;
/// Most bytes of a document's name in UTF-8.
pub const NAME_BYTES_MAX: usize = 1024;
/// Most bytes of a media type.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;
/// Most bytes of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max_bytes: 5_000_000_000,
            json_max_bytes: 64 * 1024,
            json_depth_max: 16,
            header_max_bytes: 16 * 1024,
            headers_max: 64,
            target_max_bytes: 8 * 1024,
            head_deadline_ms: 5_000,
            body_window_min_bytes: 10 * 1024,
            body_window_ms: 10_000,
            write_stall_ms: 30_000,
            connections_per_address: 64,
            connections_max: 4096,
            loopback_exempt: true,
            bad_tokens_per_minute: 10,
            link_passwords_per_minute: 5,
            streams_per_connection: 64,
            ranges_max: 16,
            page_max: 200,
            page_default: 50,
            uploads_per_account: 64,
            upload_lifetime_ms: 24 * 3600 * 1000,
            upload_lease_ms: 60_000,
            request_lease_ms: 60_000,
            reserve_step_bytes: 64 << 20,
            upload_window_chunks: 4,
            download_window_chunks: 2,
            recheck_ms: 0,
            session_lifetime_ms: 12 * 3600 * 1000,
            rates: RateLimits::default(),
        }
    }
}

impl Limits {
    /// [`Limits::head_deadline_ms`] as a duration.
    pub fn head_deadline(&self) -> Duration {
        Duration::from_millis(self.head_deadline_ms)
    }

    /// [`Limits::body_window_ms`] as a duration.
    pub fn body_window(&self) -> Duration {
        Duration::from_millis(self.body_window_ms)
    }

    /// [`Limits::write_stall_ms`] as a duration.
    pub fn write_stall(&self) -> Duration {
        Duration::from_millis(self.write_stall_ms)
    }

    /// [`Limits::recheck_ms`] as a duration.
    pub fn recheck(&self) -> Duration {
        Duration::from_millis(self.recheck_ms)
    }
}
