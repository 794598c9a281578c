//! `consentry policy diff`: which decisions a set opens and closes, and who must approve that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::files;
use super::{Exit, Failure, Output};
use crate::model::{Category, Department, Purpose};
use crate::policy::{Changed, Difference, Policies};

/// Shows which decisions change between two policy sets, over every class of questions, and who must approve.
#[derive(Debug, clap::Args)]
#[command(after_help = "Each of OLD and NEW is a policy folder or a bundle.

Example: consentry policy diff active.bundle policies")]
pub(in crate::cli) struct DiffArgs {
    #[arg(value_name = "OLD")]
    old: PathBuf,
    #[arg(value_name = "NEW")]
    new: PathBuf,
}

impl DiffArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let (old, new) = (files::policies(&self.old)?, files::policies(&self.new)?);
        let difference = Difference::between(Some(&old), &new);
        if output.is_json() {
            output.json(&document(&difference))?
        } else {
            output.line(text(&difference, &new))?
        }
        Ok(Exit::Done)
    }
}

pub(super) fn document(difference: &Difference) -> Value {
    let places = difference.places.iter().map(|(place, changed)| {
        json!({
            "category": place.category.as_str(), "action": place.action.as_str(), "department": place.department.as_str(),
            "purpose": place.purpose.as_str(), "opens": changed.opens, "closes": changed.closes, "unclear": changed.unclear,
        })
    });
    let need = difference.need();
    json!({
        "changes": places.collect::<Vec<_>>(), "beside": difference.beside.iter().map(|beside| beside.what.as_str()).collect::<Vec<_>>(),
        "only_narrows": need.only_narrows, "must_approve": need.departments.iter().map(|department| department.as_str()).collect::<Vec<_>>(),
    })
}

/// Lines by category, department and purpose; actions together.
pub(super) fn text(difference: &Difference, new: &Policies) -> String {
    let mut lines: BTreeMap<(Category, Department, Purpose), (Changed, BTreeSet<&str>)> = BTreeMap::new();
    for (place, changed) in &difference.places {
        let (total, actions) = lines.entry((place.category, place.department, place.purpose)).or_default();
        total.opens += changed.opens;
        total.closes += changed.closes;
        total.unclear += changed.unclear;
        actions.insert(place.action.as_str());
    }
    let mut out = Vec::new();
    if !lines.is_empty() {
        out.push(format!("{:>7} {:>7}  {:<16} {:<12} {:<12} {:<28} {}", "opens", "closes", "category", "owner", "to", "purpose", "actions"));
    }
    for ((category, department, purpose), (changed, actions)) in &lines {
        let owner = new.vocabulary().categories.get(category).map_or("–", |info| info.owner.as_str());
        let opens = if changed.unclear > 0 { "?".to_owned() } else { changed.opens.to_string() };
        let actions = actions.iter().copied().collect::<Vec<_>>().join(", ");
        out.push(format!("{opens:>7} {:>7}  {category:<16} {owner:<12} {department:<12} {purpose:<28} {actions}", changed.closes));
    }
    out.extend(difference.beside.iter().map(|beside| format!("changes  {}", beside.what)));
    let need = difference.need();
    let departments: Vec<&str> = need.departments.iter().map(|department| department.as_str()).collect();
    out.push(if difference.is_nothing() {
        "no decision changes · one approver of any department".to_owned()
    } else if need.only_narrows {
        "nothing opens · one approver of any department".to_owned()
    } else {
        format!("must approve: {} (owners of what changes)", departments.join(", "))
    });
    if lines.values().any(|(changed, _)| changed.unclear > 0) {
        out.push("?: cannot be counted, since emergencies or conditions left to Cedar change".to_owned());
    }
    out.join("\n")
}
