//! Files of consent as an operator imports them: the built binary against a running gateway, with every kind of mistake
//! planted, and killed in the middle.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{MINA, MINAS, Site};

/// Lines that are wrong, by what the report says of them; `{n}` makes each one its own.
const PLANTED: [(&str, &str); 8] = [
    ("sales:{n},given,,sales.outreach,2026-13-01T00:00:00Z,form=1", "`event_time` is not a time"),
    ("sales:{n},given,,sales.outreach,2026-01-01,form=1", "--time-zone"),
    ("sales:{n},given,,sales.outreahc,2026-01-01T00:00:00Z,form=1", "unknown purpose"),
    ("sales:{n},gvien,,sales.outreach,2026-01-01T00:00:00Z,form=1", "unknown state"),
    ("fax:{n},withdrawn,,sales.outreach,,", "unknown id space"),
    ("sales:{n},withdrawn,,sales.outreach,,,,", "8 cells where the header has 6"),
    ("sales:{n},withdrawn,,sales.outreach,,caf\u{0}", "not UTF-8"),
    ("sales:{n},\"withdrawn,,sales.outreach,,", "a quoted cell is not closed"),
];

/// A file of that many lines, with a mistake in each hundredth, and a repetition in each thousandth line.
struct Planted {
    bytes: Vec<u8>,
    faults: Vec<(u64, &'static str)>,
    grants: u64,
    withdrawals: u64,
    stops: u64,
}

fn planted(lines: u64) -> Planted {
    let mut file =
        Planted { bytes: b"id,state,stop,purposes,event_time,evidence\n".to_vec(), faults: Vec::new(), grants: 0, withdrawals: 0, stops: 0 };
    let mut good = String::new();
    for line in 2..=lines {
        let n = 1_000_000 + line;
        let text = if line % 1000 == 999 {
            file.faults.push((line, "repeats line"));
            good.clone()
        } else if line % 100 == 50 {
            let (row, message) = PLANTED[usize::try_from(line / 100).unwrap() % PLANTED.len()];
            file.faults.push((line, message));
            row.replace("{n}", &n.to_string())
        } else {
            good = match line % 10 {
                0 => format!("sales:{n},,suppression,,2026-01-01T00:00:00Z,"),
                1..=4 => format!("sales:{n},withdrawn,,sales.outreach,2026-01-01T00:00:00Z,form={line}"),
                _ => format!("sales:{n},given,,sales.outreach,2026-01-01T00:00:00Z,form={line}"),
            };
            *match line % 10 {
                0 => &mut file.stops,
                1..=4 => &mut file.withdrawals,
                _ => &mut file.grants,
            } += 1;
            good.clone()
        };
        // A byte that is no UTF-8.
        file.bytes.extend(text.bytes().map(|byte| if byte == 0 { 0xe9 } else { byte }));
        file.bytes.push(b'\n');
    }
    // The last line needs no end.
    file.bytes.pop();
    file
}

const COVERS: [&str; 6] = ["--category", "contact", "--recipient", "sales", "--author", "customer"];

fn import<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["consent", "import", "consents.csv"], &COVERS[..], more].concat()
}

fn counts(file: &Planted, document: &Value) {
    let refused = u64::try_from(file.faults.iter().filter(|(_, message)| *message != "repeats line").count()).unwrap();
    let repeated = u64::try_from(file.faults.len()).unwrap() - refused;
    let counts = &document["counts"];
    assert_eq!(counts["opens_not"], json!({ "nobody is known by the id": file.grants }), "{counts}");
    assert_eq!((&counts["closes"], &counts["stops"]), (&json!(file.withdrawals), &json!({ "suppression": file.stops })), "{counts}");
    assert_eq!((&counts["refused"], &document["repeated"]), (&json!(refused), &json!(repeated)), "{counts}");
}

fn faults(file: &Planted, report: &str) {
    let rows: Vec<&str> = report.lines().skip(1).collect();
    assert_eq!(rows.len(), file.faults.len(), "{report}");
    for (row, (line, message)) in rows.iter().zip(&file.faults) {
        assert!(row.starts_with(&format!("{line},")) && row.contains(message), "{row} is not line {line}, `{message}`");
    }
}

fn imported(lines: u64) {
    let site = Site::new();
    let _gateway = site.start();
    let file = planted(lines);
    fs::write(site.path().join("consents.csv"), &file.bytes).unwrap();
    let dry = site.run_as("consent-desk", &import(&["--dry-run", "--format", "json", "--report", "dry.csv"]));
    assert_eq!(dry.exit, 1, "{}", dry.stderr);
    counts(&file, &dry.json());
    faults(&file, &fs::read_to_string(site.path().join("dry.csv")).unwrap());
    let human = site.run_as("consent-desk", &import(&["--dry-run"]));
    assert!(human.stdout.contains("dry run, nothing was changed") && human.stdout.contains("more lines; write all of them"), "{}", human.stdout);
    assert!(!["sales:", "fax", "gvien"].iter().any(|value| human.stdout.contains(value)), "{}", human.stdout);
}

#[test]
fn every_planted_mistake_is_found_and_nothing_else() {
    imported(20_000);
}

#[test]
#[ignore = "a million lines take minutes in a debug build"]
fn every_planted_mistake_of_a_million_lines_is_found() {
    imported(1_000_000);
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_stopped_without_loss_or_doubling() {
    let site = Site::new();
    let mut gateway = Some(site.start());
    let file = planted(8_000);
    fs::write(site.path().join("consents.csv"), &file.bytes).unwrap();
    let mut kills = 0;
    let document = loop {
        let ran = thread::scope(|scope| {
            let command = scope.spawn(|| site.run_as("consent-desk", &import(&["--format", "json", "--report", "report.csv"])));
            if kills < 3 {
                thread::sleep(Duration::from_millis(300 + 400 * kills));
                if !command.is_finished() {
                    kills += 1;
                    gateway.take().unwrap().kill();
                    gateway = Some(site.start());
                }
            }
            command.join().unwrap()
        });
        match ran.exit {
            1 => break ran.json(),
            // Killed before anything was asked, or in the middle.
            75 => assert!(ran.stderr.contains("run the same command again") || ran.stderr.contains("cannot reach"), "{ran:?}"),
            _ => panic!("{ran:?}"),
        }
    };
    assert!(kills > 0, "it was over before it could be killed");
    counts(&file, &document);
    faults(&file, &fs::read_to_string(site.path().join("report.csv")).unwrap());
    // The ledger holds each statement once, and every one of them.
    let again = site.run_as("consent-desk", &import(&["--format", "json"]));
    assert_eq!((again.exit, &again.json()["counts"]), (1, &document["counts"]), "a third run changes nothing");
    drop(gateway);
    let ledger = consentry::consent::Ledger::open(&site.path().join("consent.db"), consentry::clock::SystemClock::shared()).unwrap();
    let events = ledger.changes(consentry::model::Revision(0), 100_000).unwrap().iter().filter(|change| change.event.is_some()).count();
    assert_eq!(u64::try_from(events).unwrap(), file.grants + file.withdrawals + file.stops);
}

#[test]
fn customers_are_imported_in_pieces_and_mistakes_keep_their_lines() {
    let site = Site::new();
    let _gateway = site.start();
    let rows = (2..=11_002).map(|line| if line % 5000 == 7 { "fax:1\n".to_owned() } else { format!("sales:{}\n", 1_000_000 + line) });
    fs::write(site.path().join("parties.csv"), std::iter::once("identifiers\n".to_owned()).chain(rows).collect::<String>()).unwrap();
    let dry = site.run_as("consent-desk", &["party", "import", "parties.csv", "--dry-run", "--format", "json"]).json();
    let ran = site.run_as("consent-desk", &["party", "import", "parties.csv", "--format", "json"]).json();
    let lines: Vec<&Value> = ran["errors"].as_array().unwrap().iter().map(|error| &error["line"]).collect();
    assert_eq!((lines, &ran["created"]), (vec![&json!(7), &json!(5007), &json!(10_007)], &json!(10_998)), "{ran}");
    assert_eq!((&dry["errors"], &dry["created"]), (&ran["errors"], &ran["created"]));
}

#[test]
fn an_imported_grant_opens_and_an_imported_withdrawal_closes_at_the_gateway() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    assert_eq!(site.read(MINAS).status, 403);
    let grant = format!("id,state,purposes,event_time,evidence\ncrm:{MINA},given,sales.outreach,2026-01-01,form=1\n");
    fs::write(site.path().join("consents.csv"), grant).unwrap();
    let covers = ["--category", "identity", "--category", "contact", "--recipient", "sales", "--author", "customer", "--time-zone", "Europe/Berlin"];
    let import = [&["consent", "import", "consents.csv"], &covers[..]].concat();
    let ran = site.run_as("consent-desk", &import);
    assert_eq!((ran.exit, ran.stdout.as_str()), (0, "1 record, csv\n          1  grants that open\n"), "{ran:?}");
    assert_eq!(site.read(MINAS).status, 200);
    assert_eq!(site.run_as("auditor", &import).exit, 64, "only the consent desk imports");
    fs::write(site.path().join("consents.csv"), format!("{{\"party\":\"crm:{MINA}\",\"state\":\"withdrawn\",\"purposes\":[\"sales.outreach\"]}}\n"))
        .unwrap();
    assert_eq!(site.run_as("consent-desk", &import).exit, 0);
    assert_eq!(site.read(MINAS).status, 403);
}
