//! Written bodies.

use super::*;
use crate::filter::{Sender, Unreadable, WriteRefused, find_id, judge_delete, read_write};
use crate::model::RequestPlan;

fn contact() -> Shape {
    shape(
        "contact",
        &["Id"],
        &["Id", "Modified"],
        &[
            ("Name", "identity"),
            ("Born", "identity year"),
            ("Phone", "contact last4"),
            ("Score", "behaviour null"),
            ("Address.City", "contact pseudonym"),
        ],
    )
}

fn plan(shape: Shape, masked_drop: bool) -> RequestPlan {
    RequestPlan { shape: Arc::new(shape), masked_drop, put_merge: false }
}

struct Write {
    plan: RequestPlan,
    readable: &'static str,
    replace: bool,
}

impl Write {
    /// What is sent upstream, or `403 paths`, or `409 paths`.
    fn check(&self, body: &str, given: &str, expected: &str) {
        let written = read_write(&Bytes::copy_from_slice(body.as_bytes()), &self.plan, &LIMITS).unwrap();
        let outcome = match written.judge(&verdicts(given), &verdicts(self.readable), self.replace) {
            Ok(writable) => String::from_utf8(writable.into_bytes().to_vec()).unwrap(),
            Err(WriteRefused { paths, masked }) => format!("{} {}", if masked { 409 } else { 403 }, paths.join(" ")),
        };
        assert_eq!(outcome, expected, "{body} with {given}");
    }
}

#[test]
fn every_written_member_needs_its_category() {
    let write = Write { plan: plan(contact(), false), readable: "identity+ contact+ behaviour+", replace: false };
    let check = |body, given, expected| write.check(body, given, expected);
    check(r#"{"Name":"A"}"#, "", "403 Name");
    check(r#"{"Name":"A"}"#, "identity~", "403 Name");
    check(r#"{"Name":"A","Phone":"1","Score":2}"#, "identity+", "403 Phone Score");
    check(r#"{"Name":"A","Other":1}"#, "identity+", "403 Other");
    check(r#"{"Name":"A","nam":1}"#, "identity+", "403 nam");
    check(r#"{"Name":{"first":"A"}}"#, "identity+", "403 Name");
    check(r#"{"Name":"A","Address":"x"}"#, "identity+ contact+", "403 Address");
    check(r#"{"Name":"A","Address":{"Zip":1}}"#, "identity+ contact+", "403 Address.Zip");
    check(r#"{"Name":"A","Address":null}"#, "identity+", "403 Address.City");
    check(r#"{"Name":"A","Address":[]}"#, "identity+", "403 Address.City");
    check(r#"{"Modified":1}"#, "identity+", "403 Modified");
    check(r#"{"Id":"c1","Modified":1}"#, "identity+", "403 Modified");
    check(r#"{ "Id":"c1", "Name" : "A" }"#, "identity+", r#"{ "Id":"c1", "Name" : "A" }"#);
    check(r#"{"Name":"A","Modified":1}"#, "identity+", r#"{"Name":"A","Modified":1}"#);
    check(r#"{"Id":"c1"}"#, "", r#"{"Id":"c1"}"#);
    check(r#"{"Address":null}"#, "contact+", r#"{"Address":null}"#);
}

#[test]
fn a_masked_value_that_comes_back_is_never_stored() {
    let all = "identity+ contact+ behaviour+";
    let refuse = Write { plan: plan(contact(), false), readable: "identity~ contact~", replace: false };
    refuse.check(r#"{"Phone":"****1234"}"#, all, "409 Phone");
    refuse.check(r#"{"Phone":"\u002a***1234"}"#, all, "409 Phone");
    refuse.check(r#"{"Born":"1981","Name":"A"}"#, all, "409 Born");
    refuse.check(r#"{"Score":null}"#, all, "409 Score");
    refuse.check(r#"{"Address":{"City":"psn_0004"}}"#, all, "409 Address.City");
    refuse.check(r#"{"Phone":"****1234","Other":1}"#, all, "403 Other");
    refuse.check(r#"{"Phone":"0049123"}"#, all, r#"{"Phone":"0049123"}"#);
    let reader = Write { plan: plan(contact(), false), readable: all, replace: false };
    reader.check(r#"{"Phone":"****1234"}"#, all, "409 Phone");
    reader.check(r#"{"Born":"1981","Score":null}"#, all, r#"{"Born":"1981","Score":null}"#);
}

#[test]
fn a_masked_value_may_be_left_out_where_that_overwrites_nothing() {
    let all = "identity+ contact+ behaviour+";
    let mut write = Write { plan: plan(contact(), true), readable: "identity~ contact~", replace: false };
    write.check(r#"{"Name":"A", "Phone":"****1234","Score":null}"#, all, r#"{"Name":"A"}"#);
    write.check(r#"{"Name":"A","Phone":"****1234"}"#, "identity+", r#"{"Name":"A"}"#);
    write.check(r#"{"Address":{"City":"psn_0004"},"Name":"A"}"#, all, "409 Address");
    write.check(r#"{"Modified":1,"Phone":"****1234"}"#, all, "403 Modified");
    write.replace = true;
    write.check(r#"{"Name":"A","Phone":"****1234"}"#, all, "409 Phone");
}

#[test]
fn a_put_needs_every_category_of_the_shape() {
    let write = Write { plan: plan(contact(), false), readable: "", replace: true };
    write.check(r#"{"Name":"A"}"#, "identity+", "409 Address.City Phone Score");
    write.check(r#"{"Name":"A"}"#, "identity+ contact+ behaviour~", "409 Score");
    write.check(r#"{"Name":"A"}"#, "identity+ contact+ behaviour+", r#"{"Name":"A"}"#);
    write.check(r#"{"Name":"A","x":1}"#, "identity+ contact+ behaviour+", "403 x");
}

#[test]
fn other_customers_in_a_write_refuse_it() {
    let quote = shape("quote", &["party"], &[], &[("total", "order"), ("end", "embed contact")]);
    let write = Write { plan: plan(quote, false), readable: "order+", replace: false };
    write.check(r#"{"total":1,"end":{"Id":"c2","Name":"B"}}"#, "order+ identity+", "403 end");
    write.check(r#"{"total":1,"end":null}"#, "order+", "403 end");
    write.check(r#"{"party":"c1","total":1}"#, "order+", r#"{"party":"c1","total":1}"#);
    Write { replace: true, ..write }.check(r#"{"total":1}"#, "order+", "409 end");
    let ticket = shape("ticket", &["by.mail", "cc[].mail"], &[], &[("by.**", "contact"), ("cc[].**", "contact")]);
    let write = Write { plan: plan(ticket, false), readable: "", replace: false };
    write.check(r#"{"by":{"mail":"a"},"cc":[{"mail":"b"}]}"#, "contact+", "403 by.mail cc[].mail");
    write.check(r#"{"by":{"mail":"a"},"cc":[{"mail":"a"}]}"#, "contact+", r#"{"by":{"mail":"a"},"cc":[{"mail":"a"}]}"#);
}

#[test]
fn references_are_read_strictly() {
    let read = |shape: &Shape, body: &str| {
        read_write(&Bytes::copy_from_slice(body.as_bytes()), &plan(shape.clone(), false), &LIMITS).map(|w| w.references())
    };
    let space = Space::intern("test-ids");
    assert_eq!(read(&contact(), r#"{"Id":"c\u0031"}"#), Ok(vec![(space, "c1".to_owned())]));
    assert_eq!(read(&contact(), r#"{"Id":17}"#), Ok(vec![(space, "17".to_owned())]));
    assert_eq!(read(&contact(), "{}"), Ok(vec![]));
    for bad in [r#"{"Id":{"$ne":"c1"}}"#, r#"{"Id":["c1"]}"#, r#"{"Id":1.5}"#, r#"{"Id":""}"#, r#"{"Id":true}"#, r#"{"Id":null}"#] {
        assert_eq!(read(&contact(), bad), Err(Unreadable::Id), "{bad}");
    }
    for bad in ["[]", "null", "\"x\"", r#"[{"Name":"A"}]"#] {
        assert_eq!(read(&contact(), bad), Err(Unreadable::TopLevel), "{bad}");
    }
    let ticket = shape("ticket", &["by.mail", "cc[].mail"], &[], &[("by.**", "contact"), ("cc[].**", "contact")]);
    let both = r#"{"by":{"mail":"a"},"cc":[{"mail":"b"},{"mail":"a"}]}"#;
    assert_eq!(read(&ticket, both), Ok(vec![(space, "a".to_owned()), (space, "b".to_owned())]));
    assert_eq!(read(&ticket, r#"{"by":{"mail":"a"},"cc":[{"n":1}]}"#), Err(Unreadable::Id));
    let mut spaceless = contact();
    spaceless.ids = None;
    assert_eq!(read(&spaceless, r#"{"Id":"c1"}"#), Err(Unreadable::Id));
}

#[test]
fn bodies_that_parsers_read_differently_are_refused() {
    let read = |body: &[u8]| read_write(&Bytes::copy_from_slice(body), &plan(contact(), false), &LIMITS).map(|w| w.references()).unwrap_err();
    assert!(matches!(read(br#"{"Name":"A","Name":"B"}"#), Unreadable::DuplicateName { .. }));
    assert!(matches!(read(br#"{"Name":"A","\u004eame":"B"}"#), Unreadable::DuplicateName { .. }));
    assert!(matches!(read(br#"{"Name":"A","NAME":"B"}"#), Unreadable::DuplicateName { .. }));
    assert!(matches!(read(br#"{"Address":{"x":[{"a":1,"A":2}]}}"#), Unreadable::DuplicateName { .. }));
    assert!(matches!(read(br#"{"Name\u0000x":"A"}"#), Unreadable::NulInName { .. }));
    assert!(matches!(read(br#"{"Name":"\ud800"}"#), Unreadable::Escape { .. }));
    assert!(matches!(read(b"\xef\xbb\xbf{}"), Unreadable::ByteOrderMark));
    assert!(matches!(read(b"{\"Name\":\"\xff\"}"), Unreadable::NotUtf8 { at: 9 }));
    assert!(matches!(read(b"{} {}"), Unreadable::Trailing { at: 3 }));
    for bad in [
        "{'Name':1}",
        "{\"Name\":NaN}",
        "{\"Name\":1,}",
        "{\"Name\":01}",
        "{}//x",
        "{\"Name\":+1}",
        "{\"Name\":\"a\nb\"}",
        "",
        " ",
        "{\"Name\":1e}",
        "{\"Name\":\"\\x\"}",
    ] {
        assert!(matches!(read(bad.as_bytes()), Unreadable::Syntax { .. } | Unreadable::Trailing { .. } | Unreadable::Escape { .. }), "{bad}");
    }
}

#[test]
fn a_deletion_needs_every_category() {
    let check = |shape: &Shape, given: &str| judge_delete(shape, &verdicts(given)).map_err(|r| (r.paths.join(" "), r.masked));
    assert_eq!(check(&contact(), "identity+ contact+ behaviour+"), Ok(()));
    assert_eq!(check(&contact(), "identity+ contact+"), Err(("Score".to_owned(), false)));
    assert_eq!(check(&contact(), "identity~ contact+ behaviour+"), Err(("Born Name".to_owned(), false)));
    assert_eq!(check(&shape("nothing", &["Id"], &["x"], &[]), "identity+"), Err((String::new(), false)));
}

#[test]
fn an_id_in_a_body_is_one_string_or_integer() {
    let find = |body: &'static str, at: &str| find_id(&Bytes::from_static(body.as_bytes()), &path(at), &LIMITS, Sender::Caller);
    assert_eq!(find(r#"{"params":{"party":"0017"}}"#, "params.party"), Ok(Some("0017".to_owned())));
    assert_eq!(find(r#"{"id":-3}"#, "id"), Ok(Some("-3".to_owned())));
    assert_eq!(find(r#"{"ids":["a"]}"#, "ids[]"), Ok(Some("a".to_owned())));
    assert_eq!(find(r#"{"params":{}}"#, "params.party"), Ok(None));
    for (body, at) in [
        (r#"{"id":null}"#, "id"),
        (r#"{"id":1.0}"#, "id"),
        (r#"{"id":1e3}"#, "id"),
        (r#"{"id":["a"]}"#, "id"),
        (r#"{"ids":["a","b"]}"#, "ids[]"),
        (r#"{"a":{"b":1}}"#, "a.**"),
        (r#"{"id":""}"#, "id"),
    ] {
        assert_eq!(find(body, at), Err(Unreadable::Id), "{body}");
    }
    assert!(find(r#"{"id":"a","id":"b"}"#, "id").is_err());
    assert!(find(r#"{"id":"a","ID":"b"}"#, "id").is_err());
}
