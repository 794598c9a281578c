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

use crate::filter::{Judge, Limits};
use crate::model::{
    Category, CategoryVerdict, ConflictRule, ConsentStatus, CountRule, Field, FieldRule, Judged, LawfulBasis, Mask, OnDeny, PartyNo, PathPattern,
    Release, ResponsePlan, Several, Shape, ShapeName, Shapes, Space, Step, Subject, Verdicts, Why,
};

const CONFIGURED: usize = 64;
const SPLIT: usize = 72;
/// What one body may hold, so that a case takes no longer than some milliseconds.
const BODY_BYTES_MAX: usize = 16 * 1024;
const NAMES: &[&str] =
    &["a", "b", "id", "cc", "ab", "sixteenBytesName", "moreThanTwentyFourBytesLong", "moreThanTwentyFourBytesLonger", "d@x.example", "größe"];
const BESIDE: &[&str] = &["total", "n", "next", "page", "kind", "data"];
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
struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// True for so many of 256 bytes.
    fn rarely(&mut self, often: u8) -> bool {
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
        let leads = leads(&main, &embedded);
        let mut writer = Writer { choices: Choices(content), out: String::new(), spaces: split.byte(), texts: 0, rows: 0, leads };
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

fn path(text: &str) -> PathPattern {
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

fn verdict(category: Category, release: Release, why: Why) -> CategoryVerdict {
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

/// Stands for the number of rows, which is known when all are written.
const COUNT: char = '\u{1}';

/// Where a shape looks for something.
#[derive(Clone, Debug)]
struct Lead {
    steps: Vec<Step>,
    is_id: bool,
}

/// What the main shape looks for, and what the embedded one does where it stands in it.
fn leads(main: &Shape, embedded: &Shape) -> Vec<Lead> {
    let lead = |path: &PathPattern, is_id| Lead { steps: path.0.clone(), is_id };
    let mut leads: Vec<Lead> = main.customer.iter().map(|path| lead(path, true)).collect();
    leads.extend(main.open.iter().map(|path| lead(path, false)));
    for field in &main.fields {
        let FieldRule::Embed(name) = &field.rule else {
            leads.push(lead(&field.path, false));
            continue;
        };
        let inner = if *name == main.name { main } else { embedded };
        let paths = inner.customer.iter().map(|path| (path, true)).chain(inner.fields.iter().map(|field| (&field.path, false)));
        leads.extend(paths.map(|(path, is_id)| Lead { steps: [&field.path.0[..], &path.0[..]].concat(), is_id }));
    }
    leads
}

/// Writes bodies.
struct Writer<'d> {
    choices: Choices<'d>,
    out: String,
    spaces: u8,
    texts: usize,
    rows: usize,
    leads: Vec<Lead>,
}

impl Writer<'_> {
    fn body(&mut self, plan: &ResponsePlan) -> Vec<u8> {
        (self.rows, self.out) = (0, String::new());
        self.space(1);
        match plan {
            ResponsePlan::Rows { rows, .. } => self.around(&rows.0, true),
            ResponsePlan::Object { at, .. } => self.around(&at.0, false),
            ResponsePlan::Open { .. } | ResponsePlan::Free { .. } | ResponsePlan::Empty | ResponsePlan::Stream { .. } => {
                self.around(&path("data.a").0, false)
            }
        }
        self.space(1);
        self.out.replace(COUNT, &self.rows.to_string()).into_bytes()
    }

    /// White space, as this body has it before, between and after what stands in it.
    fn space(&mut self, place: u8) {
        let spaces = match self.spaces % 8 {
            kind if kind & place == 0 => "",
            3 => "\n  ",
            5 => "\t ",
            7 => self.choices.one(&["", " ", "\r\n", "                    "]),
            _ => " ",
        };
        self.out.push_str(spaces);
    }

    fn is_full(&self) -> bool {
        self.out.len() > BODY_BYTES_MAX
    }

    /// What leads to the rows or the object, with other things beside it.
    fn around(&mut self, steps: &[Step], rows: bool) {
        if self.choices.rarely(4) || self.is_full() {
            return self.value(2);
        }
        match steps.split_first() {
            None if self.choices.rarely(60) => self.object(3),
            None => self.led(&self.leads.clone(), 3),
            Some((Step::Items, [])) if rows && self.choices.rarely(60) => self.list(true, 3),
            Some((Step::Items, [])) if rows => self.led_rows(),
            Some((Step::Member(name), rest)) => {
                self.out.push('{');
                let first = self.choices.below(BESIDE.len());
                let (before, after) = (self.choices.below(3), self.choices.below(4));
                for number in 0..before {
                    self.beside(first + number, name);
                    self.comma();
                }
                self.name(name);
                self.around(rest, rows);
                for number in 0..after {
                    self.comma();
                    self.beside(first + before + number, name);
                }
                self.space(2);
                self.out.push('}');
            }
            Some((step, rest)) => {
                self.out.push('[');
                self.space(2);
                let count = if let Step::Index(index) = step { *index as usize + 1 } else { self.choices.below(4) };
                for number in 0..count {
                    if number > 0 {
                        self.comma();
                    }
                    if matches!(step, Step::Index(_)) && number + 1 < count { self.beside_value() } else { self.around(rest, rows) }
                }
                self.out.push(']');
            }
        }
    }

    /// Another member than the one of this name; rarely the same once more.
    fn beside(&mut self, number: usize, other: &str) {
        let name = if self.choices.rarely(12) { self.choices.one(NAMES) } else { BESIDE[number % BESIDE.len()] };
        let name = if name == other && !self.choices.rarely(4) { "besides" } else { name };
        self.name(name);
        self.beside_value();
    }

    fn beside_value(&mut self) {
        match self.choices.below(8) {
            0..=3 => self.out.push(COUNT),
            4 => self.out.push_str(self.choices.one(&["null", "[]", "{}", "false", "\"\"", "7", "7.0"])),
            5 => {
                let name = self.choices.one(BESIDE);
                self.out.push('{');
                self.name(name);
                self.out.push(COUNT);
                self.out.push('}');
            }
            6 => self.out.extend(["[1,".to_owned(), COUNT.to_string(), "]".to_owned()]),
            _ => self.value(1),
        }
    }

    fn comma(&mut self) {
        self.space(4);
        self.out.push(',');
        self.space(2);
    }

    /// A name with its colon, in this or that spelling.
    fn name(&mut self, name: &str) {
        self.out.push('"');
        match self.choices.byte() {
            251 => self.out.extend(name.chars().map(|c| format!("\\u{:04x}", u32::from(c)))),
            252.. => {
                let mut chars = name.chars();
                self.out.extend(chars.next().map(|c| format!("\\u{:04X}", u32::from(c))));
                self.out.push_str(chars.as_str());
            }
            _ => self.out.push_str(name),
        }
        self.out.push('"');
        self.space(4);
        self.out.push(':');
        self.space(1);
    }

    fn value(&mut self, depth: usize) {
        let kind = if self.is_full() { 0 } else { self.choices.below(24) };
        match kind {
            0 => self.out.push_str("null"),
            1 => self.out.push_str("{}"),
            2 => self.out.push_str("[]"),
            3 => self.out.push_str(self.choices.one(&[
                "true",
                "false",
                "0",
                "-1.50e+3",
                "1e999",
                "12345678901234567890123",
                "\"1981-04-12\"",
                "\"1981\"",
            ])),
            4..=6 => self.id(),
            7..=10 if depth > 0 => self.list(false, depth - 1),
            11..=16 if depth > 0 => self.object(depth - 1),
            17 if depth > 0 => self.items(depth - 1),
            _ => self.text(),
        }
    }

    /// Rows that have what the shape looks for.
    fn led_rows(&mut self) {
        let leads = self.leads.clone();
        self.out.push('[');
        self.space(2);
        for number in 0..self.choices.below(9) {
            if number > 0 {
                self.comma();
            }
            self.rows += 1;
            self.led(&leads, 3);
        }
        self.space(4);
        self.out.push(']');
    }

    /// What is looked for from here on, mostly.
    fn led(&mut self, leads: &[Lead], depth: usize) {
        if leads.is_empty() || self.choices.rarely(10) || self.is_full() {
            return self.value(depth);
        }
        let mut ends = leads.iter().filter(|lead| lead.steps.is_empty()).peekable();
        if ends.peek().is_some() {
            let is_id = ends.any(|lead| lead.is_id);
            if leads.iter().all(|lead| lead.steps.is_empty()) || self.choices.rarely(if is_id { 220 } else { 80 }) {
                return if is_id { self.known_id() } else { self.text() };
            }
        }
        let deeper = |goes: &dyn Fn(&Step) -> bool| -> Vec<Lead> {
            let through = leads.iter().filter(|lead| lead.steps.first().is_some_and(goes));
            through.map(|lead| Lead { steps: lead.steps[1..].to_vec(), is_id: lead.is_id }).collect()
        };
        let is_list = leads.iter().any(|lead| matches!(lead.steps.first(), Some(Step::Items | Step::Index(_))));
        let mut names: Vec<&str> = Vec::new();
        for lead in leads {
            if let Some(Step::Member(name)) = lead.steps.first()
                && !names.contains(&&**name)
            {
                names.push(name);
            }
        }
        if is_list && (names.is_empty() || self.choices.rarely(40)) {
            self.out.push('[');
            self.space(2);
            let least = leads.iter().filter_map(|lead| if let Some(Step::Index(index)) = lead.steps.first() { Some(*index as usize) } else { None });
            let least = least.max().map_or(1, |index| index + 1);
            for number in 0..(least + self.choices.below(4)).saturating_sub(1) {
                if number > 0 {
                    self.comma();
                }
                let leads = deeper(&|step| match step {
                    Step::Items => true,
                    Step::Index(index) => *index as usize == number,
                    Step::Member(_) | Step::Rest => false,
                });
                self.led(&leads, depth.saturating_sub(1));
            }
            self.space(4);
            return self.out.push(']');
        }
        if names.is_empty() {
            // All that is below is meant.
            return self.value(depth);
        }
        let turn = self.choices.byte();
        let by = usize::from(turn) % names.len();
        names.rotate_left(by);
        match turn {
            210..=219 => drop(names.pop()),
            220..=235 => names.push("x2"),
            236..=245 => names.insert(0, "extraOne"),
            246 => names.push(names[0]),
            _ => {}
        }
        self.out.push('{');
        self.space(2);
        for (number, name) in names.iter().enumerate() {
            if number > 0 {
                self.comma();
            }
            self.name(name);
            let leads = deeper(&|step| matches!(step, Step::Member(known) if **known == **name));
            self.led(&leads, depth.saturating_sub(1));
        }
        self.space(4);
        self.out.push('}');
    }

    fn known_id(&mut self) {
        if self.choices.rarely(20) {
            return self.id();
        }
        self.out.push_str(self.choices.one(&["1", "2", "\"k\"", "\"1\"", "1"]));
    }

    fn id(&mut self) {
        self.out.push_str(self.choices.one(&["1", "2", "\"k\"", "\"1\"", "\"\\u006b\"", "9", "1.0", "\"\"", "null"]));
    }

    /// Texts that are all different.
    fn text(&mut self) {
        self.texts += 1;
        let canary = canary(self.texts);
        let kind = self.choices.byte();
        let spelt = match kind {
            0..=180 => canary,
            181..=195 => format!("{canary} and more than the bytes that are looked at in one go"),
            196..=205 => format!("\\u0078{canary}"),
            206..=215 => format!("{canary}\\\"\\\\"),
            216..=225 => format!("ö{canary}\u{1f600}"),
            226..=235 => format!("{canary}\\ud83d\\ude00"),
            236..=240 => format!("{}{canary}", "ü".repeat(usize::from(kind - 230))),
            241 if self.choices.rarely(20) => format!("{canary}\\ud83d"),
            _ => format!("{canary}/\\/\\n"),
        };
        self.out.extend(["\"", &spelt, "\""]);
    }

    /// An array of anything.
    fn items(&mut self, depth: usize) {
        self.out.push('[');
        self.space(2);
        for number in 0..self.choices.below(5) {
            if number > 0 {
                self.comma();
            }
            if number == 0 { self.id() } else { self.value(depth) }
        }
        self.space(4);
        self.out.push(']');
    }

    fn object(&mut self, depth: usize) {
        let names = self.names();
        self.members(&names, depth);
    }

    /// Names that mostly differ; twice the same are there too.
    fn names(&mut self) -> Vec<&'static str> {
        let first = self.choices.below(NAMES.len());
        let count = self.choices.below(6);
        let mut names: Vec<_> = (0..count).map(|step| NAMES[(first + step) % NAMES.len()]).collect();
        match self.choices.byte() {
            0..=140 => names.insert(0, "id"),
            141..=190 => names.push("id"),
            _ => {}
        }
        // Else `id` would stand there twice all the time.
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(*name));
        names
    }

    fn members(&mut self, names: &[&str], depth: usize) {
        self.out.push('{');
        self.space(2);
        for (number, name) in names.iter().enumerate() {
            if number > 0 {
                self.comma();
            }
            self.name(name);
            if *name == "id" && !self.choices.rarely(12) { self.id() } else { self.value(depth) }
        }
        self.space(4);
        self.out.push('}');
    }

    /// Objects that have about the same members, as a list has them; `rows`: those that are counted.
    fn list(&mut self, rows: bool, depth: usize) {
        let names = self.names();
        let count = self.choices.below(if rows { 9 } else { 4 });
        self.out.push('[');
        self.space(2);
        for number in 0..count {
            if number > 0 {
                self.comma();
            }
            self.rows += usize::from(rows);
            let mut own = names.clone();
            let how = self.choices.byte();
            let at = self.choices.below(own.len().max(1));
            match how {
                0..=150 => {}
                151..=170 if !own.is_empty() => drop(own.remove(at)),
                171..=190 if !own.is_empty() => own.rotate_left(at),
                191..=205 => own.insert(at, self.choices.one(NAMES)),
                206..=215 => own.reverse(),
                216 if !own.is_empty() => own.push(own[at]),
                220..=232 => {
                    self.items(depth);
                    continue;
                }
                233..=240 => {
                    self.value(1);
                    continue;
                }
                _ => own.extend(["extraOne", "x2"]),
            }
            self.members(&own, depth);
        }
        self.space(4);
        self.out.push(']');
    }
}

/// A text that stands nowhere else: the one of this number.
pub(crate) fn canary(number: usize) -> String {
    format!("canary{:05}q", number * 7919 % 99_991)
}
