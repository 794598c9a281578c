//! JSON patch and merge patch.

use super::writes::{Write, contact, plan, read_as};
use super::*;
use crate::filter::{BodyError, Effect, PatchError, Unreadable, WriteRefused};

const PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";

fn record() -> Shape {
    let fields = [
        ("name", "identity"),
        ("email", "contact"),
        ("phone", "contact last4"),
        ("fax", "contact last4"),
        ("home.**", "contact"),
        ("office.**", "contact"),
        ("office.secret", "health"),
        ("address.city", "contact"),
        ("address.zip", "identity"),
        ("tags[]", "case"),
        ("items[].sku", "order"),
        ("items[].price", "billing"),
        ("row[0]", "contact"),
        ("row[1]", "health"),
        ("recipient", "embed person"),
        ("owner.name", "identity"),
        ("cc[].**", "contact"),
    ];
    let mut shape = shape("record", &["owner.id", "cc[].id"], &["id", "state", "owner.id"], &fields);
    shape.several = Several::Each;
    shape
}

const ALL: &str = "identity+ contact+ health+ case+ order+ billing+";

struct Given {
    write: &'static str,
    read: &'static str,
    drop: bool,
}

impl Given {
    #[track_caller]
    fn check(&self, operations: &str, expected: &str) {
        let write = Write { plan: plan(record(), self.drop), readable: self.read, effect: Effect::Change };
        let expected = if expected == "=" { format!("[{operations}]") } else { expected.to_owned() };
        assert_eq!(write.outcome(PATCH, &format!("[{operations}]"), self.write), expected, "{operations}");
    }
}

const CONTACT: Given = Given { write: "contact+", read: "contact+", drop: false };
const EVERY: Given = Given { write: ALL, read: ALL, drop: false };

#[test]
fn a_merge_patch_deletes_with_null_what_may_be_written() {
    let write = Write { plan: plan(contact(), false), readable: "identity+ contact+", effect: Effect::Change };
    let check = |body: &str, expected: &str| {
        let expected = if expected == "=" { body } else { expected };
        assert_eq!(write.outcome(MERGE, body, "identity+ contact+"), expected, "{body}");
    };
    check(r#"{"Name":null}"#, "=");
    check(r#"{"Address":null,"Name":"A"}"#, "=");
    check(r#"{"Address":{"City":null}}"#, "=");
    check(r#"{"Score":null}"#, "409 Score");
    check(r#"{"Name":null,"Other":null}"#, "403 Other");
    check(r#"{"Id":null}"#, "400 Json(Id)");
    for body in ["null", "[]", "\"x\"", "[{\"op\":\"remove\",\"path\":\"/Name\"}]"] {
        check(body, "400 Json(TopLevel)");
    }
}

#[test]
fn what_is_added_or_replaced_is_judged_by_its_place() {
    CONTACT.check(r#"{"op":"replace","path":"/email","value":"x"}"#, "=");
    CONTACT.check(r#"{"op":"add","path":"/email","value":null}"#, "=");
    CONTACT.check(r#"{"op":"replace","path":"/name","value":"x"}"#, "403 name");
    CONTACT.check(r#"{"op":"replace","path":"/email","value":"x"},{"op":"replace","path":"/name","value":"x"}"#, "403 name");
    CONTACT.check(r#"{"op":"replace","path":"/role","value":"x"}"#, "403 role");
    CONTACT.check(r#"{"op":"replace","path":"/Email","value":"x"}"#, "403 Email");
    CONTACT.check(r#"{"op":"replace","path":"/email","value":{"a":1}}"#, "403 email");
    CONTACT.check(r#"{"op":"add","path":"/email/0","value":"x"}"#, "403 email.0");
    CONTACT.check(r#"{"op":"add","path":"/home/a~1b/~0c","value":"x"}"#, "=");
    CONTACT.check(r#"{"op":"add","path":"/office/secret","value":"x"}"#, "403 office.secret");
    CONTACT.check(r#"{"op":"replace","path":"/recipient","value":{"id":"c9"}}"#, "403 recipient");
    CONTACT.check(r#"{"op":"replace","path":"/recipient/name","value":"x"}"#, "403 recipient.name");
    CONTACT.check(r#"{"op":"replace","path":"/state","value":"x"}"#, "403 state");
    CONTACT.check(r#"{"op":"replace","path":"/state","value":"x"},{"op":"remove","path":"/email"}"#, "=");
    CONTACT.check(r#"{"op":"add","path":"/home/__proto__/x","value":1}"#, "403 home.__proto__.x");
    CONTACT.check(r#"{"op":"add","path":"/home/x","value":{"__proto__":1}}"#, "403 home.x.__proto__");
    CONTACT.check(r#"{"op":"add","path":"/_method","value":"DELETE"}"#, "403 _method");
    CONTACT.check("", "=");
}

#[test]
fn an_object_that_replaces_another_needs_all_that_it_replaces() {
    CONTACT.check(r#"{"op":"replace","path":"/address","value":{"city":"Ulm"}}"#, "409 address.zip");
    CONTACT.check(r#"{"op":"add","path":"/address","value":{"city":"Ulm"}}"#, "409 address.zip");
    CONTACT.check(r#"{"op":"replace","path":"/address","value":{"zip":"1"}}"#, "403 address.zip");
    CONTACT.check(r#"{"op":"replace","path":"/office","value":{"x":1}}"#, "409 office.secret");
    CONTACT.check(r#"{"op":"replace","path":"/office","value":"x"}"#, "403 office.secret");
    CONTACT.check(r#"{"op":"replace","path":"/home","value":{"x":1}}"#, "=");
    CONTACT.check(r#"{"op":"replace","path":"/address/city","value":"Ulm"}"#, "=");
    EVERY.check(r#"{"op":"replace","path":"/address","value":{"city":"Ulm"}}"#, "=");
    // An element that is put into a list replaces none.
    let order = Given { write: "order+", read: "order+", drop: false };
    order.check(r#"{"op":"add","path":"/items/-","value":{"sku":"1"}}"#, "=");
    order.check(r#"{"op":"add","path":"/items/0","value":{"sku":"1"}}"#, "=");
    order.check(r#"{"op":"replace","path":"/items/0","value":{"sku":"1"}}"#, "409 items[].price");
    order.check(r#"{"op":"replace","path":"/items/0/sku","value":"1"}"#, "=");
    order.check(r#"{"op":"replace","path":"/items","value":[{"sku":"1"}]}"#, "409 items[].price");
    order.check(r#"{"op":"replace","path":"/items","value":[]}"#, "403 items[].price");
    order.check(r#"{"op":"add","path":"/items/x","value":{"sku":"1"}}"#, "403 items.x");
    order.check(r#"{"op":"add","path":"/items/01","value":{"sku":"1"}}"#, "403 items.01");
}

#[test]
fn a_removal_needs_every_category_below() {
    CONTACT.check(r#"{"op":"remove","path":"/email"}"#, "=");
    CONTACT.check(r#"{"op":"remove","path":"/address"}"#, "403 address.zip");
    CONTACT.check(r#"{"op":"remove","path":"/office"}"#, "403 office.secret");
    CONTACT.check(r#"{"op":"remove","path":"/home"}"#, "=");
    CONTACT.check(r#"{"op":"remove","path":"/home/x"}"#, "=");
    CONTACT.check(r#"{"op":"remove","path":"/recipient"}"#, "403 recipient");
    CONTACT.check(r#"{"op":"remove","path":"/other"}"#, "403 other");
    CONTACT.check(r#"{"op":"remove","path":"/state"}"#, "403 state");
    EVERY.check(r#"{"op":"remove","path":"/items/0"}"#, "=");
    EVERY.check(r#"{"op":"remove","path":"/tags/0"}"#, "=");
}

#[test]
fn a_test_asks_only_what_may_be_read_in_full() {
    for read in ["", "contact~", "contact-"] {
        let blind = Given { write: ALL, read, drop: false };
        for (path, named) in
            [("/email", "email"), ("/phone", "phone"), ("/home/x", "home.**"), ("/address", "address.city address.zip"), ("/state", "state")]
        {
            blind.check(&format!(r#"{{"op":"test","path":"{path}","value":"x"}}"#), &refused(path, named));
        }
        blind.check(r#"{"op":"test","path":"/email","value":null}"#, "403 email");
    }
    let reader = Given { write: ALL, read: "contact+ identity+", drop: false };
    reader.check(r#"{"op":"test","path":"/email","value":"x"}"#, "=");
    reader.check(r#"{"op":"test","path":"/phone","value":"****1234"}"#, "=");
    reader.check(r#"{"op":"test","path":"/address","value":{"city":"Ulm","zip":"1"}}"#, "=");
    reader.check(r#"{"op":"test","path":"/address","value":{"city":"Ulm","x":"1"}}"#, "403 address.x");
    reader.check(r#"{"op":"test","path":"/office","value":{"x":1}}"#, "403 office.secret");
    reader.check(r#"{"op":"test","path":"/internal","value":1}"#, "403 internal");
    reader.check(r#"{"op":"test","path":"/recipient/name","value":"x"}"#, "403 recipient.name");
    reader.check(r#"{"op":"test","path":"/owner/id","value":"c1"}"#, "=");
    reader.check(r#"{"op":"test","path":"/state","value":"open"},{"op":"remove","path":"/email"}"#, "=");
    // Of whoever else stands in the record nothing is asked.
    for path in ["/cc", "/cc/0", "/cc/0/id", "/cc/0/name"] {
        let answer = Write { plan: plan(record(), false), readable: ALL, effect: Effect::Change }.outcome(
            PATCH,
            &format!(r#"[{{"op":"test","path":"{path}","value":"x"}}]"#),
            ALL,
        );
        assert!(answer.starts_with("403 cc"), "{path}: {answer}");
    }
}

/// A scalar in the place of an object names the place, too.
fn refused(path: &str, named: &str) -> String {
    if path == "/address" { format!("403 address {named}") } else { format!("403 {named}") }
}

#[test]
fn nothing_is_carried_to_where_others_see_it() {
    EVERY.check(r#"{"op":"move","from":"/phone","path":"/fax"}"#, "=");
    EVERY.check(r#"{"op":"copy","from":"/phone","path":"/fax"}"#, "=");
    EVERY.check(r#"{"op":"copy","from":"/home","path":"/home/old"}"#, "=");
    EVERY.check(r#"{"op":"copy","from":"/home/a","path":"/home/b"}"#, "=");
    EVERY.check(r#"{"op":"copy","from":"/tags/0","path":"/tags/-"}"#, "=");
    EVERY.check(r#"{"op":"move","from":"/home/a","path":"/email"}"#, "=");
    EVERY.check(r#"{"op":"copy","from":"/state","path":"/state"},{"op":"remove","path":"/email"}"#, "=");
    for kind in ["move", "copy"] {
        for (from, path, named) in [
            // another category, another masked form, none
            ("/name", "/email", "email name"),
            ("/office/secret", "/office/open", "office.** office.secret"),
            ("/phone", "/email", "email phone"),
            ("/email", "/state", "email state"),
            ("/state", "/email", "email state"),
            ("/email", "/role", "role"),
            ("/role", "/email", "email role"),
            // objects with more in them than the place tells
            ("/email", "/home/x", "email home.**"),
            ("/office", "/home/x", "home.** office.**"),
            ("/home/x", "/office", "home.** office.**"),
            ("/address", "/home/x", "address home.**"),
            ("/home/x", "/address", "address home.**"),
            ("/recipient", "/home/x", "home.** recipient"),
            ("/recipient/name", "/name", "name recipient.name"),
            // customers
            ("/owner/id", "/id", "id"),
            ("/id", "/owner/id", "owner.id"),
            ("/owner", "/home/x", "home.**"),
            ("/home/x", "/owner", "owner"),
            ("/cc/0/name", "/home/x", "home.**"),
            ("/home/x", "/cc/0/name", "cc[].**"),
            ("/home/x", "/cc/-", "cc[].**"),
            ("/cc/0", "/cc/1", "cc[].**"),
            // lists of which each position means something else
            ("/row/0", "/row/0", "row[0]"),
            ("/email", "/row/0", "email row[0]"),
        ] {
            let operation = format!(r#"{{"op":"{kind}","from":"{from}","path":"{path}"}}"#);
            EVERY.check(&operation, &format!("403 {named}"));
        }
    }
    // Both to be written, and read in full.
    let carry = r#"{"op":"copy","from":"/phone","path":"/fax"}"#;
    for (write, read) in [("contact+", "contact~"), ("contact+", ""), ("contact~", "contact+"), ("identity+", "contact+")] {
        Given { write, read, drop: false }.check(carry, "403 fax phone");
    }
}

#[test]
fn positions_that_mean_something_keep_it() {
    EVERY.check(r#"{"op":"replace","path":"/row/1","value":"x"}"#, "=");
    EVERY.check(r#"{"op":"add","path":"/row/0","value":"x"}"#, "403 row[0]");
    EVERY.check(r#"{"op":"add","path":"/row/-","value":"x"}"#, "403 row[]");
    EVERY.check(r#"{"op":"remove","path":"/row/0"}"#, "403 row[0]");
    EVERY.check(r#"{"op":"move","from":"/row/1","path":"/email"}"#, "403 email row[1]");
    CONTACT.check(r#"{"op":"replace","path":"/row/1","value":"x"}"#, "403 row[1]");
    CONTACT.check(r#"{"op":"replace","path":"/row/0","value":"x"}"#, "=");
}

#[test]
fn customers_are_named_and_never_taken_away() {
    let references = |operations: &str| {
        let written = read_as(PATCH, &plan(record(), false), format!("[{operations}]").as_bytes());
        written.map(|w| w.references().iter().map(|r| (r.id.clone(), r.moves)).collect::<Vec<_>>())
    };
    let unreadable = Err(BodyError::Json(Unreadable::Id));
    assert_eq!(references(r#"{"op":"replace","path":"/owner/id","value":"c2"}"#), Ok(vec![("c2".to_owned(), true)]));
    assert_eq!(references(r#"{"op":"add","path":"/owner","value":{"id":7,"name":"A"}}"#), Ok(vec![("7".to_owned(), true)]));
    assert_eq!(references(r#"{"op":"add","path":"/cc/-","value":{"id":"c3"}}"#), Ok(vec![("c3".to_owned(), false)]));
    assert_eq!(references(r#"{"op":"replace","path":"/cc","value":[{"id":"c3"},{"id":"c4"}]}"#).unwrap().len(), 2);
    assert_eq!(references(r#"{"op":"test","path":"/owner/id","value":"c2"}"#), Ok(vec![]));
    assert_eq!(references(r#"{"op":"replace","path":"/email","value":"c2"}"#), Ok(vec![]));
    for bad in [
        r#"{"op":"replace","path":"/owner/id","value":null}"#,
        r#"{"op":"replace","path":"/owner/id","value":{"$ne":1}}"#,
        r#"{"op":"replace","path":"/owner","value":{"name":"A"}}"#,
        r#"{"op":"replace","path":"/owner","value":null}"#,
        r#"{"op":"add","path":"/cc/-","value":{"name":"A"}}"#,
        r#"{"op":"add","path":"/cc/-","value":"c2"}"#,
        r#"{"op":"replace","path":"/cc","value":[{"name":"A"}]}"#,
    ] {
        assert_eq!(references(bad), unreadable, "{bad}");
    }
    EVERY.check(r#"{"op":"remove","path":"/owner/id"}"#, "403 owner.id");
    EVERY.check(r#"{"op":"remove","path":"/owner"}"#, "403 owner");
    EVERY.check(r#"{"op":"replace","path":"/owner/name","value":"A"}"#, "=");
    EVERY.check(r#"{"op":"add","path":"/owner/id","value":"c1"},{"op":"add","path":"/cc/-","value":{"id":"c2"}}"#, "403 cc[].id owner.id");
    // Whoever is copied in is taken out whole; who it is, nobody says, so nothing of theirs is changed.
    EVERY.check(r#"{"op":"remove","path":"/cc/0"}"#, "=");
    EVERY.check(r#"{"op":"add","path":"/cc/-","value":{"id":"c3","name":"C"}}"#, "=");
    for op in [r#""remove""#, r#""replace","value":"x""#, r#""add","value":"x""#] {
        EVERY.check(&format!(r#"{{"path":"/cc/0/name","op":{op}}}"#), "403 cc[].**");
        EVERY.check(&format!(r#"{{"path":"/cc/0/id","op":{op}}}"#), "403 cc[].**");
    }
}

#[test]
fn a_masked_value_is_left_out_only_with_all_that_is_said_of_its_place() {
    let refuse = Given { write: ALL, read: "contact~", drop: false };
    refuse.check(r#"{"op":"replace","path":"/phone","value":"****1234"}"#, "409 phone");
    refuse.check(r#"{"op":"add","path":"/phone","value":"****1234"}"#, "409 phone");
    let drop = Given { write: ALL, read: "contact~", drop: true };
    let masked = r#"{"op":"replace","path":"/phone","value":"****1234"}"#;
    let other = r#"{"op":"replace","path":"/email","value":"x"}"#;
    drop.check(&format!("{masked},{other}"), &format!("[{other}]"));
    drop.check(&format!("{other},{masked}"), &format!("[{other}]"));
    drop.check(masked, "409 phone");
    for related in [
        r#"{"op":"remove","path":"/phone"}"#,
        r#"{"op":"replace","path":"/phone","value":"1"}"#,
        r#"{"op":"copy","from":"/fax","path":"/phone"}"#,
        r#"{"op":"copy","from":"/phone","path":"/fax"}"#,
    ] {
        for both in [format!("{masked},{related},{other}"), format!("{related},{masked},{other}")] {
            let answer = Write { plan: plan(record(), true), readable: "contact~", effect: Effect::Change }.outcome(PATCH, &format!("[{both}]"), ALL);
            assert!(answer.starts_with("409") || answer.starts_with("403"), "{both}: {answer}");
        }
    }
    // Reading in full makes no masked form a value.
    let reader = Given { write: ALL, read: ALL, drop: true };
    reader.check(&format!(r#"{masked},{{"op":"copy","from":"/phone","path":"/fax"}},{other}"#), "409 phone");
    reader.check(&format!("{masked},{other}"), &format!("[{other}]"));
}

#[test]
fn pointers_and_operations_are_read_in_one_way() {
    let read = |body: &str| read_as(PATCH, &plan(record(), false), body.as_bytes()).map(|_| ());
    for (body, expected) in [
        (r#"[{"op":"replace","path":"","value":{}}]"#, PatchError::Whole),
        (r#"[{"op":"remove","path":""}]"#, PatchError::Whole),
        (r#"[{"op":"copy","from":"","path":"/home"}]"#, PatchError::Whole),
        (r#"[{"op":"remove","path":"email"}]"#, PatchError::Pointer),
        (r##"[{"op":"remove","path":"#/email"}]"##, PatchError::Pointer),
        (r#"[{"op":"remove","path":"/a~2"}]"#, PatchError::Pointer),
        (r#"[{"op":"remove","path":"/a~"}]"#, PatchError::Pointer),
        (r#"[{"op":"remove","path":"/a\u0000"}]"#, PatchError::Pointer),
        (r#"[{"op":"remove","path":"/tags/-"}]"#, PatchError::Position),
        (r#"[{"op":"replace","path":"/tags/-","value":1}]"#, PatchError::Position),
        (r#"[{"op":"test","path":"/tags/-","value":1}]"#, PatchError::Position),
        (r#"[{"op":"add","path":"/items/-/sku","value":1}]"#, PatchError::Position),
        (r#"[{"op":"move","from":"/tags/-","path":"/tags/0"}]"#, PatchError::Position),
        (r#"[{"op":"move","from":"/home","path":"/home/x"}]"#, PatchError::IntoItself),
        (r#"[{"op":"Add","path":"/email","value":1}]"#, PatchError::Operation),
        (r#"[{"op":"merge","path":"/email","value":1}]"#, PatchError::Operation),
        (r#"[{"op":["add"],"path":"/email","value":1}]"#, PatchError::Operation),
        (r#"[{"path":"/email","value":1}]"#, PatchError::Operation),
        (r#"[{"op":"add","value":1}]"#, PatchError::Operation),
        (r#"[{"op":"add","path":1,"value":1}]"#, PatchError::Operation),
        (r#"[{"op":"add","path":"/email"}]"#, PatchError::Operation),
        (r#"[{"op":"remove","path":"/email","value":1}]"#, PatchError::Operation),
        (r#"[{"op":"remove","path":"/email","from":"/name"}]"#, PatchError::Operation),
        (r#"[{"op":"copy","path":"/email"}]"#, PatchError::Operation),
        (r#"[{"op":"remove","path":"/email","extra":1}]"#, PatchError::Operation),
        (r#"["remove"]"#, PatchError::Operation),
        ("[[]]", PatchError::Operation),
    ] {
        assert_eq!(read(body), Err(BodyError::Patch(expected)), "{body}");
    }
    assert_eq!(read(r#"{"op":"remove","path":"/email"}"#), Err(BodyError::Json(Unreadable::TopLevel)));
    for twice in [r#"[{"op":"add","op":"remove","path":"/email","value":1}]"#, r#"[{"op":"remove","path":"/name","Path":"/email"}]"#] {
        assert!(matches!(read(twice), Err(BodyError::Json(Unreadable::DuplicateName { .. }))), "{twice}");
    }
    let deep = format!(r#"[{{"op":"add","path":"/home{}","value":1}}]"#, "/a".repeat(200));
    assert_eq!(read(&deep), Err(BodyError::Patch(PatchError::Pointer)));
}

#[test]
fn what_is_sent_is_written_anew_and_means_the_same() {
    CONTACT
        .check(r#"{ "value" : {"a": [1, 2.0]} , "path":"\/home\u002fx", "op":"add"}"#, r#"[{"op":"add","path":"/home/x","value":{"a": [1, 2.0]}}]"#);
    EVERY.check(r#"{"path":"/fax","op":"copy","from":"/phone"}"#, r#"[{"op":"copy","from":"/phone","path":"/fax"}]"#);
}

#[test]
fn very_many_operations_cost_no_square() {
    let limits = Limits { body_bytes_max: 16 << 20, depth_max: 128 };
    let many: Vec<String> = (0..40_000).map(|n| format!(r#"{{"op":"add","path":"/home/a{n}","value":"****1234"}}"#)).collect();
    let body = Bytes::from(format!("[{}]", many.join(",")));
    let shape = shape("home", &[], &[], &[("home.**", "contact last4")]);
    let body_type = crate::model::BodyType::parse(PATCH).unwrap();
    let written = crate::filter::read_write(&body, &body_type, None, &plan(shape, true), &limits).unwrap();
    let refused = written.judge(&verdicts("contact+"), &verdicts(""), Effect::Change).unwrap_err();
    // Nothing would remain of it.
    assert_eq!(refused, WriteRefused { paths: vec!["home.**".to_owned()], masked: true });
}
