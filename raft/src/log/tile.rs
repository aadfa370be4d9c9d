//! The tree as static files (C2SP `tlog-tiles`): a tile holds 256 hashes of one height, or the entries below them.
//!
//! | path | content |
//! |---|---|
//! | `tile/L/N` | hashes at height 8 L, from number 256 N on |
//! | `tile/L/N.p/W` | the first W of them, while there are no more |
//! | `tile/entries/N[.p/W]` | the entries themselves, each with its length (2 bytes, big-endian) before it |
//!
//! `N` is written in groups of three digits, all but the last with an `x` before it: `x001/x234/067`.
//!
//! Owns: paths, and which hashes a tile holds. Not: the hashes.
//! Holds: a path that is read is printed as the same text.

use super::{Malformed, merkle::Position};

/// Hashes of a whole tile.
pub const WIDTH: u64 = 256;
/// Highest level of a tile.
const LEVEL_MAX: u8 = 5;
/// Most groups of digits in a number.
const GROUPS_MAX: usize = 6;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Hashes at 8 times this height.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// A tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// What it holds.
    pub level: Level,
    /// Its number.
    pub index: u64,
    /// How many hashes or entries it holds: 1 to 256.
    pub width: u64,
}

impl Tile {
    /// Reads the two parts of a path below `tile/`.
    ///
    /// # Errors
    /// They name no tile.
    pub fn parse(level: &str, index: &str) -> Result<Self, Malformed> {
        let bad = Malformed("not the path of a tile");
        let level = match level.as_bytes() {
            b"entries" => Level::Entries,
            [digit @ b'0'..=b'9'] if digit - b'0' <= LEVEL_MAX => Level::Hashes(digit - b'0'),
            _ => return Err(bad),
        };
        let (number, width) = match index.split_once(".p/") {
            Some((number, width)) => (number, super::decimal(width)?),
            None => (index, WIDTH),
        };
        let partial_is_whole = width == WIDTH && index.contains(".p/");
        if !(1..=WIDTH).contains(&width) || partial_is_whole {
            return Err(bad);
        }
        let groups: Vec<&str> = number.split('/').take(GROUPS_MAX + 1).collect();
        let last = groups.len().saturating_sub(1);
        let mut index = 0u64;
        for (at, group) in groups.iter().enumerate() {
            let digits = if at == last { *group } else { group.strip_prefix('x').ok_or(bad)? };
            let leads_with_zeros = at == 0 && last > 0 && digits == "000";
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) || leads_with_zeros || last >= GROUPS_MAX {
                return Err(bad);
            }
            index = index.checked_mul(1000).and_then(|n| n.checked_add(digits.parse().ok()?)).ok_or(bad)?;
        }
        Ok(Self { level, index, width })
    }

    /// The path.
    pub fn path(&self) -> String {
        let level = match self.level {
            Level::Hashes(level) => level.to_string(),
            Level::Entries => "entries".to_owned(),
        };
        let mut number = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.width == WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{number}{partial}")
    }

    /// Where the hashes (or the entries, at level 0) of this tile are in a tree of `size` leaves; `None` when the tree
    /// has not so many.
    pub fn positions(&self, size: u64) -> Option<impl Iterator<Item = Position> + use<>> {
        let level = match self.level {
            Level::Hashes(level) => level.saturating_mul(8),
            Level::Entries => 0,
        };
        let first = self.index.checked_mul(WIDTH)?;
        let end = first.checked_add(self.width)?;
        (end <= size >> level).then(|| (first..end).map(move |index| Position { level, index }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        let tile = Tile { level: Level::Hashes(0), index: 1_234_067, width: 256 };
        assert_eq!(tile.path(), "tile/0/x001/x234/067");
        assert_eq!(Tile::parse("0", "x001/x234/067"), Ok(tile));
        let part = Tile { level: Level::Hashes(1), index: 0, width: 5 };
        assert_eq!((part.path().as_str(), Tile::parse("1", "000.p/5")), ("tile/1/000.p/5", Ok(part)));
        for (level, index) in [
            ("6", "000"),
            ("00", "000"),
            ("", "000"),
            ("data", "000"),
            ("0", ""),
            ("0", "0"),
            ("0", "1234"),
            ("0", "001/234"),
            ("0", "x000/001"),
            ("0", "x001"),
            ("0", "000.p/0"),
            ("0", "000.p/256"),
            ("0", "000.p/05"),
            ("0", "000.p/"),
            ("0", "x001/x001/x001/x001/x001/x001/x001/001"),
            ("0", "+01"),
        ] {
            assert!(Tile::parse(level, index).is_err(), "{level} {index}");
        }
    }

    #[test]
    fn a_tile_holds_what_the_tree_has() {
        let tile = |level, index, width| Tile { level: Level::Hashes(level), index, width };
        assert!(tile(0, 0, 256).positions(255).is_none());
        let found: Vec<Position> = tile(0, 1, 2).positions(258).unwrap().collect();
        assert_eq!(found, [Position { level: 0, index: 256 }, Position { level: 0, index: 257 }]);
        assert!(tile(1, 0, 2).positions(511).is_none());
        assert_eq!(tile(1, 0, 1).positions(511).unwrap().next(), Some(Position { level: 8, index: 0 }));
        assert!(tile(5, u64::MAX / 2, 1).positions(u64::MAX).is_none());
    }

    proptest! {
        #[test]
        fn paths_come_back(index in 0u64..1_000_000_000_000_000_000, width in 1u64..=256, level in 0u8..=6) {
            let level = if level == 6 { Level::Entries } else { Level::Hashes(level) };
            let tile = Tile { level, index, width };
            let path = tile.path();
            let (level, index) = path.strip_prefix("tile/").unwrap().split_once('/').unwrap();
            prop_assert_eq!(Tile::parse(level, index), Ok(tile));
        }
    }
}
