//! What was decided about a body, for the decision log, the `Consentry-Withheld` header and the drift report. Paths and
//! numbers only, never values.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::compiled::{Compiled, Cutters};
use crate::model::{FieldRule, Judged, OnDeny, PartyNo, Release, ShapeName, Verdicts};

/// Different paths in one drift report, at most.
const DRIFT_MAX: usize = 64;

/// What a cut did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows released; a single object counts as one.
    pub rows: u32,
    /// Rows of the upstream's answer that are not in ours.
    pub dropped: u32,
    /// Every customer that was judged, by outcome.
    pub groups: Vec<Group>,
    /// Paths of the shape that the verdicts withheld from what was released (or from the object that was denied), sorted.
    pub withheld: Vec<String>,
    /// Members of the body that no shape knows: bounded, names that look like data are shown as `*`.
    pub drift: Vec<String>,
    /// A count or link was left out.
    pub counts_removed: bool,
    /// Report mode: members that no shape knows went out.
    pub unenforced: bool,
    /// A count was set to the number of released rows, which is another than the upstream's.
    pub counts_corrected: bool,
}

/// Customers with the same outcome on the same grounds.
#[derive(Clone, Debug)]
pub struct Group {
    /// Sorted, each once.
    pub parties: Vec<PartyNo>,
    /// How many ids that are not in the crosswalk shared this outcome.
    pub unknown: u32,
    pub released: bool,
    pub verdicts: Arc<Verdicts>,
}

/// One customer's outcome at one place.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) judged: Judged,
    pub(super) released: bool,
    /// Stands in something that goes out (or is the object that was asked for), so its withheld paths are told.
    pub(super) told: bool,
    pub(super) shape: ShapeName,
    /// Which of the shape's zones the verdicts are about; `None` = what the main customers judge.
    pub(super) zone: Option<usize>,
    /// Path of the embedding member with its dot.
    pub(super) prefix: Option<Arc<str>>,
}

/// Collects while a body is cut.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) notes: Vec<Note>,
    pub(super) drift: BTreeSet<String>,
}

impl Notes {
    /// Notes a member that no path knows; `path` is made only while there is room.
    pub(super) fn drift(&mut self, path: impl FnOnce() -> String) {
        if self.drift.len() < DRIFT_MAX {
            self.drift.insert(path());
        }
    }

    /// What was noted since `mark` stood in something that does not go out after all.
    pub(super) fn revoke_since(&mut self, mark: usize) {
        for note in self.notes.iter_mut().skip(mark) {
            note.released = false;
            note.told = false;
        }
    }

    /// The answer as a whole does not go out.
    pub(super) fn release_nothing(&mut self) {
        for note in &mut self.notes {
            note.released = false;
        }
    }

    pub(super) fn into_report(self, shapes: &Cutters) -> Report {
        let mut report = Report { drift: self.drift.into_iter().collect(), ..Report::default() };
        let mut groups = Groups::default();
        let mut told: HashSet<(usize, ShapeName, Option<usize>, Option<&str>)> = HashSet::new();
        let mut withheld = BTreeSet::new();
        let (mut last, mut last_told) = (None, None);
        for note in &self.notes {
            let verdicts = &note.judged.verdicts;
            let outcome = (note.released, Arc::as_ptr(verdicts));
            let index = match last {
                Some((same, index)) if same == outcome => index,
                _ => groups.number(note.released, verdicts, &mut report.groups),
            };
            last = Some((outcome, index));
            if let Some(group) = report.groups.get_mut(index) {
                match note.judged.party {
                    Some(party) => group.parties.push(party),
                    None => group.unknown = group.unknown.saturating_add(1),
                }
            }
            let about = (index, note.shape, note.zone, note.prefix.as_deref());
            if note.told && last_told != Some(about) && told.insert(about) {
                last_told = Some(about);
                withheld.extend(withheld_paths(note, shapes));
            }
        }
        for group in &mut report.groups {
            group.parties.sort_unstable();
            group.parties.dedup();
        }
        report.withheld = withheld.into_iter().collect();
        report
    }
}

/// Finds the group of equal verdicts.
#[derive(Debug, Default)]
struct Groups {
    // Most rows share their verdicts with others, and comparing those by their content costs more than cutting a row.
    by_address: HashMap<(bool, *const Verdicts), usize>,
    by_content: HashMap<(bool, Arc<Verdicts>), usize>,
}

/// So many groups are compared one by one.
const FEW_GROUPS: usize = 4;

impl Groups {
    fn number(&mut self, released: bool, verdicts: &Arc<Verdicts>, groups: &mut Vec<Group>) -> usize {
        if groups.len() < FEW_GROUPS {
            let known =
                groups.iter().position(|group| group.released == released && (Arc::ptr_eq(&group.verdicts, verdicts) || group.verdicts == *verdicts));
            return known.unwrap_or_else(|| push(released, verdicts, groups));
        }
        if self.by_content.is_empty() {
            self.by_content.extend(groups.iter().enumerate().map(|(number, group)| ((group.released, Arc::clone(&group.verdicts)), number)));
        }
        let Self { by_address, by_content } = self;
        *by_address
            .entry((released, Arc::as_ptr(verdicts)))
            .or_insert_with(|| *by_content.entry((released, Arc::clone(verdicts))).or_insert_with(|| push(released, verdicts, groups)))
    }
}

fn push(released: bool, verdicts: &Arc<Verdicts>, groups: &mut Vec<Group>) -> usize {
    groups.push(Group { parties: Vec::new(), unknown: 0, released, verdicts: Arc::clone(verdicts) });
    groups.len() - 1
}

/// By the verdicts alone, not by what was found in the data: the number of paths goes out in a header.
fn withheld_paths<'n>(note: &'n Note, shapes: &'n Cutters) -> impl Iterator<Item = String> + 'n {
    shapes.get(note.shape).into_iter().flat_map(Compiled::fields).filter_map(move |(field, zone)| {
        let FieldRule::Category { category, on_deny } = field.rule else {
            return None;
        };
        let goes_out = match note.judged.verdicts.release(category) {
            Release::Full => true,
            Release::Reduced => matches!(on_deny, OnDeny::Mask(_)),
            Release::Withheld => false,
        };
        (zone == note.zone && !goes_out).then(|| format!("{}{}", note.prefix.as_deref().unwrap_or_default(), field.path))
    })
}
