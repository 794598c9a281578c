//! `/v1/decisions/export`: the decision log as events for other systems, page by page. Every page is itself an entry of the log, written
//! before the answer; the first page fixes where the last one ends.

use jiff::Timestamp;

use super::decisions::unreadable;
use super::dispatch::{Access, Call, Param, Reply, Route};
use super::problem::{Code, Problem};
use super::role::AdminRole;
use crate::audit::export::{Event, EventTable, ExportError, PARQUET_TYPE, Position, Step, TableError, Tail, body, record};
use crate::model::{EventFormat, ExportFormat};

const AUDITORS: Access = Access::Roles(&[AdminRole::Auditor]);

/// Of one page, whichever is reached first.
const PAGE_EVENTS_MAX: usize = 1_000;
const PAGE_BYTES_MAX: usize = 4 << 20;
const PAGE_READ_MAX: u64 = 50_000;
/// Decisions under way that a cursor can name; a page goes on until there are no more, up to eight times as far.
const CURSOR_OPEN_MAX: usize = 200;

pub(super) const ROUTES: &[Route] = &[Route::get(
    "/v1/decisions/export",
    "decisions.export",
    AUDITORS,
    "The decision log as events for a SIEM, oldest first; `Consentry-Next` is the next page's cursor, without it there is none; each page is logged",
    export,
)
.query(&[
    Param { name: "format", about: "`ocsf`, `cef`, `leef`, `otlp` or `ndjson`; of `parquet` each page is a whole file" },
    Param { name: "from", about: "the first entry, 0 without it" },
    Param { name: "since", about: "RFC 3339 time" },
    Param { name: "until", about: "RFC 3339 time" },
    Param { name: "cursor", about: "`Consentry-Next` of the page before" },
])];

fn export(call: &Call) -> Result<Reply, Problem> {
    let format = call.query.get("format").and_then(ExportFormat::parse);
    let format = format.ok_or_else(|| Problem::invalid("`format` must be `ocsf`, `cef`, `leef`, `otlp`, `ndjson` or `parquet`"))?;
    let from = call.query.parsed::<u64>("from", "an index")?.unwrap_or_default();
    let since = call.query.parsed::<Timestamp>("since", "a time like 2026-07-24T10:00:00Z")?;
    let until = call.query.parsed::<Timestamp>("until", "a time like 2026-07-24T10:00:00Z")?;
    let entries = call.state.log.metrics().entries;
    let cursor = match call.query.get("cursor") {
        Some(text) => parse(text, entries).ok_or_else(|| Problem::invalid("`cursor` must be the `Consentry-Next` of a page"))?,
        None => Cursor { to: entries, position: Position { next: from.min(entries), ..Position::default() } },
    };
    let tail = Tail::open(call.state.index.log_dir(), &call.state.origin, cursor.position).map_err(|error| problem(&error))?;
    let wanted = |event: &Event| since.is_none_or(|since| event.at >= since) && until.is_none_or(|until| event.at < until);
    // A row of Parquet is an event of NDJSON.
    let lines = match format {
        ExportFormat::Events(format) => format,
        ExportFormat::Parquet => EventFormat::Ndjson,
    };
    let page = page(tail, cursor.to, lines, wanted)?;
    call.record_query(None, page.records.len())?;
    let reply = match format {
        ExportFormat::Events(format) => Reply::text(format.content_type(), body(format, &call.state.origin, page.records.iter().map(String::as_str))),
        ExportFormat::Parquet => Reply::bytes(PARQUET_TYPE, table(&page.records).map_err(|error| unwritable(&error))?.into()),
    };
    Ok(reply.next(page.next.map(|position| write(cursor.to, &position))))
}

fn table(records: &[String]) -> Result<Vec<u8>, TableError> {
    let mut table = EventTable::new(Vec::new())?;
    for record in records {
        table.put_document(serde_json::from_str(record).unwrap_or_default())?;
    }
    table.finish()
}

fn unwritable(error: &TableError) -> Problem {
    Problem::new(Code::Unavailable, "ask for `ndjson`, and report this").detail(error.to_string())
}

/// Where a page begins, and where the last one ends.
struct Cursor {
    to: u64,
    position: Position,
}

struct Page {
    records: Vec<String>,
    next: Option<Position>,
}

fn page(mut tail: Tail, to: u64, format: EventFormat, wanted: impl Fn(&Event) -> bool) -> Result<Page, Problem> {
    let (mut records, mut bytes, mut read) = (Vec::new(), 0, 0);
    let mut put = |event: &Event| {
        if wanted(event) {
            let record = record(format, event);
            bytes += record.len();
            records.push(record);
        }
        (records.len(), bytes)
    };
    let mut size = (0, 0);
    loop {
        if size.0 >= PAGE_EVENTS_MAX || size.1 >= PAGE_BYTES_MAX || read >= PAGE_READ_MAX {
            let position = tail.position();
            if position.open.len() <= CURSOR_OPEN_MAX {
                return Ok(Page { records, next: Some(position) });
            }
            if size.1 >= PAGE_BYTES_MAX * 8 || read >= PAGE_READ_MAX * 8 {
                return Err(Problem::new(Code::AuditUnavailable, "repeat when less is under way, or read the log's files with `--offline`")
                    .detail("more decisions are under way than a page can leave open"));
            }
        }
        match tail.step(Some(to), None).map_err(|error| problem(&error))? {
            Step::Event(event) => size = put(&event),
            Step::Read => read += 1,
            Step::Idle => break,
        }
    }
    // What is under way at the end is unresolved, as in a search.
    for event in tail.finish() {
        put(&event);
    }
    Ok(Page { records, next: None })
}

/// `<to>.<next>.<open>.<open>…`, the open ones by how far they lie before `next`.
fn write(to: u64, position: &Position) -> String {
    let open = position.open.iter().map(|head| format!(".{}", position.next.saturating_sub(*head)));
    format!("{to}.{}{}", position.next, open.collect::<String>())
}

fn parse(text: &str, entries: u64) -> Option<Cursor> {
    let mut numbers = text.split('.').map(|number| number.parse::<u64>().ok());
    let (to, next) = (numbers.next()??, numbers.next()??);
    let open = numbers.map(|back| next.checked_sub(back?).filter(|head| *head < next)).collect::<Option<_>>()?;
    (next <= to && to <= entries).then_some(Cursor { to, position: Position { next, open } })
}

fn problem(error: &ExportError) -> Problem {
    match error {
        ExportError::Audit(error) => unreadable(&error.clone().into()),
        ExportError::NotThisLog { .. } => Problem::invalid("`cursor` must be the `Consentry-Next` of a page"),
        ExportError::Position { .. } | ExportError::SetBack { .. } => {
            Problem::new(Code::AuditUnavailable, "run `consentry audit verify` on the log's folder").detail(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_none_leads_out_of_the_log() {
        let position = Position { next: 900, open: [17, 899].into() };
        let text = write(1_000, &position);
        assert_eq!(text, "1000.900.883.1");
        let read = parse(&text, 1_000).unwrap();
        assert_eq!((read.to, read.position), (1_000, position));
        for text in ["", "1000", "1000.", "1000.900.", "1000.900.0", "1000.900.901", "900.1000", "1001.900", "1000.-1", "1000.900.x"] {
            assert!(parse(text, 1_000).is_none(), "{text}");
        }
    }
}
