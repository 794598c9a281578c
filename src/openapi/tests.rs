//! Documents as they come, and as somebody might send them who wants this to hang, to run out of memory or to read two things in one.

use super::{BadDocument, Document, Members, Responds, What};

/// A document with one answer.
fn document(schema: &str, components: &str) -> String {
    format!(
        r##"{{"openapi": "3.1.0", "paths": {{"/x": {{"get": {{"responses": {{"200": {{"content": {{"application/json": {{"schema": {schema}}}}}}}}}}}}}}},
        "components": {{"schemas": {{{components}}}}}}}"##
    )
}

fn members(text: &str) -> Result<Vec<String>, Vec<BadDocument>> {
    let document = Document::read(text.as_bytes()).map_err(|bad| vec![bad])?;
    let mut paths = Vec::new();
    for operation in document.operations() {
        if let Responds::Json(body) = &operation.responds {
            let Members(found) = document.members(&body.schema, &body.pointer);
            paths.extend(found.iter().map(|m| m.path.to_string()));
        }
    }
    document.finish().map(|_left_out| paths)
}

#[test]
fn a_body_has_the_members_of_all_its_schemas() {
    for (schema, components, expected) in [
        (r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"object","properties":{"c":{"type":"integer"}}}}}"#, "", "a,b.c"),
        (r##"{"$ref":"#/components/schemas/A"}"##, r#""A":{"properties":{"a":{"type":"string"}}}"#, "a"),
        (r#"{"allOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"b":{"type":"string"}}},{"required":["a"]}]}"#, "", "a,b"),
        (r#"{"oneOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"a":{"type":"string"},"b":{"type":"string"}}}]}"#, "", "a,b"),
        (r#"{"properties":{"a":{"anyOf":[{"type":"string"},{"properties":{"b":{"type":"string"}}},{"type":"null"}]}}}"#, "", "a,a.b"),
        (r#"{"type":"array","items":{"properties":{"a":{"type":"array","items":{"type":"string"}}}}}"#, "", "[].a[]"),
        (r#"{"properties":{"a":{"type":"array","prefixItems":[{"type":"string"},{"properties":{"b":{"type":"string"}}}]}}}"#, "", "a[0],a[1].b"),
        (r#"{"properties":{"a":{"type":"object","additionalProperties":{"type":"string"}},"b":{"type":"object"},"c":{}}}"#, "", "a.**,b.**,c.**"),
        (r#"{"properties":{"a":{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":false}}}"#, "", "a.b"),
        (r#"{"properties":{"a":true,"b":false}}"#, "", "a.**"),
        (
            r#"{"properties":{"if":{"type":"string"}},"if":{"properties":{"x":{"const":1}}},"then":{"properties":{"b":{"type":"string"}}}}"#,
            "",
            "b,if",
        ),
        (r#"{"properties":{"@odata.count":{"type":"integer"},"a b":{"type":"string"}}}"#, "", r#""@odata.count",a b"#),
        // A schema that leads back into itself.
        (
            r##"{"$ref":"#/components/schemas/A"}"##,
            r##""A":{"properties":{"a":{"type":"string"},"next":{"$ref":"#/components/schemas/A"}}}"##,
            "a,next.**",
        ),
        (
            r##"{"$ref":"#/components/schemas/A"}"##,
            r##""A":{"properties":{"b":{"$ref":"#/components/schemas/B"}}},"B":{"properties":{"all":{"type":"array","items":{"$ref":"#/components/schemas/A"}}}}"##,
            "b.all[].**",
        ),
    ] {
        assert_eq!(members(&document(schema, components)).unwrap(), expected.split(',').collect::<Vec<_>>(), "{schema}");
    }
}

#[test]
fn references_lead_within_the_document_or_nowhere() {
    for (schema, said) in [
        (r#"{"$ref":"other.yaml#/A"}"#, "`other.yaml#/A` lies outside this document"),
        (r#"{"$ref":"https://example.com/a.json"}"#, "lies outside this document"),
        (r#"{"$ref":"file:///etc/passwd"}"#, "lies outside this document"),
        (r##"{"$ref":"#/components/schemas/None"}"##, "`#/components/schemas/None` does not exist"),
        (r##"{"$ref":"#/components/schemas/A/properties/9"}"##, "does not exist"),
        (r##"{"properties":{"a":{"$ref":7}}}"##, "does not exist"),
    ] {
        let bad = members(&document(schema, r#""A":{"properties":{"a":{"type":"string"}}}"#)).unwrap_err();
        assert!(bad.iter().any(|b| b.to_string().contains(said)), "{schema}: {bad:?}");
    }
    // All of them in one run, each with its place.
    let both = document(r#"{"properties":{"a":{"$ref":"x.json"},"b":{"$ref":"y.json"}}}"#, "");
    assert_eq!(members(&both).unwrap_err().len(), 2);
    let bad = members(r##"{"openapi":"3.0.0","paths":{"/x":{"$ref":"#/paths/~1y"},"/y":{"$ref":"#/paths/~1x"}}}"##).unwrap_err();
    assert!(bad.iter().all(|b| matches!(b, BadDocument::Circle { .. })), "{bad:?}");
    // An encoded pointer.
    let spaced = document(r##"{"$ref":"#/components/schemas/A%20B"}"##, r#""A B":{"properties":{"a":{"type":"string"}}}"#);
    assert_eq!(members(&spaced).unwrap(), ["a"]);
}

#[test]
fn a_schema_of_only_a_reference_to_itself_ends() {
    let circle = document(r##"{"$ref":"#/components/schemas/A"}"##, r##""A":{"$ref":"#/components/schemas/A"}"##);
    assert_eq!(members(&circle).unwrap(), ["**"]);
    let two = document(
        r##"{"properties":{"x":{"$ref":"#/components/schemas/A"}}}"##,
        r##""A":{"allOf":[{"$ref":"#/components/schemas/B"}]},"B":{"$ref":"#/components/schemas/A"}"##,
    );
    assert_eq!(members(&two).unwrap(), ["x.**"]);
}

/// Each schema holds ten times the next: written out it would be a billion members.
#[test]
fn schemas_that_multiply_are_cut_short_with_an_open_end_or_refused() {
    let mut components = String::new();
    for n in 0..12 {
        let next = if n == 11 { r#"{"type":"string"}"#.to_owned() } else { format!(r##"{{"$ref":"#/components/schemas/S{}"}}"##, n + 1) };
        let properties: Vec<String> = (0..10).map(|m| format!(r#""m{m}":{next}"#)).collect();
        let more = format!(r#"{}"S{n}":{{"properties":{{{}}}}}"#, if n > 0 { "," } else { "" }, properties.join(","));
        components.push_str(&more);
    }
    let paths = members(&document(r##"{"$ref":"#/components/schemas/S0"}"##, &components)).unwrap();
    assert_eq!(paths.len(), 1_000);
    assert!(paths.iter().all(|path| path.ends_with(".**")), "{:?}", paths.first());
    // The same by combination: nothing but looks.
    let mut components = String::new();
    for n in 0..24 {
        let parts: Vec<String> = (0..4).map(|_| format!(r##"{{"$ref":"#/components/schemas/S{}"}}"##, n + 1)).collect();
        let more = format!(r#""S{n}":{{"allOf":[{}]}},"#, parts.join(","));
        components.push_str(&more);
    }
    components.push_str(r#""S24":{"properties":{"a":{"type":"string"}}}"#);
    let bad = members(&document(r##"{"$ref":"#/components/schemas/S0"}"##, &components)).unwrap_err();
    assert!(bad.iter().any(|b| matches!(b, BadDocument::TooMuch { .. })), "{bad:?}");
    let wide: Vec<String> = (0..5_000).map(|n| format!(r#""m{n}":{{"type":"string"}}"#)).collect();
    let bad = members(&document(&format!(r#"{{"properties":{{{}}}}}"#, wide.join(",")), "")).unwrap_err();
    assert!(bad.iter().any(|b| b.to_string().contains("too many members")), "{bad:?}");
}

#[test]
fn what_is_no_document_is_refused_with_a_sentence() {
    let nested = format!("openapi: 3.0.0\nx: {}{}\n", "[".repeat(200), "]".repeat(200));
    let deep_json = format!(r#"{{"openapi":"3.0.0","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let aliases = format!("openapi: 3.0.0\na: &a 1\nb: [{}]\n", vec!["*a"; 10_001].join(", "));
    for (text, said) in [
        ("", "the document is empty"),
        ("{}", "`openapi` is missing"),
        ("just text", "`openapi` is missing"),
        ("swagger: '2.0'\npaths: {}\n", "Swagger 2.0"),
        ("openapi: 4.0.0\n", "version 4.0.0 of OpenAPI is not known"),
        ("openapi: 3.10.0\n", "version 3.10.0"),
        ("openapi: 3.0.0\npaths: {}\npaths: {}\n", "line 3: the member `paths` stands there twice"),
        (r#"{"openapi":"3.0.0","paths":{"/a":{},"/a":{}}}"#, "the member `/a` stands there twice"),
        (r#"{"openapi":"3.0.0"} trailing"#, "this is not JSON"),
        ("openapi: 3.0.0\n---\nopenapi: 3.0.0\n", "a second document begins here"),
        ("openapi: 3.0.0\nx: !!python/object:os.system [ls]\n", "tag"),
        ("openapi: 3.0.0\nx: !secret y\n", "tag"),
        ("openapi: 3.0.0\nx: &a [1]\ny: {<<: *a}\n", "`<<` is of YAML 1.1"),
        ("openapi: 3.0.0\n? [a, b]\n: c\n", "where a name should"),
        ("openapi: 3.0.0\nx: &a [*a]\n", "this alias stands within what it repeats"),
        ("openapi: 3.0.0\nx: *nobody\n", "this is not YAML"),
        ("openapi: \"3.0.0\nx: [", "this is not YAML"),
        (&nested, "nested more than 128 deep"),
        (&deep_json, "this is not JSON"),
        (&aliases, "more than 10000 aliases"),
    ] {
        let bad = Document::read(text.as_bytes()).unwrap_err().to_string();
        assert!(bad.contains(said), "{:.60}: {bad}", text);
    }
    assert_eq!(Document::read(b"openapi: 3.0.0\nx: \xff\n").unwrap_err(), BadDocument::NotUtf8);
    assert_eq!(Document::read(&[0xfe, 0xff, 0, b'{']).unwrap_err(), BadDocument::NotUtf8);
}

/// A few lines that stand for a billion values: refused, and quickly.
#[test]
fn aliases_do_not_multiply() {
    let mut text = "openapi: 3.0.0\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let more = format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
        text.push_str(&more);
    }
    let bad = Document::read(text.as_bytes()).unwrap_err().to_string();
    assert!(bad.contains("stands for more than"), "{bad}");
    // Depth by aliases counts, too.
    let mut text = "openapi: 3.0.0\na0: &a0 [x]\n".to_owned();
    for n in 1..200 {
        let more = format!("a{n}: &a{n} [*a{}]\n", n - 1);
        text.push_str(&more);
    }
    assert!(Document::read(text.as_bytes()).unwrap_err().to_string().contains("nested more than"));
    // What people write is read.
    let text = "openapi: 3.0.0\npaths: {}\nx-a: &a {type: string}\nx-b: [*a, *a]\n";
    assert_eq!(Document::read(text.as_bytes()).unwrap().root().at("/x-b/1/type").unwrap().text(), Some("string"));
}

#[test]
fn yaml_says_what_json_says() {
    let yaml = "\u{feff}openapi: 3.0.3\npaths:\n  /x:\n    get:\n      responses:\n        200:\n          content:\n            application/json:\n              schema: {type: object, properties: {'yes': {type: string}, n: {type: integer}}}\n";
    assert_eq!(members(yaml).unwrap(), ["yes", "n"]);
    let document = Document::read(b"openapi: 3.0.0\na: 007\nb: '007'\nc: ~\nd: no\ne: 1e3\nf: .inf\n").unwrap();
    let text = |name: &str| document.root().get(name).unwrap().scalar();
    assert_eq!(
        (text("a").as_deref(), text("b").as_deref(), text("d").as_deref(), text("f").as_deref()),
        (Some("007"), Some("007"), Some("no"), Some(".inf"))
    );
    assert!(text("c").is_none());
}

#[test]
fn marks_hold_for_what_stands_below_and_the_place_of_use_goes_first() {
    let text = document(
        r##"{"properties":{
            "home":{"$ref":"#/components/schemas/Address","x-consentry-category":"contact"},
            "work":{"$ref":"#/components/schemas/Address"},
            "both":{"allOf":[{"properties":{"a":{"type":"string","x-consentry-category":"one"}}},{"properties":{"a":{"type":"string","x-consentry-category":"two"}}}]}}}"##,
        r#""Address":{"x-consentry-category":"billing","properties":{"street":{"type":"string"},"note":{"type":"string","x-consentry-category":"case","x-consentry-on-deny":"null"}}}"#,
    );
    let document = Document::read(text.as_bytes()).unwrap();
    let operations = document.operations();
    let Responds::Json(body) = &operations[0].responds else { panic!("{operations:?}") };
    let found = document.members(&body.schema, &body.pointer).0;
    let said: Vec<(String, Option<&str>, bool)> = found.iter().map(|m| (m.path.to_string(), m.category.as_deref(), m.contradicted)).collect();
    let expected = [
        ("home.street", Some("contact"), false),
        ("home.note", Some("case"), false),
        ("work.street", Some("billing"), false),
        ("work.note", Some("case"), false),
        ("both.a", None, true),
    ];
    assert_eq!(said, expected.map(|(path, category, contradicted)| (path.to_owned(), category, contradicted)));
    assert!(matches!(found[0].what, What::Value(_)));
}

#[test]
fn damaged_documents_are_refused_or_read_and_never_a_panic() {
    let whole = include_str!("../../tests/fixtures/openapi/northwind-crm.yaml");
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config { cases: 96, ..Default::default() });
    let strategy = (proptest::prelude::any::<proptest::sample::Index>(), 1..300_usize, "[\\[\\]{}:&*!|>'\"a-z0-9$#/.\n -]{0,8}");
    let ran = runner.run(&strategy, |(start, length, inserted)| {
        let chars: Vec<char> = whole.chars().collect();
        let start = start.index(chars.len());
        let end = (start + length).min(chars.len());
        let damaged: String = chars[..start].iter().copied().chain(inserted.chars()).chain(chars[end..].iter().copied()).collect();
        drop(members(&damaged));
        Ok(())
    });
    ran.unwrap();
}
