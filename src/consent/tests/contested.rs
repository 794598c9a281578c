//! The conflict ledger over all customers.

use crate::model::Revision;

use super::*;

const MAIL: &str = "marketing.email";

fn all(ledger: &Ledger, filter: &ConflictFilter) -> Vec<(u64, Purpose)> {
    let page = ledger.conflicts(filter, None, 1000).unwrap();
    assert_eq!(page.next, None);
    page.conflicts.iter().map(|found| (found.party.0, found.disagreement.purpose)).collect()
}

/// What a department's system reports about a customer: the system's own word.
fn report(bench: &Bench, who: &str, about: &str, state: State, system: &str) -> Acknowledged {
    let mut draft = bench.draft(who, about, state);
    (draft.claims, draft.source_system) = (Author::Staff, Some(system.to_owned()));
    bench.ledger.record(draft, &staff()).unwrap()
}

/// Customers 1 to `n`; those whose number is even gave consent that `erp` denies.
fn contested(n: u64) -> Bench {
    let bench = empty_bench();
    let rows: String = (1..=n).map(|i| format!("crm:{i}\n")).collect();
    assert_eq!(bench.import(&format!("identifiers\n{rows}")).errors, []);
    for i in 1..=n {
        bench.say(&format!("crm:{i}"), MAIL, State::Given);
    }
    bench.advance(3600);
    for i in (2..=n).step_by(2) {
        report(&bench, &format!("crm:{i}"), MAIL, State::Refused, "erp");
    }
    bench
}

#[test]
fn everybody_about_whom_systems_disagree_is_found_once_in_pages_of_any_size() {
    let bench = contested(9);
    let expected: Vec<_> = [2, 4, 6, 8].map(|no| (no, purpose(MAIL))).to_vec();
    assert_eq!(all(&bench.ledger, &ConflictFilter::default()), expected);
    assert_eq!(all(&bench.reopened(), &ConflictFilter::default()), expected, "after a restart");
    for limit in [1, 2, 3, 4, 5] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = bench.ledger.conflicts(&ConflictFilter::default(), after, limit).unwrap();
            assert!(page.conflicts.len() <= limit);
            found.extend(page.conflicts.iter().map(|found| (found.party.0, found.disagreement.purpose)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "in pages of {limit}");
    }
}

#[test]
fn filters_leave_out_what_they_do_not_name() {
    let bench = contested(4);
    let before = bench.ledger.revision();
    bench.advance(3600);
    let mut later = report(&bench, "crm:3", "sales.outreach", State::Refused, "cpq").revision;
    assert_eq!(all(&bench.ledger, &ConflictFilter::default()).len(), 2, "one system that speaks of another purpose");
    bench.say("crm:3", "sales.outreach", State::Given);
    let only = |change: &dyn Fn(&mut ConflictFilter)| {
        let mut filter = ConflictFilter::default();
        change(&mut filter);
        all(&bench.ledger, &filter).into_iter().map(|(no, _)| no).collect::<Vec<_>>()
    };
    assert_eq!(only(&|_| {}), [2, 3, 4]);
    assert_eq!(only(&|f| f.purpose = Some(purpose("sales"))), [3], "with what is below it");
    assert_eq!(only(&|f| f.purpose = Some(purpose("marketing.phone"))), [0; 0]);
    assert_eq!(only(&|f| f.system = Some("cpq".to_owned())), [3]);
    assert_eq!(only(&|f| f.system = Some("nobody".to_owned())), [0; 0]);
    assert_eq!(only(&|f| f.since = Some(before)), [3]);
    assert_eq!(only(&|f| f.merged = true), [0; 0]);
    later.0 += 1;
    assert_eq!(only(&|f| f.since = Some(Revision(later.0 + 10))), [0; 0]);
    // Her own word, surely later than what the system says.
    bench.advance(3600);
    bench.say("crm:2", MAIL, State::Given);
    assert_eq!(only(&|f| f.unsettled = true), [3, 4]);
}

#[test]
fn merged_customers_who_said_differently_are_told_apart_from_others() {
    let bench = contested(4);
    bench.say("crm:3", MAIL, State::Refused);
    let merged = MergeDraft { into: id("crm:1").into(), from: id("crm:3").into(), time: None, reason: "the same person".to_owned() };
    bench.ledger.merge(&merged, &staff()).unwrap();
    let filter = ConflictFilter { merged: true, ..ConflictFilter::default() };
    // One system wrote both down, about somebody whom it took for two.
    assert_eq!(all(&bench.ledger, &filter), [(1, purpose(MAIL))]);
    let every = [1, 2, 4].map(|no| (no, purpose(MAIL)));
    assert_eq!(all(&bench.ledger, &ConflictFilter::default()), every, "the one who was merged has no line of their own");
    bench.advance(3600);
    bench.say("crm:3", MAIL, State::Given);
    assert_eq!(all(&bench.ledger, &filter), [], "settled by the customer");
    assert_eq!(bench.state("crm:1", MAIL), State::Given);
}

#[test]
fn who_was_asked_is_shown_until_they_have_answered() {
    let bench = contested(2);
    let ask = |about: &str| {
        let mut draft = EventDraft::new(id("crm:2"), purpose(about), State::Requested);
        draft.claims = Author::Staff;
        bench.ledger.record(draft, &staff()).unwrap().event
    };
    let asked = || bench.ledger.conflicts_of(&id("crm:2").into()).unwrap().into_iter().map(|found| (found.asked, found.settled)).collect::<Vec<_>>();
    assert_eq!(asked(), [(None, false)]);
    ask("sales.outreach");
    assert_eq!(asked(), [(None, false)], "about something else");
    bench.advance(60);
    let event = ask(MAIL);
    assert_eq!(bench.state("crm:2", MAIL), State::Withdrawn, "to ask opens nothing");
    assert_eq!(asked(), [(Some(event), false)]);
    bench.advance(3600);
    report(&bench, "crm:2", MAIL, State::Refused, "erp");
    assert_eq!(asked(), [(Some(event), false)], "a system's word is no answer");
    bench.advance(3600);
    bench.say("crm:2", MAIL, State::Given);
    assert_eq!(asked(), [(None, true)]);
    assert_eq!(bench.state("crm:2", MAIL), State::Given);
    bench.advance(3600);
    report(&bench, "crm:2", MAIL, State::Refused, "erp");
    assert_eq!(asked(), [(None, false)], "what was answered before is not asked again");
}

#[test]
fn nothing_is_listed_without_policies_or_store_or_about_strangers() {
    let bench = contested(2);
    assert!(matches!(bench.ledger.conflicts_of(&id("crm:404").into()), Err(ConsentError::NotFound)));
    bench.switch.down();
    bench.advance(10);
    assert!(matches!(bench.ledger.conflicts(&ConflictFilter::default(), None, 10), Err(ConsentError::Unavailable(_))));
}
