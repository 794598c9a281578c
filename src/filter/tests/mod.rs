//! Tests of the cutter: a small language for shapes, verdicts and bodies, shared by the tables below.

mod agree;
mod answers;
mod bodies;
mod case;
mod corpus;
mod fixtures;
mod forms;
mod hostile;
mod multipart;
mod patches;
mod reference;
mod rows;
mod streams;
mod tree;
mod unmapped;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Cut, CutError, Cutters, Judge, Limits, cut};
use crate::model::{
    Category, CountRule, Field, FieldRule, Judged, Mask, OnDeny, PartyNo, PathPattern, Release, ResponsePlan, Several, Shape, ShapeName, Shapes,
    Space, Subject, Verdicts, Why,
};

const LIMITS: Limits = Limits { body_bytes_max: 1 << 20, depth_max: 128 };

fn path(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn paths(texts: &[&str]) -> Vec<PathPattern> {
    texts.iter().map(|text| path(text)).collect()
}

fn category(text: &str) -> Category {
    Category::intern(text)
}

/// `contact`, `contact null|error|last4|year|pseudonym|generalise`, `embed person`.
fn rule(text: &str) -> FieldRule {
    if let Some(shape) = text.strip_prefix("embed ") {
        return FieldRule::Embed(ShapeName::intern(shape));
    }
    let (name, on_deny) = text.split_once(' ').unwrap_or((text, "remove"));
    let on_deny = match on_deny {
        "remove" => OnDeny::Remove,
        "null" => OnDeny::Null,
        "error" => OnDeny::Error,
        "last4" => OnDeny::Mask(Mask::Last4),
        "year" => OnDeny::Mask(Mask::Year),
        "pseudonym" => OnDeny::Mask(Mask::Pseudonym),
        "generalise" => OnDeny::Mask(Mask::Generalise),
        other => panic!("no rule {other}"),
    };
    FieldRule::Category { category: category(name), on_deny }
}

fn shape(name: &str, customer: &[&str], open: &[&str], fields: &[(&str, &str)]) -> Shape {
    Shape {
        name: ShapeName::intern(name),
        ids: Some(Space::intern("test-ids")),
        customer: paths(customer),
        several: Several::All,
        open: paths(open),
        links: Vec::new(),
        hidden: Vec::new(),
        needs: Vec::new(),
        also: Vec::new(),
        fields: fields.iter().map(|(p, r)| Field { path: path(p), rule: rule(r) }).collect(),
        bare: false,
        lets_unmapped_pass: false,
    }
}

/// `contact+ billing~ case-`: permitted, reduced, refused.
fn verdicts(text: &str) -> Arc<Verdicts> {
    let one = |word: &str| {
        let (name, sign) = word.split_at(word.len() - 1);
        let (release, why) = match sign {
            "+" => (Release::Full, Why::Permitted),
            "~" => (Release::Reduced, Why::Permitted),
            "-" => (Release::Withheld, Why::NoPermit),
            other => panic!("no sign {other}"),
        };
        case::verdict(category(name), release, why)
    };
    Arc::new(Verdicts::new(text.split_whitespace().map(one).collect()))
}

/// Customers by their id; all others are unknown and permit nothing.
#[derive(Default)]
struct Customers {
    known: BTreeMap<String, (u64, Arc<Verdicts>)>,
    requested: Option<String>,
    asked: Vec<String>,
}

fn customers(of: &[(&str, &str)]) -> Customers {
    let known = (1..).zip(of).map(|(no, (id, v))| ((*id).to_owned(), (no, verdicts(v)))).collect();
    Customers { known, requested: None, asked: Vec::new() }
}

impl Customers {
    fn requested(mut self, id: &str) -> Self {
        self.requested = Some(id.to_owned());
        self
    }
}

impl Judge for Customers {
    fn judge(&mut self, _space: Space, raw_id: &str) -> Judged {
        self.asked.push(raw_id.to_owned());
        let is_requested = self.requested.as_ref().map(|requested| requested == raw_id);
        match self.known.get(raw_id) {
            Some((no, verdicts)) => Judged { party: Some(PartyNo(*no)), is_requested, verdicts: Arc::clone(verdicts) },
            None => Judged { party: None, is_requested, verdicts: Arc::default() },
        }
    }

    fn requested(&mut self) -> Option<Judged> {
        self.requested.clone().map(|id| self.judge(Space::intern("test-ids"), &id))
    }

    fn pseudonym(&mut self, text: &str) -> Option<String> {
        Some(format!("{:04}", text.len()))
    }

    fn link(&mut self, url: &str, party: Option<PartyNo>) -> Option<String> {
        let party = party.map(|party| format!("?of={}", party.0)).unwrap_or_default();
        url.strip_prefix("https://crm").map(|path| format!("https://gw{path}{party}"))
    }
}

fn shapes(all: &[&Shape]) -> Shapes {
    all.iter().map(|shape| (shape.name, Arc::new((*shape).clone()))).collect()
}

/// The plan's own shape and others.
fn cutters(plan: &ResponsePlan, others: &[&Shape]) -> Cutters {
    let own = plan.shape().map(AsRef::as_ref);
    Cutters::new(&shapes(&own.into_iter().chain(others.iter().copied()).collect::<Vec<_>>()))
}

fn object_plan(shape: &Shape) -> ResponsePlan {
    ResponsePlan::Object { at: PathPattern::default(), shape: Arc::new(shape.clone()), subject: Subject::Answer, open: Vec::new(), withheld_as: None }
}

fn rows_plan(rows: &str, shape: &Shape, counts: &[(&str, CountRule)], open: &[&str]) -> ResponsePlan {
    ResponsePlan::Rows {
        rows: path(rows),
        shape: Arc::new(shape.clone()),
        counts: counts.iter().map(|(p, r)| (path(p), *r)).collect(),
        open: paths(open),
        rows_max: None,
        withheld_as: None,
    }
}

fn run(body: &str, plan: &ResponsePlan, others: &[&Shape], judge: &mut Customers) -> Result<Cut, CutError> {
    cut(&Bytes::copy_from_slice(body.as_bytes()), plan, &cutters(plan, others), &LIMITS, &[], judge)
}

/// The bytes that go out, or the name of the refusal.
fn outcome(result: Result<Cut, CutError>) -> String {
    match result {
        Ok(cut) => {
            let text = String::from_utf8(cut.filtered.into_bytes().to_vec()).unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "not JSON: {text}");
            text
        }
        Err(CutError::Unreadable(reason)) => format!("unreadable: {reason:?}"),
        Err(CutError::SubjectAbsent) => "subject absent".to_owned(),
        Err(CutError::SubjectMismatch) => "subject mismatch".to_owned(),
        Err(CutError::Denied(_)) => "denied".to_owned(),
        Err(CutError::OnDenyError(_)) => "on_deny error".to_owned(),
    }
}
