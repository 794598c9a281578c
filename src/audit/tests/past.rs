//! What was decided is read back to be judged again, or counted as a gap; it is never guessed.

use super::*;
use crate::audit::{Gap, Item, Past};

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Group { decision: u64, customers: u64, parties: Vec<u64>, anybody: bool },
    Gap(Gap, u64),
}

fn past(setup: &Setup, since: Option<Timestamp>) -> (Past, Vec<Told>) {
    let mut told = Vec::new();
    let past = Past::read(
        &setup.dir(),
        since,
        |_, _| {},
        |past, item| {
            told.push(match item {
                Item::Group(group) => Told::Group {
                    decision: group.decision,
                    customers: group.customers,
                    parties: group.parties().iter().map(|party| party.0).collect(),
                    anybody: past.verdicts[group.verdicts].verdicts.iter().all(|verdict| verdict.grounds.whom == Whom::Anybody),
                },
                Item::Gap { why, customers, .. } => Told::Gap(why, customers),
            });
        },
    );
    (past.unwrap(), told)
}

fn known(decision: u64, parties: &[u64]) -> Told {
    Told::Group { decision, customers: parties.len() as u64, parties: parties.to_vec(), anybody: false }
}

#[test]
fn a_question_is_read_back_with_every_fact() {
    let setup = Setup::new();
    let log = setup.open();
    let facts = DecisionFacts { now: Timestamp::from_second(START - 3).unwrap(), ..(*facts()).clone() };
    let groups = vec![group(&[7, 9], Outcome::Permit, vec![judged("contact", Release::Reduced)])];
    let head = record(&log, Entry::Permit { facts: Arc::new(facts), groups });
    log.close();
    let mut now = None;
    let read = Past::read(
        &setup.dir(),
        None,
        |_, _| {},
        |_, item| {
            if let Item::Group(group) = item {
                now = Some(group.now);
            }
        },
    );
    assert_eq!(Some(Timestamp::from_second(START - 3).unwrap()), now, "the time of the question, not of the entry");
    let (again, told) = past(&setup, None);
    assert_eq!([known(head, &[7, 9])], &told[..]);
    let caller = &again.callers[0];
    assert_eq!(("crm", "sales", true, "sales.outreach"), (&*caller.app, &*caller.department, caller.has_employee, &*caller.purpose));
    assert_eq!((Channel::Email, Environment::Production, "81c07d"), (caller.channel, caller.environment, &*caller.policies));
    assert_eq!(vec!["sales-rep".to_owned()], caller.roles);
    let verdicts = &again.verdicts[0];
    assert_eq!(group(&[], Outcome::Permit, Vec::new()).facts, verdicts.facts);
    let (verdict, wanted) = (&verdicts.verdicts[0], judged("contact", Release::Reduced));
    assert_eq!(("contact", Release::Reduced), (&*verdict.category, verdict.release));
    assert_eq!((wanted.basis, wanted.status, wanted.grounds), (verdict.basis, verdict.status, Some(verdict.grounds.clone())));
    assert_eq!(1, read.unwrap().decisions);
}

#[test]
fn an_entry_without_grounds_is_a_gap() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, permit(44));
    record(
        &log,
        Entry::Permit {
            facts: facts(),
            groups: vec![group(&[44], Outcome::Permit, vec![judged("contact", Release::Full), verdict("order", Release::Full, None)])],
        },
    );
    log.close();
    assert_eq!([Told::Gap(Gap::OtherVersion, 1), Told::Gap(Gap::OtherVersion, 1)], &past(&setup, None).1[..]);
}

#[test]
fn a_part_is_about_what_its_head_asked_and_repeats_nothing() {
    let setup = Setup::new();
    let log = setup.open();
    let mine = || group(&[44], Outcome::Permit, vec![judged("contact", Release::Full)]);
    let theirs = group(&[45, 46], Outcome::Deny, vec![judged("contact", Release::Withheld)]);
    let of = record(&log, Entry::Permit { facts: facts(), groups: vec![mine()] });
    record(&log, Entry::Part { of, rows: 1, dropped: 2, groups: vec![mine(), theirs], withheld: Vec::new() });
    record(&log, end(of));
    log.close();
    let (again, told) = past(&setup, None);
    assert_eq!([known(of, &[44]), known(of, &[45, 46])], &told[..]);
    assert_eq!((1, 1, 2), (again.decisions, again.callers.len(), again.verdicts.len()));
}

#[test]
fn what_is_about_nobody_counts_once_and_a_refusal_of_everybody_is_told() {
    let setup = Setup::new();
    let log = setup.open();
    let about = |whom| {
        let mut verdict = judged("contact", Release::Withheld);
        verdict.grounds.as_mut().unwrap().whom = whom;
        Group { facts: None, ..group(&[], Outcome::Deny, vec![verdict]) }
    };
    let unknown = Group { unknown: 3, ..about(Whom::Unknown) };
    let deny = |code, group| Entry::Deny { facts: facts(), of: None, status: 403, code, groups: vec![group], paths: Vec::new() };
    let first = record(&log, deny("field-not-permitted", about(Whom::Anybody)));
    let second = record(&log, deny("denied", unknown));
    log.close();
    let told = |decision, customers, anybody| Told::Group { decision, customers, parties: Vec::new(), anybody };
    assert_eq!([told(first, 1, true), told(second, 3, false)], &past(&setup, None).1[..]);
}

#[test]
fn since_leaves_out_what_was_before() {
    let setup = Setup::new();
    let log = setup.open();
    record(&log, Entry::Permit { facts: facts(), groups: vec![group(&[44], Outcome::Permit, vec![judged("contact", Release::Full)])] });
    log.close();
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    assert_eq!(1, past(&setup, at(START)).1.len());
    let (again, told) = past(&setup, at(START + 1));
    assert_eq!((0, 0), (told.len(), again.decisions));
}

#[test]
fn a_folder_without_a_log_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let read = Past::read(dir.path(), None, |_, _| {}, |_, _| panic!("nothing is there"));
    assert!(matches!(read, Err(AuditError::NoLog { .. })), "{read:?}");
}
