//! Whether the cutter agrees with the obvious filter, with itself when the bytes come in pieces, and with itself when it has learnt
//! from other bodies. Proptest and the fuzz targets ask it.

use bytes::Bytes;

use super::bodies::canary;
use super::case::{Case, TOLD};
use super::tree::{Json, Refused, Tree};
use crate::filter::{Cut, CutError, Cutters, Flow, Group, Limits, Report, Sender, Unreadable, cut, find_id};
use crate::model::{CountRule, PathPattern, ResponsePlan};

/// Cuts the case of these bytes in all ways; what differs, if something does.
pub(crate) fn check(data: &[u8]) -> Result<(), String> {
    let case = Case::new(data);
    let trodden = Cutters::new(&case.shapes);
    for (number, body) in case.bodies.iter().enumerate() {
        let body = Bytes::copy_from_slice(body);
        let fresh = whole(&case, &body, &Cutters::new(&case.shapes));
        let told = |what: &str, other: &str| {
            let (plan, shapes, people, text) = (&case.plan, &case.shapes, &case.people, String::from_utf8_lossy(&body));
            format!(
                "{what}\nbody {number}: {text}\nplan: {plan:?}\nshapes: {shapes:?}\npeople: {people:?}\ncutter: {}\nother: {other}",
                shown(&fresh)
            )
        };
        agrees_with_the_tree(&case, &body, &fresh).map_err(|other| told("the tree filter differs", &other))?;
        // A second time with what the first has taught.
        for _ in 0..2 {
            let again = whole(&case, &body, &trodden);
            if shown(&again) != shown(&fresh) {
                return Err(told("what was learnt from other bodies changes the result", &shown(&again)));
            }
        }
        for (cutters, how) in [(Cutters::new(&case.shapes), "in pieces"), (Cutters::new(&case.shapes), "byte by byte")] {
            let pieces = if how == "in pieces" { &case.pieces[..] } else { &[1] };
            let parted = in_pieces(&case, &body, &cutters, pieces);
            agree(&case, &fresh, &parted).map_err(|what| told(how, &format!("{what}: {}", shown(&parted.cut))))?;
        }
        let parted = in_pieces(&case, &body, &trodden, &case.pieces);
        agree(&case, &fresh, &parted).map_err(|what| told("in pieces, having learnt", &format!("{what}: {}", shown(&parted.cut))))?;
    }
    Ok(())
}

/// Whether something of the case goes out.
#[cfg(test)]
pub(crate) fn releases(data: &[u8]) -> bool {
    let case = Case::new(data);
    let released = |body: &Vec<u8>| whole(&case, &Bytes::copy_from_slice(body), &Cutters::new(&case.shapes)).is_ok_and(|cut| cut.report.rows > 0);
    case.bodies.iter().any(released)
}

/// What serde_json and this reader say to any bytes.
pub(crate) fn check_reader(data: &[u8]) -> Result<(), String> {
    let limits = Limits { body_bytes_max: 1 << 20, depth_max: 100 };
    let body = Bytes::copy_from_slice(data);
    let tree = std::str::from_utf8(data).ok().and_then(|text| Json::read(text, 100));
    for from in [Sender::Upstream, Sender::Caller] {
        let read = match find_id(&body, &PathPattern::default(), &limits, from) {
            Ok(_) | Err(Unreadable::Id) => Ok(()),
            Err(reason) => Err(reason),
        };
        let stricter = from == Sender::Caller && matches!(read, Err(Unreadable::DuplicateName { .. } | Unreadable::NulInName { .. }));
        if read.is_ok() != tree.is_some() && !stricter {
            return Err(format!("{from:?}: the reader says {read:?}, serde_json {}", tree.is_some()));
        }
    }
    // All of it passes as it stands, read by the way that streams take.
    let plan = ResponsePlan::Open { open: vec![PathPattern(vec![crate::model::Step::Rest])] };
    let cutters = Cutters::default();
    let mut nobody = super::case::People::default();
    let passed = cut(&body, &plan, &cutters, &limits, &[], &mut nobody).ok();
    let passed = passed.map(|cut| Json::read(&String::from_utf8_lossy(&cut.filtered.into_bytes()), 100));
    if passed.as_ref().map(Option::as_ref) != tree.as_ref().map(Some) {
        return Err(format!("open: {passed:?} of {tree:?}"));
    }
    Ok(())
}

fn whole(case: &Case, body: &Bytes, cutters: &Cutters) -> Result<Cut, CutError> {
    cut(body, &case.plan, cutters, &case.limits, &case.selected_by, &mut case.people.clone())
}

/// A body cut as it came.
struct Parted {
    cut: Result<Cut, CutError>,
    parts: usize,
}

fn in_pieces(case: &Case, body: &[u8], cutters: &Cutters, pieces: &[usize]) -> Parted {
    let mut flow = Flow::new(&case.plan, cutters, &case.limits, &case.selected_by);
    let mut people = case.people.clone();
    let (mut done, mut came, mut parts) = (0, 0, 0);
    let (mut bytes, mut report) = (Vec::new(), Report::default());
    let mut add = |cut: Cut| {
        bytes.extend_from_slice(&cut.filtered.into_bytes());
        add_report(&mut report, cut.report);
    };
    let mut turn = pieces.iter().cycle();
    let last = loop {
        came = body.len().min(came + turn.next().copied().unwrap_or(1));
        let is_last = came == body.len();
        match flow.feed(&body[done..came], is_last, &mut people) {
            Ok(used) => done += used,
            Err(error) => break Err(error),
        }
        if is_last && done == came && flow.has_ended() {
            break flow.finish();
        }
        if flow.has_part() || (case.parts && flow.can_part()) {
            parts += 1;
            add(flow.part());
        }
    };
    let ended = last.map(&mut add);
    let cut = ended.map(|()| {
        // Only the room itself makes bytes that may go out: these go through it once more.
        let open = ResponsePlan::Free { content_types: vec!["text/plain".to_owned()] };
        let filtered =
            crate::filter::Filtered::declared_free(&open, "text/plain", bytes.into()).unwrap_or_else(|_other| crate::filter::Filtered::empty());
        Cut { filtered, report }
    });
    Parted { cut, parts }
}

fn add_report(sum: &mut Report, report: Report) {
    sum.rows += report.rows;
    sum.dropped += report.dropped;
    sum.groups.extend(report.groups);
    sum.withheld.extend(report.withheld);
    sum.drift.extend(report.drift);
    sum.counts_removed |= report.counts_removed;
    sum.counts_corrected |= report.counts_corrected;
}

/// A report of several parts says the same as one of all when it says so.
fn summed(report: &Report) -> String {
    let mut groups: Vec<Group> = Vec::new();
    for group in &report.groups {
        match groups.iter_mut().find(|known| known.released == group.released && known.verdicts == group.verdicts) {
            Some(known) => {
                known.parties.extend(&group.parties);
                known.unknown += group.unknown;
            }
            None => groups.push(group.clone()),
        }
    }
    for group in &mut groups {
        group.parties.sort_unstable();
        group.parties.dedup();
    }
    let set = |paths: &[String]| paths.iter().cloned().collect::<std::collections::BTreeSet<_>>();
    format!("{} {} {groups:?} {:?} {:?}", report.rows, report.dropped, set(&report.withheld), set(&report.drift))
}

fn shown(result: &Result<Cut, CutError>) -> String {
    match result {
        Ok(cut) => format!("{} {:?}", String::from_utf8_lossy(&cut.filtered.clone().into_bytes()), cut.report),
        Err(error) => format!("{error:?}"),
    }
}

fn refused(error: &CutError) -> Refused {
    match error {
        CutError::Unreadable(_) => Refused::Unreadable,
        CutError::SubjectAbsent => Refused::SubjectAbsent,
        CutError::SubjectMismatch => Refused::SubjectMismatch,
        CutError::Denied(_) => Refused::Denied,
        CutError::OnDenyError(_) => Refused::OnDenyError,
    }
}

/// What the tree says, if that is another thing.
fn agrees_with_the_tree(case: &Case, body: &[u8], cut: &Result<Cut, CutError>) -> Result<(), String> {
    let depth = usize::from(case.limits.depth_max);
    let read = std::str::from_utf8(body).ok().and_then(|text| Json::read(text, depth));
    let mut people = case.people.clone();
    let mut tree = Tree { shapes: &case.shapes, plan: &case.plan, selected_by: &case.selected_by, judge: &mut people };
    let expected = match read {
        // Whatever was wrong before that, nothing goes out.
        None => return if cut.is_err() { Ok(()) } else { Err("not readable".to_owned()) },
        Some(read) => tree.filter(&read, true),
    };
    let (cut, expected) = match (cut, expected) {
        (Ok(cut), Ok(expected)) => (cut, expected),
        (Err(error), Err(expected)) if refused(error) == expected => return Ok(()),
        (_, expected) => return Err(format!("{expected:?}")),
    };
    let bytes = cut.filtered.clone().into_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let mut read = Json::read(&text, depth);
    if case.plan.withheld_as().is_some() {
        let told = Json::read(&serde_json::json!(cut.report.withheld).to_string(), depth).map(|told| (TOLD.to_owned(), told));
        let last = if let Some(Json::Object(members)) = &mut read { members.pop() } else { None };
        if last != told {
            return Err(format!("{told:?} is told"));
        }
    }
    if read.as_ref() != Some(&expected) {
        return Err(format!("{expected:?}"));
    }
    let permitted = format!("{expected:?}");
    let body = String::from_utf8_lossy(body);
    for canary in (1..).map(canary).take_while(|canary| body.contains(canary.as_str())) {
        if text.contains(canary.as_str()) && !permitted.contains(canary.as_str()) {
            return Err(format!("{canary} went out"));
        }
    }
    Ok(())
}

/// Counts that stand before the rows are left out when a part was closed before the end; all else is the same.
fn agree(case: &Case, fresh: &Result<Cut, CutError>, parted: &Parted) -> Result<(), &'static str> {
    let counts = matches!(&case.plan, ResponsePlan::Rows { counts, .. } if counts.iter().any(|(_, rule)| *rule == CountRule::Rows));
    let (fresh, cut) = match (fresh, &parted.cut) {
        (Ok(fresh), Ok(cut)) => (fresh, cut),
        (Err(CutError::Unreadable(one)), Err(CutError::Unreadable(other))) => {
            return if one == other { Ok(()) } else { Err("unreadable for another reason") };
        }
        (Err(one), Err(other)) => return if refused(one) == refused(other) { Ok(()) } else { Err("another refusal") },
        (Ok(_), Err(_)) => return Err("refused in pieces"),
        (Err(_), Ok(_)) => return Err("not refused in pieces"),
    };
    if summed(&fresh.report) != summed(&cut.report) {
        return Err("another report");
    }
    let (one, other) = (fresh.filtered.clone().into_bytes(), cut.filtered.clone().into_bytes());
    if parted.parts == 0 || !counts {
        let flags = |report: &Report| (report.counts_removed, report.counts_corrected);
        return if one == other && flags(&fresh.report) == flags(&cut.report) { Ok(()) } else { Err("other bytes") };
    }
    let read = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| Json::read(text, 128));
    match (read(&one), read(&other)) {
        (Some(one), Some(other)) if is_without_counts(&one, &other) => Ok(()),
        _ => Err("more is left out than counts"),
    }
}

/// Whether `less` is `all` without some members that hold counts.
fn is_without_counts(all: &Json, less: &Json) -> bool {
    match (all, less) {
        (Json::Object(all), Json::Object(less)) => {
            let mut rest = less.iter().peekable();
            all.iter().all(|(name, value)| match rest.peek() {
                Some((known, kept)) if known == name && is_without_counts(value, kept) => rest.next().is_some(),
                _ => holds_only_counts(value),
            }) && rest.next().is_none()
        }
        // In an array its place stays.
        (Json::Array(all), Json::Array(less)) => {
            let is_left_out = |all, less: &Json| matches!(less, Json::Leaf(raw) if raw == "null") && holds_only_counts(all);
            all.len() == less.len() && all.iter().zip(less).all(|(all, less)| is_without_counts(all, less) || is_left_out(all, less))
        }
        _ => all == less,
    }
}

fn holds_only_counts(value: &Json) -> bool {
    match value {
        Json::Leaf(raw) => raw == "null" || raw.bytes().all(|byte| byte.is_ascii_digit()),
        Json::Array(items) => items.iter().all(holds_only_counts),
        Json::Object(members) => members.iter().all(|(_, value)| holds_only_counts(value)),
    }
}
