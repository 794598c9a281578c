//! `consentry bench --oracle`: whether a caller can tell, by an answer or by the time it takes, a customer who is not known from one
//! who does not agree, or was erased. Whoever could would learn who is a customer.
//!
//! Requests about the three are sent in turn over one connection, in an order that is drawn anew each time, so that whatever
//! the machine does meets all of them alike. Times are compared by Welch's t-test, without the slowest hundredth of all together;
//! |t| of 4.5 or more is a leak, as in Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?" (2017).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http::header::{AUTHORIZATION, DATE, HOST};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use serde_json::json;

use super::children::Child;
use super::load::{Protocol, Sender, Target, connect};
use super::serve::Stack;
use super::upstream::Upstream;
use super::world::{ERASED, PURPOSE, UNCONSENTED, UNKNOWN, World};
use crate::cli::table::Table;
use crate::cli::{Failure, Output};
use crate::clock::SystemClock;

/// From here on a difference is none of chance.
const LEAK: f64 = 4.5;
/// Of all times together, those that are looked at.
const KEPT_PER_MILLE: usize = 990;
/// An answer takes less, or the gateway is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

const KINDS: [(&str, u32); 3] = [("unknown", UNKNOWN), ("unconsented", UNCONSENTED), ("erased", ERASED)];
/// Every order in which three can be asked about.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

/// Asks `rounds` times about each kind, once more when a difference shows.
///
/// # Errors
/// When they can be told apart, with how.
pub(super) async fn run(parent: &Path, rounds: u32, output: &Output, is_json: bool) -> Result<(), Failure> {
    let upstream = Upstream::start().await.context("the upstream does not start")?;
    let world = World::create(parent, upstream.address)?;
    let gateway = Child::start(Stack::Gateway, world.path(), upstream.address)?;
    let target = Target {
        address: gateway.addresses.plain,
        tls: None,
        protocol: Protocol::Http1,
        paths: Vec::new(),
        authorization: world.authorization(),
        decided: false,
    };
    for attempt in 1..=2 {
        let times = ask(&target, rounds).await?;
        let found = compare(&times);
        let is_clean = found.iter().all(|pair| pair.t.abs() < LEAK);
        if is_json {
            for Compared { names: (one, other), mean_us, t } in &found {
                output.json(&json!({ "one": one, "other": other, "attempt": attempt, "rounds": rounds, "mean_us": mean_us, "t": t }))?;
            }
        } else {
            output.line(table(&found))?;
        }
        if is_clean {
            return Ok(());
        }
    }
    Err(anyhow!("customers can be told apart by the time of their refusal: |t| of {LEAK} or more, twice").into())
}

/// Times of each kind, in nanoseconds.
async fn ask(target: &Target, rounds: u32) -> anyhow::Result<[Vec<u32>; 3]> {
    let mut sender = connect(target).await?;
    let requests = KINDS.map(|(_, id)| {
        Request::builder()
            .uri(format!("/crm/customers/{id}"))
            .header(HOST, target.address.to_string())
            .header(AUTHORIZATION, &target.authorization)
            .header("data-purpose", PURPOSE)
            .body(Empty::new())
    });
    let [unknown, unconsented, erased] = requests;
    let requests = [unknown?, unconsented?, erased?];
    let clock = SystemClock::shared();
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    let mut seen: Option<Answer> = None;
    // Splitmix64: which order comes next is nobody's secret, only not a pattern.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    // The first few are warm-up.
    for round in 0..rounds.saturating_add(rounds / 20) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let drawn = usize::try_from((mixed >> 33) % 6).unwrap_or_default();
        for &kind in ORDERS.get(drawn).into_iter().flatten() {
            let (Some(request), Some(times)) = (requests.get(kind), times.get_mut(kind)) else { continue };
            let before = clock.monotonic();
            let answer = Answer::to(&mut sender, request.clone()).await?;
            let took = clock.monotonic().saturating_sub(before);
            match &seen {
                None => seen = Some(answer),
                Some(first) if *first == answer => {}
                Some(first) => bail!("customers can be told apart by the answer: {first:?} about one, {answer:?} about another"),
            }
            if round >= rounds / 20 {
                times.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
            }
        }
    }
    Ok(times)
}

/// An answer without what is each decision's own: its id, and the time.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn to(sender: &mut Sender, request: Request<Empty<bytes::Bytes>>) -> anyhow::Result<Self> {
        let response = tokio::time::timeout(PATIENCE, sender.send(request)).await.context("no answer came in time")??;
        let (mut head, body) = response.into_parts();
        let body = body.collect().await.context("an answer broke off")?.to_bytes();
        let decision = head.headers.remove("consentry-decision").context("a refusal without a decision")?;
        head.headers.remove(DATE);
        // As long as the decision's number.
        head.headers.remove(http::header::CONTENT_LENGTH);
        let body = String::from_utf8(body.to_vec())?.replace(decision.to_str()?, "");
        if head.status != StatusCode::FORBIDDEN {
            bail!("the gateway answered {} instead of a refusal: {body}", head.status);
        }
        Ok(Self { status: head.status, headers: head.headers, body })
    }
}

#[derive(Debug)]
struct Compared {
    names: (&'static str, &'static str),
    mean_us: (f64, f64),
    t: f64,
}

fn compare(times: &[Vec<u32>; 3]) -> Vec<Compared> {
    let mut all: Vec<u32> = times.iter().flatten().copied().collect();
    all.sort_unstable();
    let bound = all.get(all.len() * KEPT_PER_MILLE / 1000).copied().unwrap_or(u32::MAX);
    let kinds: Vec<(&str, Moments)> =
        KINDS.iter().zip(times).map(|((name, _), times)| (*name, Moments::of(times.iter().copied().filter(|time| *time <= bound)))).collect();
    let pair = |(one, other): (usize, usize)| {
        let ((one, first), (other, second)) = (kinds.get(one)?, kinds.get(other)?);
        Some(Compared { names: (one, other), mean_us: (first.mean / 1e3, second.mean / 1e3), t: first.welch(second) })
    };
    PAIRS.into_iter().filter_map(pair).collect()
}

/// Number, mean and variance of a sample, by Welford's recurrence.
#[derive(Debug, Default)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(values: impl Iterator<Item = u32>) -> Self {
        values.fold(Self::default(), |before, value| {
            let (n, value) = (before.n + 1.0, f64::from(value));
            let mean = before.mean + (value - before.mean) / n;
            Self { n, mean, squares: before.squares + (value - before.mean) * (value - mean) }
        })
    }

    /// Welch's t.
    fn welch(&self, other: &Self) -> f64 {
        let error = |sample: &Self| sample.squares / (sample.n - 1.0).max(1.0) / sample.n.max(1.0);
        (self.mean - other.mean) / (error(self) + error(other)).sqrt().max(f64::MIN_POSITIVE)
    }
}

fn table(found: &[Compared]) -> String {
    let mut table = Table::new(&["customers", "mean µs", "and", "mean µs", "t"]);
    for Compared { names: (one, other), mean_us: (first, second), t } in found {
        table.row([(*one).to_owned(), format!("{first:.2}"), (*other).to_owned(), format!("{second:.2}"), format!("{t:+.2}")]);
    }
    format!("{}\n\nstatus, headers and body are the same; |t| of {LEAK} or more would be a leak", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_a_hundredth_shows_and_none_does_not() {
        let noisy = |base: u32| move |n: u32| base + n.wrapping_mul(2_654_435_761) % 2_000;
        let sample = |base| (0..20_000).map(noisy(base)).collect::<Vec<u32>>();
        let found = compare(&[sample(10_000), sample(10_000), sample(10_100)]);
        assert!(found[0].t.abs() < 0.001, "{found:?}");
        assert!(found[1].t < -LEAK && found[2].t < -LEAK, "{found:?}");
    }

    #[test]
    fn welch_is_as_worked_out_by_hand() {
        // Means 2 and 5; variances 1 and 1; three values each: t = -3 / sqrt(2/3).
        let (one, other) = (Moments::of([1, 2, 3].into_iter()), Moments::of([4, 5, 6].into_iter()));
        assert!((one.welch(&other) + 3.0 / (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
