//! The cutter against an obvious filter over a `serde_json::Value` tree, and canaries: no withheld text occurs in the output.

#![expect(clippy::wildcard_enum_match_arm, clippy::string_slice, reason = "a reference is short before all; its texts are ASCII")]

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::model::Step;

/// A concrete step.
#[derive(Clone, Debug)]
enum At {
    Name(String),
    Position,
}

/// How a pattern applies to a place, better ones greater: fixed steps, then ending here before `**`.
fn applies(pattern: &[Step], place: &[At]) -> Option<(usize, bool)> {
    match (pattern.split_first(), place.split_first()) {
        (None, None) => Some((0, true)),
        (Some((Step::Rest, _)), _) => Some((0, false)),
        (Some((Step::Member(name), pattern)), Some((At::Name(at), place))) if name == at => applies(pattern, place).map(|(n, e)| (n + 1, e)),
        (Some((Step::Items, pattern)), Some((At::Position, place))) => applies(pattern, place).map(|(n, e)| (n + 1, e)),
        _ => None,
    }
}

/// Whether a pattern names something below the place.
fn is_below(pattern: &[Step], place: &[At]) -> bool {
    match (pattern.split_first(), place.split_first()) {
        (Some(_), None) => true,
        (Some((Step::Member(name), pattern)), Some((At::Name(at), place))) => name == at && is_below(pattern, place),
        (Some((Step::Items, pattern)), Some((At::Position, place))) => is_below(pattern, place),
        _ => false,
    }
}

struct Tree<'t> {
    shape: &'t Shape,
    known: &'t BTreeMap<String, (u64, Arc<Verdicts>)>,
}

#[derive(Default)]
struct Seen {
    personal: bool,
    error: bool,
}

impl Tree<'_> {
    /// `Err`: the whole answer is refused.
    fn object(&self, object: &Value) -> Result<Option<Value>, ()> {
        let id = match &object["id"] {
            Value::String(id) => id.clone(),
            Value::Number(id) if !id.is_f64() => id.to_string(),
            _ => return Ok(None),
        };
        let none = Arc::default();
        let verdicts = self.known.get(&id).map_or(&none, |(_, v)| v);
        let mut seen = Seen::default();
        let kept = self.keep(object, &[], verdicts, &mut seen);
        let needed = self.shape.needs.iter().all(|c| verdicts.release(*c) == Release::Full);
        match kept {
            Ok(Some(kept)) if seen.personal && needed => {
                if seen.error {
                    Err(())
                } else {
                    Ok(Some(kept))
                }
            }
            // An embedded error counts only in what goes out.
            Err(()) if !(seen.personal && needed) => Ok(None),
            Err(()) => Err(()),
            Ok(_) => Ok(None),
        }
    }

    fn keep(&self, value: &Value, place: &[At], verdicts: &Verdicts, seen: &mut Seen) -> Result<Option<Value>, ()> {
        let fields = self.shape.fields.iter().map(|f| (&f.path, Some(&f.rule)));
        let open = self.shape.open.iter().map(|p| (p, None));
        let rules: Vec<_> = fields.chain(open).collect();
        let mut best = None;
        for (path, rule) in &rules {
            if let Some(key) = applies(&path.0, place)
                && best.is_none_or(|(k, _)| key > k)
            {
                best = Some((key, *rule));
            }
        }
        let void = matches!(value, Value::Null) || *value == serde_json::json!([]) || *value == serde_json::json!({});
        let container = matches!(value, Value::Array(_) | Value::Object(_)) && !void;
        match best.map(|(_, rule)| rule) {
            Some(Some(FieldRule::Embed(_))) => match value {
                Value::Object(_) => self.object(value),
                Value::Array(items) => {
                    let mut error = false;
                    let kept: Vec<_> = items
                        .iter()
                        .filter(|v| v.is_object())
                        .filter_map(|v| {
                            self.object(v).unwrap_or_else(|()| {
                                error = true;
                                None
                            })
                        })
                        .collect();
                    if error { Err(()) } else { Ok((!kept.is_empty()).then_some(Value::Array(kept))) }
                }
                _ => Ok(None),
            },
            Some(None) if !container => Ok(Some(value.clone())),
            Some(Some(FieldRule::Category { category, on_deny })) if !container => Ok(match (verdicts.release(*category), on_deny) {
                (Release::Full, _) => {
                    seen.personal = true;
                    Some(value.clone())
                }
                (Release::Reduced, OnDeny::Mask(Mask::Last4)) => value.as_str().filter(|s| s.len() >= 8).map(|s| {
                    seen.personal = true;
                    Value::from(format!("****{}", &s[s.len() - 4..]))
                }),
                (_, OnDeny::Null) => Some(Value::Null),
                (_, OnDeny::Error) => {
                    seen.error = true;
                    None
                }
                _ => None,
            }),
            None if void => {
                let below: Vec<_> = rules.iter().filter(|(path, _)| is_below(&path.0, place)).collect();
                let permitted = below.iter().all(|(_, rule)| match rule {
                    None => true,
                    Some(FieldRule::Category { category, .. }) => verdicts.release(*category) == Release::Full,
                    Some(FieldRule::Embed(_)) => false,
                });
                Ok((!below.is_empty() && permitted).then(|| value.clone()))
            }
            _ => self.children(value, place, verdicts, seen),
        }
    }

    fn children(&self, value: &Value, place: &[At], verdicts: &Verdicts, seen: &mut Seen) -> Result<Option<Value>, ()> {
        let mut error = false;
        let mut keep = |value: &Value, at: At| {
            let place: Vec<At> = place.iter().cloned().chain([at]).collect();
            self.keep(value, &place, verdicts, seen).unwrap_or_else(|()| {
                error = true;
                None
            })
        };
        let kept = match value {
            Value::Object(members) => {
                let kept: serde_json::Map<_, _> = members.iter().filter_map(|(n, v)| Some((n.clone(), keep(v, At::Name(n.clone()))?))).collect();
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(items) => {
                let kept: Vec<_> = items.iter().filter_map(|v| keep(v, At::Position)).collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            _ => None,
        };
        if error {
            seen.error = true;
        }
        Ok(kept)
    }
}

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

fn withheld<'c>(canaries: &'c [String], expected: &str) -> Vec<&'c String> {
    canaries.iter().filter(|c| !expected.contains(c.as_str())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_object_is_cut_as_a_tree_filter_would(shape in any_shape(), mut body in any_json(), mut judge in any_customers()) {
        let mut canaries = Vec::new();
        plant(&mut body, &mut canaries);
        let expected = match (Tree { shape: &shape, known: &judge.known }).object(&body) {
            Ok(Some(kept)) => Some(kept),
            Ok(None) | Err(()) => None,
        };
        let text = body.to_string();
        let cut = run(&text, &object_plan(&shape), &[&shape], &mut judge).ok().map(|c| String::from_utf8(c.filtered.into_bytes().to_vec()).unwrap());
        let got = cut.as_ref().map(|c| serde_json::from_str::<Value>(c).unwrap());
        prop_assert_eq!(&got, &expected, "of {}", text);
        if let (Some(cut), Some(expected)) = (cut, expected) {
            for canary in withheld(&canaries, &expected.to_string()) {
                prop_assert!(!cut.contains(canary.as_str()), "{} in {}", canary, cut);
            }
        }
    }

    #[test]
    fn rows_are_cut_as_a_tree_filter_would(shape in any_shape(), mut rows in prop::collection::vec(any_json(), 0..6), mut judge in any_customers()) {
        let mut canaries = Vec::new();
        rows.iter_mut().for_each(|row| plant(row, &mut canaries));
        let tree = Tree { shape: &shape, known: &judge.known };
        let cut_rows: Result<Vec<_>, ()> = rows.iter().map(|row| tree.object(row)).collect();
        let expected = cut_rows.ok().map(|kept| {
            let kept: Vec<Value> = kept.into_iter().flatten().collect();
            serde_json::json!({ "total": kept.len(), "rows": kept })
        });
        let text = serde_json::json!({ "total": rows.len(), "rows": rows, "extra": "extra canary" }).to_string();
        let plan = rows_plan("rows[]", &shape, &[("total", CountRule::Rows)], &[]);
        let cut = run(&text, &plan, &[&shape], &mut judge).ok().map(|c| String::from_utf8(c.filtered.into_bytes().to_vec()).unwrap());
        let got = cut.as_ref().map(|c| serde_json::from_str::<Value>(c).unwrap());
        prop_assert_eq!(&got, &expected, "of {}", text);
        if let (Some(cut), Some(expected)) = (cut, expected) {
            prop_assert!(!cut.contains("extra"));
            for canary in withheld(&canaries, &expected.to_string()) {
                prop_assert!(!cut.contains(canary.as_str()), "{} in {}", canary, cut);
            }
        }
    }
}
