//! Roots of full tiles (256 entries each): what a proof needs of a long log without reading all of it. They stand in the file `roots`,
//! 32 bytes each. It follows the signed entries and is not synced: all of it can be worked out from the entries, and is when it does
//! not lead to the same tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::AuditError;
use super::read::Spans;
use super::tree::{Hash, Tree};

/// A tile spans eight levels of the tree (C2SP tlog-tiles).
pub(super) const TILE_HEIGHT: u32 = 8;
pub(super) const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;
const ROOTS_FILE: &str = "roots";

/// The roots of full tiles, of tiles of those, and so on.
#[derive(Debug, Default)]
pub(super) struct Upper {
    /// Level 1 first.
    levels: Vec<Vec<Hash>>,
    /// Of the roots of level 1.
    tree: Tree,
}

impl Upper {
    /// What the file says of the first `entries` entries at most.
    pub(super) fn read(dir: &Path, entries: u64) -> Self {
        let mut upper = Self::default();
        // Without the file it is only slower.
        let bytes = std::fs::read(dir.join(ROOTS_FILE)).unwrap_or_default();
        let (roots, _torn) = bytes.as_chunks::<32>();
        roots.iter().take(usize::try_from(entries / TILE_WIDTH).unwrap_or(usize::MAX)).for_each(|root| upper.push(*root));
        upper
    }

    /// Adds what the first `entries` entries lack, from the entries.
    pub(super) fn extend(&mut self, spans: &mut Spans, entries: u64) -> Result<(), AuditError> {
        while self.tree.size() < entries / TILE_WIDTH {
            let start = self.tree.size() * TILE_WIDTH;
            let mut tile = Tree::default();
            spans.each(start, start + TILE_WIDTH, |held| tile.push_leaf(held.leaf(), |_, _| ()))?;
            self.push(tile.root());
        }
        Ok(())
    }

    pub(super) fn push(&mut self, root: Hash) {
        let Self { levels, tree } = self;
        let mut put = |level: usize, root| {
            if levels.len() <= level {
                levels.resize_with(level + 1, Vec::new);
            }
            if let Some(roots) = levels.get_mut(level) {
                roots.push(root);
            }
        };
        put(0, root);
        tree.push_leaf(root, |height, root| {
            if height.is_multiple_of(TILE_HEIGHT) {
                put((height / TILE_HEIGHT) as usize, root);
            }
        });
    }

    /// Entries that it covers.
    pub(super) fn entries(&self) -> u64 {
        self.tree.size() * TILE_WIDTH
    }

    /// The roots of a level, which is not 0.
    pub(super) fn level(&self, level: u32) -> &[Hash] {
        level.checked_sub(1).and_then(|at| self.levels.get(at as usize)).map_or(&[], Vec::as_slice)
    }

    /// Whether the full tiles of `tree` have these roots.
    fn is_of(&self, tree: &Tree) -> bool {
        let full = self.tree.peaks();
        self.tree.size() == tree.size() / TILE_WIDTH && tree.peaks().get(..full.len()) == Some(full)
    }
}

/// The file, where it is written.
#[derive(Debug)]
pub(super) struct RootsFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
}

impl RootsFile {
    /// Brings the file of a log up to its tree.
    pub(super) fn open(disk: &Arc<dyn Disk>, dirs: &[PathBuf], tree: &Tree) -> Result<Self, AuditError> {
        let dir = dirs.first().map_or(Path::new(""), PathBuf::as_path);
        let path = dir.join(ROOTS_FILE);
        let failed = |e: std::io::Error| AuditError::io(&path, &e);
        let mut spans = Spans::new(dirs.to_vec());
        let mut upper = Upper::read(dir, tree.size());
        let held = upper.entries();
        upper.extend(&mut spans, tree.size())?;
        let was_true = upper.is_of(tree);
        if !was_true {
            upper = Upper::default();
            upper.extend(&mut spans, tree.size())?;
        }
        if !upper.is_of(tree) {
            return Err(AuditError::Damaged { what: "the entries do not lead to the tree that the checkpoint signs".to_owned() });
        }
        if !was_true || held < upper.entries() || !path.exists() {
            let roots: Vec<u8> = upper.level(1).iter().flatten().copied().collect();
            disk.create(&path, 0).and_then(|()| disk.open(&path)?.write_at(&roots, 0)).map_err(failed)?;
        }
        let bytes = tree.size() / TILE_WIDTH * 32;
        Ok(Self { file: disk.open(&path).map_err(failed)?, path, bytes })
    }

    /// Adds roots of tiles that are full now.
    pub(super) fn add(&mut self, roots: &[Hash]) -> Result<(), AuditError> {
        if roots.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = roots.iter().flatten().copied().collect();
        self.file.write_at(&bytes, self.bytes).map_err(|e| AuditError::io(&self.path, &e))?;
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}
