//! What went wrong in real systems, one test each, and the conflict rules.

use crate::model::{Age, Author, Channel, ConflictRule, ConsentStatus, LawfulBasis};

use super::*;

#[test]
fn unsubscribe_stops() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
    bench.advance(1);
    let done = bench.say("crm:1", "marketing.email", State::Withdrawn);
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Withdrawn);
    let revision = bench.ledger.party_revision(done.party.unwrap());
    assert_eq!(revision, Some(done.revision), "the check before release must see the withdrawal");
}

#[test]
fn lead_conversion_keeps_the_refusal_and_drops_the_grant() {
    let bench = bench();
    bench.say("email:lead@example.org", "marketing.email", State::Refused);
    bench.say("email:lead@example.org", "sales.outreach", State::Given);
    bench.advance(1);
    bench.ledger.link_created(&id("crm:7"), &[id("email:lead@example.org")]).unwrap();
    assert_eq!(bench.status("crm:7", "marketing.email"), ConsentStatus::Refused);
    assert_eq!(bench.status("crm:7", "sales.outreach"), ConsentStatus::Unknown);
}

#[test]
fn a_stop_of_a_known_customer_follows_a_second_record_of_the_same_person() {
    let bench = bench();
    bench.stop("crm:1", StopKind::ObjectionMarketing);
    let found = bench.ledger.match_stops(&[id("email:ann@example.org")]).unwrap();
    assert_eq!((found.erased, found.stops), (false, vec!["objection"]));
    bench.ledger.link_created(&id("crm:8"), &[id("email:ann@example.org")]).unwrap();
    assert_eq!(bench.floor("crm:8", "marketing.email", LawfulBasis::LegitimateInterest), Err("objection"));
    // Also what is said later under the matched id, and never its grants.
    bench.advance(1);
    bench.say("email:ann@example.org", "sales.outreach", State::Given);
    assert_eq!(bench.status("crm:1", "sales.outreach"), ConsentStatus::Given);
    assert_eq!(bench.status("crm:8", "sales.outreach"), ConsentStatus::Unknown);
    bench.stop("email:ann@example.org", StopKind::Restriction);
    assert_eq!(bench.floor("crm:8", "sales", LawfulBasis::Contract), Err("restriction"));
}

#[test]
fn re_import_does_not_resurrect_an_erased_person() {
    let bench = bench();
    bench.stop("crm:1", StopKind::Erasure);
    for again in ["identifiers\ncrm:1\n", "identifiers\nemail:Ann@example.org\n", "identifiers\ncrm:9 email:ann@example.org\n"] {
        let report = bench.import(again);
        assert_eq!((report.created, report.linked, report.errors.len()), (0, 0, 1), "{again}");
    }
    assert_eq!(bench.ledger.link_created(&id("crm:1"), &[]), Err(ConsentError::Erased));
    assert_eq!(bench.ledger.link_created(&id("crm:9"), &[id("email:ann@example.org")]), Err(ConsentError::Erased));
    assert!(bench.ledger.match_stops(&[id("email:ann@example.org")]).unwrap().erased);
    assert!(bench.ledger.standing(&id("crm:9")).unwrap().is_none());
}

#[test]
fn an_erasure_for_an_unknown_id_binds_when_it_comes() {
    let bench = bench();
    bench.stop("crm:55", StopKind::Erasure);
    assert_eq!(bench.import("identifiers\ncrm:55\n").errors.len(), 1);
    let desk = bench.ledger.link(&id("crm:1").into(), &id("crm:55"), Assurance::Verified, &staff());
    assert_eq!(desk, Err(ConsentError::Erased));
}

#[test]
fn a_missing_record_is_unknown_and_an_unknown_id_is_nobody() {
    let bench = bench();
    let effective = bench.effective("crm:1", "marketing.email");
    assert_eq!(effective, Effective::unknown(ConflictRule::CustomerLastWord));
    assert!(bench.ledger.standing(&id("crm:404")).unwrap().is_none());
}

#[test]
fn there_is_no_default_purpose() {
    let bench = bench();
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.purposes.clear();
    assert!(matches!(bench.record(draft), Err(ConsentError::Invalid(_))));
    let unknown = bench.draft("crm:1", "marketting", State::Given);
    assert!(matches!(bench.record(unknown), Err(ConsentError::Invalid(_))));
}

#[test]
fn a_customer_who_consents_again_is_heard() {
    let bench = bench();
    for state in [State::Given, State::Withdrawn, State::Given] {
        bench.say("crm:1", "marketing.email", state);
        bench.advance(1);
    }
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
    let overridden = bench.effective("crm:1", "marketing.email").overridden;
    assert_eq!(overridden.len(), 1, "the withdrawal that lost is named");
}

#[test]
fn of_two_at_the_same_time_the_refusal_wins_whatever_the_order() {
    for order in [[State::Given, State::Refused], [State::Refused, State::Given]] {
        let bench = bench();
        for state in order {
            bench.say("crm:1", "marketing.email", state);
        }
        assert_ne!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given, "{order:?}");
    }
}

#[test]
fn a_late_report_of_an_early_event_does_not_overrule() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Withdrawn);
    let mut late = bench.draft("crm:1", "marketing.email", State::Given);
    late.event_time = Some(bench.now() - seconds(86_400));
    bench.advance(500);
    bench.record(late).unwrap();
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Withdrawn);
}

#[test]
fn given_does_not_survive_a_new_notice() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Superseded);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Expired);
}

#[test]
fn a_grant_needs_time_author_evidence_and_more_than_implication_to_raise() {
    let spoil: [Spoil<EventDraft>; 7] = [
        ("no time", |d| d.event_time = None),
        ("no evidence", |d| d.evidence.clear()),
        ("half the evidence", |d| drop(d.evidence.remove("notice"))),
        ("empty evidence", |d| drop(d.evidence.insert("notice".to_owned(), " ".to_owned()))),
        ("a channel that is not registered", |d| d.channel = Channel::Phone),
        ("an author that is not registered", |d| d.claims = Author::Staff),
        ("implied", |d| d.method = Method::Implied),
    ];
    for (why, spoil) in spoil {
        let bench = bench();
        let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
        spoil(&mut draft);
        let done = bench.record(draft).unwrap();
        let effective = bench.effective("crm:1", "marketing.email");
        assert_eq!((effective.status, effective.overridden), (ConsentStatus::Unknown, vec![done.event]), "{why}");
    }
}

#[test]
fn the_author_is_derived_and_not_believed() {
    let bench = bench();
    let draft = |about: &str| bench.draft("crm:1", about, State::Given);
    let author = |draft: EventDraft, caller: &Capturer| bench.ledger.record(draft, caller).unwrap().author;
    assert_eq!(author(draft("sales.outreach"), &centre()), Author::Customer);
    assert_eq!(author(draft("service-provision"), &centre()), Author::System, "not a purpose of its registration");
    assert_eq!(author(draft("sales.outreach"), &Capturer::Client(Client::intern("crm"))), Author::System, "not registered");
    assert_eq!(author(draft("sales.outreach"), &staff()), Author::Customer, "the desk, with evidence");
    let mut unproven = draft("sales.outreach");
    unproven.evidence.clear();
    assert_eq!(author(unproven, &staff()), Author::System);
}

#[test]
fn a_persons_no_needs_neither_registration_nor_evidence() {
    let bench = bench();
    let crm = Capturer::Client(Client::intern("crm"));
    for (state, claims, author) in [
        (State::Withdrawn, Author::Customer, Author::Customer),
        (State::Refused, Author::Guardian, Author::Guardian),
        (State::Revoked, Author::Customer, Author::Customer),
        (State::Withdrawn, Author::System, Author::System),
        // These may end a refusal too, and the others may come before a grant.
        (State::Invalidated, Author::Customer, Author::System),
        (State::Expired, Author::Customer, Author::System),
        (State::Given, Author::Customer, Author::System),
        (State::Renewed, Author::Guardian, Author::System),
        (State::PendingConfirmation, Author::Customer, Author::System),
    ] {
        for caller in [&crm, &staff()] {
            let mut draft = bench.draft("crm:1", "sales", state);
            (draft.claims, draft.evidence) = (claims, BTreeMap::new());
            assert_eq!(bench.ledger.record(draft, caller).unwrap().author, author, "{state:?} {claims:?}");
        }
    }
    assert_eq!(bench.ledger.add_stop(StopDraft::new(id("crm:1"), StopKind::Suppression), &staff()).unwrap().author, Author::Customer);
}

#[test]
fn an_app_claims_a_delegation_of_everything_only_if_it_is_registered_for_everything() {
    let bench = bench();
    let author = |purposes: Vec<Purpose>, registered: Vec<Purpose>| {
        let capture = Capture {
            client: Client::intern("crm"),
            channels: vec![Channel::System],
            purposes: registered,
            authors: vec![Author::Customer],
            evidence: vec![],
        };
        bench.ledger.adopt(vocabulary(), rules(), vec![capture]).unwrap();
        let note = NoteDraft {
            subject: id("crm:1").into(),
            note: Note::Delegation(Delegation { holder: Holder::Guardian, purposes, until: None }),
            event_time: Some(bench.now()),
            claims: Author::Customer,
            evidence: evidence(),
            source_system: None,
            idempotency_key: None,
        };
        bench.ledger.note(note, &Capturer::Client(Client::intern("crm"))).unwrap().author
    };
    let all: Vec<Purpose> = vocabulary().purposes.keys().copied().collect();
    assert_eq!(author(vec![], vec![purpose("sales")]), Author::System);
    assert_eq!(author(vec![purpose("sales.outreach")], vec![purpose("sales")]), Author::Customer);
    assert_eq!(author(vec![], all), Author::Customer);
}

#[test]
fn a_bulk_import_without_time_can_lower_but_not_raise() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(120);
    let mut bulk = EventDraft::new(id("crm:1"), purpose("marketing.email"), State::Refused);
    bulk.claims = Author::System;
    bench.ledger.record(bulk, &Capturer::Client(Client::intern("crm"))).unwrap();
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Withdrawn);
    bench.advance(120);
    bench.say("crm:1", "marketing.email", State::Given);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
}

#[test]
fn another_sources_stop_is_overruled_only_beyond_the_skew() {
    for (after, expected) in [(1, ConsentStatus::Withdrawn), (60, ConsentStatus::Withdrawn), (61, ConsentStatus::Given)] {
        let bench = bench();
        bench.ledger.record(bench.draft("crm:1", "marketing.email", State::Withdrawn), &staff()).unwrap();
        bench.advance(after);
        bench.say("crm:1", "marketing.email", State::Given);
        assert_eq!(bench.status("crm:1", "marketing.email"), expected, "after {after} s");
    }
}

#[test]
fn a_source_that_calls_itself_like_another_is_not_that_source() {
    let bench = bench();
    bench.ledger.record(bench.draft("crm:1", "marketing.email", State::Withdrawn), &staff()).unwrap();
    bench.advance(1);
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.source_system = Some("staff:e-17".to_owned());
    bench.record(draft).unwrap();
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Withdrawn);
}

#[test]
fn broad_no_beats_narrow_yes_until_the_customer_names_the_narrower_purpose() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    bench.say("crm:1", "marketing", State::Refused);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Withdrawn);
    assert_eq!(bench.status("crm:1", "marketing.phone"), ConsentStatus::Refused);
    assert_eq!(bench.status("crm:1", "sales.outreach"), ConsentStatus::Unknown);
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Given);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
    assert_eq!(bench.status("crm:1", "marketing.phone"), ConsentStatus::Refused);
}

#[test]
fn consent_to_a_parent_covers_children_only_if_the_notice_named_it() {
    let bench = bench();
    let mut draft = bench.draft("crm:1", "marketing", State::Given);
    bench.record(draft.clone()).unwrap();
    assert_eq!(bench.status("crm:1", "marketing"), ConsentStatus::Given);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Unknown);
    draft.notice = Some(Notice { id: "n-4".to_owned(), purposes: vec![purpose("marketing")], ..Notice::default() });
    bench.record(draft).unwrap();
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
    assert_eq!(bench.status("crm:1", "profiling"), ConsentStatus::Unknown, "a parent of a child is not covered");
}

#[test]
fn a_grant_covers_what_it_or_its_notice_names_and_no_other_category_or_recipient() {
    let bench = bench();
    let mut draft = bench.draft("crm:1", "sales.outreach", State::Given);
    draft.scope = Scope::default();
    assert!(matches!(bench.record(draft.clone()), Err(ConsentError::Invalid(_))), "covers nothing");
    draft.notice = Some(Notice { categories: vec![category("contact")], recipients: vec![department("sales")], ..Notice::default() });
    draft.method = Method::Explicit;
    bench.record(draft).unwrap();
    let standing = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
    let ask = |c: &str, r: &str| standing.status(&bench.vocabulary, &rules(), purpose("sales.outreach"), category(c), department(r), Channel::System);
    assert_eq!((ask("contact", "sales").status, ask("contact", "sales").explicit), (ConsentStatus::Given, true));
    assert_eq!(ask("behaviour", "sales").status, ConsentStatus::Unknown);
    assert_eq!(ask("contact", "marketing").status, ConsentStatus::Unknown);
}

#[test]
fn what_is_said_of_a_category_reaches_its_parts_as_with_purposes() {
    // The contact data is a part of the profile, which is a part of all data.
    let list = |names: &[&str]| names.iter().map(|name| category(name)).collect::<Vec<_>>();
    // (categories of the grant, of its notice, covers the contact data, covers the whole profile)
    let grants: [(&[&str], &[&str], bool, bool); 9] = [
        (&["contact"], &[], true, false),
        (&["profile"], &[], false, true),
        (&["profile"], &["contact"], false, true),
        (&["profile"], &["profile"], true, true),
        (&["profile"], &["all-data"], false, true),
        (&["contact"], &["all-data"], true, false),
        (&[], &["profile"], true, true),
        (&[], &["all-data"], true, true),
        (&[], &["behaviour"], false, false),
    ];
    for (scope, named, contact, profile) in grants {
        let mut draft = bench().draft("crm:1", "marketing", State::Given);
        draft.method = Method::Explicit;
        draft.scope.categories = list(scope);
        draft.notice = Some(Notice { categories: list(named), ..Notice::default() });
        let bench = bench();
        bench.record(draft).unwrap();
        let standing = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
        let ask = |c: &str| standing.status(&bench.vocabulary, &rules(), purpose("marketing"), category(c), department("marketing"), Channel::System);
        let open = |c: &str| ask(c).status == ConsentStatus::Given;
        assert_eq!((open("contact"), open("profile")), (contact, profile), "{scope:?}, {named:?}");
        assert!(!ask("contact").explicit, "what is special must be named itself: {scope:?}, {named:?}");
    }
    for (scope, closes) in [("contact", true), ("profile", true), ("all-data", true), ("behaviour", false)] {
        let bench = bench();
        bench.say("crm:1", "marketing", State::Given);
        bench.advance(600);
        let mut refusal = bench.draft("crm:1", "marketing", State::Refused);
        refusal.scope.categories = list(&[scope]);
        bench.record(refusal).unwrap();
        assert_eq!(bench.status("crm:1", "marketing") == ConsentStatus::Withdrawn, closes, "{scope}");
        let mut stop = StopDraft::new(id("crm:1"), StopKind::Suppression);
        stop.scope.categories = list(&[scope]);
        bench.ledger.add_stop(stop, &centre()).unwrap();
        assert_eq!(bench.floor("crm:1", "marketing", LawfulBasis::Contract).is_err(), closes, "{scope}");
        // Broad no beats narrow yes, until the customer says it again.
        bench.advance(600);
        bench.say("crm:1", "marketing", State::Given);
        assert_eq!((bench.status("crm:1", "marketing"), bench.floor("crm:1", "marketing", LawfulBasis::Contract)), (ConsentStatus::Given, Ok(())));
    }
}

#[test]
fn a_refusal_of_a_part_leaves_the_whole() {
    let bench = bench();
    bench.say("crm:1", "marketing", State::Given);
    bench.advance(600);
    let mut refusal = bench.draft("crm:1", "marketing", State::Refused);
    refusal.scope.categories = vec![category("contact")];
    bench.record(refusal).unwrap();
    let standing = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
    let ask = |c: &str| standing.status(&bench.vocabulary, &rules(), purpose("marketing"), category(c), department("marketing"), Channel::System);
    assert_eq!((ask("contact").status, ask("profile").status), (ConsentStatus::Withdrawn, ConsentStatus::Given));
}

#[test]
fn a_refusal_of_one_channel_leaves_the_other() {
    let bench = bench();
    let mut no_mail = bench.draft("crm:1", "marketing", State::Refused);
    no_mail.scope.channels = vec![Channel::Email];
    bench.record(no_mail).unwrap();
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Refused);
    assert_eq!(bench.status("crm:1", "marketing.phone"), ConsentStatus::Unknown);
}

#[test]
fn a_renewal_continues_a_consent_and_cannot_begin_or_revive_one() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Renewed);
    assert_ne!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given, "nothing to renew");
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Renewed);
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Renewed);
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Withdrawn);
    bench.advance(1);
    bench.say("crm:1", "marketing.email", State::Renewed);
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Withdrawn);
}

#[test]
fn asking_deferring_and_waiting_for_confirmation_open_nothing() {
    for state in [State::Unknown, State::Requested, State::Deferred, State::PendingConfirmation] {
        let bench = bench();
        bench.say("crm:1", "marketing.email", state);
        let effective = bench.effective("crm:1", "marketing.email");
        assert_eq!((effective.status, effective.state), (ConsentStatus::Unknown, state));
    }
}

#[test]
fn most_restrictive_keeps_another_sources_no_and_lets_a_source_take_back_its_own() {
    let bench = bench();
    bench.say("crm:1", "third-party-sharing", State::Refused);
    bench.advance(100);
    bench.ledger.record(bench.draft("crm:1", "third-party-sharing", State::Given), &staff()).unwrap();
    let effective = bench.effective("crm:1", "third-party-sharing");
    assert_eq!((effective.status, effective.rule), (ConsentStatus::Refused, ConflictRule::MostRestrictive));
    bench.advance(100);
    bench.say("crm:1", "third-party-sharing", State::Given);
    assert_eq!(bench.status("crm:1", "third-party-sharing"), ConsentStatus::Given);
}

#[test]
fn consent_runs_out_by_the_timer_and_an_older_one_does_not_come_back() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.expires = Some(bench.now() + seconds(3600));
    let done = bench.record(draft).unwrap();
    assert_eq!(bench.ledger.next_due(), Ok(Some(bench.now() + seconds(3600))));
    assert_eq!(bench.ledger.tick(bench.now() + seconds(3599)), Ok(0));
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
    let before = bench.ledger.party_revision(done.party.unwrap());
    assert_eq!(bench.ledger.tick(bench.now() + seconds(3600)), Ok(1));
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Expired);
    assert_ne!(bench.ledger.party_revision(done.party.unwrap()), before, "an answer in flight must be decided anew");
    assert_eq!(bench.ledger.next_due(), Ok(None));
    assert_eq!(bench.ledger.pending_changes(done.revision, 10).unwrap().first().map(|c| c.kind), Some(ChangeKind::Expiry));
}

#[test]
fn an_event_from_the_future_is_refused() {
    let bench = bench();
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.event_time = Some(bench.now() + seconds(61));
    assert!(matches!(bench.record(draft.clone()), Err(ConsentError::Invalid(_))));
    draft.event_time = Some(bench.now() + seconds(60));
    assert!(bench.record(draft).is_ok());
}

#[test]
fn a_stop_for_something_never_granted_and_somebody_unknown_is_stored_and_binds_later() {
    let bench = bench();
    let done = bench.stop("crm:77", StopKind::ObjectionMarketing);
    assert_eq!(done.party, None);
    bench.say("email:new@example.org", "sales.outreach", State::Refused);
    bench.import("identifiers\ncrm:77 email:new@example.org\n");
    assert_eq!(bench.floor("crm:77", "marketing.email", LawfulBasis::Consent), Err("objection"));
    assert_eq!(bench.status("crm:77", "sales.outreach"), ConsentStatus::Refused);
}

#[test]
fn a_matched_link_resolves_nothing_and_a_verified_one_opens_for_later_grants() {
    let bench = bench();
    bench.ledger.link(&id("crm:1").into(), &id("crm:2"), Assurance::Matched, &staff()).unwrap();
    assert!(bench.ledger.standing(&id("crm:2")).unwrap().is_none());
    bench.say("crm:2", "marketing.email", State::Given);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Unknown);
    bench.ledger.link(&id("crm:1").into(), &id("crm:2"), Assurance::Verified, &staff()).unwrap();
    assert_eq!(bench.status("crm:2", "marketing.email"), ConsentStatus::Unknown, "said before the link");
    bench.advance(1);
    bench.say("crm:2", "marketing.email", State::Given);
    assert_eq!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given);
}

#[test]
fn an_id_that_was_only_matched_to_another_becomes_the_created_customers_own() {
    let bench = bench();
    let first = bench.ledger.link_created(&id("crm:5"), &[id("crm:6")]).unwrap();
    let second = bench.ledger.link_created(&id("crm:6"), &[id("crm:5")]).unwrap();
    assert_ne!(first, second);
    bench.advance(1);
    bench.say("crm:6", "marketing.email", State::Given);
    assert_eq!(bench.status("crm:6", "marketing.email"), ConsentStatus::Given);
    assert_eq!(bench.status("crm:5", "marketing.email"), ConsentStatus::Unknown);
}

#[test]
fn an_id_of_another_customer_is_not_taken_over() {
    let bench = bench();
    bench.import("identifiers\ncrm:2\n");
    let taken = bench.ledger.link(&id("crm:2").into(), &id("crm:1"), Assurance::Verified, &staff());
    assert_eq!(taken, Err(ConsentError::LinkedElsewhere));
}

#[test]
fn customers_in_the_same_situation_share_one_profile() {
    let bench = bench();
    bench.import("identifiers\ncrm:2\ncrm:3\n");
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(700);
    bench.say("crm:2", "marketing.email", State::Given);
    let profile = |who: &str| bench.ledger.standing(&id(who)).unwrap().unwrap().profile;
    assert!(Arc::ptr_eq(&profile("crm:1"), &profile("crm:2")));
    assert!(!Arc::ptr_eq(&profile("crm:1"), &profile("crm:3")));
    assert_eq!(bench.ledger.reading().profiles.len(), 2);
}

#[test]
fn history_tells_who_overrode_whom() {
    let bench = bench();
    let yes = bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(1);
    let no = bench.say("email:ann@example.org", "marketing", State::Refused);
    let history = bench.ledger.history(&id("crm:1").into()).unwrap();
    let told: Vec<_> = history.iter().map(|row| (row.event.id, row.overridden_by.clone())).collect();
    assert_eq!(told, [(yes.event, vec![no.event]), (no.event, vec![])]);
    assert_eq!(history[1].event.identifier, id("email:ann@example.org"), "as given");
    assert_eq!(history[0].event.author, Author::Customer);
    assert_eq!(history[0].event.captured_by, "client:preference-centre");
    let by_party = PartyRef::Party(bench.ledger.show_party(&id("crm:1").into()).unwrap().id);
    assert_eq!(bench.ledger.history(&by_party).unwrap(), history);
}

#[test]
fn effective_and_current_answer_for_each_category_and_recipient() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.stop("crm:1", StopKind::Restriction);
    let party = id("crm:1").into();
    let asked = Asked { purpose: Some(purpose("marketing.email")), category: Some(category("contact")), recipient: None };
    let found = bench.ledger.effective(&party, asked, AsOf::default()).unwrap();
    assert_eq!((found.rows.len(), found.stops), (3, vec!["restriction"]));
    assert!(found.rows.iter().all(|row| row.stop == Some("restriction") && row.consent.status == ConsentStatus::Given));
    let current = bench.ledger.effective(&party, Asked::default(), AsOf::default()).unwrap().rows;
    assert!(!current.is_empty() && current.iter().all(|row| row.purpose == purpose("marketing.email")));
    let nobody = bench.ledger.effective(&id("crm:404").into(), Asked::default(), AsOf::default());
    assert_eq!(nobody.map(|found| found.rows), Err(ConsentError::NotFound));
}

#[test]
fn a_grant_that_is_over_when_it_is_recorded_never_holds() {
    let bench = bench();
    let mut draft = bench.draft("crm:1", "marketing.email", State::Given);
    draft.event_time = Some(bench.now() - seconds(100));
    draft.expires = Some(bench.now() - seconds(50));
    bench.record(draft).unwrap();
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Expired, "before any tick");
    assert_eq!(bench.ledger.next_due(), Ok(None));
    let mut again = bench.draft("crm:1", "marketing.email", State::Given);
    again.event_time = Some(bench.now() - seconds(40));
    bench.record(again).unwrap();
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Given, "a later grant stands by itself");
}

#[test]
fn an_untimed_refusal_that_comes_again_after_a_grant_under_another_id_closes_again() {
    let bench = bench();
    let refusal = || {
        let mut draft = bench.draft("crm:1", "marketing.email", State::Withdrawn);
        draft.event_time = None;
        Statement::Consent(Box::new(draft))
    };
    let record = |statements: Vec<Statement>| {
        let (adopted, at) = (bench.ledger.adopted().unwrap(), bench.ledger.record_time());
        let drawn = statements.into_iter().map(|statement| bench.ledger.draw_up(statement, &centre(), &adopted, at).unwrap()).collect();
        let answers = bench.ledger.record_many(drawn, |_| Ok(()), |_| (Vec::new(), None)).unwrap();
        answers.into_iter().map(|answer| answer.unwrap().known_before).collect::<Vec<_>>()
    };
    assert_eq!(record(vec![refusal()]), [false]);
    assert_eq!(record(vec![refusal()]), [true], "nothing happened since");
    bench.advance(100);
    bench.say("email:ann@example.org", "marketing.email", State::Given);
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Given);
    bench.advance(100);
    assert_eq!(record(vec![refusal()]), [false]);
    assert_eq!(bench.state("crm:1", "marketing.email"), State::Withdrawn);
    bench.advance(100);
    let mut again = bench.draft("email:ann@example.org", "marketing.email", State::Given);
    again.event_time = Some(bench.now() - seconds(1));
    assert_eq!(record(vec![Statement::Consent(Box::new(again)), refusal()]), [false, false], "also within one piece");
}

#[test]
fn nobody_is_told_that_an_erased_person_has_granted_anything() {
    let bench = bench();
    bench.stop("crm:1", StopKind::Erasure);
    bench.ledger.add_stop(StopDraft::new(id("crm:9"), StopKind::Erasure), &staff()).unwrap();
    let before = bench.ledger.revision();
    let mut told = Vec::new();
    for who in ["crm:1", "crm:9"] {
        for (state, tell) in [(State::Given, "unknown"), (State::Renewed, "unknown"), (State::Requested, "unknown"), (State::Withdrawn, "withdrawn")]
        {
            let mut draft = bench.draft(who, "marketing.email", state);
            draft.expires = state.opens().then(|| bench.now() + seconds(30));
            bench.record(draft).unwrap();
            told.push((ChangeKind::Consent, tell.to_owned()));
        }
    }
    bench.advance(60);
    assert_eq!(bench.ledger.tick(bench.now()).unwrap(), 4);
    told.extend((0..4).map(|_| (ChangeKind::Expiry, "unknown".to_owned())));
    let changes = bench.ledger.changes(before, 100).unwrap();
    assert_eq!(changes.into_iter().map(|change| (change.kind, change.state)).collect::<Vec<_>>(), told);
}

#[test]
fn an_erasure_counts_for_what_stands_behind_it_in_one_piece() {
    let bench = bench();
    let statements = |who: &str| {
        let grant = Statement::Consent(Box::new(bench.draft("email:ann@example.org", "marketing.email", State::Given)));
        [Statement::Stop(Box::new(StopDraft::new(id(who), StopKind::Erasure))), grant]
    };
    let adopted = bench.ledger.adopted().unwrap();
    let drawn = |caller: &Capturer| {
        let draw = |statement| bench.ledger.draw_up(statement, caller, &adopted, bench.ledger.record_time()).unwrap();
        statements("crm:1").into_iter().map(draw).collect::<Vec<_>>()
    };
    let before = bench.ledger.revision();
    let answers =
        bench.ledger.record_many(drawn(&centre()).into_iter().chain(drawn(&staff())).collect(), |_| Ok(()), |_| (Vec::new(), None)).unwrap();
    assert_eq!(answers[3], Err(ConsentError::Erased), "the desk is told");
    assert!(answers[1].is_ok(), "an app is not");
    let changes = bench.ledger.changes(before, 100).unwrap();
    assert_eq!(changes[1].state, "unknown");
}

#[test]
fn a_merge_keeps_what_protects_either_side() {
    let bench = bench();
    bench.import("identifiers\ncrm:2\n");
    let facts = FactsDraft { age: Some(Age::Minor), legal_hold: Some(true), source: "crm".to_owned(), ..FactsDraft::default() };
    bench.ledger.put_facts(&id("crm:2").into(), &facts).unwrap();
    bench.say("crm:2", "marketing.email", State::Given);
    let draft = MergeDraft { into: id("crm:1").into(), from: id("crm:2").into(), time: None, reason: "same person".to_owned() };
    bench.ledger.merge(&draft, &staff()).unwrap();
    assert_ne!(bench.status("crm:1", "marketing.email"), ConsentStatus::Given, "a minor's own grant");
    let erasure = bench.ledger.add_stop(StopDraft::new(id("crm:1"), StopKind::Erasure), &staff());
    assert_eq!(erasure, Err(ConsentError::Held));
}

#[test]
fn a_stop_under_a_matching_id_reaches_a_customer_who_was_known_already() {
    let bench = bench();
    bench.say("crm:1", "marketing.email", State::Given);
    bench.advance(100);
    bench.stop("email:zoe@example.org", StopKind::Suppression);
    let no = bench.ledger.link_created(&id("crm:1"), &[id("email:zoe@example.org")]).unwrap();
    assert_eq!(bench.ledger.link_created(&id("crm:1"), &[id("email:zoe@example.org")]).unwrap(), no);
    assert_eq!(bench.floor("crm:1", "marketing.email", LawfulBasis::Consent), Err("suppression"));
}
