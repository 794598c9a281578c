//! `activities.toml`, `captures.toml` and `consent.toml`: governed rules beside the Cedar policies.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{
    Activity, ActivityKey, Art9Basis, Author, Capture, Category, Channel, ConflictRule, ConsentRules, Department, Findings, LawfulBasis, Purpose,
    Segment, Sensitivity, Vocabulary,
};

use super::compiled::ByName;
use super::source::{Source, did_you_mean, ticked};
use super::table::{Section, Word, parse};

/// The active activities of a folder. Found by (department, purpose, category), each meant exactly.
#[derive(Debug, Default)]
pub(super) struct Activities {
    pub(super) all: Vec<Activity>,
    by_use: ByName<(Department, Purpose, Category), usize>,
}

impl Activities {
    pub(super) fn find(&self, department: Department, purpose: Purpose, category: Category) -> Option<&Activity> {
        self.all.get(*self.by_use.get(&(department, purpose, category))?)
    }
}

pub(super) fn activities(source: &Source, vocabulary: &Vocabulary, findings: &mut Findings) -> Activities {
    let table = parse(source, findings);
    let mut file = Section::new(source, table.get_ref(), 0..1);
    let mut found = Activities::default();
    let mut versions: BTreeMap<(ActivityKey, u32), usize> = BTreeMap::new();
    for section in file.tables("activity", findings) {
        let span = section.span.clone();
        let Some((activity, is_active)) = activity(section, vocabulary, findings) else { continue };
        let line = source.line_of(span.start);
        if let Some(first) = versions.insert((activity.id, activity.version), line) {
            let message = format!("activity `{}` version {} is declared twice", activity.id, activity.version);
            findings.push(source.finding(span.clone(), message).help(format!("the first stands in line {first}; raise the version")));
        }
        if !is_active {
            continue;
        }
        let at = found.all.len();
        for &purpose in &activity.purposes {
            for &category in &activity.categories {
                let Some(other) = found.by_use.insert((activity.department, purpose, category), at).filter(|other| *other != at) else { continue };
                let other = found.all.get(other).map_or_else(String::new, |other| format!("{} v{}", other.id, other.version));
                let message = format!(
                    "activities `{other}` and `{} v{}` both cover {}, {purpose}, {category}",
                    activity.id, activity.version, activity.department
                );
                findings.push(source.finding(span.clone(), message).help("one lawful basis for one use: narrow one, or set `active = false`"));
            }
        }
        found.all.push(activity);
    }
    file.finish(findings);
    found
}

fn activity(mut section: Section<'_>, vocabulary: &Vocabulary, findings: &mut Findings) -> Option<(Activity, bool)> {
    let source = section.source;
    let id = section.text("id", findings);
    let version = section.number("version", findings);
    let department = section.text("department", findings);
    let purposes = section.some_words("purposes", findings);
    let categories = section.some_words("categories", findings);
    let basis = section.text("basis", findings);
    let recipients = section.words("recipients", findings);
    let retention = section.text("retention", findings);
    let art9 = section.optional_text("art9", findings);
    let jurisdiction = section.optional_text("jurisdiction", findings);
    let dpia = section.optional_text("dpia", findings);
    let confidentiality = section.optional_text("confidentiality", findings);
    let is_active = section.optional_bool("active", findings).unwrap_or(true);
    section.finish(findings);

    if let Some(word) = id.as_ref().filter(|word| !super::catalogue::is_name(word.text)) {
        findings.push(
            source.finding(word.span.clone(), format!("`{}` is not a name", word.text)).help("use lower-case letters, digits, `.`, `-` and `_`"),
        );
    }
    if let Some(word) = retention.as_ref().filter(|word| !is_period(word.text)) {
        findings.push(
            source.finding(word.span.clone(), format!("`{}` is not a period", word.text)).help("write a number and `days`, `months` or `years`"),
        );
    }
    if let Some(word) = jurisdiction.as_ref().filter(|word| !is_jurisdiction(word.text)) {
        let finding = source.finding(word.span.clone(), format!("`{}` is not a jurisdiction", word.text));
        findings.push(finding.help("write `EU` or an ISO 3166 code, such as `DE` or `US-CA`"));
    }
    for word in [&dpia, &confidentiality].into_iter().flatten().filter(|word| word.text.trim().is_empty()) {
        findings.push(source.finding(word.span.clone(), "this text is empty").help("say it, or leave the key out"));
    }
    // A retired version stays as it was, whatever is required today.
    if is_active {
        check_purposes(source, &purposes, vocabulary, findings);
    }
    let purposes = purposes_of(source, &purposes, vocabulary, findings);
    let art9_words = || Art9Basis::ALL.iter().map(|word| word.as_str()).collect();
    let art9_place = art9.as_ref().map(|word| word.span.clone());
    if is_active && art9.is_none() {
        check_special(source, &categories, vocabulary, findings);
    }
    if is_active {
        check_criminal(source, &categories, basis.as_ref(), vocabulary, findings);
    }
    let art9 = art9.and_then(|word| one(source, &word, "Art. 9 basis", Art9Basis::parse, art9_words, findings));
    let categories = pick(source, &categories, "category", |w| vocabulary.category(w), || names(&vocabulary.categories, Category::as_str), findings);
    let department = department_of(source, &department?, vocabulary, findings);
    let bases = || LawfulBasis::ALL.iter().filter(|b| **b != LawfulBasis::None).map(|b| b.as_str()).collect();
    let basis = one(source, &basis?, "lawful basis", |w| LawfulBasis::parse(w).filter(|b| *b != LawfulBasis::None), bases, findings);
    if let Some(place) = art9_place.filter(|_| art9 == Some(Art9Basis::ExplicitConsent) && basis.is_some_and(|b| b != LawfulBasis::Consent)) {
        let finding = source.finding(place, "explicit consent under Art. 9 needs an activity that rests on consent");
        findings.push(finding.help("write `basis = \"consent\"`, or the Art. 9 basis that the other one has"));
    }
    let activity = Activity {
        id: ActivityKey::intern(id?.text),
        version: version?,
        department: department?,
        purposes,
        categories,
        basis: basis?,
        recipients: recipients.iter().map(|word| word.text.to_owned()).collect(),
        retention: retention?.text.to_owned(),
        art9,
        jurisdiction: jurisdiction.map(|word| word.text.to_owned()),
        dpia: dpia.map(|word| word.text.to_owned()),
        confidentiality: confidentiality.map(|word| word.text.to_owned()),
    };
    Some((activity, is_active))
}

/// Special categories of data need a ground of their own (GDPR Art. 9(2)).
fn check_special(source: &Source, categories: &[Word<'_>], vocabulary: &Vocabulary, findings: &mut Findings) {
    for word in categories {
        let info = vocabulary.category(word.text).and_then(|category| vocabulary.categories.get(&category));
        if info.is_some_and(|info| info.sensitivity == Sensitivity::Special) {
            let words: Vec<&str> = Art9Basis::ALL.iter().map(|word| word.as_str()).collect();
            let finding = source.finding(word.span.clone(), format!("`{}` is a special category, and the activity has no `art9`", word.text));
            findings.push(finding.help(format!("say which of GDPR Art. 9(2) allows it: {}", ticked(&words))));
        }
    }
}

/// Criminal convictions and offences are processed under the control of an authority or where the law authorises it (GDPR Art. 10).
fn check_criminal(source: &Source, categories: &[Word<'_>], basis: Option<&Word<'_>>, vocabulary: &Vocabulary, findings: &mut Findings) {
    let by_law = [LawfulBasis::LegalObligation, LawfulBasis::PublicTask].map(LawfulBasis::as_str);
    let Some(basis) = basis.filter(|basis| !by_law.contains(&basis.text)) else { return };
    let info = |word: &Word<'_>| vocabulary.category(word.text).and_then(|category| vocabulary.categories.get(&category));
    if let Some(word) = categories.iter().find(|word| info(word).is_some_and(|info| info.sensitivity == Sensitivity::Criminal)) {
        let message = format!("`{}` is data on criminal convictions, which does not rest on `{}`", word.text, basis.text);
        findings.push(source.finding(basis.span.clone(), message).help(format!("GDPR Art. 10 leaves {}; or take the category out", ticked(&by_law))));
    }
}

/// No activity serves a prohibited purpose, and none serves two that exclude each other.
fn check_purposes(source: &Source, words: &[Word<'_>], vocabulary: &Vocabulary, findings: &mut Findings) {
    let known: Vec<(&Word<'_>, Purpose)> = words.iter().filter_map(|word| Some((word, vocabulary.purpose(word.text)?))).collect();
    for (at, (word, purpose)) in known.iter().enumerate() {
        if let Some(prohibited) = vocabulary.prohibition(*purpose) {
            let finding = source.finding(word.span.clone(), format!("purpose `{purpose}` serves `{prohibited}`, which is prohibited"));
            findings.push(finding.help("take it out; whether a purpose is prohibited stands in the catalogue"));
        }
        for (_, before) in known.iter().take(at).filter(|(_, before)| vocabulary.are_incompatible(*before, *purpose)) {
            let finding = source.finding(word.span.clone(), format!("purposes `{before}` and `{purpose}` are incompatible"));
            findings.push(finding.help("make two activities; which purposes exclude each other stands in the catalogue"));
        }
    }
}

pub(super) fn captures(source: &Source, vocabulary: &Vocabulary, findings: &mut Findings) -> Vec<Capture> {
    let table = parse(source, findings);
    let mut file = Section::new(source, table.get_ref(), 0..1);
    let mut captures: Vec<Capture> = Vec::new();
    for mut section in file.tables("capture", findings) {
        let client = section.text("app", findings);
        let channels = section.some_words("channels", findings);
        let purposes = section.some_words("purposes", findings);
        let authors = section.some_words("authors", findings);
        let evidence = section.words("evidence", findings);
        section.finish(findings);
        let clients = || names(&vocabulary.clients, |client| client.as_str());
        let word = client.clone();
        let client = client.and_then(|word| one(source, &word, "app", |w| vocabulary.client(w), clients, findings));
        let channel_words = || Channel::ALL.iter().map(|channel| channel.as_str()).collect();
        let channels = pick(source, &channels, "channel", Channel::parse, channel_words, findings);
        let purposes = purposes_of(source, &purposes, vocabulary, findings);
        let author_words = || [Author::Customer, Author::Guardian, Author::Staff, Author::System].map(Author::as_str).to_vec();
        let authors = pick(source, &authors, "author", Author::parse, author_words, findings);
        let evidence: Vec<String> = evidence.iter().map(|word| word.text.to_owned()).collect();
        if let Some(client) = client {
            if let Some(word) = word.filter(|_| captures.iter().any(|other| other.client == client)) {
                let finding = source.finding(word.span, format!("app `{client}` has two registrations"));
                findings.push(finding.help("one `[[capture]]` an app: put them together"));
            }
            captures.push(Capture { client, channels, purposes, authors, evidence });
        }
    }
    file.finish(findings);
    captures
}

pub(super) fn consent_rules(source: &Source, vocabulary: &Vocabulary, findings: &mut Findings) -> Option<ConsentRules> {
    let table = parse(source, findings);
    let mut file = Section::new(source, table.get_ref(), 0..1);
    let rule = file.text("rule", findings);
    let clock_skew_s = file.number("clock_skew_s", findings);
    let rules = file.optional_table("rules", findings);
    let sources = file.optional_words("sources", findings);
    let double_opt_in = file.optional_words("double_opt_in", findings).unwrap_or_default();
    // Written out, since policies rely on it.
    file.required("defaults", findings);
    let defaults = file.optional_table("defaults", findings);
    file.finish(findings);

    let rule_words = || ConflictRule::ALL.map(ConflictRule::as_str).to_vec();
    let mut ranked_at = None;
    let mut rule_of = |word: &Word<'_>, findings: &mut Findings| {
        let rule = one(source, word, "conflict rule", ConflictRule::parse, rule_words, findings);
        if rule == Some(ConflictRule::SourcePriority) {
            ranked_at.get_or_insert(word.span.clone());
        }
        rule
    };
    let rule = rule.and_then(|word| rule_of(&word, findings));
    let mut by_purpose = BTreeMap::new();
    for (key, value) in rules.map(|section| section.entries(findings)).unwrap_or_default() {
        let purpose = purposes_of(source, &[key], vocabulary, findings).pop();
        by_purpose.extend(purpose.zip(rule_of(&value, findings)));
    }
    let sources = pick(source, &sources.unwrap_or_default(), "source", |word| Some(word.to_owned()), Vec::new, findings);
    if let Some(span) = ranked_at.filter(|_| sources.is_empty()) {
        let finding = source.finding(span, "`source-priority/v1` has no systems to rank".to_owned());
        findings.push(finding.help("list them as `sources`, the highest first"));
    }
    let double_opt_in = purposes_of(source, &double_opt_in, vocabulary, findings);
    let mut defaults = defaults?;
    let segment = defaults.text("segment", findings);
    defaults.finish(findings);
    let segments = || Segment::ALL.iter().map(|segment| segment.as_str()).collect();
    let default_segment = one(source, &segment?, "segment", Segment::parse, segments, findings)?;
    Some(ConsentRules { rule: rule?, rules: by_purpose, clock_skew_s: clock_skew_s?, sources, double_opt_in, default_segment })
}

fn is_period(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(n, unit)| n.parse::<u32>().is_ok_and(|n| n > 0) && ["days", "months", "years"].contains(&unit))
}

/// `EU` or the form of an ISO 3166 code of a country or its part.
fn is_jurisdiction(text: &str) -> bool {
    let (country, part) = text.split_once('-').map_or((text, None), |(country, part)| (country, Some(part)));
    let is_part = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()) && part.is_none_or(is_part)
}

fn department_of(source: &Source, word: &Word<'_>, vocabulary: &Vocabulary, findings: &mut Findings) -> Option<Department> {
    one(source, word, "department", |w| vocabulary.department(w), || names(&vocabulary.departments, |d| d.as_str()), findings)
}

fn purposes_of(source: &Source, words: &[Word<'_>], vocabulary: &Vocabulary, findings: &mut Findings) -> Vec<Purpose> {
    pick(source, words, "purpose", |w| vocabulary.purpose(w), || names(&vocabulary.purposes, |p| p.as_str()), findings)
}

/// The known words of a list; the others, and those that stand there twice, are reported.
fn pick<'v, T: PartialEq>(
    source: &Source,
    words: &[Word<'_>],
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
    candidates: impl Fn() -> Vec<&'v str>,
    findings: &mut Findings,
) -> Vec<T> {
    let mut found = Vec::new();
    for word in words {
        let Some(value) = one(source, word, what, &parse, &candidates, findings) else { continue };
        if found.contains(&value) {
            findings.push(source.finding(word.span.clone(), format!("{what} `{}` stands here twice", word.text)).help("remove one"));
        }
        found.push(value);
    }
    found
}

pub(super) fn one<'v, T>(
    source: &Source,
    word: &Word<'_>,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
    candidates: impl Fn() -> Vec<&'v str>,
    findings: &mut Findings,
) -> Option<T> {
    let value = parse(word.text);
    if value.is_none() {
        let finding = source.finding(Range::clone(&word.span), format!("unknown {what} `{}`", word.text));
        findings.push(finding.help(did_you_mean(word.text, candidates())));
    }
    value
}

pub(super) fn names<K: Copy, V>(map: &BTreeMap<K, V>, text: impl Fn(K) -> &'static str) -> Vec<&'static str> {
    map.keys().map(|key| text(*key)).collect()
}
