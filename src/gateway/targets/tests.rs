use super::*;
use crate::clock::ManualClock;
use crate::config::HealthCheck;

const EJECTION: Ejection = Ejection { failures: 3, first: Duration::from_secs(10), longest: Duration::from_secs(35) };

fn targets(count: usize, clock: &Arc<ManualClock>) -> Arc<Targets> {
    let uris = (0..count).map(|n| format!("https://t{n}.internal").parse().unwrap()).collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let second = Duration::from_secs(1);
    let check = HealthCheck { path: "/healthz".to_owned(), every: second, timeout: second, failures: 2, successes: 2 };
    Targets::new(UpstreamName::intern("api"), uris, EJECTION, Some(Check::new(check, tls)), Arc::clone(clock) as Arc<dyn Clock>)
}

fn clock() -> Arc<ManualClock> {
    let clock = ManualClock::at("2026-03-01T08:00:00Z".parse().unwrap());
    clock.advance(Duration::from_secs(100));
    clock
}

/// Has a request fail, or not, at the target with this number.
fn at(targets: &Arc<Targets>, at: usize, status: Option<u16>) {
    let others: Vec<usize> = (0..targets.each.len()).filter(|other| *other != at).collect();
    let picked = targets.pick(&others).unwrap();
    assert_eq!(at, picked.at());
    match status {
        Some(status) => picked.answered(StatusCode::from_u16(status).unwrap()),
        None => picked.failed(),
    }
}

/// How often each of them is picked of so many requests.
fn spread(targets: &Arc<Targets>, requests: usize) -> Vec<usize> {
    let mut counts = vec![0; targets.each.len()];
    (0..requests).for_each(|_| counts[targets.pick(&[]).unwrap().at()] += 1);
    counts
}

fn is_out(targets: &Targets, at: usize) -> bool {
    !targets.states().nth(at).unwrap().is_up
}

#[test]
fn requests_spread_and_go_where_fewer_are_under_way() {
    let targets = targets(4, &clock());
    for count in spread(&targets, 4_000) {
        assert!((700..1_300).contains(&count), "{count}");
    }
    // Nothing comes back: the most burdened has hardly more than the least.
    let held: Vec<Picked> = (0..1_000).map(|_| targets.pick(&[]).unwrap()).collect();
    let loads: Vec<usize> = targets.states().map(|state| state.in_flight).collect();
    assert_eq!(1_000, loads.iter().sum::<usize>());
    assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 10, "{loads:?}");
    drop(held);
    assert!(targets.states().all(|state| state.in_flight == 0));
    assert!(targets.pick(&[0, 1, 2, 3]).is_none());
    assert_eq!(2, targets.pick(&[0, 1, 3]).unwrap().at());
}

#[test]
fn one_that_fails_in_a_row_is_left_out_longer_each_time() {
    let clock = clock();
    let targets = targets(3, &clock);
    for status in [Some(500), None, Some(200), Some(503), None] {
        at(&targets, 1, status);
    }
    assert!(!is_out(&targets, 1), "never three in a row");
    // What the target only does not know is no failure, and what callers do wrong is a success.
    at(&targets, 1, Some(501));
    (0..5).for_each(|_| at(&targets, 1, Some(404)));
    (0..3).for_each(|_| at(&targets, 1, Some(502)));
    for (seconds, last) in [(10, false), (20, false), (35, false), (35, true)] {
        assert!(is_out(&targets, 1) && spread(&targets, 200)[1] == 0);
        assert_eq!(
            Some("1 of 3 targets of upstream `api` are out: https://t1.internal has failed and is left out for a time".to_owned()),
            targets.trouble()
        );
        clock.advance(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(is_out(&targets, 1), "{seconds}");
        clock.advance(Duration::from_millis(1));
        assert!(!is_out(&targets, 1) && spread(&targets, 200)[1] > 0);
        if !last {
            // One failure is enough when it has just come back.
            at(&targets, 1, None);
        }
    }
    at(&targets, 1, Some(200));
    (0..2).for_each(|_| at(&targets, 1, None));
    assert!(!is_out(&targets, 1), "a success makes it as good as any other");
    assert_eq!(None, targets.trouble());
}

#[test]
fn with_all_of_them_out_the_one_out_longest_is_asked() {
    let clock = clock();
    let targets = targets(3, &clock);
    for one in [2, 0, 1] {
        (0..3).for_each(|_| at(&targets, one, None));
        clock.advance(Duration::from_secs(1));
    }
    assert!((0..3).all(|one| is_out(&targets, one)));
    for one in [2, 0, 1, 2] {
        let picked = targets.pick(&[]).unwrap();
        assert_eq!(one, picked.at());
        picked.failed();
        clock.advance(Duration::from_millis(10));
    }
    assert_eq!(0, targets.pick(&[]).unwrap().at());
    at(&targets, 0, Some(200));
    assert_eq!(vec![50, 0, 0], spread(&targets, 50), "one that answers is back at once");
}

#[test]
fn the_only_target_is_never_left_out() {
    let targets = targets(1, &clock());
    (0..20).for_each(|_| at(&targets, 0, None));
    assert!(!is_out(&targets, 0));
    targets.checked(0, Some("status 500"));
    targets.checked(0, Some("status 500"));
    assert!(is_out(&targets, 0), "readiness tells of it");
    assert_eq!(0, targets.pick(&[]).unwrap().at(), "and it is asked all the same");
}

#[test]
fn health_checks_count_in_a_row() {
    let targets = targets(2, &clock());
    for (why, is_down) in [
        (Some("late"), false),
        (None, false),
        (Some("late"), false),
        (Some("late"), true),
        (None, true),
        (Some("late"), true),
        (None, true),
        (None, false),
    ] {
        targets.checked(0, why);
        assert_eq!(is_down, is_out(&targets, 0), "{why:?}");
        assert!(!is_down || spread(&targets, 50)[0] == 0);
    }
    // Who passes its checks need not wait for its time.
    (0..3).for_each(|_| at(&targets, 0, None));
    assert!(is_out(&targets, 0));
    (0..2).for_each(|_| targets.checked(0, Some("late")));
    (0..2).for_each(|_| targets.checked(0, None));
    assert!(!is_out(&targets, 0));
}

#[test]
fn many_at_once_lose_no_count() {
    let targets = targets(3, &clock());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..2_000).for_each(|n| if n % 7 == 0 { targets.pick(&[]).unwrap().failed() } else { drop(targets.pick(&[])) }));
        }
    });
    assert!(targets.states().all(|state| state.in_flight == 0));
}
