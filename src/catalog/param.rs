//! Declared parameters: of the query, or members of a search body. Who may not see a field may not search or sort by it,
//! so a parameter names the categories it selects by, or its value or its own name does; and what is not declared is refused.

use std::sync::Arc;

use regex::Regex;

use super::fields::{Fields, Named};
use super::ids::anchored;
use super::reading::Reading;
use crate::model::Category;

/// Which values a parameter takes.
#[derive(Clone, Debug)]
pub enum Accepts {
    Any,
    OneOf(Vec<String>),
    /// The whole value must match.
    Grammar(Regex),
    /// The value names fields: `sort=-birthDate,name`.
    Names {
        of: Arc<Fields>,
        style: NameStyle,
    },
    /// The parameter's own name holds that of a field, `filter[{field}]`, and perhaps an operator, `{field}__{op}`.
    Field {
        of: Arc<Fields>,
        operators: Vec<String>,
        grammar: Option<Regex>,
    },
}

/// What the named fields are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStyle {
    /// `-name`, `name:desc`, `name desc`: the order tells of the fields.
    Sort,
    /// Only these fields come back. That tells nothing, but the customer's id must be among them.
    Select,
    /// `group_by=city`, `sum=total`: the groups tell of the fields.
    Group,
}

impl NameStyle {
    pub const ALL: [(&'static str, Self); 3] = [("sort", Self::Sort), ("select", Self::Select), ("group", Self::Group)];
}

impl Accepts {
    /// # Errors
    /// A sentence that says what is wrong with the grammar.
    pub fn grammar(text: &str) -> Result<Self, String> {
        anchored(text).map(Self::Grammar)
    }

    /// # Errors
    /// A sentence that says what is wrong with the grammar.
    pub fn field(of: Arc<Fields>, operators: Vec<String>, grammar: Option<&str>) -> Result<Self, String> {
        Ok(Self::Field { of, operators, grammar: grammar.map(anchored).transpose()? })
    }

    /// Whether one value stands by itself; names of fields are read elsewhere.
    pub(super) fn takes(&self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(values) => values.iter().any(|v| v == value),
            Self::Grammar(grammar) => grammar.is_match(value),
            Self::Names { .. } | Self::Field { .. } => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Param {
    /// Compared exactly, after one percent-decoding; of [`Accepts::Field`] with `{field}` in it.
    pub name: String,
    pub accepts: Accepts,
    /// What the answer is selected or ordered by; empty when the parameter tells nothing about a customer.
    pub categories: Vec<Category>,
}

/// A parameter of the request that selects or orders rows by customer data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub param: String,
    pub categories: Vec<Category>,
}

/// What came of judging parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JudgedParams {
    pub selections: Vec<Selection>,
    /// What goes to the upstream.
    pub sent: Vec<(String, String)>,
    /// The customer's id was not asked for. It is, all the same, to be cut again.
    pub bare: bool,
}

/// Why the parameters are refused; carries names, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    #[error("the parameter `{0}` is not declared for this route")]
    NotDeclared(String),
    #[error("the parameter `{0}` stands there more than once")]
    Repeated(String),
    #[error("the parameter `{0}` has a value that is not declared for it")]
    Value(String),
    #[error("the parameter `{param}` names a field that does not come back here: `{field}`")]
    Field { param: String, field: String },
    #[error("the parameter `{param}` selects by data of another customer within the answer: `{field}`")]
    Embedded { param: String, field: String },
}

impl ParamError {
    pub(super) fn field(param: &str, field: &str) -> Self {
        Self::Field { param: short(param), field: short(field) }
    }
}

/// What one parameter says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) categories: Vec<Category>,
    pub(super) value: String,
    pub(super) bare: bool,
}

/// Judges names and values against what is declared, and what a dialect reads of itself. `reading`: of the query alone.
///
/// # Errors
/// For the first parameter that is not declared, repeated, has another value than declared, or names no field.
pub fn judge(declared: &[Param], reading: Option<&Reading>, given: &[(String, String)]) -> Result<JudgedParams, ParamError> {
    let mut judged = JudgedParams::default();
    let mut read_by_dialect = Vec::new();
    for (n, (name, value)) in given.iter().enumerate() {
        if given.iter().take(n).any(|(earlier, _)| earlier == name) {
            return Err(ParamError::Repeated(short(name)));
        }
        let said = match declared.iter().find(|p| p.name == *name && !matches!(p.accepts, Accepts::Field { .. })) {
            Some(param) => param.said(value)?,
            None if reading.is_some_and(|reading| reading.reads(name)) => {
                read_by_dialect.push((judged.sent.len(), name.clone(), value.clone()));
                Said { value: value.clone(), ..Said::default() }
            }
            None => by_name(declared, name, value)?,
        };
        judged.take(name, said);
    }
    if let Some(reading) = reading {
        // Together: what one selects, another may bring along.
        let pairs: Vec<(String, String)> = read_by_dialect.iter().map(|(_, name, value)| (name.clone(), value.clone())).collect();
        let said = reading.read(&pairs)?;
        for ((at, name, _), said) in read_by_dialect.into_iter().zip(said) {
            if let Some(sent) = judged.sent.get_mut(at) {
                sent.1.clone_from(&said.value);
            }
            judged.note(&name, said);
        }
    }
    Ok(judged)
}

impl JudgedParams {
    fn take(&mut self, name: &str, said: Said) {
        self.sent.push((name.to_owned(), said.value.clone()));
        self.note(name, said);
    }

    fn note(&mut self, name: &str, said: Said) {
        self.bare |= said.bare;
        if !said.categories.is_empty() {
            self.selections.push(Selection { param: name.to_owned(), categories: said.categories });
        }
    }
}

impl Param {
    fn said(&self, value: &str) -> Result<Said, ParamError> {
        let taken = match &self.accepts {
            Accepts::Any => true,
            Accepts::OneOf(values) => values.iter().any(|v| v == value),
            Accepts::Grammar(grammar) => grammar.is_match(value),
            Accepts::Field { .. } => false,
            Accepts::Names { of, style } => {
                let mut said = names(&self.name, value, of, *style)?;
                said.categories.extend(&self.categories);
                return Ok(said);
            }
        };
        if !taken {
            return Err(ParamError::Value(self.name.clone()));
        }
        Ok(Said { categories: self.categories.clone(), value: value.to_owned(), bare: false })
    }

    /// The texts that may be the field in a parameter's name.
    fn fields_in(&self, name: &str) -> Vec<String> {
        let Accepts::Field { operators, .. } = &self.accepts else { return Vec::new() };
        let Some((before, after)) = self.name.split_once(FIELD) else { return Vec::new() };
        let Some(rest) = name.strip_prefix(before) else { return Vec::new() };
        let texts: Vec<&str> = match after.split_once(OPERATOR) {
            None => rest.strip_suffix(after).into_iter().collect(),
            Some((between, end)) => {
                let field = |op: &String| rest.strip_suffix(end)?.strip_suffix(op.as_str())?.strip_suffix(between);
                operators.iter().filter_map(field).collect()
            }
        };
        texts.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }
}

/// Where the name of a field, and that of an operator, stand in a parameter's name.
pub const FIELD: &str = "{field}";
pub const OPERATOR: &str = "{op}";

/// A parameter whose name holds that of a field. Where it could be meant in several ways, it is meant in all of them.
fn by_name(declared: &[Param], name: &str, value: &str) -> Result<Said, ParamError> {
    let mut said: Option<Said> = None;
    let mut unknown = None;
    for param in declared {
        let Accepts::Field { of, grammar, .. } = &param.accepts else { continue };
        for text in param.fields_in(name) {
            let Some(found) = of.find_text(&text) else {
                unknown.get_or_insert_with(|| ParamError::field(name, &text));
                continue;
            };
            if found.embedded {
                return Err(ParamError::Embedded { param: short(name), field: short(&text) });
            }
            if grammar.as_ref().is_some_and(|grammar| !grammar.is_match(value)) {
                return Err(ParamError::Value(short(name)));
            }
            said.get_or_insert_with(|| Said { value: value.to_owned(), ..Said::default() }).categories.extend(found.categories);
        }
    }
    said.ok_or_else(|| unknown.unwrap_or_else(|| ParamError::NotDeclared(short(name))))
}

/// A value that names fields, and as it is sent.
pub(super) fn names(param: &str, value: &str, of: &Fields, style: NameStyle) -> Result<Said, ParamError> {
    let mut said = Said::default();
    let (mut sent, mut asked) = (Vec::new(), Vec::new());
    for item in value.split(',') {
        let item = item.trim_matches(' ');
        let (sign, name, direction) = if style == NameStyle::Sort { directed(item) } else { ("", item, "") };
        let found = of.find_text(name).ok_or_else(|| ParamError::field(param, name))?;
        if style != NameStyle::Select {
            if found.embedded {
                return Err(ParamError::Embedded { param: short(param), field: short(name) });
            }
            said.categories.extend(&found.categories);
        }
        asked.push(found.names);
        sent.push(format!("{sign}{name}{direction}"));
    }
    if style == NameStyle::Select {
        let (missing, bare) = of.missing_ids(&asked);
        said.bare = bare;
        sent.extend(missing.iter().map(|id| of.spelled(id, ".")));
    }
    said.value = sent.join(",");
    Ok(said)
}

/// `-name`, `name:desc`, `name desc`: sign, name and direction.
fn directed(item: &str) -> (&str, &str, &str) {
    const DIRECTIONS: [&str; 8] = [":asc", ":desc", " asc", " desc", ":ASC", ":DESC", " ASC", " DESC"];
    let (sign, rest) = match item.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", item.strip_prefix('+').unwrap_or(item)),
    };
    let direction = DIRECTIONS.into_iter().find(|direction| rest.ends_with(direction)).unwrap_or_default();
    (sign, rest.strip_suffix(direction).unwrap_or(rest), direction)
}

impl Named {
    /// # Errors
    /// Another customer's data lies there, of whom nobody was asked.
    pub(super) fn own(self, param: &str) -> Result<Self, ParamError> {
        if self.embedded { Err(ParamError::Embedded { param: short(param), field: short(&self.names.join(".")) }) } else { Ok(self) }
    }
}

/// Names that came with a request are shown to who sent them, and not at any length.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::order;
    use super::*;

    fn param(name: &str, accepts: Accepts) -> Param {
        Param { name: name.to_owned(), accepts, categories: Vec::new() }
    }

    fn declared() -> Vec<Param> {
        let of = Arc::new(order());
        let named = |name: &str, style| param(name, Accepts::Names { of: Arc::clone(&of), style });
        let field = |name: &str, operators: &[&str], grammar| {
            let operators = operators.iter().map(|o| (*o).to_owned()).collect();
            param(name, Accepts::field(Arc::clone(&of), operators, grammar).unwrap())
        };
        vec![
            named("sort", NameStyle::Sort),
            named("fields", NameStyle::Select),
            named("group_by", NameStyle::Group),
            field("filter[{field}]", &[], None),
            field("filter[{field}][{op}]", &["gte", "lte"], Some("[0-9]+")),
            field("{field}__{op}", &["contains", "year"], None),
            param("limit", Accepts::Any),
        ]
    }

    /// What is selected by, and what is sent.
    fn said(query: &[(&str, &str)]) -> Result<(String, String, bool), ParamError> {
        let given: Vec<(String, String)> = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let judged = judge(&declared(), None, &given)?;
        let mut categories: Vec<&str> = judged.selections.iter().flat_map(|s| s.categories.iter().map(|c| c.as_str())).collect();
        categories.sort_unstable();
        categories.dedup();
        let sent: Vec<String> = judged.sent.iter().map(|(n, v)| format!("{n}={v}")).collect();
        Ok((categories.join(" "), sent.join("&"), judged.bare))
    }

    #[test]
    fn names_in_values_and_in_names_tell_what_is_selected_by() {
        for (name, value, categories, sent, bare) in [
            ("sort", "-total,status", "order", "-total,status", false),
            ("sort", "+total", "order", "total", false),
            ("sort", " total", "order", "total", false),
            ("sort", "customer.email:desc,id asc", "contact", "customer.email:desc,id asc", false),
            ("sort", "customer_mail", "contact", "customer_mail", false),
            ("fields", "total", "", "total,customer.number", true),
            ("fields", "total, customer.number", "", "total,customer.number", false),
            ("fields", "customer", "", "customer", false),
            ("fields", "shipTo.name,customer", "", "shipTo.name,customer,shipTo.number", false),
            ("group_by", "customer.address.city", "contact", "customer.address.city", false),
            ("filter[customer.email]", "a@b", "contact", "a@b", false),
            ("filter[total][gte]", "5", "order", "5", false),
            ("customer__email__contains", "@b", "contact", "@b", false),
            ("tags__year", "x", "behaviour", "x", false),
            ("limit", "5", "", "5", false),
        ] {
            assert_eq!(Ok((categories.to_owned(), format!("{name}={sent}"), bare)), said(&[(name, value)]), "{name}={value}");
        }
    }

    #[test]
    fn what_names_no_field_of_the_answer_is_refused() {
        let field = |param: &str, field: &str| Err(ParamError::field(param, field));
        let embedded = |param: &str, field: &str| Err(ParamError::Embedded { param: param.to_owned(), field: field.to_owned() });
        for (name, value, error) in [
            ("sort", "birthDate", field("sort", "birthDate")),
            ("sort", "Total", field("sort", "Total")),
            ("sort", "total,", field("sort", "")),
            ("sort", "", field("sort", "")),
            ("sort", "--total", field("sort", "-total")),
            ("sort", "total;status", field("sort", "total;status")),
            ("sort", "sum(total)", field("sort", "sum(total)")),
            ("sort", "shipTo.name", embedded("sort", "shipTo.name")),
            ("fields", "*", field("fields", "*")),
            ("fields", "secret", field("fields", "secret")),
            ("fields", "-total", field("fields", "-total")),
            ("group_by", "shipTo", embedded("group_by", "shipTo")),
            ("filter[secret]", "x", field("filter[secret]", "secret")),
            ("filter[total][gte]", "x", Err(ParamError::Value("filter[total][gte]".to_owned()))),
            ("filter[total][ne]", "5", field("filter[total][ne]", "total][ne")),
            ("filter[]", "5", Err(ParamError::NotDeclared("filter[]".to_owned()))),
            ("filter[{field}]", "5", field("filter[{field}]", "{field}")),
            ("Filter[total]", "5", Err(ParamError::NotDeclared("Filter[total]".to_owned()))),
            ("total__startswith", "5", Err(ParamError::NotDeclared("total__startswith".to_owned()))),
            ("shipTo__name__contains", "x", embedded("shipTo__name__contains", "shipTo__name")),
            ("alias[a]", "total", Err(ParamError::NotDeclared("alias[a]".to_owned()))),
        ] {
            assert_eq!(error, said(&[(name, value)]), "{name}={value}");
        }
        assert_eq!(Err(ParamError::Repeated("sort".to_owned())), said(&[("sort", "total"), ("limit", "1"), ("sort", "status")]));
    }
}
