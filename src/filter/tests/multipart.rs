//! `multipart/form-data`: the frame, the headers of the parts, and files.

use super::writes::{Write, plan, read_as};
use super::*;
use crate::filter::{BodyError, Effect, FieldError, PartError, Unreadable};

const MULTIPART: &str = "multipart/form-data";

fn ticket() -> Shape {
    let fields = [("subject", "case"), ("attachment", "case-file"), ("files[]", "case-file"), ("meta.**", "case"), ("phone", "contact last4")];
    shape("ticket", &["requester"], &["requester"], &fields)
}

/// A part: what stands behind `form-data; `, other headers, the content.
fn part(disposition: &str, more: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n{content}\r\n")
}

fn whole(parts: &[String]) -> String {
    format!("{}--b--\r\n", parts.concat())
}

/// The body that is sent, with its line ends written out, or the refusal.
fn outcome(body: &str, given: &str) -> String {
    let write = Write { plan: plan(ticket(), false), readable: "", effect: Effect::New };
    write.outcome(MULTIPART, body, given).replace("\r\n", "|")
}

fn error(body: &[u8]) -> BodyError {
    read_as(MULTIPART, &plan(ticket(), false), body).unwrap_err()
}

#[test]
fn each_part_is_a_member() {
    let subject = part("name=\"subject\"", "", "Broken\r\nin two");
    let sent = "--consentry-0|Content-Disposition: form-data; name=\"subject\"||Broken|in two|--consentry-0--|";
    assert_eq!(outcome(&whole(std::slice::from_ref(&subject)), "case+"), sent);
    assert_eq!(outcome(&whole(std::slice::from_ref(&subject)), "case-file+"), "403 subject");
    let nested = part("name=\"meta[a][b]\"", "Content-Type: text/plain; charset=UTF-8\r\n", "x");
    let sent = "--consentry-0|Content-Disposition: form-data; name=\"meta[a][b]\"||x|--consentry-0--|";
    assert_eq!(outcome(&whole(&[nested]), "case+"), sent);
    assert_eq!(outcome("--b--", "case+"), "--consentry-0--|");
    assert_eq!(outcome(&whole(&[part("name=role", "", "admin"), subject]), "case+"), "403 role");
    assert_eq!(outcome(&whole(&[part("name=_method", "", "delete")]), "case+"), "403 _method");
}

#[test]
fn a_file_is_judged_with_its_name_by_the_category_of_its_member() {
    let file = part("name=\"attachment\"; filename=\"Zürich 1.pdf\"", "content-type: Application/PDF\r\n", "%PDF\0\u{1}--b not");
    let body = whole(std::slice::from_ref(&file)).replace("--b not", "-b not");
    let sent = "--consentry-0|Content-Disposition: form-data; name=\"attachment\"; filename=\"Zürich 1.pdf\"|Content-Type: application/pdf||%PDF\0\u{1}-b not|--consentry-0--|";
    assert_eq!(outcome(&body, "case-file+"), sent);
    assert_eq!(outcome(&body, "case+"), "403 attachment");
    assert_eq!(outcome(&body.replace("\"attachment\"", "\"other\""), "case-file+"), "403 other");
    assert_eq!(outcome(&body.replace("\"attachment\"", "\"attachment[x]\""), "case-file+"), "403 attachment");
    let two = [part("name=\"files[]\"; filename=a", "", "1"), part("name=\"files[]\"; filename=b", "", "2")];
    assert_eq!(outcome(&whole(&two), "case-file+").matches("name=\"files[]\"; filename=\"").count(), 2);
    // What is no text would be read from a file all the same.
    assert_eq!(outcome(&whole(&[part("name=phone; filename=f", "", "****1234")]), "contact+"), "409 phone");
    let reference = read_as(MULTIPART, &plan(ticket(), false), whole(&[part("name=requester; filename=f", "", "c1")]).as_bytes()).unwrap();
    assert_eq!(reference.references()[0].id, "c1");
    let binary = [b"--b\r\nContent-Disposition: form-data; name=requester; filename=f\r\n\r\n\xff\r\n--b--".as_slice()].concat();
    assert_eq!(error(&binary), BodyError::Json(Unreadable::Id));
    // No file chosen is nothing written, and would wipe the one that is there.
    let write = Write { plan: plan(ticket(), false), readable: "", effect: Effect::Change };
    let none = whole(&[part("name=attachment; filename=\"\"", "Content-Type: application/octet-stream\r\n", "")]);
    assert_eq!(write.outcome(MULTIPART, &none, "case-file+"), "409 attachment");
}

#[test]
fn bytes_of_a_file_go_through_as_they_are() {
    let content: Vec<u8> = (0..=255).chain([b'\r', b'\n', b'-', b'-']).cycle().take(4096).collect();
    let body = [b"--b\r\nContent-Disposition: form-data; name=attachment; filename=f\r\n\r\n".as_slice(), &content, b"\r\n--b--"].concat();
    let written = read_as(MULTIPART, &plan(ticket(), false), &body).unwrap();
    let writable = written.judge(&verdicts("case-file+"), &verdicts(""), Effect::New).unwrap();
    assert_eq!(writable.content_type(), "multipart/form-data; boundary=consentry-0");
    let sent = writable.into_bytes();
    let expected = [
        b"--consentry-0\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"f\"\r\n\r\n".as_slice(),
        &content,
        b"\r\n--consentry-0--\r\n",
    ];
    assert_eq!(sent, expected.concat());
}

#[test]
fn the_boundary_stands_between_parts_and_nowhere_else() {
    let one = part("name=subject", "", "x");
    let body = whole(std::slice::from_ref(&one));
    let cases = [
        (String::new(), PartError::Begin),
        ("x".to_owned(), PartError::Begin),
        (format!("preamble\r\n{body}"), PartError::Begin),
        (format!("\r\n{body}"), PartError::Begin),
        (body.replacen("--b", "-b", 1), PartError::Begin),
        (format!("{body}epilogue"), PartError::End { at: body.len() - 2 }),
        (format!("{body}\r\n"), PartError::End { at: body.len() - 2 }),
        (format!("{body}{body}"), PartError::End { at: body.len() - 2 }),
        (one.clone(), PartError::End { at: one.len() }),
        (format!("{one}--b"), PartError::Boundary { at: one.len() }),
        (format!("{one}--b \r\n"), PartError::Boundary { at: one.len() }),
        (format!("{one}--b\n"), PartError::Boundary { at: one.len() }),
        (format!("{one}--bc--"), PartError::Boundary { at: one.len() }),
        ("--b\r\n--b--".to_owned(), PartError::Boundary { at: 5 }),
        (body.replace("x\r\n", "x\n"), PartError::Boundary { at: one.len() - 1 }),
        (body.replace("x\r\n", "x --b y\r\n"), PartError::Boundary { at: one.len() - 1 }),
    ];
    for (body, expected) in cases {
        assert_eq!(error(body.as_bytes()), BodyError::Part(expected), "{body:?}");
    }
    assert!(read_as(MULTIPART, &plan(ticket(), false), body.trim_end().as_bytes()).is_ok());
}

#[test]
fn headers_of_parts_are_few_and_read_in_one_way() {
    let headers = |headers: &str| error(format!("--b\r\n{headers}\r\nx\r\n--b--").as_bytes());
    let good = "Content-Disposition: form-data; name=subject\r\n";
    for bad in [
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Encoding: gzip\r\n",
        "X-Anything: 1\r\n",
        "Content-Disposition: form-data; name=id\r\n",
        "Content-Type: text/plain\r\nContent-Type: text/plain\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: 01\r\n",
        "Content-Type : text/plain\r\n",
        " folded\r\n",
        "Content-Type: text/plain\n\r\n",
        "Content-Type: text/\0plain\r\n",
        "no header\r\n",
    ] {
        assert_eq!(headers(&format!("{good}{bad}")), BodyError::Part(PartError::Header { at: 5 }), "{bad:?}");
    }
    let unended = error(b"--b\r\nContent-Disposition: form-data; name=subject\r\n--b--");
    assert_eq!(unended, BodyError::Part(PartError::Header { at: 5 }));
    for bad in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Disposition: form-data\r\n",
        "Content-Disposition: form-data;\r\n",
        "Content-Disposition: attachment; name=subject\r\n",
        "Content-Disposition: form-data; filename=f\r\n",
        "Content-Disposition: form-data; name=subject; name=id\r\n",
        "Content-Disposition: form-data; name=subject; NAME=id\r\n",
        "Content-Disposition: form-data; name=subject; filename=a; filename=b\r\n",
        "Content-Disposition: form-data; name=subject; filename*=UTF-8''a\r\n",
        "Content-Disposition: form-data; name=subject; size=1\r\n",
        "Content-Disposition: form-data; name=\"sub\\\"ject\"\r\n",
        "Content-Disposition: form-data; name=\"subject\r\n",
        "Content-Disposition: form-data; name=\"subject\" x\r\n",
        "Content-Disposition: form-data; name=subject; filename=\"a\\\\b\"\r\n",
        "Content-Disposition: form-data; name=subject; filename=\"../b\"\r\n",
        "Content-Disposition: form-data; name=subject; filename=\"..\"\r\n",
    ] {
        assert_eq!(headers(bad), BodyError::Part(PartError::Disposition { at: 5 }), "{bad:?}");
    }
    for bad in [
        "Content-Type: multipart/mixed; boundary=c\r\n",
        "Content-Type: multipart/mixed\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: application/json\r\n",
        "Content-Type: text/html\r\n",
        "Content-Type: text/plain; charset=utf-16\r\n",
        "Content-Type: text/plain; charset=utf-8; charset=utf-8\r\n",
        "Content-Type: text\r\n",
    ] {
        assert_eq!(headers(&format!("{good}{bad}")), BodyError::Part(PartError::Type { at: 5 }), "{bad:?}");
    }
    let file = "Content-Disposition: form-data; name=attachment; filename=f\r\n";
    for bad in ["Content-Type: multipart/mixed; boundary=c\r\n", "Content-Type: message/rfc822\r\n", "Content-Type: text/csv; charset=latin1\r\n"] {
        assert_eq!(headers(&format!("{file}{bad}")), BodyError::Part(PartError::Type { at: 5 }), "{bad:?}");
    }
    assert_eq!(error(b"--b\r\nContent-Disposition: form-data; name=subject\r\n\r\n\xff\r\n--b--"), BodyError::Part(PartError::NotUtf8 { at: 5 }));
    assert!(read_as(MULTIPART, &plan(ticket(), false), format!("--b\r\n{good}Content-Length: 1\r\n\r\nx\r\n--b--").as_bytes()).is_ok());
}

#[test]
fn names_of_parts_are_those_of_forms() {
    let names = |names: &[&str]| {
        let parts: Vec<String> = names.iter().map(|name| part(&format!("name=\"{name}\""), "", "x")).collect();
        error(whole(&parts).as_bytes())
    };
    assert_eq!(names(&["subject", "subject"]), BodyError::Field(FieldError::Repeated));
    assert_eq!(names(&["subject", "Subject"]), BodyError::Field(FieldError::Repeated));
    assert_eq!(names(&["subject", "subject[]"]), BodyError::Field(FieldError::Repeated));
    assert_eq!(names(&["meta.a"]), BodyError::Field(FieldError::Name));
    assert_eq!(names(&["subject%0D"]), BodyError::Field(FieldError::Name));
    assert_eq!(names(&["meta[a"]), BodyError::Field(FieldError::Brackets));
    assert_eq!(names(&[""]), BodyError::Field(FieldError::NoName));
}

proptest::proptest! {
    /// Pieces of such bodies, whole and torn: nothing panics, and what is taken reads the same when it is sent.
    #[test]
    fn whatever_is_taken_for_parts_is_sent_as_what_was_judged(pieces in proptest::collection::vec(piece(), 0..10), ended in proptest::prelude::any::<bool>()) {
        let body = format!("--b\r\n{}{}", pieces.concat(), if ended { "\r\n--b--" } else { "" });
        let all = shape("all", &[], &[], &[("**", "case"), ("f", "case")]);
        if let Ok(written) = read_as(MULTIPART, &plan(all.clone(), false), body.as_bytes())
            && let Ok(writable) = written.judge(&verdicts("case+"), &verdicts(""), Effect::New)
        {
            let boundary = writable.content_type().split_once('=').unwrap().1.to_owned();
            let body_type = crate::model::BodyType::parse(MULTIPART).unwrap();
            let again = crate::filter::read_write(&writable.into_bytes(), &body_type, Some(&boundary), &plan(all, false), &LIMITS).unwrap();
            proptest::prop_assert_eq!(again.members(), written.members(), "{}", body);
        }
    }
}

fn piece() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "Content-Disposition: form-data; name=a\r\n\r\n",
        "Content-Disposition: form-data; name=\"a[b]\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"c\"; filename=\"x; y\"\r\nContent-Type: image/png\r\n\r\n",
        "Content-Disposition: form-data; name=d\r\n",
        "Content-Type: text/plain\r\n",
        "\r\n--b\r\n",
        "--consentry-0\r\n",
        "\r\n--consentry-0--\r\n",
        "\r\n",
        "--b",
        "x",
        "-",
    ])
}
