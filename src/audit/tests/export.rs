//! Following a log: what is told, once, in order, whatever happens between.

use super::*;
use crate::audit::export::{Decided, Event, ExportError, Position, Step, Tail, What, origin};

fn tail(dir: &Path, position: Position) -> Tail {
    Tail::open(dir, ORIGIN, position).unwrap()
}

/// Everything that is told from a position on, with where the tail stands after it.
pub(super) fn follow(dir: &Path, position: Position, bound: Option<u64>) -> Vec<(Event, Position)> {
    let mut tail = tail(dir, position);
    let mut told = Vec::new();
    loop {
        match tail.step(bound, None).unwrap() {
            Step::Event(event) => told.push((*event, tail.position())),
            Step::Read => {}
            Step::Idle => return told,
        }
    }
}

fn decided(event: &Event) -> &Decided {
    let What::Decision(decided) = &event.what else { panic!("{event:?}") };
    decided
}

fn names(told: &[(Event, Position)]) -> Vec<String> {
    told.iter().map(|(event, _)| format!("{} {}", event.index, event.name())).collect()
}

/// Several runs with answers in each other, some never ended, over several segments.
fn history(setup: &Setup) {
    for run in 0..3 {
        let log = setup.open();
        let mut under_way = Vec::new();
        for n in 0..150u64 {
            under_way.push(record(&log, permit(1_000 * run + n)));
            if n % 3 == 0 {
                record(&log, deny(n));
            }
            if n % 7 == 0 {
                record(&log, Entry::Clock { step_ms: 1 });
            }
            if under_way.len() > 5 && n % 11 != 0 {
                let of = under_way.remove(usize::try_from(n % 5).unwrap());
                record(&log, Entry::Part { of, rows: 1, dropped: 0, groups: Vec::new(), withheld: vec![format!("{run}.{n}.{}", "x".repeat(3_000))] });
                log.append_unwaited(end(of)).unwrap();
            }
        }
        log.close();
    }
}

#[test]
fn a_decision_is_told_once_when_it_is_over() {
    let setup = Setup::new();
    let log = setup.open();
    let (first, second) = (record(&log, permit(44)), record(&log, permit(45)));
    let refused = record(&log, deny(46));
    let late = record(
        &log,
        Entry::Deny { facts: facts(), of: Some(second), status: 502, code: "upstream-unreadable", groups: Vec::new(), paths: Vec::new() },
    );
    let told = follow(&setup.dir(), Position::default(), Some(log.metrics().entries));
    assert_eq!(names(&told), ["0 start".to_owned(), format!("{refused} decision.deny"), format!("{second} decision.deny")]);
    assert_eq!(told[2].1, Position { next: late + 1, open: [first].into() });
    assert_eq!((told[0].0.id().as_str(), told[0].0.at.as_second()), ("gw-test.example.com#0", START));
    record(&log, end(first));
    let more = follow(&setup.dir(), told[2].1.clone(), Some(log.metrics().entries));
    assert_eq!(names(&more), [format!("{first} decision.permit")]);
    let decided = decided(&more[0].0);
    assert_eq!((decided.parties.as_slice(), decided.latency_us, decided.rid), ([44].as_slice(), Some(900), Some(17)));
    assert_eq!(decided.trace_id.as_deref(), Some("ab".repeat(16).as_str()));
    let searched = search(&setup.dir(), &Query { decision: Some(first), ..Query::default() }).unwrap();
    assert_eq!(decided.found, searched[0], "the same decision that a search shows");
    assert_eq!(origin(&setup.dir()).unwrap(), ORIGIN);
    log.close();
}

#[test]
fn from_every_position_what_follows_is_told_and_nothing_else() {
    let setup = Setup::new();
    history(&setup);
    assert!(segment::list(&[setup.dir()]).unwrap().len() > 3, "several segments");
    let all = follow(&setup.dir(), Position::default(), None);
    let searched = search(&setup.dir(), &Query::default()).unwrap();
    let decisions: Vec<&Event> = all.iter().map(|(event, _)| event).filter(|event| event.kind() == "decision").collect();
    let open = all.last().unwrap().1.open.clone();
    assert_eq!(decisions.len() + open.len(), searched.len());
    assert!(decisions.iter().all(|event| searched.contains(&decided(event).found)));
    assert!(decisions.iter().any(|event| decided(event).outcome() == "unresolved") && !open.is_empty());
    for at in (0..all.len()).step_by(13) {
        let rest = follow(&setup.dir(), all[at].1.clone(), None);
        assert!(rest == all[at + 1..], "after event {at}");
    }
    let ends: Vec<Event> = tail(&setup.dir(), all.last().unwrap().1.clone()).finish().collect();
    assert!(ends.is_empty(), "nothing was read yet");
    let mut last = tail(&setup.dir(), Position::default());
    while !matches!(last.step(None, None).unwrap(), Step::Idle) {}
    let ends: Vec<u64> = last.finish().map(|event| event.index).collect();
    assert_eq!(ends, open.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_log_is_followed_while_it_is_written_and_not_beyond_what_is_durable() {
    let setup = Setup::new();
    let log = setup.open();
    let writer = {
        let log = log.clone();
        std::thread::spawn(move || record_all(&log, 0..6_000))
    };
    let mut tail = tail(&setup.dir(), Position::default());
    let mut heads = Vec::new();
    while heads.len() < 6_000 {
        let bound = log.metrics().entries;
        loop {
            match tail.step(Some(bound), None).unwrap() {
                Step::Idle => break,
                Step::Event(event) => heads.extend((event.kind() == "decision").then_some(event.index)),
                Step::Read => heads.extend(tail.position().open.last().copied().filter(|head| heads.last() != Some(head))),
            }
            assert!(tail.position().next <= bound);
        }
        if writer.is_finished() && tail.position().next >= log.metrics().entries && log.metrics().queue_depth == 0 {
            break;
        }
    }
    writer.join().unwrap();
    log.close();
    let mut expected: Vec<u64> = read(&setup.dir()).iter().filter(|l| l.decision() == Some(l.index)).map(|l| l.index).collect();
    heads.sort_unstable();
    heads.dedup();
    expected.truncate(heads.len());
    assert_eq!((heads.len(), heads == expected), (6_000, true));
}

#[test]
fn what_never_ends_is_unresolved_after_a_restart_or_seventy_minutes() {
    let setup = Setup::new();
    let log = setup.open();
    let (first, second) = (record(&log, permit(44)), record(&log, permit(45)));
    let mut tail = tail(&setup.dir(), Position::default());
    let now = |minutes: i64| Some(Timestamp::from_second(START + minutes * 60).unwrap());
    let bound = Some(log.metrics().entries);
    let mut step = |bound, minutes| {
        loop {
            match tail.step(bound, now(minutes)).unwrap() {
                Step::Event(event) => return Some((event.index, event.name(), tail.position().open.len())),
                Step::Read => {}
                Step::Idle => return None,
            }
        }
    };
    assert_eq!(step(bound, 0), Some((0, "start".to_owned(), 0)));
    assert_eq!(step(bound, 69), None);
    // The log is quiet; time is not.
    assert_eq!(step(bound, 70), Some((first, "decision.unresolved".to_owned(), 1)));
    assert_eq!(step(bound, 69), None);
    // An end that comes even so changes nothing any more.
    record(&log, end(first));
    log.close();
    let log = setup.open();
    let bound = Some(log.metrics().entries);
    assert_eq!(step(bound, 0), Some((second + 2, "stop".to_owned(), 1)));
    assert_eq!(step(bound, 0), Some((second, "decision.unresolved".to_owned(), 0)));
    assert_eq!(step(bound, 0), Some((second + 3, "start".to_owned(), 0)));
    assert_eq!(step(bound, 999), None);
    log.close();
}

#[test]
fn a_stream_of_many_parts_is_told_in_bounds() {
    let setup = Setup::new();
    let log = setup.open();
    let of = record(&log, Entry::Intent { facts: facts(), groups: Vec::new() });
    for n in 0..200 {
        let verdicts = vec![verdict("contact", Release::Full, Some(n))];
        record(&log, Entry::Part { of, rows: 1, dropped: 0, groups: vec![group(&[n], Outcome::Permit, verdicts)], withheld: Vec::new() });
    }
    let last = record(&log, Entry::End { of, status: 200, bytes: 1, rows: 200, complete: true, latency_us: 1 });
    let told = follow(&setup.dir(), Position::default(), Some(log.metrics().entries));
    let decided = decided(&told[1].0);
    assert_eq!((decided.entries_total, decided.found.entries.len(), decided.found.entries.last()), (202, 64, Some(&last)));
    assert_eq!((decided.found.parties, decided.parties.len(), decided.found.rows), (200, 64, 200));
    assert_eq!((decided.found.relied.len(), decided.is_abridged), (17, true), "sixteen with an event, one without");
    log.close();
}

#[test]
fn a_position_of_another_log_is_found_out() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(44));
    let clock = record(&log, Entry::Clock { step_ms: 1 });
    log.close();
    let mut tail = tail(&setup.dir(), Position { next: clock + 1, open: [clock].into() });
    let failed = loop {
        match tail.step(None, None) {
            Ok(Step::Idle) => panic!("the position is believed"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, ExportError::NotThisLog { head } if head == clock), "{failed}");
    // What is damaged is not passed over.
    let segment = last_segment(&setup.dir());
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(12).position(|part| part == b"\"step_ms\":1,").unwrap();
    bytes[at + 10] = b'2';
    std::fs::write(&segment, bytes).unwrap();
    let mut tail = Tail::open(&setup.dir(), ORIGIN, Position::default()).unwrap();
    let failed = loop {
        match tail.step(Some(clock + 1), None) {
            Ok(Step::Idle) => panic!("damage is passed over"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(failed.to_string().contains("is missing or changed"), "{failed}");
    assert!(Tail::open(setup.root.path(), ORIGIN, Position::default()).is_err());
}
