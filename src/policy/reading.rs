//! How statements of customers are matched with a use, as a hash. Recorded with every decision: where another policy folder has
//! the same, the consent status and the stops of the record are those that it would have found, too.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;

use crate::model::{Category, ConsentRules, Purpose, Vocabulary};

use super::compiled::ByName;

/// Purposes below this one are direct marketing (`consent::floor`).
const MARKETING: &str = "marketing";

#[derive(Debug)]
pub(super) struct Readings {
    purposes: ByName<Purpose, u64>,
    categories: ByName<Category, u64>,
}

impl Readings {
    pub(super) fn new(vocabulary: &Vocabulary, rules: &ConsentRules) -> Self {
        let purposes = vocabulary.purposes.keys().map(|purpose| (*purpose, of_purpose(*purpose, vocabulary, rules))).collect();
        let categories = vocabulary.categories.iter().map(|(category, info)| {
            let above: BTreeSet<&str> = info.ancestors.iter().map(|above| above.as_str()).collect();
            (*category, hash(&format!("category {category} {above:?}")))
        });
        Self { purposes, categories: categories.collect() }
    }

    /// 0 for names that are not of this folder.
    pub(super) fn of(&self, purpose: Purpose, category: Category) -> u64 {
        let both = self.purposes.get(&purpose).zip(self.categories.get(&category));
        both.map_or(0, |(purpose, category)| purpose ^ category)
    }
}

fn of_purpose(purpose: Purpose, vocabulary: &Vocabulary, rules: &ConsentRules) -> u64 {
    let info = vocabulary.purposes.get(&purpose);
    let above: BTreeSet<&str> = info.into_iter().flat_map(|info| &info.ancestors).map(|above| above.as_str()).collect();
    let concerns = |other: &Purpose| *other == purpose || above.contains(other.as_str());
    let own_rules: BTreeMap<&str, &str> =
        rules.rules.iter().filter(|(other, _)| concerns(other)).map(|(other, rule)| (other.as_str(), rule.as_str())).collect();
    let is_confirmed = rules.double_opt_in.iter().any(concerns);
    // A purpose above a marketing one is direct marketing as well.
    let serves_marketing =
        vocabulary.purposes.values().any(|info| info.ancestors.contains(&purpose) && info.ancestors.iter().any(|a| a.as_str() == MARKETING));
    let channel = vocabulary.channel(purpose);
    let (rule, sources, skew) = (rules.rule.as_str(), &rules.sources, rules.clock_skew_s);
    hash(&format!("purpose {purpose} {above:?} {own_rules:?} {is_confirmed} {serves_marketing} {channel} {rule} {sources:?} {skew}"))
}

fn hash(text: &str) -> u64 {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
