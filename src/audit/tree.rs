//! The Merkle tree of RFC 6962 section 2.1, kept as its peaks: the roots of the perfect subtrees that the leaves so far
//! make, largest first; one for each bit that is set in the size.

use aws_lc_rs::digest::{Context, SHA256};

pub(super) type Hash = [u8; 32];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

impl Tree {
    /// A tree that goes on from stored peaks; `None` when their number does not fit the size.
    pub(super) fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (usize::try_from(size.count_ones()) == Ok(peaks.len())).then_some(Self { size, peaks })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    pub(super) fn push(&mut self, entry: &[u8]) {
        self.push_leaf(leaf(entry), |_, _| ());
    }

    /// Puts the hash of an entry; `complete` is told of each perfect subtree that this completes: its height, and its root.
    pub(super) fn push_leaf(&mut self, leaf: Hash, mut complete: impl FnMut(u32, Hash)) {
        let mut hash = leaf;
        let mut height = 0;
        while self.size >> height & 1 == 1 {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
            }
            height += 1;
            complete(height, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    pub(super) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(&last) = peaks.next() else { return sha256(&[]) };
        peaks.fold(last, |right, left| node(left, &right))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        write!(out, "{b:02x}").unwrap_or_default();
        out
    })
}

/// SHA-256 over the parts one after another.
pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

pub(super) fn leaf(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word.
    fn defined(entries: &[Vec<u8>]) -> Hash {
        match entries {
            [] => sha256(&[]),
            [one] => leaf(one),
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&defined(&many[..split]), &defined(&many[split..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_at_every_size() {
        let mut tree = Tree::default();
        let mut entries = Vec::new();
        for i in 0u32..300 {
            assert_eq!(defined(&entries), tree.root(), "size {i}");
            assert_eq!(Some(tree.clone()), Tree::from_peaks(tree.size(), tree.peaks().to_vec()));
            let entry = i.to_le_bytes().to_vec();
            tree.push(&entry);
            entries.push(entry);
        }
        assert_eq!(None, Tree::from_peaks(3, vec![Hash::default()]));
    }

    /// The test vector that the certificate-transparency implementations share.
    #[test]
    fn the_published_vector_has_its_root() {
        let mut tree = Tree::default();
        assert_eq!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", hex(&tree.root()));
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        for entry in leaves {
            tree.push(entry);
        }
        assert_eq!("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328", hex(&tree.root()));
    }
}
