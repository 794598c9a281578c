//! `/v1/imports`: files of consent, piece by piece. A file is cut by who sends it (`consentry consent import`); each piece is
//! recorded as a whole, and how far the import has come is kept under its key, so that it can be taken up again.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::again;
use super::consents::EventBody;
use super::dispatch::{Call, Param, Reply, Route, Takes};
use super::parties::{DESK, capturer};
use super::problem::Problem;
use super::record::{Weight, consent_problem};
use crate::consent::{Done, ImportFormat, ImportOptions, ImportPiece, PieceReport, Progress, Surroundings, Tally};
use crate::model::{ActivityKey, Revision};

const OPTIONS: &[Param] = &[
    Param { name: "format", about: "csv, ndjson, salesforce, jsonld or kantara; required" },
    Param { name: "line", about: "the file's line on which the piece begins, behind the header of rows; 1 without it" },
    Param { name: "offset", about: "where in the file the piece begins, in bytes; 0 without it" },
    Param { name: "length", about: "how many bytes of the file it is made of; those of the body without it" },
    Param { name: "dry_run", about: "`true`: say what would be done and do nothing" },
    Param { name: "time_zone", about: "whose midnight a date without a time means: an IANA name or an offset" },
    Param { name: "space", about: "the id space of ids that are written without one" },
    Param { name: "map", about: "a JSON object from `<field>:<value>` to a name of the catalogue" },
    Param { name: "categories", about: "what a grant covers that does not say so, separated by spaces" },
    Param { name: "recipients", about: "whom a grant names that does not say so, separated by spaces" },
    Param { name: "notice", about: "the notice, `<id>@<version>`, of a grant that names none" },
    Param { name: "author", about: "who gave a grant that does not say so: customer or guardian; without it such a grant opens nothing" },
];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/imports/{key}", "consents.import", DESK, "Record the next piece of a file: CSV, one JSON object a line, or an array", take)
        .query(OPTIONS)
        .takes(Takes::Bulk(&EventBody::SCHEMA))
        .again(taken_again),
    Route::get("/v1/imports/{key}", "imports.show", DESK, "How far an import has come", show),
];

fn take(call: &Call) -> Result<Reply, Problem> {
    let key = key(call)?;
    let options = options(call)?;
    let line = call.query.parsed::<u64>("line", "a number")?.unwrap_or(1);
    let offset = call.query.parsed::<u64>("offset", "a number")?.unwrap_or(0);
    let length = call.query.parsed::<u64>("length", "a number")?.unwrap_or(u64::try_from(call.body.len()).unwrap_or(u64::MAX));
    let dry_run = call.query.parsed::<bool>("dry_run", "`true` or `false`")?.unwrap_or(false);
    call.may_write(Weight::Opens)?;
    let instance = &call.state.instance;
    let activities: Vec<ActivityKey> = instance.activities().iter().map(|activity| activity.id).collect();
    let normalise = |space: &str, value: &str| instance.identifier(space, value);
    let piece = ImportPiece { key, line, offset, length, bytes: &call.body, is_array: call.content_type == "application/json" };
    let around = Surroundings { activities: &activities, normalise: &normalise };
    let taken = call.state.ledger.import_consents(&piece, &options, &around, call.by(&capturer(call)), dry_run);
    // A piece that stops half way has recorded its first statements: those are logged even so.
    let status = if taken.is_ok() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let revision = call.state.ledger.revision();
    call.record_write(Weight::Opens, None, Some(revision), status)?;
    let report = taken.map_err(|error| consent_problem(&error))?;
    Ok(reply(&report, dry_run, revision))
}

fn taken_again(call: &Call, done: &Done) -> Result<Reply, Problem> {
    let report = PieceReport::read(done).ok_or_else(again::unreadable)?;
    call.record_write(Weight::Opens, None, Some(done.revision), StatusCode::OK)?;
    Ok(reply(&report, false, done.revision))
}

fn reply(report: &PieceReport, dry_run: bool, revision: Revision) -> Reply {
    let errors: Vec<Value> = report.errors.iter().map(|error| json!({ "line": error.line, "message": error.message })).collect();
    let document = json!({
        "dry_run": dry_run, "piece": tally_json(&report.piece), "progress": progress_json(&report.progress), "errors": errors,
        "errors_left_out": report.errors_left_out, "revision": revision.0,
    });
    Reply::ok(&document).revision(revision.0)
}

fn show(call: &Call) -> Result<Reply, Problem> {
    let progress = call.state.ledger.import_progress(key(call)?).map_err(|away| consent_problem(&away.into()))?;
    progress.map(|progress| Reply::ok(&progress_json(&progress))).ok_or_else(|| Problem::not_found("import"))
}

/// The SHA-256 of the file and the options, in hexadecimal.
fn key(call: &Call) -> Result<&str, Problem> {
    let key = call.param(0)?;
    let is_hash = key.len() == 64 && key.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    if is_hash { Ok(key) } else { Err(Problem::invalid("the key of an import is a SHA-256 in lower-case hexadecimal")) }
}

fn options(call: &Call) -> Result<ImportOptions, Problem> {
    let wrong = |what: String| Problem::value(what, "see `/openapi.json` for what this path takes");
    let format = call.query.get("format").ok_or_else(|| Problem::invalid("`format` is missing"))?;
    let format =
        ImportFormat::parse(format).ok_or_else(|| Problem::value("`format` is not known", "use csv, ndjson, salesforce, jsonld or kantara"))?;
    let mut options = ImportOptions::new(format);
    if let Some(zone) = call.query.get("time_zone") {
        options = options.time_zone(zone).map_err(wrong)?;
    }
    if let Some(space) = call.query.get("space") {
        options = options.space(space);
    }
    if let Some(text) = call.query.get("map") {
        let maps = crate::model::unique_json(text.as_bytes()).and_then(serde_json::from_value::<BTreeMap<String, String>>);
        let maps = maps.map_err(|_other| Problem::invalid("`map` is not a JSON object of texts, each named once"))?;
        for (from, to) in maps {
            options = options.map(&from, &to).map_err(wrong)?;
        }
    }
    for column in ["categories", "recipients", "notice"] {
        if let Some(cell) = call.query.get(column) {
            options = options.cover(column, cell);
        }
    }
    match call.query.get("author") {
        Some(author @ ("customer" | "guardian")) => options = options.cover("author", author),
        Some(_) => return Err(Problem::value("`author` is neither customer nor guardian", "leave it out for what neither of them said")),
        None => {}
    }
    Ok(options)
}

fn progress_json(progress: &Progress) -> Value {
    json!({ "offset": progress.offset, "done": tally_json(&progress.done) })
}

fn tally_json(tally: &Tally) -> Value {
    json!({
        "records": tally.records, "opens": tally.opens, "opens_not": tally.opens_not, "closes": tally.closes, "stops": tally.stops,
        "neither": tally.neither, "nobody": tally.nobody, "known_before": tally.known_before, "refused": tally.refused,
    })
}
