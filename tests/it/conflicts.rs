//! The desk's and the auditor's way through a conflict on the command line: two systems, what holds, asking, the answer, and what
//! was known when.

use crate::process::{MINA, MINAS, Site};

#[test]
fn a_conflict_is_found_asked_about_and_settled_on_the_command_line() {
    let site = Site::new();
    let _gateway = site.start();
    site.prepare();
    let customer = format!("crm:{MINA}");
    let run = |role: &str, exit: i32, args: &[&str]| {
        let ran = site.run_as(role, args);
        assert_eq!(ran.exit, exit, "{args:?} {ran:?}");
        ran.stdout
    };
    let desk = |args: &[&str]| run("consent-desk", 0, args);
    let auditor = |args: &[&str]| run("auditor", 0, args);
    assert_eq!(auditor(&["consent", "conflicts"]).trim(), "no system says anything different from another");
    site.say(MINA, "given");
    assert_eq!(site.read(MINAS).status, 200);
    let between = jiff::Timestamp::now().to_string();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let refused = ["consent", "event", &customer, "--state", "refused", "--purpose", "sales.outreach", "--author", "staff", "--source-system", "erp"];
    desk(&refused);
    assert_eq!(site.read(MINAS).status, 403);

    let table = auditor(&["consent", "conflicts", "--unsettled", "--purpose", "sales"]);
    for part in ["erp", "refused", "preference-centre", "given", "withdrawn", "open", "1 disagreement, 1 of them unsettled; UTC"] {
        assert!(table.contains(part), "`{part}` is not in {table}");
    }
    assert!(!table.contains(&customer), "{table}");
    let csv = auditor(&["consent", "conflicts", "--export", "csv"]);
    assert_eq!((csv.lines().count(), csv.starts_with("party,purpose,")), (3, true), "{csv}");
    assert_eq!(auditor(&["consent", "conflicts", "--export", "ndjson"]).lines().count(), 1);
    assert_eq!(auditor(&["consent", "conflicts", "--merged"]).trim(), "no system says anything different from another");

    let ask = ["consent", "ask", &customer, "--purpose", "sales.outreach", "--channel", "email"];
    run("auditor", 64, &ask);
    assert!(desk(&ask).starts_with("recorded ev_"), "asked");
    assert!(auditor(&["consent", "conflicts"]).contains("asked ev_"));
    assert_eq!(site.read(MINAS).status, 403, "to ask opens nothing");
    run("consent-desk", 64, &["consent", "ask", &customer, "--purpose", "marketing.email"]);
    run("consent-desk", 4, &["consent", "ask", "crm:9999", "--purpose", "sales.outreach"]);

    let effective =
        |more: &[&str]| auditor(&[&["consent", "effective", &customer, "--purpose", "sales.outreach", "--recipient", "sales"], more].concat());
    let now = effective(&[]);
    let then = effective(&["--at", &between, "--known-at", &between]);
    assert!(now.contains("withdrawn") && !now.contains("as known at"), "{now}");
    assert!(then.contains("given") && then.contains("what was the case at") && then.contains("as known at"), "{then}");
    run("auditor", 4, &["consent", "effective", &customer, "--known-at", "365d"]);
    run("auditor", 64, &["consent", "effective", &customer, "--known-at", "2999-01-01T00:00:00Z"]);
    assert!(auditor(&["consent", "history", &customer]).contains("overridden by ev_"));

    desk(&["consent", "stop", "add", &customer, "--kind", "restriction", "--evidence", "letter=scan-1"]);
    let stops = auditor(&["consent", "stop", "list", &customer]);
    let stop = stops.split_whitespace().find(|word| word.starts_with("ev_")).unwrap_or_else(|| panic!("{stops}"));
    assert!(stops.contains("restriction") && stops.contains("stands"), "{stops}");
    desk(&["consent", "stop", "lift", stop, "--reason", "settled"]);
    assert!(auditor(&["consent", "stop", "list", &customer]).contains("lifted by ev_"));
}

#[test]
fn a_notice_is_registered_from_a_file_and_shown_with_its_text() {
    let site = Site::new();
    let _gateway = site.start();
    std::fs::write(site.path().join("news.txt"), "We write to you.\n").unwrap();
    let toml = "id = \"news\"\nversion = \"1\"\npurposes = [\"marketing.email\"]\nvalid_from = 2026-03-01T12:00:00+01:00\n";
    std::fs::write(site.path().join("news.toml"), toml).unwrap();
    let add = ["consent", "notice", "add", "news.toml", "--text", "news.txt"];
    assert_eq!(site.run_as("auditor", &add).exit, 64);
    for _ in 0..2 {
        let ran = site.run_as("consent-desk", &add);
        assert_eq!((ran.exit, ran.stdout.starts_with("registered news@1 · in-force")), (0, true), "{ran:?}");
    }
    let all = site.run_as("auditor", &["consent", "notice", "list"]);
    assert!(all.stdout.contains("news@1") && !all.stdout.contains("We write"), "{all:?}");
    assert!(site.run_as("auditor", &["consent", "notice", "list", "news@1"]).stdout.contains("We write to you."));
    assert_eq!(site.run_as("auditor", &["consent", "notice", "list", "news@2"]).exit, 4);
    std::fs::write(site.path().join("news.txt"), "We call you.\n").unwrap();
    assert_eq!(site.run_as("consent-desk", &add).exit, 64, "a version is never changed");
}
