//! Names of metrics: what the README promises, what dashboard and alerts ask for, and what is given must be the same.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn what_was_counted_is_rendered() {
    let metrics = Metrics::new();
    metrics.decided("deny");
    metrics.rejected("unauthenticated");
    metrics.rejected("unauthenticated");
    let text = metrics.render();
    assert!(text.contains("consentry_decisions_total{outcome=\"deny\"} 1"), "{text}");
    assert!(text.contains("consentry_rejects_total{code=\"unauthenticated\"} 2"), "{text}");
}

#[test]
fn a_check_that_is_mended_or_gone_is_well_and_the_worst_of_a_name_counts() {
    let metrics = Metrics::new();
    let shown = |name: &str, state: u8| metrics.render().contains(&format!("consentry_check_state{{check=\"{name}\"}} {state}\n"));
    metrics.set_checks(false, [("witness", 0), ("witness", 1), ("audit", 2), ("export", 1)].into_iter());
    assert!(shown("witness", 1) && shown("audit", 2) && shown("export", 1));
    metrics.set_checks(true, [("witness", 0), ("audit", 0)].into_iter());
    assert!(shown("witness", 0) && shown("audit", 0) && shown("export", 0));
    assert!(metrics.render().contains("consentry_ready 1\n"));
}

#[test]
fn what_is_over_is_not_under_way() {
    let metrics = Metrics::new();
    let connections = [metrics.connection("apps"), metrics.connection("apps")];
    assert!(metrics.render().contains("consentry_connections{listener=\"apps\"} 2\n"));
    drop(connections);
    assert!(metrics.render().contains("consentry_connections{listener=\"apps\"} 0\n"));
}

/// Every metric with at least one value, by name: its kind and the names of its labels.
fn given() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metrics = Metrics::new();
    metrics.set_started(Timestamp::UNIX_EPOCH);
    drop((metrics.connection("apps"), metrics.request()));
    metrics.upstream("crm", "2xx", Duration::ZERO);
    metrics.set_checks(true, [("audit", 0)].into_iter());
    metrics.decided("permit");
    metrics.answered("permit", Duration::ZERO);
    metrics.rejected("token-invalid");
    metrics.drift("crm", 1);
    metrics.set_report_mode(["crm"].into_iter());
    metrics.shadowed("more");
    metrics.webhook_posted("received");
    metrics.exported("siem", 1);
    metrics.export_failed("siem");
    metrics.set_export("siem", 1, true);
    let text = metrics.render();
    let mut found = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (family, kind) = line.split_once(' ').unwrap();
        let (name, sample) = match kind {
            "counter" => (format!("{family}_total"), format!("{family}_total")),
            "info" => (format!("{family}_info"), format!("{family}_info")),
            "histogram" => (family.to_owned(), format!("{family}_count")),
            _ => (family.to_owned(), family.to_owned()),
        };
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(&sample).filter(|rest| rest.starts_with(['{', ' '])))
            .unwrap_or_else(|| panic!("{sample}: {text}"));
        let labels = value.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned()).collect();
        found.insert(name, (kind.to_owned(), labels));
    }
    let source = include_str!("mod.rs");
    let registered =
        ["registry.register(", "registry.register_with_unit(", "root.register_with_unit("].iter().map(|call| source.matches(call).count());
    assert_eq!(found.len(), registered.sum::<usize>() + 4, "one of them has no value here: {found:#?}");
    found
}

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_readme_names_every_metric_as_it_is_given() {
    let readme = file("README.md");
    let mut told = BTreeMap::new();
    for line in readme.lines().filter(|line| line.starts_with("| `consentry_") || line.starts_with("| `process_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (kind, labels) = cells[2].split_once(' ').unwrap_or((cells[2], ""));
        let labels = labels.split_whitespace().map(|label| label.trim_matches('`').to_owned()).collect();
        told.insert(cells[1].trim_matches('`').to_owned(), (kind.to_owned(), labels));
    }
    assert_eq!(told, given());
}

#[test]
fn names_follow_the_conventions() {
    for (name, (kind, labels)) in given() {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.contains("__"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        for unit in ["_ms", "_millis", "_us", "_micros", "_kb", "_kib", "_mb", "_mib", "_minutes", "_hours", "_percent"] {
            assert!(!name.trim_end_matches("_total").ends_with(unit), "{name} is not in a base unit");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "{name}");
        }
        for label in labels {
            assert!(
                label.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !["le", "quantile", "instance", "job"].contains(&label.as_str()),
                "{name}"
            );
        }
    }
}

/// Names of metrics in an expression.
fn names(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("consentry_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let (given, mut asked, mut expressions) = (given(), BTreeSet::new(), Vec::new());
    let dashboard: serde_json::Value = serde_json::from_str(&file(".dist/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            expressions.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(expressions.len() > 30, "{}", expressions.len());
    let alerts = file(".dist/alerts.yml");
    let before = expressions.len();
    expressions.extend(alerts.split("\n        expr: ").skip(1).map(|rest| rest.split("\n        labels:").next().unwrap().to_owned()));
    assert!(expressions.len() - before > 20, "{}", expressions.len() - before);
    for expression in &expressions {
        let named = names(expression);
        assert!(!named.is_empty(), "{expression}");
        for name in named {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .filter(|family| given.get(*family).is_some_and(|(kind, _)| kind == "histogram"));
            let family = family.unwrap_or(&name).to_owned();
            assert!(given.contains_key(&family), "there is no `{name}` for `{expression}`");
            asked.insert(family);
        }
    }
    // What nobody looks at need not be counted.
    let unseen: Vec<&String> = given.keys().filter(|name| !asked.contains(*name)).collect();
    assert_eq!(
        unseen,
        ["consentry_export_events_total", "consentry_spans_dropped_total", "consentry_spans_sent_total", "consentry_webhook_posts_total"],
        "not in dashboard or alerts"
    );
}

#[test]
fn the_runbook_has_a_section_for_each_alert() {
    let (alerts, runbook) = (file(".dist/alerts.yml"), file(".dist/RUNBOOK.md"));
    let named: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 20, "{named:?}");
    let sections: Vec<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .flat_map(|heading| heading.split(", "))
        .filter(|word| word.starts_with("Consentry"))
        .collect();
    assert_eq!(BTreeSet::from_iter(&named), BTreeSet::from_iter(&sections));
}
