//! From entries to the rows of a partition.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::rows::{EventRow, HeadKind, HeadRow, Name, OtherRow, Outcomes, PieceKind, PieceRow, ReadingRow, RejectRow, Rows, SubjectRow, VerdictRow};
use crate::audit::line::{EventLine, Kind, Line};
use crate::audit::parties;
use crate::audit::tail::Tailed;
use crate::model::EventId;

/// What is known by number in a partition, and the rows that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// First index of the partition.
    first: u64,
    names: HashMap<Box<str>, Name>,
    classes: HashMap<Box<str>, u32>,
    /// Dictionary entries of the segment that is read.
    dictionary: HashMap<u64, Dictionary>,
    /// First index of that segment.
    segment: u64,
    /// Heads of earlier partitions that have a row here.
    late: HashSet<u64>,
    /// Those that need one.
    pub(super) wanted: Vec<u64>,
    pub(super) rows: Rows,
}

/// A dictionary entry. Numbers are those of the partition, and a segment may reach into the next one.
#[derive(Debug)]
enum Dictionary {
    Facts { purpose: Option<Box<str>> },
    Verdicts { text: Box<str>, class: Option<u32> },
}

/// One verdict of a class as the index keeps it: all but the grounds, in the words of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub category: String,
    pub release: String,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    pub basis: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_version: Option<u64>,
    pub status: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct VerdictsValue {
    verdicts: Vec<Verdict>,
}

#[derive(Debug, Deserialize)]
struct FactsValue<'a> {
    #[serde(borrow)]
    purpose: Option<Cow<'a, str>>,
}

/// An entry of which only this is kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OtherLine<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    t: i64,
    #[serde(borrow)]
    actor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    party: Option<u64>,
    #[serde(borrow)]
    grant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    listener: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow)]
    network: Option<Cow<'a, str>>,
    count: u64,
}

/// The kind under which entries stand that this version cannot read.
pub(super) const UNREAD: &str = "unread";
/// The class of groups without verdicts.
const NO_CLASS: u32 = 0;

impl Gather {
    /// For a partition that may hold something already.
    pub(super) fn new(first: u64, names: Vec<(Name, String)>, classes: Vec<(u32, String)>, late: Vec<u64>) -> Self {
        Self {
            first,
            names: names.into_iter().map(|(name, text)| (text.into(), name)).collect(),
            classes: classes.into_iter().map(|(class, text)| (text.into(), class)).collect(),
            late: late.into_iter().collect(),
            ..Self::default()
        }
    }

    /// For the partition after it, within the same segment.
    pub(super) fn next(self, first: u64) -> Self {
        let mut dictionary = self.dictionary;
        for known in dictionary.values_mut() {
            if let Dictionary::Verdicts { class, .. } = known {
                *class = None;
            }
        }
        Self { first, dictionary, segment: self.segment, ..Self::default() }
    }

    /// An entry that the partition, or an earlier one, holds already: only what others refer to is taken from it.
    pub(super) fn learn(&mut self, entry: &Tailed<'_>) {
        self.turn_to(entry.segment);
        // Most entries are none, which shows at their beginning.
        if let Some(bytes) = entry.held.entry().filter(|bytes| bytes.starts_with(b"{\"class\":"))
            && let Some(line) = Line::read(bytes)
        {
            self.define(entry.index, &line);
        }
    }

    pub(super) fn add(&mut self, entry: &Tailed<'_>) {
        self.turn_to(entry.segment);
        let Some(bytes) = entry.held.entry() else { return };
        match Line::read(bytes) {
            Some(line) if line.kind == Kind::Dict => {
                self.define(entry.index, &line);
                self.rows.dictionary.push((entry.index, entry.place));
            }
            Some(line) if line.kind != Kind::Other => {
                if self.decision(entry, &line).is_none() {
                    self.other(entry, true);
                }
            }
            known => self.other(entry, known.is_none()),
        }
    }

    /// The head of an earlier partition that was [`Self::wanted`], with its facts.
    pub(super) fn add_late(&mut self, head: u64, entry: &[u8], facts: Option<&[u8]>) {
        let purpose = facts.and_then(Line::read).and_then(|line| purpose_of(&line));
        if let Some(line) = Line::read(entry) {
            let purpose = purpose.map(|purpose| self.name(&purpose));
            let row = self.head_row(head, &line, purpose, 0, true);
            self.rows.heads.push(row);
        }
    }

    fn turn_to(&mut self, segment: u64) {
        if self.segment != segment {
            self.dictionary.clear();
            self.segment = segment;
        }
    }

    fn define(&mut self, index: u64, line: &Line<'_>) {
        let Some(value) = line.value else { return };
        let meaning = match line.class.as_deref() {
            Some("facts") => Dictionary::Facts { purpose: purpose_of(line) },
            Some("verdicts") => Dictionary::Verdicts { text: value.get().into(), class: None },
            _ => return,
        };
        self.dictionary.insert(index, meaning);
    }

    /// `None` when it is not of the form that this version writes.
    fn decision(&mut self, entry: &Tailed<'_>, line: &Line<'_>) -> Option<()> {
        let head = line.of.unwrap_or(entry.index);
        let (rows_before, mut outcomes) = (self.rows.readings.len(), Outcomes::default());
        for group in &line.groups {
            let outcome = group.outcome.as_deref().and_then(Outcomes::read)?;
            let class = match group.verdicts {
                Some(reference) => self.class(reference.dict)?,
                None => NO_CLASS,
            };
            let named = group.parties.as_deref().map(parties::decode).map_or(Some(Vec::new()), |decoded| decoded)?;
            self.rows.subjects.extend(named.iter().map(|party| SubjectRow { party: party.0, head, class, outcome }));
            self.rows.readings.push(ReadingRow { class, head, index: entry.index, outcome, parties: group.n, unknown: group.unknown });
            outcomes = outcomes.or(outcome);
        }
        debug_assert!(self.rows.readings.len() - rows_before == line.groups.len());
        self.events(head, &line.events)?;
        let kind = match line.kind {
            Kind::Deny => {
                outcomes = outcomes.or(Outcomes::DENIED);
                Some(PieceKind::Deny)
            }
            Kind::Part => Some(PieceKind::Part),
            Kind::End => Some(PieceKind::End),
            Kind::Permit | Kind::Intent | Kind::Dict | Kind::Other => None,
        };
        if line.of.is_none() {
            let purpose = match line.facts.and_then(|facts| self.dictionary.get(&facts.dict)) {
                Some(Dictionary::Facts { purpose }) => purpose.clone(),
                Some(Dictionary::Verdicts { .. }) | None => None,
            };
            let purpose = purpose.map(|purpose| self.name(&purpose));
            let row = HeadRow { outcomes, ..self.head_row(entry.index, line, purpose, entry.place, false) };
            self.rows.heads.push(row);
        } else if head < self.first && self.late.insert(head) {
            self.wanted.push(head);
        }
        if let Some(kind) = kind {
            let code = line.code.as_deref().map(|code| self.name(code));
            let (status, complete) = (line.status, line.complete);
            let (rows, dropped, bytes) = (line.rows, line.dropped, line.bytes);
            let (index, place) = (entry.index, entry.place);
            self.rows.pieces.push(PieceRow { head, index, kind, outcomes, status, code, rows, dropped, bytes, complete, place });
        }
        Some(())
    }

    fn head_row(&mut self, head: u64, line: &Line<'_>, purpose: Option<Name>, place: u64, is_late: bool) -> HeadRow {
        let mut optional = |text: &Option<Cow<'_, str>>| text.as_deref().map(|text| self.name(text));
        let (actor, agent, grant) = (optional(&line.actor), optional(&line.agent), optional(&line.grant));
        let mut name = |text: &Option<Cow<'_, str>>| self.name(text.as_deref().unwrap_or_default());
        HeadRow {
            head,
            kind: match line.kind {
                Kind::Permit => HeadKind::Permit,
                Kind::Deny => HeadKind::Deny,
                Kind::Intent | Kind::Part | Kind::End | Kind::Dict | Kind::Other => HeadKind::Intent,
            },
            at: line.t,
            app: name(&line.app),
            department: name(&line.department),
            actor,
            agent,
            api: name(&line.api),
            route: name(&line.route),
            action: name(&line.action),
            purpose,
            grant,
            outcomes: Outcomes::default(),
            place,
            is_late,
        }
    }

    fn events(&mut self, head: u64, events: &[EventLine<'_>]) -> Option<()> {
        for line in events {
            let ids = line.event.iter().map(|id| (id, true)).chain(line.overridden.iter().map(|id| (id, false)));
            for (id, decided) in ids {
                let EventId(event) = EventId::parse(id)?;
                self.rows.events.push(EventRow { event, head, decided });
            }
        }
        Some(())
    }

    fn other(&mut self, entry: &Tailed<'_>, is_unread: bool) {
        let line: OtherLine<'_> = serde_json::from_slice(entry.held.entry().unwrap_or_default()).unwrap_or_default();
        let kind = self.name(if is_unread || line.kind.is_empty() { UNREAD } else { &line.kind });
        let mut optional = |text: &Option<Cow<'_, str>>| text.as_deref().map(|text| self.name(text));
        let (actor, operation, grant) = (optional(&line.actor), optional(&line.operation), optional(&line.grant));
        let (index, at, party, place) = (entry.index, line.t, line.party, entry.place);
        self.rows.others.push(OtherRow { index, at, kind, actor, operation, party, grant, place });
        if !is_unread && line.kind == "rejects" {
            let (listener, code) = (self.name(&line.listener), self.name(&line.code));
            let network = line.network.as_deref().map(|network| self.name(network));
            self.rows.rejects.push(RejectRow { index, at, listener, code, network, count: line.count });
        }
    }

    fn name(&mut self, text: &str) -> Name {
        if let Some(&known) = self.names.get(text) {
            return known;
        }
        let name = Name::try_from(self.names.len()).unwrap_or(Name::MAX);
        self.names.insert(text.into(), name);
        self.rows.names.push((name, text.into()));
        name
    }

    /// The class of a dictionary entry of this segment.
    fn class(&mut self, index: u64) -> Option<u32> {
        let Some(Dictionary::Verdicts { text, class }) = self.dictionary.get(&index) else { return None };
        if let Some(class) = *class {
            return Some(class);
        }
        let value: VerdictsValue = serde_json::from_str(text).ok()?;
        let number = self.class_of(&value.verdicts)?;
        if let Some(Dictionary::Verdicts { class, .. }) = self.dictionary.get_mut(&index) {
            *class = Some(number);
        }
        Some(number)
    }

    fn class_of(&mut self, verdicts: &[Verdict]) -> Option<u32> {
        let text = serde_json::to_string(verdicts).ok()?;
        if let Some(&known) = self.classes.get(text.as_str()) {
            return Some(known);
        }
        // 0 is that of groups without verdicts.
        let class = u32::try_from(self.classes.len()).ok()?.checked_add(1)?;
        for verdict in verdicts {
            let category = self.name(&verdict.category);
            self.rows.verdicts.push(VerdictRow { class, category, is_released: verdict.release != "withheld" });
            for policy in &verdict.policies {
                let policy = self.name(policy);
                self.rows.policies.push((class, policy));
            }
        }
        self.rows.classes.push((class, text.clone().into()));
        self.classes.insert(text.into(), class);
        Some(class)
    }
}

fn purpose_of(line: &Line<'_>) -> Option<Box<str>> {
    let facts: FactsValue<'_> = serde_json::from_str(line.value?.get()).ok()?;
    facts.purpose.map(|purpose| purpose.into())
}
