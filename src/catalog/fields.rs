//! The names of fields that a request may use to select, order or leave out, held against the shape of what comes back. Who may
//! not see a field must not learn it by asking for it, so a name that leads to no field of the shape is refused, and one that
//! does says which categories it touches.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Category, FieldRule, PathPattern, Shape, ShapeName, Shapes, Step};

/// A name from a request: `customer.name` is `["customer", "name"]`. Positions and `[]` are not named.
pub type Names = Vec<String>;

/// The fields of a shape, by their names.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    entries: Vec<Entry>,
    /// Where the ids of the answer's own customers stand.
    ids: Vec<Names>,
    /// Where those of embedded customers stand, each with the place of its object.
    embedded_ids: Vec<(Names, Names)>,
    /// Other names of fields, as the API's parameters have them.
    aliases: BTreeMap<String, Names>,
    /// Names may be meant below one of these; the empty one is meant when there is none.
    roots: Vec<Names>,
}

#[derive(Clone, Debug)]
struct Entry {
    names: Names,
    /// `a.**`
    rest: bool,
    touches: Touches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touches {
    Category(Category),
    Nobody,
    /// A field of another customer, who stands in an object of their own.
    Embedded,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Below the roots.
    pub names: Names,
    /// Sorted, each once; empty when the field tells nothing of a customer.
    pub categories: Vec<Category>,
    /// Another customer's data lies there.
    pub embedded: bool,
    /// The name is that of an object or list, whose fields are mapped.
    pub holds_fields: bool,
}

impl Fields {
    /// `aliases`: other names, and the paths of the shape that they stand for.
    #[must_use]
    pub fn new(shape: &Shape, shapes: &Shapes, aliases: &[(String, PathPattern)], roots: Vec<Names>) -> Self {
        let mut found = Self { roots, ..Self::default() };
        found.aliases.extend(aliases.iter().map(|(name, path)| (name.clone(), names(path))));
        found.ids.extend(shape.customer.iter().map(names));
        found.add(shape, shapes, &[], false, &mut Vec::new());
        found
    }

    fn add(&mut self, shape: &Shape, shapes: &Shapes, above: &[String], embedded: bool, seen: &mut Vec<ShapeName>) {
        seen.push(shape.name);
        let below = |path: &PathPattern| above.iter().cloned().chain(names(path)).collect::<Names>();
        let mut push = |path: &PathPattern, touches| {
            let touches = if embedded { Touches::Embedded } else { touches };
            self.entries.push(Entry { names: below(path), rest: path.0.last() == Some(&Step::Rest), touches });
        };
        // An id is open unless the shape gives it a category, as the filter has it.
        let ids = shape.customer.iter().filter(|id| !shape.fields.iter().any(|field| Step::cover(&field.path.0, &id.0)));
        shape.open.iter().chain(ids).for_each(|path| push(path, Touches::Nobody));
        for field in &shape.fields {
            match field.rule {
                FieldRule::Category { category, .. } => push(&field.path, Touches::Category(category)),
                FieldRule::Embed(_) => push(&field.path, Touches::Embedded),
            }
        }
        for field in &shape.fields {
            if let FieldRule::Embed(name) = field.rule
                && let Some(inner) = shapes.get(&name).filter(|_| !seen.contains(&name))
            {
                let at = below(&field.path);
                self.embedded_ids.extend(inner.customer.iter().map(|id| (at.clone(), at.iter().cloned().chain(names(id)).collect())));
                self.add(&Arc::clone(inner), shapes, &at, true, seen);
            }
        }
        seen.pop();
    }

    /// What a name leads to; `None` when no field of the shape lies there.
    #[must_use]
    pub fn find(&self, wanted: &[String]) -> Option<Named> {
        if wanted.is_empty() {
            return None;
        }
        let none = Vec::new();
        let roots = if self.roots.is_empty() { std::slice::from_ref(&none) } else { &self.roots };
        // Where a name could be meant in two ways it is meant in both.
        let found = roots.iter().filter_map(|root| self.at(root.iter().chain(wanted).cloned().collect()));
        found.reduce(|a, b| Named {
            categories: unique(a.categories.into_iter().chain(b.categories).collect()),
            embedded: a.embedded || b.embedded,
            holds_fields: a.holds_fields || b.holds_fields,
            names: a.names,
        })
    }

    fn at(&self, wanted: Names) -> Option<Named> {
        // Exactly there or, of `a.**`, below it: the longest speaks. Of equal ones a category speaks before an open path.
        let covers = |entry: &&Entry| if entry.rest { wanted.starts_with(&entry.names) } else { wanted == entry.names };
        let rank = |entry: &&Entry| (entry.names.len(), !entry.rest, entry.touches != Touches::Nobody);
        let speaking = self.entries.iter().filter(covers).max_by_key(rank);
        let within: Vec<&Entry> = self.entries.iter().filter(|entry| entry.names.len() > wanted.len() && entry.names.starts_with(&wanted)).collect();
        let mut touched: Vec<Touches> = speaking.iter().chain(&within).map(|entry| entry.touches).collect();
        // Both may name the same place, e.g. the id as a category: what is closed speaks.
        touched.retain(|touches| *touches != Touches::Nobody);
        let holds_fields = !within.is_empty() || speaking.is_some_and(|entry| entry.rest);
        (speaking.is_some() || holds_fields).then(|| Named {
            categories: unique(touched.iter().filter_map(|t| if let Touches::Category(category) = t { Some(*category) } else { None }).collect()),
            embedded: touched.contains(&Touches::Embedded),
            holds_fields,
            names: wanted,
        })
    }

    /// What a text leads to: another name of a field, or its path with `.`, `/` or `__` between its names.
    #[must_use]
    pub fn find_text(&self, text: &str) -> Option<Named> {
        if let Some(names) = self.aliases.get(text) {
            return self.at(names.clone());
        }
        let whole = vec![vec![text.to_owned()]];
        let split = [".", "/", "__"].into_iter().filter(|by| text.contains(by));
        let split = split.map(|by| text.split(by).map(str::to_owned).collect::<Names>());
        let found = whole.into_iter().chain(split).filter(|names| names.iter().all(|name| !name.is_empty())).filter_map(|names| self.find(&names));
        found.reduce(|a, b| Named {
            categories: unique(a.categories.into_iter().chain(b.categories).collect()),
            embedded: a.embedded || b.embedded,
            ..a
        })
    }

    /// The ids that an answer with only these fields would lack, and whether none of the answer's own was asked for.
    #[must_use]
    pub fn missing_ids(&self, asked: &[Names]) -> (Vec<Names>, bool) {
        let is_asked = |id: &Names| asked.iter().any(|asked| id.starts_with(asked));
        let inside = |at: &Names| asked.iter().any(|asked| asked.len() > at.len() && asked.starts_with(at));
        let embedded = self.embedded_ids.iter().filter(|(at, id)| inside(at) && !is_asked(id)).map(|(_, id)| id);
        let missing = self.ids.iter().filter(|id| !is_asked(id)).chain(embedded).cloned().collect();
        (missing, !self.ids.is_empty() && !self.ids.iter().any(is_asked))
    }

    /// How the API's parameters call a path.
    #[must_use]
    pub fn spelled(&self, names: &Names, by: &str) -> String {
        // The API may only know the object around it.
        let around = self.aliases.iter().filter(|(_, path)| names.starts_with(path)).max_by_key(|(_, path)| path.len());
        let alias = around.map(|(alias, _)| alias.clone());
        let root = self.roots.iter().filter(|root| names.len() > root.len() && names.starts_with(root)).max_by_key(|root| root.len());
        alias.unwrap_or_else(|| names.get(root.map_or(0, Vec::len)..).unwrap_or_default().join(by))
    }
}

fn names(path: &PathPattern) -> Names {
    let name = |step: &Step| match step {
        Step::Member(name) => Some(name.clone()),
        Step::Items | Step::Index(_) | Step::Rest => None,
    };
    path.0.iter().filter_map(name).collect()
}

fn unique(mut categories: Vec<Category>) -> Vec<Category> {
    categories.sort();
    categories.dedup();
    categories
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Field, OnDeny, Several};

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    /// `(path, category)`; `embed NAME` for another customer's object.
    pub(in super::super) fn shape(name: &str, customer: &[&str], open: &[&str], fields: &[(&str, &str)]) -> Arc<Shape> {
        let rule = |text: &str| match text.strip_prefix("embed ") {
            Some(name) => FieldRule::Embed(ShapeName::intern(name)),
            None => FieldRule::Category { category: Category::intern(text), on_deny: OnDeny::Remove },
        };
        Arc::new(Shape {
            name: ShapeName::intern(name),
            ids: None,
            customer: customer.iter().map(|p| path(p)).collect(),
            several: Several::All,
            open: open.iter().map(|p| path(p)).collect(),
            links: Vec::new(),
            hidden: Vec::new(),
            also: Vec::new(),
            needs: Vec::new(),
            fields: fields.iter().map(|(p, r)| Field { path: path(p), rule: rule(r) }).collect(),
            bare: false,
            lets_unmapped_pass: false,
        })
    }

    /// An order with a recipient of its own.
    pub(in super::super) fn order() -> Fields {
        let recipient = shape("recipient", &["number"], &[], &[("name", "identity"), ("address.city", "contact")]);
        let order = shape(
            "order",
            &["customer.number"],
            &["id", "status", "lines[].sku"],
            &[
                ("total", "order"),
                ("lines[].price", "order"),
                ("lines[].note", "free-text"),
                ("tags[]", "behaviour"),
                ("customer.name", "identity"),
                ("customer.email", "contact"),
                ("customer.address.**", "contact"),
                ("customer.address.geo", "location"),
                ("shipTo", "embed recipient"),
            ],
        );
        let shapes: Shapes = [&recipient, &order].map(|shape| (shape.name, Arc::clone(shape))).into();
        Fields::new(&order, &shapes, &[("customer_mail".to_owned(), path("customer.email"))], Vec::new())
    }

    #[test]
    fn a_name_leads_to_what_it_touches() {
        let order = order();
        let said = |text: &str| {
            order
                .find_text(text)
                .map(|n| format!("{}{}", n.categories.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(" "), if n.embedded { "!" } else { "" }))
        };
        for (text, touched) in [
            ("total", "order"),
            ("status", ""),
            ("id", ""),
            ("customer.number", ""),
            ("customer/email", "contact"),
            ("customer__name", "identity"),
            ("customer_mail", "contact"),
            ("customer", "contact identity location"),
            ("customer.address", "contact location"),
            ("customer.address.zip", "contact"),
            ("customer.address.geo", "location"),
            ("lines", "free-text order"),
            ("lines.sku", ""),
            ("tags", "behaviour"),
            ("shipTo", "!"),
            ("shipTo.name", "!"),
            ("shipTo.number", "!"),
        ] {
            assert_eq!(Some(touched), said(text).as_deref(), "{text}");
        }
        for text in [
            "",
            "Total",
            "TOTAL",
            "customer.",
            ".total",
            "customer..email",
            "total.x",
            "customer.email.x",
            "customer.phone",
            "shipTo.phone",
            "lines.",
            "*",
            "$it",
            "lines[].price",
        ] {
            assert_eq!(None, said(text), "{text}");
        }
    }

    #[test]
    fn an_id_that_the_shape_gives_a_category_touches_it() {
        for fields in [[("requester.**", "contact")], [("requester.email", "contact")]] {
            let ticket = shape("ticket", &["requester.email", "cc[].email"], &["requester.lang"], &fields);
            let ticket = Fields::new(&ticket, &Shapes::new(), &[], Vec::new());
            let touched = |text: &str| ticket.find_text(text).unwrap().categories;
            assert_eq!(
                (vec![Category::intern("contact")], Vec::new(), Vec::new()),
                (touched("requester.email"), touched("requester.lang"), touched("cc.email"))
            );
        }
        // At one position only: the name says none.
        let ticket = shape("ticket", &["id", "cc[].email"], &[], &[("cc[1].**", "contact")]);
        let touched = Fields::new(&ticket, &Shapes::new(), &[], Vec::new()).find_text("cc.email").unwrap().categories;
        assert_eq!(vec![Category::intern("contact")], touched);
    }

    #[test]
    fn a_name_of_the_api_stands_for_what_is_in_it() {
        let customer = shape("order", &["customer.number"], &[], &[("customer.name", "identity")]);
        let aliases = [("who".to_owned(), path("customer")), ("what".to_owned(), path("customer.name"))];
        let fields = Fields::new(&customer, &Shapes::new(), &aliases, Vec::new());
        let spelled = |names: &[&str]| fields.spelled(&names.iter().map(|n| (*n).to_owned()).collect(), "/");
        assert_eq!(
            ("who", "what", "x/y"),
            (spelled(&["customer", "number"]).as_str(), spelled(&["customer", "name"]).as_str(), spelled(&["x", "y"]).as_str())
        );
    }

    #[test]
    fn the_ids_that_are_missing_are_told() {
        let order = order();
        let missing = |asked: &[&str]| {
            let asked: Vec<Names> = asked.iter().map(|a| a.split('.').map(str::to_owned).collect()).collect();
            let (missing, bare) = order.missing_ids(&asked);
            (missing.iter().map(|m| m.join(".")).collect::<Vec<_>>().join(" "), bare)
        };
        for (asked, said, bare) in [
            (&["total"][..], "customer.number", true),
            (&["total", "customer.number"], "", false),
            (&["customer"], "", false),
            (&["customer.name"], "customer.number", true),
            (&["shipTo"], "customer.number", true),
            (&["shipTo.name"], "customer.number shipTo.number", true),
            (&["shipTo.name", "shipTo.number", "customer"], "", false),
        ] {
            assert_eq!((said.to_owned(), bare), missing(asked), "{asked:?}");
        }
    }
}
