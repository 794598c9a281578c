//! Whether a step went as the tour says, and if not, what was expected. Pure: compares what came and what the log says with
//! the table of the tour.

use serde_json::Value;

use super::client::Reply;
use super::show::Complaint;
use super::tour::{NEVER, Released, Step, Why};
use crate::audit::Found;
use crate::model::{PathPattern, Step as PathStep};

/// What came of a step.
#[derive(Debug)]
pub(super) struct Came<'a> {
    pub(super) status: String,
    pub(super) reply: Option<&'a Reply>,
    /// The decision as the log has it.
    pub(super) logged: Option<&'a Found>,
    /// Requests the sample APIs saw meanwhile.
    pub(super) forwarded: usize,
    /// The answer of the step that this one must not differ from.
    pub(super) twin: Option<&'a Reply>,
    /// For steps that are no request of an app: what to show; empty when it did not come.
    pub(super) note: String,
}

/// Cells of the table, and the complaint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) released: String,
    pub(super) why: String,
    pub(super) withheld: Option<u64>,
    pub(super) complaint: Option<Complaint>,
}

/// Compares. The first thing that is wrong is told.
pub(super) fn judge(step: &Step, came: &Came<'_>) -> Judgement {
    let body = came.reply.and_then(Reply::json);
    let withheld = came.reply.and_then(|reply| reply.header("consentry-withheld")).and_then(|text| text.parse().ok());
    let (released, short) = released(step.released, &came.status, body.as_ref(), withheld);
    let why = why(step.why, came, body.as_ref());
    let is_refusal = !matches!(step.status, "200" | "201" | "ok");
    let complaint = if came.status != step.status {
        Some(Complaint { expected: step.status.to_owned(), is_leak: is_refusal && came.status == "200" })
    } else if let Some(told) = came.reply.and_then(told_never) {
        Some(Complaint { expected: format!("no `{told}`"), is_leak: true })
    } else if short.is_some() {
        short
    } else if came.forwarded != step.forwarded {
        Some(Complaint { expected: format!("{} requests upstream", step.forwarded), is_leak: false })
    } else {
        why.as_ref().err().map(|expected| Complaint { expected: expected.clone(), is_leak: false })
    };
    Judgement { released, why: why.unwrap_or_default(), withheld, complaint }
}

/// A text of the sample data, or a header of an upstream, that must never come through.
fn told_never(reply: &Reply) -> Option<&'static str> {
    let body = String::from_utf8_lossy(&reply.body);
    let has =
        |text: &&'static str| body.contains(*text) || reply.headers.values().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(*text));
    let header = ["set-cookie", "server"].into_iter().find(|name| reply.headers.contains_key(*name));
    NEVER.iter().copied().find(|text| has(text)).or(header)
}

/// The cell, and what is wrong with what the body holds.
fn released(expected: Released, status: &str, body: Option<&Value>, withheld: Option<u64>) -> (String, Option<Complaint>) {
    let complaint = |expected: String, is_leak| Some(Complaint { expected, is_leak });
    match expected {
        // A body that came with another status is told by that.
        Released::Nothing => (String::new(), None),
        Released::All { .. } | Released::Rows { .. } if status != "200" => (String::new(), None),
        Released::All { of, but } => {
            let is_there = |path: &&&str| body.is_some_and(|body| has(body, path));
            let came = of.iter().filter(is_there).count();
            let cell = format!("{came} of {}", of.len());
            let too_much = but.iter().filter(is_there).count();
            if came != of.len() - but.len() || too_much > 0 {
                return (cell, complaint(format!("{} of {}", of.len() - but.len(), of.len()), too_much > 0));
            }
            if Some(withheld.unwrap_or(0)) != u64::try_from(but.len()).ok() {
                return (cell, complaint(format!("{} withheld", but.len()), false));
            }
            (cell, None)
        }
        Released::Rows { at, rows } => {
            let came = body.and_then(|body| body.get(at)).and_then(Value::as_array).map_or(0, Vec::len);
            let total = body.and_then(|body| body.get("total")).and_then(Value::as_u64);
            let is_corrected = total == u64::try_from(rows).ok();
            let cell = format!("{came} rows{}", if is_corrected { " ↓" } else { "" });
            if came != rows || !is_corrected {
                return (cell, complaint(format!("{rows} rows and this total"), came > rows));
            }
            (cell, None)
        }
    }
}

/// Whether something that is not null stands at the path.
fn has(value: &Value, path: &str) -> bool {
    PathPattern::parse(path).is_ok_and(|path| stands_at(value, &path.0))
}

fn stands_at(value: &Value, path: &[PathStep]) -> bool {
    let Some((step, rest)) = path.split_first() else { return !value.is_null() };
    match step {
        PathStep::Member(name) => value.get(name).is_some_and(|value| stands_at(value, rest)),
        PathStep::Items => value.as_array().is_some_and(|items| items.iter().any(|item| stands_at(item, rest))),
        PathStep::Index(n) => usize::try_from(*n).ok().and_then(|n| value.get(n)).is_some_and(|value| stands_at(value, rest)),
        PathStep::Rest => !value.is_null(),
    }
}

/// The cell, or what was expected in it.
fn why(expected: Why, came: &Came<'_>, body: Option<&Value>) -> Result<String, String> {
    let code = body.and_then(|body| body.get("code")).and_then(Value::as_str).unwrap_or_default();
    let decided_by = |policy: &str| came.logged.is_some_and(|found| found.policies.iter().any(|name| name == policy));
    // The problem's own words, wherever it puts them.
    let names = |text: &str| body.is_some_and(|body| mentions(body, text));
    let had = |status: &str| came.logged.is_some_and(|found| found.relied.iter().any(|relied| relied.status == status));
    let counts = |member: &str| body.and_then(|body| body.get(member)).and_then(Value::as_array).map(Vec::len);
    let told = |is_so: bool, cell: String| if is_so { Ok(cell) } else { Err(cell) };
    match expected {
        Why::Policy(policy) => told(decided_by(policy), policy.to_owned()),
        Why::Dropped(rows, policy) => {
            let is_so = decided_by(policy) && came.logged.is_some_and(|found| found.dropped == rows);
            told(is_so, format!("{rows} dropped: {policy}"))
        }
        Why::NotEntitled(category) => told(code == "not-entitled" && names(category), format!("not-entitled: {category}")),
        Why::Consent(status) => told(code == "denied" && had(status), format!("consent {status}")),
        Why::UnknownAsStep(step) => {
            let is_unknown = came.logged.is_some_and(|found| found.unknown == 1);
            let is_same = came.reply.zip(came.twin).is_some_and(|(one, other)| is_same(one, other));
            told(is_unknown && is_same, format!("unknown; bytes as in step {step}"))
        }
        Why::Field(path, policy) => told(code == "field-not-permitted" && names(path) && decided_by(policy), format!("{path}: {policy}")),
        Why::Code(expected) => told(code == expected && came.logged.is_some(), expected.to_owned()),
        Why::Explained(policy) => told(came.note == policy, policy.to_owned()),
        Why::Revision => told(!came.note.is_empty(), came.note.clone()).map_err(|_none| "a revision, and it in the log".to_owned()),
        Why::InForce => told(!came.note.is_empty(), came.note.clone()).map_err(|_none| "a revision, and it in the log".to_owned()),
        Why::Differ(purposes) => told(counts("conflicts") == Some(purposes), format!("{purposes} purposes differ")),
        Why::Disclosed(rows) => told(counts("disclosed") == Some(rows), format!("{rows} disclosure{} listed", if rows == 1 { "" } else { "s" })),
        Why::Root => told(!came.note.is_empty(), came.note.clone()).map_err(|_none| "a log that verifies".to_owned()),
    }
}

fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(members) => members.values().any(|member| mentions(member, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether two answers differ in nothing but the decision's id (and what follows from it: the date and, when the id has
/// another number of digits, the length).
fn is_same(one: &Reply, other: &Reply) -> bool {
    one.status == other.status && bare_body(one) == bare_body(other) && bare_headers(one) == bare_headers(other)
}

fn bare_body(reply: &Reply) -> Option<String> {
    let decision = reply.header("consentry-decision")?;
    Some(std::str::from_utf8(&reply.body).ok()?.replace(decision, ""))
}

fn bare_headers(reply: &Reply) -> Vec<(&str, &[u8])> {
    let varies = ["consentry-decision", "date", "content-length"];
    let mut headers: Vec<_> =
        reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).filter(|(name, _)| !varies.contains(name)).collect();
    headers.sort_unstable();
    headers
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::audit::Relied;
    use crate::cli::demo::tour::STEPS;

    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let header = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.iter().map(header).collect::<HeaderMap>(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn found(policies: &[&str], status: &str) -> Found {
        let relied = Relied {
            category: "identity".to_owned(),
            release: "withheld".to_owned(),
            why: "forbidden".to_owned(),
            basis: "consent".to_owned(),
            activity: None,
            status: status.to_owned(),
            rule: Some("customer-last-word/v1".to_owned()),
            conflict: false,
            policies: Vec::new(),
            event: None,
            overridden: Vec::new(),
        };
        Found {
            index: 9,
            decision: "gw.demo#9".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            app: String::new(),
            department: String::new(),
            actor: None,
            agent: None,
            operator: None,
            model: None,
            task: None,
            behalf: None,
            grant: None,
            justification: None,
            action: String::new(),
            api: String::new(),
            route: String::new(),
            purpose: None,
            policy_set: String::new(),
            generation: 1,
            consent_revision: 1,
            outcome: String::new(),
            status: None,
            code: None,
            released: Vec::new(),
            reduced: Vec::new(),
            disclosed: Vec::new(),
            relied: vec![relied],
            policies: policies.iter().map(|name| (*name).to_owned()).collect(),
            withheld: Vec::new(),
            parties: 0,
            unknown: 0,
            rows: 0,
            dropped: 0,
            bytes: None,
            unresolved: false,
            complete: None,
            entries: Vec::new(),
        }
    }

    /// Judges an answer to a step of the tour, by its number.
    fn check(step: usize, reply: &Reply, logged: &Found, forwarded: usize) -> Judgement {
        let status = reply.status.as_u16().to_string();
        judge(&STEPS[step - 1], &Came { status, reply: Some(reply), logged: Some(logged), forwarded, twin: None, note: String::new() })
    }

    fn expected(judgement: &Judgement) -> (&str, bool) {
        judgement.complaint.as_ref().map_or(("", false), |complaint| (&complaint.expected, complaint.is_leak))
    }

    /// What help desk may see of 0031.
    fn cut() -> Value {
        json!({ "id": "0031", "updatedAt": "t", "name": { "given": "A", "family": "B" }, "birthDate": "1984", "taxId": "x", "leadScore": null,
            "contact": { "email": "e", "phone": "p", "address": { "city": "K" } } })
    }

    fn second(body: &Value, withheld: &str) -> Judgement {
        check(2, &reply(200, &[("consentry-withheld", withheld)], &body.to_string()), &found(&["share-for-contract"], "unknown"), 1)
    }

    #[test]
    fn what_goes_as_the_tour_says_has_no_complaint() {
        let judged = second(&cut(), "3");
        assert_eq!((judged.complaint, judged.released.as_str(), judged.why.as_str()), (None, "9 of 12", "share-for-contract"));
        assert_eq!(judged.withheld, Some(3));
    }

    #[test]
    fn a_member_too_many_is_a_leak_and_one_too_few_is_not() {
        let mut more = cut();
        more["leadScore"] = json!(64);
        assert_eq!(expected(&second(&more, "3")), ("9 of 12", true));
        let mut fewer = cut();
        fewer["taxId"] = Value::Null;
        assert_eq!(expected(&second(&fewer, "3")), ("9 of 12", false));
        // One for another: the number is right and the answer is not.
        fewer["leadScore"] = json!(64);
        assert_eq!(expected(&second(&fewer, "3")), ("9 of 12", true));
    }

    #[test]
    fn the_header_must_count_what_was_withheld() {
        assert_eq!(expected(&second(&cut(), "2")), ("3 withheld", false));
        assert_eq!(expected(&second(&cut(), "many")), ("3 withheld", false));
    }

    #[test]
    fn a_value_that_must_never_show_is_a_leak_wherever_it_stands() {
        let mut noted = cut();
        noted["name"]["given"] = json!("coeliac");
        assert_eq!(expected(&second(&noted, "3")), ("no `coeliac`", true));
        for header in [("etag", "\"unfiltered\""), ("set-cookie", "a=b"), ("server", "sample/1.0")] {
            let reply = reply(200, &[("consentry-withheld", "3"), header], &cut().to_string());
            assert!(check(2, &reply, &found(&["share-for-contract"], ""), 1).complaint.unwrap().is_leak, "{header:?}");
        }
    }

    #[test]
    fn an_answer_where_a_refusal_was_due_is_a_leak() {
        let judged = check(5, &reply(200, &[], "{}"), &found(&[], "given"), 1);
        assert_eq!(expected(&judged), ("403", true));
        let judged = check(2, &reply(403, &[], "{}"), &found(&[], "given"), 0);
        assert_eq!(expected(&judged), ("200", false));
    }

    #[test]
    fn a_refusal_that_asked_the_upstream_is_told() {
        let denied = reply(403, &[], r#"{"code":"denied"}"#);
        assert_eq!(expected(&check(5, &denied, &found(&[], "unknown"), 0)), ("", false));
        assert_eq!(expected(&check(5, &denied, &found(&[], "unknown"), 1)), ("0 requests upstream", false));
    }

    #[test]
    fn the_log_must_say_why() {
        let denied = reply(403, &[], r#"{"code":"denied"}"#);
        assert_eq!(expected(&check(9, &denied, &found(&[], "unknown"), 0)), ("consent withdrawn", false));
        assert_eq!(expected(&check(11, &denied, &found(&["owner-export"], ""), 0)), ("agent-no-export", false));
        let wrong_code = reply(403, &[], r#"{"code":"not-entitled","categories":["billing"]}"#);
        assert_eq!(expected(&check(9, &wrong_code, &found(&[], "withdrawn"), 0)), ("consent withdrawn", false));
        assert_eq!(expected(&check(4, &wrong_code, &found(&[], ""), 0)), ("", false));
        let other = reply(403, &[], r#"{"code":"not-entitled","categories":["contact"]}"#);
        assert_eq!(expected(&check(4, &other, &found(&[], ""), 0)), ("not-entitled: billing", false));
    }

    #[test]
    fn a_list_must_drop_the_row_and_correct_the_total() {
        let list = |rows: usize, total: u64| json!({ "customers": vec![json!({}); rows], "total": total }).to_string();
        let logged = Found { dropped: 1, ..found(&["marketing-refused"], "refused") };
        let judged = check(3, &reply(200, &[], &list(4, 4)), &logged, 1);
        assert_eq!((judged.complaint, judged.released.as_str(), judged.why.as_str()), (None, "4 rows ↓", "1 dropped: marketing-refused"));
        assert_eq!(expected(&check(3, &reply(200, &[], &list(5, 5)), &logged, 1)), ("4 rows and this total", true));
        assert_eq!(expected(&check(3, &reply(200, &[], &list(4, 5)), &logged, 1)), ("4 rows and this total", false));
        let none = Found { dropped: 0, ..logged };
        assert_eq!(expected(&check(3, &reply(200, &[], &list(4, 4)), &none, 1)), ("1 dropped: marketing-refused", false));
    }

    #[test]
    fn an_unknown_customer_is_answered_with_the_same_bytes_or_told_apart() {
        let answer = |decision: &str, extra: &str| {
            let body = format!(r#"{{"code":"denied","decision":"{decision}"{extra}}}"#);
            reply(403, &[("consentry-decision", decision), ("date", decision), ("content-type", "application/problem+json")], &body)
        };
        let unknown = Found { unknown: 1, ..found(&[], "unknown") };
        let check = |one: &Reply, other: &Reply, logged: &Found| {
            let came =
                Came { status: "403".to_owned(), reply: Some(one), logged: Some(logged), forwarded: 0, twin: Some(other), note: String::new() };
            judge(&STEPS[12], &came).complaint.is_none()
        };
        assert!(check(&answer("gw#26", ""), &answer("gw#9", ""), &unknown));
        assert!(!check(&answer("gw#26", ""), &answer("gw#9", ""), &found(&[], "unknown")));
        assert!(!check(&answer("gw#26", r#","why":"x""#), &answer("gw#9", ""), &unknown));
        let mut other = answer("gw#9", "");
        other.headers.insert("retry-after", HeaderValue::from_static("1"));
        assert!(!check(&answer("gw#26", ""), &other, &unknown));
    }

    #[test]
    fn a_merge_says_where_the_sides_differ_and_a_split_what_went_out() {
        let nobody = found(&[], "");
        for (step, member) in [(16, "conflicts"), (22, "disclosed")] {
            let answer = |rows: usize| reply(200, &[], &json!({ member: vec!["x"; rows] }).to_string());
            let (Why::Differ(right) | Why::Disclosed(right)) = STEPS[step - 1].why else { panic!("step {step}") };
            assert_eq!(expected(&check(step, &answer(right), &nobody, 0)).0, "");
            for wrong in [0, right + 1] {
                assert_ne!(expected(&check(step, &answer(wrong), &nobody, 0)).0, "", "{member} {wrong}");
            }
            assert_ne!(expected(&check(step, &reply(200, &[], "{}"), &nobody, 0)).0, "");
        }
    }

    #[test]
    fn a_refused_write_names_the_member_and_the_policy() {
        let refused = reply(403, &[], r#"{"code":"field-not-permitted","fields":["leadScore"]}"#);
        assert_eq!(expected(&check(12, &refused, &found(&["write-only-by-owner"], ""), 0)), ("", false));
        assert_eq!(expected(&check(12, &refused, &found(&[], ""), 0)), ("leadScore: write-only-by-owner", false));
        let other = reply(403, &[], r#"{"code":"field-not-permitted","fields":["contact.phone"]}"#);
        assert_eq!(expected(&check(12, &other, &found(&["write-only-by-owner"], ""), 0)), ("leadScore: write-only-by-owner", false));
    }
}
