//! `consentry learn`: a draft of shapes from members that were seen, in saved answers or by the running gateway. Names and types are
//! told, values never.

use std::path::{Path, PathBuf};

use super::client::{ServerArgs, query};
use super::import_openapi::{read_bounded, write_new};
use super::text::{list, number, text};
use super::{Exit, Failure, Output};
use crate::drafts::seen::{Seen, Unmapped, unmapped};
use crate::model::{is_duplicate, unique_json};

/// Saved answers that are read.
const ANSWERS_MAX: usize = 10_000;
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Drafts shapes from what answers contain: names and types of members, never values.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry learn --api crm --from saved/customers
         consentry learn --api crm --server https://localhost:9901

Without `--from` the running gateway is asked which members it saw that no shape maps. It withholds them, unless the API is in report
mode. Each folder in DIR becomes a shape of its own; answers are files that end in `.json`.")]
pub(super) struct LearnArgs {
    /// The API.
    #[arg(long, value_name = "NAME")]
    api: String,
    /// A folder of saved answers.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The name of the shape; the folder's without it.
    #[arg(long, value_name = "NAME", requires = "from")]
    shape: Option<String>,
    /// Each answer is one object, also when it holds a list of objects.
    #[arg(long, requires = "from")]
    whole: bool,
    /// Where to write the draft; a file that is there is not touched. Without it the draft is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

impl LearnArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let draft = match &self.from {
            Some(dir) => self.saved(output, dir)?,
            None => match self.asked(output)? {
                Some(draft) => draft,
                None => return Ok(Exit::Done),
            },
        };
        match &self.out {
            Some(out) => write_new(out, &draft)?,
            None if output.is_json() => output.json(&serde_json::json!({ "text": draft }))?,
            None => output.line(draft.trim_end())?,
        }
        Ok(Exit::Done)
    }

    fn saved(&self, output: &Output, dir: &Path) -> Result<String, Failure> {
        let mut shapes: Vec<(String, Seen)> = Vec::new();
        let own = self.shape.clone().unwrap_or_else(|| dir.file_name().map_or_else(|| self.api.clone(), |name| name.to_string_lossy().into_owned()));
        let (files, folders) = entries(dir)?;
        let mut left = ANSWERS_MAX;
        let mut take = |name: String, files: Vec<PathBuf>| {
            if !files.is_empty() {
                shapes.push((name, self.read(output, files, &mut left)?));
            }
            Ok::<(), Failure>(())
        };
        take(own, files)?;
        for folder in folders {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            take(name, entries(&folder)?.0)?;
        }
        shapes.retain(|(_, seen)| seen.answers() > 0);
        if shapes.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("no answer in `{}`: save some as files that end in `.json`", dir.display())));
        }
        let head = "# Drafted from saved answers: names and types of members, no values. Where `?` stands a person has to decide.\n";
        Ok(shapes.iter().fold(head.to_owned(), |text, (name, seen)| text + "\n" + &seen.draft(&self.api, name)))
    }

    fn read(&self, output: &Output, files: Vec<PathBuf>, left: &mut usize) -> Result<Seen, Failure> {
        let mut seen = Seen::new(self.whole);
        for file in files {
            let more = || Failure::usage(format!("more than {ANSWERS_MAX} answers; some hundred tell as much"));
            *left = left.checked_sub(1).ok_or_else(more)?;
            match unique_json(&read_bounded(&file, ANSWER_BYTES_MAX)?) {
                Ok(answer) => seen.answer(&answer),
                // serde's own words may quote what stands there.
                Err(error) => {
                    let why = if is_duplicate(&error) { "a member stands there twice".to_owned() } else { format!("no JSON, line {}", error.line()) };
                    output.aside(format!("not read: {}: {why}", file.display()));
                }
            }
        }
        Ok(seen)
    }

    /// What the running gateway saw; `None` when all that it saw is mapped.
    fn asked(&self, output: &Output) -> Result<Option<String>, Failure> {
        let answer = self.server.connect()?.get(&format!("/v1/drift{}", query(&[("api", Some(self.api.clone()))])))?;
        let mut shapes: Vec<Unmapped> = Vec::new();
        for route in list(&answer, "routes") {
            let (shape, base) = (text(route, "shape"), text(route, "base"));
            let paths = list(route, "members").iter().map(|member| (text(member, "path"), number(member, "answers")));
            let known = match shapes.iter().position(|known| known.shape == shape && known.base == base) {
                Some(known) => known,
                None => {
                    shapes.push(Unmapped { shape, base, ..Unmapped::default() });
                    shapes.len() - 1
                }
            };
            if let Some(known) = shapes.get_mut(known) {
                known.routes.push(text(route, "route"));
                for (path, answers) in paths {
                    match known.paths.iter_mut().find(|(other, _)| *other == path) {
                        Some((_, sum)) => *sum += answers,
                        None => known.paths.push((path, answers)),
                    }
                }
            }
        }
        let since = text(&answer, "since");
        if shapes.is_empty() {
            output.aside(format!("no member without a shape was seen in answers of `{}` since {since}", self.api));
            return Ok(None);
        }
        let head = format!(
            "# Members of answers of `{}` that no shape maps, seen by the gateway since {since}. They go into the shapes; where `?` stands\n\
             # a person has to decide. A member that carries no customer data goes into `open`.\n\n",
            self.api
        );
        Ok(Some(head + &unmapped(&shapes)))
    }
}

/// Answers and folders, sorted.
fn entries(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Failure> {
    let cannot = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Usage };
        Failure::new(exit, format!("cannot read `{}`: {error}", dir.display()))
    };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(cannot)?);
        if kind.is_dir() {
            folders.push(path);
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}
