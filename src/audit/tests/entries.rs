//! What is written, and what is read back.

use super::*;

#[test]
fn a_decision_is_written_and_read_back_with_all_that_an_auditor_asks_for() {
    let setup = Setup::new();
    let log = setup.open();
    let recorded = log.append(permit(44)).unwrap().wait().unwrap();
    let of = recorded.index();
    assert_eq!(format!("{ORIGIN}#{of}"), recorded.decision_id().to_string());
    let withheld = vec!["email".to_owned(), "behaviour".to_owned(), "email".to_owned()];
    record(&log, Entry::Part { of, rows: 1, dropped: 0, groups: Vec::new(), withheld });
    log.append_unwaited(end(of)).unwrap();
    log.close();

    let found = search(&setup.dir(), &Query { customers: vec![PartyNo(44)], ..Query::default() }).unwrap();
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!(recorded.decision_id().to_string(), found.decision);
    assert_eq!(Timestamp::from_second(START).unwrap(), found.at);
    assert_eq!(("crm", "sales", "read", "crm"), (&*found.app, &*found.department, &*found.action, &*found.api));
    assert_eq!(("GET /customers/{id}", Some("sales.outreach")), (&*found.route, found.purpose.as_deref()));
    assert_eq!(
        (Some("e_5b21"), None, "3f9a21", 7, 19),
        (found.actor.as_deref(), found.agent.as_deref(), &*found.policy_set, found.generation, found.consent_revision)
    );
    assert_eq!(("permit", Some(200), Some(512), Some(true), false), (&*found.outcome, found.status, found.bytes, found.complete, found.unresolved));
    assert_eq!((vec!["contact".to_owned()], vec!["behaviour".to_owned(), "email".to_owned()]), (found.released.clone(), found.withheld.clone()));
    let relied = &found.relied[0];
    assert_eq!(
        ("contact", "full", "permitted", "consent", "given"),
        (&*relied.category, &*relied.release, &*relied.why, &*relied.basis, &*relied.status)
    );
    assert_eq!((Some(("sales-outreach".to_owned(), 3)), Some("ev_1")), (relied.activity.clone(), relied.event.as_deref()));
    assert_eq!(vec!["share-with-consent".to_owned()], found.policies);
    assert_eq!(3, found.entries.len());
    setup.verify();
}

/// The bytes of one head, so that a change of the format is seen.
#[test]
fn the_entry_is_canonical() {
    let setup = Setup::new();
    let log = setup.open();
    let index = record(&log, permit(44));
    log.close();
    let all = read(&setup.dir());
    let texts: Vec<&str> = all.iter().map(|l| std::str::from_utf8(&l.raw).unwrap()).collect();
    assert_eq!(
        r#"{"class":"facts","kind":"dict","t":1780000000000000,"v":1,"value":{"channel":"email","environment":"production","gpc":false,"policies":"81c07d","policy_set":"3f9a21","purpose":"sales.outreach","roles":["sales-rep"]}}"#,
        texts[1]
    );
    assert_eq!(
        r#"{"class":"verdicts","kind":"dict","t":1780000000000000,"v":1,"value":{"facts":{"age":"adult","hold":false,"segment":"standard","stage":"lead"},"verdicts":[{"activity":"sales-outreach","activity_version":3,"basis":"consent","category":"contact","policies":["share-with-consent"],"release":"full","rule":"customer-last-word/v1","status":"given","why":"permitted"}]}}"#,
        texts[2]
    );
    assert_eq!(3, index);
    assert_eq!(
        r#"{"action":"read","actor":"e_5b21","api":"crm","app":"crm","department":"sales","events":[{"category":"contact","event":"ev_1"}],"facts":{"dict":1},"generation":7,"groups":[{"n":1,"outcome":"permit","parties":"LA==","verdicts":{"dict":2}}],"kind":"permit","lag_us":0,"revision":19,"rid":17,"route":"GET /customers/{id}","t":1780000000000000,"traceparent":"abababababababababababababababab","v":1}"#,
        texts[3]
    );
    assert_eq!(r#"{"kind":"stop","reason":"shutdown","t":1780000000000000,"v":1}"#, texts[4]);
}

#[test]
fn a_class_is_written_once_a_segment() {
    let setup = Setup::new();
    let log = setup.open();
    record_all(&log, 0..2_000);
    log.close();
    let segments = segment::list(&[setup.dir()]).unwrap().len();
    assert!(segments >= 3, "{segments}");
    assert_eq!(2 * segments, kinds(&setup.dir()).iter().filter(|k| *k == "dict").count());
    let found = search(&setup.dir(), &Query { customers: vec![PartyNo(1_999)], ..Query::default() }).unwrap();
    assert_eq!(Some("sales.outreach"), found[0].purpose.as_deref(), "resolved in the last segment");
    assert_eq!(segments, setup.verify().segments);
}

#[test]
fn every_kind_is_written_and_verifies() {
    let setup = Setup::new();
    let log = setup.open();
    let head = record(&log, Entry::Intent { facts: facts(), groups: Vec::new() });
    let entries = [
        Entry::Deny { facts: facts(), of: Some(head), status: 403, code: "denied", groups: Vec::new(), paths: vec!["a.b".into()] },
        deny(3),
        Entry::Admin {
            actor: "e_1".into(),
            role: "consent-desk",
            operation: "consent-event",
            party: Some(PartyNo(4)),
            revision: Some(Revision(2)),
            status: 201,
        },
        Entry::Query { actor: "e_1".into(), role: "auditor", operation: "search", party: Some(PartyNo(4)), found: 2 },
        Entry::ConsentChanged { event: Some(EventId(1)), party: Some(PartyNo(4)), revision: Revision(3), state: "withdrawn", purpose: None },
        Entry::BreakGlass {
            grant: "bg_1".into(),
            step: "approved",
            actor: Some("e_1".into()),
            party: Some(PartyNo(4)),
            revision: Revision(4),
            text: StepText::None,
        },
        Entry::PolicyLoaded { id: "3f9a21".into(), generation: 1 },
        Entry::PolicyRejected { findings: 2, reason: "rollback", version: Some(3) },
        Entry::PolicyActivated {
            version: 4,
            bundle: "9f3a".into(),
            set: "3f9a21".into(),
            needed: vec![Department::intern("sales")],
            only_narrows: false,
            approved: vec![Department::intern("sales"), Department::intern("it")],
        },
        Entry::ConfigLoaded { hash: "ab12".into(), generation: 1 },
        Entry::ConfigRejected { findings: 10 },
        Entry::Rejects { count: 12, listener: "apps".into(), code: "unauthenticated", network: Some("192.0.2.0/24".into()) },
        Entry::Clock { step_ms: -3_600_000 },
    ];
    for entry in entries {
        record(&log, entry);
    }
    log.close();
    let is_decision = |kind: &str| matches!(kind, "dict" | "deny" | "permit" | "intent" | "part" | "end");
    for kind in kinds(&setup.dir()) {
        assert!(is_decision(&kind) || OTHER_KINDS.contains(&kind.as_str()), "nobody can ask for `{kind}`");
    }
    let kinds = kinds(&setup.dir()).into_iter().filter(|k| k != "dict").collect::<Vec<_>>().join(" ");
    assert_eq!(
        "start intent deny deny admin query consent_changed break_glass policy_loaded policy_rejected policy_activated config_loaded config_rejected rejects clock stop",
        kinds
    );
    setup.verify();
}

#[test]
fn what_is_no_token_is_refused() {
    let setup = Setup::new();
    let log = setup.open();
    for text in ["", "Erika Mustermann", "a\nb", "\u{1b}[31m", "é", "erika@example.com", &"a".repeat(129)] {
        let with_actor = DecisionFacts { actor: Some(text.to_owned()), ..(*facts()).clone() };
        let entries = [
            Entry::Permit { facts: Arc::new(with_actor), groups: Vec::new() },
            Entry::Admin { actor: text.to_owned(), role: "auditor", operation: "search", party: None, revision: None, status: 200 },
            Entry::Rejects { count: 1, listener: "apps".into(), code: "token-invalid", network: Some(text.to_owned()) },
            Entry::ConfigLoaded { hash: text.to_owned(), generation: 1 },
        ];
        for entry in entries {
            assert!(matches!(log.append(entry), Err(AuditError::NotAToken { .. })), "{text:?}");
        }
    }
    log.close();
    assert_eq!(vec!["start", "stop"], kinds(&setup.dir()));
}

#[test]
fn too_many_customers_or_bytes_are_refused_and_nothing_else_is_lost() {
    let setup = Setup::new();
    let log = setup.open();
    let of = record(&log, permit(1));
    let part = |parties: u64| {
        // Far apart, so that each takes as many bytes as it can.
        let parties: Vec<u64> = (0..parties).map(|i| i * 134_217_727).collect();
        Entry::Part { of, rows: 1, dropped: 0, groups: vec![group(&parties, Outcome::Permit, vec![])], withheld: vec![] }
    };
    assert!(matches!(log.append(part(8_193)), Err(AuditError::TooManyParties { parties: 8_193 })));
    let index = record(&log, part(8_192));
    let long =
        Entry::Part { of, rows: 0, dropped: 0, groups: vec![], withheld: (0..2_000).map(|i| format!("a.very.long.path.of.a.member.{i}")).collect() };
    assert!(matches!(log.append(long), Err(AuditError::EntryTooLarge { .. })));
    log.healthy().unwrap();
    log.close();
    let logged = &read(&setup.dir())[usize::try_from(index).unwrap()];
    assert!(logged.raw.len() < 65_536, "{}", logged.raw.len());
    assert_eq!(8_192, logged.resolved["groups"][0]["parties"].as_array().unwrap().len());
}

/// Whatever customers they are: among a million, the numbers of a page are some two bytes apart.
#[test]
fn an_answer_about_5000_customers_takes_16_kib_at_most() {
    let setup = Setup::new();
    let log = setup.open();
    let head = record(&log, permit(1));
    let parties: Vec<u64> = (0..5_000).map(|i| i * 48_271 % 1_000_003).collect();
    let outcomes = [(Outcome::Permit, Release::Full), (Outcome::Redact, Release::Reduced), (Outcome::Deny, Release::Withheld)];
    let groups =
        parties.chunks(1_667).zip(outcomes).map(|(parties, (outcome, release))| group(parties, outcome, vec![verdict("contact", release, None)]));
    let withheld = (0..20).map(|n| format!("customers[].field_{n}")).collect();
    let index = record(&log, Entry::Part { of: head, rows: 5_000, dropped: 1_666, groups: groups.collect(), withheld });
    log.close();
    let entries = read(&setup.dir());
    let told: usize =
        entries[usize::try_from(index).unwrap()].resolved["groups"].as_array().unwrap().iter().map(|g| g["parties"].as_array().unwrap().len()).sum();
    let bytes: usize = entries.iter().map(|logged| logged.raw.len()).sum();
    assert_eq!(5_000, told);
    assert!(bytes <= 16 * 1_024, "{bytes} bytes with all dictionary entries");
}

#[test]
fn customers_that_differ_only_in_their_events_share_a_group() {
    let setup = Setup::new();
    let log = setup.open();
    let head = record(&log, Entry::Intent { facts: facts(), groups: Vec::new() });
    let mut groups: Vec<Group> = (1..=3).map(|p| group(&[p], Outcome::Permit, vec![verdict("contact", Release::Full, Some(p))])).collect();
    groups.push(Group { unknown: 2, ..group(&[], Outcome::Deny, vec![]) });
    record(&log, Entry::Part { of: head, rows: 3, dropped: 2, groups, withheld: vec![] });
    log.close();
    let found = search(&setup.dir(), &Query { decision: Some(head), ..Query::default() }).unwrap().pop().unwrap();
    assert_eq!((3, 2, 3, 2, "filter"), (found.parties, found.unknown, found.rows, found.dropped, &*found.outcome));
    assert_eq!((1, None), (found.relied.len(), found.relied[0].event.clone()));
    assert!(found.unresolved, "no end was written");
}

#[test]
fn search_answers_by_customer_app_decision_and_time() {
    let setup = Setup::new();
    let log = setup.open();
    let first = record(&log, permit(1));
    setup.clock.advance(Duration::from_secs(60));
    let second = record(&log, deny(1));
    let other = DecisionFacts { app: Client::intern("helpdesk"), ..(*facts()).clone() };
    let third = record(&log, Entry::Intent { facts: Arc::new(other), groups: Vec::new() });
    let groups = vec![group(&[1], Outcome::Deny, vec![]), group(&[2], Outcome::Permit, vec![verdict("contact", Release::Full, None)])];
    record(&log, Entry::Part { of: third, rows: 1, dropped: 1, groups, withheld: vec![] });
    // Searched while the log is open.
    let ask = |query: Query| search(&setup.dir(), &query).unwrap().iter().map(|f| f.index).collect::<Vec<_>>();
    let later = Timestamp::from_second(START + 30).unwrap();
    assert_eq!(vec![third, second, first], ask(Query::default()));
    assert_eq!(vec![third, second, first], ask(Query { customers: vec![PartyNo(1)], ..Query::default() }));
    assert_eq!(vec![third], ask(Query { customers: vec![PartyNo(2)], ..Query::default() }));
    assert_eq!(Vec::<u64>::new(), ask(Query { customers: vec![PartyNo(3)], ..Query::default() }));
    assert_eq!(vec![third], ask(Query { app: Some("helpdesk".into()), ..Query::default() }));
    assert_eq!(vec![second], ask(Query { decision: Some(second), ..Query::default() }));
    assert_eq!(vec![third, second], ask(Query { since: Some(later), ..Query::default() }));
    assert_eq!(vec![first], ask(Query { until: Some(later), ..Query::default() }));
    assert_eq!(vec![third], ask(Query { limit: Some(1), ..Query::default() }));
    let of_one = search(&setup.dir(), &Query { customers: vec![PartyNo(1)], decision: Some(third), ..Query::default() }).unwrap().pop().unwrap();
    assert_eq!(("deny", 1, 0), (&*of_one.outcome, of_one.parties, of_one.released.len()), "about that customer alone");
    log.close();
}

#[test]
fn a_denial_known_only_from_the_answer_takes_back_what_the_head_permitted() {
    let setup = Setup::new();
    let log = setup.open();
    let of = record(&log, permit(1));
    let groups = vec![group(&[1], Outcome::Deny, vec![])];
    record(&log, Entry::Deny { facts: facts(), of: Some(of), status: 403, code: "denied", groups, paths: vec![] });
    log.close();
    let found = search(&setup.dir(), &Query::default()).unwrap();
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!(("deny", Some("denied"), false, 0), (&*found.outcome, found.code.as_deref(), found.unresolved, found.released.len()));
}

#[test]
fn show_gives_an_entry_with_its_decision() {
    let setup = Setup::new();
    let log = setup.open();
    let of = record(&log, permit(1));
    let last = record(&log, end(of));
    log.close();
    for index in [of, last] {
        let shown = show(&setup.dir(), index).unwrap().unwrap();
        assert_eq!(Some(of), shown.decision.map(|d| d.index));
        assert_eq!(vec![of, last], shown.entries.iter().map(|e| e.index).collect::<Vec<_>>());
    }
    let start = show(&setup.dir(), 0).unwrap().unwrap();
    assert!(start.decision.is_none() && start.entries[0].kind() == "start");
    assert!(show(&setup.dir(), 99).unwrap().is_none());
    assert!(matches!(show(setup.root.path(), 0), Err(AuditError::NoLog { .. })));
}

#[test]
fn an_entry_of_a_decision_that_is_not_there_is_refused() {
    let setup = Setup::new();
    let log = setup.open();
    assert!(matches!(log.append(end(99)).unwrap().wait(), Err(AuditError::NoSuchDecision { of: 99 })));
    record(&log, permit(1));
    log.close();
    setup.verify();
}

#[test]
fn many_threads_share_syncs_and_every_entry_is_there_once() {
    let setup = Setup::new();
    let log = setup.open();
    let mut indexes: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u64)
            .map(|thread| {
                let log = log.clone();
                scope.spawn(move || {
                    let pending: Vec<_> = (0..50).map(|i| log.append(permit(thread * 50 + i)).unwrap()).collect();
                    pending.into_iter().map(|p| p.wait().unwrap().index()).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(400, indexes.len());
    let metrics = log.metrics();
    assert!(metrics.syncs < 300, "{metrics:?}");
    log.close();
    for party in 0..400 {
        assert_eq!(1, search_one(&setup, party), "{party}");
    }
    let report = setup.verify();
    assert_eq!((report.entries, 0), (report.checkpoint_size, report.unsigned_tail));
}

fn search_one(setup: &Setup, party: u64) -> usize {
    // Each search reads the log; a few stand for all.
    if !party.is_multiple_of(97) {
        return 1;
    }
    search(&setup.dir(), &Query { customers: vec![PartyNo(party)], ..Query::default() }).unwrap().len()
}

#[tokio::test]
async fn a_pending_entry_is_a_future() {
    let setup = Setup::new();
    let log = setup.open();
    let pending: Vec<_> = (0..20).map(|i| log.append(permit(i)).unwrap()).collect();
    let mut last = 0;
    for pending in pending {
        let index = pending.await.unwrap().index();
        assert!(index > last);
        last = index;
    }
}

#[test]
fn a_closed_log_refuses_on_every_clone() {
    let setup = Setup::new();
    let log = setup.open();
    let clone = log.clone();
    log.close();
    assert!(matches!(clone.append(permit(1)), Err(AuditError::Closed)));
    assert!(matches!(clone.healthy(), Err(AuditError::Closed)));
}
