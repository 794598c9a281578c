//! Who may do what about a grant, in which order, and what is left of it after a fault.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::clock::Clock as _;
use crate::consent::tests::{Bench, Spoil, bench};
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
    id
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
    assert!(bench.ledger.grants().0.is_empty());
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
    assert!(bench.ledger.end_grants().is_err());
    bench.switch.up();
    bench.ledger.end_grants().unwrap();
    assert!(!opens(&bench.reopened()));
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
