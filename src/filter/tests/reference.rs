//! The cutter against the tree filter on shapes and bodies made at random, and canaries: no withheld text occurs in the output.

#![expect(clippy::wildcard_enum_match_arm, reason = "made-up bodies hold few kinds of values")]

use proptest::prelude::*;
use serde_json::Value;

use super::tree::{Json, Refused, Tree};
use super::*;
use crate::model::Step;

fn steps() -> impl Strategy<Value = PathPattern> {
    let name = prop::sample::select(vec!["a", "b", "c"]).prop_map(|n| Step::Member(n.to_owned()));
    let further = prop_oneof![4 => name.clone(), 2 => Just(Step::Items)];
    (name, prop::collection::vec(further, 0..3), any::<bool>()).prop_map(|(first, middle, rest)| {
        let last = if rest { vec![Step::Rest] } else { vec![] };
        PathPattern(std::iter::once(first).chain(middle).chain(last).collect())
    })
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let rules = vec!["x", "y", "z", "x null", "y last4", "z error", "x last4", "y error", "embed s", "embed s"];
    let field = (steps(), prop::sample::select(rules)).prop_map(|(path, r)| Field { path, rule: rule(r) });
    let needs = prop::option::weighted(0.1, prop::sample::select(vec!["x", "y"]));
    (prop::collection::vec(field, 1..7), prop::collection::vec(steps(), 0..2), needs).prop_map(|(fields, open, needs)| {
        let mut unique: Vec<Field> = Vec::new();
        for field in fields {
            if !unique.iter().any(|f| f.path == field.path) {
                unique.push(field);
            }
        }
        let open = open.into_iter().filter(|p| !unique.iter().any(|f| f.path == *p)).chain([path("id")]).collect();
        Shape { fields: unique, open, needs: needs.map(category).into_iter().collect(), ..shape("s", &["id"], &[], &[]) }
    })
}

/// Objects with members a, b, c and often an id; texts are replaced by canaries afterwards.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![4 => Just(Value::from("")), 1 => Just(Value::Null), 1 => any::<i8>().prop_map(Value::from), 1 => any::<bool>().prop_map(Value::from)];
    let value = leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => object_of(inner),
        ]
    });
    object_of(value)
}

fn object_of(inner: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let id = prop_oneof![6 => (1..4_u8).prop_map(Value::from), 2 => Just(Value::from("k")), 1 => Just(Value::Null), 1 => Just(Value::from(1.5))];
    let name = prop::sample::select(vec!["a", "b", "c", "d"]);
    (prop::collection::btree_map(name, inner, 0..5), prop::option::weighted(0.9, id)).prop_map(|(members, id)| {
        let mut object: serde_json::Map<_, _> = members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
        if let Some(id) = id {
            object.insert("id".to_owned(), id);
        }
        Value::Object(object)
    })
}

/// Gives every empty text a content of its own.
fn plant(value: &mut Value, canaries: &mut Vec<String>) {
    match value {
        Value::String(text) if text.is_empty() => {
            let canary = format!("canary{:05}q", canaries.len() * 7919 % 99_991);
            text.clone_from(&canary);
            canaries.push(canary);
        }
        Value::Array(items) => items.iter_mut().for_each(|v| plant(v, canaries)),
        Value::Object(members) => members.values_mut().for_each(|v| plant(v, canaries)),
        _ => {}
    }
}

fn any_customers() -> impl Strategy<Value = Customers> {
    let sign = || prop::sample::select(vec!["+", "+", "~", "-"]);
    let one = (sign(), sign(), sign()).prop_map(|(x, y, z)| format!("x{x} y{y} z{z}"));
    prop::collection::vec(one, 3).prop_map(|v| customers(&[("1", &v[0]), ("2", &v[1]), ("k", &v[2])]))
}

impl std::fmt::Debug for Customers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let releases = |v: &Verdicts| v.iter().map(|c| (c.category, c.release)).collect::<Vec<_>>();
        f.debug_map().entries(self.known.iter().map(|(id, (_, v))| (id, releases(v)))).finish()
    }
}

/// Compares, whole and text by text.
fn check(text: &str, plan: &ResponsePlan, shape: &Shape, judge: &mut Customers, canaries: &[String]) -> Result<(), TestCaseError> {
    let cut = run(text, plan, &[shape], judge).map(|cut| String::from_utf8(cut.filtered.into_bytes().to_vec()).unwrap());
    let shapes = shapes(&[shape]);
    let expected = Tree { shapes: &shapes, plan, selected_by: &[], judge }.filter(&Json::read(text, 128).unwrap(), true);
    let got = cut.as_ref().map(|text| Json::read(text, 128).unwrap()).map_err(|error| match error {
        CutError::Unreadable(_) => Refused::Unreadable,
        CutError::SubjectAbsent => Refused::SubjectAbsent,
        CutError::SubjectMismatch => Refused::SubjectMismatch,
        CutError::Denied(_) => Refused::Denied,
        CutError::OnDenyError(_) => Refused::OnDenyError,
    });
    prop_assert_eq!(&got, &expected, "of {}", text);
    if let (Ok(cut), Ok(expected)) = (cut, expected) {
        let expected = format!("{expected:?}");
        for canary in canaries.iter().filter(|canary| !expected.contains(canary.as_str())) {
            prop_assert!(!cut.contains(canary.as_str()), "{} in {}", canary, cut);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_object_is_cut_as_a_tree_filter_would(shape in any_shape(), mut body in any_json(), mut judge in any_customers()) {
        let mut canaries = Vec::new();
        plant(&mut body, &mut canaries);
        check(&body.to_string(), &object_plan(&shape), &shape, &mut judge, &canaries)?;
    }

    #[test]
    fn rows_are_cut_as_a_tree_filter_would(shape in any_shape(), mut rows in prop::collection::vec(any_json(), 0..6), mut judge in any_customers()) {
        let mut canaries = vec!["extra canary".to_owned()];
        rows.iter_mut().for_each(|row| plant(row, &mut canaries));
        let text = serde_json::json!({ "total": rows.len(), "rows": rows, "extra": "extra canary" }).to_string();
        check(&text, &rows_plan("rows[]", &shape, &[("total", CountRule::Rows)], &[]), &shape, &mut judge, &canaries)?;
    }
}
