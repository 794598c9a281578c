//! A mistake in a file, shown where it stands and with a way out. Used for configuration and for policies alike:
//!
//! ```text
//! consentry.toml:112:11: error: unknown category `contacts`
//!   112 | "Email" = "contacts"
//!       |           ^^^^^^^^^^ did you mean `contact`?
//! ```

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One mistake with its place. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
    /// The source line that is shown, without its line break; empty when the file could not be read.
    pub excerpt: String,
    /// Width of the marked text in characters, at least 1.
    pub width: usize,
    pub message: String,
    pub help: Option<String>,
}

impl Finding {
    /// A mistake at a byte range of `source`.
    #[must_use]
    pub fn at(file: &Path, source: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor_boundary(source, span.start);
        let end = floor_boundary(source, span.end.max(start));
        let before = source.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line_end = source.get(start..).and_then(|rest| rest.find('\n')).map_or(source.len(), |i| start + i);
        let excerpt = source.get(line_start..line_end).unwrap_or_default().trim_end_matches('\r');
        let marked = source.get(start..end.min(line_end)).unwrap_or_default();
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: source.get(line_start..start).unwrap_or_default().chars().count() + 1,
            excerpt: excerpt.to_owned(),
            width: marked.chars().count().max(1),
            message: message.into(),
            help: None,
        }
    }

    /// A mistake of a file as a whole (missing, unreadable, not UTF-8).
    #[must_use]
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 1, column: 1, excerpt: String::new(), width: 1, message: message.into(), help: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

fn floor_boundary(source: &str, mut index: usize) -> usize {
    index = index.min(source.len());
    while !source.is_char_boundary(index) {
        index -= 1;
    }
    index
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: error: {}", self.file.display(), self.line, self.column, self.message)?;
        if self.excerpt.is_empty() {
            if let Some(help) = &self.help {
                write!(f, "\n      {help}")?;
            }
            return Ok(());
        }
        let gutter = self.line.to_string().len().max(4);
        write!(f, "\n {:>gutter$} | {}", self.line, self.excerpt)?;
        let blank: String = self.excerpt.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n {:>gutter$} | {blank}{}", "", "^".repeat(self.width))?;
        if let Some(help) = &self.help {
            write!(f, " {help}")?;
        }
        Ok(())
    }
}

/// Every mistake of a run; never empty when it stands in an `Err`.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `Err` with all that was found, or the value when nothing was.
    ///
    /// # Errors
    /// The findings themselves, sorted by file and line.
    pub fn or<T>(mut self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        Err(self)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0 {
            writeln!(f, "{finding}\n")?;
        }
        Ok(())
    }
}

/// The candidate that was probably meant, for "did you mean".
#[must_use]
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(word, c), c))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_its_line_and_marks_the_text() {
        let source = "version = 1\n\"Email\" = \"contacts\"\n";
        let finding = Finding::at(Path::new("consentry.toml"), source, 22..32, "unknown category `contacts`").help("did you mean `contact`?");
        assert_eq!(
            finding.to_string(),
            "consentry.toml:2:11: error: unknown category `contacts`\n    2 | \"Email\" = \"contacts\"\n      |           ^^^^^^^^^^ did you mean `contact`?"
        );
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(suggest("contacts", ["identity", "contact", "order"]), Some("contact"));
        assert_eq!(suggest("zebra", ["identity", "contact", "order"]), None);
    }
}
