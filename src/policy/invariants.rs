//! `invariants/*.toml`: what must hold whatever is permitted and whoever owns what, in plain words and as a condition.
//!
//! ```toml
//! [[invariant]]
//! title = "withdrawn consent never opens marketing"
//! when = 'context.purpose in Purpose::"marketing" && context.consent.status == ConsentStatus::"withdrawn"'
//! expect = "deny"                                        # or "allow"
//! scope = 'principal, action == Action::"read", resource' # may be left out: everybody, everything
//!
//! [[invariant]]
//! title = "a restriction beats every permit"
//! stop = "restriction"                                   # of the built-in floor, which stands above policies
//! leaves = ["legal-obligation", "vital-interest"]        # the bases that it leaves open
//! ```
//!
//! `when` and `scope` are those of a Cedar policy and judged as strictly.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, ValidationMode, Validator};

use crate::model::{Finding, Findings, LawfulBasis};

use super::Policies;
use super::catalogue::{TYPES, references};
use super::governed::one;
use super::source::{Source, did_you_mean, list};
use super::table::{Section, Word, parse};

/// One sentence that must hold.
#[derive(Clone, Debug)]
pub struct Invariant {
    pub title: String,
    pub file: PathBuf,
    pub line: usize,
    pub claim: Claim,
}

#[derive(Clone, Debug)]
pub enum Claim {
    /// About the policies: the solver's.
    Policies(Box<Condition>),
    /// About the hard stops, which are no policies: [`crate::model`] knows their words only.
    Floor { stop: &'static str, leaves: Vec<LawfulBasis> },
}

/// Requests, and how all of them are answered.
#[derive(Clone, Debug)]
pub struct Condition {
    pub expects_allow: bool,
    /// Permits exactly those requests.
    pub(super) permit: PolicySet,
    /// Forbids exactly those, and permits all others.
    pub(super) all_but: PolicySet,
}

/// Reads all invariants of a folder against its loaded policies; `stops` are the words for hard stops.
///
/// # Errors
/// Every mistake of every file; a folder without an invariant proves nothing and is one.
pub fn read(policies: &Policies, dir: &Path, stops: &[&'static str]) -> Result<Vec<Invariant>, Findings> {
    let (mut invariants, mut findings) = (Vec::new(), Findings::default());
    let dir = dir.join("invariants");
    let names = if dir.is_dir() { list(&dir) } else { Ok(Vec::new()) };
    for name in names.unwrap_or_else(|finding| {
        findings.push(finding);
        Vec::new()
    }) {
        let path = dir.join(&name);
        if !name.ends_with(".toml") {
            if !name.starts_with('.') {
                findings.push(Finding::of_file(&path, "nothing reads this file").help("invariants stand in `*.toml`"));
            }
            continue;
        }
        match Source::read(path, name) {
            Ok(source) => file(policies, &source, stops, &mut invariants, &mut findings),
            Err(finding) => findings.push(finding),
        }
    }
    if invariants.is_empty() && findings.is_empty() {
        findings.push(Finding::of_file(&dir, "there is no invariant").help("write `invariants/*.toml`; `policies/README.md` shows the form"));
    }
    findings.or(invariants)
}

fn file(policies: &Policies, source: &Source, stops: &[&'static str], invariants: &mut Vec<Invariant>, findings: &mut Findings) {
    let table = parse(source, findings);
    let mut file = Section::new(source, table.get_ref(), 0..1);
    for section in file.tables("invariant", findings) {
        let place = section.span.clone();
        let Some((title, claim)) = invariant(section, policies, stops, findings) else { continue };
        let is_same = |other: &&Invariant| other.title == title.text;
        if let Some(first) = invariants.iter().find(is_same) {
            let finding = source.finding(title.span, "another invariant has this title");
            findings.push(finding.help(format!("the first stands in {}:{}", first.file.display(), first.line)));
            continue;
        }
        let line = source.line_of(place.start);
        invariants.push(Invariant { title: title.text.to_owned(), file: source.path.clone(), line, claim });
    }
    file.finish(findings);
}

fn invariant<'s>(mut section: Section<'s>, policies: &Policies, stops: &[&'static str], findings: &mut Findings) -> Option<(Word<'s>, Claim)> {
    let source = section.source;
    let title = section.text("title", findings);
    let claim = if let Some(stop) = section.optional_text("stop", findings) {
        let leaves = section.words("leaves", findings);
        section.finish(findings);
        floor(source, &stop, &leaves, stops, findings)
    } else {
        let when = section.text("when", findings);
        let expect = section.text("expect", findings);
        let scope = section.optional_text("scope", findings);
        section.finish(findings);
        let expects = expect.and_then(|word| one(source, &word, "expectation", expects_allow, || EXPECTATIONS.to_vec(), findings));
        let condition = Written { source, scope, when: when? };
        condition.read(policies, expects?, findings).map(|condition| Claim::Policies(Box::new(condition)))
    };
    Some((title.filter(|title| has_text(source, title, findings))?, claim?))
}

const EXPECTATIONS: [&str; 2] = ["deny", "allow"];

fn expects_allow(word: &str) -> Option<bool> {
    EXPECTATIONS.iter().position(|expectation| *expectation == word).map(|at| at == 1)
}

fn has_text(source: &Source, title: &Word<'_>, findings: &mut Findings) -> bool {
    let is_empty = title.text.trim().is_empty();
    if is_empty {
        findings.push(source.finding(title.span.clone(), "this title is empty").help("say in plain words what must hold"));
    }
    !is_empty
}

fn floor(source: &Source, stop: &Word<'_>, leaves: &[Word<'_>], stops: &[&'static str], findings: &mut Findings) -> Option<Claim> {
    let bases = || LawfulBasis::ALL.iter().map(|basis| basis.as_str()).collect();
    let leaves: Vec<_> = leaves.iter().filter_map(|word| one(source, word, "lawful basis", LawfulBasis::parse, bases, findings)).collect();
    let known = |text: &str| stops.iter().copied().find(|stop| *stop == text);
    let stop = one(source, stop, "hard stop", known, || stops.to_vec(), findings)?;
    Some(Claim::Floor { stop, leaves })
}

/// A condition as it stands in the file.
struct Written<'s> {
    source: &'s Source,
    scope: Option<Word<'s>>,
    when: Word<'s>,
}

/// Before the scope and between scope and condition: what Cedar reads around the texts of the file.
const BEFORE: &str = "permit (";
const BETWEEN: &str = "\n)\nwhen {\n";
const AFTER: &str = "\n};";
const EVERYTHING: &str = "principal, action, resource";
const NAME: &str = "consentry-invariant";

impl Written<'_> {
    fn scope_text(&self) -> &str {
        self.scope.as_ref().map_or(EVERYTHING, |word| word.text)
    }

    fn read(&self, policies: &Policies, expects_allow: bool, findings: &mut Findings) -> Option<Condition> {
        let before = findings.0.len();
        let text = [BEFORE, self.scope_text(), BETWEEN, self.when.text, AFTER].concat();
        let permit = match Policy::parse(Some(PolicyId::new(NAME)), &text) {
            Ok(policy) => policy,
            Err(error) => {
                self.report(&DetailedError::from(&error), findings);
                return None;
            }
        };
        // A text that closes the braces itself would say something else than it seems to.
        if permit.to_pst().map_or(0, |policy| policy.body().clauses().len()) != 1 {
            let finding = self.source.finding(self.when.span.clone(), "this is more than one condition");
            findings.push(finding.help("write one expression, without `when`, `unless` and their braces"));
            return None;
        }
        self.follow_names(policies, &permit, findings);
        let forbid = Policy::parse(Some(PolicyId::new(NAME)), text.replacen("permit", "forbid", 1)).ok()?;
        let others = Policy::parse(Some(PolicyId::new("consentry-others")), format!("permit ({EVERYTHING});")).ok()?;
        let permit = PolicySet::from_policies([permit]).ok()?;
        let all_but = PolicySet::from_policies([forbid, others]).ok()?;
        let result = Validator::new(policies.schema.clone()).validate(&permit, ValidationMode::Strict);
        let errors: Vec<_> = result.validation_errors().map(DetailedError::from).collect();
        let warnings = result.validation_warnings().map(DetailedError::from).filter(|_| errors.is_empty());
        // Cedar repeats a mistake for every action, in any order.
        let mut once: BTreeMap<Option<usize>, DetailedError> = BTreeMap::new();
        for mut error in errors.iter().cloned().chain(warnings) {
            error.message = error.message.replacen(&format!("for policy `{NAME}`, "), "", 1);
            let place = error.source_locations.first().map(|label| label.loc.start);
            let is_first = once.get(&place).is_none_or(|other| error.message < other.message);
            if is_first {
                once.insert(place, error);
            }
        }
        once.values().for_each(|error| self.report(error, findings));
        (findings.0.len() == before).then_some(Condition { expects_allow, permit, all_but })
    }

    /// Cedar's places are those of the text put together; here they become those of the file.
    fn report(&self, error: &DetailedError, findings: &mut Findings) {
        let mut error = error.clone();
        error.related.clear();
        let scope_at = BEFORE.len();
        let when_at = scope_at + self.scope_text().len() + BETWEEN.len();
        let place = error.source_locations.first().map(|label| label.loc.start..label.loc.end);
        let fallback = self.when.span.clone();
        let inside = |word: &Word<'_>, at: usize, place: &Range<usize>| {
            let from = self.source.span_of(&word.span, word.text);
            let is_verbatim = self.source.text.get(from.clone()) == Some(word.text);
            let is_inside = place.start >= at && place.end <= at + word.text.len();
            (is_verbatim && is_inside).then(|| from.start + place.start - at..from.start + place.end - at)
        };
        let mapped = place.and_then(|place| {
            inside(&self.when, when_at, &place).or_else(|| {
                inside(self.scope.as_ref()?, scope_at, &place).or(self.scope.as_ref().filter(|_| place.start < when_at).map(|word| word.span.clone()))
            })
        });
        error.source_locations.clear();
        self.source.cedar(&error, &mapped.unwrap_or(fallback), findings);
    }

    /// Cedar accepts names of open types that nobody declared, and the condition would never hold.
    fn follow_names(&self, policies: &Policies, permit: &Policy, findings: &mut Findings) {
        let mut named = Vec::new();
        references(&permit.to_json().unwrap_or_default(), &mut named);
        named.sort();
        named.dedup();
        for (kind, name) in named.into_iter().filter(|(kind, _)| TYPES.contains(&kind.as_str())) {
            let Ok(of) = kind.parse::<EntityTypeName>() else { continue };
            if policies.entities.get(&EntityUid::from_type_name_and_id(of.clone(), EntityId::new(&name))).is_some() {
                continue;
            }
            let mut known: Vec<String> = policies
                .entities
                .iter()
                .map(cedar_policy::Entity::uid)
                .filter(|uid| *uid.type_name() == of)
                .map(|uid| uid.id().unescaped().to_owned())
                .collect();
            known.sort();
            let quoted = format!("{kind}::\"{name}\"");
            let words = [Some(&self.when), self.scope.as_ref()];
            let word = words.into_iter().flatten().find(|word| word.text.contains(&quoted)).unwrap_or(&self.when);
            let mark = self.source.span_of(&word.span, &quoted);
            let finding = self.source.finding(mark, format!("{kind} `{name}` is not in the catalogue"));
            findings.push(finding.help(did_you_mean(&name, known.iter().map(String::as_str))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::mistakes::folder;
    use super::*;

    const STOPS: [&str; 2] = ["restriction", "erasure"];

    /// What is said of a file with this text.
    fn findings(text: &str) -> Vec<String> {
        let dir = folder(&[]);
        fs::create_dir(dir.path().join("invariants")).unwrap();
        fs::write(dir.path().join("invariants/own.toml"), text).unwrap();
        let policies = Policies::load(dir.path()).unwrap();
        let findings = read(&policies, dir.path(), &STOPS).err().unwrap_or_default();
        findings.0.iter().map(|f| format!("{}:{}: {} | {}", f.line, f.column, f.message, f.help.as_deref().unwrap_or("-"))).collect()
    }

    /// One invariant with these lines below its title.
    #[track_caller]
    fn check(lines: &str, starts: &str, ends: &str) {
        let found = findings(&format!("[[invariant]]\ntitle = \"t\"\n{lines}"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(starts) && found[0].ends_with(ends), "{found:#?}");
    }

    #[test]
    fn mistakes_are_found_at_their_places() {
        check("when = 'true'\nexpect = \"denied\"", "4:10: unknown expectation `denied`", "did you mean `deny`?");
        check("when = 'context.gpc'\nexpect = \"deny\"\nscop = 'x'", "5:1: unknown key `scop`", "did you mean `scope`?");
        check("expect = \"deny\"", "1:1: `when` is missing", "-");
        check("when = 'context.gpc &&'\nexpect = \"deny\"", "3:", "");
        check("when = 'context.gcp'\nexpect = \"deny\"", "3:9: attribute `gcp`", "did you mean `gpc`?");
        let open = "when = 'context.gpc'\nexpect = \"deny\"\nscope = ";
        check(&format!("{open}'principal is Agnet, action, resource'"), "5:", "");
        check("when = 'context.purpose in Purpose::\"marketting\"'\nexpect = \"deny\"", "3:28: Purpose `marketting` is not in", "`marketing`?");
        check(
            &format!("{open}'principal in Role::\"stewart\", action, resource'"),
            "5:23: Role `stewart` is not in the catalogue",
            "`statutory-reporting`",
        );
        check("stop = \"restrictoin\"\nleaves = []", "3:8: unknown hard stop `restrictoin`", "did you mean `restriction`?");
        check("stop = \"restriction\"\nleaves = [\"consnt\"]", "4:11: unknown lawful basis `consnt`", "did you mean `consent`?");
        check("stop = \"restriction\"", "1:1: `leaves` is missing", "-");
        check("stop = \"restriction\"\nleaves = []\nwhen = 'true'", "5:1: unknown key `when`", "");
    }

    #[test]
    fn a_condition_is_one_expression() {
        for trick in ["context.gpc } unless { true", "context.gpc } when { true", "true }; permit (principal, action, resource) when { true"] {
            let found = findings(&format!("[[invariant]]\ntitle = \"t\"\nwhen = '{trick}'\nexpect = \"deny\""));
            assert_eq!(found.len(), 1, "{trick}: {found:#?}");
        }
        let scope = "scope = 'principal, action, resource) when { true'";
        assert_eq!(findings(&format!("[[invariant]]\ntitle = \"t\"\nwhen = 'true'\n{scope}\nexpect = \"deny\"")).len(), 1);
    }

    #[test]
    fn titles_are_said_once_and_a_folder_without_any_proves_nothing() {
        let one = "[[invariant]]\ntitle = \"t\"\nwhen = 'context.gpc'\nexpect = \"deny\"\n";
        assert_eq!(findings(one), Vec::<String>::new());
        let twice = findings(&one.repeat(2));
        assert!(twice.len() == 1 && twice[0].starts_with("6:9: another invariant has this title"), "{twice:?}");
        let empty = findings(&one.replace("\"t\"", "\" \""));
        assert!(empty[0].starts_with("2:9: this title is empty"), "{empty:?}");
        assert!(findings("")[0].contains("there is no invariant"));
    }
}
