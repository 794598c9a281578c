//! What each format is read as, every planted fault with its line, and pieces that lose and double nothing.

mod gpp;
mod kantara;

use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::consent::preview::Effect;
use crate::consent::tests::{Bench, bench, empty_bench, evidence, id, normalise, purpose, staff, time};
use crate::consent::{ConsentError, Document, EventDraft, Lacks, Method, State, StopKind, What};
use crate::model::Author;

const KEY: &str = "7d";

fn take_piece(
    bench: &Bench,
    (bytes, line): (&[u8], u64),
    place: (u64, u64),
    is_array: bool,
    options: &ImportOptions,
    dry_run: bool,
) -> Result<PieceReport, ConsentError> {
    let around = Surroundings { activities: &[], normalise: &normalise };
    bench.ledger.import_consents(
        &ImportPiece { key: KEY, line, offset: place.0, length: place.1, bytes, is_array },
        options,
        &around,
        &staff(),
        dry_run,
    )
}

/// Cuts a file and takes its pieces, as the command does.
fn take(bench: &Bench, file: &[u8], options: &ImportOptions, dry_run: bool) -> Result<(Tally, Vec<ImportError>), ConsentError> {
    let mut cutter = Cutter::new(file, options.format).unwrap();
    let (mut total, mut errors) = (Tally::default(), Vec::new());
    while let Some(piece) = cutter.next_piece().unwrap() {
        let report = take_piece(bench, (&piece.bytes, piece.line), (piece.offset, piece.length), cutter.is_array(), options, dry_run)?;
        let left_out = u64::try_from(piece.repeated.len()).unwrap();
        assert_eq!(report.piece.records + left_out, piece.records, "both sides tell records apart alike");
        total.add(&report.piece);
        errors.extend(report.errors.into_iter().chain(piece.repeated).chain(piece.faults));
    }
    errors.sort_by_key(|error| error.line);
    Ok((total, errors))
}

fn options(format: ImportFormat) -> ImportOptions {
    ImportOptions::new(format).cover("categories", "contact").cover("recipients", "marketing").cover("author", "customer")
}

#[test]
fn formats_are_seen_from_the_beginning() {
    for (beginning, format) in [
        ("id,state\n", ImportFormat::Csv),
        ("", ImportFormat::Csv),
        ("\u{feff}{\"party\":\"crm:1\"}", ImportFormat::Ndjson),
        (" [{\"party\":\"crm:1\"}]", ImportFormat::Ndjson),
        ("{\"@context\":\"x\"}", ImportFormat::Jsonld),
        ("[\n{\"@type\":\"dpv:ConsentRecord\"}]", ImportFormat::Jsonld),
        ("\"Id\",\"PartyId\",\"PrivacyConsentStatus\"\n", ImportFormat::Salesforce),
    ] {
        assert_eq!(ImportFormat::of(beginning.as_bytes()), format, "{beginning}");
    }
}

#[test]
fn a_row_is_recorded_as_written() {
    let bench = bench();
    let file = "id,state,purposes,event_time,channel,method,author,notice,evidence,expires,lasts,until,uses,categories,recipients,channels,source_system,reason,stop,activity\n\
                crm:1,given,marketing.email sales,2026-02-01T10:00:00+02:00,phone,explicit,guardian,n@2,form=1 call=x,2027-01-01T00:00:00Z,P24M,contract-ended,3,contact order,marketing,email sms,crm,,,\n";
    let (tally, errors) = take(&bench, file.as_bytes(), &options(ImportFormat::Csv), false).unwrap();
    assert_eq!((errors, tally.opens, tally.records), (vec![], 1, 1));
    let history = bench.ledger.history(&id("crm:1").into()).unwrap();
    let event = &history.last().unwrap().event;
    assert_eq!(event.event_time, Some(time("2026-02-01T08:00:00Z")));
    assert_eq!(
        (event.author, event.method, event.channel.as_str(), event.source_system.as_str()),
        (Author::Guardian, Method::Explicit, "phone", "crm")
    );
    assert_eq!(event.evidence.keys().collect::<Vec<_>>(), ["call", "form"]);
    let What::Consent(consent) = &event.what else { panic!("not a consent: {event:?}") };
    assert_eq!(consent.purposes, [purpose("marketing.email"), purpose("sales")]);
    assert_eq!((consent.expires, consent.until.as_deref(), consent.uses), (Some(time("2027-01-01T00:00:00Z")), Some("contract-ended"), Some(3)));
    assert_eq!(consent.notice.as_ref().map(|n| (n.id.as_str(), n.version.as_str())), Some(("n", "2")));
    assert_eq!((consent.scope.categories.len(), consent.scope.recipients.len(), consent.scope.channels.len()), (2, 1, 2));
}

#[test]
fn every_planted_fault_is_told_with_its_line_and_no_good_row_is_lost() {
    let long = format!("crm:13,withdrawn,{}\n", "x".repeat(reader::RECORD_BYTES_MAX));
    let mut file = b"id,state,stop,purposes,event_time,channel,method,author,notice,evidence,expires,lasts,uses,activity\n".to_vec();
    let faults: [(&str, &str); 27] = [
        ("crm:1,given,,sales,2026-13-01T00:00:00Z,,,,,a=b,,,,", "`event_time` is not a time"),
        ("crm:1,given,,sales,2026-02-01T00:00:00,,,,,a=b,,,,", "`event_time` has no offset"),
        ("crm:1,given,,sales,2026-02-01,,,,,a=b,,,,", "--time-zone"),
        ("crm:1,given,,sales,2999-01-01T00:00:00Z,,,,,a=b,,,,", "lies in the future"),
        ("crm:1,given,,sales,,,,,,a=b,tomorrow,,,", "`expires` is not a time"),
        ("crm:1,given,,sales,,,,,,a=b,,2 years,,", "`lasts` is not a period"),
        ("crm:1,given,,sales,,,,,,a=b,,,-1,", "`uses` is not a whole number"),
        ("crm:1,given,,marketing.emial,,,,,,a=b,,,,", "unknown purpose; did you mean `marketing.email`?"),
        ("crm:1,given,,,,,,,,a=b,,,,", "`purposes` is empty"),
        ("crm:1,gvien,,sales,,,,,,,,,,", "unknown state; did you mean `given`?"),
        ("crm:1,,erasre,,,,,,,,,,,", "unknown stop; did you mean `erasure`?"),
        ("crm:1,,erasure,,,,,,,,,,,", "`reason`"),
        ("crm:1,,suppression,,,,explicit,,,,,,,", "`method` belongs to a consent"),
        ("crm:1,withdrawn,suppression,,,,,,,,,,,", "two statements"),
        ("crm:1,,,sales,,,,,,,,,,", "neither a state nor a stop"),
        ("crm:1,withdrawn,,,,fax,,,,,,,,", "unknown channel"),
        ("crm:1,withdrawn,,,,,by hand,,,,,,,", "unknown method"),
        ("crm:1,withdrawn,,,,,,neighbour,,,,,,", "unknown author"),
        ("crm:1,withdrawn,,,,,,,n,,,,,", "`notice` is `<id>@<version>`"),
        ("crm:1,withdrawn,,,,,,,,scan,,,,", "`evidence` is `<kind>=<reference>`"),
        ("crm:1,withdrawn,,,,,,,,a=b a=c,,,,", "each kind stands once"),
        ("crm:1,withdrawn,,,,,,,,,,,,outreach", "unknown activity"),
        ("fax:1,withdrawn,,,,,,,,,,,,", "unknown id space"),
        ("crm:x,withdrawn,,,,,,,,,,,,", "does not match the grammar"),
        ("1,withdrawn,,,,,,,,,,,,", "an id is written"),
        (",withdrawn,,,,,,,,,,,,", "has no id"),
        ("crm:1,withdrawn", "2 cells where the header has 14"),
    ];
    for (row, _) in &faults {
        file.extend_from_slice(row.as_bytes());
        file.extend_from_slice(b"\r\n");
    }
    file.extend_from_slice(b"crm:1,withdrawn,,,,,,,,ann@ex\xe4mple,,,,\n");
    file.extend_from_slice(long.as_bytes());
    file.extend_from_slice(
        b"crm:1,\"withdrawn,,,,,,,,,,,,\ncrm:1,withdrawn,,sales,,,,,,,,,,\n\ncrm:1,withdrawn,,sales,,,,,,,,,,\ncrm:1,\"refused\",,,,,,,,,,,,\n",
    );
    let (tally, errors) = take(&bench(), &file, &options(ImportFormat::Csv), false).unwrap();
    for (error, (line, (row, message))) in errors.iter().zip((2..).zip(&faults)) {
        assert!(error.line == line && error.message.contains(message), "{row}: {error:?}");
    }
    let rest: Vec<(u64, &str)> = errors.iter().skip(faults.len()).map(|error| (error.line, error.message.as_str())).collect();
    assert_eq!(rest.len(), 4, "{rest:?}");
    assert!(rest[0].0 == 29 && rest[0].1.contains("iconv"), "{rest:?}");
    assert_eq!(rest[1..], [(30, "longer than 64 KiB"), (31, "a quoted cell is not closed"), (34, "repeats line 32; left out")]);
    assert_eq!((tally.closes, tally.records, tally.refused), (2, 32, 30));
    for value in ["gvien", "neighbour", "ann@", "fax:1", "outreach"] {
        assert!(!errors.iter().any(|error| error.message.contains(value)), "`{value}` is repeated in a message");
    }
}

#[test]
fn an_unknown_or_doubled_column_ends_the_import_before_anything_is_taken() {
    let bench = bench();
    let revision = bench.ledger.revision();
    for (format, file, message) in [
        (ImportFormat::Csv, "id,stae\ncrm:1,withdrawn\n", "column 2 is not known; did you mean `state`?"),
        (ImportFormat::Csv, "id,state,id\ncrm:1,withdrawn,crm:1\n", "column `id` stands twice"),
        (ImportFormat::Csv, "state\nwithdrawn\n", "column `id` is missing"),
        (ImportFormat::Csv, "", "the file is empty"),
        (ImportFormat::Csv, "\"id\nx\n", "a quoted cell is not closed"),
        (ImportFormat::Salesforce, "PartyId,PrivacyConsentStatus,CaptureDte\n1,OptOut,\n", "did you mean `CaptureDate`?"),
        (ImportFormat::Salesforce, "PartyId\n1\n", "column `PrivacyConsentStatus` is missing"),
    ] {
        let refused = take(&bench, file.as_bytes(), &options(format), false).unwrap_err();
        assert!(matches!(&refused, ConsentError::Invalid(what) if what.contains(message)), "{file}: {refused:?}");
    }
    assert_eq!(bench.ledger.revision(), revision);
}

#[test]
fn a_date_counts_from_its_start_in_the_zone_that_was_named() {
    let bench = bench();
    let file = b"id,state,purposes,event_time,expires,evidence\ncrm:1,given,sales,2026-02-01,2026-08-01,a=b\n";
    for (zone, said, ends) in [
        ("Europe/Berlin", "2026-01-31T23:00:00Z", "2026-07-31T22:00:00Z"),
        ("+02:00", "2026-01-31T22:00:00Z", "2026-07-31T22:00:00Z"),
        ("UTC", "2026-02-01T00:00:00Z", "2026-08-01T00:00:00Z"),
    ] {
        bench.ledger.put_documents(vec![Document { kind: "import", key: KEY.to_owned(), body: None }], None, None).unwrap();
        bench.advance(60 * 60 * 25);
        let zoned = options(ImportFormat::Csv).time_zone(zone).unwrap();
        let (tally, errors) = take(&bench, file, &zoned, false).unwrap();
        assert_eq!((tally.opens, errors), (1, vec![]), "{zone}");
        let history = bench.ledger.history(&id("crm:1").into()).unwrap();
        let event = &history.last().unwrap().event;
        let What::Consent(consent) = &event.what else { panic!("not a consent") };
        assert_eq!((event.event_time, consent.expires), (Some(time(said)), Some(time(ends))), "{zone}");
    }
    for zone in ["Berlin", "2", "", "Mars/Base"] {
        assert!(options(ImportFormat::Csv).time_zone(zone).is_err(), "{zone}");
    }
}

#[test]
fn a_grant_whose_author_nobody_named_opens_nothing() {
    let file =
        b"id,state,purposes,event_time,evidence\ncrm:1,given,sales,2026-02-01T00:00:00Z,a=b\ncrm:1,withdrawn,profiling,2026-02-01T00:00:00Z,\n";
    let silent = ImportOptions::new(ImportFormat::Csv).cover("categories", "contact").cover("recipients", "marketing");
    for (options, opens, author) in [
        (silent.clone(), 0, Author::System),
        (silent.clone().cover("author", "customer"), 1, Author::Customer),
        (silent.cover("author", "guardian"), 1, Author::Guardian),
    ] {
        let bench = bench();
        let (tally, errors) = take(&bench, file, &options, false).unwrap();
        assert_eq!((tally.opens, tally.closes, errors), (opens, 1, vec![]));
        assert_eq!(tally.opens_not.get("not the person's own statement").copied(), (opens == 0).then_some(1));
        let authors: Vec<Author> = bench.ledger.history(&id("crm:1").into()).unwrap().iter().map(|row| row.event.author).collect();
        assert_eq!(authors, [author, Author::Customer], "the option says nothing of what closes");
    }
}

#[test]
fn the_date_of_what_closes_counts_to_its_end() {
    let zoned = |format| options(format).time_zone("Europe/Berlin").unwrap().space("crm");
    let said = |bench: &Bench| bench.ledger.history(&id("crm:1").into()).unwrap().last().unwrap().event.event_time;
    let salesforce = b"PartyId,PrivacyConsentStatus,ContactPointType,CaptureDate\n1,OptOut,Email,2026-02-01\n";
    let end = time("2026-02-01T22:59:59.999999Z");
    for row in ["withdrawn,,2026-02-01", "refused,,2026-02-01", ",suppression,2026-02-01"] {
        let bench = bench();
        let file = format!("id,state,stop,event_time\ncrm:1,{row}\n");
        assert_eq!(take(&bench, file.as_bytes(), &zoned(ImportFormat::Csv), false).unwrap().1, [], "{row}");
        let stored = said(&bench).unwrap();
        assert!(stored.duration_since(end).abs().as_secs() < 1, "{row}: {stored}");
    }
    let bench = bench();
    assert_eq!(take(&bench, salesforce, &zoned(ImportFormat::Salesforce), false).unwrap().1, []);
    assert!(said(&bench).unwrap().duration_since(end).abs().as_secs() < 1);
    // A withdrawal follows the grant of its day; one of today counts as it is recorded.
    let file = "id,state,purposes,event_time,evidence\ncrm:1,given,sales,2026-02-01T15:00:00+01:00,a=b\ncrm:1,withdrawn,sales,2026-02-01,\n";
    let bench = crate::consent::tests::bench();
    assert_eq!(take(&bench, file.as_bytes(), &zoned(ImportFormat::Csv), false).unwrap().1, []);
    assert_eq!(bench.state("crm:1", "sales"), State::Withdrawn);
    let today = bench.now().to_string();
    let file = format!("id,state,event_time\ncrm:1,withdrawn,{}\n", today.split_once('T').unwrap().0);
    let bench = crate::consent::tests::bench();
    assert_eq!(take(&bench, file.as_bytes(), &options(ImportFormat::Csv).time_zone("UTC").unwrap(), false).unwrap().1, []);
    assert_eq!(said(&bench), None);
    let (_, errors) =
        take(&bench, b"id,state,event_time\ncrm:2,withdrawn,2999-01-01\n", &options(ImportFormat::Csv).time_zone("UTC").unwrap(), true).unwrap();
    assert!(errors[0].message.contains("future"), "{errors:?}");
}

#[test]
fn what_will_not_open_is_counted_by_what_it_lacks_and_nothing_is_raised() {
    let bench = bench();
    let file = "id,state,stop,purposes,event_time,method,author,evidence,expires\n\
                crm:1,given,,sales,,,,a=b,\n\
                crm:1,given,,sales,2026-02-01T00:00:00Z,,,,\n\
                crm:1,given,,sales,2026-02-01T00:00:00Z,implied,,a=b,\n\
                crm:1,given,,sales,2026-02-01T00:00:00Z,,staff,a=b,\n\
                crm:1,given,,sales,2026-02-01T00:00:00Z,,system,a=b,\n\
                crm:9,given,,sales,2026-02-01T00:00:00Z,,,a=b,\n\
                crm:1,given,,sales,2026-02-01T00:00:00Z,,,a=b,2026-02-02T00:00:00Z\n\
                crm:1,requested,,sales,,,,,\n\
                crm:9,refused,,,,,,,\n\
                crm:9,,suppression,,,,,,\n\
                email:bo@example.org,,objection-marketing,,,,,,\n";
    let dry = take(&bench, file.as_bytes(), &options(ImportFormat::Csv), true).unwrap();
    let revision = bench.ledger.revision();
    let (tally, errors) = take(&bench, file.as_bytes(), &options(ImportFormat::Csv), false).unwrap();
    assert_eq!(dry, (tally.clone(), errors.clone()), "a dry run says what is then done");
    assert_eq!(revision.0, bench.ledger.revision().0 - 11, "and does nothing");
    assert_eq!(errors, []);
    let lacks: Vec<(&str, u64)> = tally.opens_not.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    assert_eq!(
        lacks,
        [
            ("it has run out", 1),
            ("no event time", 1),
            ("no evidence", 1),
            ("nobody is known by the id", 1),
            ("not the person's own statement", 2),
            ("only implied", 1)
        ]
    );
    assert_eq!((tally.opens, tally.closes, tally.neither, tally.nobody), (0, 1, 1, 4));
    assert_eq!(tally.stops.iter().map(|(kind, count)| (kind.as_str(), *count)).collect::<Vec<_>>(), [("objection-marketing", 1), ("suppression", 1)]);
    bench.ledger.tick(bench.now()).unwrap();
    assert!(!bench.state("crm:1", "sales").opens(), "nothing of it opens the gate");
    let bench = crate::consent::tests::bench();
    take(&bench, b"id,state,purposes,event_time,evidence\ncrm:1,given,sales,2026-02-03T00:00:00Z,a=b\n", &options(ImportFormat::Csv), false).unwrap();
    assert_eq!(bench.state("crm:1", "sales"), State::Given, "what is evidenced does");
}

#[test]
fn what_is_previewed_agrees_with_what_then_opens() {
    type Change = fn(&mut EventDraft);
    let spoil: [(Change, Effect); 7] = [
        (|_| {}, Effect::Opens),
        (|draft| draft.event_time = None, Effect::OpensNot(Lacks::EventTime)),
        (|draft| draft.evidence.clear(), Effect::OpensNot(Lacks::Evidence)),
        (|draft| draft.method = Method::Implied, Effect::OpensNot(Lacks::Explicitness)),
        (|draft| draft.claims = Author::System, Effect::OpensNot(Lacks::Person)),
        (|draft| draft.expires = Some(time("2026-02-01T00:00:00Z")), Effect::OpensNot(Lacks::Time)),
        (|draft| draft.state = State::Requested, Effect::Neither),
    ];
    for (change, wanted) in spoil {
        let bench = bench();
        let mut draft = bench.draft("crm:1", "sales", State::Given);
        draft.evidence = evidence();
        change(&mut draft);
        assert_eq!(bench.preview(draft.clone(), &staff()).unwrap(), wanted);
        bench.ledger.record(draft, &staff()).unwrap();
        bench.ledger.tick(bench.now()).unwrap();
        assert_eq!(bench.state("crm:1", "sales").opens(), wanted == Effect::Opens, "{wanted:?}");
    }
    let bench = bench();
    let unknown = bench.draft("crm:9", "sales", State::Given);
    assert_eq!(bench.preview(unknown, &staff()).unwrap(), Effect::OpensNot(Lacks::Customer));
    bench.stop("crm:1", StopKind::Erasure);
    assert_eq!(bench.preview(bench.draft("crm:1", "sales", State::Given), &staff()), Err(ConsentError::Erased));
}

#[test]
fn lines_of_json_are_bodies_of_the_routes() {
    let bench = bench();
    let file = r#"{"party":"crm:1","state":"given","purposes":["sales"],"event_time":"2026-02-01T00:00:00Z","author":"customer","evidence":[{"kind":"form","reference":"1"}],"notice":{"id":"n","version":"1","categories":["contact"],"recipients":["marketing"]}}

{"party":"crm:1","kind":"suppression","channels":["sms"],"reason":"no texts"}
{"party":"crm:1","state":"given","purposes":["sales"],"email":"ann@example.org"}
{"party":"crm:1","state":"withdrawn"
"ann@example.org"
{"party":"crm:1","state":"refused","about":"grant"}
{"party":"crm:1","state":"withdrawn","purposes":["marketing"]}
"#;
    let (tally, errors) = take(&bench, file.as_bytes(), &ImportOptions::new(ImportFormat::Ndjson), false).unwrap();
    assert_eq!((tally.opens, tally.closes, tally.stops["suppression"], tally.records), (1, 1, 1, 7));
    assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert!(errors[0].message.starts_with("unknown field `email`"), "{errors:?}");
    assert!(!format!("{errors:?}").contains("ann@"));
}

#[test]
fn arrays_are_read_and_a_cut_one_is_told() {
    let file = "[\n  {\"party\": \"crm:1\",\n   \"state\": \"withdrawn\"},\n  {\"party\": \"crm:1\", \"state\": \"refused\"}\n";
    let whole = format!("{file}]\n");
    let json = ImportOptions::new(ImportFormat::Ndjson);
    let (tally, errors) = take(&bench(), whole.as_bytes(), &json, false).unwrap();
    assert_eq!((tally.closes, errors), (2, vec![]));
    let (tally, errors) = take(&bench(), file.as_bytes(), &json, false).unwrap();
    assert_eq!((tally.closes, errors[0].message.as_str()), (2, "the array is not closed; the file may be cut"));
    let (tally, errors) = take(&bench(), &whole.as_bytes()[..60], &json, false).unwrap();
    assert_eq!((tally.closes, errors.len(), errors[0].line), (1, 1, 4), "{errors:?}");
}

#[test]
fn salesforce_opt_ins_are_read_narrowly_and_opt_outs_widely() {
    let bench = empty_bench();
    bench.import("identifiers\ncrm:1\n");
    let sales = ImportOptions::new(ImportFormat::Salesforce)
        .space("crm")
        .map("purpose:Newsletter", "marketing.email")
        .unwrap()
        .map("purpose:0ZW000000000001", "marketing.email")
        .unwrap()
        .map("recipient:Acme", "marketing")
        .unwrap()
        .cover("categories", "contact")
        .cover("recipients", "marketing")
        .cover("author", "customer");
    let head = "Id,Name,PartyId,ContactPointType,PrivacyConsentStatus,EffectiveFrom,EffectiveTo,CaptureDate,CaptureSource,CaptureContactPointType,DataUsePurposeId,DataUsePurpose.Name,BusinessBrandId,IsDeleted,evidence\n";
    let rows = [
        ("x,n,1,Email,OptIn,,2027-01-01T00:00:00.000Z,2026-01-02T10:00:00.000+0000,form,Web,0ZW000000000001,Newsletter,,false,web-form=7", ""),
        ("x,n,1,Email,OptIn,,,2026-01-02T10:00:00.000Z,form,Web,,Newsletter,Acme,false,", ""),
        ("x,n,1,Phone,OptOut,,,2026-01-03T10:00:00.000Z,call,Phone,,,unknown brand,0,", ""),
        ("x,n,1,Email,Seen,,,,mail,Email,,Newsletter,,,", ""),
        ("x,n,1,Email,NotSeen,,,,mail,Email,,Newsletter,,,", ""),
        ("x,n,1,Email,OptIn,,,2026-01-02T10:00:00.000Z,form,Web,,Prize draw,,false,", "`DataUsePurpose` is not mapped"),
        ("x,n,1,Email,OptIn,,,2026-01-02T10:00:00.000Z,form,Web,,,,false,", "`purposes` is empty"),
        ("x,n,1,Email,OptIn,,,2026-01-02T10:00:00.000Z,form,Web,,Newsletter,Other,false,", "`BusinessBrandId` is not mapped"),
        ("x,n,1,Social,OptOut,,,2026-01-02T10:00:00.000Z,form,Web,,Newsletter,,false,", "`ContactPointType` is not mapped"),
        ("x,n,1,Email,OptIn,2030-01-01T00:00:00Z,,2026-01-02T10:00:00.000Z,form,Web,,Newsletter,,false,", "lies in the future"),
        ("x,n,1,Email,OptIn,,,2026-01-02T10:00:00.000Z,form,Web,,Newsletter,,true,", "deleted in Salesforce"),
        ("x,n,1,Email,Maybe,,,2026-01-02T10:00:00.000Z,form,Web,,Newsletter,,false,", "OptIn, OptOut, Seen or NotSeen"),
        ("x,n,,Email,OptOut,,,2026-01-02T10:00:00.000Z,form,Web,,Newsletter,,false,", "`PartyId` is empty"),
        ("x,n,1,Email,OptOut,,,2026-01-02T10:00:00.000Z,form,Pigeon,,Newsletter,,false,", "`CaptureContactPointType`"),
    ];
    let file: String = std::iter::once(head.to_owned()).chain(rows.iter().map(|(row, _)| format!("{row}\n"))).collect();
    assert_eq!(ImportFormat::of(file.as_bytes()), ImportFormat::Salesforce);
    let (tally, errors) = take(&bench, file.as_bytes(), &sales, false).unwrap();
    assert_eq!((tally.opens, tally.opens_not["no evidence"], tally.closes, tally.neither), (1, 1, 1, 2), "{errors:?}");
    let planted: Vec<(u64, &str)> =
        (2..).zip(&rows).filter(|(_, (_, message))| !message.is_empty()).map(|(line, (_, message))| (line, *message)).collect();
    assert_eq!(errors.len(), planted.len(), "{errors:?}");
    for (error, (line, message)) in errors.iter().zip(planted) {
        assert!(error.line == line && error.message.contains(message), "{error:?}");
    }
    let history = bench.ledger.history(&id("crm:1").into()).unwrap();
    let scopes: Vec<(usize, usize)> = history
        .iter()
        .filter_map(|row| match &row.event.what {
            What::Consent(consent) => Some((consent.purposes.len(), consent.scope.channels.len())),
            What::Stop(_) | What::Lift { .. } | What::Delegation(_) | What::Occurrence(_) => None,
        })
        .take(3)
        .collect();
    assert_eq!(scopes, [(1, 1), (1, 1), (0, 2)], "an opt-out of phone covers texts, and every purpose when none is named");
}

#[test]
fn a_salesforce_row_needs_the_id_space_of_its_ids() {
    let file = "PartyId,PrivacyConsentStatus,ContactPointType\n1,OptOut,Email\n";
    let (tally, errors) = take(&bench(), file.as_bytes(), &options(ImportFormat::Salesforce), false).unwrap();
    assert!(tally.refused == 1 && errors[0].message.contains("--space"), "{errors:?}");
}

const RECORD: &str = r#"{
  "@context": "https://w3id.org/dpv/2.0",
  "@id": "https://example.org/records/7",
  "@type": "dpv:ConsentRecord",
  "dct:identifier": "7",
  "dct:conformsTo": "https://w3id.org/dpv/schema/dpv-27560#record",
  "dpv:hasDataSubject": {"@id": "crm:1", "@type": "dpv:Consumer"},
  "dpv:hasDataController": "ex:Acme",
  "dpv:hasLegalBasis": "eu-gdpr:A6-1-a",
  "dpv:hasProcess": {
    "@type": "dpv:Process",
    "https://w3id.org/dpv#hasPurpose": [{"@id": "https://w3id.org/dpv#Marketing"}, "sales"],
    "dpv:hasPersonalData": "contact",
    "dpv:hasRecipient": ["https://example.org/departments/marketing"]
  },
  "dpv:hasNotice": {"@id": "https://example.org/notice", "dct:hasVersion": "3"},
  "dpv:hasConsentStatus": [
    {"@type": "https://w3id.org/dpv#ConsentGiven", "dct:date": {"@value": "2026-01-01T00:00:00Z"}, "dpv:hasDuration": "P6M"},
    {"@type": "dpv:ConsentWithdrawn", "dpv:isIndicatedAtTime": "2026-02-01T00:00:00Z"}
  ],
  "consentry:evidence": [{"kind": "form", "reference": "8"}],
  "consentry:channel": "email"
}"#;

fn jsonld(record: &str) -> Result<(Tally, Vec<ImportError>), ConsentError> {
    let options =
        ImportOptions::new(ImportFormat::Jsonld).map("purpose:https://w3id.org/dpv#Marketing", "marketing").unwrap().cover("author", "customer");
    take(&bench(), record.as_bytes(), &options, false)
}

#[test]
fn a_consent_record_is_its_events() {
    let (tally, errors) = jsonld(RECORD).unwrap();
    assert_eq!((errors, tally.opens, tally.closes, tally.records), (vec![], 1, 1, 1));
    let same = RECORD.replace("\"dpv:hasLegalBasis\"", "\"dpv:hasPersonalData\": \"contact\", \"dpv:hasLegalBasis\"");
    assert_eq!(jsonld(&same).unwrap().1, [], "what is said twice alike is said once");
    let (tally, errors) = jsonld(&format!("[{RECORD},\n{}]", RECORD.replace("crm:1", "crm:2"))).unwrap();
    assert_eq!((errors, tally.opens, tally.closes, tally.nobody), (vec![], 1, 2, 2));
    let line = RECORD.replace('\n', " ");
    let (tally, errors) = jsonld(&format!("{line}\n{}\n", line.replace("ConsentGiven", "RenewedConsentGiven"))).unwrap();
    assert_eq!((errors, tally.opens), (vec![], 2));
    for (word, closes) in [
        ("Refused", true),
        ("Revoked", true),
        ("Terminated", true),
        ("Expired", true),
        ("Invalidated", true),
        ("Requested", false),
        ("RequestDeferred", false),
        ("Unknown", false),
    ] {
        let (tally, errors) = jsonld(&RECORD.replace("ConsentWithdrawn", &format!("Consent{word}"))).unwrap();
        assert_eq!((errors, tally.closes, tally.neither), (vec![], u64::from(closes), u64::from(!closes)), "{word}");
    }
}

#[test]
fn what_a_consent_record_holds_beyond_that_is_an_error() {
    for (from, to, message) in [
        ("\"dct:identifier\": \"7\"", "\"dpv:hasRestriction\": \"x\"", "unknown member `dpv:hasRestriction`"),
        ("dpv:ConsentWithdrawn", "dpv:ConsentPaused", "unknown consent status"),
        ("\"dpv:hasConsentStatus\"", "\"@reverse\"", "unknown member `@reverse`"),
        ("\"dpv:hasProcess\"", "\"@graph\"", "`@graph` is not read"),
        ("eu-gdpr:A6-1-a", "eu-gdpr:A6-1-f", "another legal basis"),
        ("dct:hasVersion", "dct:source", "the notice has no version"),
        ("\"dpv:hasLegalBasis\"", "\"dpv:hasPersonalData\": \"order\", \"dpv:hasLegalBasis\"", "`hasPersonalData` stands twice and differs"),
        ("\"consentry:channel\": \"email\"", "\"consentry:categories\": \"order\"", "`hasPersonalData` stands twice and differs"),
        (
            "\"dpv:hasLegalBasis\"",
            "\"https://w3id.org/dpv#hasDataSubject\": \"crm:2\", \"dpv:hasLegalBasis\"",
            "`hasDataSubject` stands twice and differs",
        ),
        ("\"contact\"", "\"shoe-size\"", "unknown category"),
        ("https://w3id.org/dpv#Marketing", "https://w3id.org/dpv#Advertising", "unknown purpose"),
        ("\"crm:1\"", "\"7712\"", "an id is written"),
        ("\"2026-02-01T00:00:00Z\"", "\"2026-02-01T00:00:00\"", "no offset"),
        ("\"consentry:channel\": \"email\"", "\"consentry:chanel\": \"email\"", "unknown member `consentry:chanel`"),
    ] {
        assert!(RECORD.contains(from), "{from}");
        let (tally, errors) = jsonld(&RECORD.replace(from, to)).unwrap();
        assert!(errors.len() == 1 && errors[0].message.contains(message), "{to}: {errors:?}");
        assert_eq!((tally.opens, tally.closes, tally.refused), (0, 0, 1), "{to}: none of its events is taken");
    }
}

#[test]
fn a_member_that_stands_twice_is_an_error_at_any_depth() {
    for (from, to) in [
        ("\"consentry:channel\": \"email\"", "\"consentry:channel\": \"email\", \"consentry:channel\": \"email\""),
        ("\"dpv:hasPersonalData\": \"contact\"", "\"dpv:hasPersonalData\": \"order\", \"dpv:hasPersonalData\": \"contact\""),
        ("{\"@type\": \"dpv:ConsentWithdrawn\"", "{\"@type\": \"dpv:ConsentWithdrawn\", \"@type\": \"dpv:ConsentGiven\""),
        ("{\"@type\": \"dpv:ConsentWithdrawn\"", "{\"@type\": \"dpv:ConsentWithdrawn\", \"\\u0040type\": \"dpv:ConsentGiven\""),
        ("\"kind\": \"form\"", "\"kind\": \"form\", \"kind\": \"other\""),
    ] {
        assert!(RECORD.contains(from), "{from}");
        let (tally, errors) = jsonld(&RECORD.replace(from, to)).unwrap();
        assert!(errors.len() == 1 && errors[0].message.contains("stands twice in one object"), "{to}: {errors:?}");
        assert_eq!((tally.opens, tally.closes, tally.refused), (0, 0, 1), "{to}");
    }
    // Two spellings of one member, where they differ.
    for (from, to) in [
        ("\"dct:date\": {", "\"dpv:isIndicatedAtTime\": \"2026-01-02T00:00:00Z\", \"dct:date\": {"),
        ("\"dct:hasVersion\": \"3\"", "\"dct:hasVersion\": \"3\", \"version\": \"4\""),
        ("\"dpv:ConsentWithdrawn\"", "[\"dpv:ConsentGiven\", \"dpv:ConsentWithdrawn\"]"),
        ("\"dpv:ConsentWithdrawn\"", "\"dpv:ConsentGiven\", \"@id\": \"dpv:ConsentWithdrawn\""),
        ("{\"@id\": \"crm:1\"", "{\"dct:identifier\": \"crm:1\", \"dpv:hasIdentifier\": \"crm:2\", \"@id\": \"crm:1\""),
    ] {
        assert!(RECORD.contains(from), "{from}");
        let (tally, errors) = jsonld(&RECORD.replace(from, to)).unwrap();
        assert_eq!((errors.len(), tally.opens, tally.closes), (1, 0, 0), "{to}: {errors:?}");
    }
    // A line of our own members, and the evidence within it.
    for line in [
        r#"{"party":"crm:1","state":"given","state":"withdrawn","purposes":["sales"]}"#,
        r#"{"party":"crm:1","state":"withdrawn","purposes":["sales"],"purposes":null}"#,
        r#"{"party":"crm:1","state":"withdrawn","evidence":[{"kind":"a","reference":"b","reference":"c"}]}"#,
        r#"{"party":"crm:1","state":"withdrawn","notice":{"id":"a","version":"1","version":"2"}}"#,
    ] {
        let (tally, errors) = take(&bench(), line.as_bytes(), &options(ImportFormat::Ndjson), false).unwrap();
        assert!(tally.refused == 1 && errors[0].message.contains("duplicate field"), "{line}: {errors:?}");
    }
}

#[test]
fn a_consent_record_that_somebody_else_indicated_opens_only_as_a_guardians() {
    let given = |by: &str, author: &str| {
        let bench = bench();
        let status = format!("{{\"@type\": \"dpv:ConsentGiven\", \"dct:date\": \"2026-01-01T00:00:00Z\"{by}}}");
        let record = format!(
            "{{\"@context\": \"x\", \"dpv:hasDataSubject\": \"crm:1\", \"dpv:hasPurpose\": \"marketing\", \"dpv:hasPersonalData\": \"contact\", \
             \"dpv:hasRecipient\": \"marketing\", \"consentry:evidence\": \"form=8\", \"dpv:hasConsentStatus\": {status}{author}}}"
        );
        let options = ImportOptions::new(ImportFormat::Jsonld).cover("author", "customer");
        let (tally, errors) = take(&bench, record.as_bytes(), &options, false).unwrap();
        assert_eq!((errors, tally.records), (vec![], 1), "{by}");
        let (event, _) = bench.ledger.event(bench.ledger.history(&id("crm:1").into()).unwrap()[0].event.id).unwrap();
        (event.author, bench.state("crm:1", "marketing").opens())
    };
    let by = |who: &str| format!(", \"dpv:isIndicatedBy\": {who}");
    for (who, author, opens) in [
        ("[]", Author::Customer, true),
        ("\"crm:1\"", Author::Customer, true),
        ("\"dpv:DataSubject\"", Author::Customer, true),
        ("{\"@id\": \"crm:1\", \"@type\": \"dpv:DataSubject\"}", Author::Customer, true),
        ("\"crm:2\"", Author::System, false),
        ("\"Ann's neighbour\"", Author::System, false),
        ("{\"@id\": \"crm:2\", \"@type\": \"dpv:DataSubject\"}", Author::System, false),
        ("{}", Author::System, false),
        ("[\"crm:1\", \"crm:2\"]", Author::System, false),
        ("[\"crm:2\", \"crm:1\"]", Author::System, false),
        ("{\"@id\": \"ex:bob\", \"@type\": \"dpv:ParentOfDataSubject\"}", Author::Guardian, false),
        ("\"https://w3id.org/dpv#GuardianOfDataSubject\"", Author::Guardian, false),
        ("[\"crm:1\", {\"@type\": \"dpv:GuardianOfDataSubject\"}]", Author::Guardian, false),
    ] {
        assert_eq!(given(&by(who), ""), (author, opens), "{who}");
    }
    // What the record calls the author itself cannot raise it, but by calling them a guardian.
    for (says, author) in [("customer", Author::System), ("guardian", Author::Guardian), ("staff", Author::Staff)] {
        let own = format!(", \"consentry:author\": \"{says}\"");
        assert_eq!(given(&by("\"crm:2\""), &own), (author, false), "{says}");
    }
    // A no closes, whoever indicated it.
    let bench = bench();
    bench.say("crm:1", "sales", State::Given);
    bench.advance(3600);
    let no = r#"{"@context":"x","dpv:hasDataSubject":"crm:1","dpv:hasPurpose":"sales","dpv:hasConsentStatus":
        {"@type":"dpv:ConsentWithdrawn","dpv:isIndicatedBy":"crm:2"}}"#
        .replace('\n', "");
    assert_eq!(take(&bench, no.as_bytes(), &ImportOptions::new(ImportFormat::Jsonld), false).unwrap().0.closes, 1);
    assert_eq!(bench.state("crm:1", "sales"), State::Withdrawn);
}

#[test]
fn a_piece_is_taken_once_and_in_its_turn() {
    let bench = bench();
    let rows = |from: u64, to: u64| -> String {
        std::iter::once("id,state,purposes\n".to_owned()).chain((from..to).map(|n| format!("crm:{n},withdrawn,sales\n"))).collect()
    };
    let options = options(ImportFormat::Csv);
    let send = |bytes: &str, line| take_piece(&bench, (bytes.as_bytes(), line), (line, 10), false, &options, false);
    let first = send(&rows(10, 20), 2).unwrap();
    assert_eq!((first.progress.offset, first.progress.done.closes), (12, 10));
    let revision = bench.ledger.revision();
    for line in [2, 3, 11, 13] {
        assert!(matches!(send(&rows(10, 20), line), Err(ConsentError::NotPermitted(_))), "line {line}");
    }
    assert_eq!(bench.ledger.revision(), revision);
    // The same statements once more, as if nobody had noted that they were taken.
    bench.ledger.put_documents(vec![Document { kind: "import", key: KEY.to_owned(), body: None }], None, None).unwrap();
    let again = send(&rows(10, 20), 2).unwrap().progress;
    assert_eq!((again.offset, again.done.closes, again.done.known_before), (12, 0, 10));
    assert_eq!(bench.ledger.revision(), revision, "nothing is recorded twice");
    let second = send(&rows(20, 25), 12).unwrap();
    assert_eq!((second.progress.offset, second.progress.done.closes), (22, 5));
    assert_eq!(bench.ledger.import_progress(KEY).unwrap(), Some(second.progress));
    assert_eq!(bench.ledger.import_progress("another").unwrap(), None);
}

#[test]
fn of_two_that_take_the_same_piece_at_once_one_is_refused() {
    let bench = bench();
    let file = b"id,state,purposes\ncrm:1,withdrawn,sales\n";
    let piece = ImportPiece { key: KEY, line: 2, offset: 0, length: 40, bytes: file, is_array: false };
    let (options, taken) = (ImportOptions::new(ImportFormat::Csv), std::sync::OnceLock::new());
    // While the one is read, the other is taken.
    let meanwhile = |space: &str, value: &str| {
        taken.get_or_init(|| {
            let around = Surroundings { activities: &[], normalise: &normalise };
            bench.ledger.import_consents(&piece, &options, &around, &staff(), false).unwrap()
        });
        normalise(space, value)
    };
    let around = Surroundings { activities: &[], normalise: &meanwhile };
    let result = bench.ledger.import_consents(&piece, &options, &around, &staff(), false);
    assert!(matches!(result, Err(ConsentError::NotPermitted(_))), "{result:?}");
    let report = taken.into_inner().unwrap();
    assert_eq!((report.piece.closes, bench.ledger.import_progress(KEY).unwrap()), (1, Some(report.progress)), "counted once");
}

#[test]
fn a_piece_is_not_noted_while_the_store_is_down() {
    let bench = bench();
    bench.switch.down();
    let taken = take_piece(&bench, (b"id,state\ncrm:1,withdrawn\n", 2), (0, 10), false, &options(ImportFormat::Csv), false);
    assert!(taken.is_err(), "{taken:?}");
}

#[test]
fn an_id_of_the_ledger_itself_must_be_known() {
    let (tally, errors) = take(&bench(), b"id,state\ncrm:1,withdrawn\nparty:p_unknown,withdrawn\n", &options(ImportFormat::Csv), false).unwrap();
    assert_eq!((tally.closes, tally.refused, errors[0].line), (1, 1, 3));
}

/// A reader that gives a few bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(self.1).min(to.len());
        let (now, later) = self.0.split_at(count);
        to[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

#[test]
fn a_large_file_is_cut_between_records_and_numbered_through() {
    let mut file = "id,state,reason\n".to_owned();
    for n in 0..12_345 {
        let row = if n % 10 == 0 { format!("\"crm:{n}\",\"with\ndrawn\",\"a,b\"\n") } else { format!("crm:{n},withdrawn,\n") };
        file.push_str(&row);
    }
    let mut cutter = Cutter::new(Trickle(file.as_bytes(), 1000), ImportFormat::Csv).unwrap();
    let (mut joined, mut next, mut pieces) = (String::new(), 2, 0);
    while let Some(piece) = cutter.next_piece().unwrap() {
        let text = String::from_utf8(piece.bytes).unwrap();
        assert_eq!(piece.line, next);
        next = piece.next_line;
        joined.push_str(text.strip_prefix("id,state,reason\n").unwrap());
        pieces += 1;
    }
    assert_eq!((format!("id,state,reason\n{joined}"), pieces), (file, 3));
}

#[test]
fn pieces_of_one_line_are_told_apart() {
    let bench = bench();
    let objects: Vec<String> = (0..7000).map(|n| format!("{{\"party\":\"crm:{n}\",\"state\":\"withdrawn\"}}")).collect();
    let array = format!("[{}]", objects.join(","));
    let (tally, errors) = take(&bench, array.as_bytes(), &ImportOptions::new(ImportFormat::Ndjson), false).unwrap();
    assert_eq!((tally.closes, errors), (7000, vec![]));
    // The last record stands on the line on which its piece begins, without a line break.
    let rows: String = std::iter::once("id,state".to_owned()).chain((0..5001).map(|n| format!("\ncrm:{n},withdrawn"))).collect();
    bench.ledger.put_documents(vec![Document { kind: "import", key: KEY.to_owned(), body: None }], None, None).unwrap();
    let (tally, _) = take(&bench, rows.as_bytes(), &options(ImportFormat::Csv), true).unwrap();
    assert_eq!(tally.closes, 5001);
}

#[test]
fn what_is_left_out_of_an_array_still_parts_its_neighbours() {
    let one = r#"{"party":"crm:1","state":"refused"}"#;
    let file = format!("[{one}\nword,{one}\n[{{");
    let (tally, errors) = take(&bench(), file.as_bytes(), &ImportOptions::new(ImportFormat::Ndjson), true).unwrap();
    let lines: Vec<u64> = errors.iter().map(|error| error.line).collect();
    assert_eq!((tally.records, tally.closes, lines), (3, 1, vec![2, 2, 3]), "{errors:?}");
}

#[test]
fn a_line_beyond_all_bounds_is_one_fault() {
    let mut file = b"id,state\ncrm:1,withdrawn\ncrm:1,".to_vec();
    file.resize(file.len() + 9 * 1024 * 1024, b'x');
    file.extend_from_slice(b"\ncrm:1,refused\n");
    let (tally, errors) = take(&bench(), &file, &options(ImportFormat::Csv), false).unwrap();
    assert_eq!((tally.closes, errors), (2, vec![ImportError { line: 3, message: "longer than 64 KiB".to_owned() }]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a file holds: no panic, both sides number lines alike, and each record is counted in one place.
    #[test]
    fn any_bytes_are_taken_or_reported(bytes in proptest::collection::vec(proptest::sample::select(vec![
            "crm:1,withdrawn,sales\n", "crm:2,,\"\n", "{\"party\":\"crm:1\",\"state\":\"refused\"}\n", "[{", "}]", "\"", "\n", "\u{fffd},", "{\"@type\":1}"
        ]), 0..30), raw in proptest::collection::vec(any::<u8>(), 0..40)) {
        let bench = bench();
        let body: Vec<u8> = bytes.concat().into_bytes().into_iter().chain(raw).collect();
        let rows: Vec<u8> = b"id,state,purposes\n".iter().copied().chain(body.clone()).collect();
        for (format, file) in [(ImportFormat::Csv, &rows), (ImportFormat::Ndjson, &body), (ImportFormat::Jsonld, &body), (ImportFormat::Salesforce, &body)] {
            let Ok((tally, errors)) = take(&bench, file, &ImportOptions::new(format), true) else { continue };
            let refused = u64::try_from(errors.iter().filter(|e| !e.message.contains("left out") && !e.message.contains("array is not closed")).count()).unwrap();
            prop_assert_eq!(tally.refused, refused);
            prop_assert_eq!(tally.records, tally.closes + tally.refused);
        }
    }
}
