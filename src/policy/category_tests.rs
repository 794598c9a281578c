//! Categories that are parts of others, and those that the law protects most: what a catalogue and its activities may say of them,
//! and that no policy about a whole speaks of its parts.

use std::fs;
use std::path::Path;

use super::mistakes::{findings, folder};
use super::tests::{caller, question};
use super::*;

/// The catalogue with a category among the parts of others, and of another sensitivity.
fn part(category: &str, sensitivity: &str, of: &[&str]) -> (&'static str, String, String) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/catalogue.cedarentities.json")).unwrap();
    let line = text.lines().find(|line| line.contains(&format!("\"Category\",\"id\":\"{category}\"}},\"attrs\""))).unwrap();
    let wholes: Vec<String> = of.iter().map(|whole| format!("{{\"type\":\"Category\",\"id\":\"{whole}\"}}")).collect();
    let changed = line.replacen("\"attrs\":{", &format!("\"attrs\":{{\"part_of\":[{}],", wholes.join(",")), 1);
    let word = changed.split("\"Sensitivity\",\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let changed = changed.replacen(&format!("\"Sensitivity\",\"id\":\"{word}\""), &format!("\"Sensitivity\",\"id\":\"{sensitivity}\""), 1);
    ("catalogue.cedarentities.json", line.to_owned(), changed)
}

fn findings_of(parts: &[(&'static str, String, String)]) -> Vec<String> {
    let changes: Vec<(&str, &str, &str)> = parts.iter().map(|(file, from, to)| (*file, from.as_str(), to.as_str())).collect();
    findings(&changes)
}

#[test]
fn parts_of_themselves_of_nothing_or_less_sensitive_than_the_whole() {
    assert_eq!(findings_of(&[part("order", "ordinary", &["billing"]), part("staff", "special", &["health", "contact"])]), Vec::<String>::new());
    let found = findings_of(&[part("order", "ordinary", &["ordr"])]);
    assert!(found.len() == 1 && found[0].contains("refers to Category `ordr`, which is not in the catalogue | did you mean `order`?"), "{found:#?}");
    let found = findings_of(&[part("order", "ordinary", &["order"])]);
    assert!(found.len() == 1 && found[0].contains("Category `order` is a part of itself by way of `order`"), "{found:#?}");
    let found = findings_of(&[part("order", "ordinary", &["billing"]), part("billing", "ordinary", &["case"]), part("case", "ordinary", &["order"])]);
    assert!(found.len() == 3 && found.iter().all(|f| f.contains("is a part of itself by way of")), "{found:#?}");
    let found = findings_of(&[part("staff", "confidential", &["health"])]);
    assert!(found.len() == 1 && found[0].contains("whose sensitivity is `special` | give it the sensitivity `special`, too"), "{found:#?}");
    assert_eq!(findings_of(&[part("staff", "criminal", &["health"])]), Vec::<String>::new());
}

#[test]
fn a_part_has_no_verdict_of_the_whole() {
    // What stands under `identity` is in none of its groups, and an agreement about the whole says nothing of it.
    let part = part("staff", "ordinary", &["order", "identity"]);
    let activity = "\n[[activity]]\nid = \"more\"\nversion = 1\ndepartment = \"service\"\npurposes = [\"service-provision.support\"]\n\
                    categories = [\"staff\"]\nbasis = \"contract\"\nrecipients = []\nretention = \"1 years\"\n";
    let dir = folder(&[(part.0, &part.1, &part.2), ("activities.toml", "", activity)]);
    let policies = Policies::load(dir.path()).unwrap_or_else(|findings| panic!("{findings}"));
    let helpdesk = caller(&policies, "helpdesk");
    let ask = |category: &str| {
        let basis = LawfulBasis::Contract;
        policies.decide(&Question { basis, ..question(&helpdesk, Action::Read, category, "service-provision.support") })
    };
    assert_eq!((ask("order").allow(), ask("identity").allow(), ask("staff").allow()), (true, true, false));
    let (staff, order) = (Category::intern("staff"), Category::intern("order"));
    assert!(policies.vocabulary().is_part_of(staff, order) && !policies.vocabulary().is_part_of(order, staff));
}

#[test]
fn data_on_convictions_rests_on_the_law_and_never_on_consent() {
    let criminal = part("health", "criminal", &[]);
    let resting_on = |basis: &str| {
        let activity = format!(
            "\n[[activity]]\nid = \"records\"\nversion = 1\ndepartment = \"finance\"\npurposes = [\"legal-compliance\"]\n\
             categories = [\"health\"]\nbasis = \"{basis}\"\nrecipients = []\nretention = \"1 years\"\n"
        );
        folder(&[(criminal.0, &criminal.1, &criminal.2), ("activities.toml", "", &activity)])
    };
    for basis in ["consent", "contract", "vital-interest", "legitimate-interest"] {
        let found = Policies::load(resting_on(basis).path()).unwrap_err().0;
        let [finding] = found.as_slice() else { panic!("{basis}: {found:#?}") };
        assert_eq!(finding.message, format!("`health` is data on criminal convictions, which does not rest on `{basis}`"));
        assert_eq!(finding.help.as_deref(), Some("GDPR Art. 10 leaves `legal-obligation`, `public-task`; or take the category out"));
    }
    let policies = Policies::load(resting_on("legal-obligation").path()).unwrap_or_else(|findings| panic!("{findings}"));
    let ledger = caller(&policies, "ledger");
    for basis in LawfulBasis::ALL {
        for explicit in [false, true] {
            let question = Question { basis: *basis, explicit, ..question(&ledger, Action::Read, "health", "legal-compliance") };
            let decided = policies.decide(&question);
            let by_law = matches!(basis, LawfulBasis::LegalObligation | LawfulBasis::PublicTask);
            assert_eq!(decided.policies().contains(&PolicyName::intern("criminal-needs-law")), !by_law, "{decided:?}");
            // Of the two only the law demands that finance reads it.
            assert_eq!(decided.allow(), *basis == LawfulBasis::LegalObligation, "{basis}, explicit: {explicit}: {decided:?}");
        }
    }
}
