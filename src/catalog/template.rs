//! Path templates: `/sobjects/Contact/{id}`, `/Quotes({id})`. A parameter matches within one segment, never across a slash.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// Literal text may stand before and after the one parameter of a segment.
    Param {
        before: String,
        name: String,
        after: String,
    },
}

/// The path of a route below its API's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

impl Template {
    /// # Errors
    /// A sentence that says what is wrong with the template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or_else(|| format!("`{text}`: a path starts with `/`"))?;
        if text.contains(['?', '#', '%', ';', '\\']) || text.chars().any(|c| !c.is_ascii_graphic()) {
            return Err(format!("`{text}`: write the path decoded, without query, `;`, `%` and spaces; parameters of the query stand in `query`"));
        }
        let pieces: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        let last = pieces.len().saturating_sub(1);
        let mut parts = Vec::new();
        for (n, piece) in pieces.into_iter().enumerate() {
            if (piece.is_empty() && n != last) || piece == "." || piece == ".." {
                return Err(format!("`{text}`: a segment is empty, `.` or `..` and could never match"));
            }
            parts.push(part(piece).ok_or_else(|| format!("`{text}`: `{piece}` must be literal text or hold one `{{parameter}}`"))?);
        }
        let template = Self { text: text.to_owned(), parts };
        let mut names: Vec<&str> = template.params().collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(format!("`{text}`: the parameter `{twice}` stands there twice"));
        }
        Ok(template)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of the parameters, in their order.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Param { name, .. } => Some(name.as_str()),
        })
    }

    /// Values of the parameters when the decoded segments match. A parameter is never empty.
    pub(super) fn captures(&self, segments: &[String]) -> Option<Vec<(String, String)>> {
        if segments.len() != self.parts.len() {
            return None;
        }
        let mut found = Vec::new();
        for (part, segment) in self.parts.iter().zip(segments) {
            match part {
                Part::Literal(text) => (text == segment).then_some(())?,
                Part::Param { before, name, after } => {
                    let value = segment.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                    (!value.is_empty()).then_some(())?;
                    found.push((name.clone(), value.to_owned()));
                }
            }
        }
        Some(found)
    }

    /// Decoded segments with the parameters filled in; `None` when one is missing.
    pub(super) fn fill(&self, params: &[(String, String)]) -> Option<Vec<String>> {
        let fill = |part: &Part| match part {
            Part::Literal(text) => Some(text.clone()),
            Part::Param { before, name, after } => {
                let (_, value) = params.iter().find(|(n, _)| n == name)?;
                Some(format!("{before}{value}{after}"))
            }
        };
        self.parts.iter().map(fill).collect()
    }

    /// Compared from left to right: literal text beats a parameter, and more literal text beats less.
    pub(super) fn specificity(&self) -> Vec<usize> {
        let rank = |part: &Part| match part {
            Part::Literal(_) => usize::MAX,
            Part::Param { before, after, .. } => before.len() + after.len(),
        };
        self.parts.iter().map(rank).collect()
    }

    /// Whether a path exists that matches both and of which neither is the more specific: such routes are an error.
    #[must_use]
    pub fn shadows(&self, other: &Self) -> bool {
        let overlap = |pair: (&Part, &Part)| match pair {
            (Part::Literal(a), Part::Literal(b)) => a == b,
            (Part::Literal(_), Part::Param { .. }) | (Part::Param { .. }, Part::Literal(_)) => false,
            (Part::Param { before: b1, after: a1, .. }, Part::Param { before: b2, after: a2, .. }) => {
                (b1.starts_with(b2.as_str()) || b2.starts_with(b1.as_str())) && (a1.ends_with(a2.as_str()) || a2.ends_with(a1.as_str()))
            }
        };
        self.specificity() == other.specificity() && self.parts.iter().zip(&other.parts).all(overlap)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

fn part(piece: &str) -> Option<Part> {
    let Some((before, rest)) = piece.split_once('{') else {
        return (!piece.contains('}')).then(|| Part::Literal(piece.to_owned()));
    };
    let (name, after) = rest.split_once('}')?;
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let plain = !before.contains('}') && !after.contains(['{', '}']);
    (word && plain).then(|| Part::Param { before: before.to_owned(), name: name.to_owned(), after: after.to_owned() })
}
