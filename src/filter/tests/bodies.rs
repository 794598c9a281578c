//! Bodies out of bytes: mostly what a shape looks for, where it looks for it, and anything else anywhere. See `case.rs`.

use super::case::{Choices, NAMES, path};
use crate::model::{FieldRule, PathPattern, ResponsePlan, Shape, Step};

/// What one body may hold, so that a case takes no longer than some milliseconds.
const BODY_BYTES_MAX: usize = 16 * 1024;
const BESIDE: &[&str] = &["total", "n", "next", "page", "kind", "data"];

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
pub(crate) struct Writer<'d> {
    pub(crate) choices: Choices<'d>,
    out: String,
    spaces: u8,
    texts: usize,
    rows: usize,
    leads: Vec<Lead>,
}

impl<'d> Writer<'d> {
    pub(crate) fn new(choices: Choices<'d>, spaces: u8, main: &Shape, embedded: &Shape) -> Self {
        Self { choices, out: String::new(), spaces, texts: 0, rows: 0, leads: leads(main, embedded) }
    }

    pub(crate) fn body(&mut self, plan: &ResponsePlan) -> Vec<u8> {
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
