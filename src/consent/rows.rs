//! One row of forty bytes a customer, in chunks, so that growing copies nothing: the revision of the last change, the
//! profile, the facts, and the ids of the events that the profile's positions stand for.

use std::collections::HashMap;

use crate::model::{Age, EventId, PartyFacts, PartyNo, Revision, Segment, Stage};

use super::event::PartyKind;
use super::parties::FactValue;
use super::profile::Position;

#[derive(Debug, Default)]
pub(super) struct Rows {
    chunks: Vec<Vec<Row>>,
    /// Lists of events that do not fit into a row.
    long: HashMap<PartyNo, Box<[u8]>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) revision: Revision,
    /// The interner's number.
    pub(super) profile: u32,
    pub(super) about: About,
    events: Inline,
}

/// The kind and the facts of a customer in two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About(u16);

/// Length and bytes of a list of events; `LONG`: it stands elsewhere.
type Inline = [u8; 26];
const LONG: u8 = u8::MAX;

/// The ids of a customer's events by position, as small as they are kept.
#[derive(Clone)]
pub(super) enum EventList {
    Short(Inline),
    Long(Box<[u8]>),
}

impl std::fmt::Debug for EventList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Facts about a customer as far as they were said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) stage: Option<Stage>,
    pub(super) segment: Option<Segment>,
    pub(super) age: Option<Age>,
    pub(super) legal_hold: bool,
}

impl Facts {
    /// Whether this is known already.
    pub(super) fn has(self, fact: FactValue) -> bool {
        match fact {
            FactValue::Stage(stage) => self.stage == Some(stage),
            FactValue::Segment(segment) => self.segment == Some(segment),
            FactValue::Age(age) => self.age == Some(age),
            // The day itself is not kept in memory.
            FactValue::AdultFrom(_) => false,
            FactValue::LegalHold(hold) => self.legal_hold == hold,
            // It stands beside the facts.
            FactValue::Kind(_) => false,
        }
    }

    /// As policies see them; what was never said has its cautious default.
    pub(super) fn resolve(self, default_segment: Segment) -> PartyFacts {
        PartyFacts {
            stage: self.stage.unwrap_or(Stage::Anonymous),
            segment: self.segment.unwrap_or(default_segment),
            age: self.age.unwrap_or(Age::Unknown),
            legal_hold: self.legal_hold,
        }
    }
}

impl Rows {
    pub(super) fn len(&self) -> u64 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_ROWS;
        u64::try_from(full + self.chunks.last().map_or(0, Vec::len)).unwrap_or(u64::MAX)
    }

    pub(super) fn get(&self, no: PartyNo) -> Option<&Row> {
        let at = index(no)?;
        self.chunks.get(at / CHUNK_ROWS)?.get(at % CHUNK_ROWS)
    }

    pub(super) fn events(&self, no: PartyNo, row: &Row) -> EventList {
        match row.events.first() {
            Some(&LONG) => EventList::Long(self.long.get(&no).cloned().unwrap_or_default()),
            Some(_) | None => EventList::Short(row.events),
        }
    }

    /// Adds the next customer.
    pub(super) fn push(&mut self, revision: Revision, profile: u32, about: About) {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_ROWS) {
            // The first chunk grows with the ledger; later ones are worth their whole size at once.
            self.chunks.push(if self.chunks.is_empty() { Vec::new() } else { Vec::with_capacity(CHUNK_ROWS) });
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Row { revision, profile, about, events: [0; 26] });
        }
    }

    pub(super) fn get_mut(&mut self, no: PartyNo) -> Option<&mut Row> {
        let at = index(no)?;
        self.chunks.get_mut(at / CHUNK_ROWS)?.get_mut(at % CHUNK_ROWS)
    }

    pub(super) fn set_events(&mut self, no: PartyNo, events: &[EventId]) {
        let encoded = encode(events);
        let mut inline: Inline = [0; 26];
        let fits = encoded.len() < inline.len();
        if let Some((length, place)) = inline.split_first_mut() {
            *length = if fits { u8::try_from(encoded.len()).unwrap_or(LONG) } else { LONG };
            if fits && let Some(place) = place.get_mut(..encoded.len()) {
                place.copy_from_slice(&encoded);
            }
        }
        if fits {
            self.long.remove(&no);
        } else {
            self.long.insert(no, encoded.into());
        }
        if let Some(row) = self.get_mut(no) {
            row.events = inline;
        }
    }

    pub(super) fn chunks(&self) -> &[Vec<Row>] {
        &self.chunks
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PartyNo, &Row)> {
        (1..).map(PartyNo).zip(self.chunks.iter().flatten())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.chunks.iter_mut().flatten()
    }

    pub(super) fn long(&self) -> impl Iterator<Item = (PartyNo, &[u8])> {
        self.long.iter().map(|(no, bytes)| (*no, &**bytes))
    }

    pub(super) fn put_long(&mut self, no: PartyNo, bytes: Box<[u8]>) {
        self.long.insert(no, bytes);
    }
}

impl Row {
    /// Revision, profile, facts, events: as a snapshot keeps it.
    pub(super) fn to_bytes(self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        let parts = [&self.revision.0.to_le_bytes()[..], &self.profile.to_le_bytes(), &self.about.0.to_le_bytes(), &self.events];
        for (byte, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *from;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; ROW_BYTES]) -> Option<Self> {
        let (revision, rest) = bytes.split_first_chunk::<8>()?;
        let (profile, rest) = rest.split_first_chunk::<4>()?;
        let (about, rest) = rest.split_first_chunk::<2>()?;
        let about = u16::from_le_bytes(*about);
        Some(Self {
            revision: Revision(u64::from_le_bytes(*revision)),
            profile: u32::from_le_bytes(*profile),
            about: (about < ABOUT_END).then_some(About(about))?,
            events: *rest.first_chunk::<26>()?,
        })
    }

    #[cfg(test)]
    pub(super) fn has_long_list(&self) -> bool {
        self.events.first() == Some(&LONG)
    }

    /// Puts a row that a snapshot held.
    pub(super) fn push_to(self, rows: &mut Rows) {
        rows.push(self.revision, self.profile, self.about);
        let no = PartyNo(rows.len());
        if let Some(row) = rows.get_mut(no) {
            row.events = self.events;
        }
    }
}

pub(super) const ROW_BYTES: usize = 40;

impl About {
    pub(super) fn new(kind: PartyKind, facts: Facts) -> Self {
        // Position in a list of words, 0 for what was not said.
        fn place<T: PartialEq>(all: &[T], word: Option<T>) -> u16 {
            word.and_then(|word| all.iter().position(|w| *w == word)).and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0)
        }
        let mut number = place(PartyKind::ALL, Some(kind));
        number = number * 8 + place(Stage::ALL, facts.stage);
        number = number * 8 + place(Segment::ALL, facts.segment);
        number = number * 4 + place(Age::ALL, facts.age);
        Self(number * 2 + u16::from(facts.legal_hold))
    }

    pub(super) fn kind(self) -> PartyKind {
        word(PartyKind::ALL, self.0 >> 9).unwrap_or(PartyKind::Person)
    }

    pub(super) fn facts(self) -> Facts {
        Facts {
            stage: word(Stage::ALL, self.0 >> 6 & 7),
            segment: word(Segment::ALL, self.0 >> 3 & 7),
            age: word(Age::ALL, self.0 >> 1 & 3),
            legal_hold: self.0 & 1 == 1,
        }
    }
}

const ABOUT_END: u16 = 8 << 9;

fn word<T: Copy>(all: &[T], place: u16) -> Option<T> {
    all.get(usize::from(place.checked_sub(1)?)).copied()
}

impl EventList {
    pub(super) fn of(events: &[EventId]) -> Self {
        Self::Long(encode(events).into())
    }

    /// The id of the event at a place in time.
    pub(super) fn get(&self, position: Position) -> Option<EventId> {
        self.iter().nth(usize::try_from(position.0).ok()?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = EventId> + '_ {
        let bytes = match self {
            Self::Short(inline) => inline.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length))).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        };
        let mut rest = bytes;
        let mut last = 0_u64;
        std::iter::from_fn(move || {
            let zigzag = read_varint(&mut rest)?;
            let delta = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            last = last.wrapping_add_signed(delta);
            Some(EventId(last))
        })
    }
}

/// Differences, zigzag, base 128: events that were recorded together take a byte each.
fn encode(events: &[EventId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(26);
    let mut last = 0_u64;
    for event in events {
        let delta = event.0.wrapping_sub(last).cast_signed();
        let mut zigzag = ((delta << 1) ^ (delta >> 63)).cast_unsigned();
        last = event.0;
        loop {
            let low = u8::try_from(zigzag & 0x7f).unwrap_or(0);
            zigzag >>= 7;
            if zigzag == 0 {
                bytes.push(low);
                break;
            }
            bytes.push(low | 0x80);
        }
    }
    bytes
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn index(no: PartyNo) -> Option<usize> {
    usize::try_from(no.0.checked_sub(1)?).ok()
}

const CHUNK_ROWS: usize = 65_536;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_is_as_small_as_it_says() {
        assert_eq!(size_of::<Row>(), ROW_BYTES);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_list_of_events_comes_back_in_order(events in prop::collection::vec(0_u64..1 << 48, 0..20)) {
            let events: Vec<EventId> = events.into_iter().map(EventId).collect();
            let mut rows = Rows::default();
            rows.push(Revision(1), 0, About::new(PartyKind::Person, Facts::default()));
            rows.set_events(PartyNo(1), &events);
            let row = *rows.get(PartyNo(1)).unwrap();
            let list = rows.events(PartyNo(1), &row);
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), events.clone());
            prop_assert_eq!(list.get(Position(3)), events.get(3).copied());
            prop_assert_eq!(row.has_long_list(), rows.long().count() == 1);
        }

        #[test]
        fn facts_and_kind_come_back(kind in 0_usize..5, stage in 0_usize..6, segment in 0_usize..5, age in 0_usize..4, legal_hold: bool) {
            let facts = Facts {
                stage: Stage::ALL.get(stage).copied(),
                segment: Segment::ALL.get(segment).copied(),
                age: Age::ALL.get(age).copied(),
                legal_hold,
            };
            let about = About::new(PartyKind::ALL[kind], facts);
            prop_assert_eq!((about.kind(), about.facts()), (PartyKind::ALL[kind], facts));
            let row = Row { revision: Revision(7), profile: 3, about, events: [5; 26] };
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()).unwrap().to_bytes(), row.to_bytes());
        }
    }
}
