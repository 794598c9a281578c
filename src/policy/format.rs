//! Cedar's own formatter over the files of a folder. What it writes is taken only when it says the same and keeps every comment.

use std::ops::Range;
use std::path::{Path, PathBuf};

use cedar_policy::PolicySet;
use cedar_policy::ffi::{DetailedError, FormattingAnswer, format_json};
use serde_json::json;

use crate::model::{Finding, Findings};

use super::source::{Source, list};
use super::tokens::{Kind, tokens};

/// One `*.cedar` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    pub file: PathBuf,
    /// `None`: it stands as the formatter would write it.
    pub changed: Option<String>,
}

/// Formats in memory; nothing is written.
///
/// # Errors
/// Files that cannot be read or are not Cedar, with their places.
pub fn format(dir: &Path) -> Result<Vec<Formatted>, Findings> {
    let mut findings = Findings::default();
    let names = list(dir).map_err(|finding| Findings(vec![finding]))?;
    let mut all = Vec::new();
    for name in names.into_iter().filter(|name| name.ends_with(".cedar") && !name.starts_with('.')) {
        match Source::read(dir.join(&name), name) {
            Ok(source) => all.extend(file(&source, &mut findings)),
            Err(finding) => findings.push(finding),
        }
    }
    if all.is_empty() && findings.is_empty() {
        findings.push(Finding::of_file(dir, "no policy stands here").help("name the folder with the `*.cedar` files: `--dir policies`"));
    }
    findings.or(all)
}

const START: Range<usize> = 0..1;

fn file(source: &Source, findings: &mut Findings) -> Option<Formatted> {
    let before: PolicySet = match source.text.parse() {
        Ok(set) => set,
        Err(error) => {
            source.cedar(&DetailedError::from(&error), &START, findings);
            return None;
        }
    };
    // A file of comments only has nothing to format.
    if before.num_of_policies() + before.num_of_templates() == 0 {
        return Some(Formatted { file: source.path.clone(), changed: None });
    }
    let text = match format_json(json!({ "policyText": source.text })).and_then(serde_json::from_value) {
        Ok(FormattingAnswer::Success { formatted_policy }) => formatted_policy,
        Ok(FormattingAnswer::Failure { errors }) => {
            errors.iter().for_each(|error| source.cedar(error, &START, findings));
            return None;
        }
        Err(error) => {
            findings.push(source.finding(START, format!("cannot be formatted: {error}")));
            return None;
        }
    };
    if !says_the_same(&before, &text) || comments(&source.text) != comments(&text) {
        let finding = source.finding(START, "the formatter would change what this file says");
        findings.push(finding.help("it is left as it is; move the comments in it to lines of their own, between policies"));
        return None;
    }
    Some(Formatted { file: source.path.clone(), changed: (text != source.text).then_some(text) })
}

/// Equal trees under equal names; places are not part of a tree.
fn says_the_same(before: &PolicySet, text: &str) -> bool {
    let after = text.parse::<PolicySet>().ok().and_then(|set| set.to_pst().ok());
    after.is_some() && before.to_pst().ok() == after
}

fn comments(text: &str) -> Vec<&str> {
    tokens(text).into_iter().filter(|token| token.kind == Kind::Comment).map(|token| token.text.trim()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str) -> Result<Option<String>, Findings> {
        let mut findings = Findings::default();
        let source = Source { path: PathBuf::from("x.cedar"), name: "x.cedar".to_owned(), text: text.to_owned() };
        let formatted = file(&source, &mut findings);
        findings.or(formatted.and_then(|formatted| formatted.changed))
    }

    #[test]
    fn formatting_keeps_meaning_and_comments_and_is_stable() {
        let text = "// first\n@id(\"a\")   permit(principal,action,resource) // of all\nwhen{context.gpc&&!(context.x==1||true)};\n\n// last\n@id(\"b\") forbid(principal in ?principal,action,resource); // end\n";
        let once = formatted(text).unwrap().unwrap();
        assert_eq!(comments(&once), ["// first", "// of all", "// last", "// end"]);
        assert!(says_the_same(&text.parse().unwrap(), &once), "{once}");
        assert_eq!(formatted(&once).unwrap(), None, "{once}");
    }

    #[test]
    fn another_meaning_is_noticed() {
        let set: PolicySet = "permit(principal,action,resource) when {context.gpc};".parse().unwrap();
        assert!(says_the_same(&set, "permit (principal, action, resource)\nwhen { context.gpc };"));
        for other in ["permit (principal, action, resource);", "forbid (principal, action, resource) when { context.gpc };", "permit (", ""] {
            assert!(!says_the_same(&set, other), "{other}");
        }
    }

    #[test]
    fn what_is_not_cedar_is_shown_at_its_place_and_comments_alone_stay() {
        let found = formatted("// x\npermit (principal, action resource);").unwrap_err();
        assert_eq!((found.0.len(), found.0[0].line), (1, 2), "{found}");
        assert_eq!(formatted("  // nothing yet\n").unwrap(), None);
    }
}
