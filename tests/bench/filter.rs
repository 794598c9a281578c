//! The cutter beside a tree of `serde_json` and one of `sonic-rs`: three members of each customer stay with their owners. `sonic` and
//! `serde` take these three out by name, whoever it is and whatever else there is; `sonic_mapped` does what the cutter does: whose row
//! it is, what may be released of them, and of it only what a path of the shape names. (It still lets equal names pass, and tells
//! nothing for the log.) And beside a plain copy, which is as fast as bytes can go out at all.

use std::hint::black_box;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use consentry::filter::{self, Cutters, Judge, Limits};
use consentry::model::{
    Category, CategoryVerdict, ConflictRule, ConsentStatus, CountRule, Field, FieldRule, Judged, LawfulBasis, OnDeny, PartyNo, PathPattern, Release,
    ResponsePlan, Several, Shape, ShapeName, Shapes, Space, Step, Subject, Verdicts, Why,
};
use criterion::{Criterion, Throughput};
use serde_json::{Value, json};
use sonic_rs::{JsonContainerTrait, JsonValueMutTrait, JsonValueTrait};

const LIMITS: Limits = Limits { body_bytes_max: 1 << 20, depth_max: 128 };
const WITHHELD: [&str; 3] = ["dietaryNote", "caseNote", "iban"];

pub fn bench(c: &mut Criterion) {
    let shape = Arc::new(shape());
    let mapped = Mapped::of(&shape);
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
        assert_eq!(by_value, serde_json::from_str::<Value>(&cut_mapped(&body, &mapped)).unwrap(), "all cut alike");
        let mut group = c.benchmark_group(format!("cutter/{name}"));
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function("consentry", |b| b.iter(|| cut(black_box(&body), &plan, &cutters)));
        group.bench_function("sonic", |b| b.iter(|| cut_sonic(black_box(&body))));
        group.bench_function("sonic_mapped", |b| b.iter(|| cut_mapped(black_box(&body), &mapped)));
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

/// The paths of a shape as a tree.
#[derive(Default)]
struct Mapped {
    members: Vec<(String, Mapped)>,
    items: Option<Box<Mapped>>,
    /// What becomes of the place itself, and with it of all below.
    rule: Option<Kept>,
}

#[derive(Clone, Copy)]
enum Kept {
    Always,
    If(Category),
}

impl Mapped {
    fn of(shape: &Shape) -> Self {
        let mut root = Self::default();
        let open = shape.open.iter().map(|path| (path, Kept::Always));
        // Nobody is embedded here, and nothing has a position.
        let fields = shape.fields.iter().filter_map(|field| match field.rule {
            FieldRule::Category { category, .. } => Some((&field.path, Kept::If(category))),
            FieldRule::Embed(_) => None,
        });
        for (path, kept) in open.chain(fields) {
            let place = path.0.iter().fold(&mut root, |at, step| match step {
                Step::Member(name) => {
                    if !at.members.iter().any(|(known, _)| known == name) {
                        at.members.push((name.clone(), Self::default()));
                    }
                    &mut at.members.iter_mut().find(|(known, _)| known == name).unwrap().1
                }
                Step::Items => at.items.get_or_insert_default(),
                Step::Rest | Step::Index(_) => at,
            });
            place.rule = Some(kept);
        }
        root
    }

    /// Writes what may be released; whether that is anything, and whether it is personal.
    fn write(&self, value: &sonic_rs::Value, verdicts: &Verdicts, personal: &mut bool, out: &mut Vec<u8>) -> bool {
        let is_kept = match self.rule {
            Some(Kept::Always) => true,
            Some(Kept::If(category)) => {
                let is_full = verdicts.release(category) == Release::Full;
                *personal |= is_full;
                is_full
            }
            None => return self.write_inside(value, verdicts, personal, out),
        };
        if is_kept {
            sonic_rs::to_writer(&mut *out, value).unwrap();
        }
        is_kept
    }

    fn write_inside(&self, value: &sonic_rs::Value, verdicts: &Verdicts, personal: &mut bool, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if let Some(object) = value.as_object() {
            for (name, member) in object {
                let Some((_, mapped)) = self.members.iter().find(|(known, _)| known == name) else { continue };
                let before = out.len();
                out.push(if before == start { b'{' } else { b',' });
                sonic_rs::to_writer(&mut *out, name).unwrap();
                out.push(b':');
                if !mapped.write(member, verdicts, personal, out) {
                    out.truncate(before);
                }
            }
            if out.len() > start {
                out.push(b'}');
            }
        } else if let (Some(mapped), Some(items)) = (&self.items, value.as_array()) {
            for item in items {
                let before = out.len();
                out.push(if before == start { b'[' } else { b',' });
                if !mapped.write(item, verdicts, personal, out) {
                    out.truncate(before);
                }
            }
            if out.len() > start {
                out.push(b']');
            }
        }
        out.len() > start
    }

    fn write_row(&self, row: &sonic_rs::Value, out: &mut Vec<u8>) -> bool {
        let Some(id) = row.get("id").and_then(JsonValueTrait::as_str) else { return false };
        let judged = Everybody(Arc::clone(&EVERYBODY.0)).judge(*CRM, id);
        let (before, mut personal) = (out.len(), false);
        let is_released = judged.party.is_some() && self.write(row, &judged.verdicts, &mut personal, out) && personal;
        if !is_released {
            out.truncate(before);
        }
        is_released
    }
}

/// Rows first, whatever else stands beside them.
fn cut_mapped(body: &Bytes, mapped: &Mapped) -> String {
    let value: sonic_rs::Value = sonic_rs::from_slice(body).unwrap();
    let mut out = Vec::with_capacity(body.len());
    match value.get("customers").and_then(JsonContainerTrait::as_array) {
        Some(rows) => {
            out.extend_from_slice(br#"{"customers":["#);
            let mut released = 0;
            for row in rows {
                let before = out.len();
                if released > 0 {
                    out.push(b',');
                }
                if mapped.write_row(row, &mut out) {
                    released += 1;
                } else {
                    out.truncate(before);
                }
            }
            write!(out, r#"],"total":{released}}}"#).unwrap();
        }
        None => assert!(mapped.write_row(&value, &mut out)),
    }
    String::from_utf8(out).unwrap()
}

static CRM: LazyLock<Space> = LazyLock::new(|| Space::intern("crm"));
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
        ids: Some(*CRM),
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
