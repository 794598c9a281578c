//! Written bodies.

use super::*;
use crate::filter::{BodyError, Effect, Sender, Unreadable, WriteRefused, Written, find_id, judge_delete, read_write};
use crate::model::{BodyType, RequestPlan};

pub(super) fn contact() -> Shape {
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

pub(super) fn plan(shape: Shape, masked_drop: bool) -> RequestPlan {
    RequestPlan { shape: Arc::new(shape), types: vec![BodyType::json()], masked_drop, put_merge: false }
}

/// A body of this content type.
pub(super) fn read_as(name: &str, plan: &RequestPlan, body: &[u8]) -> Result<Written, BodyError> {
    read_write(&Bytes::copy_from_slice(body), &BodyType::parse(name).unwrap(), Some("b"), plan, &LIMITS)
}

pub(super) struct Write {
    pub(super) plan: RequestPlan,
    pub(super) readable: &'static str,
    pub(super) effect: Effect,
}

impl Write {
    /// What is sent upstream, or `403 paths`, or `409 paths`.
    fn check(&self, body: &str, given: &str, expected: &str) {
        assert_eq!(self.outcome("application/json", body, given), expected, "{body} with {given}");
    }

    pub(super) fn outcome(&self, content_type: &str, body: &str, given: &str) -> String {
        let written = match read_as(content_type, &self.plan, body.as_bytes()) {
            Ok(written) => written,
            Err(error) => return format!("400 {error:?}"),
        };
        match written.judge(&verdicts(given), &verdicts(self.readable), self.effect) {
            Ok(writable) => String::from_utf8(writable.into_bytes().to_vec()).unwrap(),
            Err(WriteRefused { paths, masked }) => format!("{} {}", if masked { 409 } else { 403 }, paths.join(" ")),
        }
    }
}

#[test]
fn every_written_member_needs_its_category() {
    let write = Write { plan: plan(contact(), false), readable: "identity+ contact+ behaviour+", effect: Effect::Change };
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
    let refuse = Write { plan: plan(contact(), false), readable: "identity~ contact~", effect: Effect::Change };
    refuse.check(r#"{"Phone":"****1234"}"#, all, "409 Phone");
    refuse.check(r#"{"Phone":"\u002a***1234"}"#, all, "409 Phone");
    refuse.check(r#"{"Born":"1981","Name":"A"}"#, all, "409 Born");
    refuse.check(r#"{"Score":null}"#, all, "409 Score");
    refuse.check(r#"{"Address":{"City":"psn_0004"}}"#, all, "409 Address.City");
    refuse.check(r#"{"Phone":"****1234","Other":1}"#, all, "403 Other");
    refuse.check(r#"{"Phone":"0049123"}"#, all, r#"{"Phone":"0049123"}"#);
    let reader = Write { plan: plan(contact(), false), readable: all, effect: Effect::Change };
    reader.check(r#"{"Phone":"****1234"}"#, all, "409 Phone");
    reader.check(r#"{"Born":"1981","Score":null}"#, all, r#"{"Born":"1981","Score":null}"#);
}

#[test]
fn a_masked_value_may_be_left_out_where_that_overwrites_nothing() {
    let all = "identity+ contact+ behaviour+";
    let mut write = Write { plan: plan(contact(), true), readable: "identity~ contact~", effect: Effect::Change };
    write.check(r#"{"Name":"A", "Phone":"****1234","Score":null}"#, all, r#"{"Name":"A"}"#);
    write.check(r#"{"Name":"A","Phone":"****1234"}"#, "identity+", r#"{"Name":"A"}"#);
    write.check(r#"{"Address":{"City":"psn_0004"},"Name":"A"}"#, all, "409 Address");
    write.check(r#"{"Modified":1,"Phone":"****1234"}"#, all, "403 Modified");
    // A list is stored as it is sent: what is left out of an element is gone.
    let list = shape("list", &[], &[], &[("people[].phone", "contact last4"), ("people[].name", "identity")]);
    let listed = Write { plan: plan(list, true), readable: "identity~ contact~", effect: Effect::Change };
    listed.check(r#"{"people":[{"name":"A","phone":"****1234"}]}"#, all, "409 people[].phone");
    write.effect = Effect::Replace;
    write.check(r#"{"Name":"A","Phone":"****1234"}"#, all, "409 Phone");
}

#[test]
fn a_put_needs_every_category_of_the_shape() {
    let write = Write { plan: plan(contact(), false), readable: "", effect: Effect::Replace };
    write.check(r#"{"Name":"A"}"#, "identity+", "409 Address.City Phone Score");
    write.check(r#"{"Name":"A"}"#, "identity+ contact+ behaviour~", "409 Score");
    write.check(r#"{"Name":"A"}"#, "identity+ contact+ behaviour+", r#"{"Name":"A"}"#);
    write.check(r#"{"Name":"A","x":1}"#, "identity+ contact+ behaviour+", "403 x");
}

#[test]
fn other_customers_in_a_write_refuse_it() {
    let quote = shape("quote", &["party"], &[], &[("total", "order"), ("end", "embed contact")]);
    let write = Write { plan: plan(quote, false), readable: "order+", effect: Effect::Change };
    write.check(r#"{"total":1,"end":{"Id":"c2","Name":"B"}}"#, "order+ identity+", "403 end");
    write.check(r#"{"total":1,"end":null}"#, "order+", "403 end");
    write.check(r#"{"party":"c1","total":1}"#, "order+", r#"{"party":"c1","total":1}"#);
    Write { effect: Effect::Replace, ..write }.check(r#"{"total":1}"#, "order+", "409 end");
    let ticket = shape("ticket", &["by.mail", "cc[].mail"], &[], &[("by.**", "contact"), ("cc[].**", "contact")]);
    let write = Write { plan: plan(ticket, false), readable: "", effect: Effect::Change };
    write.check(r#"{"by":{"mail":"a"},"cc":[{"mail":"b"}]}"#, "contact+", "403 by.mail cc[].mail");
    write.check(r#"{"by":{"mail":"a"},"cc":[{"mail":"a"}]}"#, "contact+", r#"{"by":{"mail":"a"},"cc":[{"mail":"a"}]}"#);
}

#[test]
fn what_takes_the_place_of_members_needs_them_all() {
    let fields = [("a", "contact"), ("a.secret", "health"), ("b.**", "contact"), ("b.secret", "health"), ("list[].name", "contact")];
    let more = [("list[].note", "health"), ("meta.key", "case")];
    let all: Vec<(&str, &str)> = fields.into_iter().chain(more).collect();
    let shape = shape("nested", &["owner.id"], &["meta"], &all);
    let mut write = Write { plan: plan(shape, false), readable: "contact+ health+ case+", effect: Effect::Change };
    for (body, refused) in [
        (r#"{"a":null}"#, "403 a.secret"),
        (r#"{"a":"x"}"#, "403 a.secret"),
        (r#"{"a":{}}"#, "403 a.secret"),
        (r#"{"b":null}"#, "403 b.secret"),
        (r#"{"b":"x"}"#, "403 b.secret"),
        (r#"{"b":[1]}"#, "409 b.secret"),
        (r#"{"a":"x","meta":null}"#, "403 a.secret meta.key"),
        (r#"{"list":[{"name":"x"}]}"#, "409 list[].note"),
        (r#"{"list":[]}"#, "403 list[].note"),
        (r#"{"b":{"c":1},"owner":null}"#, "403 owner.id"),
        (r#"{"b":{"c":1},"owner":{}}"#, "403 owner.id"),
    ] {
        write.check(body, "contact+", refused);
        write.check(body, "contact+ health~ case~", refused);
    }
    for body in [r#"{"a":null}"#, r#"{"b":"x"}"#, r#"{"list":[{"name":"x"}]}"#, r#"{"list":[]}"#, r#"{"b":[1]}"#] {
        write.check(body, "contact+ health+", body);
    }
    for body in [r#"{"b":{"c":1}}"#, r#"{"b":{"c":null}}"#, r#"{"b":{"c":1},"owner":{"id":"c1"}}"#] {
        write.check(body, "contact+", body);
    }
    // Where nothing is yet, nothing is wiped.
    write.effect = Effect::New;
    for body in [r#"{"a":"x"}"#, r#"{"list":[{"name":"x"}]}"#] {
        write.check(body, "contact+", body);
    }
}

#[test]
fn names_that_frameworks_take_for_something_else_are_not_written() {
    let shape = shape("open", &[], &[], &[("**", "contact"), ("made.constructor", "contact")]);
    let write = Write { plan: plan(shape, false), readable: "contact+", effect: Effect::Change };
    for (body, path) in [
        (r#"{"_method":"DELETE"}"#, "_method"),
        (r#"{"_Method":"DELETE"}"#, "_Method"),
        (r#"{"x-http-method-override":"PUT"}"#, "x-http-method-override"),
        (r#"{"a":{"__proto__":{"admin":true}}}"#, "a.__proto__"),
        (r#"{"constructor":{"prototype":{"admin":true}}}"#, "constructor"),
        (r#"{"a":[{"prototype":1}]}"#, "a[].prototype"),
        (r#"{"\u005f_proto__":1}"#, "__proto__"),
    ] {
        write.check(body, "contact+", &format!("403 {path}"));
    }
    // Letter case and dots tell no two members apart.
    let paid = super::shape("paid", &[], &[], &[("pay.**", "contact"), ("pay.Salary", "health"), ("pay.salary.note", "case"), ("**", "contact")]);
    let paid = Write { plan: plan(paid, false), readable: "contact+", effect: Effect::Change };
    paid.check(r#"{"pay":{"SALARY":1}}"#, "contact+", "403 pay.SALARY");
    paid.check(r#"{"pay":{"\u017falary":1}}"#, "contact+", "403 pay.*");
    paid.check(r#"{"pay":{"Salary.x":1}}"#, "contact+", "403 pay.Salary.x");
    paid.check(r#"{"pay.Salary":1}"#, "contact+", "403 pay.Salary");
    paid.check(r#"{"PAY":{"x":1}}"#, "contact+", "403 PAY");
    paid.check(r#"{"pay":{"Salary":1}}"#, "contact+ health+", r#"{"pay":{"Salary":1}}"#);
    paid.check(r#"{"pay":{"bonus":1}}"#, "contact+", r#"{"pay":{"bonus":1}}"#);
    for body in [r#"{"a":{"_method":"post"}}"#, r#"{"made":{"constructor":"Ferrari"}}"#, r#"{"method":"post"}"#] {
        write.check(body, "contact+", body);
    }
}

#[test]
fn whoever_a_record_goes_to_takes_it_whole() {
    let read = |shape: Shape, body: &str| read_as("application/json", &plan(shape, false), body.as_bytes()).unwrap();
    let written = read(contact(), r#"{"Id":"c2"}"#);
    assert!(written.references()[0].moves);
    assert_eq!(written.judge_move(&verdicts("identity+ contact+ behaviour+")), Ok(()));
    let refused = WriteRefused { paths: vec!["Score".to_owned()], masked: false };
    assert_eq!(written.judge_move(&verdicts("identity+ contact+")), Err(refused));
    // A person copied in takes over nothing, unless all who are named hold the record together.
    let mut ticket = shape("ticket", &["by.mail", "cc[].mail"], &[], &[("by.**", "contact"), ("cc[].**", "contact")]);
    let body = r#"{"cc":[{"mail":"b"}]}"#;
    assert!(read(ticket.clone(), body).references()[0].moves);
    ticket.several = Several::Each;
    assert!(!read(ticket.clone(), body).references()[0].moves);
    assert!(read(ticket, r#"{"cc":[{"mail":"b"}],"by":{"mail":"b"}}"#).references()[0].moves);
}

#[test]
fn references_are_read_strictly() {
    let read = |shape: &Shape, body: &str| {
        let written = read_as("application/json", &plan(shape.clone(), false), body.as_bytes());
        written.map(|w| w.references().iter().map(|r| (r.space, r.id.clone())).collect::<Vec<_>>())
    };
    let space = Space::intern("test-ids");
    assert_eq!(read(&contact(), r#"{"Id":"c\u0031"}"#), Ok(vec![(space, "c1".to_owned())]));
    assert_eq!(read(&contact(), r#"{"Id":17}"#), Ok(vec![(space, "17".to_owned())]));
    assert_eq!(read(&contact(), "{}"), Ok(vec![]));
    for bad in [r#"{"Id":{"$ne":"c1"}}"#, r#"{"Id":["c1"]}"#, r#"{"Id":1.5}"#, r#"{"Id":""}"#, r#"{"Id":true}"#, r#"{"Id":null}"#] {
        assert_eq!(read(&contact(), bad), Err(BodyError::Json(Unreadable::Id)), "{bad}");
    }
    for bad in ["[]", "null", "\"x\"", r#"[{"Name":"A"}]"#] {
        assert_eq!(read(&contact(), bad), Err(BodyError::Json(Unreadable::TopLevel)), "{bad}");
    }
    let ticket = shape("ticket", &["by.mail", "cc[].mail"], &[], &[("by.**", "contact"), ("cc[].**", "contact")]);
    let both = r#"{"by":{"mail":"a"},"cc":[{"mail":"b"},{"mail":"a"}]}"#;
    assert_eq!(read(&ticket, both), Ok(vec![(space, "a".to_owned()), (space, "b".to_owned())]));
    assert_eq!(read(&ticket, r#"{"by":{"mail":"a"},"cc":[{"n":1}]}"#), Err(BodyError::Json(Unreadable::Id)));
    let mut spaceless = contact();
    spaceless.ids = None;
    assert_eq!(read(&spaceless, r#"{"Id":"c1"}"#), Err(BodyError::Json(Unreadable::Id)));
}

#[test]
fn bodies_that_parsers_read_differently_are_refused() {
    let read = |body: &[u8]| match read_as("application/json", &plan(contact(), false), body) {
        Err(BodyError::Json(error)) => error,
        other => panic!("{other:?}"),
    };
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
