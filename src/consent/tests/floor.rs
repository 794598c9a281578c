//! Every stop against every basis and purpose.

use crate::model::{Author, Channel, LawfulBasis};

use super::*;

/// Bases in the order of the table's columns.
const BASES: [LawfulBasis; 7] = [
    LawfulBasis::Consent,
    LawfulBasis::Contract,
    LawfulBasis::LegalObligation,
    LawfulBasis::VitalInterest,
    LawfulBasis::PublicTask,
    LawfulBasis::LegitimateInterest,
    LawfulBasis::None,
];

/// `o` open, `x` closed, a column for each of [`BASES`].
fn check(kind: StopKind, purposes: &[&str], table: &[(&str, &str)]) {
    let bench = bench();
    let mut draft = StopDraft::new(id("crm:1"), kind);
    draft.purposes = purposes.iter().map(|p| purpose(p)).collect();
    bench.ledger.add_stop(draft, &centre()).unwrap();
    for (about, expected) in table {
        let found: String = BASES.iter().map(|basis| if bench.floor("crm:1", about, *basis).is_ok() { 'o' } else { 'x' }).collect();
        assert_eq!(found, *expected, "{kind} for {about}");
    }
    let closed = bench.vocabulary.purposes.keys().find_map(|p| BASES.iter().find_map(|basis| bench.floor("crm:1", p.as_str(), *basis).err()));
    assert_eq!(closed, Some(kind.stop_name()));
}

#[test]
fn erasure_leaves_only_legal_obligation() {
    check(StopKind::Erasure, &[], &[("marketing", "xxoxxxx"), ("service-provision", "xxoxxxx"), ("legal-compliance", "xxoxxxx")]);
}

#[test]
fn restriction_leaves_legal_obligation_and_vital_interest() {
    check(StopKind::Restriction, &[], &[("marketing.email", "xxooxxx"), ("service-provision", "xxooxxx"), ("legal-compliance", "xxooxxx")]);
}

#[test]
fn deceased_and_legal_leave_legal_obligation() {
    check(StopKind::Deceased, &[], &[("sales", "xxoxxxx"), ("legal-compliance", "xxoxxxx")]);
    check(StopKind::Legal, &[], &[("sales", "xxoxxxx"), ("legal-compliance", "xxoxxxx")]);
}

#[test]
fn objection_to_marketing_closes_it_on_every_basis_with_its_profiling_and_nothing_else() {
    let table = [
        ("marketing", "xxxxxxx"),
        ("marketing.email", "xxxxxxx"),
        ("marketing.personalised", "xxxxxxx"),
        ("profiling", "xxxxxxx"),
        ("sales.outreach", "ooooooo"),
        ("service-provision", "ooooooo"),
        ("legal-compliance", "ooooooo"),
    ];
    check(StopKind::ObjectionMarketing, &[], &table);
}

#[test]
fn other_objection_closes_legitimate_interest_and_public_task_in_its_scope() {
    check(StopKind::Objection, &[], &[("sales", "ooooxxo"), ("marketing.email", "ooooxxo")]);
    check(StopKind::Objection, &["sales"], &[("sales", "ooooxxo"), ("sales.outreach", "ooooxxo"), ("marketing", "ooooooo")]);
}

#[test]
fn opt_out_and_suppression_close_their_purposes_on_every_basis() {
    for kind in [StopKind::OptOutSale, StopKind::OptOutSensitive, StopKind::OptOutGpc, StopKind::Suppression] {
        check(kind, &["third-party-sharing"], &[("third-party-sharing", "xxxxxxx"), ("sales", "ooooooo")]);
        check(kind, &[], &[("third-party-sharing", "xxxxxxx"), ("legal-compliance", "xxxxxxx")]);
    }
}

#[test]
fn suppression_of_a_channel_or_category_leaves_the_others_open() {
    let bench = bench();
    let mut draft = StopDraft::new(id("crm:1"), StopKind::Suppression);
    draft.scope.channels = vec![Channel::Email];
    bench.ledger.add_stop(draft, &centre()).unwrap();
    assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Err("suppression"));
    assert_eq!(bench.floor("crm:1", "marketing.phone", LawfulBasis::Consent), Ok(()));
    let mut draft = StopDraft::new(id("crm:1"), StopKind::Suppression);
    draft.scope.categories = vec![category("behaviour")];
    bench.ledger.add_stop(draft, &centre()).unwrap();
    assert_eq!(bench.floor("crm:1", "marketing.phone", LawfulBasis::Consent), Ok(()));
}

#[test]
fn nothing_said_closes_nothing_at_the_floor() {
    let bench = bench();
    for about in bench.vocabulary.purposes.keys() {
        assert_eq!(bench.floor("crm:1", about.as_str(), LawfulBasis::LegitimateInterest), Ok(()));
    }
}

#[test]
fn a_later_grant_by_the_customer_lifts_an_objection_for_the_purpose_it_names_only() {
    let bench = bench();
    let stop = bench.stop("crm:1", StopKind::ObjectionMarketing);
    bench.advance(1);
    let grant = bench.say("crm:1", "marketing.email", State::Given);
    assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Ok(()));
    assert_eq!(bench.floor("crm:1", "marketing.phone", LawfulBasis::Consent), Err("objection"));
    assert_eq!(bench.floor("crm:1", "marketing", LawfulBasis::Consent), Err("objection"));
    let history = bench.ledger.history(&id("crm:1").into()).unwrap();
    let row = history.iter().find(|row| row.event.id == stop.event).unwrap();
    assert_eq!(row.lifted_by, [grant.event]);
}

#[test]
fn an_objection_comes_back_when_the_grant_that_lifted_it_is_withdrawn() {
    let bench = bench();
    bench.stop("crm:1", StopKind::ObjectionMarketing);
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Withdrawn);
    assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::LegitimateInterest), Err("objection"));
}

#[test]
fn what_does_not_lift_an_objection() {
    let spoil: [Spoil<EventDraft>; 6] = [
        ("no evidence", |d| d.evidence.clear()),
        ("no event time", |d| d.event_time = None),
        ("implied", |d| d.method = Method::Implied),
        ("staff's word", |d| d.claims = Author::Staff),
        ("before the objection", |d| d.event_time = d.event_time.map(|t| t - seconds(3600))),
        ("the parent only, although its notice names it", |d| {
            d.purposes = vec![purpose("marketing")];
            d.notice = Some(Notice { purposes: vec![purpose("marketing")], ..Notice::default() });
        }),
    ];
    for (why, spoil) in spoil {
        let bench = bench();
        bench.stop("crm:1", StopKind::ObjectionMarketing);
        bench.advance(1);
        let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
        spoil(&mut draft);
        bench.record(draft).unwrap();
        assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Err("objection"), "{why}");
    }
}

#[test]
fn no_grant_lifts_erasure_restriction_deceased_or_legal() {
    for kind in [StopKind::Restriction, StopKind::Deceased, StopKind::Legal] {
        let bench = bench();
        bench.stop("crm:1", kind);
        bench.advance(100);
        bench.say("crm:1", "marketing.email", State::Given);
        assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Err(kind.stop_name()));
    }
    let bench = bench();
    bench.stop("crm:1", StopKind::Erasure);
    bench.advance(100);
    let grant = bench.draft("crm:1", "marketing.email", State::Given);
    assert_eq!(bench.ledger.record(grant.clone(), &staff()), Err(ConsentError::Erased));
    // An app is not told, and opens nothing by it: neither the floor nor what policies see.
    bench.record(grant).unwrap();
    assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Err("erasure"));
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Unknown);
}

#[test]
fn what_comes_in_after_an_erasure_opens_nothing_by_whatever_way() {
    let bench = bench();
    assert_eq!(bench.import("identifiers\ncrm:2\n").errors, []);
    // Before: a guardian's grant that no delegation supports, and a request to confirm.
    let mut unsupported = bench.draft("crm:1", "marketing", State::Given);
    unsupported.claims = Author::Guardian;
    bench.record(unsupported).unwrap();
    let pending = bench.say("crm:1", "marketing.email", State::PendingConfirmation).event;
    let before = bench.now();
    bench.advance(100);
    bench.stop("crm:1", StopKind::Erasure);
    bench.advance(100);
    let delegation = NoteDraft {
        subject: id("crm:1").into(),
        note: Note::Delegation(Delegation { holder: Holder::Guardian, purposes: vec![purpose("marketing")], until: None }),
        event_time: Some(before),
        claims: Author::Customer,
        evidence: evidence(),
        source_system: None,
        idempotency_key: None,
    };
    bench.ledger.note(delegation, &centre()).unwrap();
    let mut confirmed = bench.draft("crm:1", "marketing.email", State::Given);
    (confirmed.about, confirmed.event_time) = (Some(pending), Some(before));
    bench.record(confirmed).unwrap();
    bench.say("email:ann@example.org", "marketing", State::Renewed);
    for about in ["marketing", "marketing.email"] {
        assert!(!bench.state("crm:1", about).opens(), "{about}");
    }
    let ledger = bench.reopened();
    let standing = ledger.standing(&id("crm:1")).unwrap().unwrap();
    assert_eq!(standing.profile, bench.ledger.standing(&id("crm:1")).unwrap().unwrap().profile);
}

#[test]
fn a_restriction_ends_by_an_explicit_lift_of_the_desk_and_by_nobody_else() {
    let bench = bench();
    let stop = bench.stop("crm:1", StopKind::Restriction);
    let draft = LiftDraft { stop: stop.event, reason: "accuracy verified".to_owned(), evidence: evidence(), idempotency_key: None };
    assert!(matches!(bench.ledger.lift_stop(draft.clone(), &centre()), Err(ConsentError::NotPermitted(_))));
    let silent = LiftDraft { reason: " ".to_owned(), ..draft.clone() };
    assert!(matches!(bench.ledger.lift_stop(silent, &staff()), Err(ConsentError::Invalid(_))));
    assert_eq!(bench.floor("crm:1", "sales", LawfulBasis::Contract), Err("restriction"));
    bench.ledger.lift_stop(draft, &staff()).unwrap();
    assert_eq!(bench.floor("crm:1", "sales", LawfulBasis::Contract), Ok(()));
}

#[test]
fn objections_opt_outs_and_erasures_are_not_lifted_by_hand() {
    for kind in [StopKind::Erasure, StopKind::Objection, StopKind::ObjectionMarketing, StopKind::OptOutGpc, StopKind::Suppression] {
        let bench = bench();
        let stop = bench.stop("crm:1", kind);
        let draft = LiftDraft { stop: stop.event, reason: "asked to".to_owned(), evidence: evidence(), idempotency_key: None };
        assert!(matches!(bench.ledger.lift_stop(draft, &staff()), Err(ConsentError::NotPermitted(_))), "{kind}");
    }
}

/// What `policy prove` says of the floor is what stands in the table above.
#[test]
fn a_gap_is_found_wherever_a_stop_leaves_one() {
    let bench = bench();
    let gap = |kind, leaves: &[LawfulBasis]| floor_gap(kind, &bench.vocabulary, &rules(), leaves);
    let uses = bench.vocabulary.purposes.len() * bench.vocabulary.categories.len() * Channel::ALL.len();
    let (law, vital) = (LawfulBasis::LegalObligation, LawfulBasis::VitalInterest);
    assert_eq!(gap(StopKind::Restriction, &[law, vital]), (uses * 5, None));
    assert_eq!(gap(StopKind::Restriction, &[law]).1.map(|gap| (gap.basis, gap.by_grant)), Some((vital, false)));
    assert_eq!(gap(StopKind::Erasure, &[law]), (uses * 6, None));
    assert_eq!(gap(StopKind::Erasure, &[]).1.map(|gap| gap.basis), Some(law));
    // A grant that comes later lifts an opt-out, and an objection does not reach everything.
    assert_eq!(gap(StopKind::OptOutGpc, &[]).1.map(|gap| gap.by_grant), Some(true));
    assert!(StopKind::ALL.iter().filter(|kind| gap(**kind, &[law, vital]).1.is_none()).count() == 4);
}
