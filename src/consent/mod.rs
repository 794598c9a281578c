//! What the customer allows: consent events, hard stops, the crosswalk from ids to customers, and the projection that the
//! request path reads. Events are append-only; everything else is derived from them and can be rebuilt (test).
//!
//! The pure part is [`floor()`] and [`status()`]: no clock, no store. The acting part is [`Ledger`]: one writer at a time,
//! stored durably, then applied in memory, then acknowledged; reads never wait for the database.
//!
//! **A stop is never refused because something is down**: it binds, since nothing is released about anybody until it is stored,
//! and is answered with [`ConsentError::AppliedNotStored`], so that the caller repeats. A grant is refused.
//!
//! Beside it stand the [`Grant`]s of break-glass: what two people lend a third one in an emergency.

mod author;
mod break_glass;
mod check;
mod commit;
mod conflicts;
mod contested;
mod crosswalk;
mod dossier;
mod draft;
mod error;
mod event;
mod floor;
mod gaps;
mod gpp;
mod health;
mod hearing;
mod identity;
mod import;
mod intern;
mod kind;
mod ledger;
mod notices;
mod once;
mod parties;
mod preview;
mod profile;
mod profile_text;
mod projection;
mod record;
mod report;
mod rows;
mod seal;
mod snapshot;
mod states;
mod status;
mod store;
mod uses;
mod write;

#[cfg(test)]
mod tests;

pub use break_glass::{
    APPROVERS, Ended, Finding, Grant, GrantCounts, GrantDraft, GrantState, GrantStep, OPEN_MAX, Person, REVIEW_WITHIN, Review, Signed, Stepped,
    Target, Wanted,
};
pub use conflicts::{Disagreement, Voice, Word};
pub use contested::{ConflictFilter, ConflictPage, Contested};
pub use draft::{Acknowledged, Capturer, EventDraft, LiftDraft, Note, NoteDraft, Statement, StopDraft};
pub use error::{ConsentError, Unavailable};
pub use event::{Assurance, Consent, Delegation, Event, Holder, Method, Normalise, Notice, PartyKind, PartyRef, Scope, State, Stop, StopKind, What};
pub use floor::{Gap as FloorGap, closed_for, floor, gap as floor_gap, limited_lifts};
pub use gaps::Gap;
pub use gpp::{GppOptOuts, GppUnread};
pub use identity::{KNOWN_BEFORE, MergeDraft, Split, SplitOff};
pub use import::{Cutter, ImportError, ImportFormat, ImportOptions, ImportPiece, ImportReport, Piece, PieceReport, Progress, Surroundings, Tally};
pub use ledger::{ChangeListener, Ledger, Standing};
pub use notices::NoticeVersion;
pub use once::{By, IdempotencyKey};
pub use parties::{Fact, FactValue, FactsDraft, LinkView, Matched, MergeView, PartyView};
pub use preview::Lacks;
pub use profile::{Position, Profile};
pub use report::{AsOf, Asked, EffectiveRow, Effectives, HistoryRow};
pub use states::{StateEvent, Transition, next};
pub use status::{Effective, rule_for, status};
pub use store::{
    Answered, Batch, Change, ChangeKind, Document, Done, Dossier, FactName, FactRow, Head, LinkRow, MergeRow, PartyRow, Registers, Saying,
    SqliteStore, Store, StoreError, Tombstone, Unlink, Written,
};
pub use uses::Moved;

use crate::model::{Purpose, Space};

/// The root of direct marketing in every catalogue.
fn marketing() -> Purpose {
    static NAME: std::sync::LazyLock<Purpose> = std::sync::LazyLock::new(|| Purpose::intern("marketing"));
    *NAME
}

/// The space of `party:<id>`; no configuration can declare it.
fn party_space() -> Space {
    static NAME: std::sync::LazyLock<Space> = std::sync::LazyLock::new(|| Space::intern("party"));
    *NAME
}
