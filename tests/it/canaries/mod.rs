//! Canaries: every value in what five APIs answer is made up and stands nowhere else, so that one look at the bytes which the
//! gateway sends says whose value went where. Every caller asks for every purpose about customers of every kind, and what may be
//! told follows from two tables written by hand: what each value is ([`samples`]) and who may be told what ([`rights`]).

mod rights;
mod samples;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use consentry::audit::export::{self, Position, Step, Tail};
use consentry::model::EventFormat as Format;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tracing::dispatcher::DefaultGuard;

use crate::harness::raw::RawUpstream;
use crate::harness::{World, gateway};
use rights::{CALLERS, PEOPLE, Person, REGISTERED, may_write_contact, permitted};
use samples::{CHARGE, INTENT, MEMBER, ORDER, RECORD, REQUEST, SOBJECT, Sample, THREAD, TICKET};

/// What each canary begins with: a text of [`TEXT_LEN`] letters and digits, or a number of [`NUMBER_LEN`] digits.
const TEXT: &str = "cnry";
const TEXT_LEN: usize = 12;
const NUMBER: &str = "7319";
const NUMBER_LEN: usize = 15;

/// Makes canaries, and knows where each belongs.
#[derive(Default)]
struct Mint {
    made: u64,
    whence: HashMap<String, String>,
}

impl Mint {
    fn text(&mut self, whence: &str) -> String {
        self.made += 1;
        let text = format!("{TEXT}{:07}z", self.made);
        self.whence.insert(text.clone(), whence.to_owned());
        text
    }

    fn number(&mut self, whence: &str) -> u64 {
        self.made += 1;
        let number = 731_900_000_000_000 + self.made * 7_919;
        self.whence.insert(number.to_string(), whence.to_owned());
        number
    }

    /// Every canary in some bytes, in whatever case; also one that is cut short.
    fn found(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        // Logs are long, and debug builds slow: one look at most bytes.
        for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'c' | b'C' | b'7')) {
            let rest = &bytes[at..];
            let begins = |with: &str| rest.len() >= with.len() && rest[..with.len()].eq_ignore_ascii_case(with.as_bytes());
            let taken = |len: usize| String::from_utf8_lossy(&rest[..len.min(rest.len())]).to_ascii_lowercase();
            if begins(TEXT) {
                found.insert(taken(TEXT_LEN));
            } else if begins(NUMBER) && self.whence.contains_key(&taken(NUMBER_LEN)) {
                // Other digits may begin so by chance.
                found.insert(taken(NUMBER_LEN));
            }
        }
        found
    }

    fn named(&self, canaries: impl IntoIterator<Item = String>) -> Vec<String> {
        canaries.into_iter().map(|it| format!("{it}: {}", self.whence.get(&it).map_or("none that was made", String::as_str))).collect()
    }
}

/// The customers' ids, by space: canaries, too.
struct Ids(HashMap<(&'static str, usize), (String, String)>);

const SPACES: [&str; 6] = ["shop", "desk", "email", "lead", "pay", "member"];

impl Ids {
    fn new(mint: &mut Mint) -> Self {
        let mut ids = HashMap::new();
        for (number, person) in PEOPLE.iter().enumerate() {
            for space in SPACES {
                let whence = format!("id of {person:?} in {space}");
                let (id, canary) = match space {
                    "shop" | "desk" => {
                        let id = mint.number(&whence).to_string();
                        (id.clone(), id)
                    }
                    _ => {
                        let canary = mint.text(&whence);
                        let id = match space {
                            "email" => format!("{canary}@example.net"),
                            "lead" => format!("003{canary}"),
                            "pay" => format!("cus_{canary}"),
                            _ => canary.clone(),
                        };
                        (id, canary)
                    }
                };
                ids.insert((space, number), (id, canary));
            }
        }
        Self(ids)
    }

    fn of(&self, space: &'static str, person: Person) -> &(String, String) {
        let number = PEOPLE.iter().position(|it| *it == person).unwrap();
        &self.0[&(space, number)]
    }

    /// The customers as they are imported: all but the unknown one.
    fn parties(&self) -> String {
        let known = PEOPLE.iter().filter(|person| **person != Person::Unknown);
        known.fold(String::new(), |mut lines, person| {
            let ids: Vec<String> = SPACES.iter().map(|space| format!("{space}:{}", self.of(space, *person).0)).collect();
            let stage = if *person == Person::Lead { "lead" } else { "customer" };
            let segment = if *person == Person::Vip { "vip" } else { "standard" };
            writeln!(lines, "{},person,{stage},{segment},adult", ids.join(" ")).unwrap();
            lines
        })
    }
}

/// A record whose values are canaries.
#[derive(Clone)]
struct Filled {
    body: Value,
    sample: &'static Sample,
    who: Vec<Person>,
    /// (canary, what it is)
    values: Vec<(String, Option<samples::Place>)>,
}

impl Filled {
    /// A record of a customer; the others in it are those who come next.
    fn new(mint: &mut Mint, ids: &Ids, sample: &'static Sample, person: Person) -> Self {
        let number = PEOPLE.iter().position(|it| *it == person).unwrap();
        let who = (0..3).map(|next| PEOPLE[(number + next) % PEOPLE.len()]).collect();
        let template = serde_json::from_str(sample.record).unwrap();
        let mut filled = Self { body: Value::Null, sample, who, values: Vec::new() };
        filled.body = filled.fill(mint, ids, &template, "");
        for (path, ..) in sample.places.iter().filter(|(path, ..)| !path.ends_with(".**")) {
            assert!(filled.values.iter().any(|(_, place)| place.is_some_and(|place| place.0 == *path)), "{}: nothing stands at {path}", sample.name);
        }
        filled
    }

    fn fill(&mut self, mint: &mut Mint, ids: &Ids, template: &Value, path: &str) -> Value {
        let whence = format!("{} of {:?}: {path}", self.sample.name, self.who[0]);
        match template {
            Value::Object(members) => {
                let mut out = Map::new();
                for (name, member) in members {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let member = self.fill(mint, ids, member, &below);
                    let name = if name == "?" { mint.text(&format!("{whence}.? (a name)")) } else { name.clone() };
                    // A name goes with what stands under it.
                    if name.starts_with(TEXT) {
                        self.values.push((name.clone(), self.place(&below)));
                    }
                    out.insert(name, member);
                }
                Value::Object(out)
            }
            Value::Array(items) => items.iter().enumerate().map(|(n, item)| self.fill(mint, ids, item, &format!("{path}[{n}]"))).collect(),
            Value::Number(_) => {
                let number = mint.number(&whence);
                self.values.push((number.to_string(), self.place(path)));
                json!(number)
            }
            Value::String(text) if text.contains(['#', '@']) => {
                let (before, after) = text.split_once(['#', '@']).unwrap();
                let mut after = after.chars();
                let nth = after.next().and_then(|digit| digit.to_digit(10)).unwrap();
                let (id, canary) = ids.of(self.sample.space, self.who[nth as usize]);
                self.values.push((canary.clone(), self.place(path)));
                if text.starts_with('#') { json!(id.parse::<u64>().unwrap()) } else { json!(format!("{before}{id}{}", after.as_str())) }
            }
            Value::String(text) => {
                let canary = mint.text(&whence);
                self.values.push((canary.clone(), self.place(path)));
                json!(text.replace('?', &canary))
            }
            Value::Null | Value::Bool(_) => panic!("{whence}: what stands there once cannot be told from what stands there twice"),
        }
    }

    /// What the table says of a place: its own line, or the longest of those that cover what is below.
    fn place(&self, path: &str) -> Option<samples::Place> {
        let places = || self.sample.places.iter().copied();
        let below = |place: &samples::Place| place.0.strip_suffix(".**").is_some_and(|above| path.starts_with(&format!("{above}.")));
        places().find(|place| place.0 == path).or_else(|| places().filter(below).max_by_key(|place| place.0.len()))
    }

    /// What of it a caller may see.
    fn expected(&self, caller: &str, purpose: &str) -> BTreeSet<String> {
        let may =
            |part: usize, category: &str| self.sample.parts[part].iter().all(|who| permitted(caller, purpose, self.who[*who]).contains(&category));
        let goes = |part: usize| self.values.iter().any(|(_, place)| place.is_some_and(|(_, category, own)| own == part && may(part, category)));
        let is_told = |place: Option<samples::Place>| {
            place.is_some_and(|(_, category, part)| goes(0) && goes(part) && (category == "open" || may(part, category)))
        };
        self.values.iter().filter(|(_, place)| is_told(*place)).map(|(value, _)| value.clone()).collect()
    }
}

/// A request, and what may come back.
struct Ask {
    method: Method,
    target: String,
    body: Option<String>,
    records: Vec<Filled>,
    /// A declaration bounds how many customers it can be about: else agents get none.
    is_bounded: bool,
    error: Option<ErrorTold>,
    /// Whose address is written.
    writes_of: Option<Person>,
    /// By what the records were found: everybody in one who judges it must permit that.
    found_by: &'static [&'static str],
}

/// What of an error goes on, where something of this kind of record could be told of one of these.
struct ErrorTold {
    values: Vec<String>,
    sample: &'static Sample,
    people: Vec<Person>,
}

impl Ask {
    fn new(method: Method, target: &str) -> Self {
        Self { method, target: target.to_owned(), body: None, records: Vec::new(), is_bounded: false, error: None, writes_of: None, found_by: &[] }
    }

    fn get(target: &str) -> Self {
        Self::new(Method::GET, target)
    }

    fn about(self, records: Vec<Filled>) -> Self {
        Self { records, ..self }
    }

    fn bounded(self) -> Self {
        Self { is_bounded: true, ..self }
    }

    fn expected(&self, caller: &str, purpose: &str) -> BTreeSet<String> {
        if self.method == Method::HEAD || (caller == "sales-copilot" && !self.is_bounded) {
            return BTreeSet::new();
        }
        if self.writes_of.is_some_and(|person| !may_write_contact(caller, purpose, person)) {
            return BTreeSet::new();
        }
        let could = |told: &&ErrorTold| {
            let categories = || told.sample.places.iter().map(|(_, category, _)| category);
            told.people.iter().any(|person| categories().any(|category| permitted(caller, purpose, *person).contains(category)))
        };
        let told = self.error.iter().filter(could).flat_map(|told| told.values.clone());
        let may_be_found = |record: &&Filled| {
            let mut judges = record.sample.parts.iter().flat_map(|part| part.iter().map(|who| permitted(caller, purpose, record.who[*who])));
            judges.all(|permitted| self.found_by.iter().all(|category| permitted.contains(category)))
        };
        let records = self.records.iter().filter(may_be_found).flat_map(|record| record.expected(caller, purpose));
        records.chain(told).collect()
    }

    fn bytes(&self, purpose: &str, is_last: bool) -> String {
        let Self { method, target, .. } = self;
        let body = self.body.as_deref().unwrap_or_default();
        let typed = if body.is_empty() { String::new() } else { format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()) };
        let close = if is_last { "connection: close\r\n" } else { "" };
        format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\ndata-purpose: {purpose}\r\n{typed}{close}\r\n{body}")
    }
}

/// The five APIs, and whatever can be asked of them.
struct Apis<'a> {
    mint: &'a mut Mint,
    ids: &'a Ids,
    upstream: &'a RawUpstream,
    asks: Vec<Ask>,
}

impl Apis<'_> {
    /// An answer with canaries wherever there is a place for one beside the body: early hints, the reason, headers, trailers.
    fn dressed(&mut self, status: u16, content_type: &str, body: &str) -> Vec<u8> {
        let mut c = |what: &str| self.mint.text(&format!("{what} of an answer {status}"));
        let length = body.len();
        let head = format!(
            "HTTP/1.1 103 Early Hints\r\nlink: </{}>; rel=preload\r\n\r\nHTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\netag: \"{}\"\r\n\
             set-cookie: session={}\r\nx-request-id: {}\r\ncontent-language: {}\r\ncontent-disposition: attachment; filename={}\r\nwarning: 199 - \"{}\"\r\n\
             www-authenticate: Basic realm=\"{}\"\r\nretry-after: {}\r\nlocation: /v7/nowhere/{}\r\nconsentry-decision: {}\r\n\
             link: </v7/api/v2/tickets.json?page=2&status={}>; rel=next, <https://elsewhere.example.net/{}>; rel=\"prev\"\r\n",
            c("an early hint"),
            c("the reason"),
            c("the tag"),
            c("a cookie"),
            c("a header"),
            c("a language"),
            c("a file name"),
            c("a warning"),
            c("a challenge"),
            c("a time"),
            c("a place"),
            c("a decision"),
            c("a page"),
            c("another page"),
        );
        let trailers = format!("x-checked: {}\r\nlink: </{}>; rel=next\r\n", c("a trailer"), c("a trailer"));
        format!("{head}trailer: x-checked\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n{trailers}\r\n").into_bytes()
    }

    fn plan(&mut self, what: &str, status: u16, content_type: &str, body: &str) {
        let bytes = self.dressed(status, content_type, body);
        self.upstream.on(what, bytes);
    }

    fn filled(&mut self, sample: &'static Sample, person: Person) -> Filled {
        Filled::new(self.mint, self.ids, sample, person)
    }

    /// An object with a canary in each of these members.
    fn beside(&mut self, what: &str, mut object: Value, members: &[&str]) -> String {
        for member in members {
            object[*member] = json!(self.mint.text(&format!("{member} beside {what}")));
        }
        object.to_string()
    }

    /// One object by itself, at a path of its own; `at`: where it stands.
    fn single(&mut self, sample: &'static Sample, person: Person, path: &str, prefix: &str, at: Option<&str>) -> Ask {
        let filled = self.filled(sample, person);
        let body = match at {
            Some(at) => self.beside(sample.name, json!({ at: filled.body }), &["meta", "error"]),
            None => filled.body.to_string(),
        };
        self.plan(&format!("GET {path}"), 200, "application/json", &body);
        Ask::get(&format!("{prefix}{path}")).about(vec![filled])
    }

    /// A list with everybody in it.
    fn list(&mut self, sample: &'static Sample, path: &str, prefix: &str, rows: &str, beside: &[&str]) -> Ask {
        let records: Vec<Filled> = PEOPLE.iter().map(|person| self.filled(sample, *person)).collect();
        let bodies: Vec<&Value> = records.iter().map(|record| &record.body).collect();
        let body = self.beside(&format!("a list of {}", sample.name), json!({ rows: bodies }), beside);
        self.plan(&format!("GET {path}"), 200, "application/json", &body);
        Ask::get(&format!("{prefix}{path}")).about(records)
    }

    /// Answers from which nothing is to be had: errors, redirects, parts, damage. `target` has `{}` where their number stands.
    fn mishaps(&mut self, sample: &'static Sample, target: &str, prefix: &str, at: &str, told: bool) {
        let good = {
            let filled = self.filled(sample, Person::Given);
            if at.is_empty() { filled.body.to_string() } else { json!({ at: [filled.body] }).to_string() }
        };
        let cut = good.split_at(good.len() / 2).0.to_owned();
        let (json, html) = ("application/json", "text/html");
        let mut cases: Vec<(u16, &str, String)> =
            [400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503].map(|status| (status, json, String::new())).to_vec();
        cases.extend([302, 206, 226, 300].map(|status| (status, json, good.clone())));
        cases.extend([
            (200, html, format!("<html>{good}</html>")),
            (200, html, good.clone()),
            (200, json, cut),
            (200, json, format!("{good}{good}")),
            (200, json, format!("[{good}]")),
            (200, json, format!("\u{feff}{good}")),
            (200, json, good.replacen('{', "{\"id\":\"\",\"id\":\"\",", 1)),
            (200, "application/json; charset=utf-16", good.clone()),
            (400, html, good),
        ]);
        for (number, (status, content_type, body)) in cases.into_iter().enumerate() {
            let (error, told_now) = if body.is_empty() {
                let mut c = |what: &str| self.mint.text(&format!("{what} of an error {status} of {}", sample.name));
                let (code, kind) = (c("the code"), c("the type"));
                let body =
                    json!({ "error": { "code": code, "type": kind, "message": c("the sentence"), "near": [c("a match")] }, "trace": c("the trace") });
                (body.to_string(), vec![code, kind])
            } else {
                (body, Vec::new())
            };
            let path = target.replace("{}", &number.to_string());
            self.plan(&format!("GET {path}"), status, content_type, &error);
            let mut ask = Ask::get(&format!("{prefix}{path}")).bounded();
            if told && matches!(status, 400 | 409 | 422 | 429) {
                ask.error = Some(ErrorTold { values: told_now, sample, people: PEOPLE.to_vec() });
            }
            self.asks.push(ask);
        }
    }

    fn shop(&mut self) {
        let list = self.list(&ORDER, "/orders.json", "/shop", "orders", &["next", "debug"]);
        self.asks.push(list);
        for person in PEOPLE {
            let one = self.single(&ORDER, person, &format!("/orders/{person:?}"), "/shop", Some("order"));
            self.asks.push(one);
        }
        self.mishaps(&ORDER, "/orders.json?page_info={}", "/shop", "orders", false);
    }

    fn desk(&mut self) {
        let list = self.list(&TICKET, "/api/v2/tickets.json", "/desk", "tickets", &["next_page", "previous_page", "count", "users"]);
        self.asks.push(list);
        for person in PEOPLE {
            let thread = self.single(&THREAD, person, &format!("/api/threads/{person:?}"), "/desk", None);
            let request = self.single(&REQUEST, person, &format!("/REST/2.0/ticket/{person:?}"), "/tracker", None);
            self.asks.extend([thread, request]);
        }
        let list = self.list(&TICKET, "/api/v2/tickets.json?status=open", "/desk", "tickets", &["next_page", "count"]);
        self.asks.push(Ask { found_by: &["case"], ..list });
        self.mishaps(&THREAD, "/api/threads/{}", "/desk", "", false);
    }

    fn leads(&mut self) {
        let list = self.list(&SOBJECT, "/data/v62.0/query/all", "/leads", "records", &["totalSize", "nextRecordsUrl", "errors"]);
        self.asks.push(list);
        for person in PEOPLE {
            let id = self.ids.of("lead", person).0.clone();
            let one = self.single(&RECORD, person, &format!("/ui-api/records/{id}"), "/leads", None);
            self.asks.push(one);
        }
        self.mishaps(&SOBJECT, "/data/v62.0/query/{}", "/leads", "records", false);
    }

    fn payments(&mut self) {
        let list = self.list(&CHARGE, "/v1/charges", "/pay", "data", &["url", "request_log"]);
        let head = Ask::new(Method::HEAD, &list.target);
        self.asks.extend([list, head]);
        for person in PEOPLE {
            let charge = self.single(&CHARGE, person, &format!("/v1/charges/{person:?}"), "/pay", None).bounded();
            let head = Ask::new(Method::HEAD, &charge.target);
            let intent = self.single(&INTENT, person, &format!("/v1/payment_intents/{person:?}"), "/pay", None);
            self.asks.extend([charge, head, intent]);
        }
        self.mishaps(&CHARGE, "/v1/charges/{}", "/pay", "", true);
        let list = self.list(&CHARGE, "/v1/charges/search?query=amount", "/pay", "data", &["next_page", "total_count", "url"]);
        self.asks.push(Ask { found_by: &["order", "contact"], ..list });
        // So long that it goes out in parts.
        let mut records: Vec<Filled> = PEOPLE.iter().map(|person| self.filled(&CHARGE, *person)).collect();
        for record in &mut records {
            record.body["fill"] = json!(format!("{}{}", "x".repeat(150_000), self.mint.text("what makes a list long")));
        }
        let bodies: Vec<&Value> = records.iter().map(|record| &record.body).collect();
        let body = self.beside("a long list", json!({ "data": bodies }), &["url", "request_log"]);
        self.plan("GET /v1/charges?limit=100", 200, "application/json", &body);
        self.asks.push(Ask::get("/pay/v1/charges?limit=100").about(records));
    }

    /// Record by record; an event has a name, an id and comments beside it.
    fn feeds(&mut self) {
        let known: Vec<Filled> = PEOPLE.iter().map(|person| self.filled(&MEMBER, *person)).collect();
        let lines: Vec<String> = known.iter().map(|record| format!("{}\n", record.body)).collect();
        self.plan("GET /feed/lines", 200, "application/x-ndjson", &lines.concat());
        self.asks.push(Ask::get("/cards/feed/lines").about(known));

        let known: Vec<Filled> = PEOPLE.iter().map(|person| self.filled(&MEMBER, *person)).collect();
        let mut events = String::new();
        for record in &known {
            let stranger = self.filled(&MEMBER, record.who[0]).body;
            let mut c = |what: &str| self.mint.text(&format!("{what} of an event"));
            write!(events, ": {}\nevent: update\nid: {}\nx-{}: 1\ndata: {}\n\n", c("a comment"), c("the id"), c("a field"), record.body).unwrap();
            write!(events, "event: {}\ndata: {stranger}\n\n", c("the name")).unwrap();
        }
        self.plan("GET /feed/events", 200, "text/event-stream", &events);
        self.asks.push(Ask::get("/cards/feed/events").about(known));
    }

    /// Who writes is answered with the whole record, also where it was changed by somebody else meanwhile.
    fn writes(&mut self) {
        for person in PEOPLE {
            let path = format!("/members/{}", self.ids.of("member", person).0);
            for (status, written) in [(200, r#"{"email":"new@example.org"}"#), (409, r#"{"email":"late@example.org"}"#)] {
                let filled = self.filled(&MEMBER, person);
                let body = match status {
                    200 => filled.body.to_string(),
                    _ => self.beside("a conflict", json!({ "current": filled.body }), &["message", "changed_by"]),
                };
                self.plan(&format!("PATCH {path} {written}"), status, "application/json", &body);
                let ask = Ask::new(Method::PATCH, &format!("/cards{path}")).about(vec![filled]).bounded();
                self.asks.push(Ask { body: Some(written.to_owned()), writes_of: Some(person), ..ask });
            }
        }
    }

    fn call(&mut self, method: &str, params: &Value, status: u16, answer: &Value) -> Ask {
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 7 }).to_string();
        // As the gateway writes it, which is the order of the protocol.
        let sent = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":7}}"#);
        self.plan(&format!("POST /call {sent}"), status, "application/json", &answer.to_string());
        Ask { body: Some(body), ..Ask::new(Method::POST, "/members/call") }
    }

    fn members(&mut self) {
        let records: Vec<Filled> = PEOPLE.iter().map(|person| self.filled(&MEMBER, *person)).collect();
        let bodies: Vec<&Value> = records.iter().map(|record| &record.body).collect();
        let (total, cursor) = (self.mint.number("the total of a call"), self.mint.text("the cursor of a call"));
        let answer = json!({ "jsonrpc": "2.0", "result": { "rows": bodies, "total": total, "cursor": cursor }, "id": 7 });
        let find = self.call("member.find", &json!({ "limit": "1" }), 200, &answer).about(records);
        self.asks.push(find);
        for person in PEOPLE {
            let id = self.ids.of("member", person).0.clone();
            let filled = self.filled(&MEMBER, person);
            let answer = json!({ "jsonrpc": "2.0", "result": filled.body, "id": 7 });
            let get = self.call("member.get", &json!({ "id": id }), 200, &answer).about(vec![filled]).bounded();
            self.asks.push(get);
        }
        let id = self.ids.of("member", Person::Given).0.clone();
        for (number, status) in [200, 200, 400, 409, 500].into_iter().enumerate() {
            let code = self.mint.number(&format!("the code of a call that failed with {status}"));
            let mut c = |what: &str| self.mint.text(&format!("{what} of a call that failed with {status}"));
            let error = json!({ "code": code, "message": c("the sentence"), "data": { c("a name"): c("a match") } });
            let answer = json!({ "jsonrpc": "2.0", "error": error, "id": 7 });
            let params = if number == 0 { json!({ "limit": "2" }) } else { json!({ "id": id, "lang": number.to_string() }) };
            let method = if number == 0 { "member.find" } else { "member.get" };
            let mut ask = self.call(method, &params, status, &answer).bounded();
            if number > 0 && status == 200 {
                ask.error = Some(ErrorTold { values: vec![code.to_string()], sample: &MEMBER, people: vec![Person::Given] });
            }
            self.asks.push(ask);
        }
    }
}

/// What is traced, as far as there is a canary in it, and how much it was.
#[derive(Clone, Default)]
struct Traced(Arc<Mutex<(usize, Vec<u8>)>>);

impl std::io::Write for Traced {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let mut traced = self.0.lock().unwrap();
        traced.0 += 1;
        let lower = event.to_ascii_lowercase();
        if [TEXT, NUMBER].iter().any(|with| lower.windows(with.len()).any(|window| window == with.as_bytes())) {
            traced.1.extend_from_slice(event);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static TRACING: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Runs it on threads of its own, of which everything is traced.
fn traced<F: Future>(traced: &Traced, run: F) -> F::Output {
    let writer = traced.clone();
    let filter = tracing_subscriber::EnvFilter::new("debug,consentry=trace");
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(move || writer.clone()).finish();
    let dispatch = tracing::Dispatch::new(subscriber);
    // With one alone, whether an event is wanted is asked of the thread that meets it first, which may be another test's, and kept for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_env_filter("off").finish());
    let begin = move || TRACING.with(|guard| *guard.borrow_mut() = Some(tracing::dispatcher::set_default(&dispatch)));
    begin();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(begin).build().unwrap();
    let output = runtime.block_on(run);
    TRACING.with(|guard| drop(guard.borrow_mut().take()));
    output
}

/// Apps and agents, and purposes, as the catalogue has them.
fn catalogue() -> (BTreeSet<String>, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/catalogue.cedarentities.json");
    let entities: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let ids = |of: &[&str]| {
        let entities = entities.as_array().unwrap().iter().filter(|it| of.contains(&it["uid"]["type"].as_str().unwrap()));
        entities.map(|it| it["uid"]["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    (ids(&["Application", "Agent"]).into_iter().collect(), ids(&["Purpose"]))
}

/// The answers to these requests, each with its head; those in chunks put together, with what stands behind the last one.
fn answers(text: &str, asks: &[&Ask]) -> Vec<String> {
    let mut rest = text;
    let mut found = Vec::new();
    for ask in asks {
        let (head, mut after) = rest.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {} {}: {rest}", ask.method, ask.target));
        let mut answer = format!("{head}\n\n");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut piece;
        if let Some(length) = length {
            let body = if ask.method == Method::HEAD { 0 } else { length.parse::<usize>().unwrap() };
            (piece, rest) = after.split_at(body);
            answer.push_str(piece);
        } else {
            assert!(head.contains("transfer-encoding: chunked"), "{head}");
            loop {
                let (size, chunk) = after.split_once("\r\n").unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if size == 0 {
                    (piece, rest) = chunk.split_at(chunk.find("\r\n").unwrap() + 2);
                    assert_eq!("\r\n", piece, "no trailers");
                    break;
                }
                (piece, after) = chunk.split_at(size);
                answer.push_str(piece);
                after = after.strip_prefix("\r\n").unwrap();
            }
        }
        found.push(answer);
    }
    assert_eq!("", rest, "nothing follows the last answer");
    found
}

/// What a listener without identities answers.
fn health(world: &World, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(world.running().addresses.health.unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Files below a folder, with what stands in them.
fn files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
}

/// What a SIEM would be told.
fn exported(log: &Path, format: Format) -> Vec<u8> {
    let mut tail = Tail::open(log, &export::origin(log).unwrap(), Position::default()).unwrap();
    let mut all = String::new();
    loop {
        match tail.step(None, None).unwrap() {
            Step::Event(event) => all += &export::record(format, &event),
            Step::Read => {}
            Step::Idle => break,
        }
    }
    assert!(all.len() > 100_000, "{} bytes", all.len());
    all.into_bytes()
}

async fn prepared(upstream: &RawUpstream, ids: &Ids) -> World {
    let texts = [include_str!("../vendor.toml"), include_str!("../tickets.toml"), include_str!("../leads.toml"), include_str!("../payments.toml")];
    let others: Vec<String> = texts.iter().map(|text| text.replace("upstream = \"house\"", "upstream = \"raw\"")).collect();
    let port = upstream.address.port().to_string();
    let text = format!("{}\n{}", include_str!("apis.toml").replace("{raw}", &port), others.join("\n"));
    let world = gateway().apis(&text).parties(&ids.parties()).start().await;
    for (person, said) in [
        (Person::Given, &["given"][..]),
        (Person::Lead, &["given"]),
        (Person::Refused, &["refused"]),
        (Person::Withdrawn, &["given", "withdrawn"]),
        (Person::Restricted, &["given"]),
        (Person::Vip, &["given"]),
    ] {
        let id = format!("member:{}", ids.of("member", person).0);
        for state in said {
            world.consent(&id, "marketing.email", state).await;
            world.consent(&id, "sales.outreach", state).await;
        }
    }
    for purpose in ["marketing.email", "sales.outreach"] {
        let partly = format!("member:{}", ids.of("member", Person::Partly).0);
        world.say(&partly, purpose, "given", json!({ "categories": ["identity"] })).await;
    }
    let lead = format!("member:{}", ids.of("member", Person::Lead).0);
    world.consent(&lead, "service-provision.support", "given").await;
    let restricted = format!("member:{}", ids.of("member", Person::Restricted).0);
    let body = json!({ "party": restricted, "evidence": [{ "kind": "letter", "reference": "l" }] });
    world.desk(Method::POST, "/v1/restrictions", body).await;
    world
}

/// Holds what was found against what may be told.
fn compare(mint: &Mint, what: &str, answer: &str, expected: &BTreeSet<String>) {
    let found = mint.found(answer.as_bytes());
    let (leaked, missing) = (found.difference(expected).cloned(), expected.difference(&found).cloned());
    let (leaked, missing) = (mint.named(leaked), mint.named(missing));
    assert!(leaked.is_empty() && missing.is_empty(), "{what}\nleaked: {leaked:#?}\nwithheld without need: {missing:#?}\n{answer}");
}

async fn every_caller_asks_for_every_purpose(world: &World, mint: &Mint, asks: &Arc<Vec<Ask>>, purposes: &[String]) {
    let mut all = tokio::task::JoinSet::new();
    for caller in CALLERS {
        let registered = REGISTERED.iter().find(|(name, _)| *name == caller).unwrap().1;
        for purpose in purposes {
            let (client, purpose, asks) = (world.client(caller), purpose.clone(), Arc::clone(asks));
            // For a purpose that is not the caller's one refusal is like the other.
            let is_registered = registered.contains(&purpose.as_str());
            all.spawn(async move {
                let chosen: Vec<usize> = (0..asks.len()).filter(|n| is_registered || n % 23 == 0).collect();
                let last = chosen.len() - 1;
                let bytes: String = chosen.iter().enumerate().map(|(n, ask)| asks[*ask].bytes(&purpose, n == last)).collect();
                (caller, purpose, chosen, client.raw(bytes.as_bytes()).await)
            });
        }
    }
    let mut told: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut in_parts = 0;
    while let Some(done) = all.join_next().await {
        let (caller, purpose, chosen, text) = done.unwrap();
        let chosen: Vec<&Ask> = chosen.iter().map(|n| &asks[*n]).collect();
        for (ask, answer) in chosen.iter().zip(answers(&text, &chosen)) {
            let expected = ask.expected(caller, &purpose);
            let what = format!("{caller} for {purpose}: {} {} {}", ask.method, ask.target, ask.body.as_deref().unwrap_or_default());
            compare(mint, &what, &answer, &expected);
            in_parts += usize::from(answer.contains("transfer-encoding: chunked"));
            if !expected.is_empty() {
                *told.entry((caller, purpose.clone())).or_default() += expected.len();
            }
        }
    }
    // Nobody is told nothing by a mistake of the tables' own.
    let active: Vec<(&str, &str)> = told.keys().map(|(caller, purpose)| (*caller, purpose.as_str())).collect();
    let expected = [
        ("campaign-manager", "marketing.email"),
        ("crm", "sales.outreach"),
        ("crm", "service-provision"),
        ("helpdesk", "service-provision.support"),
        ("ledger", "legal-compliance"),
        ("mdm-hub", "data-coordination"),
        ("sales-copilot", "sales.outreach"),
    ];
    assert_eq!(expected[..], active[..], "{told:?}");
    assert!(told.values().all(|values| *values >= 20), "{told:?}");
    assert!(in_parts >= 6, "the long list came in parts {in_parts} times");
}

/// Somebody calls everything an emergency; the canaries that they and others wrote about it.
async fn an_emergency(world: &World, mint: &mut Mint, ids: &Ids, asks: &[Ask]) -> [String; 2] {
    let [asked, used] = ["why a grant was asked for", "why it was used"].map(|whence| mint.text(whence));
    let party = format!("member:{}", ids.of("member", Person::Given).0);
    let id = world.granted(json!({ "party": party, "justification": asked })).await;
    let on_call = world.by_crm("emp-uses", &["on-call"]);
    for ask in asks.iter().filter(|ask| ask.method == Method::GET && ask.error.is_none()) {
        let answer = on_call.get(&ask.target).purpose("service-provision.support").header("data-justification", &used).await;
        assert!(!answer.text().contains(&used), "{answer:?}");
    }
    let auditor = world.person("emp-audits", "auditors");
    let found = auditor.get(&format!("/v1/decisions?grant={id}")).await.json();
    let found = found["decisions"].as_array().unwrap();
    assert!(found.len() > 5 && found.iter().all(|found| found["justification"]["text"] == json!(used)), "{found:?}");
    world.revoke(&id).await;
    [asked, used]
}

/// HTTP/2 has trailers of its own.
async fn the_same_over_http2(world: &World, mint: &Mint, asks: &[Ask]) {
    for (caller, purpose) in [("crm", "sales.outreach"), ("helpdesk", "service-provision.support")] {
        let client = world.client(caller);
        for ask in
            asks.iter().filter(|ask| ask.method == Method::GET && (ask.target.ends_with("Given") || ask.records.len() > 1 || ask.error.is_some()))
        {
            let response = client.get(&ask.target).purpose(purpose).begin().await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = format!("{:?}", body.trailers());
            let answer = format!("{head:?}\n{}\n{trailers}", String::from_utf8(body.to_bytes().to_vec()).unwrap());
            compare(mint, &format!("{caller} for {purpose} over HTTP/2: {}", ask.target), &answer, &ask.expected(caller, purpose));
        }
    }
}

#[test]
fn no_value_is_sent_logged_counted_or_traced_but_to_whom_it_may_be_told() {
    let (callers, purposes) = catalogue();
    assert_eq!(CALLERS.map(str::to_owned).into_iter().collect::<BTreeSet<_>>(), callers, "somebody new may call: say what they may be told");
    let sink = Traced::default();
    traced(&sink, async {
        let mut mint = Mint::default();
        let ids = Ids::new(&mut mint);
        let upstream = RawUpstream::start().await;
        let mut apis = Apis { mint: &mut mint, ids: &ids, upstream: &upstream, asks: Vec::new() };
        apis.shop();
        apis.desk();
        apis.leads();
        apis.payments();
        apis.members();
        apis.writes();
        apis.feeds();
        let asks = Arc::new(apis.asks);
        let world = prepared(&upstream, &ids).await;
        every_caller_asks_for_every_purpose(&world, &mint, &asks, &purposes).await;
        the_same_over_http2(&world, &mint, &asks).await;
        let [asked, _] = an_emergency(&world, &mut mint, &ids, &asks).await;
        let none = BTreeSet::new();
        for path in ["/metrics", "/readyz"] {
            let text = health(&world, path);
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            compare(&mint, path, &text, &none);
        }
        for api in ["shop", "desk", "tracker", "leads", "payments", "members", "cards"] {
            let drift = world.staff("operator").get(&format!("/v1/drift?api={api}")).await;
            assert!(drift.status == 200 && drift.text().len() > 100, "{drift:?}");
            compare(&mint, &format!("drift of {api}"), drift.text(), &none);
        }
        // What is handed over to authorities knows customers by their public ids only.
        for kind in ["denies", "breach", "processing-record", "policy-effect", "anomalies", "integrity", "withdrawn", "erasures"] {
            let report = world.staff("auditor").get(&format!("/v1/reports/{kind}?format=html")).await;
            assert!(report.status == 200 && report.text().len() > 1_000, "{kind}: {report:?}");
            compare(&mint, &format!("report {kind}"), report.text(), &none);
        }
        // Once more from the beginning, so that all has been written down.
        let log = world.log_dir();
        let world = world.restarted().await;
        let mut found = Vec::new();
        files(world.root(), &mut found);
        let of_log = found.iter().filter(|(path, _)| path.starts_with(&*log.display().to_string())).map(|(_, bytes)| bytes.len()).sum::<usize>();
        assert!(of_log > 100_000, "the log is somewhere else: {of_log} bytes");
        found.extend(Format::ALL.map(|format| (format!("the log as {}", format.as_str()), exported(&log, format))));
        // The ledger knows whose ids they are, and nothing else.
        let mut known: BTreeSet<String> =
            ids.0.iter().filter(|((_, n), _)| PEOPLE[*n] != Person::Unknown).map(|(_, (_, canary))| canary.clone()).collect();
        // And why a grant was asked for.
        known.insert(asked);
        for (path, bytes) in found {
            let leaked: Vec<String> = mint.found(&bytes).into_iter().filter(|it| !path.contains("consent.db") || !known.contains(it)).collect();
            assert!(leaked.is_empty(), "{path}: {:#?}", mint.named(leaked));
        }
        world.finish().await;
        let (events, with_canary) = std::mem::take(&mut *sink.0.lock().unwrap());
        assert!(events > 2_000, "only {events} events were traced");
        let leaked = mint.named(mint.found(&with_canary));
        assert!(leaked.is_empty(), "traced: {leaked:#?}\n{}", String::from_utf8_lossy(&with_canary));
    });
}
