//! Bodies that were made to be slow: four times as much of one must not cost much more than four times as much. Compared is the time
//! that this thread was on the processor, so that what else the machine does is not counted.

use super::*;
use crate::filter::Flow;
use crate::filter::habit::name_hash;

/// What four times as much may cost: a square would cost sixteen times as much.
const RATIO_MAX: u64 = 10;

/// Nanoseconds on the processor, where the system tells them.
fn spent() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

struct Hostile {
    name: &'static str,
    /// How much of it there is in the smaller body.
    size: usize,
    plan: ResponsePlan,
    body: fn(usize) -> String,
    judge: fn(usize) -> Customers,
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(",")
}

fn person() -> Shape {
    Shape {
        several: Several::Each,
        ..shape(
            "person",
            &["id", "cc[].id"],
            &[],
            &[("name", "identity last4"), ("more.**", "identity null"), ("cc[].**", "contact"), ("end", "embed end")],
        )
    }
}

fn rows() -> ResponsePlan {
    rows_plan("[]", &person(), &[], &[])
}

fn ann(_size: usize) -> Customers {
    customers(&[("1", "identity+ contact+")])
}

/// Names that all have one hash: of two steps, each of which has some ways to the same state.
fn equal_hashes(count: usize) -> Vec<String> {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5).rotate_left(26);
    let is_plain = |word: u64| word.to_le_bytes().iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\');
    let ways = |from: u64, count: usize| -> (Vec<String>, u64) {
        let goal = mix(from, u64::from_le_bytes(*b"aaaaaaaa")) ^ u64::from_le_bytes(*b"PPPPPPPP");
        let tries = (0..u64::MAX).map(|n| {
            u64::from_le_bytes(*b"aaaaaaaa")
                + (n & 7)
                + ((n >> 3 & 7) << 8)
                + ((n >> 6 & 7) << 16)
                + ((n >> 9 & 7) << 24)
                + ((n >> 12 & 7) << 32)
                + ((n >> 15 & 15) << 40)
                + ((n >> 19 & 15) << 48)
        });
        let both = tries.map(|word| (word, mix(from, word) ^ goal)).filter(|(_, second)| is_plain(*second));
        let text = |(one, other): (u64, u64)| String::from_utf8([one.to_le_bytes(), other.to_le_bytes()].concat()).unwrap();
        (both.take(count).map(text).collect(), mix(goal, 0))
    };
    let side = (1..).find(|side| side * side >= count).unwrap();
    let (first, between) = ways(32, side);
    let (second, _) = ways(between, side);
    first.iter().flat_map(|one| second.iter().map(move |other| format!("{one}{other}"))).take(count).collect()
}

fn everybody(size: usize) -> Customers {
    let verdict = |n: usize| format!("identity+ contact{} c{n}+", ["+", "~", "-"][n % 3]);
    let all: Vec<(String, String)> = (0..size).map(|n| (n.to_string(), verdict(n))).collect();
    customers(&all.iter().map(|(id, verdict)| (id.as_str(), verdict.as_str())).collect::<Vec<_>>())
}

fn changing(size: usize) -> String {
    let row = |row: usize| {
        let member = |n: usize| format!("\"member{}\":0", (n * 7 + row * 13) % 1_009);
        format!(r#"{{"id":1,"name":"N",{}}}"#, many(1_000, member))
    };
    format!("[{}]", many(size, row))
}

fn in_more(inside: &str) -> String {
    format!(r#"[{{"id":1,"name":"N","more":{inside}}}]"#)
}

fn grouped(counts: &[(&str, CountRule)]) -> ResponsePlan {
    rows_plan("groups[].rows[]", &person(), counts, &[])
}

fn all() -> Vec<Hostile> {
    let positional = || rows_plan("[]", &shape("positional", &["[0]"], &[], &[("[1]", "identity"), ("[4].**", "contact")]), &[], &[]);
    let hostile = |name, size, plan, body: fn(usize) -> String| Hostile { name, size, plan, body, judge: ann };
    let each = |hostile: Hostile| Hostile { judge: everybody, ..hostile };
    vec![
        hostile("members with one hash", 2_500, rows(), |n| {
            let names = equal_hashes(n);
            in_more(&format!("{{{}}}", many(n, |i| format!("\"{}\":0", names[i]))))
        }),
        hostile("members with one hash where no path leads", 2_500, rows(), |n| {
            let names = equal_hashes(n);
            format!(r#"[{{"id":1,"name":"N","other":{{{}}}}}]"#, many(n, |i| format!("\"{}\":0", names[i])))
        }),
        hostile("deep arrays", 1_000, rows(), |n| in_more(&format!("[{}]", many(n, |_| format!("{}{}", "[".repeat(120), "]".repeat(120)))))),
        hostile("deep objects", 500, rows(), |n| in_more(&format!("[{}]", many(n, |_| format!("{}0{}", "{\"a\":".repeat(120), "}".repeat(120)))))),
        hostile("a masked text of escapes", 50_000, rows(), |n| format!(r#"[{{"id":1,"name":"{}"}}]"#, "\\u0061".repeat(n))),
        hostile("names of escapes", 20, rows(), |n| in_more(&format!("{{{}}}", many(n, |i| format!("\"{}{i}\":0", "\\u0061".repeat(2_000)))))),
        hostile("an unread text of escapes", 50_000, rows(), |n| format!(r#"[{{"id":1,"name":"N","x":"{}"}}]"#, "\\ud83d\\ude00".repeat(n))),
        hostile("many members in changing order", 10, rows(), changing),
        hostile("a positional array", 50_000, positional(), |n| format!("[[1,\"a\",2,3,[{}]]]", many(n, |_| "0".to_owned()))),
        hostile("positional rows", 20_000, positional(), |n| format!("[[1,\"a\",2{}]]", ",0".repeat(n))),
        hostile("withheld between kept members", 10_000, rows(), |n| {
            format!("[{}]", many(n, |_| r#"{"a":1,"id":1,"b":2,"name":"longer than eight","c":3}"#.to_owned()))
        }),
        each(hostile("embedded customers", 2_000, rows(), |n| {
            format!(r#"[{{"id":1,"name":"N","end":[{}]}}]"#, many(n, |i| format!(r#"{{"id":{i},"mail":"m"}}"#)))
        })),
        each(hostile("customers with verdicts of their own in a row", 1_000, rows(), |n| {
            format!(r#"[{{"id":1,"name":"N","cc":[{}]}}]"#, many(n, |i| format!(r#"{{"id":{i},"mail":"m"}}"#)))
        })),
        each(hostile("rows with verdicts of their own", 1_000, rows(), |n| format!("[{}]", many(n, |i| format!(r#"{{"id":{i},"name":"N"}}"#))))),
        hostile("counts before no rows", 5_000, grouped(&[("groups[].n", CountRule::Rows)]), |n| {
            format!(r#"{{"groups":[{}]}}"#, many(n, |_| r#"{"n":1,"rows":[]}"#.to_owned()))
        }),
        hostile("counts in what is left out", 5_000, grouped(&[("groups[].n", CountRule::Rows)]), |n| {
            format!(r#"{{"groups":[{},{{"rows":[]}}]}}"#, many(n, |_| r#"{"n":1,"x":[]}"#.to_owned()))
        }),
        hostile("a count of many values", 5_000, grouped(&[("page[].n", CountRule::Rows)]), |n| {
            format!(r#"{{"page":[{}],"groups":[]}}"#, many(n, |i| format!(r#"{{"n":{i}}}"#)))
        }),
        hostile("members that nobody knows", 10_000, rows(), |n| {
            let name = |i: usize| {
                (0..4)
                    .map(|place| ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"][i / 15_usize.pow(place) % 15])
                    .collect::<String>()
            };
            format!(r#"[{{"id":1,"name":"N",{}}}]"#, many(n, |i| format!("\"x{}\":[{i}]", name(i))))
        }),
        hostile("empty lists in lists", 20_000, rows_plan("a[][]", &person(), &[], &[]), |n| {
            format!(r#"{{"a":[{}]}}"#, many(n, |_| "[]".to_owned()))
        }),
    ]
}

const WIDE: Limits = Limits { body_bytes_max: 64 << 20, depth_max: 128 };

/// So long is cut before the time counts: the system tells it only now and then.
const LONG_ENOUGH_NS: u64 = 50_000_000;

/// Nanoseconds for one body, and its length.
fn cost(hostile: &Hostile, size: usize) -> Option<(u64, usize)> {
    let body = Bytes::from((hostile.body)(size));
    let end = shape("end", &["id"], &[], &[("mail", "contact")]);
    let (cutters, mut judge) = (cutters(&hostile.plan, &[&end]), (hostile.judge)(size));
    let (before, mut tries) = (spent()?, 0);
    loop {
        let result = cut(&body, &hostile.plan, &cutters, &WIDE, &[], &mut judge);
        assert!(!matches!(result, Err(CutError::Unreadable(_))), "{}: {}", hostile.name, outcome(result));
        judge.asked.clear();
        tries += 1;
        let so_far = spent()? - before;
        if so_far >= LONG_ENOUGH_NS || tries == 1_000 {
            return Some((so_far / tries, body.len()));
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are worth a look, and a skipped test says so")]
fn no_body_costs_more_than_its_length() {
    for hostile in all() {
        let (Some((small, _)), Some((large, bytes))) = (cost(&hostile, hostile.size), cost(&hostile, 4 * hostile.size)) else {
            eprintln!("note: this system does not tell the time on the processor; skipped");
            return;
        };
        eprintln!("{:50} {bytes:9} bytes {:8} us, four times as much: x {:.1}", hostile.name, large / 1_000, large as f64 / small.max(1) as f64);
        assert!(large < RATIO_MAX * small, "{}: {small} ns, then {large} ns", hostile.name);
    }
}

#[test]
fn a_unit_that_comes_in_small_pieces_is_not_read_anew_with_each() {
    let body = in_more(&format!("[{}]", many(100_000, |n| n.to_string())));
    let (plan, mut judge) = (rows(), ann(0));
    let shapes = cutters(&plan, &[]);
    let mut flow = Flow::new(&plan, &shapes, &WIDE, &[]);
    let (mut done, mut fed) = (0, 0);
    for came in (10..body.len()).step_by(10).chain([body.len()]) {
        if came - done >= flow.wants() || came == body.len() {
            fed += came - done;
            done += flow.feed(&body.as_bytes()[done..came], came == body.len(), &mut judge).unwrap();
        }
    }
    while !flow.has_ended() {
        assert!(flow.has_part() && !flow.part().filtered.is_empty(), "the row is a part of its own");
        done += flow.feed(&body.as_bytes()[done..], true, &mut judge).unwrap();
    }
    assert!(flow.finish().is_ok());
    assert!(fed < 14 * body.len(), "{fed} bytes were fed of {}", body.len());
}

#[test]
fn names_can_be_made_to_have_one_hash() {
    let names = equal_hashes(400);
    let hashes: std::collections::HashSet<u32> = names.iter().map(|name| name_hash(name)).collect();
    assert_eq!((names.iter().collect::<std::collections::HashSet<_>>().len(), hashes.len()), (400, 1), "{:?}", &names[..3]);
}
