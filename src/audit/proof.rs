//! Proofs that an entry is in the tree, and that a larger tree goes on where a smaller one ended: RFC 6962 sections 2.1.1 and 2.1.2,
//! checked as in RFC 9162 sections 2.1.3.2 and 2.1.4.2. Whoever makes one says where the roots of perfect subtrees are ([`Subtrees`]).
//!
//! A proof for an entry travels as a C2SP tlog-proof (<https://c2sp.org/tlog-proof>): everything that it takes to check it offline,
//! but the log's verifier key.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra eyJhIjox…                                    ours: the entry; or its hash, for who may not see it
//! index 73894
//! gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=       hashes from the leaf's sibling upwards
//! …
//!
//! gw-1.example.com                                   the checkpoint, as it was signed
//! …
//! ```

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::{Hash, node};

/// Where hashes come from.
pub(super) trait Subtrees {
    type Error;

    /// The root of the perfect subtree over the `2^height` entries from `start` on, a multiple of that.
    fn perfect(&mut self, start: u64, height: u32) -> Result<Hash, Self::Error>;
}

/// The root over the entries from `start` to before `end`, which are some; `start` is a multiple of the smallest power of two that is
/// not below their number.
pub(super) fn root_of<S: Subtrees>(from: &mut S, start: u64, end: u64) -> Result<Hash, S::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        return from.perfect(start, count.trailing_zeros());
    }
    let split = start + split_of(count);
    Ok(node(&root_of(from, start, split)?, &root_of(from, split, end)?))
}

/// The proof that entry `index` is in the tree of the first `size` entries: from the leaf's sibling upwards.
pub(super) fn inclusion<S: Subtrees>(from: &mut S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    let (mut start, mut end, mut path) = (0, size, Vec::new());
    while end - start > 1 {
        let split = start + split_of(end - start);
        if index < split {
            path.push(root_of(from, split, end)?);
            end = split;
        } else {
            path.push(root_of(from, start, split)?);
            start = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of the first `size` entries goes on where that of the first `old` ones (some, and no more) ended.
pub(super) fn consistency<S: Subtrees>(from: &mut S, old: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    let (mut start, mut end, mut path, mut is_whole) = (0, size, Vec::new(), true);
    while end != old {
        let split = start + split_of(end - start);
        if old <= split {
            path.push(root_of(from, split, end)?);
            end = split;
        } else {
            path.push(root_of(from, start, split)?);
            (start, is_whole) = (split, false);
        }
    }
    if !is_whole {
        path.push(root_of(from, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// The root of a tree of `size` entries with this leaf at `index`, by the proof; `None` when the proof is not of that form.
pub(super) fn included_root(index: u64, size: u64, leaf: Hash, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut climb, mut root) = (Climb { at: index, last: size - 1 }, leaf);
    for hash in proof {
        root = if climb.is_right()? { node(hash, &root) } else { node(&root, hash) };
    }
    climb.is_over().then_some(root)
}

/// Whether the tree of `size` entries with that root begins with the tree of `old` entries with the other.
pub(super) fn is_consistent(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old == 0 || old >= size {
        return proof.is_empty() && (old == 0 || (old == size && old_root == root));
    }
    let mut proof = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { proof.next() };
    let Some(first) = first else { return false };
    let mut climb = Climb { at: old - 1, last: size - 1 };
    while climb.at & 1 == 1 {
        climb.up();
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for hash in proof {
        match climb.is_right() {
            Some(true) => (of_old, of_new) = (node(hash, &of_old), node(hash, &of_new)),
            Some(false) => of_new = node(&of_new, hash),
            None => return false,
        }
    }
    climb.is_over() && of_old == *old_root && of_new == *root
}

/// The way from a leaf to the root: where it is on its level, and which is the last one there.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    /// Goes up over the next hash of a proof; whether that stands to the left. `None` at the root.
    const fn is_right(&mut self) -> Option<bool> {
        if self.is_over() {
            return None;
        }
        let is_right = self.at & 1 == 1 || self.at == self.last;
        // The last one of a level may have no sibling there.
        while is_right && self.at & 1 == 0 && self.at != 0 {
            self.up();
        }
        self.up();
        Some(is_right)
    }

    const fn up(&mut self) {
        (self.at, self.last) = (self.at >> 1, self.last >> 1);
    }

    const fn is_over(&self) -> bool {
        self.last == 0
    }
}

/// The largest power of two below `count`, which is more than one.
const fn split_of(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// More hashes no tree needs.
const HASHES_MAX: usize = 64;
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The proof of one entry with the checkpoint that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlogProof {
    /// Not authenticated by itself: what it takes to know the leaf's hash.
    pub(super) extra: Option<Vec<u8>>,
    pub(super) index: u64,
    pub(super) hashes: Vec<Hash>,
    /// The signed note, as it was written.
    pub(super) checkpoint: String,
}

impl TlogProof {
    pub(super) fn to_text(&self) -> String {
        let extra = self.extra.as_ref().map(|extra| format!("extra {}\n", STANDARD.encode(extra))).unwrap_or_default();
        let mut text = format!("{FIRST_LINE}\n{extra}index {}\n", self.index);
        for hash in &self.hashes {
            writeln!(text, "{}", STANDARD.encode(hash)).unwrap_or_default();
        }
        text + "\n" + &self.checkpoint
    }

    /// `None` when it is not of the format.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        lines.next().filter(|line| *line == FIRST_LINE)?;
        let mut line = lines.next()?;
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = Some(STANDARD.decode(encoded).ok()?);
            line = lines.next()?;
        }
        let number = line.strip_prefix("index ")?;
        let index: u64 = number.parse().ok()?;
        let hashes = lines.map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect::<Option<Vec<Hash>>>()?;
        (index.to_string() == number && hashes.len() <= HASHES_MAX).then(|| Self { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Tree, leaf};
    use super::*;

    /// All leaves, in memory.
    struct Leaves(Vec<Hash>);

    impl Subtrees for Leaves {
        type Error = std::convert::Infallible;

        fn perfect(&mut self, start: u64, height: u32) -> Result<Hash, Self::Error> {
            let start = usize::try_from(start).unwrap();
            let mut tree = Tree::default();
            self.0[start..start + (1 << height)].iter().for_each(|hash| tree.push_leaf(*hash, |_, _| ()));
            Ok(tree.root())
        }
    }

    fn leaves(count: u64) -> (Leaves, Vec<Hash>) {
        let mut tree = Tree::default();
        let mut roots = vec![tree.root()];
        let leaves = (0..count)
            .map(|n| {
                let hash = leaf(&n.to_le_bytes());
                tree.push_leaf(hash, |_, _| ());
                roots.push(tree.root());
                hash
            })
            .collect();
        (Leaves(leaves), roots)
    }

    #[test]
    fn each_entry_of_each_size_is_proved_and_nothing_else_is() {
        let (mut from, roots) = leaves(70);
        for size in 1..=70u64 {
            let root = roots[usize::try_from(size).unwrap()];
            assert_eq!(root, root_of(&mut from, 0, size).unwrap());
            for index in 0..size {
                let leaf = from.0[usize::try_from(index).unwrap()];
                let proof = inclusion(&mut from, index, size).unwrap();
                assert_eq!(Some(root), included_root(index, size, leaf, &proof), "{index} of {size}");
                for other in 0..size + 2 {
                    assert!(other == index || included_root(other, size, leaf, &proof) != Some(root), "{index} for {other} of {size}");
                }
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at][7] ^= 1;
                    assert_ne!(Some(root), included_root(index, size, leaf, &changed));
                    changed.remove(at);
                    assert_ne!(Some(root), included_root(index, size, leaf, &changed));
                }
                let longer = [&proof[..], &[Hash::default()]].concat();
                assert_ne!(Some(root), included_root(index, size, leaf, &longer));
            }
        }
    }

    #[test]
    fn each_larger_tree_goes_on_from_each_smaller_one_and_no_other_does() {
        let (mut from, roots) = leaves(70);
        for size in 1..=70u64 {
            let root = roots[usize::try_from(size).unwrap()];
            assert!(is_consistent(0, &roots[0], size, &root, &[]), "everything goes on from nothing");
            for old in 1..=size {
                let old_root = roots[usize::try_from(old).unwrap()];
                let proof = consistency(&mut from, old, size).unwrap();
                assert!(is_consistent(old, &old_root, size, &root, &proof), "{old} to {size}");
                assert!(!is_consistent(old, &[9; 32], size, &root, &proof), "{old} to {size}");
                assert!(!is_consistent(old, &old_root, size, &[9; 32], &proof), "{old} to {size}");
                assert!(!is_consistent(old + 1, &old_root, size, &root, &proof) || old + 1 > size, "{old} to {size}");
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at][0] ^= 0x80;
                    assert!(!is_consistent(old, &old_root, size, &root, &changed));
                }
                assert!(!is_consistent(old, &old_root, size, &root, &[&proof[..], &[Hash::default()]].concat()));
            }
        }
    }

    #[test]
    fn a_proof_is_read_back_and_nothing_that_is_not_one() {
        let proof = TlogProof { extra: None, index: 5, hashes: vec![[1; 32], [2; 32]], checkpoint: "gw\n9\nAAAA\n\n\u{2014} gw AAAA\n".to_owned() };
        let text = proof.to_text();
        assert_eq!(Some(proof.clone()), TlogProof::parse(&text));
        let with_extra = TlogProof { extra: Some(b"hello".to_vec()), ..proof };
        let extra_text = with_extra.to_text();
        assert_eq!(Some(with_extra), TlogProof::parse(&extra_text));
        assert_eq!(extra_text, text.replace("index", "extra aGVsbG8=\nindex"));
        for bad in [
            "",
            &text.replace("@v1", "@v2"),
            &text.replace("index 5", "index 05"),
            &text.replace("index 5", "index -5"),
            &text.replace("index 5", "size 5"),
            &extra_text.replace("aGVsbG8=", "aGVsbG8"),
            &text.replace("\n\n", "\n"),
            &text.replace('\n', "\r\n"),
            &text.replace("AQEB", "AQE!"),
            &text.replace("index 5\n", &format!("index 5\n{}", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n".repeat(63))),
        ] {
            assert_eq!(None, TlogProof::parse(bad), "{bad}");
        }
    }
}
