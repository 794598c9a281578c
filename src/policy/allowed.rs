//! The widenings that a change means, for `consentry policy replay --allow FILE`:
//!
//! ```toml
//! [[allow]]
//! app = "ledger"                  # what is left out may be any, but one must be said
//! purpose = "legal-compliance"    # exactly this one, not what stands below it
//! category = "order"
//! reason = "PRIV-320"
//! ```

use std::path::{Path, PathBuf};

use crate::model::{Findings, Vocabulary};

use super::source::{Source, did_you_mean};
use super::table::{Section, Word, parse};

/// One `[[allow]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub app: Option<String>,
    pub purpose: Option<String>,
    pub category: Option<String>,
    /// Why it is meant, e.g. a ticket.
    pub reason: String,
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

impl Allowed {
    /// Reads the file. All names must be of the candidate's catalogue: a misspelt line would allow nothing, unnoticed.
    ///
    /// # Errors
    /// Every mistake with its place.
    pub fn read(path: &Path, vocabulary: &Vocabulary) -> Result<Vec<Self>, Findings> {
        let mut findings = Findings::default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let source = Source::read(path.to_owned(), name).map_err(|finding| Findings(vec![finding]))?;
        let table = parse(&source, &mut findings);
        let mut file = Section::new(&source, table.get_ref(), 0..1);
        let lines = file.tables("allow", &mut findings).into_iter().filter_map(|section| line(section, vocabulary, &mut findings)).collect();
        file.finish(&mut findings);
        findings.or(lines)
    }

    #[must_use]
    pub fn names(&self, app: &str, purpose: &str, category: &str) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        fits(&self.app, app) && fits(&self.purpose, purpose) && fits(&self.category, category)
    }
}

fn line(mut section: Section<'_>, vocabulary: &Vocabulary, findings: &mut Findings) -> Option<Allowed> {
    let (source, span) = (section.source, section.span.clone());
    let app = section.optional_text("app", findings);
    let purpose = section.optional_text("purpose", findings);
    let category = section.optional_text("category", findings);
    let reason = section.text("reason", findings);
    section.finish(findings);
    let mut judge = |word: &Option<Word<'_>>, what: &str, all: Vec<&'static str>| {
        if let Some(word) = word.as_ref().filter(|word| !all.contains(&word.text)) {
            let finding = source.finding(word.span.clone(), format!("unknown {what} `{}`", word.text));
            findings.push(finding.help(did_you_mean(word.text, all)));
        }
    };
    judge(&app, "app", vocabulary.clients.keys().map(|name| name.as_str()).collect());
    judge(&purpose, "purpose", vocabulary.purposes.keys().map(|name| name.as_str()).collect());
    judge(&category, "category", vocabulary.categories.keys().map(|name| name.as_str()).collect());
    if app.is_none() && purpose.is_none() && category.is_none() {
        let finding = source.finding(span.clone(), "this would allow every widening");
        findings.push(finding.help("name an app, a purpose or a category"));
    }
    let text = |word: Option<Word<'_>>| word.map(|word| word.text.to_owned());
    let reason = reason?;
    if reason.text.trim().is_empty() {
        findings.push(source.finding(reason.span, "the reason is empty").help("say why it is meant, e.g. the number of a ticket"));
    }
    Some(Allowed {
        app: text(app),
        purpose: text(purpose),
        category: text(category),
        reason: reason.text.to_owned(),
        file: source.path.clone(),
        line: source.line_of(span.start),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policies;

    fn read(text: &str) -> Result<Vec<Allowed>, Findings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("widening.toml");
        std::fs::write(&path, text).unwrap();
        let policies = Policies::load(Path::new("policies")).unwrap();
        Allowed::read(&path, policies.vocabulary())
    }

    #[test]
    fn a_line_names_what_it_says_and_nothing_else() {
        let lines = read("[[allow]]\napp = \"crm\"\ncategory = \"contact\"\nreason = \"PRIV-1\"\n").unwrap();
        let line = lines.first().unwrap();
        assert_eq!((line.line, line.reason.as_str()), (1, "PRIV-1"));
        assert!(line.names("crm", "sales.outreach", "contact") && line.names("crm", "marketing.email", "contact"));
        assert!(!line.names("crm", "sales.outreach", "health") && !line.names("helpdesk", "sales.outreach", "contact"));
    }

    #[test]
    fn what_would_allow_nothing_or_everything_is_a_mistake() {
        for (text, wanted) in [
            ("[[allow]]\nreason = \"x\"\n", "this would allow every widening"),
            ("[[allow]]\ncategory = \"contact\"\n", "`reason` is missing"),
            ("[[allow]]\ncategory = \"contact\"\nreason = \" \"\n", "the reason is empty"),
            ("[[allow]]\ncategory = \"contacts\"\nreason = \"x\"\n", "unknown category `contacts`"),
            ("[[allow]]\napp = \"nobody\"\nreason = \"x\"\n", "unknown app `nobody`"),
            ("[[allow]]\npurpose = \"sales.outreech\"\nreason = \"x\"\n", "unknown purpose `sales.outreech`"),
            ("[[allow]]\ncategory = \"contact\"\nreason = \"x\"\ndepartment = \"it\"\n", "department"),
            ("[[allowed]]\ncategory = \"contact\"\nreason = \"x\"\n", "allowed"),
        ] {
            let findings = read(text).unwrap_err();
            assert!(findings.0.iter().any(|finding| finding.message.contains(wanted)), "{text}: {findings}");
        }
    }
}
