//! `consentry policy model`: who owns and who coordinates, as one piece of data that can be exchanged.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::super::check::report_findings;
use super::{Exit, Failure, FolderArg, Output};
use crate::policy;

/// Lists the ownership models, or puts one into force: rewrites the catalogue and nothing else.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry policy model
         consentry policy model chief-customer-officer --dir policies")]
pub(in crate::cli) struct ModelArgs {
    /// The model to put into force; without it, all are listed.
    name: Option<String>,
    #[command(flatten)]
    folder: FolderArg,
}

impl ModelArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match &self.name {
            Some(name) => self.switch(name, output),
            None => self.list(output),
        }
    }

    fn list(&self, output: &Output) -> Result<Exit, Failure> {
        let models = match policy::models(&self.folder.dir) {
            Ok(models) => models,
            Err(findings) => return report_findings(output, &findings, &[], "nothing was changed"),
        };
        for model in &models {
            if output.is_json() {
                output.json(&json!({ "name": model.name, "in_force": model.differs.is_empty(), "differs": model.differs }))?;
            } else {
                let what = if model.differs.is_empty() { "in force".to_owned() } else { format!("moves {}", model.differs.join(", ")) };
                output.line(format!("{:<26}{what}", model.name))?;
            }
        }
        Ok(if models.is_empty() { Exit::NotFound } else { Exit::Done })
    }

    fn switch(&self, name: &str, output: &Output) -> Result<Exit, Failure> {
        let dir = &self.folder.dir;
        let before = policy::models(dir).ok().and_then(|models| models.into_iter().find(|model| model.name == name));
        // Loaded as the gateway would load it, so that what is written is accepted there.
        let switched = policy::with_model(dir, name).and_then(|text| policy::Policies::load_as(dir, name).map(|loaded| (text, loaded)));
        let (text, loaded) = match switched {
            Ok(switched) => switched,
            Err(findings) => return report_findings(output, &findings, &[], "nothing was changed"),
        };
        let differs = before.map(|model| model.differs).unwrap_or_default();
        if !differs.is_empty() {
            replace(&dir.join("catalogue.cedarentities.json"), &text)?;
        }
        if output.is_json() {
            output.json(&json!({ "name": name, "changed": differs, "id": loaded.id() }))?;
        } else if differs.is_empty() {
            output.line(format!("{name} is in force already · nothing was changed"))?;
        } else {
            output.line(format!(
                "{name} is in force · changed in the catalogue: {} · set {}",
                differs.join(", "),
                super::super::check::short(loaded.id())
            ))?;
        }
        Ok(Exit::Done)
    }
}

/// A reader sees the old file or the new one.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let fresh = path.with_extension("json.new");
    let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path));
    written.map_err(|error| Failure::usage(format!("cannot write `{}`: {error}", path.display())))
}
