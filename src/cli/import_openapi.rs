//! `consentry import openapi`: a draft of `apis/NAME.toml` from the API's own document. Reads one file, asks nobody, and never writes over
//! a file that is there.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::check::count;
use super::{Exit, Failure, Output};
use crate::drafts::{self, Drafted, ImportQuestion};
use crate::openapi::{DOCUMENT_BYTES_MAX, Document};

#[derive(Debug, clap::Subcommand)]
pub(super) enum ImportCommand {
    Openapi(OpenapiArgs),
}

/// Drafts routes and shapes from an OpenAPI document, for a person to finish.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: consentry import openapi crm.yaml --owner marketing --out apis/crm.toml
         consentry import openapi crm.yaml --owner marketing --map PII=identity --map contact=contact

What the document cannot say becomes `?`, which `consentry check` refuses until a person fills it in. Marks that it reads:
x-consentry-category, x-consentry-on-deny, x-consentry-customer-id, x-consentry-purpose, x-data-classification.")]
pub(super) struct OpenapiArgs {
    /// The document: OpenAPI 3.0 or 3.1, JSON or YAML.
    file: PathBuf,
    /// The department that answers for the API.
    #[arg(long, value_name = "DEPARTMENT")]
    owner: String,
    /// What the API is called here; the file's name without it.
    #[arg(long, value_name = "NAME")]
    api: Option<String>,
    /// The upstream of `consentry.toml` behind it; the API's name without it.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// The path under which apps find it; `/` and the API's name without it.
    #[arg(long, value_name = "PATH")]
    at: Option<String>,
    /// Which category a class of `x-data-classification` is here; may be repeated.
    #[arg(long = "map", value_name = "CLASS=CATEGORY")]
    maps: Vec<String>,
    /// Where to write the draft; a file that is there is not touched. Without it the draft is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ImportCommand {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let Self::Openapi(args) = self;
        args.execute(output)
    }
}

impl OpenapiArgs {
    fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let drafted = self.draft()?;
        match &self.out {
            Some(out) => write_new(out, &drafted.text)?,
            None if output.is_json() => {}
            None => output.line(drafted.text.trim_end())?,
        }
        self.report(output, &drafted)?;
        Ok(Exit::Done)
    }

    fn draft(&self) -> Result<Drafted, Failure> {
        let mut classes = BTreeMap::new();
        for map in &self.maps {
            let (class, category) =
                map.split_once('=').filter(|(a, b)| !a.is_empty() && !b.is_empty()).ok_or_else(|| Failure::usage("`--map` is `CLASS=CATEGORY`"))?;
            if classes.insert(class.to_owned(), category.to_owned()).is_some_and(|before| before != category) {
                return Err(Failure::usage(format!("`--map` says two categories of `{class}`")));
            }
        }
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let api = self.api.clone().unwrap_or_else(|| drafts::key(&stem));
        let (upstream, at) = (self.upstream.clone().unwrap_or_else(|| api.clone()), self.at.clone().unwrap_or_else(|| format!("/{api}")));
        let source = self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let question = ImportQuestion { api: &api, owner: &self.owner, upstream: &upstream, at: &at, source: &source, classes: &classes };
        let refused = |text: String| Failure::new(Exit::Invalid, format!("`{}` cannot be used: {text}", self.file.display()));
        let document = Document::read(&read_bounded(&self.file, DOCUMENT_BYTES_MAX)?).map_err(|bad| refused(bad.to_string()))?;
        drafts::import(document, &question).map_err(|bad| {
            let shown: Vec<String> = bad.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
            let more = bad.len().saturating_sub(SHOWN_MAX);
            refused(format!("{}{}", shown.join("\n       "), if more > 0 { format!("\n       and {more} more") } else { String::new() }))
        })
    }

    fn report(&self, output: &Output, drafted: &Drafted) -> Result<(), Failure> {
        if output.is_json() {
            let left_out: Vec<_> = drafted.left_out.iter().map(|(at, what)| json!({ "at": at, "what": what })).collect();
            let text = self.out.is_none().then_some(&drafted.text);
            let document = json!({ "routes": drafted.routes, "shapes": drafted.shapes, "open": drafted.open, "left_out": left_out, "text": text });
            return output.json(&document);
        }
        for (at, what) in &drafted.left_out {
            output.aside(format!("not taken over: {at}: {what}"));
        }
        let place = self.out.as_ref().map(|out| format!(" in {}", out.display())).unwrap_or_default();
        let (routes, shapes, open) = (count(drafted.routes, "route"), count(drafted.shapes, "shape"), count(drafted.open, "open place"));
        output.aside(format!("{routes}, {shapes}, {open} (`?`){place} · {} not taken over", count(drafted.left_out.len(), "part")));
        Ok(())
    }
}

/// Problems of a document that are shown.
const SHOWN_MAX: usize = 20;

pub(super) fn read_bounded(file: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let cannot = |error: &std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Usage };
        Failure::new(exit, format!("cannot read `{}`: {error}", file.display()))
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| cannot(&error))?;
    opened.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(Failure::new(Exit::Invalid, format!("`{}` is larger than {bytes_max} bytes", file.display())));
    }
    Ok(bytes)
}

/// What somebody has finished is not written over.
pub(super) fn write_new(file: &Path, text: &str) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::AlreadyExists { "; remove it, or name another file" } else { "" };
        Failure::usage(format!("cannot write `{}`: {error}{hint}", file.display()))
    };
    let mut new = std::fs::File::create_new(file).map_err(cannot)?;
    new.write_all(text.as_bytes()).and_then(|()| new.sync_all()).map_err(cannot)
}
