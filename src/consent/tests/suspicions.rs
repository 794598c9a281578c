//! Ways in which a stop could get lost, or something could open that should not, each tried over the ledger.

use crate::consent::snapshot;
use crate::model::{Age, LawfulBasis};

use super::replay::everything;
use super::*;

const MAIL: &str = "marketing.email";

fn merge(bench: &Bench, into: &str, from: &str) {
    let draft = MergeDraft { into: id(into).into(), from: id(from).into(), time: None, reason: "the same person".to_owned() };
    bench.ledger.merge(&draft, &staff()).unwrap();
}

fn split(bench: &Bench, of: &str, off: &SplitOff) {
    bench.ledger.split(&id(of).into(), off, "two persons after all", &staff()).unwrap();
}

fn facts(bench: &Bench, who: &str, facts: &FactsDraft) {
    bench.ledger.put_facts(&id(who).into(), &FactsDraft { source: "crm".to_owned(), ..facts.clone() }).unwrap();
}

fn is_stopped(bench: &Bench, who: &str) -> bool {
    bench.floor(who, MAIL, LawfulBasis::LegitimateInterest) == Err("objection")
}

/// As it is, and as it is read anew after a restart.
fn ledgers(bench: &mut Bench, check: impl Fn(&Bench)) {
    check(bench);
    bench.ledger = bench.reopened();
    check(bench);
}

#[test]
fn a_stop_that_reached_by_a_match_still_does_after_a_merge_with_whom_it_came_from_and_a_split() {
    for into_matched in [true, false] {
        let mut bench = bench();
        bench.stop("email:ann@example.org", StopKind::ObjectionMarketing);
        bench.ledger.link_created(&id("crm:8"), &[id("email:ann@example.org")]).unwrap();
        assert!(is_stopped(&bench, "crm:8"));
        let (into, from) = if into_matched { ("crm:8", "crm:1") } else { ("crm:1", "crm:8") };
        merge(&bench, into, from);
        assert!(is_stopped(&bench, "crm:8"));
        split(&bench, into, &SplitOff::Merged(id(from).into()));
        ledgers(&mut bench, |bench| {
            assert!(is_stopped(bench, "crm:1") && is_stopped(bench, "crm:8"), "into the one who was matched: {into_matched}");
        });
        bench.advance(100);
        bench.stop("email:ann@example.org", StopKind::Restriction);
        assert_eq!(bench.floor("crm:8", "sales", LawfulBasis::Contract), Err("restriction"), "what is said later, too");
    }
}

/// Customer `crm:8`, matched to two who object, of the same id space, and have been erased since.
fn matched_to_erased() -> Bench {
    let bench = bench();
    bench.import("identifiers\ncrm:2\ncrm:8\ncrm:5 email:zoe@example.org\n");
    for (who, email) in [("crm:1", "email:ann@example.org"), ("crm:5", "email:zoe@example.org")] {
        bench.stop(email, StopKind::ObjectionMarketing);
        bench.ledger.link(&id("crm:8").into(), &id(email), Assurance::Matched, &staff()).unwrap();
        bench.stop(who, StopKind::Erasure);
    }
    snapshot::write(&bench.dir.path().join("consent.db.snapshot"), &bench.ledger).unwrap();
    assert!(is_stopped(&bench, "crm:8"));
    bench
}

/// As kept, as rebuilt, and as read from the snapshot before what was done since.
fn each_way(mut bench: Bench, check: impl Fn(&Bench)) {
    let kept = everything(&bench.ledger);
    check(&bench);
    bench.ledger = bench.reopened();
    assert_eq!(everything(&bench.ledger), kept);
    check(&bench);
    bench.ledger = Ledger::open(&bench.dir.path().join("consent.db"), Arc::clone(&bench.clock) as Arc<dyn Clock>).unwrap();
    bench.ledger.adopt(vocabulary(), rules(), captures()).unwrap();
    assert_eq!(everything(&bench.ledger), kept);
    assert!(bench.ledger.snapshot_revision() > crate::model::Revision(0), "it was of use");
    check(&bench);
}

#[test]
fn a_stop_under_an_id_that_was_erased_since_binds_after_a_merge() {
    for (into, from) in [("crm:2", "crm:8"), ("crm:8", "crm:2")] {
        let bench = matched_to_erased();
        merge(&bench, into, from);
        each_way(bench, |bench| assert!(is_stopped(bench, "crm:2") && is_stopped(bench, "crm:8"), "into {into}"));
    }
}

#[test]
fn a_stop_under_an_id_that_was_erased_since_binds_after_a_merge_was_taken_back() {
    for (into, from) in [("crm:2", "crm:8"), ("crm:8", "crm:2")] {
        let bench = matched_to_erased();
        merge(&bench, into, from);
        split(&bench, into, &SplitOff::Merged(id(from).into()));
        each_way(bench, |bench| assert!(is_stopped(bench, "crm:8") && !is_stopped(bench, "crm:2"), "into {into}"));
    }
}

#[test]
fn a_stop_under_an_id_that_was_erased_since_follows_ids_that_are_split_off() {
    let bench = matched_to_erased();
    bench.ledger.link(&id("crm:8").into(), &id("crm:9"), Assurance::Verified, &staff()).unwrap();
    split(&bench, "crm:8", &SplitOff::Identifiers(vec![id("crm:9")]));
    each_way(bench, |bench| assert!(is_stopped(bench, "crm:8") && is_stopped(bench, "crm:9")));
}

#[test]
fn a_stop_under_an_id_that_was_erased_since_reaches_who_is_matched_later() {
    let bench = matched_to_erased();
    bench.ledger.link_created(&id("crm:9"), &[id("crm:8")]).unwrap();
    bench.ledger.link_created(&id("crm:2"), &[id("crm:8")]).unwrap();
    let revision = bench.ledger.revision();
    bench.ledger.link_created(&id("crm:2"), &[id("crm:8")]).unwrap();
    assert_eq!(bench.ledger.revision(), revision, "nothing is new");
    each_way(bench, |bench| assert!(is_stopped(bench, "crm:9") && is_stopped(bench, "crm:2")));
}

#[test]
fn a_match_that_a_merge_ended_is_back_though_its_id_was_split_off_and_erased_since() {
    let bench = bench();
    bench.import("identifiers\ncrm:8\n");
    bench.stop("email:ann@example.org", StopKind::ObjectionMarketing);
    bench.ledger.link(&id("crm:8").into(), &id("email:ann@example.org"), Assurance::Matched, &staff()).unwrap();
    merge(&bench, "crm:1", "crm:8");
    split(&bench, "crm:1", &SplitOff::Identifiers(vec![id("email:ann@example.org")]));
    bench.stop("email:ann@example.org", StopKind::Restriction);
    bench.ledger.add_stop(StopDraft::new(id("email:ann@example.org"), StopKind::Erasure), &staff()).unwrap();
    snapshot::write(&bench.dir.path().join("consent.db.snapshot"), &bench.ledger).unwrap();
    split(&bench, "crm:1", &SplitOff::Merged(id("crm:8").into()));
    each_way(bench, |bench| assert!(bench.floor("crm:8", MAIL, LawfulBasis::LegitimateInterest).is_err()));
}

#[test]
fn a_stop_that_reached_by_a_match_follows_ids_that_are_split_off() {
    let bench = bench();
    bench.stop("email:zoe@example.org", StopKind::ObjectionMarketing);
    bench.ledger.link_created(&id("crm:8"), &[id("email:zoe@example.org")]).unwrap();
    bench.ledger.link(&id("crm:8").into(), &id("crm:9"), Assurance::Verified, &staff()).unwrap();
    split(&bench, "crm:8", &SplitOff::Identifiers(vec![id("crm:8")]));
    // Whose ids it was matched by is not known any more.
    assert!(is_stopped(&bench, "crm:8") && is_stopped(&bench, "crm:9"));
}

#[test]
fn what_a_child_granted_does_not_open_under_ids_that_are_split_off() {
    let born = |facts: &FactsDraft, tick: bool| {
        let bench = bench();
        self::facts(&bench, "crm:1", facts);
        bench.say("email:ann@example.org", MAIL, State::Given);
        bench.say("crm:1", MAIL, State::Given);
        bench.advance(1000);
        if tick {
            bench.ledger.tick(bench.now()).unwrap();
        }
        assert!(!bench.state("crm:1", MAIL).opens());
        split(&bench, "crm:1", &SplitOff::Identifiers(vec![id("email:ann@example.org")]));
        assert!(!bench.state("email:ann@example.org", MAIL).opens() && !bench.state("crm:1", MAIL).opens());
        bench
    };
    let bench = born(&FactsDraft { age: Some(Age::Minor), ..FactsDraft::default() }, false);
    bench.say("email:ann@example.org", "sales", State::Given);
    assert!(!bench.state("email:ann@example.org", "sales").opens(), "nor what is granted later");
    let soon = time("2026-03-01T12:10:00Z");
    let bench = born(&FactsDraft { adult_from: Some(soon), ..FactsDraft::default() }, true);
    bench.say("email:ann@example.org", "sales", State::Given);
    assert!(bench.state("email:ann@example.org", "sales").opens(), "of age by now");
}

#[test]
fn a_hold_stays_with_ids_that_are_split_off() {
    let bench = bench();
    facts(&bench, "crm:1", &FactsDraft { legal_hold: Some(true), ..FactsDraft::default() });
    split(&bench, "crm:1", &SplitOff::Identifiers(vec![id("email:ann@example.org")]));
    let erasure = bench.ledger.add_stop(StopDraft::new(id("email:ann@example.org"), StopKind::Erasure), &staff());
    assert_eq!(erasure, Err(ConsentError::Held));
}

#[test]
fn what_was_learnt_of_both_while_they_were_one_protects_both() {
    let bench = bench();
    bench.import("identifiers\ncrm:2\n");
    merge(&bench, "crm:1", "crm:2");
    facts(&bench, "crm:2", &FactsDraft { age: Some(Age::Minor), legal_hold: Some(true), ..FactsDraft::default() });
    split(&bench, "crm:1", &SplitOff::Merged(id("crm:2").into()));
    bench.advance(100);
    for who in ["crm:1", "crm:2"] {
        bench.say(who, MAIL, State::Given);
        assert!(!bench.state(who, MAIL).opens(), "{who}");
        assert_eq!(bench.ledger.add_stop(StopDraft::new(id(who), StopKind::Erasure), &staff()), Err(ConsentError::Held), "{who}");
    }
}

#[test]
fn what_a_child_granted_stays_closed_when_the_grown_up_is_merged() {
    for order in [["crm:1", "crm:2"], ["crm:2", "crm:1"]] {
        let mut bench = bench();
        bench.import("identifiers\ncrm:2\n");
        facts(&bench, "crm:2", &FactsDraft { adult_from: Some(time("2026-03-01T12:10:00Z")), ..FactsDraft::default() });
        facts(&bench, "crm:1", &FactsDraft { adult_from: Some(time("2026-03-01T12:05:00Z")), ..FactsDraft::default() });
        bench.advance(400);
        bench.say("crm:2", MAIL, State::Given);
        bench.advance(1000);
        bench.ledger.tick(bench.now()).unwrap();
        assert!(!bench.state("crm:2", MAIL).opens());
        merge(&bench, order[0], order[1]);
        ledgers(&mut bench, |bench| assert!(!bench.state("crm:2", MAIL).opens(), "into {}", order[0]));
        bench.advance(100);
        bench.say("crm:2", MAIL, State::Given);
        assert!(bench.state("crm:2", MAIL).opens(), "of age by now");
    }
}

#[test]
fn of_two_birthdays_the_later_counts() {
    for order in [["crm:1", "crm:2"], ["crm:2", "crm:1"]] {
        let bench = bench();
        bench.import("identifiers\ncrm:2\n");
        facts(&bench, "crm:1", &FactsDraft { adult_from: Some(time("2026-03-01T12:05:00Z")), ..FactsDraft::default() });
        facts(&bench, "crm:2", &FactsDraft { adult_from: Some(time("2026-03-01T13:00:00Z")), ..FactsDraft::default() });
        merge(&bench, order[0], order[1]);
        bench.advance(600);
        bench.ledger.tick(bench.now()).unwrap();
        bench.say("crm:1", MAIL, State::Given);
        assert!(!bench.state("crm:1", MAIL).opens(), "into {}", order[0]);
        bench.advance(3600);
        bench.ledger.tick(bench.now()).unwrap();
        assert!(!bench.state("crm:1", MAIL).opens());
        bench.say("crm:1", MAIL, State::Given);
        assert!(bench.state("crm:1", MAIL).opens());
    }
}

#[test]
fn what_was_granted_before_a_merge_speaks_for_one_side_also_when_the_clock_was_set_back_between() {
    let bench = bench();
    bench.import("identifiers\ncrm:2\n");
    bench.say("crm:2", MAIL, State::Refused);
    bench.stop("crm:2", StopKind::ObjectionMarketing);
    bench.advance(3600);
    bench.say("crm:1", MAIL, State::Given);
    bench.clock.step_to(time("2026-03-01T12:10:00Z"));
    merge(&bench, "crm:1", "crm:2");
    let effective = bench.effective("crm:1", MAIL);
    assert!(!effective.state.opens() && effective.conflict && is_stopped(&bench, "crm:1"), "{effective:?}");
    bench.advance(2 * 3600);
    bench.say("crm:1", MAIL, State::Given);
    assert!(bench.state("crm:1", MAIL).opens() && !is_stopped(&bench, "crm:1"));
}

#[test]
fn an_erasure_takes_the_facts_of_those_who_were_merged_too() {
    let bench = bench();
    bench.import("identifiers\ncrm:2\ncrm:3\n");
    for who in ["crm:1", "crm:2", "crm:3"] {
        facts(&bench, who, &FactsDraft { age: Some(Age::Adult), ..FactsDraft::default() });
    }
    merge(&bench, "crm:2", "crm:3");
    merge(&bench, "crm:1", "crm:2");
    bench.stop("crm:3", StopKind::Erasure);
    let database = rusqlite::Connection::open(bench.dir.path().join("consent.db")).unwrap();
    let facts: i64 = database.query_row("SELECT count(*) FROM fact", [], |row| row.get(0)).unwrap();
    assert_eq!(facts, 0);
}
