//! The tour without a gateway: its routes, shapes, policies, customers and sample answers put together by hand, so that a
//! mistake in the demo's files shows here and not as a wrong step of a whole demo.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::*;
use crate::catalog::{Found, Target};
use crate::cli::demo::sample_apis::{API_KEY_HEADER, SampleApis};
use crate::cli::demo::tour::{Act, BEFORE, STEPS, Step};
use crate::config::{Config, PolicySource};
use crate::consent::{Capturer, EventDraft, Ledger, MergeDraft, Method, PartyRef, SplitOff, State};
use crate::filter::{Cut, CutError, Cutters, Judge, Limits, cut};
use crate::model::{
    Action, Age, Author, Caller, Category, CategoryVerdict, Channel, ConflictRule, ConsentStatus, Environment, Judged, LawfulBasis, PartyFacts,
    PartyNo, Question, Release, Segment, Space, Stage, Verdicts, Vocabulary, Why,
};
use crate::policy::Policies;

struct World {
    _dir: tempfile::TempDir,
    state: StateDir,
    apis: SampleApis,
    config: Config,
    policies: Policies,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::create(&dir.path().join("state")).unwrap();
    let apis = SampleApis::start(state.certs(), state.api_key()).await.unwrap();
    let places = Places {
        gateway: free_addresses().unwrap(),
        issuer: "http://127.0.0.1:1/".to_owned(),
        keys_url: "http://127.0.0.1:1/jwks.json".to_owned(),
        crm: apis.crm,
        sales: apis.sales,
        desk: apis.desk,
    };
    let path = state.write_config(&places).unwrap();
    let load = |source: &PolicySource| Policies::load(source.watched()).map(|policies| policies.vocabulary().clone());
    let config = crate::config::load(&path, &load).unwrap();
    let policies = Policies::load(config.policy.watched()).unwrap();
    World { _dir: dir, state, apis, config, policies }
}

/// Rows of parties.csv: identifier -> (number, facts).
fn crosswalk() -> BTreeMap<String, (PartyNo, PartyFacts, String)> {
    let mut known = BTreeMap::new();
    for (n, line) in include_str!("files/parties.csv").lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let facts = PartyFacts {
            stage: Stage::parse(cells[2]).unwrap_or(Stage::Anonymous),
            segment: Segment::parse(cells[3]).unwrap(),
            age: Age::parse(cells[4]).unwrap_or(Age::Unknown),
            legal_hold: false,
        };
        let ids: Vec<&str> = cells[0].split(' ').collect();
        for id in &ids {
            known.insert((*id).to_owned(), (PartyNo(n as u64), facts, ids[0].to_owned()));
        }
    }
    known
}

struct Asked<'a> {
    world: &'a World,
    step: &'a Step,
    found: &'a Found,
    known: BTreeMap<String, (PartyNo, PartyFacts, String)>,
}

impl Asked<'_> {
    fn verdict(&self, category: Category, customer: &str, facts: PartyFacts) -> CategoryVerdict {
        let policies = &self.world.policies;
        let vocabulary = policies.vocabulary();
        let client = vocabulary.client(self.step.caller).unwrap();
        let info = &vocabulary.clients[&client];
        let purpose = vocabulary.purpose(self.step.purpose).unwrap();
        let said = BEFORE.iter().find(|(id, of, _)| format!("crm:{id}") == customer && *of == self.step.purpose);
        let status = match said.map(|(.., state)| *state) {
            Some("given") => ConsentStatus::Given,
            Some("refused") => ConsentStatus::Refused,
            // Step 7 comes after step 6.
            _ if self.step.status == "200" && customer == "crm:0044" => ConsentStatus::Given,
            _ => ConsentStatus::Unknown,
        };
        let caller = Caller { client, kind: info.kind, department: info.department, employee: None };
        let basis = policies.activity(info.department, purpose, category).map_or(LawfulBasis::None, |activity| activity.basis);
        let decided = policies.decide(&Question {
            caller: &caller,
            action: self.found.route.action,
            category,
            purpose,
            basis,
            status,
            explicit: false,
            party: facts,
            channel: vocabulary.channel(purpose),
            environment: Environment::Production,
            gpc: false,
            records: (self.found.route.action == Action::Export).then_some(1),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            particulars: crate::model::Particulars::default(),
        });
        CategoryVerdict {
            category,
            release: if decided.allow() { Release::Full } else { Release::Withheld },
            why: if decided.allow() { Why::Permitted } else { Why::Forbidden },
            policies: decided.policies(),
            basis,
            activity: None,
            status,
            event: None,
            overridden: Vec::new(),
            rule: ConflictRule::CustomerLastWord,
            conflict: false,
            grounds: None,
        }
    }
}

impl Judge for Asked<'_> {
    fn judge(&mut self, space: Space, raw_id: &str) -> Judged {
        let id = self.world.config.catalog.space(space).unwrap().identify(raw_id).unwrap();
        let (party, facts, customer) = self.known.get(&id.to_string()).cloned().unwrap();
        let shape = self.found.route.response.shape().unwrap();
        let verdicts = shape.categories().into_iter().map(|category| self.verdict(category, &customer, facts)).collect();
        Judged { party: Some(party), is_requested: None, verdicts: Arc::new(Verdicts::new(verdicts)) }
    }

    fn requested(&mut self) -> Option<Judged> {
        None
    }

    fn pseudonym(&mut self, _text: &str) -> Option<String> {
        None
    }
}

impl World {
    fn find(&self, method: &http::Method, target: &str) -> Found {
        self.config.catalog.find(method, &Target::parse(target).unwrap()).unwrap()
    }

    /// What the gateway gets from the sample API for the target.
    async fn fetch(&self, found: &Found) -> Bytes {
        let certs = self.state.certs();
        let client = AppClient::new(&certs.internal_ca, &certs.gateway_client.chain, &certs.gateway_client.key).unwrap();
        let at = match found.api.name.as_str() {
            "crm" => self.apis.crm,
            "sales" => self.apis.sales,
            _ => self.apis.desk,
        };
        let key = HeaderMap::from_iter([(API_KEY_HEADER.parse().unwrap(), HeaderValue::from_str(self.state.api_key()).unwrap())]);
        client.send(http::Method::GET, &format!("https://{at}{}", found.upstream_target("")), key, "").await.unwrap().body
    }

    async fn cut(&self, number: usize) -> Result<Cut, CutError> {
        let step = &STEPS[number - 1];
        let Act::Ask { method, target, .. } = &step.act else { panic!("step {number} is no request") };
        let mut found = self.find(method, target);
        found.judge_query().unwrap();
        let body = self.fetch(&found).await;
        let limits = Limits { body_bytes_max: 1 << 20, depth_max: 64 };
        let mut asked = Asked { world: self, step, found: &found, known: crosswalk() };
        cut(&body, &found.route.response, &Cutters::new(&self.config.catalog.shapes), &limits, &[], &mut asked)
    }
}

#[tokio::test]
async fn every_request_of_the_tour_has_a_route_and_declared_parameters() {
    let world = world().await;
    for step in STEPS {
        if let Act::Ask { method, target, .. } = &step.act {
            world.find(method, target).judge_query().unwrap();
        }
    }
}

#[tokio::test]
async fn the_shipped_policies_cut_the_sample_answers_as_the_tour_says() {
    let world = world().await;
    for number in [1, 2, 3, 7] {
        let cut = world.cut(number).await.unwrap();
        let withheld = cut.report.withheld.len().to_string();
        let headers = HeaderMap::from_iter([("consentry-withheld".parse().unwrap(), HeaderValue::from_str(&withheld).unwrap())]);
        let reply = Reply { status: http::StatusCode::OK, headers, body: cut.filtered.into_bytes() };
        let came = judge::Came { status: "200".to_owned(), reply: Some(&reply), logged: None, forwarded: 1, twin: None, note: String::new() };
        let judged = judge::judge(&STEPS[number - 1], &came);
        // All is as it should be up to the log, which nobody kept.
        let expected = judged.complaint.map(|complaint| complaint.expected).unwrap_or_default();
        let policy = ["owner-access", "share-for-contract", "1 dropped: marketing-refused", "share-with-consent"];
        assert!(policy.contains(&expected.as_str()), "step {number}: {expected}, released {}", judged.released);
        let decided = cut.report.groups.iter().flat_map(|group| group.verdicts.iter()).flat_map(|verdict| verdict.policies.iter());
        let decided: Vec<&str> = decided.map(|name| name.as_str()).collect();
        assert!(decided.iter().any(|name| expected.ends_with(name)), "step {number}: {expected} is not in {decided:?}");
    }
}

#[tokio::test]
async fn the_tickets_that_are_broken_cannot_be_read() {
    let world = world().await;
    assert!(matches!(world.cut(14).await, Err(CutError::Unreadable(_))));
}

/// What the capture listener makes of the body of an event.
fn draft(event: &serde_json::Value, config: &Config, vocabulary: &Vocabulary) -> EventDraft {
    let text = |name: &str| event[name].as_str().unwrap();
    let names = |member: &str| event[member].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
    let normalise = |space: &str, value: &str| config.catalog.space(Space::intern(space)).unwrap().identify(value).map_err(|e| e.to_string());
    let subject = PartyRef::parse(text("party"), &normalise).unwrap();
    let mut draft = EventDraft::new(subject, vocabulary.purpose("sales").unwrap(), State::parse(text("state")).unwrap());
    draft.purposes = names("purposes").map(|name| vocabulary.purpose(name).unwrap()).collect();
    draft.event_time = Some(text("event_time").parse().unwrap());
    draft.channel = Channel::parse(text("channel")).unwrap();
    draft.method = Method::parse(text("method")).unwrap();
    let piece = |piece: &serde_json::Value| (piece["kind"].as_str().unwrap().to_owned(), piece["reference"].as_str().unwrap().to_owned());
    draft.evidence = event["evidence"].as_array().unwrap().iter().map(piece).collect();
    draft.scope.categories = names("categories").map(|name| vocabulary.category(name).unwrap()).collect();
    draft.scope.recipients = names("recipients").map(|name| vocabulary.department(name).unwrap()).collect();
    draft
}

#[tokio::test]
async fn the_ledger_takes_the_customers_and_what_they_said() {
    let world = world().await;
    let clock = SystemClock::shared();
    let ledger = Ledger::open(&world.state.path().join("consent.db"), clock.clone()).unwrap();
    let vocabulary = world.policies.vocabulary();
    ledger.adopt(vocabulary.clone(), world.policies.consent_rules().clone(), world.policies.captures().to_vec()).unwrap();
    let normalise = |space: &str, value: &str| {
        world.config.catalog.space(Space::intern(space)).ok_or("no such space")?.identify(value).map_err(|e| e.to_string())
    };
    let file = std::fs::read(world.state.parties()).unwrap();
    let report = ledger.import_parties(file.as_slice(), false, &normalise, &mut |_| {}, None).unwrap();
    assert_eq!((report.created, report.errors), (7, Vec::new()));

    let centre = Capturer::Client(vocabulary.client("preference-centre").unwrap());
    let say = |customer: &str, purpose: &str, state: &str| {
        let event = guide::event(&format!("crm:{customer}"), purpose, state, &clock.now().to_string());
        ledger.record(draft(&event, &world.config, vocabulary), &centre).unwrap()
    };
    let status = |customer: &str, purpose: &str, category: &str, recipient: &str| {
        let id = world.config.catalog.space(Space::intern("crm")).unwrap().identify(customer).unwrap();
        let purpose = vocabulary.purpose(purpose).unwrap();
        let (category, recipient) = (vocabulary.category(category).unwrap(), vocabulary.department(recipient).unwrap());
        let standing = ledger.standing(&id).unwrap().unwrap();
        standing.status(vocabulary, &ledger.rules().unwrap(), purpose, category, recipient, vocabulary.channel(purpose)).status
    };
    for (customer, purpose, state) in BEFORE {
        assert_eq!(say(customer, purpose, state).author, Author::Customer, "the capture must be registered for what it claims");
    }
    assert_eq!(status("0012", "sales.outreach", "order", "sales"), ConsentStatus::Given);
    assert_eq!(status("0058", "marketing.email", "contact", "marketing"), ConsentStatus::Refused);
    let outreach = |expected| assert_eq!(status("0044", "sales.outreach", "behaviour", "sales"), expected);
    outreach(ConsentStatus::Unknown);
    say("0044", "sales.outreach", "given");
    outreach(ConsentStatus::Given);
    say("0044", "sales.outreach", "withdrawn");
    outreach(ConsentStatus::Withdrawn);

    // The joint truth: what service was told of somebody who turns out to be 0012.
    let both = |mail, outreach| {
        let now = (status("0012", "marketing.email", "contact", "marketing"), status("0012", "sales.outreach", "order", "sales"));
        assert_eq!(now, (mail, outreach));
    };
    let (given, refused) = (ConsentStatus::Given, ConsentStatus::Refused);
    let caller = "email:jonas.lindqvist@example.net";
    let told = guide::event(caller, "", "refused", &(clock.now() - jiff::SignedDuration::from_hours(2)).to_string());
    let helpdesk = Capturer::Client(vocabulary.client("helpdesk").unwrap());
    assert_eq!(ledger.record(draft(&told, &world.config, vocabulary), &helpdesk).unwrap().author, Author::Customer, "a no needs no registration");
    both(given, given);
    let party = |text: &str| PartyRef::parse(text, &normalise).unwrap();
    let desk = Capturer::Staff { pseudonym: "desk".to_owned() };
    let merge = MergeDraft { into: party("crm:0012"), from: party(caller), time: None, reason: "the same".to_owned() };
    ledger.merge(&merge, &desk).unwrap();
    both(refused, refused);
    say("0012", "marketing.email", "given");
    both(given, refused);
    ledger.split(&party("crm:0012"), &SplitOff::Merged(party(caller)), "not the same", &desk).unwrap();
    both(given, given);
}
