//! The index finds what a scan of the whole log finds, however the log was read into it.

use proptest::prelude::*;

use super::*;

const SMALL: u64 = 16;

/// What a question holds of, by reading everything.
pub(super) fn scan(dir: &Path, query: &Query) -> Vec<Found> {
    let mut decisions: std::collections::BTreeMap<u64, Vec<Logged>> = std::collections::BTreeMap::new();
    for logged in read(dir) {
        if let Some(head) = logged.decision() {
            decisions.entry(head).or_default().push(logged);
        }
    }
    let joined = decisions.into_values().filter_map(|entries| gathered::Decision::join(&entries, ORIGIN, &query.customers));
    let mut found: Vec<Found> = joined.filter(|found| query.holds(found)).collect();
    found.reverse();
    found.truncate(query.limit.unwrap_or(usize::MAX));
    found
}

/// A log of decisions of many kinds, some of which overlap.
fn written(setup: &Setup, steps: &[(u8, u64)]) -> u64 {
    let log = setup.open();
    let mut open: Vec<u64> = Vec::new();
    for &(kind, party) in steps {
        setup.clock.advance(Duration::from_secs(party));
        let app = if party.is_multiple_of(3) { "helpdesk" } else { "crm" };
        let department = if party.is_multiple_of(3) { "service" } else { "sales" };
        let facts = Arc::new(DecisionFacts {
            app: Client::intern(app),
            department: Department::intern(department),
            actor: (party.is_multiple_of(2)).then(|| format!("e_{party}")),
            grant: (party == 5).then(|| "bg_5".into()),
            purpose: (party != 4).then(|| Purpose::intern(if party < 3 { "service.support" } else { "sales.outreach" })),
            ..(*facts()).clone()
        });
        let category = if party.is_multiple_of(2) { "contact" } else { "health" };
        let groups = |outcome, release| vec![group(&[party, party + 100], outcome, vec![verdict(category, release, None)])];
        match kind % 8 {
            0 | 1 => {
                let one = vec![group(&[party], Outcome::Redact, vec![verdict(category, Release::Reduced, Some(party + 1))])];
                open.push(record(&log, Entry::Permit { facts, groups: one }));
            }
            2 => open.push(record(&log, Entry::Intent { facts, groups: Vec::new() })),
            3 => {
                let groups = groups(Outcome::Deny, Release::Withheld);
                record(&log, Entry::Deny { facts, of: None, status: 403, code: "denied", groups, paths: vec![] });
            }
            4 => {
                record(
                    &log,
                    Entry::Query { actor: "e_1".into(), role: "auditor", operation: "decisions.search", party: Some(PartyNo(party)), found: 1 },
                );
            }
            // Of the newest, or of one long ago.
            5 | 6 => {
                let of = if kind % 2 == 0 { open.first() } else { open.last() };
                if let Some(&of) = of {
                    let mut groups = groups(Outcome::Permit, Release::Full);
                    groups.push(group(&[party + 1], Outcome::Deny, vec![verdict(category, Release::Withheld, None)]));
                    record(&log, Entry::Part { of, rows: 2, dropped: 1, groups, withheld: vec!["a.b".into()] });
                }
            }
            _ => {
                if !open.is_empty() {
                    let of = open.remove(usize::try_from(party).unwrap() % open.len());
                    record(&log, end(of));
                }
            }
        }
    }
    let entries = log.metrics().entries;
    log.close();
    entries
}

pub(super) fn questions() -> Vec<Query> {
    let text = |text: &str| Some(text.to_owned());
    let base = Query::default;
    let at = |seconds| Timestamp::from_second(START + seconds).ok();
    let mut questions = vec![
        base(),
        Query { app: text("helpdesk"), ..base() },
        Query { department: text("sales"), limit: Some(3), ..base() },
        Query { department: text("nobody"), ..base() },
        Query { actor: text("e_2"), ..base() },
        Query { purpose: text("service.support"), ..base() },
        Query { category: text("health"), ..base() },
        Query { category: text("contact"), customers: vec![PartyNo(2)], ..base() },
        Query { policy: text("share-with-consent"), before: Some(20), ..base() },
        Query { policy: text("share-with-consent"), category: text("health"), ..base() },
        Query { event: Some(EventId(3)), ..base() },
        Query { event: Some(EventId(3)), customers: vec![PartyNo(2), PartyNo(102)], ..base() },
        Query { grant: text("bg_5"), ..base() },
        Query { decision: Some(3), ..base() },
        Query { since: at(20), until: at(90), ..base() },
        Query { customers: vec![PartyNo(1), PartyNo(103)], since: at(10), ..base() },
        Query { api: text("crm"), action: text("read"), before: Some(33), limit: Some(2), ..base() },
    ];
    for outcome in ["permit", "redact", "filter", "deny", "error", "unenforced"] {
        questions.push(Query { outcome: text(outcome), ..base() });
        questions.push(Query { outcome: text(outcome), customers: vec![PartyNo(3)], ..base() });
    }
    questions
}

/// What reports count of a decision.
type Told = (u64, String, String, Option<String>, bool, bool, u64, Vec<String>, Vec<String>);

fn told(found: Found) -> Told {
    let policies = found.policies;
    let denied = found.code.is_some();
    (found.index, found.app, found.department, found.purpose, denied, !found.unresolved, found.rows, found.disclosed, policies)
}

fn counted(index: &Index, window: Window) -> Vec<Told> {
    let mut rows = Vec::new();
    index
        .scan(window, |names, row| {
            let text = |name: u32| names.text(name).to_owned();
            let verdicts = |readings: &[Reading]| readings.iter().flat_map(|r| names.verdicts(r.class)).cloned().collect::<Vec<Verdict>>();
            let sorted = |texts: Vec<String>| texts.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>();
            let released = verdicts(row.disclosed).into_iter().filter(|v| v.release != "withheld").map(|v| v.category).collect();
            let policies = verdicts(row.judged).into_iter().flat_map(|v| v.policies).collect();
            let (app, department, purpose) = (text(row.app), text(row.department), row.purpose.map(text));
            rows.push((row.index, app, department, purpose, row.is_denied, row.is_over, row.rows, sorted(released), sorted(policies)));
        })
        .unwrap();
    // Partitions come newest first.
    rows.sort_by_key(|row| row.0);
    rows
}

fn small(setup: &Setup, at: &str) -> Index {
    Index::open_with(&setup.dir(), &setup.root.path().join(at), SMALL).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_question_is_answered_as_by_a_scan(steps in proptest::collection::vec((any::<u8>(), 0u64..8), 0..120), stops in proptest::collection::vec(1u64..40, 0..6)) {
        let setup = Setup::new();
        let entries = written(&setup, &steps);
        // Read in with pauses, also over a restart, as it grows.
        let mut to = 0;
        for (at, stop) in stops.iter().enumerate() {
            to = (to + stop).min(entries);
            let index = small(&setup, "grown");
            prop_assert_eq!(to.max(index.entries()), index.catch_up(to, |_| ()).unwrap());
            if at.is_multiple_of(2) {
                index.catch_up((to + 1).min(entries), |_| ()).unwrap();
            }
        }
        let index = small(&setup, "grown");
        index.catch_up(u64::MAX, |_| ()).unwrap();
        for query in questions() {
            let answer = index.search(&query).unwrap();
            let found = scan(&setup.dir(), &query);
            prop_assert_eq!(&found, &answer.decisions, "{:?}", query);
            let all = scan(&setup.dir(), &Query { limit: None, ..query.clone() });
            prop_assert_eq!(found.last().filter(|_| all.len() > found.len()).map(|last| last.index), answer.next);
            prop_assert_eq!(0, answer.unread);
        }
        prop_assert_eq!(Vec::<Difference>::new(), index.check(|_| ()).unwrap());
        for window in [Window::default(), Window { since: Timestamp::from_second(START + 20).ok(), until: Timestamp::from_second(START + 90).ok() }] {
            let found = scan(&setup.dir(), &Query { since: window.since, until: window.until, ..Query::default() });
            prop_assert_eq!(found.into_iter().rev().map(told).collect::<Vec<_>>(), counted(&index, window));
        }
        for logged in read(&setup.dir()) {
            let (shown, linear) = (index.show(logged.index).unwrap().unwrap(), show(&setup.dir(), logged.index).unwrap().unwrap());
            prop_assert_eq!(linear.decision, shown.decision);
            let of = |shown: &[Logged]| shown.iter().map(|logged| (logged.index, logged.resolved.clone())).collect::<Vec<_>>();
            prop_assert_eq!(of(&linear.entries), of(&shown.entries));
        }
    }
}

fn grown() -> (Setup, Index) {
    let setup = Setup::new();
    let steps: Vec<(u8, u64)> = (0..100u8).map(|i| (i.wrapping_mul(7), u64::from(i % 8))).collect();
    written(&setup, &steps);
    let index = small(&setup, "index");
    index.catch_up(u64::MAX, |_| ()).unwrap();
    (setup, index)
}

#[test]
fn entries_of_one_kind_are_found_by_page_and_rejects_are_added_up() {
    let setup = Setup::new();
    let log = setup.open();
    for n in 0..60u64 {
        setup.clock.advance(Duration::from_secs(1));
        let network = (!n.is_multiple_of(5)).then(|| format!("192.0.{}.0/24", n % 3));
        record(&log, Entry::Rejects { count: n, listener: "apps".into(), code: "unauthenticated", network });
        if n.is_multiple_of(4) {
            record(&log, deny(n));
            record(&log, Entry::Clock { step_ms: 1 });
        }
    }
    log.close();
    let index = small(&setup, "index");
    index.catch_up(u64::MAX, |_| ()).unwrap();
    let at = |seconds| Timestamp::from_second(START + seconds).ok();
    for (kind, window, limit) in [
        ("rejects", Window::default(), 7),
        ("rejects", Window { since: at(11), until: at(31) }, 1_000),
        ("rejects", Window { since: at(11), until: at(31) }, 20),
        ("clock", Window::default(), 1),
        ("start", Window::default(), 3),
        ("gap", Window::default(), 3),
        // A decision is none of the others.
        ("deny", Window::default(), 3),
    ] {
        let holds = |logged: &Logged| {
            let t = Timestamp::from_microsecond(logged.value["t"].as_i64().unwrap()).unwrap();
            logged.kind() == kind && kind != "deny" && window.since.is_none_or(|since| t >= since) && window.until.is_none_or(|until| t < until)
        };
        let wanted: Vec<u64> = read(&setup.dir()).iter().rev().filter(|logged| holds(logged)).map(|logged| logged.index).collect();
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let answer = index.of_kind(&KindQuery { kind: kind.to_owned(), window, before, limit }).unwrap();
            assert!(answer.entries.len() <= limit);
            found.extend(answer.entries.iter().map(|logged| logged.index));
            before = answer.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(wanted, found, "{kind} {window:?}");
    }
    let sum = |window| {
        let (mut all, mut nowhere) = (0, 0);
        let add = |row: Rejected<'_>| {
            assert_eq!(("apps", "unauthenticated"), (row.listener, row.code));
            all += row.count;
            nowhere += u64::from(row.network.is_none());
        };
        index.rejected(window, add).unwrap();
        (all, nowhere)
    };
    assert_eq!((60 * 59 / 2, 12), sum(Window::default()));
    assert_eq!(((10..30).sum::<u64>(), 4), sum(Window { since: at(11), until: at(31) }));
    assert!(index.check(|_| ()).unwrap().is_empty());
    let path = setup.root.path().join("index").join(format!("partition-{:020}.db", 0));
    rusqlite::Connection::open(path).unwrap().execute("UPDATE reject SET count = 0", []).unwrap();
    let found = index.check(|_| ()).unwrap();
    assert!(matches!(&found[..], [Difference { table: "reject", partition: 0, surplus: 1.., lacking: 1.. }]), "{found:?}");
}

#[test]
fn what_is_left_out_of_the_index_is_found_by_the_check() {
    let (setup, index) = grown();
    let path = setup.root.path().join("index").join(format!("partition-{:020}.db", 0));
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute(sql, []).unwrap();
    assert!(change("DELETE FROM subject WHERE head = (SELECT MAX(head) FROM subject)") > 0);
    let found = index.check(|_| ()).unwrap();
    assert!(matches!(&found[..], [Difference { table: "subject", partition: 0, surplus: 0, lacking: 1.. }]), "{found:?}");
    change("UPDATE head SET at = at + 1 WHERE head = (SELECT MAX(head) FROM head WHERE late = 0)");
    let found = index.check(|_| ()).unwrap();
    assert!(found.iter().any(|found| found.table == "head" && (found.surplus, found.lacking) == (1, 1)), "{found:?}");
    index.clear().unwrap();
    assert_eq!(0, index.entries());
    index.catch_up(u64::MAX, |_| ()).unwrap();
    assert!(index.check(|_| ()).unwrap().is_empty());
}

#[test]
fn an_index_that_names_what_is_not_in_the_log_says_so() {
    let (setup, index) = grown();
    let path = setup.root.path().join("index").join(format!("partition-{:020}.db", 0));
    rusqlite::Connection::open(path).unwrap().execute("UPDATE piece SET entry = entry + 1000000", []).unwrap();
    let error = index.search(&Query::default()).unwrap_err();
    assert!(matches!(&error, IndexError::Astray { .. }) && error.to_string().contains("--rebuild"), "{error}");
}

#[test]
fn the_index_of_another_log_is_not_believed() {
    let (setup, index) = grown();
    let whole = index.entries();
    drop(index);
    // The log is set back: its index knows more than there is.
    let other = Setup::new();
    written(&other, &[(0, 1), (7, 0)]);
    let moved = other.root.path().join("index");
    copy(&setup.root.path().join("index"), &moved);
    let index = Index::open_with(&other.dir(), &moved, SMALL).unwrap();
    assert!(index.entries() < whole);
    index.catch_up(u64::MAX, |_| ()).unwrap();
    assert_eq!(scan(&other.dir(), &Query::default()), index.search(&Query::default()).unwrap().decisions);
    assert!(index.check(|_| ()).unwrap().is_empty());
}

#[test]
fn a_damaged_file_is_built_anew_and_a_second_process_is_refused() {
    let (setup, index) = grown();
    assert!(matches!(Index::open_with(&setup.dir(), &setup.root.path().join("index"), SMALL), Err(IndexError::InUse { .. })));
    drop(index);
    for damage in [&b"not a database, but longer than its header would be, and then some more of it until it is long enough......."[..], b""] {
        std::fs::write(setup.root.path().join("index").join(format!("partition-{SMALL:020}.db")), damage).unwrap();
        let index = small(&setup, "index");
        assert!(index.entries() <= SMALL);
        index.catch_up(u64::MAX, |_| ()).unwrap();
        assert!(index.check(|_| ()).unwrap().is_empty());
    }
}

#[test]
fn a_damaged_log_is_not_indexed_over() {
    let (setup, index) = grown();
    drop(index);
    let path = last_segment(&setup.dir());
    let mut data = std::fs::read(&path).unwrap();
    let at = data.windows(6).position(|part| part == b"\"deny\"").unwrap();
    data[at] ^= 1;
    std::fs::write(&path, data).unwrap();
    let index = small(&setup, "elsewhere");
    let (of, error) = (setup.image(), index.catch_up(90, |_| ()).unwrap_err());
    assert!(matches!(&error, IndexError::Log(AuditError::Damaged { .. })), "{error}");
    drop(of);
}

#[test]
fn entries_of_a_version_to_come_are_counted() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(1));
    log.close();
    // As another version would write it: the same frame, other bytes.
    let path = last_segment(&setup.dir());
    let mut data = std::fs::read(&path).unwrap();
    let leftover = usize::try_from(segment::leftover(&data, segment::HEADER_BYTES)).unwrap() + segment::HEADER_BYTES;
    let mut frame = Vec::new();
    let next = read(&setup.dir()).len() as u64;
    segment::push_frame(&mut frame, next, br#"{"kind":"permit","v":2,"who":"is that"}"#).unwrap();
    data[leftover..leftover + frame.len()].copy_from_slice(&frame);
    std::fs::write(&path, data).unwrap();
    let index = small(&setup, "index");
    index.catch_up(u64::MAX, |_| ()).unwrap();
    let answer = index.search(&Query::default()).unwrap();
    assert_eq!((1, 1), (answer.decisions.len(), answer.unread));
    assert_eq!("permit", index.show(next).unwrap().unwrap().entries[0].value["kind"], "shown as it stands");
}

#[test]
fn a_live_index_answers_with_what_is_durable_now() {
    let setup = Setup::new();
    let log = setup.open();
    let live = LiveIndex::new(log.clone(), &setup.dir());
    for party in 0..5 {
        let head = record(&log, permit(party));
        let found = live.fresh().unwrap().search(&Query { customers: vec![PartyNo(party)], ..Query::default() }).unwrap();
        assert_eq!(vec![head], found.decisions.iter().map(|found| found.index).collect::<Vec<_>>());
        assert!(found.decisions[0].unresolved && live.lag() == 0);
    }
    log.close();
}
