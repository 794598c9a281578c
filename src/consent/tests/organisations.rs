//! An organisation is no data subject: no consent is needed, what closes closes, and nobody becomes one by the way.

use crate::model::{Age, Author, Revision};

use super::*;

const ACCOUNTS: &str = "identifiers,kind,stage\ncrm:10,organisation,customer\ncrm:11,organisation,customer\n";

fn accounts() -> Bench {
    let bench = bench();
    assert_eq!(bench.import(ACCOUNTS).errors, []);
    bench
}

fn party(text: &str) -> PartyRef {
    PartyRef::from(id(text))
}

fn change(bench: &Bench, who: &str, to: PartyKind) -> Result<(), String> {
    bench.ledger.change_kind(&party(who), to, "taken in as the wrong kind", &staff()).map(drop).map_err(|error| error.to_string())
}

fn kind(bench: &Bench, who: &str) -> PartyKind {
    bench.ledger.show_party(&party(who)).unwrap().kind
}

#[track_caller]
fn refused<T: std::fmt::Debug>(done: Result<T, impl std::fmt::Display>, why: &str) {
    let message = done.map_err(|error| error.to_string()).unwrap_err();
    assert!(message.contains(why), "{message}");
}

#[test]
fn of_an_organisation_no_consent_is_needed_unless_something_closes_the_use() {
    use State::{Deferred, Expired, Given, Invalidated, PendingConfirmation, Refused, Renewed, Requested, Revoked, Superseded, Withdrawn};
    let not_needed = [Given, Renewed, Requested, Deferred, PendingConfirmation];
    let closing = [
        (Refused, ConsentStatus::Refused),
        (Withdrawn, ConsentStatus::Withdrawn),
        (Revoked, ConsentStatus::Withdrawn),
        (Expired, ConsentStatus::Expired),
        (Superseded, ConsentStatus::Expired),
        (Invalidated, ConsentStatus::Refused),
    ];
    let said = not_needed.map(|state| (state, ConsentStatus::NotNeeded)).into_iter().chain(closing);
    for (state, expected) in said {
        let bench = accounts();
        assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::NotNeeded);
        bench.say("crm:10", "marketing", state);
        assert_eq!(bench.status("crm:10", "marketing.email"), if state.opens() { ConsentStatus::NotNeeded } else { expected }, "{state}");
        assert_eq!(bench.status("crm:10", "sales.outreach"), ConsentStatus::NotNeeded, "{state} is silent about another purpose");
        assert_eq!(bench.status("crm:11", "marketing.email"), ConsentStatus::NotNeeded, "{state} is silent about another account");
        assert_eq!(bench.status("crm:1", "sales.outreach"), ConsentStatus::Unknown, "a person's silence is no consent");
    }
}

#[test]
fn what_an_organisation_grants_takes_back_its_refusal_and_adds_nothing() {
    let bench = accounts();
    let mut grant = bench.draft("crm:10", "marketing.email", State::Given);
    grant.method = Method::Explicit;
    grant.notice = Some(Notice { id: "n".to_owned(), version: "1".to_owned(), categories: vec![category("contact")], ..Notice::default() });
    bench.record(grant.clone()).unwrap();
    let found = bench.effective("crm:10", "marketing.email");
    assert_eq!((found.status, found.state, found.explicit), (ConsentStatus::NotNeeded, State::Given, false));

    bench.advance(600);
    bench.say("crm:10", "marketing.email", State::Refused);
    assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::Withdrawn);
    bench.advance(600);
    grant.event_time = Some(bench.now());
    grant.expires = Some(bench.now() + seconds(3_600));
    bench.record(grant).unwrap();
    assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::NotNeeded);
    bench.advance(3_601);
    bench.ledger.tick(bench.now()).unwrap();
    assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::Expired, "the refusal is not forgotten with the grant");
}

#[test]
fn a_limited_grant_counts_only_where_it_takes_back_a_refusal() {
    let bench = accounts();
    let say = |state: State| {
        let mut draft = bench.draft("crm:10", "marketing.email", state);
        draft.uses = state.opens().then_some(1);
        bench.record(draft).unwrap()
    };
    say(State::Given);
    assert!(bench.effective("crm:10", "marketing.email").limited.is_empty());
    bench.advance(600);
    say(State::Refused);
    bench.advance(600);
    let grant = say(State::Given).event;
    assert!(!bench.effective("crm:10", "marketing.email").limited.is_empty());
    bench.ledger.reserve_uses(&[grant]).unwrap();
    assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::Expired);
}

#[test]
fn hard_stops_bind_an_organisation_as_they_bind_anybody() {
    for (stop, name) in [
        (StopKind::Erasure, "erasure"),
        (StopKind::Restriction, "restriction"),
        (StopKind::ObjectionMarketing, "objection"),
        (StopKind::OptOutGpc, "opt-out"),
        (StopKind::Suppression, "suppression"),
    ] {
        let bench = accounts();
        bench.stop("crm:10", stop);
        assert_eq!(bench.floor("crm:10", "marketing.email", LawfulBasis::Contract), Err(name));
        assert_eq!(bench.floor("crm:11", "marketing.email", LawfulBasis::Contract), Ok(()));
    }
}

#[test]
fn who_is_erased_is_no_organisation_any_more() {
    let bench = accounts();
    bench.stop("crm:10", StopKind::Erasure);
    assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::Unknown);
    refused(change(&bench, "crm:10", PartyKind::Person), "erased");
}

#[test]
fn an_organisation_and_a_person_do_not_become_one() {
    let bench = accounts();
    bench.import("identifiers,kind\ncrm:2,business-contact\ncrm:3,prospect\ncrm:4,device\n");
    let before = bench.ledger.revision();
    let merge = |into: &str, from: &str| {
        let draft = MergeDraft { into: party(into), from: party(from), time: None, reason: "the same name".to_owned() };
        bench.ledger.merge(&draft, &staff())
    };
    for other in ["crm:1", "crm:2", "crm:3", "crm:4"] {
        refused(merge("crm:10", other), "an organisation is merged with organisations only");
        refused(merge(other, "crm:10"), "an organisation is merged with organisations only");
    }
    assert_eq!(bench.ledger.revision(), before, "nothing was changed");
    // Two accounts of one company may; what one refused binds both.
    bench.say("crm:11", "marketing.email", State::Refused);
    merge("crm:10", "crm:11").unwrap();
    assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::Refused);
    assert_eq!(bench.status("crm:10", "sales.outreach"), ConsentStatus::NotNeeded);
    refused(change(&bench, "crm:10", PartyKind::Device), "a device stays one");
    let split = bench.ledger.split(&party("crm:10"), &SplitOff::Merged(party("crm:11")), "two companies", &staff()).unwrap();
    assert_eq!(bench.ledger.show_party(&PartyRef::Party(bench.ledger.party_id(split.leaves))).unwrap().kind, PartyKind::Organisation);
    assert_eq!(bench.status("crm:10", "marketing.email"), ConsentStatus::NotNeeded);
}

#[test]
fn who_was_taken_for_a_person_meanwhile_is_one_after_a_split() {
    let bench = accounts();
    let draft = MergeDraft { into: party("crm:10"), from: party("crm:11"), time: None, reason: "one company".to_owned() };
    bench.ledger.merge(&draft, &staff()).unwrap();
    change(&bench, "crm:10", PartyKind::Person).unwrap();
    bench.say("crm:11", "sales.outreach", State::Refused);
    bench.ledger.split(&party("crm:10"), &SplitOff::Merged(party("crm:11")), "two people", &staff()).unwrap();
    for who in ["crm:10", "crm:11"] {
        assert_eq!((kind(&bench, who), bench.status(who, "marketing.email")), (PartyKind::Person, ConsentStatus::Unknown));
    }
    assert_eq!(bench.reopened().show_party(&party("crm:11")).unwrap().kind, PartyKind::Person);
    refused(change(&bench, "crm:11", PartyKind::Organisation), "so it is no organisation");
}

#[test]
fn a_kind_changes_by_staff_with_a_reason_and_is_recorded() {
    let bench = bench();
    bench.advance(60);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Unknown);
    let (before, standing) = (bench.ledger.revision(), bench.ledger.standing(&id("crm:1")).unwrap().unwrap());
    refused(bench.ledger.change_kind(&party("crm:1"), PartyKind::Organisation, " ", &staff()), "`reason` is missing");
    for caller in [centre(), Capturer::Link] {
        refused(bench.ledger.change_kind(&party("crm:1"), PartyKind::Organisation, "why", &caller), "by the consent desk only");
    }
    refused(bench.ledger.change_kind(&party("crm:99"), PartyKind::Organisation, "why", &staff()), "no customer is known");
    assert_eq!(bench.ledger.revision(), before);

    change(&bench, "crm:1", PartyKind::Organisation).unwrap();
    let changed = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
    assert!(changed.revision > standing.revision && changed.profile != standing.profile, "what was decided before does not hold any more");
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::NotNeeded);
    let told = bench.ledger.pending_changes(before, 10).unwrap();
    assert_eq!(told.iter().map(|c| (c.kind, c.state.as_str())).collect::<Vec<_>>(), [(ChangeKind::Kind, "organisation")]);
    let view = bench.ledger.show_party(&party("crm:1")).unwrap();
    let fact = view.facts.iter().find(|fact| fact.value == FactValue::Kind(PartyKind::Organisation)).unwrap();
    assert_eq!((view.kind, fact.source.as_str()), (PartyKind::Organisation, "staff:e-17: taken in as the wrong kind"));
    assert_eq!(bench.reopened().show_party(&party("crm:1")).unwrap().kind, PartyKind::Organisation);

    change(&bench, "crm:1", PartyKind::Organisation).unwrap();
    assert_eq!(bench.ledger.revision(), changed.revision, "nothing to change");
    bench.advance(60);
    change(&bench, "crm:1", PartyKind::BusinessContact).unwrap();
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Unknown);
    // What it was then is answered as it was then.
    let asked = Asked { purpose: Some(purpose("marketing.email")), category: Some(category("contact")), recipient: Some(department("marketing")) };
    for (ago, status) in [(90, ConsentStatus::Unknown), (30, ConsentStatus::NotNeeded), (0, ConsentStatus::Unknown)] {
        let then = Some(bench.now() - seconds(ago));
        for as_of in [AsOf { at: then, known_at: then }, AsOf { at: then, known_at: None }] {
            assert_eq!(bench.ledger.effective(&party("crm:1"), asked, as_of).unwrap().rows[0].consent.status, status, "{ago} s ago");
        }
    }
}

#[test]
fn who_ever_spoke_as_a_person_becomes_no_organisation() {
    let never = "so it is no organisation";
    for state in [State::Given, State::Refused, State::Requested] {
        let bench = bench();
        bench.say("crm:1", "marketing.email", state);
        refused(change(&bench, "crm:1", PartyKind::Organisation), never);
        assert_eq!(kind(&bench, "crm:1"), PartyKind::Person);
        // Nor is the id taken in as one before anybody is known by it.
        bench.say("crm:5", "marketing.email", state);
        let report = bench.import("identifiers,kind\ncrm:5 crm:6,organisation\ncrm:7,organisation\n");
        assert_eq!((report.created, report.errors.len()), (1, 1));
        refused(Err::<(), _>(&report.errors[0].message), never);
        refused(bench.ledger.link(&party("crm:7"), &id("crm:5"), Assurance::Asserted, &staff()), never);
        bench.ledger.link(&party("crm:7"), &id("crm:5"), Assurance::Matched, &staff()).unwrap();
        refused(bench.ledger.link(&party("crm:7"), &id("crm:5"), Assurance::Verified, &staff()), never);
        bench.ledger.link(&party("crm:1"), &id("crm:6"), Assurance::Asserted, &staff()).unwrap();
    }
    let bench = bench();
    let note = NoteDraft {
        subject: party("crm:1"),
        note: Note::Delegation(Delegation { holder: Holder::Representative, purposes: vec![], until: None }),
        event_time: None,
        claims: Author::Staff,
        evidence: evidence(),
        source_system: None,
        idempotency_key: None,
    };
    bench.ledger.note(note, &staff()).unwrap();
    refused(change(&bench, "crm:1", PartyKind::Organisation), never);
}

#[test]
fn who_has_an_age_or_took_somebody_in_becomes_no_organisation() {
    let bench = accounts();
    bench.import("identifiers,kind,age\ncrm:2,person,adult\ncrm:3,person,unknown\ncrm:4,person,\n");
    refused(change(&bench, "crm:2", PartyKind::Organisation), "an age is known of this customer");
    let draft = MergeDraft { into: party("crm:3"), from: party("crm:4"), time: None, reason: "one".to_owned() };
    bench.ledger.merge(&draft, &staff()).unwrap();
    refused(change(&bench, "crm:3", PartyKind::Organisation), "take the merges back first");
    bench.ledger.split(&party("crm:3"), &SplitOff::Merged(party("crm:4")), "two", &staff()).unwrap();
    change(&bench, "crm:3", PartyKind::Organisation).unwrap();
    // Nor is an organisation given an age.
    let report = bench.import("identifiers,kind,age\ncrm:8,organisation,adult\ncrm:10,organisation,adult\n");
    assert_eq!(report.errors.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 3]);
    refused(Err::<(), _>(&report.errors[0].message), "an organisation has no age");
    let facts = FactsDraft { age: Some(Age::Adult), source: "crm".to_owned(), ..FactsDraft::default() };
    refused(bench.ledger.put_facts(&party("crm:10"), &facts), "an organisation has no age");
    assert_eq!(bench.import("identifiers,kind\ncrm:9,device\n").created, 1);
    refused(change(&bench, "crm:9", PartyKind::Organisation), "a device stays one");
}

#[test]
fn what_others_noted_goes_along_and_binds() {
    let bench = bench();
    // A suppression list says nothing about who it was.
    let mut stop = StopDraft::new(id("crm:1"), StopKind::Suppression);
    stop.source_system = Some("list-import".to_owned());
    stop.claims = Author::System;
    bench.ledger.add_stop(stop, &Capturer::Client(Client::intern("unregistered"))).unwrap();
    bench.ledger.record(EventDraft { claims: Author::Staff, ..bench.draft("crm:1", "sales.outreach", State::Revoked) }, &staff()).unwrap();
    let spoke = bench.ledger.history(&party("crm:1")).unwrap();
    assert!(spoke.iter().all(|row| matches!(row.event.author, Author::Staff | Author::System)), "{spoke:?}");
    change(&bench, "crm:1", PartyKind::Organisation).unwrap();
    assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Err("suppression"));
    assert_eq!(bench.status("crm:1", "sales.outreach"), ConsentStatus::Withdrawn);
}

#[test]
fn an_import_changes_no_kind_not_even_within_one_file() {
    let bench = accounts();
    let report = bench
        .import("identifiers,kind\ncrm:1,organisation\ncrm:10,person\ncrm:20,\ncrm:20 crm:21,organisation\ncrm:22,organisation\ncrm:22,person\n");
    assert_eq!(report.errors.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 3, 5, 7]);
    assert!(report.errors.iter().all(|e| e.message.contains("the kind does not change by import")), "{report:?}");
    let kinds = ["crm:1", "crm:10", "crm:20", "crm:22"].map(|who| kind(&bench, who));
    assert_eq!(kinds, [PartyKind::Person, PartyKind::Organisation, PartyKind::Person, PartyKind::Organisation]);
    let told: Vec<_> = bench.ledger.pending_changes(Revision(0), 100).unwrap().into_iter().filter(|c| c.state == "organisation").collect();
    assert_eq!(told.len(), 3, "each is told to the log: {told:?}");
}

#[test]
fn whose_upstream_created_them_is_a_person_until_the_desk_says_otherwise() {
    let bench = accounts();
    bench.ledger.link_created(&id("crm:30"), &[id("crm:10")]).unwrap();
    assert_eq!(bench.status("crm:30", "marketing.email"), ConsentStatus::Unknown);
    change(&bench, "crm:30", PartyKind::Organisation).unwrap();
    assert_eq!(bench.status("crm:30", "marketing.email"), ConsentStatus::NotNeeded);
}

#[test]
fn a_grant_of_an_organisation_is_said_to_open_nothing() {
    let bench = accounts();
    assert_eq!(bench.preview(bench.draft("crm:10", "marketing", State::Given), &centre()).unwrap(), Effect::OpensNot(Lacks::Subject));
    assert_eq!(bench.preview(bench.draft("crm:1", "marketing", State::Given), &centre()).unwrap(), Effect::Opens);
}
