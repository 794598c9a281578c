//! What was said about one customer, as plain records: a small language for the tests of the pure part, and the ground on which
//! profiles are compared with a slow reading.

use std::collections::HashSet;

use crate::consent::profile::{Circumstances, Joined, Profile, Reaching, build};
use crate::consent::record::{Form, Matter, Record, Terms};
use crate::model::{Age, Author, EventId};

use super::*;

/// One record and how it reaches the customer.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) record: Record,
    pub(super) carries_grants: bool,
    pub(super) group: u16,
}

impl Told {
    pub(super) fn form(&mut self) -> &mut Form {
        Arc::make_mut(&mut self.record.form)
    }

    pub(super) fn terms(&mut self) -> &mut Terms {
        let Matter::Said { terms, .. } = &mut self.form().matter else { panic!("only a statement has terms") };
        Arc::make_mut(terms)
    }

    pub(super) fn by(&mut self, author: Author) -> &mut Self {
        self.form().author = author;
        self
    }

    /// Captured by an app of that name.
    pub(super) fn from(&mut self, system: &str) -> &mut Self {
        let form = self.form();
        (form.source, form.system, form.app) = (format!("client:{system}\n{system}"), system.into(), system.into());
        self
    }

    pub(super) fn group(&mut self, group: u16) -> &mut Self {
        self.group = group;
        self
    }

    pub(super) fn about(&mut self, id: EventId) -> &mut Self {
        self.record.about = Some(id);
        self
    }

    pub(super) const fn id(&self) -> EventId {
        self.record.id
    }
}

#[derive(Clone)]
pub(super) struct Tale {
    pub(super) told: Vec<Told>,
    pub(super) age: Age,
    pub(super) adult_since: Option<Timestamp>,
    pub(super) at: Timestamp,
    pub(super) superseded: HashSet<(String, String)>,
    pub(super) joined: Vec<Joined>,
    pub(super) is_organisation: bool,
    pub(super) rules: ConsentRules,
    pub(super) vocabulary: Arc<Vocabulary>,
}

impl std::fmt::Debug for Tale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { told, age, adult_since, at, superseded, joined, is_organisation, .. } = self;
        writeln!(f, "{age} since {adult_since:?}, at {at}, {superseded:?}, {joined:?}, organisation: {is_organisation}")?;
        told.iter().try_for_each(|told| writeln!(f, "{told:?}"))
    }
}

/// Seconds after the tale's beginning.
pub(super) fn after(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

pub(super) fn joined(a: u16, b: u16, at: i64) -> Joined {
    Joined { a, b, at: after(at) }
}

impl Tale {
    pub(super) fn new() -> Self {
        Self {
            told: vec![],
            age: Age::Unknown,
            adult_since: None,
            at: after(1_000_000),
            superseded: HashSet::new(),
            joined: vec![],
            is_organisation: false,
            rules: rules(),
            vocabulary: vocabulary(),
        }
    }

    pub(super) fn tell(&mut self, at: i64, matter: Matter) -> &mut Told {
        let form = Form {
            matter,
            author: Author::Customer,
            source: "client:centre\ncentre".to_owned(),
            system: "centre".into(),
            app: "centre".into(),
            method: Method::Expressed,
            is_evidenced: true,
        };
        // Our clock goes forward, in whatever order things are told.
        let recorded = self.told.last().map_or(after(at), |last| last.record.record_time.max(after(at)));
        let record = Record {
            id: EventId(self.told.len() as u64 + 1),
            form: Arc::new(form),
            event_time: Some(after(at)),
            record_time: recorded,
            about: None,
            due: None,
            fired: false,
            uses_left: None,
            used_up: None,
        };
        self.told.push(Told { record, carries_grants: true, group: 0 });
        self.told.last_mut().unwrap()
    }

    /// The customer's statement, with evidence; a grant, or the request to confirm one, is for marketing's use of the contact data.
    pub(super) fn say(&mut self, at: i64, about: &str, state: State) -> &mut Told {
        let scope = Scope { categories: vec![category("contact")], recipients: vec![department("marketing")], channels: vec![] };
        let scope = if state.opens() || state == State::PendingConfirmation { scope } else { Scope::default() };
        let terms = Terms { purposes: [purpose(about)].into(), scope, ..Terms::default() };
        self.tell(at, Matter::Said { state, terms: Arc::new(terms), until: None })
    }

    pub(super) fn stop(&mut self, at: i64, kind: StopKind, about: &[&str]) -> &mut Told {
        self.tell(at, Matter::Stop { kind, purposes: about.iter().map(|p| purpose(p)).collect(), scope: Scope::default() })
    }

    pub(super) fn delegate(&mut self, at: i64, holder: Holder, about: &[&str]) -> &mut Told {
        self.tell(at, Matter::Delegation { holder, purposes: about.iter().map(|p| purpose(p)).collect() })
    }

    pub(super) fn circumstances(&self) -> Circumstances<'_> {
        let Self { at, superseded, age, adult_since, joined, is_organisation, .. } = self;
        let (age, adult_since, is_organisation) = (*age, *adult_since, *is_organisation);
        Circumstances { skew: seconds(60), at: *at, superseded, age, adult_since, joined, is_organisation }
    }

    pub(super) fn reaching(&self) -> Vec<Reaching<'_>> {
        self.told.iter().map(|told| Reaching { record: &told.record, carries_grants: told.carries_grants, group: told.group }).collect()
    }

    pub(super) fn build(&self) -> (Profile, Vec<EventId>) {
        build(self.reaching(), &self.circumstances())
    }

    pub(super) fn effective(&self, about: &str) -> Effective {
        let (profile, events) = self.build();
        let channel = self.vocabulary.channel(purpose(about));
        status(&profile, &self.vocabulary, &self.rules, purpose(about), category("contact"), department("marketing"), channel)
            .resolve(|at| events.get(at.0 as usize).copied())
    }

    pub(super) fn state(&self, about: &str) -> State {
        self.effective(about).state
    }

    pub(super) fn floor(&self, about: &str, basis: LawfulBasis) -> Result<(), &'static str> {
        let channel = self.vocabulary.channel(purpose(about));
        floor(&self.build().0, &self.vocabulary, &self.rules, purpose(about), basis, category("contact"), channel)
    }

    pub(super) fn closed_for(&self, about: &str) -> Vec<(LawfulBasis, &'static str)> {
        let channel = self.vocabulary.channel(purpose(about));
        closed_for(&self.build().0, &self.vocabulary, &self.rules, purpose(about), category("contact"), channel)
    }
}
