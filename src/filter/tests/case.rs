//! Cases out of bytes: shapes, a plan, verdicts, bodies, and how they are split. Whatever the bytes, there is a case; so a search that
//! changes bytes (proptest, libFuzzer) finds its way through them, and what it finds is kept as a file of bytes.
//!
//! ```text
//! bytes 0..64 what is configured, decided and asked for | 64..72 how bodies are split and spoilt | 72.. what stands in the bodies
//! ```
//!
//! Most of what is written stands where the shapes look for it; the rest stands anywhere.
//!
//! Names are few, so that paths meet members: prefixes of each other, shorter and longer than the 16 and 24 bytes at a time in which
//! names are compared, and one that looks like data. Every text is another one, so that what goes out can be told apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bodies::Writer;
use crate::filter::{Judge, Limits};
use crate::model::{
    Category, CategoryVerdict, ConflictRule, ConsentStatus, CountRule, Field, FieldRule, Judged, LawfulBasis, Mask, OnDeny, PartyNo, PathPattern,
    Release, ResponsePlan, Several, Shape, ShapeName, Shapes, Space, Step, Subject, Verdicts, Why,
};

const CONFIGURED: usize = 64;
const SPLIT: usize = 72;
pub(crate) const NAMES: &[&str] =
    &["a", "b", "id", "cc", "ab", "sixteenBytesName", "moreThanTwentyFourBytesLong", "moreThanTwentyFourBytesLonger", "d@x.example", "größe"];
/// The member that lists what was withheld.
pub(crate) const TOLD: &str = "told";
const CATEGORIES: [&str; 3] = ["x", "y", "z"];
const IDS: [&str; 3] = ["1", "2", "k"];
const CUSTOMERS: &[&[&str]] = &[
    &["id"],
    &["a.id"],
    &["id", "b.id"],
    &["id", "cc[].id"],
    &["cc[].id"],
    &["id", "cc[].b.id", "cc[].id"],
    &["a.id", "b"],
    &["id", "cc[0].id", "cc[1]"],
    &["[0]"],
    &["[0]", "[1]"],
    &["[0]", "[2][].id"],
    &["id"],
];
const ROWS: &[&str] = &["[]", "rows[]", "rows[]", "data.rows[]", "a[].rows[]", "a[0].rows[]", "[1].rows[]", "a[][]", "data.a[].b[].rows[]"];
const COUNTS: &[(&str, CountRule)] = &[
    ("total", CountRule::Rows),
    ("page.total", CountRule::Rows),
    ("data.total", CountRule::Rows),
    ("a[].n", CountRule::Rows),
    ("page[1]", CountRule::Rows),
    ("next", CountRule::Remove),
    ("data.next", CountRule::Remove),
    ("data", CountRule::Free),
    ("page.**", CountRule::Free),
    ("a", CountRule::Remove),
];
const OPEN: &[&str] = &["kind", "page.**", "data.kind", "page[0]", "a[].kind", "**", "data"];

/// Bytes of which choices are made; none when they have run out.
#[derive(Debug)]
pub(crate) struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// True for so many of 256 bytes.
    pub(crate) fn rarely(&mut self, often: u8) -> bool {
        self.byte() > u8::MAX - often
    }
}

/// Customers by their id; all others are unknown and permit nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct People {
    known: BTreeMap<String, (u64, Arc<Verdicts>)>,
    requested: Option<String>,
}

impl Judge for People {
    fn judge(&mut self, _space: Space, raw_id: &str) -> Judged {
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
        text.len().is_multiple_of(2).then(|| format!("{:04}", text.len()))
    }
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) shapes: Shapes,
    pub(crate) plan: ResponsePlan,
    pub(crate) people: People,
    pub(crate) selected_by: Vec<Category>,
    pub(crate) limits: Limits,
    /// Answers of one route, one after the other.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// So many bytes come at once, in turn; at least one.
    pub(crate) pieces: Vec<usize>,
    /// A part is taken whenever one can be, else only when it has to be.
    pub(crate) parts: bool,
}

impl Case {
    pub(crate) fn new(data: &[u8]) -> Self {
        let (configured, rest) = data.split_at_checked(CONFIGURED).unwrap_or((data, &[]));
        let (split, content) = rest.split_at_checked(SPLIT - CONFIGURED).unwrap_or((rest, &[]));
        let mut choices = Choices(configured);
        let mut main = shape("s", &mut choices, &["e", "s"]);
        let embedded = Shape { customer: vec![path("id")], ..shape("e", &mut choices, &["e"]) };
        // The configuration refuses shapes that overlook somebody.
        if main.unread_customer(&shapes_of(&main, &embedded)).is_some() {
            main.fields.retain(|field| !matches!(field.rule, FieldRule::Embed(_)));
        }
        let people = people(&mut choices);
        let mut plan = plan(&mut choices, &main);
        let selected_by = if choices.rarely(30) { vec![Category::intern("x")] } else { Vec::new() };
        let depth_max = if choices.rarely(6) { 4 } else { 100 };
        if choices.rarely(60) {
            tell(&mut plan);
        }
        let mut split = Choices(split);
        let pieces = vec![1 + split.below(40), 1 + split.below(9), 1 + usize::from(split.byte()) * 4];
        let parts = split.byte() % 2 == 0;
        let mut writer = Writer::new(Choices(content), split.byte(), &main, &embedded);
        let count = 1 + split.below(3);
        let mut bodies: Vec<Vec<u8>> = (0..count).map(|_| writer.body(&plan)).collect();
        if split.rarely(25) {
            spoil(&mut bodies, &mut split, &mut writer.choices);
        }
        let shapes = shapes_of(&main, &embedded);
        Self { shapes, plan, people, selected_by, limits: Limits { body_bytes_max: 1 << 20, depth_max }, bodies, pieces, parts }
    }
}

/// Changes some bytes: most of what comes of it is not JSON any more.
fn spoil(bodies: &mut [Vec<u8>], split: &mut Choices<'_>, choices: &mut Choices<'_>) {
    for body in bodies {
        let at = (split.below(256) * 256 + choices.below(256)) % (body.len() + 1);
        let with = choices.one(b"\",:{}[]\\0 \x00\xff\xc3n");
        match choices.below(3) {
            0 => body.truncate(at),
            1 => body.insert(at, with),
            _ => body.get_mut(at).into_iter().for_each(|byte| *byte = with),
        }
    }
}

fn shapes_of(main: &Shape, embedded: &Shape) -> Shapes {
    [main, embedded].map(|shape| (shape.name, Arc::new(shape.clone()))).into()
}

pub(crate) fn path(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap_or_default()
}

fn shape(name: &str, choices: &mut Choices<'_>, embeds: &[&str]) -> Shape {
    let customer: Vec<PathPattern> = choices.one(CUSTOMERS).iter().map(|text| path(text)).collect();
    let is_positional = is_positional(&customer);
    let mut fields: Vec<Field> = Vec::new();
    for _ in 0..1 + choices.below(5) {
        let mut field = Field { path: some_path(choices, is_positional), rule: rule(choices, embeds) };
        if let (FieldRule::Embed(_), Some(Step::Rest)) = (&field.rule, field.path.0.last()) {
            field.path.0.pop();
        }
        if !fields.iter().any(|known| known.path == field.path) {
            fields.push(field);
        }
    }
    let mut open: Vec<PathPattern> = (0..choices.below(3)).map(|_| some_path(choices, is_positional)).collect();
    open.retain(|path| !fields.iter().any(|field| field.path == *path));
    let needs = if choices.rarely(20) { vec![Category::intern("x")] } else { Vec::new() };
    let several = if choices.rarely(160) { Several::Each } else { Several::All };
    Shape {
        name: ShapeName::intern(name),
        ids: Some(Space::intern("test-ids")),
        customer,
        several,
        open,
        links: Vec::new(),
        hidden: Vec::new(),
        needs,
        also: Vec::new(),
        fields,
        bare: false,
        lets_unmapped_pass: false,
    }
}

fn is_positional(customer: &[PathPattern]) -> bool {
    customer.first().is_some_and(|path| matches!(path.0.first(), Some(Step::Index(_))))
}

fn some_path(choices: &mut Choices<'_>, is_positional: bool) -> PathPattern {
    let mut text = if is_positional { (choices.one(&["[0]", "[1]", "[2]", "[]", "[3]"])).to_owned() } else { quoted(choices.one(NAMES)) };
    let further = choices.byte();
    for step in 0..further % 3 {
        match further >> (2 + 2 * step) & 3 {
            0 => text.push_str("[]"),
            1 => text.push_str(choices.one(&["[0]", "[1]"])),
            _ => text = format!("{text}.{}", quoted(choices.one(NAMES))),
        }
    }
    path(&if further >= 192 { format!("{text}.**") } else { text })
}

fn quoted(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

fn rule(choices: &mut Choices<'_>, embeds: &[&str]) -> FieldRule {
    let kind = choices.byte();
    let category = Category::intern(CATEGORIES[usize::from(kind) % 3]);
    let on_deny = match kind >> 4 {
        0..=6 => OnDeny::Remove,
        7 => OnDeny::Null,
        8 => OnDeny::Error,
        9 => OnDeny::Mask(Mask::Last4),
        10 => OnDeny::Mask(Mask::Year),
        11 => OnDeny::Mask(Mask::Pseudonym),
        12 => OnDeny::Mask(Mask::Generalise),
        _ => return FieldRule::Embed(ShapeName::intern(embeds[usize::from(kind) % embeds.len()])),
    };
    FieldRule::Category { category, on_deny }
}

fn people(choices: &mut Choices<'_>) -> People {
    let mut known = BTreeMap::new();
    for (no, id) in (1..).zip(IDS) {
        let signs = choices.byte();
        let one = |number: usize| {
            let (release, why) = match signs >> (2 * number) & 3 {
                0 | 1 => (Release::Full, Why::Permitted),
                2 => (Release::Reduced, Why::Permitted),
                _ => (Release::Withheld, Why::NoPermit),
            };
            verdict(Category::intern(CATEGORIES[number]), release, why)
        };
        known.insert(id.to_owned(), (no, Arc::new(Verdicts::new((0..3).map(one).collect()))));
    }
    let requested = match choices.below(8) {
        0 => Some("1".to_owned()),
        1 => Some("k".to_owned()),
        _ => None,
    };
    People { known, requested }
}

/// A verdict by consent, without further grounds.
pub(crate) fn verdict(category: Category, release: Release, why: Why) -> CategoryVerdict {
    CategoryVerdict {
        category,
        release,
        why,
        policies: Vec::new(),
        basis: LawfulBasis::Consent,
        activity: None,
        status: ConsentStatus::Unknown,
        event: None,
        overridden: Vec::new(),
        rule: ConflictRule::CustomerLastWord,
        conflict: false,
        grounds: None,
    }
}

fn plan(choices: &mut Choices<'_>, main: &Shape) -> ResponsePlan {
    let shape = Arc::new(main.clone());
    match choices.below(8) {
        0 => ResponsePlan::Open { open: (0..1 + choices.below(2)).map(|_| path(choices.one(OPEN))).collect() },
        1 | 2 if !is_positional(&main.customer) => {
            let at = path(choices.one(&["data", "data.a", "a[1]"]));
            let at = if choices.rarely(128) { at } else { PathPattern::default() };
            let subject = if choices.rarely(60) { Subject::Request } else { Subject::Answer };
            ResponsePlan::Object { at, shape, subject, open: Vec::new(), withheld_as: None }
        }
        _ => {
            let rows = path(choices.one(ROWS));
            let mut counts: Vec<(PathPattern, CountRule)> = Vec::new();
            for _ in 0..choices.below(4) {
                let (text, rule) = choices.one(COUNTS);
                counts.push((path(text), rule));
            }
            let open = (0..choices.below(3)).map(|_| path(choices.one(OPEN))).collect();
            let rows_max = if choices.rarely(20) { Some(2) } else { None };
            ResponsePlan::Rows { rows, shape, counts, open, rows_max, withheld_as: None }
        }
    }
}

/// Has the answer list what was withheld, where it is an object.
fn tell(plan: &mut ResponsePlan) {
    if let ResponsePlan::Object { at, withheld_as, .. } | ResponsePlan::Rows { rows: at, withheld_as, .. } = plan
        && matches!(at.0.first(), Some(Step::Member(_)) | None)
    {
        *withheld_as = Some(TOLD.to_owned());
    }
}
