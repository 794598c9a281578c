//! The cutter beside a tree of `serde_json` and one of `sonic-rs` doing the same: three members of each customer stay with their
//! owners. And beside a plain copy, which is as fast as bytes can go out at all.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use consentry::filter::{self, Cutters, Judge, Limits};
use consentry::model::{
    Category, CategoryVerdict, ConflictRule, ConsentStatus, CountRule, Field, FieldRule, Judged, LawfulBasis, OnDeny, PartyNo, PathPattern, Release,
    ResponsePlan, Several, Shape, ShapeName, Shapes, Space, Subject, Verdicts, Why,
};
use criterion::{Criterion, Throughput};
use serde_json::{Value, json};
use sonic_rs::JsonValueMutTrait;

const LIMITS: Limits = Limits { body_bytes_max: 1 << 20, depth_max: 128 };
const WITHHELD: [&str; 3] = ["dietaryNote", "caseNote", "iban"];

pub fn bench(c: &mut Criterion) {
    let shape = Arc::new(shape());
    let cutters = Cutters::new(&Shapes::from([(shape.name, Arc::clone(&shape))]));
    let list = Bytes::from(json!({ "customers": (0..100).map(|n| customer(n, 2)).collect::<Vec<_>>(), "total": 100 }).to_string());
    let object = Bytes::from(customer(0, 17).to_string());
    let rows = ResponsePlan::Rows {
        rows: path("customers[]"),
        shape: Arc::clone(&shape),
        counts: vec![(path("total"), CountRule::Rows)],
        open: Vec::new(),
        rows_max: None,
        withheld_as: None,
    };
    let single = ResponsePlan::Object { at: PathPattern::default(), shape, subject: Subject::Answer, open: Vec::new(), withheld_as: None };
    for (name, body, plan) in [("list_60k", list, rows), ("object_2k", object, single)] {
        let by_value = cut_value(&body);
        assert_eq!(by_value, serde_json::from_slice::<Value>(&cut(&body, &plan, &cutters)).unwrap(), "all cut alike");
        assert_eq!(by_value, serde_json::from_str::<Value>(&cut_sonic(&body)).unwrap(), "all cut alike");
        let mut group = c.benchmark_group(format!("cutter/{name}"));
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function("consentry", |b| b.iter(|| cut(black_box(&body), &plan, &cutters)));
        group.bench_function("sonic", |b| b.iter(|| cut_sonic(black_box(&body))));
        group.bench_function("serde", |b| b.iter(|| cut_value(black_box(&body)).to_string()));
        group.bench_function("memcpy", |b| b.iter(|| black_box(&body).to_vec()));
        group.finish();
    }
}

fn cut(body: &Bytes, plan: &ResponsePlan, cutters: &Cutters) -> Bytes {
    filter::cut(body, plan, cutters, &LIMITS, &[], &mut Everybody(Arc::clone(&EVERYBODY.0))).unwrap().filtered.into_bytes()
}

fn cut_value(body: &Bytes) -> Value {
    let mut value: Value = serde_json::from_slice(body).unwrap();
    let strip = |object: &mut Value| {
        let members = object.as_object_mut().unwrap();
        WITHHELD.iter().for_each(|name| drop(members.remove(*name)));
    };
    match value.get_mut("customers").and_then(Value::as_array_mut) {
        Some(rows) => rows.iter_mut().for_each(strip),
        None => strip(&mut value),
    }
    value
}

fn cut_sonic(body: &Bytes) -> String {
    let mut value: sonic_rs::Value = sonic_rs::from_slice(body).unwrap();
    let strip = |object: &mut sonic_rs::Value| {
        let members = object.as_object_mut().unwrap();
        WITHHELD.iter().for_each(|name| drop(members.remove(name)));
    };
    match value.get_mut("customers").and_then(JsonValueMutTrait::as_array_mut) {
        Some(rows) => rows.iter_mut().for_each(strip),
        None => strip(&mut value),
    }
    sonic_rs::to_string(&value).unwrap()
}

static EVERYBODY: LazyLock<Everybody> = LazyLock::new(Everybody::default);

/// Everybody is known and permits all but three categories.
struct Everybody(Arc<Verdicts>);

impl Default for Everybody {
    fn default() -> Self {
        let verdict = |name: &str, release| CategoryVerdict {
            category: Category::intern(name),
            release,
            why: if release == Release::Full { Why::Permitted } else { Why::NoPermit },
            policies: Vec::new(),
            basis: LawfulBasis::Consent,
            activity: None,
            status: ConsentStatus::Given,
            event: None,
            overridden: Vec::new(),
            rule: ConflictRule::CustomerLastWord,
            conflict: false,
            grounds: None,
        };
        let full = ["identity", "contact", "behaviour", "order"].map(|name| verdict(name, Release::Full));
        let withheld = ["health", "case", "billing"].map(|name| verdict(name, Release::Withheld));
        Self(Arc::new(Verdicts::new(full.into_iter().chain(withheld).collect())))
    }
}

impl Judge for Everybody {
    fn judge(&mut self, _space: Space, raw_id: &str) -> Judged {
        Judged { party: raw_id.parse().ok().map(PartyNo), is_requested: None, verdicts: Arc::clone(&self.0) }
    }

    fn requested(&mut self) -> Option<Judged> {
        None
    }

    fn pseudonym(&mut self, _text: &str) -> Option<String> {
        None
    }
}

fn path(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn shape() -> Shape {
    let fields = [
        ("name.given", "identity"),
        ("name.family", "identity"),
        ("birthDate", "identity"),
        ("taxId", "identity"),
        ("contact.email", "contact"),
        ("contact.phone", "contact"),
        ("contact.address.**", "contact"),
        ("leadScore", "behaviour"),
        ("lastVisit", "behaviour"),
        ("dietaryNote", "health"),
        ("caseNote", "case"),
        ("iban", "billing"),
        ("orders[].sku", "order"),
        ("orders[].quantity", "order"),
        ("orders[].price", "order"),
        ("orders[].placed", "order"),
        ("orders[].state", "order"),
    ];
    let field = |(at, category): (&str, &str)| Field {
        path: path(at),
        rule: FieldRule::Category { category: Category::intern(category), on_deny: OnDeny::Remove },
    };
    Shape {
        name: ShapeName::intern("customer"),
        ids: Some(Space::intern("crm")),
        customer: vec![path("id")],
        several: Several::All,
        open: vec![path("id"), path("updatedAt")],
        links: Vec::new(),
        hidden: Vec::new(),
        needs: Vec::new(),
        also: Vec::new(),
        fields: fields.into_iter().map(field).collect(),
        bare: false,
        lets_unmapped_pass: false,
    }
}

/// Somebody made up.
fn customer(n: u32, orders: u32) -> Value {
    let order = |o: u32| json!({ "sku": format!("SKU-{o:05}"), "quantity": o + 1, "price": "149.90", "placed": "2026-03-04", "state": "delivered" });
    json!({
        "id": (1000 + n).to_string(),
        "updatedAt": "2026-03-04T10:11:12Z",
        "name": { "given": "Ada", "family": "Brandt" },
        "birthDate": "1988-07-21",
        "taxId": "DE811907980",
        "contact": {
            "email": format!("ada.brandt.{n}@example.net"),
            "phone": "+49 30 901820",
            "address": { "street": "Beispielweg 12", "zip": "10115", "city": "Berlin", "country": "DE" },
        },
        "leadScore": 71,
        "lastVisit": "2026-03-01",
        "dietaryNote": "vegetarian",
        "caseNote": "prefers calls in the afternoon",
        "iban": "DE02120300000000202051",
        "orders": (0..orders).map(order).collect::<Vec<_>>(),
    })
}
