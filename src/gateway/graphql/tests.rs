//! Random queries, resolved by an executor that knows nothing of the gateway. What the caller asked for is resolved over made-up
//! objects whose every value says whose it is and of which category; what the gateway asks for is resolved, too, and cut. Then the
//! values that came through must be exactly those that are permitted, whatever they are called.

#[path = "../../../tests/it/harness/graphql.rs"]
mod executor;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::catalog::graphql::{Answers, CustomerArg, Limits, RootField, Schema};
use crate::catalog::{Accepts, Param};
use crate::filter::{CutError, Judge};
use crate::model::{
    CategoryVerdict, ConflictRule, ConsentStatus, Field, FieldRule, Judged, LawfulBasis, OnDeny, PartyNo, PathPattern, Release, Several, Shape,
    ShapeName, Space, Subject, Verdicts, Why,
};

const SCHEMA: &str = "
    type Query { customer(id: ID!): Customer, customers(first: Int): [Customer!]!, pages: Pages!, find: [Found!]! }
    type Pages { edges: [Edge!]!, total: Int } type Edge { node: Customer }
    union Found = Customer | Shop
    interface Named { name: String }
    type Customer implements Named { id: ID!, name: String, email: String!, vip: String, secret: String, tags: [String!]!, address: Address,
        orders(first: Int): [Order!]!, friends: [Person!]!, manager: Person }
    type Address { street: String, city: String }
    type Order { id: ID!, total: String, note: String }
    type Person implements Named { id: ID!, name: String, email: String, address: Address, secret: String }
    type Shop { id: ID!, name: String }";
const CATEGORIES: [&str; 4] = ["identity", "contact", "behaviour", "order"];

fn path(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn shape(name: &str, open: &[&str], fields: &[(&str, &str)]) -> Arc<Shape> {
    let rule = |text: &str| match text.strip_prefix("embed ") {
        Some(name) => FieldRule::Embed(ShapeName::intern(name)),
        None => FieldRule::Category { category: Category::intern(text), on_deny: OnDeny::Remove },
    };
    Arc::new(Shape {
        name: ShapeName::intern(name),
        ids: Some(Space::intern("shop")),
        customer: vec![path("id")],
        several: Several::All,
        open: open.iter().map(|text| path(text)).collect(),
        links: Vec::new(),
        hidden: Vec::new(),
        needs: Vec::new(),
        also: Vec::new(),
        bare: false,
        lets_unmapped_pass: false,
        fields: fields.iter().map(|(at, text)| Field { path: path(at), rule: rule(text) }).collect(),
    })
}

fn shop() -> Graphql {
    let customer = shape(
        "customer",
        &["orders[].id"],
        &[
            ("name", "identity"),
            ("email", "contact"),
            ("vip", "behaviour"),
            ("tags[]", "behaviour"),
            ("address.**", "contact"),
            ("orders[].total", "order"),
            ("orders[].note", "behaviour"),
            ("friends", "embed person"),
            ("manager", "embed person"),
        ],
    );
    let person = shape("person", &[], &[("name", "identity"), ("email", "contact"), ("address.city", "contact")]);
    let rows = |rows: &str| Answers::Rows { rows: path(rows), counts: Vec::new(), open: Vec::new(), rows_max: None };
    let one = Answers::Object { at: PathPattern::default(), subject: Subject::Answer };
    let id = Some(CustomerArg { name: "id".to_owned(), path: Vec::new(), space: Space::intern("shop") });
    let fields = [
        ("customer", RootField { answers: one, customer: id }),
        ("customers", RootField { answers: rows("[]"), customer: None }),
        ("pages", RootField { answers: rows("edges[].node"), customer: None }),
        ("find", RootField { answers: rows("[]"), customer: None }),
    ];
    let free = |name: &str| vec![Param { name: name.to_owned(), accepts: Accepts::Any, categories: Vec::new() }];
    let args = [("Query.customer", free("id")), ("Query.customers", free("first")), ("Customer.orders", free("first"))];
    Graphql::new(
        Schema::parse(SCHEMA).unwrap(),
        [("Customer".to_owned(), Arc::clone(&customer))].into(),
        fields.map(|(name, field)| (name.to_owned(), field)).into(),
        args.map(|(name, rules)| (name.to_owned(), rules)).into(),
        Limits { selections: 2_000, aliases: 1_000, ..Limits::default() },
        [customer, person].into_iter().map(|shape| (shape.name, shape)).collect(),
    )
}

/// Numbers that look random and are the same each time: <https://prng.di.unimi.it/splitmix64.c>
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.roll(of.len())]
    }
}

/// `(field, type of what it returns)`; no type: a leaf.
fn fields(of: &str) -> &'static [(&'static str, &'static str)] {
    match of {
        "Customer" => &[
            ("id", ""),
            ("name", ""),
            ("email", ""),
            ("vip", ""),
            ("secret", ""),
            ("tags", ""),
            ("address", "Address"),
            ("orders", "Order"),
            ("friends", "Person"),
            ("manager", "Person"),
        ],
        "Person" => &[("id", ""), ("name", ""), ("email", ""), ("secret", ""), ("address", "Address")],
        "Address" => &[("street", ""), ("city", "")],
        "Order" => &[("id", ""), ("total", ""), ("note", "")],
        "Shop" => &[("id", ""), ("name", "")],
        other => panic!("{other}"),
    }
}

/// A selection set of random fields, aliases, fragments and directives.
fn set(dice: &mut Dice, of: &str, depth: usize) -> String {
    let mut text = String::from("{ ");
    for _ in 0..=dice.roll(5) {
        let when = dice.pick(&["", "", "", "", "@include(if: $yes)", "@skip(if: $no)", "@include(if: false)", "@skip(if: $yes)"]);
        match dice.roll(12) {
            0 => text.push_str("__typename "),
            1 if depth > 0 => write!(text, "... on {of} {when} {} ", set(dice, of, depth - 1)).unwrap(),
            2 if depth > 0 => write!(text, "... {when} {} ", set(dice, of, depth - 1)).unwrap(),
            3 if matches!(of, "Customer" | "Person") => write!(text, "... on Named {when} {{ n{}: name }} ", dice.roll(3)).unwrap(),
            4 | 5 if of == "Customer" => write!(text, "...{} {when} ", dice.pick(&["C0", "C1"])).unwrap(),
            4 | 5 if of == "Person" => write!(text, "...P0 {when} ").unwrap(),
            _ => {
                let (field, returns) = fields(of)[dice.roll(fields(of).len())];
                // Some names are taken for other fields, which must be refused or come out right.
                let alias = match dice.roll(8) {
                    0..=3 => String::new(),
                    4..=6 => format!("{}{}: ", field.get(..2).unwrap(), dice.roll(2)),
                    _ => format!("{}: ", dice.pick(&["name", "email", "id", "a", "address"])),
                };
                let args = if field == "orders" { dice.pick(&["", "(first: 1)", "(first: $two)"]) } else { "" };
                let inner = if returns.is_empty() { String::new() } else { set(dice, returns, depth.saturating_sub(1)) };
                write!(text, "{alias}{field}{args} {when} {inner} ").unwrap();
            }
        }
    }
    text.push('}');
    text
}

fn random_query(dice: &mut Dice) -> String {
    let inner = set(dice, "Customer", 3);
    let root = match dice.roll(6) {
        0 | 1 => format!("c: customer(id: $id) {inner}"),
        2 => format!("customers(first: $two) {inner}"),
        3 => format!("p: pages {{ total e: edges {{ __typename x: node {inner} }} }}"),
        4 => format!("find {{ __typename ... on Customer {inner} ... on Shop {} }}", set(dice, "Shop", 0)),
        _ => format!("find {{ ... on Named {{ ... on Customer {inner} }} ... on Customer {} }}", set(dice, "Customer", 2)),
    };
    let head = "query ($id: ID!, $yes: Boolean = true, $no: Boolean!, $two: Int = 2)";
    format!(
        "{head} {{ {root} }} fragment C0 on Customer {} fragment C1 on Customer {{ ...C0 manager {{ ...P0 }} }} fragment P0 on Person {}",
        without_fragments(&set(dice, "Customer", 2)),
        without_fragments(&set(dice, "Person", 1)),
    )
}

/// A fragment that holds itself would be refused.
fn without_fragments(text: &str) -> String {
    ["C0", "C1", "P0"].iter().fold(text.to_owned(), |text, name| text.replace(&format!("...{name}"), "... @include(if: true) { __typename } #\n"))
}

/// `(party, category)`: what each value says of itself.
fn value(party: u64, category: &str, serial: &mut u32) -> Value {
    *serial += 1;
    Value::String(format!("<{party}|{category}|{serial}>"))
}

fn person(party: u64, serial: &mut u32) -> Value {
    let mut of = |category: &str| value(party, category, serial);
    json!({
        "__typename": "Person", "#": party, "id": party.to_string(), "name": of("identity"), "email": of("contact"), "secret": of("none"),
        "address": { "__typename": "Address", "street": of("none"), "city": of("contact") },
    })
}

fn customer(party: u64, serial: &mut u32) -> Value {
    let friends = [person(party % 5 + 1, serial), person(9, serial), person((party + 2) % 5 + 1, serial)];
    let manager = if party == 2 { Value::Null } else { person((party + 1) % 5 + 1, serial) };
    let mut of = |category: &str| value(party, category, serial);
    json!({
        "__typename": "Customer", "#": party, "id": party.to_string(), "name": of("identity"), "email": of("contact"), "vip": of("behaviour"),
        "secret": of("none"), "tags": [of("behaviour"), of("behaviour")],
        "address": { "__typename": "Address", "street": of("contact"), "city": of("contact") },
        "orders": [
            { "__typename": "Order", "id": of("open"), "total": of("order"), "note": of("behaviour") },
            { "__typename": "Order", "id": of("open"), "total": of("order"), "note": of("behaviour") },
            { "__typename": "Order", "id": of("open"), "total": of("order"), "note": of("behaviour") },
        ],
        "friends": friends, "manager": manager,
    })
}

fn root(name: &str, args: &Map<String, Json>) -> Value {
    let mut serial = 0;
    let all: Vec<Value> = (1..=5).map(|party| customer(party, &mut serial)).collect();
    match name {
        "customer" => all.into_iter().find(|one| one["id"] == args["id"]).unwrap_or(Value::Null),
        "customers" => Value::Array(all),
        "pages" => json!({ "edges": all.into_iter().map(|one| json!({ "__typename": "Edge", "node": one })).collect::<Vec<_>>(), "total": 5 }),
        "find" => {
            let shop = json!({ "__typename": "Shop", "#": 0, "id": "1", "name": value(0, "none", &mut serial) });
            Value::Array(all.into_iter().chain([shop]).collect())
        }
        other => panic!("{other}"),
    }
}

const POSSIBLE: executor::Possible = &[("Named", &["Customer", "Person"]), ("Found", &["Customer", "Shop"])];

/// Who permits what.
struct People {
    permitted: BTreeSet<(u64, String)>,
    requested: Option<String>,
}

impl People {
    fn permits(&self, party: u64, category: &str) -> bool {
        self.permitted.contains(&(party, category.to_owned()))
    }
}

impl Judge for People {
    fn judge(&mut self, _space: Space, raw_id: &str) -> Judged {
        let party: u64 = raw_id.parse().unwrap();
        let verdict = |category: &&str| CategoryVerdict {
            category: Category::intern(category),
            release: if self.permits(party, category) { Release::Full } else { Release::Withheld },
            why: Why::Permitted,
            policies: Vec::new(),
            basis: LawfulBasis::Consent,
            activity: None,
            status: ConsentStatus::Unknown,
            event: None,
            overridden: Vec::new(),
            rule: ConflictRule::CustomerLastWord,
            conflict: false,
            grounds: None,
        };
        let verdicts = Arc::new(Verdicts::new(CATEGORIES.iter().map(verdict).collect()));
        Judged { party: Some(PartyNo(party)), is_requested: self.requested.as_ref().map(|requested| requested == raw_id), verdicts }
    }

    fn requested(&mut self) -> Option<Judged> {
        self.requested.clone().map(|id| self.judge(Space::intern("shop"), &id))
    }

    fn pseudonym(&mut self, _text: &str) -> Option<String> {
        None
    }
}

/// The values of an object that are its own customer's, and the objects of others in it.
fn own<'v>(value: &'v Value, is_top: bool, values: &mut Vec<&'v str>, others: &mut Vec<&'v Value>) {
    match value {
        Value::Object(members) if is_top || !members.contains_key("#") => members.values().for_each(|v| own(v, false, values, others)),
        Value::Object(_) => others.push(value),
        Value::Array(items) => items.iter().for_each(|v| own(v, false, values, others)),
        Value::String(text) if text.starts_with('<') => values.push(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What may come through of an object, as the rules of release have it: with something personal of its own, or not at all.
fn permitted(object: &Value, people: &People, found: &mut BTreeSet<String>) {
    let (mut values, mut others) = (Vec::new(), Vec::new());
    own(object, true, &mut values, &mut others);
    let said = |text: &str| -> (u64, String) {
        let mut parts = text.trim_matches(['<', '>']).split('|');
        (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().to_owned())
    };
    let personal: Vec<&str> = values.iter().copied().filter(|text| people.permitted.contains(&said(text))).collect();
    if personal.is_empty() {
        return;
    }
    found.extend(values.iter().filter(|text| said(text).1 == "open").map(|text| (*text).to_owned()));
    found.extend(personal.into_iter().map(str::to_owned));
    others.into_iter().for_each(|other| permitted(other, people, found));
}

/// In an answer nothing stands that has no value in it: that there are three orders is told by their values alone.
fn tells_nothing_empty(value: &Value, seed: u64, out: &str) {
    match value {
        Value::Object(members) => {
            let said = value.to_string();
            assert!(said.contains('<') || said.contains("[]"), "{seed}: {said} in {out}");
            members.values().for_each(|v| tells_nothing_empty(v, seed, out));
        }
        Value::Array(items) => items.iter().for_each(|v| tells_nothing_empty(v, seed, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all_values(text: &str) -> BTreeSet<String> {
    text.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(inside, _)| format!("<{inside}>")).collect()
}

#[test]
fn exactly_what_is_permitted_comes_through_whatever_it_is_called() {
    let graphql = shop();
    let (mut planned, mut released, mut withheld) = (0, 0, 0);
    let limits = filter::Limits { body_bytes_max: 1 << 20, depth_max: 64 };
    for seed in 0..2_500 {
        let mut dice = Dice(seed);
        let text = random_query(&mut dice);
        let id = (dice.roll(5) + 1).to_string();
        let variables = json!({ "id": id, "no": false }).as_object().unwrap().clone();
        let query = Query { text: text.clone(), operation: None, variables: variables.clone() };
        // A name that stands for two fields, or nothing that is declared.
        let Ok(plan) = graphql.plan(&query) else { continue };
        planned += 1;
        let bound = plan.bind(&graphql, &variables).unwrap_or_else(|error| panic!("{seed}: {error}: {text}"));
        let sent: Value = serde_json::from_str(&bound.body).unwrap();
        let run = |text: &str, variables: &Map<String, Json>, marks| {
            executor::execute(text, variables, POSSIBLE, &root, marks).unwrap_or_else(|error| panic!("{seed}: {error}: {text}"))
        };
        let upstream = run(sent["query"].as_str().unwrap(), sent["variables"].as_object().unwrap(), false).to_string();
        let asked = run(&text, &variables, true);

        let every = (1..=9).flat_map(|party| CATEGORIES.map(|category| (party, category.to_owned())));
        let permits = every.filter(|_| dice.roll(5) > 1).collect();
        let named = matches!(plan.customer, Customer::Request { .. });
        let mut people = People { permitted: permits, requested: named.then(|| id.clone()) };
        let mut expected = BTreeSet::new();
        let data = asked["data"].as_object().unwrap().values().next().unwrap();
        let mut objects = Vec::new();
        own(data, false, &mut Vec::new(), &mut objects);
        objects.iter().for_each(|object| permitted(object, &people, &mut expected));

        let cutters = Cutters::new(&plan.shapes);
        let body = Bytes::from(upstream.clone());
        let out = match filter::cut(&body, &plan.response, &cutters, &limits, &[], &mut people) {
            Ok(cut) => {
                for path in &cut.report.withheld {
                    assert_ne!(plan.declared(path), "*", "{seed}: {path} has no declared name");
                }
                assert!(cut.report.drift.is_empty(), "{seed}: {:?}", cut.report.drift);
                String::from_utf8(cut.filtered.into_bytes().to_vec()).unwrap()
            }
            Err(CutError::Denied(_)) => String::new(),
            Err(error) => panic!("{seed}: {error}: {text}\n{upstream}"),
        };
        assert_eq!(all_values(&out), expected, "seed {seed}\n{text}\n{}\n{out}", sent["query"]);
        assert!(!out.contains("consentry_"), "{seed}: {out}");
        if !out.is_empty() && !expected.is_empty() {
            tells_nothing_empty(&serde_json::from_str(&out).unwrap(), seed, &out);
        }
        released += usize::from(!expected.is_empty());
        withheld += usize::from(all_values(&asked.to_string()).len() > expected.len());
    }
    assert!(planned > 600 && released > 400 && withheld > 400, "{planned} planned, {released} released, {withheld} withheld in part");
}

#[test]
fn plans_are_kept_and_bounded() {
    let graphql = shop();
    let plans = Plans::default();
    let found = found(&graphql);
    let ask = |text: &str, variables: Json| {
        let query = Query { text: text.to_owned(), operation: None, variables: variables.as_object().unwrap().clone() };
        plans.plan(&found, &graphql, &query)
    };
    let text = "query ($b: Boolean = false) { customers { name email @include(if: $b) } }";
    let first = ask(text, json!({})).unwrap();
    assert!(Arc::ptr_eq(&first, &ask(text, json!({})).unwrap()));
    let other = ask(text, json!({ "b": true })).unwrap();
    assert_eq!(other.planned.response.shape().unwrap().fields.len(), 2, "what a switch opens is another plan");
    assert_eq!(ask(text, json!({ "b": false })).unwrap().planned.response.shape().unwrap().fields.len(), 1);
    assert!(ask(text, json!({ "b": "yes" })).is_err());
    for n in 0..3 * GENERATION_MAX {
        ask(&format!("{{ customers {{ n{n}: name }} }}"), json!({})).unwrap();
    }
    assert!(plans.0.lock().unwrap().iter().all(|generation| generation.len() <= GENERATION_MAX));
    assert!(!Arc::ptr_eq(&first, &ask(text, json!({})).unwrap()), "the oldest are gone");
}

fn found(graphql: &Graphql) -> Found {
    use crate::catalog::{Api, ApiPurpose, Catalog, Place, Target, Template};
    let route = Route {
        key: RouteKey::intern("POST /graphql"),
        method: http::Method::POST,
        template: Template::parse("/graphql").unwrap(),
        action: crate::model::Action::Read,
        customer: Customer::Answer,
        params: Vec::new(),
        request: None,
        search: None,
        response: ResponsePlan::Empty,
        bare: None,
        dialect: crate::catalog::Dialect::Plain,
        when: None,
        reading: None,
        error: None,
        cache: None,
        graphql: Some(Arc::new(graphql.clone())),
        departments: Vec::new(),
        records_max: None,
        place: Place::default(),
    };
    let api = Api {
        name: ApiName::intern("shop"),
        owner: crate::model::Department::intern("sales"),
        prefix: String::new(),
        host: None,
        upstream: crate::model::UpstreamName::intern("shop"),
        contact: None,
        purpose: ApiPurpose::Any,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        compress: false,
        sealed_etag: false,
        report: None,
        routes: vec![Arc::new(route)],
        place: Place::default(),
    };
    let catalog = Catalog { apis: vec![Arc::new(api)], spaces: BTreeMap::new(), shapes: Shapes::new() };
    catalog.find(&http::Method::POST, &Target::parse("/graphql").unwrap()).unwrap()
}
