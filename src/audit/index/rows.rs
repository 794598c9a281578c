//! What a partition holds, as rows.

use std::collections::BTreeMap;

use crate::audit::Outcome;
use crate::audit::segment::SegmentName;

/// A text of the partition's table of names.
pub(super) type Name = u32;

/// How groups of an entry ended, as bits, and whether the entry is a denial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcomes(pub(super) u8);

impl Outcomes {
    pub(super) const FILTER: Self = Self(4);
    pub(super) const DENY: Self = Self(8);
    const ERROR: Self = Self(16);
    /// The entry is a denial: nothing went out.
    pub(super) const DENIED: Self = Self(64);

    pub(super) fn read(word: &str) -> Option<Self> {
        Some(match Outcome::parse(word)? {
            Outcome::Permit => Self(1),
            Outcome::Redact => Self(2),
            Outcome::Filter => Self::FILTER,
            Outcome::Deny => Self::DENY,
            Outcome::Error => Self::ERROR,
            Outcome::Unenforced => Self(32),
        })
    }

    /// Whether something may have gone out.
    pub(super) const fn goes_out(self) -> bool {
        self.0 & !(Self::DENY.0 | Self::ERROR.0 | Self::DENIED.0) != 0
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What kind of entry a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadKind {
    Deny = 0,
    Permit = 1,
    Intent = 2,
}

impl HeadKind {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Deny,
            1 => Self::Permit,
            _ => Self::Intent,
        }
    }
}

/// A decision's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadRow {
    pub(super) head: u64,
    pub(super) kind: HeadKind,
    /// Microseconds since 1970.
    pub(super) at: i64,
    pub(super) app: Name,
    pub(super) department: Name,
    pub(super) actor: Option<Name>,
    pub(super) agent: Option<Name>,
    pub(super) api: Name,
    pub(super) route: Name,
    pub(super) action: Name,
    pub(super) purpose: Option<Name>,
    pub(super) grant: Option<Name>,
    pub(super) outcomes: Outcomes,
    /// Byte of its segment at which its frame begins.
    pub(super) place: u64,
    /// It stands in an earlier partition; here is something that follows it.
    pub(super) is_late: bool,
}

/// What kind of entry a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// Also a head that is a denial.
    Deny = 0,
    Part = 1,
    End = 2,
}

/// What follows a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct PieceRow {
    pub(super) head: u64,
    pub(super) index: u64,
    pub(super) kind: PieceKind,
    pub(super) outcomes: Outcomes,
    pub(super) status: Option<u64>,
    pub(super) code: Option<Name>,
    pub(super) rows: u64,
    pub(super) dropped: u64,
    pub(super) bytes: u64,
    pub(super) complete: Option<bool>,
    pub(super) place: u64,
}

/// A customer in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubjectRow {
    pub(super) party: u64,
    pub(super) head: u64,
    pub(super) class: u32,
    pub(super) outcome: Outcomes,
}

/// Verdicts in an entry, and for how many customers they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadingRow {
    pub(super) class: u32,
    pub(super) head: u64,
    pub(super) index: u64,
    pub(super) outcome: Outcomes,
    pub(super) parties: u64,
    pub(super) unknown: u64,
}

/// A consent event that a decision weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventRow {
    pub(super) event: u64,
    pub(super) head: u64,
    /// False: another one won.
    pub(super) decided: bool,
}

/// An entry that is no decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherRow {
    pub(super) index: u64,
    pub(super) at: i64,
    /// `unread` for what this version cannot read.
    pub(super) kind: Name,
    pub(super) actor: Option<Name>,
    pub(super) operation: Option<Name>,
    pub(super) party: Option<u64>,
    pub(super) grant: Option<Name>,
    pub(super) place: u64,
}

/// What was rejected: beside its row among the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct RejectRow {
    pub(super) index: u64,
    pub(super) at: i64,
    pub(super) listener: Name,
    pub(super) code: Name,
    pub(super) network: Option<Name>,
    pub(super) count: u64,
}

/// A category of a class of verdicts.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerdictRow {
    pub(super) class: u32,
    pub(super) category: Name,
    /// Something of it may go out.
    pub(super) is_released: bool,
}

/// Lengths of the segments from which rows were read.
pub(super) type Sources = BTreeMap<SegmentName, u64>;

/// What is to be written together.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) names: Vec<(Name, Box<str>)>,
    pub(super) classes: Vec<(u32, Box<str>)>,
    pub(super) verdicts: Vec<VerdictRow>,
    /// Class and policy.
    pub(super) policies: Vec<(u32, Name)>,
    pub(super) heads: Vec<HeadRow>,
    pub(super) pieces: Vec<PieceRow>,
    pub(super) subjects: Vec<SubjectRow>,
    pub(super) readings: Vec<ReadingRow>,
    pub(super) events: Vec<EventRow>,
    pub(super) others: Vec<OtherRow>,
    pub(super) rejects: Vec<RejectRow>,
    /// Index and place of dictionary entries.
    pub(super) dictionary: Vec<(u64, u64)>,
}

impl Rows {
    /// How many rows grow with the entries.
    pub(super) fn len(&self) -> usize {
        self.heads.len() + self.pieces.len() + self.subjects.len() + self.readings.len() + self.events.len() + self.others.len() + self.rejects.len()
    }

    /// In the order in which their tables keep them, each once, so that they are written one behind another.
    pub(super) fn sort(&mut self) {
        self.subjects.sort_unstable();
        self.subjects.dedup();
        self.events.sort_unstable();
        self.events.dedup();
        self.readings.sort_unstable();
        // Verdicts that differ only in what the index does not hold are one class.
        self.readings.dedup_by(|next, kept| {
            let same = (next.class, next.head, next.index, next.outcome) == (kept.class, kept.head, kept.index, kept.outcome);
            if same {
                kept.parties += next.parties;
                kept.unknown += next.unknown;
            }
            same
        });
        self.pieces.sort_unstable_by_key(|piece| (piece.head, piece.index));
    }
}
