//! Governed: what may come back.

use std::sync::Arc;

use super::read::{Table, Value};
use super::shapes::{Names, path};
use crate::catalog::Catalog;
use crate::model::{CountRule, Framing, PathPattern, ResponsePlan, Shape, Step, Subject};

const COUNTS: [(&str, CountRule); 4] =
    [("rows", CountRule::Rows), ("remove", CountRule::Remove), ("free", CountRule::Free), ("link", CountRule::Link)];

/// How a success is cut, and how the body of a 4xx is, if that is declared.
pub(super) type Plans = (ResponsePlan, Option<ResponsePlan>);

/// `"empty"`, or a table with `shape` (and `rows`, or `at` and `subject`), `open`, `empty = true` or `content_types`; beside each but
/// the last, `error`.
pub(super) fn read(value: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<Plans> {
    if let Some(word) = value.as_str() {
        return value.word("response", &[("empty", ())]).filter(|()| word == "empty").map(|()| (ResponsePlan::Empty, None));
    }
    let mut table = value.table("`response`")?;
    table.later(&["counts_from"]);
    let stream = table.opt("stream");
    let error_place = table.opt("error");
    let error = error_place.map(|v| error(v, names, catalog));
    let empty = table.opt("empty");
    if let Some(place) = error_place.filter(|_| table.has("content_types")) {
        place.error_help("`error` stands beside `content_types`", "an error body of such a route is always replaced; remove it");
    }
    let read = match (table.opt("shape"), table.opt("rows"), table.opt("content_types")) {
        (Some(shape), None, None) if stream.is_some() => stream.and_then(|value| self::stream(&mut table, shape, value, names, catalog)),
        _ if stream.is_some() => {
            value.error_help(
                "a stream has a `shape`, which its records have, and neither `rows` nor `content_types`",
                "write `{ stream = \"ndjson\", shape = … }`",
            );
            None
        }
        (Some(shape), Some(rows), None) => self::rows(&mut table, shape, rows, names, catalog),
        (Some(shape), None, None) => object(&mut table, shape, names, catalog),
        (None, None, Some(types)) => content_types(types).map(|content_types| ResponsePlan::Free { content_types }),
        (None, None, None) => match (table.opt("open"), empty) {
            (Some(open), None) => open.each(path).map(|open| ResponsePlan::Open { open }),
            (None, Some(empty)) => says_true(empty).map(|()| ResponsePlan::Empty),
            (Some(_), Some(empty)) => {
                empty.error_help("`empty` stands beside `open`", "keep the one that is meant");
                None
            }
            (None, None) => {
                value.error_help("this does not say what comes back", "write `{ shape = … }`, `{ open = […] }` or `\"empty\"`");
                None
            }
        },
        (None, Some(rows), _) => {
            rows.error_help("these rows have no `shape`", "without one no field is released");
            None
        }
        (Some(_), _, Some(types)) => {
            types.error_help("`content_types` stands beside a shape", "it belongs to `customer = \"none\"`; what a shape cuts is JSON");
            None
        }
    };
    if let Some(place) = empty.filter(|_| !matches!(read, Some(ResponsePlan::Empty) | None)) {
        place.error_help("`empty` stands beside what comes back", "keep the one that is meant");
    }
    table.finish();
    let error = match error {
        Some(read) => Some(read?),
        None => None,
    };
    Some((read?, error))
}

fn says_true(value: Value<'_>) -> Option<()> {
    let says = value.bool()?;
    if !says {
        value.error_help("`empty = false` does not say what comes back", "write `{ shape = … }` or `{ open = […] }`");
    }
    says.then_some(())
}

/// `{ open = […] }`, or `{ shape, at, subject }` for an error body that is about a customer.
fn error(value: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<ResponsePlan> {
    let mut table = value.table("`error`")?;
    let read = match (table.opt("shape"), table.opt("open")) {
        (Some(shape), None) => object(&mut table, shape, names, catalog),
        (None, Some(open)) => {
            if open.list_is_empty() {
                open.error_help("no member of the error body is named", "without one the body is replaced: leave `error` out");
                return None;
            }
            open.each(path).map(|open| ResponsePlan::Open { open })
        }
        (Some(_), Some(_)) | (None, None) => {
            value.error_help("this does not say what of an error body goes on", "write `{ open = [\"code\"] }` or `{ shape = … }`");
            return None;
        }
    };
    table.finish();
    read
}

fn shape_of(value: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<Arc<Shape>> {
    names.shape(value).and_then(|name| catalog.shapes.get(&name).cloned())
}

fn object(table: &mut Table<'_>, shape: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<ResponsePlan> {
    let shape = shape_of(shape, names, catalog);
    let at = table.opt("at").map_or_else(
        || Some(PathPattern::default()),
        |v| {
            let at = path(v)?;
            let plain = at.0.iter().all(|step| matches!(step, Step::Member(_) | Step::Index(_)));
            if !plain {
                v.error_help("`at` names one object", "for a list write `rows = \"…[]\"`");
            }
            plain.then_some(at)
        },
    );
    let open = match (table.opt("open"), at.as_ref()) {
        (None, _) => Some(Vec::new()),
        (Some(open), Some(at)) if at.0.is_empty() => {
            open.error_help("nothing stands beside the object", "open members of the object itself belong to its shape");
            None
        }
        (Some(open), _) => open.each(path),
    };
    let withheld_as = table.opt("withheld_as").map(|v| withheld_as(v, at.as_ref()));
    let withheld_as = match withheld_as {
        Some(read) => Some(read?),
        None => None,
    };
    let subject =
        table.opt("subject").map_or(Some(Subject::default()), |v| v.word("subject", &[("answer", Subject::Answer), ("request", Subject::Request)]));
    Some(ResponsePlan::Object { at: at?, shape: shape?, subject: subject?, open: open?, withheld_as })
}

/// The name of a member that is added to the whole body, in which the rows or the object stand at `at`.
fn withheld_as(value: Value<'_>, at: Option<&PathPattern>) -> Option<String> {
    let name = value.str()?;
    let is_plain = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.@:$".contains(&b));
    if !is_plain {
        value.error_help("this is not the name of a member", "letters, digits and `_-.@:$`, such as `_withheld`");
        return None;
    }
    if matches!(at?.0.first(), Some(Step::Items | Step::Index(_))) {
        value.error_help("this body is a list, which has no members", "leave `withheld_as` out; `Consentry-Withheld` says how many there are");
        return None;
    }
    Some(name.to_owned())
}

/// No member of the answer may have the name of the one that is added. Looked at when a dialect has added its own.
pub(super) fn names_differ(place: Value<'_>, plan: &ResponsePlan) {
    let counted: &[_] = if let ResponsePlan::Rows { counts, .. } = plan { counts } else { &[] };
    let (ResponsePlan::Object { at, open, shape, .. } | ResponsePlan::Rows { rows: at, open, shape, .. }, Some(name)) = (plan, plan.withheld_as())
    else {
        return;
    };
    let beside = open.iter().chain(counted.iter().map(|(path, _)| path)).chain([at]);
    let inside = Some(shape).filter(|_| at.0.is_empty()).into_iter().flat_map(|shape| {
        let fields = shape.fields.iter().map(|field| &field.path);
        shape.customer.iter().chain(&shape.open).chain(&shape.links).chain(fields)
    });
    let takes = |path: &&PathPattern| match path.0.first() {
        Some(Step::Member(member)) => member == name,
        Some(Step::Rest) => true,
        Some(Step::Items | Step::Index(_)) | None => false,
    };
    if let Some(path) = beside.chain(inside).find(takes) {
        place.error_help(format!("`{path}` may have the name that `withheld_as` gives"), "choose one that the upstream's answer does not have");
    }
}

fn rows(table: &mut Table<'_>, shape: Value<'_>, rows: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<ResponsePlan> {
    let shape = shape_of(shape, names, catalog);
    let rows_path = path(rows).filter(|p| {
        let list = p.0.last() == Some(&Step::Items);
        if !list {
            rows.error_help("`rows` does not name a list", "write `items[]`, or `[]` when the body itself is the list");
        }
        list
    });
    let counts = table.opt("counts").map_or_else(|| Some(Vec::new()), counts);
    let open = table.opt("open").map_or_else(|| Some(Vec::new()), |v| v.each(path));
    let withheld_as = table.opt("withheld_as").map(|v| withheld_as(v, rows_path.as_ref()));
    let withheld_as = match withheld_as {
        Some(read) => Some(read?),
        None => None,
    };
    let rows_max = table.opt("rows_max").map(|v| v.count(10_000_000));
    let rows_max = match rows_max {
        Some(read) => Some(read?),
        None => None,
    };
    Some(ResponsePlan::Rows { rows: rows_path?, shape: shape?, counts: counts?, open: open?, rows_max, withheld_as })
}

/// Records of this shape, one after the other.
fn stream(table: &mut Table<'_>, shape: Value<'_>, value: Value<'_>, names: &Names<'_>, catalog: &Catalog) -> Option<ResponsePlan> {
    let shape = shape_of(shape, names, catalog);
    let is_events = value.word("stream", &[("ndjson", false), ("sse", true)]);
    let (events, ids) = (table.opt("events"), table.opt("event_ids"));
    let framing = if is_events? {
        let names = events.map_or_else(|| Some(Vec::new()), |v| v.each(event_name));
        let with_ids = ids.map_or(Some(false), |v| v.word("rule", &[("free", true), ("remove", false)]));
        Framing::Events { names: names?, with_ids: with_ids? }
    } else {
        for place in [events, ids].into_iter().flatten() {
            place.error("this belongs to `stream = \"sse\"`");
        }
        Framing::Ndjson
    };
    Some(ResponsePlan::Stream { framing, shape: shape? })
}

fn event_name(value: Value<'_>) -> Option<String> {
    let text = value.str()?;
    let plain = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b));
    if !plain {
        value.error_help("this is not a name of events", "letters, digits and `_-.:/`, as the upstream writes it after `event:`");
    }
    plain.then(|| text.to_owned())
}

pub(super) fn counts(value: Value<'_>) -> Option<Vec<(PathPattern, CountRule)>> {
    let table = value.table("`counts`")?;
    let entries = table.named();
    let read = |(text, span, v): &(&str, std::ops::Range<usize>, Value<'_>)| {
        let path = PathPattern::parse(text).map_err(|problem| table.cx.push(table.cx.finding(span.clone(), problem))).ok();
        Some((path?, v.word("rule", &COUNTS)?))
    };
    let found: Vec<_> = entries.iter().filter_map(read).collect();
    (found.len() == entries.len()).then_some(found)
}

fn content_types(value: Value<'_>) -> Option<Vec<String>> {
    if value.list_is_empty() {
        value.error("at least one content type is needed");
        return None;
    }
    value.each(|item| {
        let text = item.str()?;
        let plain = text.split_once('/').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty())
            && text.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !matches!(b, b';' | b'*' | b','));
        if !plain {
            item.error_help("this is not a content type", "write it in lower case and without parameters: `application/json`");
        }
        plain.then(|| text.to_owned())
    })
}
