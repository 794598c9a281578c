//! Reports over a log that says what they must find.

mod pack;

use std::sync::Arc;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::report_kinds;
use crate::audit::{DecisionFacts, Entry, Group, Outcome};
use crate::console::role::AdminRole;
use crate::console::tests::{Desk, role};
use crate::model::{
    Action, ActivityKey, ApiName, Category, CategoryVerdict, Channel, Client, ConflictRule, ConsentStatus, Department, Environment, EventId,
    LawfulBasis, PartyNo, PolicyName, Purpose, Release, Revision, RouteKey, Verdicts, Why,
};

pub(in crate::console) fn facts(app: &str, department: &str) -> Arc<DecisionFacts> {
    Arc::new(DecisionFacts {
        rid: 1,
        traceparent: None,
        app: Client::intern(app),
        department: Department::intern(department),
        actor: Some("e_77".to_owned()),
        agent: None,
        action: Action::Read,
        api: ApiName::intern("crm"),
        route: RouteKey::intern("GET /customers/{id}"),
        purpose: Some(Purpose::intern("sales.outreach")),
        policy_set: "3f9a21".into(),
        policies: "81c07d".into(),
        now: Timestamp::UNIX_EPOCH,
        generation: 1,
        consent_revision: Revision(1),
        environment: Environment::Production,
        channel: Channel::System,
        gpc: false,
        roles: Vec::new(),
        mandate: None,
        grant: None,
        justification: None,
    })
}

fn group(party: u64, category: &str, release: Release, event: Option<u64>) -> Group {
    let verdict = CategoryVerdict {
        category: Category::intern(category),
        release,
        why: if release == Release::Withheld { Why::NoPermit } else { Why::Permitted },
        policies: vec![PolicyName::intern("share-with-consent")],
        basis: LawfulBasis::Consent,
        activity: Some((ActivityKey::intern("sales-outreach"), 3)),
        status: ConsentStatus::Given,
        event: event.map(EventId),
        overridden: Vec::new(),
        rule: ConflictRule::CustomerLastWord,
        conflict: false,
        grounds: None,
    };
    let outcome = if release == Release::Withheld { Outcome::Deny } else { Outcome::Permit };
    Group { parties: vec![PartyNo(party)], unknown: 0, outcome, verdicts: Arc::new(Verdicts::new(vec![verdict])), facts: None }
}

fn record(desk: &Desk, entry: Entry) -> u64 {
    desk.state.log.append(entry).unwrap().wait().unwrap().index()
}

fn read(desk: &Desk, app: &str, department: &str, group: Group) -> u64 {
    let of = record(desk, Entry::Permit { facts: facts(app, department), groups: vec![group] });
    record(desk, Entry::End { of, status: 200, bytes: 9, rows: 1, complete: true, latency_us: 9 });
    of
}

fn refuse(desk: &Desk, party: u64) -> u64 {
    let groups = vec![group(party, "health", Release::Withheld, None)];
    record(desk, Entry::Deny { facts: facts("helpdesk", "service"), of: None, status: 403, code: "denied", groups, paths: Vec::new() })
}

fn event(desk: &Desk, state: &str, hours_ago: i64) -> Value {
    let at = (desk.state.clock.now() - SignedDuration::from_hours(hours_ago)).to_string();
    let body = json!({
        "party": "crm:0044", "state": state, "purposes": ["sales.outreach"], "categories": ["contact"], "recipients": ["sales"], "event_time": at,
        "evidence": [{"kind": "letter", "reference": "scan-1"}],
    });
    let (status, answer) = desk.post(&role(AdminRole::ConsentDesk), "/v1/consents", &body);
    assert_eq!(StatusCode::CREATED, status, "{answer}");
    answer["event"].clone()
}

fn number_of(desk: &Desk, party: &str) -> u64 {
    let view = desk.state.ledger.show_party(&crate::consent::PartyRef::Identifier(crate::model::Identifier {
        space: crate::model::Space::intern("crm"),
        value: party.into(),
    }));
    view.unwrap().no.0
}

fn report(desk: &Desk, path: &str) -> Value {
    let (status, report) = desk.get(&role(AdminRole::Auditor), &format!("/v1/reports/{path}"));
    assert_eq!(StatusCode::OK, status, "{path}: {report}");
    report
}

fn rows<'a>(report: &'a Value, table: &str) -> &'a Vec<Value> {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|found| found["key"] == table).unwrap()["rows"].as_array().unwrap()
}

fn fact<'a>(report: &'a Value, label: &str) -> &'a str {
    report["facts"].as_array().unwrap().iter().find(|fact| fact["label"] == label).unwrap()["text"].as_str().unwrap()
}

fn desk() -> (Desk, u64) {
    let desk = Desk::open().with_customer();
    let number = number_of(&desk, "0044");
    (desk, number)
}

#[test]
fn every_kind_is_made_in_every_form_and_logged() {
    let (desk, number) = desk();
    let given = event(&desk, "given", 2);
    read(&desk, "crm", "sales", group(number, "contact", Release::Full, Some(1)));
    for kind in report_kinds() {
        for form in ["json", "html", "csv", "ndjson"] {
            let about = match kind {
                "subject-access" | "recipients" => "&customer=crm:0044".to_owned(),
                "consent-evidence" => format!("&event={}", given.as_str().unwrap()),
                _ => String::new(),
            };
            let path = format!("/v1/reports/{kind}?format={form}{about}");
            let before = desk.entries().len();
            let (status, headers, body) = desk.get_raw(&role(AdminRole::Auditor), &path);
            assert_eq!(StatusCode::OK, status, "{path}: {body:?}");
            let last = desk.entries().pop().unwrap();
            assert_eq!(
                (before + 1, "query", "reports.show"),
                (desk.entries().len(), last["kind"].as_str().unwrap(), last["operation"].as_str().unwrap())
            );
            if form == "html" {
                assert!(body.starts_with(b"<!doctype html>") && headers["content-security-policy"].to_str().unwrap().contains("style-src 'sha256-"));
            }
        }
    }
    for (path, status) in [
        ("/v1/reports/nothing", StatusCode::NOT_FOUND),
        ("/v1/reports/subject-access", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/reports/denies?customer=crm:0044", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/reports/consent-evidence?event=x", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/reports/consent-evidence?event=ev_999", StatusCode::NOT_FOUND),
        ("/v1/reports/denies?format=pdf", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/reports/denies?format=csv&table=x", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/reports/recipients?customer=crm:9999", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(status, desk.get(&role(AdminRole::Auditor), path).0, "{path}");
    }
    assert_eq!(StatusCode::FORBIDDEN, desk.get(&role(AdminRole::ConsentDesk), "/v1/reports/denies").0);
    assert_eq!(StatusCode::FORBIDDEN, desk.get(&role(AdminRole::PolicyAuthor), "/v1/reports/subject-access?customer=crm:0044").0);
    assert_eq!(StatusCode::OK, desk.get(&role(AdminRole::PolicyAuthor), "/v1/reports/policy-effect").0);
}

#[test]
fn refusals_are_counted_by_department_and_reason() {
    let (desk, number) = desk();
    refuse(&desk, number);
    refuse(&desk, number);
    read(&desk, "crm", "sales", group(number, "contact", Release::Full, None));
    let denies = report(&desk, "denies");
    assert_eq!(json!("2 of 3 requests were refused."), denies["lead"]);
    let [row] = rows(&denies, "denies").as_slice() else { panic!("{denies}") };
    assert_eq!(
        (&json!("service"), &json!("helpdesk"), &json!("denied"), &json!(2)),
        (&row["department"], &row["app"], &row["code"], &row["decisions"])
    );
    assert_eq!(json!("0 of 1 request were refused."), report(&desk, "denies?department=sales")["lead"]);
    assert_eq!(json!("0 of 0 requests were refused."), report(&desk, "denies?until=2020-01-01T00:00:00Z")["lead"]);
}

#[test]
fn a_breach_names_recipients_categories_and_each_customer_once() {
    let (desk, number) = desk();
    read(&desk, "crm", "sales", group(number, "contact", Release::Full, None));
    read(&desk, "crm", "sales", group(number, "contact", Release::Reduced, None));
    read(&desk, "crm", "sales", group(number + 7, "contact", Release::Full, None));
    refuse(&desk, number + 8);
    let breach = report(&desk, "breach");
    assert_eq!(json!("3 decisions about 2 customers let data go to 1 app."), breach["lead"]);
    let [row] = rows(&breach, "recipients").as_slice() else { panic!("{breach}") };
    assert_eq!((&json!("e_77"), &json!("contact"), &json!(3)), (&row["actor"], &row["category"], &row["decisions"]));
    assert_eq!(2, rows(&breach, "customers").len());
    assert_eq!(0, rows(&report(&desk, "breach?app=helpdesk"), "recipients").len());
}

#[test]
fn what_is_observed_is_held_against_what_is_declared() {
    let (desk, number) = desk();
    read(&desk, "crm", "sales", group(number, "health", Release::Full, None));
    let record = report(&desk, "processing-record");
    let [row] = rows(&record, "observed").as_slice() else { panic!("{record}") };
    assert_eq!((&json!("sales-outreach"), &json!(["health"])), (&row["activity"], &row["categories"]));
    assert!(!row["differs"].as_array().unwrap().is_empty(), "{record}");
    assert!(!rows(&record, "unseen").is_empty(), "declared activities that nobody used");
    let effect = report(&desk, "policy-effect");
    let [row] = rows(&effect, "policies").as_slice() else { panic!("{effect}") };
    assert_eq!((&json!("share-with-consent"), &json!("permit"), &json!(1)), (&row["policy"], &row["effect"], &row["decisions"]));
    assert!(rows(&effect, "unused").iter().any(|row| row["policy"] == "break-glass"), "{effect}");
}

#[test]
fn a_withdrawal_shows_who_is_to_be_told_and_what_went_out_afterwards() {
    let (desk, number) = desk();
    event(&desk, "given", 3);
    read(&desk, "crm", "sales", group(number, "contact", Release::Full, Some(1)));
    event(&desk, "withdrawn", 1);
    let quiet = report(&desk, "withdrawn");
    let [row] = rows(&quiet, "withdrawals").as_slice() else { panic!("{quiet}") };
    assert_eq!((&json!(1), &json!(["sales"]), &json!([])), (&row["before"], &row["to_notify"], &row["after"]));
    assert_eq!(json!("1 consent taken back. Nothing was released on them afterwards."), quiet["lead"]);
    let delay = &rows(&quiet, "delays")[0]["median_s"];
    assert!((3590..3700).contains(&delay.as_u64().unwrap()), "{delay}");
    // What must never be is shown when it is.
    let wrong = read(&desk, "crm", "sales", group(number, "contact", Release::Full, Some(1)));
    let told = report(&desk, "withdrawn");
    assert_eq!(json!([format!("gw-test.example.com#{wrong}")]), rows(&told, "withdrawals")[0]["after"]);
    assert!(told["lead"].as_str().unwrap().contains("1 decision released data afterwards"));
    // Given anew: what follows rests on that.
    event(&desk, "given", 0);
    read(&desk, "crm", "sales", group(number, "contact", Release::Full, Some(3)));
    assert_eq!(1, rows(&report(&desk, "withdrawn"), "withdrawals")[0]["after"].as_array().unwrap().len());
}

#[test]
fn a_customer_is_told_in_their_language_and_employees_are_not_named() {
    let (desk, number) = desk();
    event(&desk, "given", 2);
    let decision = read(&desk, "crm", "sales", group(number, "contact", Release::Full, Some(1)));
    refuse(&desk, number);
    let english = report(&desk, "subject-access?customer=crm:0044");
    assert_eq!((json!("Your data was used 1 time by 1 department."), json!("en")), (english["lead"].clone(), english["language"].clone()));
    let [row] = rows(&english, "uses").as_slice() else { panic!("{english}") };
    assert_eq!((&json!(["your consent"]), &json!(format!("gw-test.example.com#{decision}"))), (&row["basis"], &row["decision"]));
    assert!(!english.to_string().contains("e_77"), "employees are not named");
    assert!(!english.to_string().contains("ada@example.com"), "an auditor sees no identifiers");
    assert!(english["notes"].to_string().contains("1 request for your data"), "{english}");
    let (_, danish) = desk.get(&role(AdminRole::ConsentDesk), "/v1/subjects/crm:0044/access-report?language=da");
    assert_eq!((json!("Dine data er brugt 1 gang af 1 afdeling."), json!("da")), (danish["lead"].clone(), danish["language"].clone()));
    assert!(danish.to_string().contains("ada@example.com") && danish["notes"].to_string().contains("Datatilsynet"), "{danish}");
    let (_, _, page) = desk.get_raw(&role(AdminRole::ConsentDesk), "/v1/subjects/crm:0044/access-report?language=da&format=html");
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("<html lang=\"da\">") && page.contains("Hver gang dine data blev brugt"));
}

#[test]
fn a_merged_customer_is_found_under_every_number() {
    let (desk, number) = desk();
    read(&desk, "crm", "sales", group(number, "contact", Release::Full, None));
    let (status, other) = desk.post(&role(AdminRole::ConsentDesk), "/v1/parties", &json!({"identifiers": ["crm:0031"]}));
    assert_eq!(StatusCode::CREATED, status, "{other}");
    read(&desk, "crm", "sales", group(number_of(&desk, "0031"), "contact", Release::Full, None));
    let (status, merged) =
        desk.post(&role(AdminRole::ConsentDesk), "/v1/parties/crm:0044:merge", &json!({"from": "crm:0031", "reason": "the same person"}));
    assert!(status.is_success(), "{merged}");
    for customer in ["crm:0044", "crm:0031"] {
        assert_eq!(2, rows(&report(&desk, &format!("subject-access?customer={customer}")), "uses").len(), "{customer}");
        let (_, found) = desk.get(&role(AdminRole::Auditor), &format!("/v1/decisions?customer={customer}"));
        assert_eq!(2, found["decisions"].as_array().unwrap().len(), "{customer}");
        assert_eq!(2, found["customer"]["numbers"].as_array().unwrap().len());
    }
}

#[test]
fn evidence_of_a_consent_names_the_decisions_that_rest_on_it() {
    let (desk, number) = desk();
    let given = event(&desk, "given", 2);
    let id: u64 = given.as_str().unwrap().trim_start_matches("ev_").parse().unwrap();
    read(&desk, "crm", "sales", group(number, "contact", Release::Full, Some(id)));
    let evidence = report(&desk, &format!("consent-evidence?event=ev_{id}"));
    assert_eq!(json!("1 decision weighed it, and in 1 of them it decided."), evidence["lead"]);
    assert_eq!("scan-1", fact(&evidence, "Evidence: letter"));
    assert_eq!(1, rows(&evidence, "decisions").len());
}

#[test]
fn integrity_is_certified_and_a_damaged_log_is_not() {
    let (desk, _) = desk();
    let certificate = report(&desk, "integrity");
    assert!(certificate["lead"].as_str().unwrap().starts_with("The log is whole"), "{certificate}");
    assert!(fact(&certificate, "Verifier key").starts_with("gw-test.example.com+"));
    assert_eq!(json!("gw-test.example.com"), rows(&certificate, "checkpoint")[0]["line"]);
    // A byte of the first entry.
    let segment = std::fs::read_dir(desk.dir.path().join("log")).unwrap().map(|file| file.unwrap().path());
    let segment = segment.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("segment-")).min().unwrap();
    let mut data = std::fs::read(&segment).unwrap();
    data[4_096 + 20] ^= 1;
    std::fs::write(&segment, data).unwrap();
    let broken = report(&desk, "integrity");
    assert!(broken["lead"].as_str().unwrap().starts_with("The log is damaged"), "{broken}");
}

#[test]
fn erased_customers_are_listed_with_what_followed() {
    let (desk, number) = desk();
    let (status, erased) = desk.post(&role(AdminRole::ConsentDesk), "/v1/parties/crm:0044:erase", &json!({"reason": "asked"}));
    assert!(status.is_success(), "{erased}");
    let list = report(&desk, "erasures");
    assert_eq!(json!([]), rows(&list, "erasures")[0]["released"]);
    let wrong = read(&desk, "crm", "sales", group(number, "contact", Release::Full, None));
    assert_eq!(json!([format!("gw-test.example.com#{wrong}")]), rows(&report(&desk, "erasures"), "erasures")[0]["released"]);
    // Nothing resolves to them.
    assert_eq!(StatusCode::NOT_FOUND, desk.get(&role(AdminRole::Auditor), "/v1/decisions?customer=crm:0044").0);
    assert_eq!(StatusCode::NOT_FOUND, desk.get(&role(AdminRole::Auditor), "/v1/reports/subject-access?customer=crm:0044").0);
}
