//! `consentry party facts`: what policies and consent look at besides what the customer said.

use http::Method;
use serde_json::{Map, Value, json};

use super::audit::moment;
use super::client::{Send, ServerArgs, segment};
use super::party::print_party;
use super::{Exit, Failure, Output};
use crate::clock::SystemClock;
use crate::model::{Age, Segment, Stage};

#[derive(Debug, clap::Args)]
#[group(id = "facts", required = true, multiple = true, args = ["stage", "segment", "age", "adult_from"])]
pub(super) struct FactsArgs {
    /// `party:<id>` or `<space>:<value>`.
    party: String,
    /// The system or person that says so.
    #[arg(long)]
    source: String,
    #[arg(long, value_parser = words(Stage::ALL, Stage::as_str))]
    stage: Option<String>,
    #[arg(long, value_parser = words(Segment::ALL, Segment::as_str))]
    segment: Option<String>,
    #[arg(long, value_parser = words(Age::ALL, Age::as_str))]
    age: Option<String>,
    /// When a minor comes of age, with offset, e.g. 2031-05-04T00:00:00+02:00; until then they count as a minor.
    #[arg(long, value_name = "TIME")]
    adult_from: Option<String>,
    /// Since when it is so: a time with offset, or back from now: 30d, 12h, 45m. Now without it.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

fn words<T: Copy>(all: &[T], spelled: fn(T) -> &'static str) -> clap::builder::PossibleValuesParser {
    all.iter().map(|word| spelled(*word)).collect::<Vec<_>>().into()
}

impl FactsArgs {
    pub(super) fn execute(&self, output: &Output) -> Result<Exit, Failure> {
        let body = self.body()?;
        let path = format!("/v1/parties/{}/facts", segment(&self.party));
        print_party(output, &self.server.connect()?.call(&Method::PUT, &path, Send::Json(&body))?)
    }

    fn body(&self) -> Result<Value, Failure> {
        let time = self.since.as_deref().map(|text| moment(text, SystemClock::shared().now())).transpose()?;
        let given = [
            ("source", Some(self.source.clone())),
            ("stage", self.stage.clone()),
            ("segment", self.segment.clone()),
            ("age", self.age.clone()),
            ("adult_from", self.adult_from.clone()),
            ("time", time.map(|time| time.to_string())),
        ];
        Ok(Value::Object(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect::<Map<_, _>>()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        facts: FactsArgs,
    }

    fn body(line: &str) -> Option<Value> {
        Line::try_parse_from(std::iter::once("facts").chain(line.split_whitespace())).ok()?.facts.body().ok()
    }

    #[test]
    fn what_is_not_said_is_left_out() {
        assert_eq!(body("crm:1 --source crm --stage customer"), Some(json!({"source": "crm", "stage": "customer"})));
        let all = "crm:1 --source crm --stage lead --segment vip --age minor --adult-from 2031-05-04T00:00:00+02:00 --since 2026-07-01T00:00:00Z";
        let expected = json!({
            "source": "crm", "stage": "lead", "segment": "vip", "age": "minor", "adult_from": "2031-05-04T00:00:00+02:00",
            "time": "2026-07-01T00:00:00Z",
        });
        assert_eq!(body(all), Some(expected));
    }

    #[test]
    fn words_that_are_not_declared_and_facts_without_source_are_refused() {
        for line in [
            "crm:1 --source crm",
            "crm:1 --stage lead",
            "crm:1 --source crm --stage customre",
            "crm:1 --source crm --age 12",
            "--source crm --age adult",
        ] {
            assert_eq!(body(line), None, "{line}");
        }
        assert_eq!(body("crm:1 --source crm --age adult --since yesterday"), None);
    }
}
