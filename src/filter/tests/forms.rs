//! Forms: the names with brackets, the strict reader, and that a form is judged as the JSON with the same members.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::writes::{Write, contact, plan, read_as};
use super::*;
use crate::filter::{BodyError, Effect, FieldError, FormError};

const FORM: &str = "application/x-www-form-urlencoded";

fn ticket() -> Shape {
    let fields = [
        ("subject", "case"),
        ("requester.email", "contact"),
        ("requester.name", "identity"),
        ("tags[]", "case"),
        ("items[].sku", "order"),
        ("items[].price", "billing"),
        ("address.**", "contact"),
        ("address.secret", "health"),
        ("\"first.name\"", "identity"),
        ("attachment", "case-file"),
    ];
    shape("ticket", &["requester.id"], &["id", "requester.id"], &fields)
}

fn write(masked_drop: bool, effect: Effect) -> Write {
    Write { plan: plan(ticket(), masked_drop), readable: "case+ contact+ identity+ order+ billing+ health+", effect }
}

#[track_caller]
fn check(body: &str, given: &str, expected: &str) {
    assert_eq!(write(false, Effect::New).outcome(FORM, body, given), expected, "{body} with {given}");
}

#[test]
fn names_with_brackets_lead_into_the_shape() {
    check("subject=Broken", "case+", "subject=Broken");
    check("subject=Broken", "contact+", "403 subject");
    check("requester[email]=a%40b.example", "contact+", "requester%5Bemail%5D=a%40b.example");
    check("requester%5bemail%5D=a%40b.example&requester[name]=A", "contact+", "403 requester.name");
    check("items[0][sku]=1&items[1][sku]=2&items[0][price]=3", "order+", "403 items[].price");
    check("items[0][sku]=1&items[1][sku]=2", "order+", "items%5B0%5D%5Bsku%5D=1&items%5B1%5D%5Bsku%5D=2");
    check("tags[]=a&subject=x&tags[]=b", "case+", "tags%5B%5D=a&subject=x&tags%5B%5D=b");
    check("tags=a&tags=b", "case+", "tags=a&tags=b");
    check("tags=a", "case+", "tags=a");
    check("tags[0]=a&tags[1]=b", "case+", "tags%5B0%5D=a&tags%5B1%5D=b");
    check("tags[]=a", "contact+", "403 tags[]");
    check("address[city]=Ulm", "contact+", "address%5Bcity%5D=Ulm");
    check("address[secret]=x&address[city]=Ulm", "contact+", "403 address.secret");
    check("address[a][b][c]=x", "contact+", "address%5Ba%5D%5Bb%5D%5Bc%5D=x");
    check("first.name=A", "identity+", "first.name=A");
    check("first.name=A", "case+", "403 \"first.name\"");
    check("subject[x]=A", "case+", "403 subject");
    check("items[-1][sku]=b", "order+", "403 items.-1");
    check("requester=A", "contact+ identity+", "403 requester");
    check("role=admin&subject=x", "case+", "403 role");
    check("id=7", "case+", "403 id");
    check("id=7&subject=x", "case+", "id=7&subject=x");
    check("", "case+", "");
}

#[test]
fn what_is_sent_is_written_anew() {
    check("subject=a+b%20c%2Bd%2fe~%41", "case+", "subject=a+b+c%2Bd%2Fe%7EA");
    check("&&subject=x&", "case+", "subject=x");
    check("subject", "case+", "subject=");
    check("subject=a=b", "case+", "subject=a%3Db");
    check("subject=%E2%82%AC%00%0D%0A", "case+", "subject=%E2%82%AC%00%0D%0A");
}

#[test]
fn two_names_that_some_framework_takes_for_one_are_refused() {
    let refused = [
        "subject=a&subject=b",
        "subject=a&%73ubject=b",
        "subject=a&Subject=b",
        "subject=a&SUBJECT=b",
        "address[city]=a&address[city]=b",
        "address[city]=a&Address[zip]=b",
        "address[city]=a&address[CITY]=b",
        "tags=a&tags[]=b",
        "tags[]=a&tags[0]=b",
        "tags[0]=a&tags[0]=b",
        "tags[]=a&tags[x]=b",
        "subject=1&subject[]=2",
        "subject=1&subject[x]=2",
        "address[a]=1&address=2",
        "address[0]=1&address[x]=2",
        "first.name=a&first[name]=b",
        "first.name=a&First[Name]=b",
        "first.name=a&first_name=b",
        "address[a][]=1&address[a]=2",
    ];
    for body in refused {
        let error = read_as(FORM, &plan(ticket(), false), body.as_bytes()).unwrap_err();
        assert_eq!(error, BodyError::Field(FieldError::Repeated), "{body}");
    }
}

#[test]
fn names_that_cannot_be_read_in_one_way_are_refused() {
    let deep = format!("address{}=x", "[a]".repeat(128));
    let deeper = format!("address{}=x", "[".repeat(4096));
    let cases: [(&str, FieldError); 25] = [
        ("=a", FieldError::NoName),
        ("[a]=b", FieldError::NoName),
        ("[]=b", FieldError::NoName),
        ("address[city=b", FieldError::Brackets),
        ("address]city[=b", FieldError::Brackets),
        ("address[city]x=b", FieldError::Brackets),
        ("address[[city]]=b", FieldError::Brackets),
        ("address[a[b]]=c", FieldError::Brackets),
        ("items[][sku]=b", FieldError::Brackets),
        ("tags[][]=b", FieldError::Brackets),
        ("address.city=b", FieldError::Name),
        ("address[ci.ty]=b", FieldError::Name),
        ("address[ci+ty]=b", FieldError::Name),
        ("+subject=b", FieldError::Name),
        ("%EF%BB%BFsubject=b", FieldError::Name),
        ("subject%00=b", FieldError::Name),
        ("sub%0Aject=b", FieldError::Name),
        ("address[%22]=b", FieldError::Name),
        ("address[a%2Fb]=b", FieldError::Name),
        ("items[1][sku]=b", FieldError::Position),
        ("items[0][sku]=a&items[2][sku]=b", FieldError::Position),
        ("items[00][sku]=b", FieldError::Position),
        ("items[99999999999999999999][sku]=b", FieldError::Position),
        (&deep, FieldError::TooDeep { max: 128 }),
        (&deeper, FieldError::Brackets),
    ];
    for (body, expected) in cases {
        let read = read_as(FORM, &plan(ticket(), false), body.as_bytes());
        assert_eq!(read.map(|_| ()), Err(BodyError::Field(expected)), "{body}");
    }
}

#[test]
fn bytes_that_no_form_has_are_refused() {
    let plan = plan(ticket(), false);
    let read = |body: &[u8]| read_as(FORM, &plan, body).map(|_| ());
    for (body, expected) in [
        (&b"subject=%"[..], FormError::Percent),
        (b"subject=%4", FormError::Percent),
        (b"subject=%4g", FormError::Percent),
        (b"subject=%+1", FormError::Percent),
        (b"%subject=1", FormError::Percent),
        (b"subject=%ff", FormError::NotUtf8),
        (b"subject=%c0%80", FormError::NotUtf8),
        (b"subject=%ed%a0%80", FormError::NotUtf8),
        (b"sub%ffject=a", FormError::NotUtf8),
        (b"subject=a b", FormError::Byte { at: 9 }),
        (b"subject=a\r\n", FormError::Byte { at: 9 }),
        (b"subject=a;id=b", FormError::Byte { at: 9 }),
        (b"subject=\xc3\xa4", FormError::Byte { at: 8 }),
        (b"\xef\xbb\xbfsubject=a", FormError::Byte { at: 0 }),
        (b"s\0=a", FormError::Byte { at: 1 }),
    ] {
        assert_eq!(read(body), Err(BodyError::Form(expected)), "{}", body.escape_ascii());
    }
    assert_eq!(read(br#"{"subject":"a"}"#), Err(BodyError::Field(FieldError::Name)));
}

#[test]
fn fields_by_which_frameworks_mean_something_else_are_not_written() {
    check("_method=delete&subject=x", "case+", "403 _method");
    check("_METHOD=delete&subject=x", "case+", "403 _METHOD");
    check("X-HTTP-Method-Override=PUT&subject=x", "case+", "403 X-HTTP-Method-Override");
    check("_charset_=utf-16&subject=x", "case+", "403 _charset_");
    check("address[__proto__][admin]=1", "contact+", "403 address.__proto__");
    check("address[constructor][prototype][admin]=1", "contact+", "403 address.constructor");
    check("__proto__[admin]=1&subject=x", "case+", "403 __proto__");
    check("address[Secret]=x", "contact+", "403 address.Secret");
    check("address[SECRET][x]=x", "contact+", "403 address.SECRET");
    // Declared by name, it is still never data.
    let shape = shape("form", &[], &["_method"], &[("subject", "case")]);
    let write = Write { plan: plan(shape, false), readable: "", effect: Effect::New };
    assert_eq!(write.outcome(FORM, "_method=delete&subject=x", "case+"), "403 _method");
}

#[test]
fn whoever_a_form_names_is_compared_like_in_any_body() {
    let references = |body: &str| read_as(FORM, &plan(ticket(), false), body.as_bytes()).map(|w| w.references().to_vec());
    let ids = |body: &str| references(body).unwrap().into_iter().map(|r| (r.id, r.moves)).collect::<Vec<_>>();
    assert_eq!(ids("requester[id]=c%31"), [("c1".to_owned(), true)]);
    assert_eq!(ids("subject=x"), []);
    for bad in ["requester[id]=", "requester[id][$ne]=c1", "requester[id][]=c1", "requester[id][0]=c1"] {
        assert_eq!(references(bad), Err(BodyError::Json(crate::filter::Unreadable::Id)), "{bad}");
    }
}

#[test]
fn a_masked_value_comes_back_as_it_was_shown_or_as_nothing() {
    let all = "identity+ contact+ behaviour+";
    let form = |body: &str, drop, readable, effect| Write { plan: plan(contact(), drop), readable, effect }.outcome(FORM, body, all);
    let masked = "identity~ contact~";
    assert_eq!(form("Phone=****1234", false, masked, Effect::Change), "409 Phone");
    assert_eq!(form("Phone=%2A***1234&Name=A", false, masked, Effect::Change), "409 Phone");
    assert_eq!(form("Address[City]=psn_0004", false, masked, Effect::Change), "409 Address.City");
    // A form has no null: what was removed or null comes back empty, and would wipe what stands there.
    assert_eq!(form("Score=&Name=A", false, "identity+", Effect::Change), "409 Score");
    assert_eq!(form("Name=&Phone=1", false, masked, Effect::Change), "409 Name");
    assert_eq!(form("Name=&Phone=1", false, all, Effect::Change), "Name=&Phone=1");
    assert_eq!(form("Score=&Name=A", false, "", Effect::New), "Score=&Name=A");
    assert_eq!(form("Phone=****1234&Name=A", false, "", Effect::New), "409 Phone");
    // Left out, where the route says so and nothing is overwritten by it.
    assert_eq!(form("Phone=****1234&Name=A&Score=", true, masked, Effect::Change), "Name=A");
    assert_eq!(form("Address[City]=psn_0004&Name=A", true, masked, Effect::Change), "409 Address");
    assert_eq!(form("Phone=****1234&Name=A", true, masked, Effect::Replace), "409 Phone");
}

#[test]
fn a_put_by_a_form_needs_every_category() {
    let write = Write { plan: plan(contact(), false), readable: "", effect: Effect::Replace };
    assert_eq!(write.outcome(FORM, "Name=A", "identity+"), "409 Address.City Phone Score");
    assert_eq!(write.outcome(FORM, "Name=A", "identity+ contact+ behaviour+"), "Name=A");
    assert_eq!(write.outcome(FORM, "Name=A&x=1", "identity+ contact+ behaviour+"), "403 x");
}

#[test]
fn no_form_has_so_many_fields_that_its_reader_drops_some() {
    let many = |count: usize, name: &dyn Fn(usize) -> String| {
        let body: String = (0..count).map(|n| format!("{}={n}&", name(n))).collect();
        read_as(FORM, &plan(ticket(), false), body.as_bytes()).map(|_| ())
    };
    let names: [&dyn Fn(usize) -> String; 4] =
        [&|n| format!("address[a{n}]"), &|n| format!("address[x][{n}]"), &|_| "tags[]".to_owned(), &|n| format!("f{n}")];
    for name in names {
        assert_eq!(many(1000, name), Ok(()));
        assert_eq!(many(1001, name), Err(BodyError::Field(FieldError::TooMany)));
        assert_eq!(many(100_000, name), Err(BodyError::Field(FieldError::TooMany)));
    }
}

/// Members of an object, as a form writes them and as JSON does.
fn members() -> impl Strategy<Value = Vec<(&'static str, &'static str, String)>> {
    let place = prop_oneof![
        Just(("subject", "subject")),
        Just(("role", "role")),
        Just(("id", "id")),
        Just(("requester[id]", "requester.id")),
        Just(("requester[email]", "requester.email")),
        Just(("requester[name]", "requester.name")),
        Just(("requester[x]", "requester.x")),
        Just(("address[city]", "address.city")),
        Just(("address[secret]", "address.secret")),
        Just(("address[a][b]", "address.a.b")),
        Just(("_method", "_method")),
        Just(("tags[]", "tags")),
        Just(("items[0][sku]", "items.sku")),
        Just(("items[0][price]", "items.price")),
    ];
    let value = prop_oneof!["[a-z]{1,4}", Just("****1234".to_owned()), Just("psn_1".to_owned()), "[\"\\\\ -\u{ff}]{1,3}"];
    proptest::collection::btree_map(place, value, 0..8).prop_map(|map| map.into_iter().map(|((form, json), value)| (form, json, value)).collect())
}

fn as_json(members: &[(&str, &str, String)]) -> String {
    let mut whole = serde_json::json!({});
    for (_, path, value) in members {
        let steps: Vec<&str> = path.split('.').collect();
        let mut at = &mut whole;
        for (n, step) in steps.iter().enumerate() {
            at = &mut at[*step];
            if *step == "items" {
                if at.is_null() {
                    *at = serde_json::json!([{}]);
                }
                at = &mut at[0];
            }
            if n + 1 == steps.len() {
                *at = if *path == "tags" { serde_json::json!([value]) } else { serde_json::json!(value) };
            }
        }
    }
    whole.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_form_is_judged_as_the_json_with_the_same_members(
        members in members(), given in "(case[+~-] )?(contact[+~-] )?(identity[+-] )?(order[+-] )?(billing[+-] )?(health[+-] )?",
        replace in any::<bool>(), drop in any::<bool>(),
    ) {
        let fields = [
            ("subject", "case last4"), ("requester.email", "contact last4"), ("requester.name", "identity pseudonym"), ("tags[]", "case last4"),
            ("items[].sku", "order"), ("items[].price", "billing pseudonym"), ("address.**", "contact last4"), ("address.secret", "health"),
        ];
        let shape = shape("ticket", &["requester.id"], &["id", "requester.id"], &fields);
        let effect = if replace { Effect::Replace } else { Effect::Change };
        let write = Write { plan: plan(shape, drop), readable: "contact+ case~", effect };
        let mut form = String::new();
        for (name, _, value) in &members {
            let encoded: String = value.bytes().map(|b| format!("%{b:02x}")).collect();
            let _infallible: std::fmt::Result = write!(form, "{name}={encoded}&");
        }
        let (by_form, by_json) = (write.outcome(FORM, &form, given.trim()), write.outcome("application/json", &as_json(&members), given.trim()));
        if by_json.starts_with('{') {
            // Sent on: the form again reads as the JSON that is sent.
            let again = write.outcome(FORM, &by_form, "case+ contact+ identity+ order+ billing+ health+");
            prop_assert_eq!(&again, &by_form, "{}", form);
            let count = by_form.split('&').filter(|piece| !piece.is_empty()).count();
            let leaves = serde_json::from_str::<serde_json::Value>(&by_json).unwrap();
            prop_assert_eq!(count, texts(&leaves), "{} and {}", by_form, by_json);
        } else {
            prop_assert_eq!(by_form, by_json, "{}", form);
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_taken_for_a_form_is_sent_as_what_was_judged(body in "([a-z]{1,2}|subject|tags|address|items|[]\\[%&=+;.~_\u{e4}0-9A]|\\[\\]|\\[0\\]|\\[a\\]){0,16}") {
        let all = shape("all", &[], &[], &[("**", "contact"), ("tags[]", "contact"), ("items[].sku", "contact")]);
        let write = Write { plan: plan(all, false), readable: "contact+", effect: Effect::New };
        if let Ok(written) = read_as(FORM, &write.plan, body.as_bytes())
            && let Ok(writable) = written.judge(&verdicts("contact+"), &verdicts("contact+"), Effect::New)
        {
            let sent = writable.into_bytes();
            let again = read_as(FORM, &write.plan, &sent).unwrap();
            prop_assert_eq!(again.members(), written.members(), "{}", body);
            // What the standard's own reader, lenient as it is, makes of it.
            let lenient: Vec<String> = std::str::from_utf8(&sent).unwrap().split('&').filter(|p| !p.is_empty()).map(str::to_owned).collect();
            prop_assert!(lenient.iter().all(|piece| piece.matches('=').count() == 1 && piece.is_ascii()), "{:?}", lenient);
        }
    }
}

fn texts(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Object(members) => members.values().map(texts).sum(),
        serde_json::Value::Array(items) => items.iter().map(texts).sum(),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => 1,
    }
}
