use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::clock::ManualClock;

const HOUR: Duration = Duration::from_secs(3_600);

fn clock() -> Arc<ManualClock> {
    ManualClock::at("2026-03-01T08:00:00Z".parse().unwrap())
}

fn budgets(clock: &Arc<ManualClock>) -> Budgets {
    Budgets::new(Arc::clone(clock) as Arc<dyn Clock>)
}

fn budget(name: &str) -> Budget {
    Budget {
        name: name.to_owned(),
        client: None,
        department: None,
        purpose: None,
        api: None,
        each_client: false,
        requests: None,
        rows: None,
        customers: None,
    }
}

const fn within_an_hour(most: u64) -> Option<Allowance> {
    Some(Allowance { most, within: HOUR })
}

fn crm() -> Client {
    Client::intern("crm")
}

/// Counts, and says what it would be over.
fn count(all: &Budgets, budget: &Budget, requests: u64, rows: u64, parties: &[u64], unknown: u64) -> Result<(), &'static str> {
    let parties = parties.iter().copied().map(PartyNo).collect();
    all.count([budget].into_iter(), crm(), &Amount { requests, rows, parties, unknown }).map_err(|over| over.what)
}

#[test]
fn so_many_in_any_hour_and_no_more() {
    let clock = clock();
    let (all, budget) = (budgets(&clock), Budget { requests: within_an_hour(3), rows: within_an_hour(10), ..budget("b") });
    let request = || count(&all, &budget, 1, 0, &[], 0);
    assert_eq!((Ok(()), Ok(())), (request(), request()));
    clock.advance(Duration::from_secs(1_800));
    assert_eq!(Ok(()), request());
    assert_eq!(Err("requests"), request());
    // A refused request counts nothing, and rows have an allowance of their own.
    assert_eq!(Ok(()), count(&all, &budget, 0, 10, &[], 0));
    assert_eq!(Err("rows"), count(&all, &budget, 0, 1, &[], 0));
    // Until all of the slot of the first two lies outside: an hour after them they may still be of the last hour.
    clock.advance(Duration::from_secs(1_800));
    assert_eq!(Err("requests"), request());
    clock.advance(Duration::from_secs(60));
    assert_eq!((Ok(()), Ok(()), Err("requests")), (request(), request(), request()));
    clock.advance(2 * HOUR);
    assert_eq!(Ok(()), count(&all, &budget, 3, 10, &[], 0));
    // Setting the other clock gives nobody anything.
    clock.step_to("2031-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(Err("requests"), request());
}

#[test]
fn the_wait_that_is_told_is_long_enough() {
    let clock = clock();
    let (all, budget) = (budgets(&clock), Budget { requests: within_an_hour(1), ..budget("b") });
    for pause in [0, 17, 3_599, 61] {
        clock.advance(Duration::from_secs(pause) + Duration::from_millis(pause));
        let one = Amount { requests: 1, ..Amount::default() };
        let Err(over) = all.count([&budget].into_iter(), crm(), &one) else { continue };
        let seconds = over.into_problem().details.retry_after.unwrap();
        assert!((1..=3_660).contains(&seconds), "{seconds}");
        clock.advance(Duration::from_secs(seconds));
        assert!(all.count([&budget].into_iter(), crm(), &one).is_ok(), "{seconds}");
    }
}

#[test]
fn customers_are_told_apart_and_a_known_one_costs_nothing() {
    let clock = clock();
    let (all, budget) = (budgets(&clock), Budget { customers: within_an_hour(4), ..budget("b") });
    let see = |parties: &[u64], unknown| count(&all, &budget, 0, 0, parties, unknown);
    assert_eq!(Ok(()), see(&[1, 2, 3], 0));
    assert_eq!(Ok(()), see(&[1, 2, 3], 0));
    // All or nobody.
    assert_eq!(Err("customers"), see(&[1, 4, 5], 0));
    assert_eq!(Err("customers"), see(&[4], 1), "whom nobody can tell apart is another one each time");
    assert_eq!(Ok(()), see(&[2], 1));
    assert_eq!(Err("customers"), see(&[4], 0));
    assert_eq!(Ok(()), see(&[1, 2], 0), "with nothing left, those who count already");
    // Who is seen again counts from then on.
    clock.advance(Duration::from_secs(2_400));
    assert_eq!(Ok(()), see(&[1], 0));
    clock.advance(Duration::from_secs(1_320));
    assert_eq!(Err("customers"), see(&[5, 6, 7, 8], 0));
    assert_eq!(Ok(()), see(&[5, 6, 7], 0));
    assert_eq!(Ok(()), see(&[1], 0));
    // Nothing is remembered of whom nobody has seen for an hour.
    clock.advance(2 * HOUR);
    assert_eq!(Ok(()), see(&[9], 0));
    let mut counters = all.counters();
    let customers = counters.values_mut().next().unwrap().customers.as_mut().unwrap();
    assert_eq!(4, customers.total_with(all.now(), &[PartyNo(1), PartyNo(2), PartyNo(9)], 1));
}

#[test]
fn it_agrees_with_counting_by_hand() {
    // What happened, by minute and customer; each hour's customers are looked up in all of it.
    let clock = clock();
    let (all, budget) = (budgets(&clock), Budget { customers: within_an_hour(20), ..budget("b") });
    let mut seen: Vec<(u64, u64)> = Vec::new();
    let mut state = 7_u64;
    for minute in 0..600 {
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let party = (state >> 33) % 60;
            if count(&all, &budget, 0, 0, &[party], 0).is_ok() {
                seen.push((minute, party));
            }
            let last_hour: BTreeSet<u64> = seen.iter().filter(|(at, _)| at + 60 > minute).map(|(_, party)| *party).collect();
            assert!(last_hour.len() <= 20, "{minute}: {}", last_hour.len());
        }
        clock.advance(Duration::from_secs(60));
    }
    assert!(seen.len() > 600, "nearly all of it is given out: {}", seen.len());
}

#[test]
fn clients_have_it_together_or_each_for_itself() {
    let all = budgets(&clock());
    let one = Amount { requests: 1, ..Amount::default() };
    let together = Budget { requests: within_an_hour(1), ..budget("together") };
    let apart = Budget { requests: within_an_hour(1), each_client: true, ..budget("apart") };
    let ask = |budget: &Budget, client: &str| all.count([budget].into_iter(), Client::intern(client), &one).map_err(|over| over.budget);
    assert_eq!((Ok(()), Err("together".to_owned())), (ask(&together, "crm"), ask(&together, "helpdesk")));
    assert_eq!((Ok(()), Ok(())), (ask(&apart, "crm"), ask(&apart, "helpdesk")));
    assert_eq!(Err("apart".to_owned()), ask(&apart, "crm"));
    // With several budgets all must have room, and a refusal takes from none.
    let both = [Budget { requests: within_an_hour(5), ..budget("roomy") }, together];
    for _ in 0..9 {
        assert_eq!(Err("together".to_owned()), all.count(both.iter(), crm(), &one).map_err(|over| over.budget));
    }
    for _ in 0..5 {
        assert_eq!(Ok(()), ask(&both[0], "crm"));
    }
    assert_eq!(Err("roomy".to_owned()), ask(&both[0], "crm"));
}

#[test]
fn a_reload_keeps_counts_by_name() {
    let all = budgets(&clock());
    let before = Budget { requests: within_an_hour(5), rows: within_an_hour(5), ..budget("b") };
    assert_eq!(Ok(()), count(&all, &before, 4, 5, &[], 0));
    let after = Budget { requests: within_an_hour(3), ..before };
    all.adopt(std::slice::from_ref(&after));
    assert_eq!(Err("requests"), count(&all, &after, 1, 0, &[], 0), "less is allowed, and what was counted stays");
    assert_eq!(Err("rows"), count(&all, &after, 0, 1, &[], 0));
    // Over another time it is counted anew; what is no more is forgotten.
    let daily = Budget { rows: Some(Allowance { most: 5, within: 24 * HOUR }), ..after };
    assert_eq!(Ok(()), count(&all, &daily, 0, 5, &[], 0));
    assert_eq!(Err("requests"), count(&all, &daily, 1, 0, &[], 0));
    all.adopt(&[budget("other")]);
    assert!(all.counters().is_empty());
}

#[test]
fn many_at_once_never_exceed_it() {
    let (all, budget) = (budgets(&clock()), Budget { requests: within_an_hour(1_000), customers: within_an_hour(50), ..budget("b") });
    let (requests, customers) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (all, budget, requests, customers) = (&all, &budget, &requests, &customers);
            scope.spawn(move || {
                for n in 0..400 {
                    let party = (thread * 31 + n) % 200;
                    if count(all, budget, 1, 0, &[], 0).is_ok() {
                        requests.fetch_add(1, Ordering::SeqCst);
                    }
                    if count(all, budget, 0, 0, &[party], 0).is_ok() {
                        customers.lock().unwrap().insert(party);
                    }
                }
            });
        }
    });
    assert_eq!((1_000, 50), (requests.into_inner(), customers.into_inner().unwrap().len()));
}

#[test]
fn what_was_cut_before_is_not_counted_twice() {
    let mut charged = Charged::default();
    let (all, budget) = (budgets(&clock()), Budget { rows: within_an_hour(10), ..budget("b") });
    for rows in [4_u64, 4, 6] {
        assert_eq!(Ok(()), count(&all, &budget, 0, rows.saturating_sub(charged.rows), &[], 0));
        charged.rows = charged.rows.max(rows);
    }
    assert_eq!((Ok(()), Err("rows")), (count(&all, &budget, 0, 4, &[], 0), count(&all, &budget, 0, 1, &[], 0)));
}
