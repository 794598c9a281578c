//! The joint truth: one person whom three departments know under three ids. What one department was told binds all of them
//! from the moment at which the ids turn out to be one customer's, and only what the customer says afterwards opens again.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Gate, Plan, World, gateway};

const MAIL: &str = "marketing.email";
const OUTREACH: &str = "sales.outreach";

/// The contact of the CRM, the party of quote Q-77, the requester of ticket T-11.
const CONTACT: &str = "crm:0081";
const PARTY: &str = "sales:7781";
const REQUESTER: &str = "email:ines.moreau@example.net";
const THREE: &str = "crm:0081,person,customer,standard,adult\nsales:7781,person,customer,standard,adult\n\
                     email:ines.moreau@example.net,person,customer,standard,adult\n";

const APIS: &str = r#"
[shape.contact]
ids = "crm"
customer = "id"
open = ["id"]
fields = { name = "identity", email = "contact" }
[shape.quote]
ids = "sales"
customer = "customer.number"
open = ["id", "customer.number"]
fields = { "customer.name" = "identity", "customer.email" = "contact" }
[shape.ticket]
ids = "email"
customer = "requester.email"
open = ["id"]
fields = { "requester.name" = "identity", "requester.email" = "contact" }

[[api]]
name = "crm"
owner = "marketing"
at = "/crm"
upstream = "house"
purpose = { allow = ["marketing.email", "sales.outreach"] }
[[api.route]]
match = "GET /contacts/{id}"
customer = "path:id"
response = { shape = "contact" }
[[api]]
name = "sales"
owner = "sales"
at = "/sales"
upstream = "house"
purpose = { allow = ["marketing.email", "sales.outreach"] }
[[api.route]]
match = "GET /quotes/{id}"
response = { shape = "quote" }
[[api]]
name = "desk"
owner = "service"
at = "/desk"
upstream = "house"
purpose = { allow = ["marketing.email", "sales.outreach"] }
[[api.route]]
match = "GET /tickets/{id}"
response = { shape = "ticket" }
"#;

/// Where each department's record is and what it answers.
const RECORDS: [(&str, &str, &str); 3] = [
    ("/crm/contacts/0081", "GET /contacts/0081", r#"{"id":"0081","name":"I. M.","email":"i@example.net"}"#),
    ("/sales/quotes/Q-77", "GET /quotes/Q-77", r#"{"id":"Q-77","customer":{"number":"7781","name":"I. M.","email":"i@example.net"}}"#),
    ("/desk/tickets/T-11", "GET /tickets/T-11", r#"{"id":"T-11","requester":{"name":"I. M.","email":"ines.moreau@example.net"}}"#),
];

/// Three customers, and two apps with connections that stay open through the whole story.
struct Story {
    world: Arc<World>,
    /// For [`MAIL`] and for [`OUTREACH`].
    apps: [(Client, &'static str); 2],
    begin: Timestamp,
}

impl Story {
    async fn begin() -> Self {
        let world = Arc::new(gateway().apis(APIS).parties(THREE).start().await);
        for (_, planned, body) in RECORDS {
            world.upstream.json(planned, body);
        }
        let apps = [(world.client("campaign-manager"), MAIL), (world.client("crm").http2(), OUTREACH)];
        Self { world, apps, begin: Timestamp::now() }
    }

    /// So many minutes before the test began: when a person acted.
    fn ago(&self, minutes: i64) -> Timestamp {
        self.begin - SignedDuration::from_mins(minutes)
    }

    /// The capture app of marketing: evidence, and the customer's own word.
    async fn grants(&self, id: &str, purpose: &str, minutes_ago: i64) {
        self.world.say(id, purpose, "given", json!({ "event_time": self.ago(minutes_ago).to_string() })).await;
    }

    /// The help desk is told on the telephone; it is registered for nothing: what it records can only lower, and is the customer's word.
    async fn service_notes(&self, path: &str, mut body: Value, minutes_ago: i64) {
        body["party"] = json!(REQUESTER);
        body["event_time"] = json!(self.ago(minutes_ago).to_string());
        let answer = self.world.capture("helpdesk").post(path, &body.to_string()).await;
        assert_eq!((201, "customer"), (answer.status.as_u16(), answer.json()["author"].as_str().unwrap()), "{answer:?}");
    }

    /// What the desk is told: whom it concerns, what disagrees.
    async fn merge(&self, into: &str, from: &str, minutes_ago: i64) -> Value {
        let body = json!({ "from": from, "time": self.ago(minutes_ago).to_string(), "reason": "the same person" });
        self.world.desk(Method::POST, &format!("/v1/parties/{into}:merge"), body).await.json()
    }

    async fn split(&self, party: &str, merged: &str) -> Value {
        let body = json!({ "merged": merged, "reason": "two persons after all" });
        self.world.desk(Method::POST, &format!("/v1/parties/{party}:split"), body).await.json()
    }

    /// A moment between two steps, for `known_at`.
    async fn now(&self) -> Timestamp {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = Timestamp::now();
        tokio::time::sleep(Duration::from_millis(2)).await;
        now
    }

    /// Asks for all three records for both purposes; `open` says which come, contact, quote and ticket each.
    #[track_caller]
    fn sees(&self, when: &'static str, open: [[bool; 3]; 2]) -> impl Future<Output = ()> + '_ {
        let at = std::panic::Location::caller();
        async move {
            for ((app, purpose), open) in self.apps.iter().zip(open) {
                for ((target, _, body), open) in RECORDS.into_iter().zip(open) {
                    let answer = app.get(target).purpose(purpose).await;
                    let expected = if open { (200, body) } else { (403, "denied") };
                    let came = (answer.status.as_u16(), if open { answer.text().to_owned() } else { answer.code() });
                    assert_eq!(expected, (came.0, came.1.as_str()), "{when}: {target} for {purpose}, {at}");
                }
                assert_eq!(1, app.opened(), "the connection stayed open");
            }
        }
    }

    /// What the log says of a read of the contact: why it ended so, the consent, on which event it relied, which ones lost.
    async fn logged(&self, which: usize) -> Vec<Relied> {
        let (app, purpose) = &self.apps[which];
        relied(&self.world, &app.get(RECORDS[0].0).purpose(purpose).await)
    }

    /// The ids of the events about one id, in the order of recording.
    async fn events(&self, id: &str) -> Vec<String> {
        let answer = self.world.staff("auditor").get(&format!("/v1/consents/{}/history", id.replace('@', "%40"))).await;
        let events = answer.json()["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// `status/stop` of contact data for marketing by e-mail, and whether sides disagree; `-` when nobody had the id.
    async fn effective(&self, id: &str, purpose: &str, at: Option<Timestamp>, known: Option<Timestamp>) -> String {
        let recipient = if purpose == MAIL { "marketing" } else { "sales" };
        let mut path = format!("/v1/parties/{}/effective?purpose={purpose}&category=contact&recipient={recipient}", id.replace('@', "%40"));
        for (name, time) in [("at", at), ("known_at", known)] {
            if let Some(time) = time {
                path = format!("{path}&{name}={time}");
            }
        }
        let answer = self.world.staff("auditor").get(&path).await;
        if answer.status == 404 {
            return "-".to_owned();
        }
        let found = answer.json();
        let row = &found["uses"][0];
        let stop = row["stop"].as_str().map(|stop| format!(" {stop}")).unwrap_or_default();
        let conflict = if row["conflict"] == json!(true) { " conflict" } else { "" };
        format!("{}{stop}{conflict}", row["status"].as_str().unwrap_or_else(|| panic!("{answer:?}")))
    }

    async fn end(self) {
        drop(self.apps);
        Arc::into_inner(self.world).unwrap().finish().await;
    }
}

/// What the log says of one category: why it ended so, the consent, the event relied on, and those that lost against it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Relied {
    why: String,
    status: String,
    event: Option<String>,
    overridden: Vec<String>,
}

impl Relied {
    fn of(why: &str, status: &str, event: &str, overridden: &[&String]) -> Self {
        let overridden = overridden.iter().map(|event| (*event).clone()).collect();
        Self { why: why.to_owned(), status: status.to_owned(), event: Some(event.to_owned()), overridden }
    }
}

/// The same for both categories of a contact.
fn twice(relied: Relied) -> Vec<Relied> {
    vec![relied.clone(), relied]
}

/// One for each category.
fn relied(world: &World, answer: &Answer) -> Vec<Relied> {
    let relied = world.found(answer).relied;
    relied.into_iter().map(|r| Relied { why: r.why, status: r.status, event: r.event, overridden: r.overridden }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_department_was_told_binds_all_once_the_ids_are_one_customers() {
    let story = Story::begin().await;
    let nobody = story.now().await;

    // Each department knows somebody, and each is right about its own.
    story.sees("nothing was said", [[false; 3]; 2]).await;
    story.grants(CONTACT, MAIL, 240).await;
    story.grants(CONTACT, OUTREACH, 239).await;
    let granted = story.now().await;
    story.service_notes("/v1/objections", json!({ "kind": "objection-marketing" }), 180).await;
    story.service_notes("/v1/consents", json!({ "state": "refused" }), 179).await;
    let refused = story.now().await;
    let [mail, outreach] = &story.events(CONTACT).await[..] else { panic!("two grants") };
    let [_objection, refusal] = &story.events(REQUESTER).await[..] else { panic!("an objection and a refusal") };
    story.sees("three customers", [[true, false, false]; 2]).await;
    assert_eq!(twice(Relied::of("permitted", "given", mail, &[])), story.logged(0).await);

    // Quote and contact are one person's: the grant holds for both. Then the requester turns out to be the same.
    let joined = story.merge(CONTACT, PARTY, 130).await;
    assert_eq!((&json!([]), &json!([])), (&joined["conflicts"], &joined["stops"]), "{joined}");
    story.sees("contact and quote are one", [[true, true, false]; 2]).await;
    let waiting = {
        let gates = [Gate::closed(), Gate::closed()];
        let mut asking = Vec::new();
        for ((target, planned, body), gate) in RECORDS.into_iter().zip(&gates) {
            story.world.upstream.on(planned, Plan::json(body).behind(gate));
            let world = Arc::clone(&story.world);
            asking.push(tokio::spawn(async move { world.client("campaign-manager").get(target).purpose(MAIL).await }));
            gate.arrived().await;
            story.world.upstream.json(planned, body);
        }
        gates.into_iter().zip(asking)
    };
    let joined = story.merge(CONTACT, REQUESTER, 120).await;
    assert_eq!((&json!([MAIL, OUTREACH]), &json!(["objection"])), (&joined["conflicts"], &joined["stops"]), "{joined}");
    let merged = story.now().await;
    for (gate, asking) in waiting {
        gate.release();
        asking.await.unwrap().refused(403, "denied");
    }
    story.sees("all three are one", [[false; 3]; 2]).await;
    assert_eq!(twice(Relied::of("stop:objection", "withdrawn", refusal, &[mail])), story.logged(0).await);
    assert_eq!(twice(Relied::of("forbidden", "withdrawn", refusal, &[outreach])), story.logged(1).await);

    // The customer names one purpose again: that one is open, for all three ids, and nothing else.
    story.grants(CONTACT, MAIL, 60).await;
    let renewed = story.now().await;
    story.sees("one purpose was renewed", [[true; 3], [false; 3]]).await;
    let renewal = &story.events(CONTACT).await.pop().unwrap();
    assert_eq!(twice(Relied::of("permitted", "given", renewal, &[refusal])), story.logged(0).await);
    assert_eq!(twice(Relied::of("forbidden", "withdrawn", refusal, &[outreach])), story.logged(1).await);

    // It was a mistake: each side is again what its own ids say. What was said in between was said under the CRM's id.
    let parting = story.split(CONTACT, REQUESTER).await;
    let crossed = parting["disclosed"].as_array().unwrap().iter().any(|row| row["app"] == json!("campaign-manager"));
    assert!(crossed, "what went out across the wrong link is listed: {parting}");
    let parted = story.now().await;
    story.sees("the requester is another", [[true, true, false]; 2]).await;
    assert_eq!(twice(Relied::of("permitted", "given", renewal, &[])), story.logged(0).await);
    story.split(CONTACT, PARTY).await;
    story.sees("three customers again", [[true, false, false]; 2]).await;

    // What was the case at one time, as far as was known at another.
    let [dawn, yes, no, later, end] = [270, 210, 150, 90, 30].map(|minutes| Some(story.ago(minutes)));
    let [nobody, granted, refused, merged, renewed, parted] = [nobody, granted, refused, merged, renewed, parted].map(Some);
    let (given, closed, silent) = ("given", "withdrawn objection conflict", "unknown");
    for (id, purpose, at, known, expected) in [
        (CONTACT, MAIL, yes, nobody, silent),
        (CONTACT, MAIL, dawn, granted, silent),
        (CONTACT, MAIL, yes, granted, given),
        (CONTACT, MAIL, no, granted, given),
        (CONTACT, MAIL, no, refused, given),
        (CONTACT, MAIL, dawn, merged, silent),
        (CONTACT, MAIL, yes, merged, given),
        (CONTACT, MAIL, no, merged, closed),
        (CONTACT, MAIL, end, merged, closed),
        (CONTACT, MAIL, later, renewed, closed),
        (CONTACT, MAIL, end, renewed, given),
        (CONTACT, MAIL, None, renewed, given),
        (CONTACT, MAIL, no, parted, given),
        (CONTACT, MAIL, end, None, given),
        (CONTACT, MAIL, dawn, None, silent),
        (CONTACT, OUTREACH, no, refused, given),
        (CONTACT, OUTREACH, no, merged, "withdrawn conflict"),
        (CONTACT, OUTREACH, end, renewed, "withdrawn conflict"),
        (CONTACT, OUTREACH, end, parted, given),
        (REQUESTER, MAIL, end, granted, silent),
        (REQUESTER, MAIL, yes, refused, silent),
        (REQUESTER, MAIL, no, refused, "refused objection"),
        (REQUESTER, MAIL, yes, merged, given),
        (REQUESTER, MAIL, no, merged, closed),
        (REQUESTER, MAIL, end, renewed, given),
        (REQUESTER, OUTREACH, end, renewed, "withdrawn conflict"),
        (REQUESTER, MAIL, end, parted, "refused objection"),
        (REQUESTER, MAIL, None, None, "refused objection"),
        (PARTY, MAIL, end, refused, silent),
        (PARTY, MAIL, no, merged, closed),
        (PARTY, MAIL, end, renewed, given),
        (PARTY, MAIL, no, parted, given),
        (PARTY, MAIL, end, None, silent),
        ("crm:0099", MAIL, end, None, "-"),
    ] {
        assert_eq!(expected, story.effective(id, purpose, at, known).await, "{id} for {purpose} at {at:?}, known at {known:?}");
    }
    story.end().await;
}
