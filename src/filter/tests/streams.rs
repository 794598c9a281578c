//! Answers that come in pieces, and lists that teach the reader: the cutter against the tree filter and against itself, on cases made
//! of bytes and on the corpus that the fuzz targets keep.

use std::path::Path;

use base64::Engine as _;
use proptest::prelude::*;

use super::agree::{check, check_reader, releases};
use super::*;
use crate::filter::{Flow, Report, Unreadable};
use crate::model::Framing;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_or_in_pieces_and_whatever_was_learnt_a_body_is_cut_as_a_tree_would_be(data in prop::collection::vec(any::<u8>(), 0..700)) {
        if let Err(difference) = check(&data) {
            prop_assert!(false, "{difference}");
        }
    }

    #[test]
    fn any_bytes_are_read_as_serde_json_reads_them(data in prop::collection::vec(prop::sample::select(&b"\"\\/{}[],: \n0123456789.-+eEtrufalsn\xc3\xa9\xed\xa0\xf0\x9f\x98\x80\xef\xbb\xbf\x00\x1f"[..]), 0..24)) {
        if let Err(difference) = check_reader(&data) {
            prop_assert!(false, "{difference}");
        }
    }
}

#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut released = 0;
    for (name, check, count_min) in [("cut.b64", check as fn(&[u8]) -> Result<(), String>, 500), ("read.b64", check_reader, 200)] {
        let text = std::fs::read_to_string(corpus.join(name)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let data = base64::engine::general_purpose::STANDARD.decode(line).unwrap();
            let result = check(&data);
            assert!(result.is_ok(), "{name}, line {}: {}", number + 1, result.unwrap_err());
            released += usize::from(name == "cut.b64" && releases(&data));
        }
        assert!(text.lines().count() >= count_min, "{name} is short");
    }
    assert!(released >= 100, "only {released} cases release something");
}

/// Fed up to each of these places and then to the end; a part is taken whenever one can be.
fn in_pieces(body: &str, plan: &ResponsePlan, shapes: &Cutters, stops: &[usize], judge: &mut Customers) -> Result<(String, Vec<Report>), CutError> {
    let limits = Limits { body_bytes_max: 16 << 20, depth_max: 128 };
    let mut flow = Flow::new(plan, shapes, &limits, &[]);
    let (mut done, mut out, mut reports) = (0, Vec::new(), Vec::new());
    let mut stops = stops.iter().copied().chain([body.len()]);
    let mut came = stops.next().unwrap_or_default();
    loop {
        done += flow.feed(&body.as_bytes()[done..came], came == body.len(), judge)?;
        let is_last = came == body.len() && flow.has_ended();
        let can_part = flow.can_part();
        if is_last || can_part {
            let cut = if is_last { flow.finish()? } else { flow.part() };
            out.extend_from_slice(&cut.filtered.into_bytes());
            reports.push(cut.report);
        }
        if is_last {
            return Ok((String::from_utf8(out).unwrap(), reports));
        }
        if !can_part {
            came = stops.next().unwrap_or(came);
        }
    }
}

fn person() -> Shape {
    shape("person", &["id"], &["seen"], &[("name", "identity"), ("mail", "contact last4"), ("address.**", "contact"), ("tags[]", "behaviour")])
}

fn judge() -> Customers {
    customers(&[("1", "identity+ contact~ behaviour+"), ("2", "identity+"), ("3", "contact+"), ("4", "identity- contact-")])
}

fn shown(result: Result<String, CutError>) -> String {
    match result {
        Ok(text) => text,
        Err(CutError::Denied(_)) => "denied".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn wherever_a_body_is_split_it_is_cut_alike() {
    let object = object_plan(&person());
    let nested =
        ResponsePlan::Object { at: path("data.one"), shape: Arc::new(person()), subject: Subject::Answer, open: Vec::new(), withheld_as: None };
    let rows = rows_plan("[]", &person(), &[], &[]);
    let groups = rows_plan("groups[].rows[]", &person(), &[("total", CountRule::Rows), ("next", CountRule::Remove)], &["kind", "page.**"]);
    let bodies: &[(&ResponsePlan, &str)] = &[
        (&object, r#" {"id":1,"n\u0061me":"A\ud83d\ude00é","mail":"ann@example.com" , "address":{"a":[-1.5e+3,true]}} "#),
        (&object, r#"{"id":4,"name":"A"}"#),
        (&object, r#"{"id":1,"name":"A","name":"B"}"#),
        (&object, r#"{"id":1,"name":"A","n\u0061me":"B"}"#),
        (&object, r#"{"id":1,"name":"\ud83d"}"#),
        (&object, r#"{"id":1,"name":"A"}}"#),
        (&object, r#"{"id":1,"name":"A"#),
        (&nested, r#"{"meta":[null,false],"data":{"two":{"id":4},"one":{"id":2,"name":"A"}},"data2":0}"#),
        (&nested, r#"{"data":{"one":{"id":2,"name":"A"},"one":0}}"#),
        (&nested, r#"{"data":{"one":null}}"#),
        (&rows, r#"[{"id":1,"name":"A","tags":["x","y"]},{"id":2,"name":"B","tags":[]},7,null,{"id":9,"name":"C"},{"id":3,"mail":"m"}]"#),
        (&rows, r#"[{"id":1,"name":"A"},{"id":1,"name":"A","id":2}]"#),
        (&rows, r#"[{"id":1,"name":"A"},{"id":2,"name":"B"},]"#),
        (&rows, "[]"),
        (&rows, "nul"),
        (&rows, "\u{feff}[]"),
        (&rows, "12.5e3"),
        (
            &groups,
            r#"{"total":3,"kind":"k","groups":[{"rows":[{"id":1,"name":"A"}]},{"x":0},{"rows":[]},{"rows":[{"id":4,"name":"B"},{"id":2,"name":"C"}]}],"page":{"n":[1]}}"#,
        ),
        (&groups, r#"{"groups":[{"rows":[{"id":2,"name":"C"}]}],"next":{"a":"b"},"total":1}"#),
        (&groups, r#"{"groups":[{"rows":[{"id":2,"name":"C"}]}],"total":1,"groups":[]}"#),
        (&groups, r#"{"groups":[],"total":0}"#),
    ];
    for (plan, body) in bodies {
        let shapes = cutters(plan, &[]);
        let counted = body.contains("total");
        let fresh = shown(run(body, plan, &[], &mut judge()).map(|cut| String::from_utf8(cut.filtered.into_bytes().to_vec()).unwrap()));
        for one in 0..body.len() {
            for other in (one..body.len()).step_by(3) {
                let parted = in_pieces(body, plan, &shapes, &[one, other], &mut judge());
                let parts = parted.as_ref().map_or(1, |(_, reports)| reports.len());
                // A part that was closed before the end has no counts that stood before it.
                if !counted || parts == 1 {
                    assert_eq!(shown(parted.map(|(text, _)| text)), fresh, "{body} split at {one} and {other}");
                }
            }
        }
    }
}

#[test]
fn lists_of_all_sizes_pass_in_parts_that_add_up() {
    let plan = rows_plan("rows[]", &person(), &[], &["kind"]);
    for (count, filling, parts_min) in [(1, 1, 1), (8_191, 1, 1), (8_192, 1, 2), (20_000, 1, 3), (3_000, 300, 2), (40, 30_000, 2), (2, 700_000, 2)] {
        let row = |n: usize| format!(r#"{{"id":{},"name":"N{n}{}","secret":"s"}}"#, n % 5, "é".repeat(filling / 2));
        let body = format!(r#"{{"kind":"k","rows":[{}]}}"#, (0..count).map(row).collect::<Vec<_>>().join(",\n"));
        let limits = Limits { body_bytes_max: 16 << 20, depth_max: 128 };
        let whole = cut(&Bytes::from(body.clone()), &plan, &cutters(&plan, &[]), &limits, &[], &mut judge()).unwrap();
        for piece in [4_096, 65_521, usize::MAX / 2] {
            let shapes = cutters(&plan, &[]);
            let mut flow = Flow::new(&plan, &shapes, &limits, &[]);
            let (mut done, mut came, mut out, mut rows, mut parts) = (0, 0, Vec::new(), (0, 0), 0);
            loop {
                came = body.len().min(came + piece.min(body.len()));
                if came - done >= flow.wants() || came == body.len() {
                    done += flow.feed(&body.as_bytes()[done..came], came == body.len(), &mut judge()).unwrap();
                }
                let is_last = came == body.len() && flow.has_ended();
                if flow.has_part() || is_last {
                    let cut = if is_last { flow.finish().unwrap() } else { flow.part() };
                    assert!(cut.filtered.len() <= 256 * 1024 + 2 * filling + 100, "a part is no larger than it has to be");
                    out.extend_from_slice(&cut.filtered.into_bytes());
                    (rows, parts) = ((rows.0 + cut.report.rows, rows.1 + cut.report.dropped), parts + 1);
                }
                if is_last {
                    break;
                }
            }
            assert_eq!((rows, whole.filtered.clone().into_bytes() == out), ((whole.report.rows, whole.report.dropped), true), "{count} rows");
            assert!(parts >= parts_min, "{count} rows of {filling} bytes came in {parts} parts");
        }
    }
}

#[test]
fn what_stands_behind_the_end_is_seen_before_the_last_part_goes_out() {
    let plan = rows_plan("[]", &person(), &[], &[]);
    let part = 256 * 1024;
    // The end itself fills the part.
    let row = |length: usize| format!(r#"[{{"id":2,"name":"{}"}}]"#, "x".repeat(length));
    let body = row(part - row(0).len());
    assert_eq!(body.len(), part);
    for (behind, is_fine) in [("", true), (" \n", true), ("x", false), ("[]", false)] {
        let body = format!("{body}{behind}");
        let result = in_pieces(&body, &plan, &cutters(&plan, &[]), &[], &mut judge());
        assert_eq!(result.is_ok(), is_fine, "{behind:?}");
    }
}

#[test]
fn a_byte_order_mark_is_told_however_it_comes() {
    let plan = rows_plan("[]", &person(), &[], &[]);
    for stop in 0..3 {
        let result = in_pieces("\u{feff}[]", &plan, &cutters(&plan, &[]), &[stop], &mut judge());
        assert!(matches!(result, Err(CutError::Unreadable(Unreadable::ByteOrderMark))), "{stop}: {result:?}");
    }
}

/// Members of a row, as `name` or, written with escapes, `\name`.
fn members(names: &[&str]) -> String {
    let spelt = |name: &str| match name.strip_prefix('\\') {
        Some(name) => name.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect(),
        None => name.to_owned(),
    };
    let value = |n: usize, name: &str| if name == "id" { "2".to_owned() } else { format!("\"text {n}\"") };
    let all: Vec<_> = names.iter().enumerate().map(|(n, name)| format!("\"{}\":{}", spelt(name), value(n, name))).collect();
    format!("{{{}}}", all.join(", "))
}

#[test]
fn a_name_that_stands_there_twice_is_found_whatever_was_learnt_before() {
    let long = "aNameOfMoreThanTwentyFourBytes";
    let longer = "aNameOfMoreThanTwentyFourBytesAndMore";
    let usual = ["id", "name", "namesake", "exactly16Bytes_x", long, longer];
    let twice: &[&[&str]] = &[
        &["id", "name", "id"],
        &["id", "id"],
        &["id", "name", "namesake", "name"],
        &["id", "name", "namesake", "exactly16Bytes_x", long, longer, long],
        &["id", "name", "namesake", "exactly16Bytes_x", long, longer, "\\name"],
        &["id", "\\name", "name"],
        &["id", "other", "name", "other"],
        &["id", "name", "other", "name"],
        &["name", "id", "name"],
        &[longer, "id", "name", longer],
        &["id", "\\exactly16Bytes_x", "exactly16Bytes_x"],
        &["namesake", "name", "namesake"],
    ];
    let apart: &[&[&str]] = &[
        &usual,
        &["name", "id"],
        &["id", longer, long],
        &["id", "namesake", "name"],
        &["id"],
        &["id", "\\namesake", "name", "nam"],
        &["id", "x", "name", "y"],
    ];
    let rest = Shape { open: paths(&["more.**"]), ..person() };
    let unmapped = person();
    for (around, shape) in
        [(("", ""), &rest), (("{\"id\":2,\"name\":\"n\",\"more\":", "}"), &rest), (("{\"id\":2,\"name\":\"n\",\"other\":[", "]}"), &unmapped)]
    {
        let plan = rows_plan("[]", shape, &[], &[]);
        let shapes = cutters(&plan, &[]);
        let list = |rows: &[&[&str]]| {
            format!("[{}]", rows.iter().map(|names| format!("{}{}{}", around.0, members(names), around.1)).collect::<Vec<_>>().join(","))
        };
        let cut = |body: &str, shapes: &Cutters| outcome(cut(&Bytes::copy_from_slice(body.as_bytes()), &plan, shapes, &LIMITS, &[], &mut judge()));
        for learnt in apart {
            for twice in twice {
                for before in 0..4 {
                    let rows: Vec<&[&str]> = std::iter::repeat_n(*learnt, before).chain([*twice]).collect();
                    for shapes in [&shapes, &cutters(&plan, &[])] {
                        assert!(cut(&list(&rows), shapes).starts_with("unreadable: DuplicateName"), "{rows:?}");
                    }
                }
            }
            for other in apart {
                let body = list(&[learnt, other, learnt, other]);
                assert_eq!(cut(&body, &shapes), cut(&body, &cutters(&plan, &[])), "{body}");
                assert!(!cut(&body, &shapes).starts_with("unreadable"), "{body}");
            }
        }
    }
}

fn unreadable<T>(result: &Result<T, CutError>) -> Option<Unreadable> {
    if let Err(CutError::Unreadable(reason)) = result { Some(*reason) } else { None }
}

/// Fed as far as it wants, without an end.
fn fed(body: &str, plan: &ResponsePlan, limits: &Limits) -> Result<usize, CutError> {
    let shapes = cutters(plan, &[]);
    let mut flow = Flow::new(plan, &shapes, limits, &[]);
    let (mut done, mut came) = (0, 0);
    while came < body.len() {
        came = body.len().min(came + 4_096);
        if came - done >= flow.wants() || came == body.len() {
            done += flow.feed(&body.as_bytes()[done..came], false, &mut judge())?;
        }
    }
    Ok(done)
}

#[test]
fn what_is_held_until_it_can_be_judged_has_a_limit() {
    let limits = Limits { body_bytes_max: 100_000, depth_max: 3 };
    let list = rows_plan("rows[]", &person(), &[("total", CountRule::Rows)], &[]);
    let row = format!(r#"{{"rows":[{{"id":1,"name":"{}"#, "x".repeat(1 << 20));
    let names = format!("{{{}", (0..20_000).map(|n| format!(r#""n{n}":0,"#)).collect::<String>());
    let held = |length: usize| format!(r#"{{"total":"{}","rows":["#, "x".repeat(length));
    let deep = rows_plan("a.b.c.rows[]", &person(), &[], &[]);
    for (what, body, plan, limits, expected) in [
        ("a row", &row, &list, limits, Unreadable::TooLarge { max: 100_000 }),
        ("names", &names, &list, limits, Unreadable::TooLarge { max: 64 * 1024 }),
        ("a count", &held(300_000), &list, Limits { body_bytes_max: 1 << 20, ..limits }, Unreadable::TooLarge { max: 256 * 1024 }),
        ("a path", &r#"{"a":{"b":{"c":{"rows":["#.to_owned(), &deep, limits, Unreadable::TooDeep { max: 3 }),
        ("no name", &r#"{"other":0,5:1}"#.to_owned(), &list, limits, Unreadable::Syntax { at: 11 }),
    ] {
        assert_eq!(Some(expected), unreadable(&fed(body, plan, &limits)), "{what}");
    }
    assert!(fed(&held(200_000), &list, &Limits { body_bytes_max: 1 << 20, ..limits }).is_ok());
    let whole = cut(&Bytes::from("[]".repeat(60_000)), &list, &cutters(&list, &[]), &limits, &[], &mut judge());
    assert_eq!(Some(Unreadable::TooLarge { max: 100_000 }), unreadable(&whole));
    // Nobody takes it for whole before its end.
    let shapes = cutters(&list, &[]);
    let mut flow = Flow::new(&list, &shapes, &limits, &[]);
    flow.feed(br#"{"rows":[{"id":2,"name":"N"}"#, false, &mut judge()).unwrap();
    assert!(matches!(unreadable(&flow.finish()), Some(Unreadable::Syntax { .. })));
}

#[test]
fn a_record_with_a_member_that_must_not_be_missing_ends_the_stream() {
    let must = shape("person", &["id"], &[], &[("name", "identity"), ("mail", "contact error")]);
    let plan = ResponsePlan::Stream { framing: Framing::Ndjson, shape: Arc::new(must) };
    let record = |id: u8| format!("{{\"id\":{id},\"name\":\"N\",\"mail\":\"m\"}}\n");
    let stream = |ids: &[u8]| in_pieces(&ids.iter().copied().map(record).collect::<String>(), &plan, &cutters(&plan, &[]), &[], &mut judge());
    assert_eq!(2, stream(&[3, 3]).unwrap().1.iter().map(|report| report.rows).sum::<u32>());
    assert!(matches!(stream(&[3, 2]), Err(CutError::OnDenyError(_))));
}
