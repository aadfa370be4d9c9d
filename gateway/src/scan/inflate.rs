//! DEFLATE with bounds: bytes in, pieces out, never more than was allowed.
//!
//! Owns: [`Inflater`]. Not: where the bytes come from.
//! Holds: a piece has at most `PIECE` bytes, so that a few bytes of input cannot cost much memory at once.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes of one piece of output.
const PIECE: usize = 64 << 10;

/// The input is not what it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// One step of unpacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How much of the input was used.
    pub used: usize,
    /// What came out.
    pub out: Vec<u8>,
    /// Whether the stream ended.
    pub ended: bool,
}

/// A stream that is being unpacked.
pub struct Inflater(Decompress);

impl Inflater {
    /// DEFLATE as in ZIP.
    pub fn raw() -> Self {
        Self(Decompress::new(false))
    }

    /// DEFLATE with the head and checksum of zlib, as in PDF.
    pub fn zlib() -> Self {
        Self(Decompress::new(true))
    }

    /// Unpacks some of `input`. A step that uses nothing, gives nothing and does not end needs more input.
    ///
    /// # Errors
    /// [`Damaged`]
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Damaged> {
        let mut out = vec![0; PIECE];
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let status = match self.0.decompress(input, &mut out, FlushDecompress::None) {
            Ok(status) => status,
            Err(_) => return Err(Damaged),
        };
        let used = usize::try_from(self.0.total_in() - before_in).map_err(|_| Damaged)?;
        let made = usize::try_from(self.0.total_out() - before_out).map_err(|_| Damaged)?;
        out.truncate(made);
        Ok(Step { used, out, ended: status == Status::StreamEnd })
    }
}

/// All of a zlib stream that begins at the first byte of `input`; what follows it is left alone.
///
/// # Errors
/// [`Damaged`], also when it unpacks to more than `max` bytes or does not end.
pub fn zlib_whole(input: &[u8], max: usize) -> Result<Vec<u8>, Damaged> {
    let mut inflater = Inflater::zlib();
    let mut out = Vec::new();
    let mut rest = input;
    loop {
        let step = inflater.step(rest)?;
        if out.len() + step.out.len() > max {
            return Err(Damaged);
        }
        out.extend_from_slice(&step.out);
        if step.ended {
            return Ok(out);
        }
        if step.used == 0 && step.out.is_empty() {
            return Err(Damaged);
        }
        rest = rest.get(step.used..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn packed(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_packed_comes_back_within_its_bound() {
        let data = vec![7; 300_000];
        let mut stream = packed(&data);
        assert_eq!(zlib_whole(&stream, data.len()), Ok(data.clone()));
        assert_eq!(zlib_whole(&stream, data.len() - 1), Err(Damaged));
        assert_eq!(zlib_whole(&stream[..stream.len() - 5], data.len()), Err(Damaged));
        stream.extend_from_slice(b"\nendstream");
        assert_eq!(zlib_whole(&stream, data.len()), Ok(data));
        assert_eq!(zlib_whole(b"", 10), Err(Damaged));
        assert_eq!(zlib_whole(b"no zlib at all", 10), Err(Damaged));
    }
}
