//! `consentry consent notice`: versions of the notices on which consent is given.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{put, put_list};
use crate::cli::client::{ServerArgs, segment};
use crate::cli::table::Table;
use crate::cli::text::{joined, list, number, text, time};
use crate::cli::{Exit, Failure, Output};

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum NoticeCommand {
    /// Registers a version of a notice: from a TOML file with the members of `POST /v1/notices`, or from arguments.
    ///
    /// A version is never changed. One that supersedes ends what was given on earlier versions, for everybody, when it is in force.
    #[command(
        after_help = "Example: consentry consent notice add --id newsletter --notice-version 2 --text newsletter-2.txt --purpose marketing.email --supersedes"
    )]
    Add(Box<AddArgs>),
    /// Shows registered versions, or one with its text.
    #[command(after_help = "Example: consentry consent notice list newsletter@2")]
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AddArgs {
    /// A TOML file; arguments replace what it says.
    file: Option<PathBuf>,
    #[arg(long)]
    id: Option<String>,
    /// The version of the text.
    #[arg(long, value_name = "VERSION")]
    notice_version: Option<String>,
    /// A language tag; `en` if nothing says otherwise.
    #[arg(long)]
    language: Option<String>,
    /// A file with the text, which is kept; at most 64 KiB.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// SHA-256 of a text that is kept elsewhere.
    #[arg(long, conflicts_with = "text")]
    hash: Option<String>,
    /// Where the text can be read.
    #[arg(long)]
    url: Option<String>,
    /// What it asks consent for; may be repeated.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// A category that it names; may be repeated.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// A department that it names; may be repeated.
    #[arg(long = "recipient", value_name = "DEPARTMENT")]
    recipients: Vec<String>,
    /// Since when it is shown, with offset; now without it.
    #[arg(long, value_name = "TIME")]
    valid_from: Option<String>,
    #[arg(long, value_name = "TIME")]
    valid_to: Option<String>,
    /// Ends what was given on earlier versions when this one is in force.
    #[arg(long)]
    supersedes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArgs {
    /// Only this version, `<id>@<version>`, with its text.
    notice: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl NoticeCommand {
    pub(in crate::cli) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Add(args) => {
                let body = body(args)?;
                let added = args.server.connect()?.post("/v1/notices", &body)?;
                if output.is_json() {
                    output.json(&added)?;
                } else {
                    let (id, version, state) = (text(&added, "id"), text(&added, "version"), text(&added, "state"));
                    output.line(format!("registered {id}@{version} · {state} · revision {}", number(&added, "revision")))?;
                }
            }
            Self::List(args) => {
                let found = all(args)?;
                if output.is_json() {
                    for notice in &found {
                        output.json(notice)?;
                    }
                } else {
                    output.line(render(&found))?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn read(file: &PathBuf) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))
}

fn body(args: &AddArgs) -> Result<Value, Failure> {
    let mut body = Map::new();
    if let Some(file) = &args.file {
        let table: toml::Table =
            read(file)?.parse().map_err(|error: toml::de::Error| Failure::usage(format!("`{}` is not TOML: {}", file.display(), error.message())))?;
        for (member, value) in table {
            // The gateway reads times as text.
            let value = if let toml::Value::Datetime(time) = &value {
                Value::from(time.to_string())
            } else {
                serde_json::to_value(value).map_err(|_other| Failure::usage(format!("`{member}` cannot be sent")))?
            };
            body.insert(member, value);
        }
    }
    put(&mut body, "id", args.id.as_deref());
    put(&mut body, "version", args.notice_version.as_deref());
    put(&mut body, "language", args.language.as_deref());
    body.entry("language").or_insert_with(|| json!("en"));
    if let Some(file) = &args.text {
        body.insert("text".to_owned(), json!(read(file)?));
        body.remove("hash");
    }
    put(&mut body, "hash", args.hash.as_deref());
    put(&mut body, "url", args.url.as_deref());
    put_list(&mut body, "purposes", &args.purposes);
    put_list(&mut body, "categories", &args.categories);
    put_list(&mut body, "recipients", &args.recipients);
    put(&mut body, "valid_from", args.valid_from.as_deref());
    put(&mut body, "valid_to", args.valid_to.as_deref());
    if args.supersedes {
        body.insert("supersedes".to_owned(), json!(true));
    }
    Ok(Value::Object(body))
}

fn all(args: &ListArgs) -> Result<Vec<Value>, Failure> {
    let admin = args.server.connect()?;
    if let Some(notice) = &args.notice {
        return Ok(list(&admin.get(&format!("/v1/notices?notice={}", segment(notice)))?, "notices").to_vec());
    }
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/v1/notices?limit=1000{cursor}"))?;
        found.extend_from_slice(list(&page, "notices"));
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={}", segment(next)),
            None => return Ok(found),
        }
    }
}

fn render(found: &[Value]) -> String {
    if found.is_empty() {
        return "no notices".to_owned();
    }
    let mut table = Table::new(&["notice", "language", "state", "from", "purposes", "text"]);
    for notice in found {
        let hash: String = text(notice, "hash").chars().take(12).collect();
        let name = format!("{}@{}", text(notice, "id"), text(notice, "version"));
        let from = time(notice, "valid_from");
        table.row([name, text(notice, "language"), text(notice, "state"), from, joined(notice, "purposes"), format!("sha256 {hash}…")]);
    }
    let texts = found.iter().filter_map(|notice| notice.get("text")?.as_str()).map(|text| format!("\n\n{}", text.trim_end()));
    format!("{}{}", table.render(), texts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: AddArgs,
    }

    #[test]
    fn arguments_replace_what_the_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let (file, wording) = (dir.path().join("n.toml"), dir.path().join("n.txt"));
        let toml = "id = \"news\"\nversion = \"1\"\nhash = \"00\"\npurposes = [\"marketing\"]\nvalid_from = 2026-03-01T12:00:00+01:00\n";
        std::fs::write(&file, toml).unwrap();
        std::fs::write(&wording, "We write to you.").unwrap();
        let typed = |more: &[&str]| {
            let line = ["notice"].into_iter().chain([file.to_str().unwrap()]).chain(more.iter().copied());
            body(&Typed::try_parse_from(line).unwrap().args).unwrap()
        };
        let plain = typed(&[]);
        let expected = json!({"id": "news", "version": "1", "language": "en", "hash": "00", "purposes": ["marketing"], "valid_from": "2026-03-01T12:00:00+01:00"});
        assert_eq!(plain, expected);
        let replaced = typed(&["--notice-version", "2", "--text", wording.to_str().unwrap(), "--purpose", "sales", "--supersedes"]);
        assert_eq!((&replaced["version"], &replaced["purposes"], &replaced["supersedes"]), (&json!("2"), &json!(["sales"]), &json!(true)));
        assert_eq!((&replaced["text"], replaced.get("hash")), (&json!("We write to you."), None), "the text has its own hash");
        std::fs::write(&file, "id = ").unwrap();
        let broken = AddArgs { file: Some(file), ..Typed::try_parse_from(["notice"]).unwrap().args };
        assert_eq!(body(&broken).unwrap_err().exit, Exit::Usage);
    }
}
