//! One event in every format, and whatever texts it holds.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::event::IN_ORDER;
use super::*;
use crate::audit::gathered::{Found, Relied};
use crate::model::EventFormat as Format;

fn relied(category: &str, release: &str, why: &str) -> Relied {
    Relied {
        category: category.to_owned(),
        release: release.to_owned(),
        why: why.to_owned(),
        basis: "consent".to_owned(),
        activity: Some(("sales-outreach".to_owned(), 3)),
        status: if why == "permitted" { "given" } else { "withdrawn" }.to_owned(),
        rule: Some("customer-last-word/v1".to_owned()),
        conflict: false,
        policies: vec![if why == "permitted" { "share-with-consent" } else { "behaviour-stays" }.to_owned()],
        event: Some("ev_1".to_owned()),
        overridden: Vec::new(),
    }
}

fn found() -> Found {
    Found {
        index: 88_120,
        decision: "gw-1.example.com#88120".to_owned(),
        at: "2026-07-24T10:02:15.123456Z".parse().unwrap(),
        app: "crm".to_owned(),
        department: "sales".to_owned(),
        actor: Some("e_5b21".to_owned()),
        agent: None,
        operator: None,
        model: None,
        task: None,
        behalf: None,
        grant: None,
        justification: None,
        action: "read".to_owned(),
        api: "crm".to_owned(),
        route: "GET /customers/{id}".to_owned(),
        purpose: Some("sales.outreach".to_owned()),
        policy_set: "3f9a21".to_owned(),
        generation: 7,
        consent_revision: 19,
        outcome: "redact".to_owned(),
        status: Some(200),
        code: None,
        released: vec!["contact".to_owned(), "identity".to_owned()],
        reduced: Vec::new(),
        disclosed: vec!["contact".to_owned(), "identity".to_owned()],
        relied: vec![relied("behaviour", "withheld", "forbidden"), relied("contact", "full", "permitted"), relied("identity", "full", "permitted")],
        policies: vec!["behaviour-stays".to_owned(), "share-with-consent".to_owned()],
        withheld: vec!["score".to_owned()],
        parties: 1,
        unknown: 0,
        rows: 1,
        dropped: 0,
        bytes: Some(512),
        unresolved: false,
        complete: Some(true),
        entries: vec![88_120, 88_123],
    }
}

fn decided(found: Found) -> Event {
    let (index, at) = (found.index, found.at);
    let decided = Decided {
        found,
        entries_total: 2,
        parties: vec![44],
        rid: Some(17),
        trace_id: Some("ab".repeat(16)),
        latency_us: Some(900),
        is_abridged: false,
    };
    Event { origin: "gw-1.example.com".into(), index, at, what: What::Decision(Box::new(decided)) }
}

fn denied() -> Event {
    let denial = Found {
        outcome: "deny".to_owned(),
        status: Some(403),
        code: Some("denied".to_owned()),
        released: Vec::new(),
        disclosed: Vec::new(),
        relied: vec![relied("contact", "withheld", "stop:restriction")],
        bytes: None,
        complete: None,
        ..found()
    };
    decided(denial)
}

fn other(kind: &str, entry: Value) -> Event {
    let at = "2026-07-24T10:02:15.123456Z".parse().unwrap();
    Event { origin: "gw-1.example.com".into(), index: 7, at, what: What::Entry(Other { kind: kind.to_owned(), entry }) }
}

fn admin() -> Event {
    other(
        "admin",
        json!({"v": 1, "kind": "admin", "t": 0, "actor": "s_1", "role": "consent-desk", "operation": "consents.record", "party": 44, "revision": 20, "status": 201}),
    )
}

/// One of each kind.
fn all() -> Vec<Event> {
    let unresolved = Found { unresolved: true, status: None, bytes: None, complete: None, ..found() };
    let mut events = vec![decided(found()), denied(), decided(unresolved), admin()];
    for outcome in ["permit", "filter", "error", "unenforced"] {
        events.push(decided(Found { outcome: outcome.to_owned(), ..found() }));
    }
    for action in ["create", "update", "delete", "export", "read-reduced"] {
        events.push(decided(Found { action: action.to_owned(), grant: Some("bg_1".to_owned()), actor: None, relied: Vec::new(), ..found() }));
    }
    for (kind, entry) in [
        ("query", json!({"actor": "s_1", "role": "auditor", "operation": "decisions.search", "found": 3})),
        ("start", json!({"clean": false, "origin": "gw-1.example.com", "software": "consentry/0.1.0", "torn_bytes": 0})),
        ("stop", json!({ "reason": IN_ORDER })),
        ("stop", json!({"reason": "write-failed"})),
        ("consent_changed", json!({"event": "ev_2", "party": 44, "revision": 20, "state": "withdrawn", "purpose": "sales.outreach"})),
        ("break_glass", json!({"grant": "bg_1", "step": "approved", "actor": "s_2", "party": 44, "revision": 21})),
        ("policy_rejected", json!({"findings": 2, "reason": "reload"})),
        ("rejects", json!({"code": "unauthenticated", "count": 12, "listener": "apps", "network": "192.0.2.0/24"})),
        ("clock", json!({"step_ms": -2500})),
        ("key_rotated", json!({"old_key": "gw-1.example.com+5e0a1c2b+AZ1y", "new_key": "gw-1.example.com+c1d09f31+AQj0", "reason": "lost"})),
        ("shadow", json!({"rows": [{"app": "crm", "answers": 3}], "judged": 3})),
        ("unknown", json!("no JSON at all")),
    ] {
        events.push(other(kind, entry));
    }
    events
}

#[test]
fn a_decision_in_every_format() {
    let event = decided(found());
    let line = |format: Format| record(format, &event).replace(VERSION, "VERSION");
    assert_eq!(
        line(Format::Cef),
        "CEF:0|consentry|consentry|VERSION|decision.redact|API decision: redact|1|externalId=gw-1.example.com#88120 rt=1784887335123 \
         dvchost=gw-1.example.com cat=decision msg=crm of sales: read crm GET /customers/{id} for sales.outreach: redact act=redact outcome=success \
         sourceServiceName=crm cs2Label=department cs2=sales suid=e_5b21 consentryAction=read destinationServiceName=crm request=GET /customers/{id} \
         cs1Label=purpose cs1=sales.outreach consentryOutcome=redact cs6Label=policy set cs6=3f9a21 cs4Label=released cs4=contact,identity \
         consentryDisclosed=contact,identity cs5Label=withheld cs5=score cs3Label=policies cs3=behaviour-stays,share-with-consent \
         consentryCustomers=44 cn1Label=status cn1=200 cn2Label=customers cn2=1 consentryUnknown=0 cn3Label=rows cn3=1 consentryDropped=0 out=512 \
         consentryLatencyUs=900 consentryRid=17 consentryGeneration=7 consentryConsentRevision=19 consentryEntriesTotal=2 consentryUnresolved=false \
         consentryComplete=true"
    );
    assert_eq!(
        line(Format::Leef).replace('\t', "<TAB>"),
        "LEEF:2.0|consentry|consentry|VERSION|decision.redact|x09|devTime=1784887335123<TAB>cat=decision<TAB>sev=1<TAB>\
         identHostName=gw-1.example.com<TAB>eventId=gw-1.example.com#88120<TAB>msg=crm of sales: read crm GET /customers/{id} for sales.outreach: \
         redact<TAB>app=crm<TAB>department=sales<TAB>usrName=e_5b21<TAB>action=read<TAB>api=crm<TAB>resource=GET /customers/{id}<TAB>\
         purpose=sales.outreach<TAB>outcome=redact<TAB>policySet=3f9a21<TAB>released=contact,identity<TAB>disclosed=contact,identity<TAB>\
         withheld=score<TAB>policy=behaviour-stays,share-with-consent<TAB>customers=44<TAB>status=200<TAB>parties=1<TAB>unknown=0<TAB>rows=1<TAB>\
         dropped=0<TAB>bytes=512<TAB>latencyUs=900<TAB>rid=17<TAB>generation=7<TAB>consentRevision=19<TAB>entriesTotal=2<TAB>unresolved=false<TAB>\
         complete=true"
    );
    let ndjson: Value = serde_json::from_str(&line(Format::Ndjson)).unwrap();
    assert_eq!(
        (&ndjson["id"], &ndjson["kind"], &ndjson["decision"], &ndjson["released"], &ndjson["relied"][1]["event"]),
        (&json!("gw-1.example.com#88120"), &json!("decision"), &json!("gw-1.example.com#88120"), &json!(["contact", "identity"]), &json!("ev_1"))
    );
    assert_eq!((&ndjson["parties"], &ndjson["customers"], &ndjson["latency_us"]), (&json!(1), &json!([44]), &json!(900)));
    let ocsf: Value = serde_json::from_str(&line(Format::Ocsf)).unwrap();
    for (place, value) in [
        ("/class_uid", json!(6003)),
        ("/category_uid", json!(6)),
        ("/activity_id", json!(2)),
        ("/type_uid", json!(600_302)),
        ("/type_name", json!("API Activity: Read")),
        ("/severity_id", json!(1)),
        ("/status_id", json!(1)),
        ("/action_id", json!(4)),
        ("/disposition_id", json!(99)),
        ("/time", json!(1_784_887_335_123_u64)),
        ("/metadata/uid", json!("gw-1.example.com#88120")),
        ("/metadata/version", json!("1.5.0")),
        ("/metadata/profiles", json!(["security_control", "trace"])),
        ("/trace/uid", json!("ab".repeat(16))),
        ("/actor/app_name", json!("crm")),
        ("/actor/user/uid", json!("e_5b21")),
        ("/api/operation", json!("GET /customers/{id}")),
        ("/api/response/code", json!(200)),
        ("/authorizations/0", json!({"decision": "Denied", "policy": {"name": "behaviour-stays"}})),
        ("/authorizations/1", json!({"decision": "Allowed", "policy": {"name": "share-with-consent"}})),
        ("/resources/1/name", json!("contact")),
        ("/resources/3", json!({"type": "customer", "uid": "44"})),
        ("/unmapped/purpose", json!("sales.outreach")),
    ] {
        assert_eq!(ocsf.pointer(place), Some(&value), "{place}");
    }
    let otlp: Value = serde_json::from_str(&body(Format::Otlp, "gw-1.example.com", [line(Format::Otlp).as_str(), "{}"])).unwrap();
    let logs = &otlp["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!((logs.as_array().unwrap().len(), &otlp["resourceLogs"][0]["resource"]["attributes"][0]["key"]), (2, &json!("service.name")));
    let record = &logs[0];
    assert_eq!((&record["timeUnixNano"], &record["severityNumber"]), (&json!("1784887335123456000"), &json!(9)));
    assert_eq!((&record["traceId"], &record["eventName"]), (&json!("ab".repeat(16)), &json!("consentry.decision.redact")));
    assert_eq!(record["attributes"][0], json!({"key": "log.record.uid", "value": {"stringValue": "gw-1.example.com#88120"}}));
    assert!(record["attributes"].as_array().unwrap().contains(&json!({"key": "consentry.rows", "value": {"intValue": "1"}})));
}

#[test]
fn outcomes_and_entries_have_their_numbers() {
    let ocsf = |event: &Event| serde_json::from_str::<Value>(&record(Format::Ocsf, event)).unwrap();
    let numbers = |event: &Event| {
        let document = ocsf(event);
        ["type_uid", "severity_id", "status_id", "action_id", "disposition_id"].map(|key| document[key].as_i64().unwrap_or(-1))
    };
    let seen: Vec<(String, [i64; 5])> = all().iter().map(|event| (event.name(), numbers(event))).collect();
    let expected = [
        ("decision.redact", [600_302, 1, 1, 4, 99]),
        ("decision.deny", [600_302, 2, 2, 2, 2]),
        ("decision.unresolved", [600_302, 3, 0, 0, 0]),
        ("admin", [600_399, 1, 1, -1, -1]),
        ("decision.permit", [600_302, 1, 1, 1, 1]),
        ("decision.filter", [600_302, 1, 1, 4, 99]),
        ("decision.error", [600_302, 3, 2, 2, 27]),
        ("decision.unenforced", [600_302, 2, 1, 3, 17]),
        ("decision.redact", [600_301, 3, 1, 4, 99]),
        ("decision.redact", [600_303, 3, 1, 4, 99]),
        ("decision.redact", [600_304, 3, 1, 4, 99]),
        ("decision.redact", [600_302, 3, 1, 4, 99]),
        ("decision.redact", [600_302, 3, 1, 4, 99]),
        ("query", [600_302, 1, 1, -1, -1]),
        ("start", [600_203, 2, 1, -1, -1]),
        ("stop", [600_204, 1, 1, -1, -1]),
        ("stop", [600_204, 3, 2, -1, -1]),
        ("consent_changed", [99, 1, -1, -1, -1]),
        ("break_glass", [99, 3, -1, -1, -1]),
        ("policy_rejected", [99, 2, -1, -1, -1]),
        ("rejects", [99, 2, -1, -1, -1]),
        ("clock", [99, 2, -1, -1, -1]),
        ("key_rotated", [99, 3, -1, -1, -1]),
        ("shadow", [99, 1, -1, -1, -1]),
        ("unknown", [99, 2, -1, -1, -1]),
    ];
    assert_eq!(seen, expected.map(|(name, numbers)| (name.to_owned(), numbers)));
}

/// The published schema: every attribute is known, of its type, and what is required is there.
#[test]
fn every_event_fits_the_published_ocsf_schema() {
    let schema: Value = serde_json::from_str(include_str!("ocsf-1.5.0.json")).unwrap();
    for event in all() {
        let document: Value = serde_json::from_str(&record(Format::Ocsf, &event)).unwrap();
        let class = match document["class_uid"].as_u64() {
            Some(6003) => "api_activity",
            Some(6002) => "application_lifecycle",
            _ => "base_event",
        };
        if let Err(why) = fits(&schema, &schema["classes"][class], &document) {
            panic!("{}: {why}\n{document:#}", event.name());
        }
        let caption = document["type_uid"].as_u64().unwrap() - document["class_uid"].as_u64().unwrap() * 100;
        assert_eq!(Some(caption), document["activity_id"].as_u64());
        assert_eq!(document["metadata"]["version"], schema["version"]);
    }
    // A check that takes everything would be none.
    let mut document: Value = serde_json::from_str(&record(Format::Ocsf, &denied())).unwrap();
    document["api"]["operation"] = json!(3);
    assert!(fits(&schema, &schema["classes"]["api_activity"], &document).is_err());
    document["api"] = json!({});
    assert!(fits(&schema, &schema["classes"]["api_activity"], &document).is_err());
}

fn fits(schema: &Value, of: &Value, object: &Value) -> Result<(), String> {
    let members = object.as_object().ok_or("no object")?;
    for (name, rule) in of["attributes"].as_object().ok_or("no attributes")? {
        if rule["required"] == json!(true) && !members.contains_key(name) {
            return Err(format!("`{name}` is missing"));
        }
    }
    if let Some(one) = of["at_least_one"].as_array()
        && !one.iter().any(|name| members.contains_key(name.as_str().unwrap_or_default()))
    {
        return Err(format!("none of {one:?}"));
    }
    for (name, value) in members {
        let rule = of["attributes"].get(name).ok_or_else(|| format!("`{name}` is not an attribute"))?;
        let items = if rule["array"] == json!(true) {
            value.as_array().ok_or(format!("`{name}` is no list"))?.as_slice()
        } else {
            std::slice::from_ref(value)
        };
        for item in items {
            fits_type(schema, rule, item).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    Ok(())
}

fn fits_type(schema: &Value, rule: &Value, value: &Value) -> Result<(), String> {
    if let Some(words) = rule["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{value} is not in {words:?}"));
    }
    let is = match rule["type"].as_str().unwrap_or_default() {
        "string_t" | "datetime_t" => value.is_string(),
        "integer_t" | "long_t" | "timestamp_t" => value.is_i64(),
        "boolean_t" => value.is_boolean(),
        "json_t" => true,
        "object" => value.is_object(),
        object => match schema["objects"].get(object) {
            Some(of) => return fits(schema, of, value),
            None => value.is_string() && object.ends_with("_t"),
        },
    };
    if is { Ok(()) } else { Err(format!("{value} is no {}", rule["type"])) }
}

#[test]
fn a_syslog_frame_says_its_length() {
    let event = Event { origin: "gw\u{e6} 1\n".into(), ..denied() };
    let frame = syslog_frame(&event, "CEF:0|æ");
    let (length, message) = frame.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), message.len());
    assert_eq!(message, "<109>1 2026-07-24T10:02:15.123456Z gw__1_ consentry - decision - CEF:0|æ");
}

type Pairs = Vec<(String, String)>;

/// Head and values of a CEF line, as a careful receiver reads them.
fn read_cef(line: &str) -> Option<(Vec<String>, Pairs)> {
    let (mut head, mut part, mut rest) = (Vec::new(), String::new(), line.chars());
    while head.len() < 7 {
        match rest.next()? {
            '\\' => part.push(rest.next().filter(|c| matches!(c, '\\' | '|'))?),
            '|' => head.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    // A value ends before the last word before the next `=` that is not escaped.
    let (mut values, mut key, mut text): (Pairs, Option<String>, String) = (Vec::new(), None, String::new());
    while let Some(c) = rest.next() {
        match c {
            '\\' => text.push(rest.next().filter(|c| matches!(c, '\\' | '='))?),
            '=' => {
                let (value, next) = text.rsplit_once(' ').unwrap_or(("", &text));
                let (value, next) = (value.to_owned(), next.to_owned());
                values.extend(key.replace(next).map(|key| (key, value)));
                text.clear();
            }
            c => text.push(c),
        }
    }
    values.push((key?, text));
    Some((head, values))
}

fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "|",
        "\\",
        "=",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\u{1b}[31m",
        "\u{9b}",
        "\u{2028}",
        "\u{202e}",
        "\u{feff}",
        "\"",
        "}",
        ",",
        " cs1=x",
        "+",
        "-1",
        "@SUM(A1)",
        "=cmd|' /C calc'!A0",
        "CEF:0|",
        "æ😀",
        "name",
        " ",
        "x09",
        "]",
        "'",
    ]);
    prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_name_holds_an_event_is_one_line_that_means_it(names in prop::collection::vec(hostile(), 8), deep in hostile()) {
        let [app, department, route, purpose, category, policy, path, operation] = &names[..] else { panic!("{names:?}") };
        let found = Found {
            app: app.clone(), department: department.clone(), route: route.clone(), purpose: Some(purpose.clone()), code: Some(operation.clone()),
            action: deep.clone(), released: vec![category.clone()], policies: vec![policy.clone()], withheld: vec![path.clone()],
            relied: vec![relied(category, "full", policy)], ..found()
        };
        let entry = json!({ "v": 1, "kind": deep, "operation": operation, "role": app, path.clone(): { policy.clone(): [category, 1] }, "actor": route });
        for event in [decided(found), other(department, entry.clone()), other("admin", entry), other(&deep, json!(app))] {
            for format in Format::ALL {
                let line = record(format, &event);
                prop_assert!(!line.is_empty());
                prop_assert!(!line.chars().any(|c| (c.is_control() && c != '\t') || ('\u{2028}'..='\u{202e}').contains(&c) || c == '\u{feff}'), "{line:?}");
                prop_assert!(format == Format::Leef || !line.contains('\t'), "{line:?}");
                match format {
                    Format::Ocsf | Format::Ndjson | Format::Otlp => {
                        let document: Value = serde_json::from_str(&line).unwrap();
                        prop_assert!(line.is_ascii() && document.is_object());
                        if let (Format::Ndjson, What::Decision(decided)) = (format, &event.what) {
                            prop_assert_eq!(&document["app"], &json!(decided.found.app));
                            prop_assert_eq!(&document["withheld"][0], &json!(path));
                        }
                    }
                    Format::Cef => {
                        let (head, values) = read_cef(&line).unwrap();
                        prop_assert_eq!(&head[4], &text::visible(&event.name()));
                        let value = |name: &str| values.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
                        prop_assert_eq!(value("msg").unwrap(), text::visible(&event.message()));
                        prop_assert!(values.iter().all(|(key, _)| key.bytes().all(|b| b.is_ascii_alphanumeric())), "{values:?}");
                        if let What::Decision(_) = &event.what {
                            prop_assert_eq!(value("cs1").unwrap_or_default(), text::visible(&text::no_formula(purpose)));
                        }
                    }
                    Format::Leef => {
                        let head: Vec<&str> = line.splitn(7, '|').collect();
                        let [_, _, _, _, name, delimiter, values] = head[..] else { panic!("{line}") };
                        prop_assert_eq!((name, delimiter), (&*text::visible(&event.name()).replace('|', "\\u007c"), "x09"));
                        for pair in values.split('\t') {
                            let (key, _) = pair.split_once('=').unwrap();
                            prop_assert!(!key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()), "{}", pair);
                        }
                    }
                }
                let frame = syslog_frame(&event, &line);
                let (length, message) = frame.split_once(' ').unwrap();
                prop_assert_eq!(length.parse::<usize>().unwrap(), message.len());
            }
            let body = body(Format::Otlp, "=o\n", [record(Format::Otlp, &event).as_str()]);
            prop_assert!(body.lines().count() == 1 && serde_json::from_str::<Value>(&body).is_ok());
        }
    }
}

/// Rows and row groups of a Parquet file.
fn measured(file: Vec<u8>) -> (i64, usize) {
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    let file = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
    (file.metadata().file_metadata().num_rows(), file.num_row_groups())
}

#[test]
fn every_member_of_an_event_has_a_column_and_nothing_is_left_out() {
    let events = all();
    let mut table = EventTable::new(Vec::new()).unwrap();
    for event in &events {
        table.put(event).unwrap_or_else(|error| panic!("{}: {error}", event.name()));
    }
    assert_eq!(measured(table.finish().unwrap()), (i64::try_from(events.len()).unwrap(), 1));
    let whole: Value = serde_json::from_str(&record(Format::Ndjson, &decided(found()))).unwrap();
    for (member, value, why) in [
        ("mood", json!("good"), "events have `mood`"),
        ("id", Value::Null, "has no `id`"),
        ("at", json!("yesterday"), "has no `at`"),
        ("app", json!(3), "has no `app`"),
        ("rows", json!(-1), "has no `rows`"),
        ("rows", json!(1.5), "has no `rows`"),
        ("customers", json!(["x"]), "has no `customers`"),
        ("released", json!("contact"), "has no `released`"),
        ("complete", json!("yes"), "has no `complete`"),
    ] {
        let mut other = whole.clone();
        other[member] = value;
        let refused = EventTable::new(Vec::new()).unwrap().put_document(other).unwrap_err().to_string();
        assert!(refused.contains(why), "{member}: {refused}");
    }
    assert!(EventTable::new(Vec::new()).unwrap().put_document(json!([])).is_err());
}

#[test]
fn a_table_holds_no_more_than_a_row_group() {
    let mut table = EventTable::new(Vec::new()).unwrap();
    let large = other("admin", json!({ "operation": "x".repeat(1 << 20) }));
    for _ in 0..70 {
        table.put(&large).unwrap();
    }
    assert_eq!(measured(table.finish().unwrap()), (70, 3));
    assert_eq!(measured(EventTable::new(Vec::new()).unwrap().finish().unwrap()), (0, 0));
}
