//! What is JSON: the `JSONTestSuite` corpus where it is present, and serde_json as the reference on random text.

use base64::Engine as _;
use proptest::prelude::*;

use crate::filter::json::{Sender, Unreadable, parse};
use crate::filter::tests::LIMITS;
use crate::filter::{Limits, find_id};
use crate::model::PathPattern;

fn read(body: &[u8]) -> Result<(), Unreadable> {
    parse(body, &LIMITS, Sender::Upstream).map(|_value| ())
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn the_json_test_suite_is_accepted_and_refused_as_it_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpora/json/jsontestsuite.json");
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("note: the JSONTestSuite corpus is not here; skipped");
        return;
    };
    let suite: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut checked = (0, 0);
    for (name, encoded) in suite["files"].as_object().unwrap() {
        let body = base64::engine::general_purpose::STANDARD.decode(encoded.as_str().unwrap()).unwrap();
        let outcome = read(&body);
        let stem = name.rsplit('/').next().unwrap();
        if stem.contains("duplicated_key") || stem.starts_with("object_same_key") {
            assert!(matches!(outcome, Err(Unreadable::DuplicateName { .. })), "{name}: {outcome:?}");
        } else if stem.starts_with("y_") {
            assert_eq!(outcome, Ok(()), "{name}");
            checked.0 += 1;
        } else if stem.starts_with("n_") {
            assert!(outcome.is_err(), "{name} was accepted");
            checked.1 += 1;
        } else if stem.starts_with("i_") {
            // Whatever is left open: only numbers out of a float's range pass, since their text is kept and never computed with.
            assert_eq!(outcome.is_ok(), stem.starts_with("i_number"), "{name}: {outcome:?}");
        }
    }
    assert_eq!(checked, (93, 188));
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(read(nested(128).as_bytes()), Ok(()));
    assert_eq!(read(nested(129).as_bytes()), Err(Unreadable::TooDeep { max: 128 }));
    assert_eq!(read("{\"a\":".repeat(100_000).as_bytes()), Err(Unreadable::TooDeep { max: 128 }));
    let limits = Limits { body_bytes_max: 4, depth_max: 60_000 };
    let parse = |text: &str| parse(text.as_bytes(), &limits, Sender::Upstream).map(|_value| ());
    assert_eq!(parse("1234"), Ok(()));
    assert_eq!(parse("12345"), Err(Unreadable::TooLarge { max: 4 }));
    let wide = Limits { body_bytes_max: 1 << 20, depth_max: u16::MAX };
    assert_eq!(find_id(&nested(129).into_bytes().into(), &PathPattern::default(), &wide, Sender::Caller), Err(Unreadable::TooDeep { max: 128 }));
}

#[test]
fn what_ends_or_spoils_a_string_is_found_wherever_it_stands() {
    for before in 0..40 {
        for filling in ["a", "\u{7f}", "é", "\u{10ffff}"] {
            let text = filling.repeat(before);
            for spoilt in 0..=0x1f_u8 {
                let body = format!("\"{text}{}bcdefghijk\"", char::from(spoilt));
                assert_eq!(read(body.as_bytes()), Err(Unreadable::Syntax { at: 1 + text.len() }), "{before} {filling:?} {spoilt}");
            }
            assert_eq!(read(format!("[\"{text}\",\"{text}\\n{text}\",0]").as_bytes()), Ok(()));
            assert_eq!(read(format!("\"{text}\\\"").as_bytes()), Err(Unreadable::Syntax { at: 3 + text.len() }));
        }
    }
}

#[test]
fn equal_names_are_found_among_few_and_many_and_however_they_are_written() {
    for count in [2, 5, 16, 17, 40, 300] {
        let object = |twice: &str| {
            let members: Vec<String> = (0..count - 1).map(|n| format!("\"member{n}\":{{\"member{n}\":[]}}")).collect();
            format!("{{{},{twice}:0}}", members.join(","))
        };
        assert_eq!(read(object("\"other\"").as_bytes()), Ok(()), "{count}");
        for twice in ["\"member0\"", "\"m\\u0065mber0\""] {
            let body = object(twice);
            assert_eq!(read(body.as_bytes()), Err(Unreadable::DuplicateName { at: body.len() }), "{count} {twice}");
        }
        let folded = object("\"MEMBER0\"");
        assert_eq!(read(folded.as_bytes()), Ok(()), "an upstream may tell them apart");
        assert!(parse(folded.as_bytes(), &LIMITS, Sender::Caller).is_err(), "a caller may not");
    }
}

/// What serde_json says, apart from what this reader adds: unique names.
fn serde_accepts(text: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => true,
        // A number that no float holds is still JSON.
        Err(error) if error.to_string().starts_with("number out of range") => serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
        Err(_) => false,
    }
}

fn jsonish() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        8 => prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "0", "1", "-", ".", "e", "+", " ", "\n"]),
        3 => prop::sample::select(vec!["null", "true", "false", "\"\\u00e9\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "\"\\n\"", "\"\\x\"", "\"\u{e9}\"", "\"\\u12\""]),
        2 => prop::sample::select(vec!["{\"a\":1}", "[1,2]", "{}", "[]", "1e9", "-0.5", "01", "1e400", "\"", "\\", "\t", "\u{7f}", "\u{1}", "\u{a0}", "nul"]),
    ];
    prop::collection::vec(pieces, 1..9).prop_map(|v| v.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn this_reader_and_serde_json_agree_on_what_is_json(text in jsonish()) {
        match read(text.as_bytes()) {
            Err(Unreadable::DuplicateName { .. }) => {}
            outcome => prop_assert_eq!(outcome.is_ok(), serde_accepts(&text), "{} -> {:?}", text, outcome),
        }
    }

    #[test]
    fn no_bytes_make_this_reader_panic(body in prop::collection::vec(any::<u8>(), 0..40)) {
        let accepted = read(&body).is_ok();
        let text = std::str::from_utf8(&body);
        prop_assert_eq!(accepted, text.is_ok_and(serde_accepts));
    }
}
