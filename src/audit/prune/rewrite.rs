//! A segment, written anew with tombstones in the place of what goes.

use std::collections::BTreeSet;

use super::judge::{Role, judge, references};
use super::plan::Goes;
use crate::audit::bits::Bits;
use crate::audit::content;
use crate::audit::disk::{Disk, exchange};
use crate::audit::error::AuditError;
use crate::audit::sealed;
use crate::audit::segment::{self, Cursor, HEADER_BYTES, Held, SegmentFile};
use crate::audit::tiles::Tiles;
use crate::audit::tree::Tree;
use crate::model::PartyNo;

/// A segment in memory.
struct Read<'d> {
    file: &'d SegmentFile,
    header: &'d [u8],
    before: Tree,
    entries: Vec<(u64, Held<'d>)>,
}

/// Rewrites a segment; decisions that have come under hold since the plan was made are added to `spared` and stay. Whether
/// something went.
pub(super) fn rewrite(
    disk: &dyn Disk,
    tiles: &Tiles,
    goes: &Goes,
    spared: &mut BTreeSet<u64>,
    is_held: &dyn Fn(PartyNo) -> bool,
) -> Result<bool, AuditError> {
    let data = content::read(&goes.file)?;
    let read = Read::of(&goes.file, goes.limit, &data)?;
    // What was changed by somebody is evidence, not to be tidied away.
    let after = read.after();
    if !tiles.begins_with(&read.before)? || !tiles.begins_with(&after)? {
        let what = format!("`{}` holds something else than what the checkpoint signs", goes.file.path.display());
        return Err(AuditError::Damaged { what });
    }
    let bits = read.still_going(&goes.bits, spared, is_held);
    if bits.count() == 0 {
        return Ok(false);
    }
    let written = read.with_tombstones(&bits)?;
    if Read::of(&goes.file, goes.limit, &written)?.after() != after {
        return Err(AuditError::Damaged { what: format!("`{}` would not lead to its tree any more", goes.file.path.display()) });
    }
    // Nothing but entries and tombstones is in it.
    let sealed = sealed::seal(&goes.file, &written, goes.limit)?;
    exchange(disk, &goes.file.path, sealed.as_deref().unwrap_or(&written))?;
    Ok(true)
}

impl<'d> Read<'d> {
    fn of(file: &'d SegmentFile, limit: u64, data: &'d [u8]) -> Result<Self, AuditError> {
        let mut cursor = Cursor::open(file, data, Some(limit))?;
        let mut entries = Vec::new();
        while let Some(next) = cursor.next_held(data)? {
            entries.push(next);
        }
        let before = segment::parse_header(data).unwrap_or_default();
        Ok(Self { file, header: data.get(..HEADER_BYTES).unwrap_or_default(), before, entries })
    }

    /// The tree with its entries.
    fn after(&self) -> Tree {
        let mut tree = self.before.clone();
        self.entries.iter().for_each(|(_, held)| tree.push_leaf(held.leaf(), |_, _| ()));
        tree
    }

    /// Without what has come under hold, and the dictionary entries to which that refers.
    fn still_going(&self, planned: &Bits, spared: &mut BTreeSet<u64>, is_held: &dyn Fn(PartyNo) -> bool) -> Bits {
        let first = self.file.name.first;
        let going = || self.entries.iter().filter_map(|(index, held)| Some((*index, held.entry()?))).filter(|(index, _)| planned.has(index - first));
        let belongs_to = |index, role| match role {
            Role::Piece { of, .. } => of,
            Role::Dictionary | Role::Head { .. } | Role::Other { .. } | Role::Stays { .. } => index,
        };
        for (index, entry) in going() {
            let judged = judge(entry);
            if judged.parties.iter().any(|party| is_held(*party)) {
                spared.insert(belongs_to(index, judged.role));
            }
        }
        let mut bits = Bits::default();
        for (index, entry) in going() {
            let role = judge(entry).role;
            if role != Role::Dictionary && !spared.contains(&belongs_to(index, role)) {
                bits.set(index - first);
            }
        }
        let kept = self.entries.iter().filter_map(|(index, held)| Some((index - first, held.entry()?))).filter(|(at, _)| !bits.has(*at));
        let kept: BTreeSet<u64> = kept.flat_map(|(_, entry)| references(entry)).collect();
        for (index, entry) in going() {
            if judge(entry).role == Role::Dictionary && !kept.contains(&index) {
                bits.set(index - first);
            }
        }
        bits
    }

    fn with_tombstones(&self, goes: &Bits) -> Result<Vec<u8>, AuditError> {
        let mut out = self.header.to_vec();
        for (index, held) in &self.entries {
            match held {
                Held::Entry(entry) if !goes.has(index - self.file.name.first) => segment::push_frame(&mut out, *index, entry)?,
                Held::Entry(_) | Held::Pruned(_) => segment::push_tombstone(&mut out, *index, &held.leaf()),
            }
        }
        Ok(out)
    }
}
