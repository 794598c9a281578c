//! System query options of OData 4 (<https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part2-url-conventions.html>, section 5).
//! An own small parser: what it understands it writes anew, what it does not understand is refused. It looks for one thing, which
//! fields an expression touches; so operators have no precedence here, and their order is kept as it stands.
//!
//! Understood: `$filter` and `$orderby` with operators, the functions below, `any`/`all`, `in`, literals; `$select` and `$expand` with
//! options of their own; `$count`, `$top`, `$skip`, `$format=json`. Not understood, and so refused: `$it`, `$root`, parameter aliases, type
//! casts, enumerations, JSON in expressions, `$levels`, `$ref`. `$search`, `$apply`, `$compute` and tokens of pages are refused unless a
//! route declares them like other parameters.

use super::fields::{Fields, Named, Names};
use super::param::{ParamError, Said};
use crate::model::Category;

/// Options that are read here.
const OPTIONS: [&str; 8] = ["$filter", "$orderby", "$select", "$expand", "$count", "$top", "$skip", "$format"];
/// Parentheses, functions, lambdas and expansions within each other; each expression counts with its operand.
const DEPTH_MAX: usize = 64;
const OPERATORS: [&str; 15] = ["and", "or", "eq", "ne", "gt", "ge", "lt", "le", "has", "add", "sub", "mul", "div", "divby", "mod"];
/// Function and how many parameters it takes.
const FUNCTIONS: [(&str, usize, usize); 29] = [
    ("ceiling", 1, 1),
    ("concat", 2, 2),
    ("contains", 2, 2),
    ("date", 1, 1),
    ("day", 1, 1),
    ("endswith", 2, 2),
    ("floor", 1, 1),
    ("fractionalseconds", 1, 1),
    ("hassubset", 2, 2),
    ("hassubsequence", 2, 2),
    ("hour", 1, 1),
    ("indexof", 2, 2),
    ("length", 1, 1),
    ("matchespattern", 2, 2),
    ("matchesPattern", 2, 2),
    ("maxdatetime", 0, 0),
    ("mindatetime", 0, 0),
    ("minute", 1, 1),
    ("month", 1, 1),
    ("now", 0, 0),
    ("round", 1, 1),
    ("second", 1, 1),
    ("startswith", 2, 2),
    ("substring", 2, 3),
    ("time", 1, 1),
    ("tolower", 1, 1),
    ("toupper", 1, 1),
    ("trim", 1, 1),
    ("year", 1, 1),
];

pub(super) fn reads(name: &str) -> bool {
    OPTIONS.contains(&name)
}

/// What each option says, and how it is sent.
pub(super) fn read(fields: &Fields, given: &[(String, String)]) -> Result<Vec<Said>, ParamError> {
    let mut options = Options::default();
    let mut said = Vec::new();
    for (name, value) in given {
        let mut parser = Parser::new(fields, name, value);
        let at = Some(said.len());
        match name.as_str() {
            "$select" => options.select = Some(parser.whole(|p| p.select(&[]))?).zip(at),
            "$expand" => options.expand = Some(parser.whole(|p| p.expand(&[]))?).zip(at),
            "$filter" => parser.whole(|p| p.expression())?,
            "$orderby" => parser.whole(|p| p.order())?,
            _ => parser.whole(|p| p.plain(name))?,
        }
        said.push(Said { categories: parser.categories, value: parser.out, bare: false });
    }
    let expanded: Vec<Names> = options.expand.iter().flat_map(|(expanded, _)| expanded.clone()).collect();
    if let Some((selected, at)) = options.select {
        let asked: Vec<Names> = selected.iter().chain(&expanded).cloned().collect();
        // `*` selects all there is.
        if let (Some(said), false) = (said.get_mut(at), selected.iter().any(|names| names.is_empty())) {
            let (missing, bare) = fields.missing_ids(&asked);
            said.bare = bare;
            // What is expanded has brought its own ids along.
            let missing = missing.iter().filter(|id| !expanded.iter().any(|nav| id.starts_with(nav)));
            missing.for_each(|id| said.value.extend([",".to_owned(), id.join("/")]));
        }
    }
    Ok(said)
}

#[derive(Default)]
struct Options {
    select: Option<(Vec<Names>, usize)>,
    expand: Option<(Vec<Names>, usize)>,
}

/// Not understood. What stands there may be a value, so that nothing of it is told.
struct Unknown;

enum Refused {
    Unknown,
    Param(ParamError),
}

impl From<Unknown> for Refused {
    fn from(_: Unknown) -> Self {
        Self::Unknown
    }
}

type Read<T = ()> = Result<T, Refused>;

/// Of a lambda.
struct Variable {
    name: String,
    over: Names,
    /// The expression speaks of the elements.
    used: bool,
}

struct Parser<'p> {
    fields: &'p Fields,
    option: &'p str,
    rest: &'p str,
    depth: usize,
    /// The object in which an expansion's options speak.
    within: Names,
    /// Variables of lambdas, and what they stand for.
    variables: Vec<Variable>,
    categories: Vec<Category>,
    out: String,
}

impl<'p> Parser<'p> {
    fn new(fields: &'p Fields, option: &'p str, text: &'p str) -> Self {
        Self { fields, option, rest: text, depth: 0, within: Vec::new(), variables: Vec::new(), categories: Vec::new(), out: String::new() }
    }

    fn whole<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Result<T, ParamError> {
        self.space();
        let found = read(self).and_then(|found| {
            self.space();
            if self.rest.is_empty() { Ok(found) } else { Err(Unknown.into()) }
        });
        found.map_err(|refused| match refused {
            Refused::Unknown => ParamError::Value(self.option.to_owned()),
            Refused::Param(error) => error,
        })
    }

    /// `a eq 1 and (not b or c/any(x:x/d gt 2))`
    fn expression(&mut self) -> Read {
        self.deeper()?;
        self.operand()?;
        while let Some((operator, after)) = self.operator() {
            self.rest = after;
            self.out.extend([" ", operator, " "]);
            if operator == "in" { self.list()? } else { self.operand()? }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The operator that follows, between blanks, and what stands behind it.
    fn operator(&self) -> Option<(&'p str, &'p str)> {
        let text = self.rest.trim_start_matches(' ');
        let (word, after) = split_word(text);
        let known = OPERATORS.contains(&word) || word == "in";
        let spaced = text.len() < self.rest.len() && after.starts_with(' ');
        (known && spaced).then(|| (word, after.trim_start_matches(' ')))
    }

    fn operand(&mut self) -> Read {
        self.deeper()?;
        if self.eat("(") {
            self.out.push('(');
            self.space();
            self.expression()?;
            self.space();
            self.must(")")?;
            self.out.push(')');
        } else if let Some(after) = self.rest.strip_prefix("not").filter(|after| after.starts_with([' ', '('])) {
            self.rest = after.trim_start_matches(' ');
            self.out.push_str("not ");
            self.operand()?;
        } else if self.rest.starts_with('-')
            && !self.rest.starts_with("-INF")
            && !self.rest.get(1..2).is_some_and(|c| c.starts_with(|c: char| c.is_ascii_digit()))
        {
            self.must("-")?;
            self.out.push('-');
            self.space();
            self.operand()?;
        } else if !self.literal() {
            self.named()?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// A literal, if one stands there. None can name a field.
    fn literal(&mut self) -> bool {
        let rest = self.rest;
        let (word, after) = split_word(rest);
        let end = if rest.starts_with('\'') {
            quoted(rest)
        } else if ["duration", "binary"].contains(&word) && after.starts_with('\'') {
            quoted(after).map(|end| word.len() + end)
        } else if let Some(end) = guid(rest) {
            Some(end)
        } else if rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !rest.starts_with("-INF") {
            // Numbers, dates and times.
            let run = rest.find(|c: char| !(c.is_ascii_digit() || "-+.:TZeE".contains(c))).unwrap_or(rest.len());
            Some(run).filter(|_| rest.bytes().take(2).any(|b| b.is_ascii_digit()))
        } else if rest.starts_with("-INF") {
            Some(4)
        } else {
            Some(word.len()).filter(|_| ["null", "true", "false", "INF", "NaN"].contains(&word))
        };
        // What follows must not make one word of it.
        let found = end.and_then(|end| rest.split_at_checked(end)).filter(|(_, after)| after.is_empty() || after.starts_with([' ', ',', ')', ';']));
        if let Some((text, after)) = found {
            self.out.push_str(text);
            self.rest = after;
        }
        found.is_some()
    }

    /// `('a','b')`
    fn list(&mut self) -> Read {
        self.must("(")?;
        self.out.push('(');
        loop {
            self.space();
            if !self.literal() {
                return Err(Unknown.into());
            }
            self.space();
            if !self.comma() {
                break;
            }
        }
        self.must(")")?;
        self.out.push(')');
        Ok(())
    }

    /// A function or a path.
    fn named(&mut self) -> Read {
        let name = self.word()?;
        if self.eat("(") {
            return self.function(name);
        }
        let mut path = match self.variables.iter_mut().find(|variable| variable.name == name) {
            Some(variable) => {
                variable.used = true;
                variable.over.clone()
            }
            None => self.within.iter().cloned().chain([name.to_owned()]).collect(),
        };
        self.out.push_str(name);
        while self.eat("/") {
            self.out.push('/');
            if self.eat("$count") {
                self.out.push_str("$count");
                break;
            }
            let segment = self.word()?;
            if ["any", "all"].contains(&segment) && self.eat("(") {
                return self.lambda(segment, path);
            }
            self.out.push_str(segment);
            path.push(segment.to_owned());
        }
        self.touch(&path)
    }

    fn function(&mut self, name: &str) -> Read {
        let (_, least, most) = FUNCTIONS.iter().find(|(known, ..)| *known == name).ok_or(Unknown)?;
        self.out.extend([name, "("]);
        let mut given = 0;
        self.space();
        while !self.rest.starts_with(')') {
            self.expression()?;
            given += 1;
            self.space();
            if !self.comma() {
                break;
            }
            self.space();
            if self.rest.starts_with(')') {
                return Err(Unknown.into());
            }
        }
        self.must(")")?;
        self.out.push(')');
        if (*least..=*most).contains(&given) { Ok(()) } else { Err(Unknown.into()) }
    }

    /// `lines/any(l:l/price gt 5)`, `lines/any()`: that a list has such an element tells of it.
    fn lambda(&mut self, which: &str, over: Names) -> Read {
        self.out.extend([which, "("]);
        self.space();
        if self.rest.starts_with(')') {
            self.touch(&over)?;
        } else {
            let variable = self.word()?;
            // A variable that hides a field, or another one, could be read in two ways.
            let hides = self.fields.find(&[self.within.as_slice(), &[variable.to_owned()]].concat()).is_some();
            if hides || self.variables.iter().any(|known| known.name == variable) {
                return Err(Unknown.into());
            }
            self.must(":")?;
            self.out.extend([variable, ":"]);
            self.space();
            self.exists(&over)?;
            self.variables.push(Variable { name: variable.to_owned(), over, used: false });
            self.expression()?;
            // `any(l:true)` says as much as `any()`.
            if let Some(Variable { over, used: false, .. }) = self.variables.pop() {
                self.touch(&over)?;
            }
            self.space();
        }
        self.must(")")?;
        self.out.push(')');
        Ok(())
    }

    /// Notes that rows are selected or ordered by a field.
    fn touch(&mut self, path: &Names) -> Read {
        let found = self.exists(path)?;
        self.categories.extend(found.categories);
        Ok(())
    }

    fn exists(&self, path: &Names) -> Read<Named> {
        let found = self.fields.find(path).ok_or_else(|| ParamError::field(self.option, &path.join("/")));
        found.and_then(|found| found.own(self.option)).map_err(Refused::Param)
    }

    /// `total desc,customer/name`
    fn order(&mut self) -> Read {
        loop {
            self.expression()?;
            for direction in [" asc", " desc"] {
                let text = self.rest.trim_start_matches(' ');
                let (word, after) = split_word(text);
                if text.len() < self.rest.len() && word == direction.trim_start() {
                    self.rest = after;
                    self.out.push_str(direction);
                    break;
                }
            }
            self.space();
            if !self.comma() {
                return Ok(());
            }
            self.space();
        }
    }

    /// `total,customer/name`; an empty name is `*`. Names are those of the answer, also within an expansion.
    fn select(&mut self, within: &[String]) -> Read<Vec<Names>> {
        let mut asked = Vec::new();
        loop {
            self.space();
            if self.eat("*") {
                self.out.push('*');
                asked.push(Vec::new());
            } else {
                let mut path = within.to_vec();
                path.extend(self.path()?);
                self.fields.find(&path).ok_or_else(|| Refused::Param(ParamError::field(self.option, &path.join("/"))))?;
                asked.push(path);
            }
            self.space();
            if !self.comma() {
                return Ok(asked);
            }
        }
    }

    fn path(&mut self) -> Read<Names> {
        let mut path = vec![self.word()?.to_owned()];
        while self.eat("/") {
            path.push(self.word()?.to_owned());
        }
        self.out.push_str(&path.join("/"));
        Ok(path)
    }

    /// `customer($select=name),lines`: objects and lists whose fields the shape maps.
    fn expand(&mut self, within: &[String]) -> Read<Vec<Names>> {
        self.deeper()?;
        let mut expanded = Vec::new();
        loop {
            self.space();
            let mut path = within.to_vec();
            path.extend(self.path()?);
            let found = self.fields.find(&path).filter(|found| found.holds_fields);
            found.ok_or_else(|| Refused::Param(ParamError::field(self.option, &path.join("/"))))?;
            if expanded.contains(&path) {
                return Err(Unknown.into());
            }
            if self.eat("(") {
                self.out.push('(');
                self.expanded_with(&path)?;
                self.must(")")?;
                self.out.push(')');
            }
            expanded.push(path);
            self.space();
            if !self.comma() {
                break;
            }
        }
        self.depth -= 1;
        Ok(expanded)
    }

    /// Options of one expansion, between `;`.
    fn expanded_with(&mut self, at: &Names) -> Read {
        let (mut given, mut select, mut expanded) = (Vec::new(), None, Vec::new());
        loop {
            self.space();
            let (name, after) = self.rest.split_once('=').ok_or(Unknown)?;
            if !reads(name) || name == "$format" || given.contains(&name) {
                return Err(Unknown.into());
            }
            given.push(name);
            self.rest = after;
            self.out.extend([name, "="]);
            match name {
                "$select" => select = Some((self.select(at)?, self.out.len())),
                "$expand" => expanded = self.expand(at)?,
                "$filter" | "$orderby" => {
                    let outer = (std::mem::replace(&mut self.within, at.clone()), std::mem::take(&mut self.variables));
                    if name == "$filter" {
                        self.expression()?
                    } else {
                        self.order()?
                    }
                    (self.within, self.variables) = outer;
                }
                _ => self.plain(name)?,
            }
            self.space();
            if !self.eat(";") {
                break;
            }
            self.out.push(';');
        }
        if let Some((selected, end)) = select.filter(|(selected, _)| selected.iter().all(|names| !names.is_empty())) {
            let asked: Vec<Names> = selected.into_iter().chain(expanded.iter().cloned()).collect();
            let (missing, _) = self.fields.missing_ids(&asked);
            let missing = missing.iter().filter(|id| id.starts_with(at) && !expanded.iter().any(|nav| id.starts_with(nav)));
            let missing: String = missing.filter_map(|id| id.get(at.len()..)).map(|id| format!(",{}", id.join("/"))).collect();
            self.out.insert_str(end, &missing);
        }
        Ok(())
    }

    /// `$count`, `$top`, `$skip`, `$format`.
    fn plain(&mut self, option: &str) -> Read {
        let end = self.rest.find([';', ')', ' ']).unwrap_or(self.rest.len());
        let (value, after) = self.rest.split_at_checked(end).ok_or(Unknown)?;
        let known = match option {
            "$count" => ["true", "false"].contains(&value),
            "$format" => ["json", "application/json"].contains(&value),
            _ => (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()),
        };
        if !known {
            return Err(Unknown.into());
        }
        self.out.push_str(value);
        self.rest = after;
        Ok(())
    }

    fn deeper(&mut self) -> Read {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Unknown.into()) } else { Ok(()) }
    }

    fn word(&mut self) -> Read<&'p str> {
        let (word, after) = split_word(self.rest);
        if word.is_empty() {
            return Err(Unknown.into());
        }
        self.rest = after;
        Ok(word)
    }

    fn eat(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn comma(&mut self) -> bool {
        let found = self.eat(",");
        if found {
            self.out.push(',');
        }
        found
    }

    fn must(&mut self, text: &str) -> Read {
        if self.eat(text) { Ok(()) } else { Err(Unknown.into()) }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }
}

/// An identifier and what stands behind it; empty when none stands there.
fn split_word(text: &str) -> (&str, &str) {
    let starts = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let end = if starts { text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len()) } else { 0 };
    text.split_at_checked(end).unwrap_or(("", text))
}

/// Where a string in single quotation marks ends; two of them stand for one.
fn quoted(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text.get(at..)?.find('\'')? + 1;
        if !text.get(at..)?.starts_with('\'') {
            return Some(at);
        }
        at += 1;
    }
}

fn guid(text: &str) -> Option<usize> {
    const LENGTH: usize = 36;
    let bytes = text.as_bytes().get(..LENGTH)?;
    let fits = |(n, byte): (usize, &u8)| if [8, 13, 18, 23].contains(&n) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
    bytes.iter().enumerate().all(fits).then_some(LENGTH)
}

#[cfg(test)]
mod tests;
