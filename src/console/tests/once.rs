//! Every change is made once under its idempotency key, whatever has changed before it is repeated.

use super::*;

/// What changes nothing that is stored, or comes to the same when it is repeated, takes no key.
const QUESTIONS: [&str; 6] = ["explain", "decisions.prune", "policies.shadow.start", "policies.shadow.stop", "policies.judge", "check"];
const KEY: &str = "7d00000000000000000000000000000000000000000000000000000000000000";

/// A path and its body.
type Asked = (String, Option<Value>);

fn staff() -> As {
    role(AdminRole::ConsentDesk)
}

fn hour_ago(desk: &Desk) -> Value {
    json!((desk.state.clock.now() - jiff::SignedDuration::from_hours(1)).to_string())
}

impl Desk {
    fn once(&self, who: &As, route: &Route, (path, body): &Asked) -> (StatusCode, Value) {
        let request = Request::builder().method(route.method).uri(path).header("idempotency-key", "k".repeat(255));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(who, request.unwrap())
    }

    pub(super) fn made(&self, who: &As, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(who, path, body);
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    /// What no repetition may change.
    fn kept(&self) -> (u64, Vec<Vec<(String, String)>>) {
        let documents = ["webhook", "webhook-progress", "import", "notice", "break-glass"].map(|kind| self.state.ledger.documents(kind).unwrap());
        (self.state.ledger.revision().0, documents.into())
    }
}

/// Who may do it, where that is somebody in particular.
fn doer(route: &Route) -> Option<As> {
    match route.operation {
        "break-glass.request" => Some(As::Person(AdminRole::ConsentDesk, "asks")),
        "break-glass.approve" => Some(As::Person(AdminRole::PolicyApprover, "one")),
        "break-glass.revoke" | "break-glass.review" => Some(As::Person(AdminRole::Auditor, "auditor")),
        _ => None,
    }
}

/// A request that the route takes, made possible, and another one.
fn sample(desk: &Desk, who: &As, route: &Route) -> Option<(Asked, Asked)> {
    let of = |path: &str, body: Value, member: &str, other: Value| {
        let mut another = body.clone();
        another[member] = other;
        Some(((path.to_owned(), Some(body)), (path.to_owned(), Some(another))))
    };
    let restriction = || desk.made(&staff(), "/v1/restrictions", &json!({"party": "crm:0044"}))["event"].as_str().unwrap().to_owned();
    let webhook = || desk.made(&staff(), "/v1/webhooks", &json!({"url": "http://127.0.0.1:1/a"}))["id"].as_str().unwrap().to_owned();
    let reason = json!("ticket 4471");
    match route.operation {
        "parties.import" => of("/v1/parties", json!({"identifiers": ["crm:0012"], "stage": "lead"}), "stage", json!("customer")),
        "identifiers.link" => of("/v1/parties/crm:0044/identifiers", json!({"identifier": "crm:0012"}), "identifier", json!("crm:0013")),
        "facts.put" => of("/v1/parties/crm:0044/facts", json!({"source": "crm", "stage": "customer"}), "stage", json!("lead")),
        "parties.erase" => of("/v1/parties/crm:0044:erase", json!({"reason": reason}), "reason", json!("letter")),
        "parties.merge" => {
            desk.made(&staff(), "/v1/parties", &json!({"identifiers": ["crm:0012"]}));
            of("/v1/parties/crm:0044:merge", json!({"from": "crm:0012", "reason": reason}), "reason", json!("letter"))
        }
        "parties.split" => {
            of("/v1/parties/crm:0044:split", json!({"identifiers": ["email:ada@example.com"], "reason": reason}), "reason", json!("letter"))
        }
        "parties.kind" => {
            desk.made(&staff(), "/v1/parties", &json!({"identifiers": ["crm:0012"]}));
            of("/v1/parties/crm:0012:kind", json!({"kind": "organisation", "reason": reason}), "reason", json!("letter"))
        }
        "parties.hold" => of("/v1/parties/crm:0044:hold", json!({"reason": reason}), "reason", json!("letter")),
        "parties.release" => of("/v1/parties/crm:0044:release", json!({"reason": reason}), "reason", json!("letter")),
        "consents.record" => of("/v1/consents", withdrawal(), "purposes", json!(["sales"])),
        "objections.add" => of("/v1/objections", json!({"party": "crm:0044", "kind": "objection"}), "kind", json!("objection-marketing")),
        "restrictions.add" => of("/v1/restrictions", json!({"party": "crm:0044"}), "kind", json!("legal")),
        "opt-outs.add" => of("/v1/opt-outs", json!({"party": "crm:0044", "kind": "opt-out-sale"}), "kind", json!("opt-out-gpc")),
        "suppressions.add" => of("/v1/suppressions", json!({"party": "crm:0044"}), "reason", json!("letter")),
        "objections.lift" | "restrictions.lift" | "opt-outs.lift" | "suppressions.lift" => {
            of(&route.path.replace("{id}", &restriction()), json!({"reason": reason}), "reason", json!("letter"))
        }
        "delegations.add" => {
            let body = json!({"party": "crm:0044", "holder": "guardian", "evidence": [{"kind": "order", "reference": "31"}]});
            of("/v1/delegations", body, "holder", json!("representative"))
        }
        "occurrences.add" => of("/v1/occurrences", json!({"party": "crm:0044", "name": "contract-ended"}), "name", json!("contract-renewed")),
        "consents.import" => {
            let record = json!([{"id": "crm:0044", "state": "withdrawn", "purposes": ["sales.outreach"], "event_time": hour_ago(desk)}]);
            let path = format!("/v1/imports/{KEY}?format=ndjson");
            Some(((path.clone(), Some(record)), (path, Some(json!([])))))
        }
        "notices.add" => {
            let body = json!({"id": "terms", "version": "1", "language": "en", "text": "We write to you.", "purposes": ["sales.outreach"]});
            of("/v1/notices", body, "version", json!("2"))
        }
        "conflicts.ask" => {
            let ago = |hours| json!((desk.state.clock.now() - jiff::SignedDuration::from_hours(hours)).to_string());
            for (mut body, hours, system) in [(grant(), 3, "crm"), (withdrawal(), 2, "erp")] {
                (body["event_time"], body["source_system"], body["author"]) = (ago(hours), json!(system), json!("staff"));
                desk.made(&staff(), "/v1/consents", &body);
            }
            of("/v1/conflicts/crm:0044:ask", json!({"purpose": "sales.outreach"}), "channel", json!("email"))
        }
        "withdrawal-links.make" => of("/v1/withdrawal-links", json!({"party": "crm:0044", "purpose": "marketing"}), "party", json!("crm:0012")),
        "webhooks.add" => of("/v1/webhooks", json!({"url": "http://127.0.0.1:1/a"}), "url", json!("http://127.0.0.1:1/b")),
        "webhooks.remove" => {
            let (first, other) = (webhook(), webhook());
            Some(((format!("/v1/webhooks/{first}"), None), (format!("/v1/webhooks/{other}"), None)))
        }
        "webhooks.replay" => of(&format!("/v1/webhooks/{}:replay", webhook()), json!({"from": 0}), "from", json!("now")),
        "break-glass.request" => {
            let body = break_glass::asked(desk);
            of("/v1/break-glass", body, "ticket", json!("INC-2"))
        }
        "break-glass.approve" => {
            let [first, other] = [(); 2].map(|()| break_glass::made(desk));
            Some(((format!("/v1/break-glass/{first}:approve"), None), (format!("/v1/break-glass/{other}:approve"), None)))
        }
        "break-glass.revoke" => {
            of(&format!("/v1/break-glass/{}:revoke", break_glass::approved(desk)), json!({"reason": reason}), "reason", json!("over"))
        }
        "break-glass.review" => {
            let id = break_glass::approved(desk);
            desk.made(&As::Person(AdminRole::Operator, "ends"), &format!("/v1/break-glass/{id}:revoke"), &json!({"reason": "over"}));
            let body = json!({"finding": "justified", "note": "seen"});
            of(&format!("/v1/break-glass/{id}:review"), body, "finding", json!("unjustified"))
        }
        "consents.confirm" => {
            let mut pending = grant();
            (pending["state"], pending["event_time"]) = (json!("pending_confirmation"), hour_ago(desk));
            pending["evidence"] = json!([{"kind": "form-hash", "reference": "77aa"}, {"kind": "notice", "reference": "n-4"}]);
            let asked = desk.made(who, "/v1/consents", &pending);
            let path = format!("/v1/consents/{}:confirm", asked["event"].as_str().unwrap());
            of(&path, json!({"token": asked["confirm"]}), "lasts", json!("P24M"))
        }
        _ => None,
    }
}

/// Without what is new in every answer: how long it took, the letters of a sealed token, the entry of a search.
fn lasting(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    for volatile in ["in_force_after_us", "url", "headers", "entry"] {
        members.remove(volatile);
    }
    answer
}

#[test]
fn every_route_that_changes_something_does_it_once_under_a_key() {
    let listeners = [(staff(), ADMIN_TABLES), (As::App("preference-centre"), CAPTURE_TABLES)];
    let mut questions = Vec::new();
    for (who, tables) in listeners {
        for route in tables.iter().copied().flatten().filter(|route| route.method != "GET") {
            // The gateway keeps its key, and the double is none: `tests/it/governance.rs`.
            if route.operation == "policies.activate" {
                continue;
            }
            if route.again.is_none() {
                questions.push(route.operation);
                continue;
            }
            let name = route.operation;
            let desk = Desk::open().with_customer();
            let who = doer(route).unwrap_or_else(|| who.clone());
            let (asked, other) = sample(&desk, &who, route).unwrap_or_else(|| panic!("no sample for {name}: write one"));
            let (status, first) = desk.once(&who, route, &asked);
            assert!(status.is_success(), "{name}: {first}");
            let kept = desk.kept();
            let (again, second) = desk.once(&who, route, &asked);
            assert_eq!((again, lasting(second)), (status, lasting(first)), "{name}");
            assert_eq!(desk.kept(), kept, "{name} changed something when it was repeated");
            let (status, problem) = desk.once(&who, route, &other);
            assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency-mismatch")), "{name}");
            assert_eq!(desk.kept(), kept, "{name} took another request under the key");
        }
    }
    assert_eq!(questions, QUESTIONS);
}

#[test]
fn a_repetition_does_not_do_again_what_was_undone_since() {
    let route = |operation: &str| ADMIN_TABLES.iter().copied().flatten().find(|route| route.operation == operation).unwrap();
    type Undo = (&'static str, fn(&Desk));
    let undone: [Undo; 6] = [
        ("parties.merge", |desk| {
            desk.made(&staff(), "/v1/parties/crm:0044:split", &json!({"merged": "crm:0012", "reason": "two persons"}));
        }),
        ("parties.hold", |desk| {
            desk.made(&staff(), "/v1/parties/crm:0044:release", &json!({"reason": "settled"}));
        }),
        ("facts.put", |desk| {
            let facts = json!({"source": "crm", "stage": "churned"});
            let request = Request::put("/v1/parties/crm:0044/facts").header("content-type", "application/json");
            assert_eq!(desk.send(&staff(), request.body(Body::from(facts.to_string())).unwrap()).0, StatusCode::OK);
        }),
        ("identifiers.link", |desk| {
            desk.made(&staff(), "/v1/parties/crm:0044:split", &json!({"identifiers": ["crm:0012"], "reason": "two persons"}));
        }),
        ("conflicts.ask", |desk| {
            let mut answer = grant();
            answer["event_time"] = json!((desk.state.clock.now() + jiff::SignedDuration::from_secs(1)).to_string());
            desk.made(&staff(), "/v1/consents", &answer);
        }),
        ("parties.import", |desk| {
            desk.made(&staff(), "/v1/parties/crm:0012:erase", &json!({"reason": "letter 31"}));
        }),
    ];
    for (operation, undo) in undone {
        let desk = Desk::open().with_customer();
        let (asked, _) = sample(&desk, &staff(), route(operation)).unwrap();
        assert!(desk.once(&staff(), route(operation), &asked).0.is_success(), "{operation}");
        undo(&desk);
        let kept = desk.kept();
        let (status, answer) = desk.once(&staff(), route(operation), &asked);
        // Who was erased is not shown again.
        assert!(status.is_success() || operation == "parties.import", "{operation}: {answer}");
        assert_eq!(desk.kept(), kept, "{operation}");
        assert!(operation != "parties.import" || !answer.to_string().contains("0012"), "{answer}");
    }
}

#[test]
fn what_was_refused_leaves_its_key_free() {
    let desk = Desk::open().with_customer();
    let import = ADMIN_TABLES.iter().copied().flatten().find(|route| route.operation == "parties.import").unwrap();
    let asked = |stage: &str| ("/v1/parties".to_owned(), Some(json!({"identifiers": ["crm:0012"], "stage": stage})));
    assert_eq!(desk.once(&staff(), import, &asked("customre")).0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(desk.once(&staff(), import, &asked("customer")).0, StatusCode::CREATED);
}
