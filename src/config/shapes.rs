//! Governed: id spaces, and shapes, which say what category each member of an answer is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::read::{Cx, Table, Value};
use crate::catalog::{IdSpace, Normalise};
use crate::model::{Category, Field, FieldRule, Mask, OnDeny, PathPattern, Several, Shape, ShapeName, Shapes, Space, Step, Vocabulary};

const ON_DENY: [(&str, OnDeny); 7] = [
    ("remove", OnDeny::Remove),
    ("null", OnDeny::Null),
    ("error", OnDeny::Error),
    ("mask:last4", OnDeny::Mask(Mask::Last4)),
    ("year", OnDeny::Mask(Mask::Year)),
    ("pseudonym", OnDeny::Mask(Mask::Pseudonym)),
    ("generalise", OnDeny::Mask(Mask::Generalise)),
];

/// What shapes and routes may name. A name counts as declared even when its declaration has a mistake of its own.
#[derive(Debug, Default)]
pub(super) struct Names<'v> {
    pub(super) spaces: BTreeSet<String>,
    pub(super) shapes: BTreeSet<String>,
    pub(super) upstreams: BTreeSet<String>,
    pub(super) vocabulary: Option<&'v Vocabulary>,
}

impl Names<'_> {
    pub(super) fn space(&self, value: Value<'_>) -> Option<Space> {
        declared(value, "id space", &self.spaces).map(Space::intern)
    }

    pub(super) fn shape(&self, value: Value<'_>) -> Option<ShapeName> {
        declared(value, "shape", &self.shapes).map(ShapeName::intern)
    }

    pub(super) fn category(&self, value: Value<'_>) -> Option<Category> {
        let text = value.str()?;
        if value.is_open("the category") {
            return None;
        }
        let vocabulary = self.vocabulary?;
        let found = vocabulary.category(text);
        if found.is_none() {
            value.unknown("category", text, vocabulary.categories.keys().map(|c| c.as_str()));
        }
        found
    }
}

pub(super) fn declared<'a>(value: Value<'a>, what: &str, names: &BTreeSet<String>) -> Option<&'a str> {
    let text = value.str()?;
    if value.is_open(&format!("the {what}")) {
        return None;
    }
    if names.contains(text) {
        return Some(text);
    }
    value.unknown(what, text, names.iter().map(String::as_str));
    None
}

pub(super) fn path(value: Value<'_>) -> Option<PathPattern> {
    let text = value.str()?;
    if value.is_open("the path") {
        return None;
    }
    PathPattern::parse(text).map_err(|problem| value.error(problem)).ok()
}

/// `[ids]`
pub(super) fn spaces(table: &Table<'_>, found: &mut BTreeMap<Space, Arc<IdSpace>>) {
    for (name, _, value) in table.named() {
        if let Some(space) = space(name, value) {
            found.insert(space.space, Arc::new(space));
        }
    }
}

fn space(name: &str, value: Value<'_>) -> Option<IdSpace> {
    let mut table = value.table(format!("id space `{name}`"))?;
    let grammar = table.need("grammar");
    let normalise = table.opt("normalise").map_or_else(|| Some(Vec::new()), |v| v.each(|item| item.word("step", &Normalise::ALL)));
    table.finish();
    let grammar = grammar?;
    if grammar.is_open("the grammar") {
        return None;
    }
    let space = IdSpace::new(Space::intern(name), grammar.str()?, normalise?);
    space.map_err(|problem| grammar.error(format!("this grammar cannot be read: {problem}"))).ok()
}

/// A shape and what is checked when all shapes are known.
pub(super) struct ReadShape<'a> {
    pub(super) shape: Shape,
    embeds: Embeds<'a>,
    /// The shape's fields and where they stand, for what is told of them later.
    pub(super) places: Vec<FieldPlace<'a>>,
}

/// Where a field of a shape stands.
#[derive(Clone, Debug)]
pub(super) struct FieldPlace<'a> {
    pub(super) path: PathPattern,
    pub(super) cx: Cx<'a>,
    pub(super) span: Range<usize>,
}

/// Names of embedded shapes and their places.
type Embeds<'a> = Vec<(ShapeName, Value<'a>)>;

/// `[shape.NAME]`; `None` after any mistake in it, so that nothing is judged by half a shape.
pub(super) fn shape<'a>(name: &str, value: Value<'a>, names: &Names<'_>) -> Option<ReadShape<'a>> {
    let mut table = value.table(format!("`[shape.{name}]`"))?;
    let ids = table.opt("ids").map(|v| names.space(v));
    let customer_place = table.opt("customer");
    let customer = customer_place.map_or_else(|| Some(Vec::new()), |v| if v.is_list() { v.each(path) } else { path(v).map(|p| vec![p]) });
    let several = table.opt("several").map_or(Some(Several::default()), |v| v.word("rule", &[("each", Several::Each), ("all", Several::All)]));
    let open = table.opt("open").map_or_else(|| Some(Vec::new()), |v| v.each(path));
    let links = table.opt("links").map_or_else(|| Some(Vec::new()), |v| v.each(path));
    let needs_place = table.opt("needs");
    let needs = needs_place.map_or_else(|| Some(Vec::new()), |v| v.each(|item| names.category(item)));
    let field_table = table.need("fields").and_then(|v| v.table(format!("`[shape.{name}.fields]`")));
    table.finish();
    let open_or_link: Vec<PathPattern> = open.iter().chain(&links).flatten().cloned().collect();
    let places = field_table.as_ref().map(field_places);
    let fields = field_table.and_then(|table| fields(&table, &open_or_link, names));
    if let (Some(place), None) = (customer_place, &ids) {
        place.error_help("the ids of these customers have no id space", "add `ids = \"…\"`");
        return None;
    }
    if let Some(place) = customer_place.filter(|v| v.list_is_empty()) {
        place.error_help("no path stands there", "leave `customer` out when the object does not say whose it is");
        return None;
    }
    let customer = customer?;
    if let Some(place) = customer_place.filter(|_| customer.iter().any(|p| p.0.last() == Some(&Step::Rest))) {
        place.error("an id stands at one path, not below `**`");
        return None;
    }
    let places = places.unwrap_or_default();
    let (open, (fields, embeds)) = (open?, fields?);
    let shape = Shape {
        name: ShapeName::intern(name),
        ids: ids.map_or(Some(None), |read| read.map(Some))?,
        customer,
        several: several?,
        open,
        links: links?,
        hidden: Vec::new(),
        needs: needs?,
        also: Vec::new(),
        fields,
        bare: false,
        lets_unmapped_pass: false,
    };
    if let Some(place) = needs_place {
        let own = shape.categories();
        if let Some(missing) = shape.needs.iter().find(|category| !own.contains(category)) {
            place.error(format!("no field of shape `{name}` is `{missing}`: the object would always be withheld"));
        }
    }
    Some(ReadShape { shape, embeds, places })
}

fn field_places<'a>(table: &Table<'a>) -> Vec<FieldPlace<'a>> {
    let place = |(text, span, _): (&str, Range<usize>, Value<'a>)| Some(FieldPlace { path: PathPattern::parse(text).ok()?, cx: table.cx, span });
    table.named().into_iter().filter_map(place).collect()
}

fn fields<'a>(table: &Table<'a>, open: &[PathPattern], names: &Names<'_>) -> Option<(Vec<Field>, Embeds<'a>)> {
    let (mut found, mut embeds): (Vec<Field>, _) = (Vec::new(), Vec::new());
    let entries = table.named();
    let count = entries.len();
    for (text, span, value) in entries {
        let path = match PathPattern::parse(text) {
            Ok(path) => Some(path),
            Err(problem) => {
                table.cx.push(table.cx.finding(span.clone(), problem).help("paths are quoted: `\"a.b\" = \"category\"`"));
                None
            }
        };
        if path.as_ref().is_some_and(|path| open.contains(path) || found.iter().any(|field| field.path == *path)) {
            table.cx.push(table.cx.finding(span, format!("`{text}` is declared twice")).help("a member is open or has one category"));
        }
        let rule = rule(value, names, &mut embeds);
        if matches!(rule, Some(FieldRule::Embed(_))) && path.as_ref().is_some_and(|path| path.0.last() == Some(&Step::Rest)) {
            value.error_help("an embedded customer stands at one path, not below `**`", "name the object, or the list of them");
        }
        found.extend(path.zip(rule).map(|(path, rule)| Field { path, rule }));
    }
    (found.len() == count).then_some((found, embeds))
}

fn rule<'a>(value: Value<'a>, names: &Names<'_>, embeds: &mut Embeds<'a>) -> Option<FieldRule> {
    if !value.is_table() {
        return Some(FieldRule::Category { category: names.category(value)?, on_deny: OnDeny::Remove });
    }
    let mut table = value.table("a field")?;
    let (category, embed) = (table.opt("category"), table.opt("embed"));
    let on_deny = table.opt("on_deny").map(|v| (v, v.word("form", &ON_DENY)));
    table.finish();
    match (category, embed) {
        (Some(category), None) => {
            let category = names.category(category);
            Some(FieldRule::Category { category: category?, on_deny: on_deny.map_or(Some(OnDeny::Remove), |(_, form)| form)? })
        }
        (None, Some(embed)) => {
            if let Some((place, _)) = on_deny {
                place.error_help("an embedded customer has no `on_deny`", "it stands with the fields of the embedded shape");
            }
            let shape = names.shape(embed)?;
            embeds.push((shape, embed));
            Some(FieldRule::Embed(shape))
        }
        _ => {
            value.error("a field has either a `category` or `embed`");
            None
        }
    }
}

/// Checks what hangs between shapes: an embedded shape names its customer, and none embeds itself.
pub(super) fn link(read: &[ReadShape<'_>]) -> Shapes {
    let shapes: Shapes = read.iter().map(|r| (r.shape.name, Arc::new(r.shape.clone()))).collect();
    for ReadShape { shape, embeds, .. } in read {
        for (embedded, place) in embeds {
            let Some(target) = shapes.get(embedded) else { continue };
            if target.customer.is_empty() {
                place.error_help(
                    format!("the embedded shape `{embedded}` does not say whose it is"),
                    format!("add `customer` to `[shape.{embedded}]`"),
                );
            }
            if reaches(&shapes, *embedded, shape.name, &mut BTreeSet::new()) {
                place.error(format!("shape `{}` embeds itself by way of `{embedded}`", shape.name));
            } else if let Some((path, _)) = shape.unread_customer(&shapes).filter(|(_, name)| name == embedded) {
                place.error_help(
                    format!("shape `{}` looks for a customer at `{path}`, where `{embedded}` stands, which does not read that", shape.name),
                    format!("add the path to `customer`, `open` or the fields of `[shape.{embedded}]`"),
                );
            }
        }
    }
    shapes
}

fn reaches(shapes: &Shapes, from: ShapeName, to: ShapeName, seen: &mut BTreeSet<ShapeName>) -> bool {
    if from == to {
        return true;
    }
    if !seen.insert(from) {
        return false;
    }
    let fields = shapes.get(&from).map(|shape| shape.fields.iter()).into_iter().flatten();
    let mut embedded = fields.filter_map(|field| match field.rule {
        FieldRule::Embed(name) => Some(name),
        FieldRule::Category { .. } => None,
    });
    embedded.any(|next| reaches(shapes, next, to, seen))
}
