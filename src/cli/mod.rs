//! The command line: one file per subcommand, one exit code per kind of ending (see [`Exit`]).
//!
//! Commands that need the state of a running gateway talk to its admin listener under their caller's role
//! (`client.rs`); `audit … --offline DIR` and `audit verify` read the log's files.

mod audit;
mod bench;
mod break_glass;
pub mod certs;
mod check;
mod client;
mod consent;
pub mod demo;
mod demo_gateway;
mod explain;
mod export;
mod facts;
mod identity;
mod import;
mod import_openapi;
mod index;
mod kinds;
mod learn;
mod note;
mod output;
mod party;
mod policy;
mod proof;
mod prove;
mod prune;
mod report;
mod run;
mod search;
mod table;
mod text;
mod webhook;
mod witness;

use std::ffi::OsString;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use output::{Exit, Failure, Format, Output};

/// A consent and data-sharing policy gateway in front of CRM, sales and service APIs.
#[derive(Debug, Parser)]
#[command(
    name = "consentry",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 yes or done · 1 a check failed · 2 the decision is a deny · 3 invalid policy or configuration
            4 not found · 64 usage · 70 internal error · 75 temporarily unavailable

Example: consentry demo --once"
)]
struct Cli {
    /// How answers are printed.
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    /// Drafts the configuration of an API from a document of it.
    #[command(subcommand)]
    Import(import_openapi::ImportCommand),
    Learn(learn::LearnArgs),
    /// Checks and tests the policy folder.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Records and shows what customers allow.
    #[command(subcommand)]
    Consent(Box<consent::ConsentCommand>),
    /// Customers and their ids in the departments' systems.
    #[command(subcommand)]
    Party(party::PartyCommand),
    /// Sight of data in an emergency: asked for, approved by two others, reviewed.
    #[command(subcommand)]
    BreakGlass(Box<break_glass::BreakGlassCommand>),
    /// Who is told of changes.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Searches and verifies the decision log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Certificates and keys.
    Certs(certs::CertsArgs),
    Bench(bench::BenchArgs),
}

impl Command {
    /// Whether it writes events in a format of other systems.
    fn exports(&self) -> bool {
        matches!(self, Self::Audit(audit::AuditCommand::Export(_)))
    }
}

/// `--config`, for every command that reads the configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArg {
    /// The configuration file.
    #[arg(long, env = "CONSENTRY_CONFIG", default_value = "consentry.toml", value_name = "FILE")]
    pub config: PathBuf,
}

/// Parses the command line, runs the command and turns its ending into the exit code.
#[must_use]
pub fn main() -> ExitCode {
    run_command(std::env::args_os()).into()
}

fn run_command(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error),
    };
    // A panic's message may quote data; only its place is shown.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        output::complain(&Failure::new(Exit::Internal, format!("internal error at {place}; please report it")));
    }));
    let ended = panic::catch_unwind(|| execute(cli)).unwrap_or_else(|_payload| Err(Failure::new(Exit::Internal, "")));
    ended.unwrap_or_else(|failure| {
        output::complain(&failure);
        failure.exit
    })
}

fn execute(cli: Cli) -> Result<Exit, Failure> {
    let output = Output::new(cli.format);
    if let (Format::Export(format), false) = (cli.format, cli.command.exports()) {
        return Err(Failure::usage(format!("`--format {}` is for `consentry audit export`; write `human` or `json`", format.as_str())));
    }
    match cli.command {
        Command::Run(args) => args.execute(&output),
        Command::Demo(args) => demo_gateway::execute(&args, &output),
        Command::Check(args) => args.execute(&output),
        Command::Explain(args) => args.execute(&output),
        Command::Import(command) => command.execute(&output),
        Command::Learn(args) => args.execute(&output),
        Command::Policy(command) => command.execute(&output),
        Command::Consent(command) => command.execute(&output),
        Command::Party(command) => command.execute(&output),
        Command::BreakGlass(command) => command.execute(&output),
        Command::Webhook(command) => command.execute(&output),
        Command::Audit(command) => command.execute(&output),
        Command::Certs(args) => certs::run(&args).map(|_done| Exit::Done).map_err(Failure::from),
        Command::Bench(args) => args.execute(&output),
    }
}

/// Help and version are answers (0); everything else that clap refuses is a usage error (64, not clap's 2).
fn refuse_usage(error: &clap::Error) -> Exit {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    // A closed stdout changes nothing about how the command ended.
    drop(error.print());
    exit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventFormat, ExportFormat};
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("consentry").chain(line.split_whitespace()))
    }

    fn exit_of(line: &str) -> Exit {
        run_command(std::iter::once("consentry").chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn the_command_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_exit_with_64_and_help_with_0() {
        for line in ["", "nonsense", "check --nonsense", "audit show", "explain GET", "consent event", "party show", "--format xml check"] {
            assert_eq!(Exit::Usage, exit_of(line), "{line}");
        }
        for line in ["--help", "--version", "check --help", "audit search --help"] {
            assert_eq!(Exit::Done, exit_of(line), "{line}");
        }
    }

    #[test]
    fn every_command_shows_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().filter(|c| c.get_name() != "help").for_each(|sub| walk(sub, &path));
                return;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("Example: {}", path.trim())), "`{path}` has no example of itself: {help}");
        }
        walk(&Cli::command(), "");
    }

    #[test]
    fn the_format_may_stand_after_the_command() {
        assert_eq!(parse("check --format json").unwrap().format, Format::Json);
        assert_eq!(parse("--format json check").unwrap().format, Format::Json);
        assert_eq!(parse("check").unwrap().format, Format::Human);
        assert_eq!(parse("audit export --format cef --offline x").unwrap().format, Format::Export(ExportFormat::Events(EventFormat::Cef)));
    }

    #[test]
    fn formats_of_other_systems_are_for_exports() {
        assert_eq!(Exit::Usage, exit_of("check --format ocsf"));
        assert_eq!(Exit::Usage, exit_of("audit export --offline /nonexistent"));
        assert_eq!(Exit::Usage, exit_of("audit export --format json --offline /nonexistent"));
        assert_eq!(Exit::Usage, exit_of("audit export --format cef --follow"));
        assert_eq!(Exit::Usage, exit_of("audit export --format parquet --follow --offline /nonexistent"));
        assert_eq!(Exit::NotFound, exit_of("audit export --format cef --offline /nonexistent"));
    }
}
