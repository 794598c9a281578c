//! `party import`: what is taken, and what is refused with its line.

use crate::model::{Age, Segment, Stage};

use super::*;

#[test]
fn csv_creates_links_and_sets_facts_and_a_second_run_changes_nothing() {
    let bench = empty_bench();
    let file = "party,identifiers,stage,segment,age,legal_hold,kind\r\n\
                a,crm:1 email:Ann@example.org,customer,vip,adult,true,person\r\n\
                a,\"crm:2\n crm:3\",,,,,\r\n\
                ,crm:4,lead,,,false,prospect\r\n";
    let report = bench.import(file);
    assert_eq!(report, ImportReport { created: 2, linked: 5, facts: 6, unchanged: 0, ..ImportReport::default() });
    let one = bench.ledger.show_party(&id("crm:3").into()).unwrap();
    assert_eq!(one.no, bench.ledger.show_party(&id("email:ann@example.org").into()).unwrap().no);
    assert_eq!(one.links.len(), 4);
    let facts = bench.ledger.standing(&id("crm:1")).unwrap().unwrap().facts;
    assert_eq!((facts.stage, facts.segment, facts.age, facts.legal_hold), (Stage::Customer, Segment::Vip, Age::Adult, true));
    let revision = bench.ledger.revision();
    let again = bench.import(file);
    assert_eq!((again.created, again.linked, again.facts, again.unchanged), (0, 0, 0, 3));
    assert_eq!(bench.ledger.revision(), revision);
}

#[test]
fn ndjson_says_the_same() {
    let bench = empty_bench();
    let report = bench.import("{\"identifiers\":[\"crm:1\"],\"stage\":\"lead\",\"legal_hold\":true}\n\n{\"identifiers\":[\"crm:1\",\"crm:2\"]}\n");
    assert_eq!(report, ImportReport { created: 1, linked: 2, facts: 2, unchanged: 0, ..ImportReport::default() });
    assert!(bench.ledger.standing(&id("crm:2")).unwrap().unwrap().facts.legal_hold);
}

#[test]
fn a_dry_run_reports_the_same_and_changes_nothing() {
    let bench = empty_bench();
    let file = "identifiers,stage\ncrm:1,lead\ncrm:1 crm:2,lead\ncrm:x,\ncrm:3,\ncrm:2 crm:3,\n";
    let dry = bench.ledger.import_parties(file.as_bytes(), true, &normalise, &mut |_| {}, None).unwrap();
    assert_eq!((bench.ledger.party_count(), bench.ledger.revision().0), (0, 0));
    assert_eq!(bench.import(file), dry);
    assert_eq!((dry.created, dry.linked, dry.errors.len()), (2, 3, 2));
}

#[test]
fn every_mistake_is_told_with_its_line_and_the_good_rows_are_taken() {
    let bench = bench();
    bench.import("identifiers\ncrm:2\n");
    let report = bench.import(
        "identifiers,stage,legal_hold,kind\n\
         crm:10,,,\n\
         crm:x,,,\n\
         fax:1,,,\n\
         ,,,\n\
         crm:11,customr,,\n\
         crm:12,,maybe,\n\
         crm:13,,,robot\n\
         crm:1 crm:2,,,\n\
         party:p_1,,,\n\
         crm:14,too,many,cells,here\n\
         \"crm:15,,,\n",
    );
    let lines: Vec<u64> = report.errors.iter().map(|e| e.line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12], "{:#?}", report.errors);
    assert_eq!((report.created, report.linked), (1, 1));
    assert_eq!(report.errors[3].message, "unknown stage `customr`");
}

#[test]
fn unknown_columns_and_members_are_errors() {
    let bench = empty_bench();
    let refused = |file: &str| bench.ledger.import_parties(file.as_bytes(), false, &normalise, &mut |_| {}, None).unwrap_err().to_string();
    assert_eq!(refused("identifiers,stag\ncrm:1,lead\n"), "column 2 is not known; did you mean `stage`?");
    assert!(refused("identifiers,stage,stage\n").contains("twice"));
    assert!(refused("").contains("empty"));
    let report = bench.import("{\"identifiers\":[\"crm:1\"],\"email\":\"ann@example.org\"}\nnot json ann@example.org\n");
    assert_eq!(report.errors.len(), 2);
    assert!(report.errors[0].message.starts_with("unknown field `email`"), "{:?}", report.errors);
    assert!(!format!("{:?}", report.errors).contains("ann@"), "no values in messages");
    assert_eq!(bench.ledger.party_count(), 0);
}

#[test]
fn many_rows_over_several_transactions_and_the_progress() {
    let bench = empty_bench();
    let file: String = std::iter::once("identifiers\n".to_owned()).chain((0..2500).map(|n| format!("crm:{n}\n"))).collect();
    let mut seen = Vec::new();
    bench.ledger.import_parties(file.as_bytes(), false, &normalise, &mut |n| seen.push(n), None).unwrap();
    assert_eq!((seen, bench.ledger.party_count()), (vec![1000, 2000, 2500], 2500));
}

#[test]
fn import_is_refused_while_the_store_is_down() {
    let bench = empty_bench();
    bench.switch.down();
    let report = bench.ledger.import_parties("identifiers\ncrm:1\n".as_bytes(), false, &normalise, &mut |_| {}, None);
    assert!(matches!(report, Err(ConsentError::Unavailable(_))));
    assert_eq!(bench.ledger.party_count(), 0);
}
