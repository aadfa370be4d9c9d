//! The label: whose disk a directory is.
//!
//! Owns: the 4,096 bytes of the file `label`. Not: what is done about a wrong one ([`crate::disk`]).
//! Holds: a label with one changed byte does not decode.
//!
//! ```text
//!    0  8  magic "KLUISDSK"
//!    8  2  format version
//!   10  6  zero
//!   16 16  cluster id
//!   32  8  node id
//!   40  8  zero
//!   48 16  disk id
//!   64     zero
//! 4088  8  xxh3-64 of bytes 0..4088
//! ```

use super::{BLOCK, FORMAT_VERSION, FormatError, open_block, seal_block, u64_at, u128_at};
use crate::ids::{ClusterId, DiskId, NodeId};

const MAGIC: &[u8; 8] = b"KLUISDSK";

/// Who a disk is and whom it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLabel {
    /// The cluster whose shards the disk holds.
    pub cluster: ClusterId,
    /// The node that the disk was formatted for.
    pub node: NodeId,
    /// The disk itself.
    pub disk: DiskId,
}

impl DiskLabel {
    /// The label as the bytes of its file.
    pub fn encode(&self) -> [u8; BLOCK] {
        self.encode_as(FORMAT_VERSION)
    }

    /// The label with any version, for tests of what other versions meet.
    pub(crate) fn encode_as(&self, version: u16) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(MAGIC);
        block[8..10].copy_from_slice(&version.to_le_bytes());
        block[16..32].copy_from_slice(&self.cluster.to_bytes());
        block[32..40].copy_from_slice(&self.node.0.to_le_bytes());
        block[48..64].copy_from_slice(&self.disk.to_bytes());
        seal_block(&mut block);
        block
    }

    /// The label that `bytes` (at least one block) hold.
    ///
    /// # Errors
    /// [`FormatError`] when they are short, damaged, of another version or no label.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let block = open_block(bytes, MAGIC)?;
        let node = u64_at(block, 32)?;
        if node == 0 {
            return Err(FormatError::Field("node"));
        }
        Ok(Self { cluster: ClusterId(u128_at(block, 16)?), node: NodeId(node), disk: DiskId(u128_at(block, 48)?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn a_label_of_version_1_is_read_for_ever() {
        let mut old = [0_u8; BLOCK];
        old[..8].copy_from_slice(b"KLUISDSK");
        old[8] = 1;
        old[16..32].copy_from_slice(&[0x11; 16]);
        old[32] = 3;
        old[48..64].copy_from_slice(&[0x22; 16]);
        let sum = xxhash_rust::xxh3::xxh3_64(&old[..4088]);
        old[4088..].copy_from_slice(&sum.to_le_bytes());
        let label = DiskLabel {
            cluster: ClusterId(0x1111_1111_1111_1111_1111_1111_1111_1111),
            node: NodeId(3),
            disk: DiskId(0x2222_2222_2222_2222_2222_2222_2222_2222),
        };
        assert_eq!(DiskLabel::decode(&old), Ok(label));
        assert_eq!(label.encode(), old);
        assert_eq!(DiskLabel::decode(&label.encode_as(7)), Err(FormatError::Version { found: 7, supported: FORMAT_VERSION }));
    }

    proptest! {
        #[test]
        fn labels_round_trip_and_a_changed_byte_is_seen(
            cluster: u128, node in 1_u64.., disk: u128, at in 0..BLOCK, change in 1_u8..,
        ) {
            let label = DiskLabel { cluster: ClusterId(cluster), node: NodeId(node), disk: DiskId(disk) };
            let mut bytes = label.encode();
            prop_assert_eq!(DiskLabel::decode(&bytes), Ok(label));
            bytes[at] ^= change;
            prop_assert!(DiskLabel::decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_decode_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(DiskLabel::decode(&bytes).is_err());
        }
    }
}
