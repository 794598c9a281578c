//! Who may do what about a grant, in which order, and what is left of it after a fault.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::clock::Clock as _;
use crate::consent::store::Document;
use crate::consent::tests::{Bench, Spoil, bench, staff};
use crate::model::PartyNo;

pub(super) fn at(minute: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
}

pub(super) fn person(name: &str) -> Person {
    Person { issuer: "corp".to_owned(), pseudonym: format!("emp_{name}") }
}

/// Asked for by `asks` for `uses`, from minute 0 to 60, about customer 7.
pub(super) fn grant() -> Grant {
    Grant {
        id: "bg_0".to_owned(),
        version: 1,
        revision: Revision(0),
        app: "helpdesk".to_owned(),
        employee: person("uses"),
        target: Target::Party(PartyNo(7)),
        purpose: "service-provision".to_owned(),
        emergency: Emergency { ticket: "INC-4471".to_owned(), justification: "the ambulance asks".to_owned() },
        until: at(60),
        requested: Signed { by: person("asks"), at: at(0) },
        approvals: Vec::new(),
        revoked: None,
        expired: false,
        review: None,
    }
}

fn draft(bench: &Bench) -> GrantDraft {
    let Grant { app, employee, target, purpose, emergency: Emergency { ticket, justification }, .. } = grant();
    let until = bench.clock.now() + SignedDuration::from_hours(1);
    GrantDraft { app, employee, target, purpose, ticket, justification, until, by: person("asks") }
}

fn asked(bench: &Bench) -> String {
    bench.ledger.request_grant(draft(bench), None).unwrap().id.clone()
}

fn approved(bench: &Bench) -> String {
    let id = asked(bench);
    for name in ["one", "two"] {
        bench.ledger.approve_grant(&id, person(name), None).unwrap();
    }
    log_has_all(bench);
    id
}

fn log_has_all(bench: &Bench) {
    bench.ledger.mark_logged(bench.ledger.revision()).unwrap();
}

/// The steps that the decision log is told of.
fn steps(bench: &Bench) -> Vec<String> {
    let changes = bench.ledger.changes(Revision(0), 10_000).unwrap();
    let told = changes.iter().filter_map(Stepped::read);
    told.map(|told| format!("{} {}", told.step, told.by.unwrap_or("-").trim_start_matches("emp_"))).collect()
}

const USE: Wanted<'_> = Wanted { app: "helpdesk", employee: "emp_uses", purpose: "service-provision", api: "crm", route: "GET /customers/{id}" };

fn opens(ledger: &Ledger) -> bool {
    !ledger.grants_for(&USE).is_empty()
}

#[test]
fn two_people_who_have_no_part_in_it_put_a_grant_in_force() {
    let bench = bench();
    let id = asked(&bench);
    assert!(!opens(&bench.ledger));
    for (name, may) in [("asks", false), ("uses", false), ("one", true), ("one", false), ("two", true), ("three", false)] {
        let result = bench.ledger.approve_grant(&id, person(name), None);
        assert_eq!(result.is_ok(), may, "{name}: {result:?}");
        log_has_all(&bench);
        assert_eq!(opens(&bench.ledger), name == "two" || name == "three", "{name}");
    }
    let elsewhere = Person { issuer: "partners".to_owned(), ..person("two") };
    let other = asked(&bench);
    assert!(bench.ledger.approve_grant(&other, elsewhere, None).is_err(), "nobody knows that they are another person");
    assert_eq!(bench.ledger.approve_grant("bg_1", person("one"), None), Err(ConsentError::NoSuchGrant));
}

#[test]
fn a_grant_is_for_what_it_says_and_nothing_else() {
    let bench = bench();
    approved(&bench);
    for other in [Wanted { app: "crm", ..USE }, Wanted { employee: "emp_asks", ..USE }, Wanted { purpose: "service-provision.support", ..USE }] {
        assert!(bench.ledger.grants_for(&other).is_empty(), "{other:?}");
    }
    let route = Target::Route { api: "crm".to_owned(), route: "GET /customers".to_owned() };
    let by_route = bench.ledger.request_grant(GrantDraft { target: route, ..draft(&bench) }, None).unwrap();
    for name in ["one", "two"] {
        bench.ledger.approve_grant(&by_route.id, person(name), None).unwrap();
    }
    log_has_all(&bench);
    assert_eq!(bench.ledger.grants_for(&Wanted { route: "GET /customers", ..USE }).len(), 2);
    assert_eq!(bench.ledger.grants_for(&Wanted { route: "GET /customers", api: "erp", ..USE }).len(), 1);
}

#[test]
fn what_must_not_be_asked_for_is_refused() {
    let bench = bench();
    let spoils: [Spoil<GrantDraft>; 6] = [
        ("a past end", |draft| draft.until = Timestamp::UNIX_EPOCH),
        ("no ticket", |draft| draft.ticket.clear()),
        ("a sentence as ticket", |draft| draft.ticket = "INC 4471".to_owned()),
        ("no justification", |draft| draft.justification = " ".to_owned()),
        ("a novel", |draft| draft.justification = "a".repeat(TEXT_CHARS_MAX + 1)),
        ("another issuer's employee", |draft| draft.employee.issuer = "partners".to_owned()),
    ];
    for (what, spoil) in spoils {
        let mut wrong = draft(&bench);
        spoil(&mut wrong);
        assert!(bench.ledger.request_grant(wrong, None).is_err(), "{what}");
    }
    assert!(bench.ledger.grants().unwrap().is_empty());
}

#[test]
fn the_end_is_the_end_whatever_the_clock_says_later() {
    let bench = bench();
    let start = bench.clock.now();
    let id = approved(&bench);
    let held = bench.ledger.grant(&id).unwrap();
    assert!(bench.ledger.grant_holds(&held));
    bench.clock.advance(Duration::from_secs(3_600));
    assert!(!opens(&bench.ledger) && !bench.ledger.grant_holds(&held));
    bench.clock.step_to(start);
    assert!(!opens(&bench.ledger), "set back within one run");
    bench.ledger.end_grants().unwrap();
    let again = bench.reopened();
    assert!(!opens(&again), "and over a restart");
    assert_eq!(again.grant(&id).unwrap().state(start), GrantState::ReviewDue);
}

#[test]
fn what_cannot_be_read_opens_nothing_and_stays_where_it_is() {
    let bench = bench();
    let id = approved(&bench);
    let body = bench.ledger.documents(Grants::KIND).unwrap().pop().unwrap().1.replace("\"format\":1", "\"format\":2");
    bench.ledger.put_documents(vec![Document { kind: Grants::KIND, key: id.clone(), body: Some(body.clone()) }], None, None).unwrap();
    let again = bench.reopened();
    assert!(!opens(&again));
    assert_eq!(again.grant(&id), Err(ConsentError::NoSuchGrant));
    assert_eq!(again.documents(Grants::KIND).unwrap(), [(id, body)]);
}

#[test]
fn a_restart_keeps_a_grant_in_force() {
    let bench = bench();
    let id = approved(&bench);
    let again = bench.reopened();
    assert!(opens(&again));
    assert_eq!(again.grant(&id).unwrap(), bench.ledger.grant(&id).unwrap());
}

#[test]
fn a_revocation_binds_while_the_store_is_down_and_is_stored_when_it_is_back() {
    let bench = bench();
    let id = approved(&bench);
    let held = bench.ledger.grant(&id).unwrap();
    bench.switch.down();
    assert_eq!(bench.ledger.revoke_grant(&id, "e_1", "over", None), Err(ConsentError::RevokedNotStored));
    assert!(!bench.ledger.grant_holds(&held) && !opens(&bench.ledger));
    // Whoever repeats it is told the same until it is stored.
    assert_eq!(bench.ledger.revoke_grant(&id, "e_1", "over", None), Err(ConsentError::RevokedNotStored));
    assert!(bench.ledger.tick(bench.clock.now()).is_err());
    bench.switch.up();
    bench.ledger.tick(bench.clock.now()).unwrap();
    assert!(!opens(&bench.reopened()));
    assert_eq!(bench.ledger.revoke_grant(&id, "e_1", "over", None).unwrap().version, held.version + 1);
    assert_eq!(steps(&bench), ["requested asks", "approved one", "approved two", "revoked e_1"]);
}

#[test]
fn a_revocation_stands_though_an_approval_was_stored_of_which_nobody_knew() {
    let bench = bench();
    let id = asked(&bench);
    bench.ledger.approve_grant(&id, person("one"), None).unwrap();
    bench.switch.in_doubt();
    assert!(bench.ledger.approve_grant(&id, person("two"), None).is_err());
    assert_eq!(bench.ledger.revoke_grant(&id, "e_1", "over", None), Err(ConsentError::RevokedNotStored));
    bench.switch.up();
    // What the store holds is looked at before the revocation is in it.
    let is_revoked = |ledger: &Ledger| ledger.grant(&id).unwrap().revoked.is_some() && ledger.grants().unwrap()[0].revoked.is_some();
    assert!(is_revoked(&bench.ledger));
    bench.ledger.tick(bench.clock.now()).unwrap();
    log_has_all(&bench);
    bench.ledger.end_grants().unwrap();
    for ledger in [&bench.ledger, &bench.reopened()] {
        assert!(is_revoked(ledger) && !opens(ledger));
        assert_eq!(ledger.grants.reading().len(), 0);
    }
    assert_eq!(steps(&bench), ["requested asks", "approved one", "approved two", "revoked e_1"]);
}

#[test]
fn of_a_revocation_of_which_it_is_not_known_whether_it_is_stored_the_log_is_told_once() {
    let bench = bench();
    let id = approved(&bench);
    let key = IdempotencyKey::new(&staff(), "k-1", [1; 32]);
    bench.switch.in_doubt();
    assert_eq!(bench.ledger.revoke_grant(&id, "e_1", "over", Some(&key)), Err(ConsentError::RevokedNotStored));
    assert_eq!(bench.ledger.done(&key), Err(ConsentError::RevokedNotStored));
    bench.switch.up();
    bench.ledger.tick(bench.clock.now()).unwrap();
    assert_eq!(bench.ledger.done(&key).unwrap().and_then(|done| done.detail), Some(id));
    assert_eq!(steps(&bench), ["requested asks", "approved one", "approved two", "revoked e_1"]);
}

#[test]
fn a_revocation_under_a_used_key_changes_nothing_in_store_and_memory() {
    let bench = bench();
    let (one, other) = (approved(&bench), asked(&bench));
    let key = |body: u8| IdempotencyKey::new(&staff(), "k-1", [body; 32]);
    bench.ledger.revoke_grant(&other, "e_1", "not needed", Some(&key(1))).unwrap();
    let before = (bench.ledger.grant(&one).unwrap(), steps(&bench));
    assert_eq!(bench.ledger.revoke_grant(&one, "e_1", "over", Some(&key(2))), Err(ConsentError::IdempotencyMismatch));
    assert_eq!(bench.ledger.revoke_grant(&one, "e_1", "over", Some(&key(1))), Err(ConsentError::DoneBefore));
    assert_eq!((bench.ledger.grant(&one).unwrap(), steps(&bench)), before);
    assert!(opens(&bench.ledger) && opens(&bench.reopened()), "whoever asked was told that nothing was done");
}

#[test]
fn nothing_opens_that_the_log_does_not_have() {
    let bench = bench();
    let id = asked(&bench);
    log_has_all(&bench);
    bench.ledger.approve_grant(&id, person("one"), None).unwrap();
    let one = bench.ledger.revision();
    bench.ledger.approve_grant(&id, person("two"), None).unwrap();
    assert!(!opens(&bench.ledger) && !opens(&bench.reopened()));
    bench.ledger.mark_logged(one).unwrap();
    assert!(!opens(&bench.ledger) && !opens(&bench.reopened()), "the log has one approval of two");
    log_has_all(&bench);
    assert!(opens(&bench.ledger) && opens(&bench.reopened()));
}

#[test]
fn the_log_is_told_of_each_step() {
    let bench = bench();
    let id = approved(&bench);
    bench.clock.advance(Duration::from_secs(3_600));
    bench.ledger.end_grants().unwrap();
    bench.ledger.end_grants().unwrap();
    bench.ledger.review_grant(&id, person("auditor"), Finding::Justified, "seen", None).unwrap();
    assert_eq!(steps(&bench), ["requested asks", "approved one", "approved two", "expired -", "reviewed auditor"]);
    let changes = bench.ledger.changes(Revision(0), 10_000).unwrap();
    let of_grant: Vec<_> = changes.iter().filter(|change| Stepped::read(change).is_some_and(|told| told.grant == id)).collect();
    assert!(of_grant.len() == 5 && of_grant.iter().all(|change| change.party == Some(PartyNo(7))), "{of_grant:?}");
}

#[test]
fn what_is_done_with_is_in_no_memory_and_can_be_read() {
    let bench = bench();
    let (used, unused, late) = (approved(&bench), asked(&bench), asked(&bench));
    bench.ledger.revoke_grant(&unused, "e_1", "not needed", None).unwrap();
    bench.clock.advance(Duration::from_secs(3_600));
    bench.ledger.end_grants().unwrap();
    bench.ledger.review_grant(&used, person("auditor"), Finding::Justified, "seen", None).unwrap();
    for ledger in [&bench.ledger, &bench.reopened()] {
        assert_eq!(ledger.grants.reading().len(), 0);
        assert_eq!(ledger.grants().unwrap().len(), 3);
        for (id, state) in [(&used, GrantState::Reviewed), (&unused, GrantState::Lapsed), (&late, GrantState::Lapsed)] {
            assert_eq!(ledger.grant(id).unwrap().state(bench.clock.now()), state);
            assert!(matches!(ledger.approve_grant(id, person("three"), None), Err(ConsentError::NotPermitted(_))));
        }
    }
}

#[test]
fn only_so_many_are_open_at_once() {
    let mut bench = bench();
    let stored = |n: usize| wire::stored(&Grant { id: format!("bg_{n}"), until: bench.clock.now() + SignedDuration::from_hours(1), ..grant() });
    bench.ledger.put_documents((1..OPEN_MAX).map(stored).collect(), None, None).unwrap();
    bench.ledger = bench.reopened();
    let last = asked(&bench);
    let refused = bench.ledger.request_grant(draft(&bench), None);
    assert!(matches!(refused, Err(ConsentError::NotPermitted(why)) if why.starts_with("too many")), "{refused:?}");
    bench.ledger.revoke_grant(&last, "e_1", "not needed", None).unwrap();
    asked(&bench);
    bench.clock.advance(Duration::from_secs(3_600));
    asked(&bench);
}

#[test]
fn nothing_opens_that_is_not_stored() {
    let bench = bench();
    let id = asked(&bench);
    bench.ledger.approve_grant(&id, person("one"), None).unwrap();
    bench.switch.down();
    assert!(matches!(bench.ledger.approve_grant(&id, person("two"), None), Err(ConsentError::Unavailable(_))));
    assert!(!opens(&bench.ledger));
    bench.switch.commits_in_doubt();
    assert!(bench.ledger.approve_grant(&id, person("two"), None).is_err());
    assert!(!opens(&bench.ledger));
    bench.switch.up();
    // The store has it even so; nobody is told otherwise.
    assert_eq!(bench.ledger.grant(&id).unwrap().approvals.len(), 2);
    bench.ledger.tick(bench.clock.now()).unwrap();
    log_has_all(&bench);
    assert!(opens(&bench.ledger) && opens(&bench.reopened()));
}

#[test]
fn somebody_without_a_part_in_it_reviews_what_has_ended() {
    let bench = bench();
    let id = approved(&bench);
    let review = |name: &str| bench.ledger.review_grant(&id, person(name), Finding::Justified, "seen in the log", None);
    assert!(review("auditor").is_err(), "still in force");
    bench.ledger.revoke_grant(&id, "e_1", "over", None).unwrap();
    let counts = |hours: u64| {
        bench.clock.advance(Duration::from_secs(hours * 3_600));
        bench.ledger.grant_counts()
    };
    assert_eq!(counts(23), GrantCounts::default());
    assert_eq!(counts(1), GrantCounts { active: 0, overdue: 1 });
    for name in ["asks", "uses", "one", "two"] {
        assert!(review(name).is_err(), "{name}");
    }
    assert_eq!(review("auditor").unwrap().state(bench.clock.now()), GrantState::Reviewed);
    assert!(review("auditor").is_err(), "once");
    assert_eq!(bench.ledger.grant_counts(), GrantCounts::default());
    let unused = asked(&bench);
    bench.ledger.revoke_grant(&unused, "e_1", "not needed", None).unwrap();
    let result = bench.ledger.review_grant(&unused, person("auditor"), Finding::Justified, "seen", None);
    assert!(result.is_err(), "never in force");
}
