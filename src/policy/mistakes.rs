//! Folders with planted mistakes: each is found, at its place, with a way out; and a prohibition that errs denies.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// The shipped folder with texts replaced (file, from, to); an empty `from` appends.
pub(super) fn folder(changes: &[(&str, &str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    for (file, from, to) in changes {
        let path = dir.path().join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let changed = if from.is_empty() { format!("{text}{to}") } else { text.replacen(from, to, 1) };
        assert_ne!(text, changed, "nothing to replace in {file}: {from}");
        fs::write(path, changed).unwrap();
    }
    dir
}

pub(super) fn findings(changes: &[(&str, &str, &str)]) -> Vec<String> {
    let dir = folder(changes);
    let error = Policies::load(dir.path()).err().unwrap_or_default();
    error
        .0
        .iter()
        .map(|f| format!("{}:{}:{}: {} | {}", f.file.file_name().unwrap().display(), f.line, f.column, f.message, f.help.as_deref().unwrap_or("-")))
        .collect()
}

/// One planted mistake gives one finding, which starts and ends so.
#[track_caller]
fn check(change: (&str, &str, &str), starts: &str, ends: &str) {
    let found = findings(&[change]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(starts) && found[0].ends_with(ends), "{found:#?}");
}

const ALL: &str = "(principal, action, resource)";

#[test]
fn the_copied_folder_itself_is_fine() {
    assert_eq!(findings(&[]), Vec::<String>::new());
}

#[test]
fn a_misspelt_entity_of_an_open_type() {
    check(
        ("40-prohibitions.cedar", "when { context.purpose in Purpose::\"marketing\" }", "when { context.purpose in Purpose::\"marketting\" }"),
        "40-prohibitions.cedar:51:27: Purpose `marketting` is not in the catalogue",
        "did you mean `marketing`?",
    );
    check(
        ("30-steward.cedar", "principal in Role::\"neutral-steward\"", "principal in Role::\"neutral-stewart\""),
        "30-steward.cedar:4:16: Role `neutral-stewart` is not in the catalogue",
        "did you mean `neutral-steward`?",
    );
    check(
        ("agreements.cedartemplatelinks.json", "Category::\\\"order\\\"", "Category::\\\"orders\\\""),
        "agreements.cedartemplatelinks.json:3:",
        "did you mean `order`?",
    );
}

#[test]
fn a_misspelt_word_of_a_closed_vocabulary() {
    let found = findings(&[("40-prohibitions.cedar", "Stage::\"churned\"", "Stage::\"churnd\"")]);
    assert!(found.iter().any(|f| f.starts_with("40-prohibitions.cedar:90:29:") && f.contains("churnd")), "{found:#?}");
}

#[test]
fn policies_without_a_name_of_their_own() {
    let more = |annotation: &str| format!("{annotation}\nforbid {ALL} when {{ context.gpc && context.customer.legal_hold }};\n");
    check(("99-more.cedar", "", &more("")), "99-more.cedar:2:1: a policy without `@id`", "names policies by it");
    check(
        ("99-more.cedar", "", &more("@id(\"owner-access\")")),
        "99-more.cedar:1:5: the name `owner-access` is taken",
        "10-ownership.cedar:1; rename one",
    );
    check(("99-more.cedar", "", &more("@id(\"consentry-x\")")), "99-more.cedar:1:5: `consentry-x` cannot be", "not starting with `consentry-`");
    check(("99-more.cedar", "", &more("@id(\"Two Words\")")), "99-more.cedar:1:5: `Two Words` cannot be", "not starting with `consentry-`");
}

#[test]
fn a_policy_that_can_never_apply_and_one_that_does_not_type_check() {
    let impossible = format!("@id(\"dead\")\nforbid {ALL}\nwhen {{ context.gpc && false }};\n");
    let found = findings(&[("99-more.cedar", "", &impossible)]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("99-more.cedar:") && found[0].contains("dead"), "{found:#?}");
    let untyped = format!("@id(\"typo\")\nforbid {ALL}\nwhen {{ context.consnet.explicit }};\n");
    let found = findings(&[("99-more.cedar", "", &untyped)]);
    assert_eq!(found.len(), 1, "one, not one for each action: {found:#?}");
    assert!(found[0].starts_with("99-more.cedar:3:") && found[0].contains("consnet"), "{found:#?}");
}

#[test]
fn a_syntax_error_is_shown_where_it_is() {
    let found = findings(&[("99-more.cedar", "", "@id(\"x\")\nforbid (principal, action resource);\n")]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("99-more.cedar:2:27:"), "{found:#?}");
}

#[test]
fn permits_without_a_purpose_need_the_floor() {
    let found = findings(&[("00-floor.cedar", "context.purpose in principal.registered_purposes", "context.purpose in Purpose::\"marketing\"")]);
    assert!(found.iter().any(|f| f.contains("permit `owner-access` holds for every purpose")), "{found:#?}");
    assert!(!found.iter().any(|f| f.contains("share-for-contract")), "{found:#?}");
}

#[test]
fn an_action_that_nothing_permits() {
    let both = [
        (
            "10-ownership.cedar",
            "permit (\n  principal is Application,\n  action == Action::\"export\",",
            "forbid (\n  principal is Application,\n  action == Action::\"export\",",
        ),
        (
            "20-sharing.cedar",
            "permit (\n  principal is Application,\n  action == Action::\"export\",",
            "forbid (\n  principal is Application,\n  action == Action::\"export\",",
        ),
    ];
    let found = findings(&both);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("consentry.cedarschema:") && found[0].contains("no policy permits the action `export`"), "{found:#?}");
}

#[test]
fn links_to_nowhere() {
    check(
        ("agreements.cedartemplatelinks.json", "\"template_id\": \"sharing-agreement\"", "\"template_id\": \"sharing-agrement\""),
        "agreements.cedartemplatelinks.json:2:20: there is no template `sharing-agrement`",
        "did you mean `sharing-agreement`?",
    );
    check(
        ("agreements.cedartemplatelinks.json", "?resource", "?action"),
        "agreements.cedartemplatelinks.json:3:",
        "one of `?principal`, `?resource`",
    );
    check(
        ("agreements.cedartemplatelinks.json", "\"link_id\": \"agreement-service-reads-orders\"", "\"link_id\": \"owner-access\""),
        "agreements.cedartemplatelinks.json:2:",
        "rename one",
    );
}

#[test]
fn references_of_the_catalogue_into_nothing() {
    let owner = (
        "catalogue.cedarentities.json",
        "\"owner\":{\"type\":\"Department\",\"id\":\"finance\"}",
        "\"owner\":{\"type\":\"Department\",\"id\":\"finanze\"}",
    );
    check(owner, "catalogue.cedarentities.json:21:86:", "did you mean `finance`?");
    let parent = (
        "catalogue.cedarentities.json",
        "\"parents\":[{\"type\":\"Purpose\",\"id\":\"sales\"}]",
        "\"parents\":[{\"type\":\"Purpose\",\"id\":\"sale\"}]",
    );
    check(parent, "catalogue.cedarentities.json:", "did you mean `sales`?");
    let registered = (
        "catalogue.cedarentities.json",
        "[{\"type\":\"Purpose\",\"id\":\"data-coordination\"}]",
        "[{\"type\":\"Purpose\",\"id\":\"data-cordination\"}]",
    );
    check(registered, "catalogue.cedarentities.json:", "did you mean `data-coordination`?");
}

#[test]
fn entities_that_are_not_what_they_should_be() {
    let word = ("catalogue.cedarentities.json", "\"id\":\"special\"", "\"id\":\"secret\"");
    let found = findings(&[word]);
    assert!(found.iter().any(|f| f.starts_with("catalogue.cedarentities.json:22:") && f.contains("there is no Sensitivity `secret`")), "{found:#?}");
    let twice =
        "{\"uid\":{\"type\":\"Role\",\"id\":\"on-call\"},\"attrs\":{},\"parents\":[]},\n{\"uid\":{\"type\":\"Department\",\"id\":\"marketing\"";
    let found = findings(&[("catalogue.cedarentities.json", "{\"uid\":{\"type\":\"Department\",\"id\":\"marketing\"", twice)]);
    assert!(found.len() == 1 && found[0].contains("Role `on-call` is declared twice"), "{found:#?}");
    let homeless = ("catalogue.cedarentities.json", "\"parents\":[{\"type\":\"Department\",\"id\":\"finance\"}]", "\"parents\":[]");
    check(homeless, "catalogue.cedarentities.json:", "name exactly one Department among its `parents`");
    let asleep =
        ("catalogue.cedarentities.json", "\"id\":\"finance\"},\"attrs\":{\"active\":true}", "\"id\":\"finance\"},\"attrs\":{\"active\":false}");
    check(asleep, "catalogue.cedarentities.json:", "remove the app, or give it to another department");
    let cut = findings(&[("catalogue.cedarentities.json", "\"attrs\":{},", "\"attrs\":{},\"atrs\":{},")]);
    assert!(cut[0].starts_with("catalogue.cedarentities.json:2:") && cut[0].contains("unknown field `atrs`"), "{cut:#?}");
}

#[test]
fn a_key_that_stands_twice() {
    let found = findings(&[("catalogue.cedarentities.json", "\"attrs\":{\"active\":true}", "\"attrs\":{\"active\":true,\"active\":false}")]);
    assert!(found.len() == 1 && found[0].starts_with("catalogue.cedarentities.json:6:"), "{found:#?}");
    let args = ("agreements.cedartemplatelinks.json", "\"args\": {", "\"args\": { \"?principal\": \"Department::\\\"sales\\\"\",");
    let found = findings(&[args]);
    assert!(found.len() == 1 && found[0].starts_with("agreements.cedartemplatelinks.json:3:"), "{found:#?}");
}

#[test]
fn a_circle_of_purposes() {
    let circle = (
        "catalogue.cedarentities.json",
        "SellProducts\"},\"parents\":[]",
        "SellProducts\"},\"parents\":[{\"type\":\"Purpose\",\"id\":\"sales.outreach\"}]",
    );
    let found = findings(&[circle]);
    assert!(found.len() == 1 && found[0].starts_with("catalogue.cedarentities.json:") && found[0].contains("cycle"), "{found:#?}");
}

#[test]
fn activities_that_cannot_be_meant() {
    let file = "activities.toml";
    check(
        (file, "department = \"marketing\"", "department = \"marketting\""),
        "activities.toml:10:14: unknown department `marketting`",
        "did you mean `marketing`?",
    );
    check(
        (file, "\"marketing.email\"", "\"marketing.emial\""),
        "activities.toml:11:13: unknown purpose `marketing.emial`",
        "did you mean `marketing.email`?",
    );
    check((file, "\"behaviour\"]", "\"behavior\"]"), "activities.toml:12:38: unknown category `behavior`", "did you mean `behaviour`?");
    check((file, "basis = \"consent\"", "basis = \"none\""), "activities.toml:13:9: unknown lawful basis `none`", "`legitimate-interest`");
    check((file, "retention = \"24 months\"", "retention = \"long\""), "activities.toml:15:13: `long` is not a period", "`years`");
    check((file, "categories = [\"identity\", \"contact\", \"behaviour\"]", "categories = []"), "activities.toml:12:14: `categories` is empty", "-");
    let misspelt = findings(&[(file, "retention = \"24 months\"", "retension = \"24 months\"")]);
    let [missing, unknown] = misspelt.as_slice() else { panic!("{misspelt:#?}") };
    assert!(missing.starts_with("activities.toml:7:1: `retention` is missing"), "{missing}");
    assert_eq!(unknown, "activities.toml:15:1: unknown key `retension` | did you mean `retention`?");
    check((file, "version = 1\n", "version = \"one\"\n"), "activities.toml:9:11: `version` is a whole number", "-");
}

#[test]
fn two_activities_for_one_use_unless_one_is_retired() {
    let second = |active: &str| {
        format!(
            "\n[[activity]]\nid = \"marketing-mailing\"\nversion = 2\n{active}department = \"marketing\"\npurposes = [\"marketing.email\"]\ncategories = [\"contact\"]\nbasis = \"legitimate-interest\"\nrecipients = []\nretention = \"1 years\"\n"
        )
    };
    let found = findings(&[("activities.toml", "", &second(""))]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("both cover marketing, marketing.email, contact"), "{found:#?}");
    assert_eq!(findings(&[("activities.toml", "", &second("active = false\n"))]), Vec::<String>::new());
}

#[test]
fn terms_of_no_vocabulary_that_others_know() {
    for iri in [
        "dpv:Marketing",
        "http://w3id.org/dpv#Marketing",
        "https://w3id.org/dpvx#Marketing",
        "https://w3id.org/dpv#",
        "https://w3id.org/dpv",
        "https://w3id.org/dpv#a b",
    ] {
        check(
            ("catalogue.cedarentities.json", "https://w3id.org/dpv#Marketing", iri),
            &format!("catalogue.cedarentities.json:23:79: `{iri}` is not a term of the Data Privacy Vocabulary"),
            "write its whole IRI, such as `https://w3id.org/dpv#Marketing`",
        );
    }
}

const HEALTH: (&str, &str, &str) = ("activities.toml", "[\"identity\", \"contact\", \"behaviour\"]", "[\"contact\", \"health\"]");

#[test]
fn special_categories_without_a_ground_of_their_own() {
    let file = "activities.toml";
    check(HEALTH, "activities.toml:12:26: `health` is a special category, and the activity has no `art9`", "`archiving`");
    let retired = findings(&[HEALTH, (file, "version = 1\n", "version = 1\nactive = false\n")]);
    assert_eq!(retired, Vec::<String>::new(), "a version that is retired stays as it was");
    let with = |art9: &str, basis: &str| findings(&[HEALTH, (file, "basis = \"consent\"", &format!("basis = \"{basis}\"\nart9 = \"{art9}\""))]);
    assert_eq!(with("explicit-consent", "consent"), Vec::<String>::new());
    assert_eq!(with("employment", "legal-obligation"), Vec::<String>::new());
    let found = with("explicit-consent", "contract");
    assert_eq!(
        found,
        [
            "activities.toml:14:8: explicit consent under Art. 9 needs an activity that rests on consent | write `basis = \"consent\"`, or the Art. 9 basis that the other one has"
        ]
    );
    let found = with("explicit", "consent");
    assert_eq!(found, ["activities.toml:14:8: unknown Art. 9 basis `explicit` | did you mean `explicit-consent`?"]);
}

#[test]
fn details_of_an_activity_that_say_nothing() {
    const SAID: &str = "jurisdiction = \"EU\"\nconfidentiality = \"internal\"\n";
    for (line, starts, ends) in [
        ("jurisdiction = \"Europe\"", "activities.toml:16:16: `Europe` is not a jurisdiction", "such as `DE` or `US-CA`"),
        ("jurisdiction = \"DE-\"", "activities.toml:16:16: `DE-` is not a jurisdiction", "such as `DE` or `US-CA`"),
        ("dpia = \" \"", "activities.toml:16:8: this text is empty", "leave the key out"),
        ("confidentiality = 3", "activities.toml:16:19: `confidentiality` is a text", "-"),
    ] {
        check(("activities.toml", SAID, line), starts, ends);
    }
    let said = "jurisdiction = \"US-CA\"\ndpia = \"DPIA-12\"\nconfidentiality = \"secret\"\n";
    let policies = Policies::load(folder(&[("activities.toml", SAID, said)]).path()).unwrap();
    let activity = &policies.activities()[0];
    let said = [&activity.jurisdiction, &activity.dpia, &activity.confidentiality].map(|text| text.as_deref().unwrap_or_default());
    assert_eq!(said, ["US-CA", "DPIA-12", "secret"]);
}

#[test]
fn purposes_that_are_prohibited_or_exclude_each_other() {
    let (catalogue, activities) = ("catalogue.cedarentities.json", "activities.toml");
    let prohibited = |purpose: &str| {
        (format!("\"dpv\":\"https://w3id.org/dpv#{purpose}\""), format!("\"prohibited\":true,\"dpv\":\"https://w3id.org/dpv#{purpose}\""))
    };
    // What stands below it is prohibited with it.
    let (from, to) = prohibited("Marketing");
    let found = findings(&[(catalogue, &from, &to)]);
    let [activity, registration] = found.as_slice() else { panic!("{found:#?}") };
    assert!(activity.starts_with("activities.toml:11:13: purpose `marketing.email` serves `marketing`, which is prohibited"), "{activity}");
    assert!(
        registration.starts_with(
            "catalogue.cedarentities.json:36:110: Application `campaign-manager` is registered for purpose `marketing`, and `marketing` is prohibited"
        ),
        "{registration}"
    );
    let (from, to) = prohibited("ResearchAndDevelopment");
    assert_eq!(findings(&[(catalogue, &from, &to)]), Vec::<String>::new(), "nobody does it");

    let excludes = "\"incompatible_with\":[{\"type\":\"Purpose\",\"id\":\"sales\"}],\"dpv\":\"https://w3id.org/dpv#Marketing\"";
    let exclusion = (catalogue, "\"dpv\":\"https://w3id.org/dpv#Marketing\"", excludes);
    assert_eq!(findings(&[exclusion]), Vec::<String>::new(), "in two activities");
    for (both, column) in [("[\"marketing.email\", \"sales.outreach\"]", 32), ("[\"sales\", \"marketing.email\"]", 22)] {
        let found = findings(&[exclusion, (activities, "[\"marketing.email\"]", both)]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].starts_with(&format!("activities.toml:11:{column}: purposes `")) && found[0].contains("are incompatible | make two activities"),
            "{found:#?}"
        );
    }
    check(
        (catalogue, "\"dpv\":\"https://w3id.org/dpv#Marketing\"", &excludes.replace("sales", "sale")),
        "catalogue.cedarentities.json:23:",
        "did you mean `sales`?",
    );
}

#[test]
fn captures_and_consent_rules_that_name_the_unknown() {
    check(
        ("captures.toml", "app = \"preference-centre\"", "app = \"preference-center\""),
        "captures.toml:3:7: unknown app",
        "did you mean `preference-centre`?",
    );
    check(("captures.toml", "\"guardian\"", "\"gardian\""), "captures.toml:6:24: unknown author `gardian`", "did you mean `guardian`?");
    check(("consent.toml", "segment = \"standard\"", "segment = \"normal\""), "consent.toml:5:24: unknown segment `normal`", "`vulnerable`");
    check(
        ("consent.toml", "third-party-sharing =", "third-party ="),
        "consent.toml:4:11: unknown purpose `third-party`",
        "did you mean `third-party-sharing`?",
    );
    check(
        ("consent.toml", "customer-last-word/v1", "customer-last-word"),
        "consent.toml:2:8: unknown conflict rule",
        "did you mean `customer-last-word/v1`?",
    );
    check(("consent.toml", "defaults = { segment = \"standard\" }", ""), "consent.toml:1:1: `defaults` is missing", "-");
}

#[test]
fn ranked_systems_and_double_opt_in() {
    let file = "consent.toml";
    let both = "sources = [\"crm\", \"shop\"]\ndouble_opt_in = [\"marketing.email\"]\n";
    let dir = folder(&[(file, "", both), (file, "most-restrictive/v1", "source-priority/v1")]);
    let policies = Policies::load(dir.path()).unwrap();
    let rules = policies.consent_rules();
    assert_eq!((rules.sources.as_slice(), rules.double_opt_in.len()), (["crm".to_owned(), "shop".to_owned()].as_slice(), 1));
    check((file, "most-restrictive/v1", "source-priority/v1"), "consent.toml:4:33: `source-priority/v1` has no systems to rank", "the highest first");
    check(
        (file, "customer-last-word/v1", "source-priority/v1"),
        "consent.toml:2:8: `source-priority/v1` has no systems to rank",
        "the highest first",
    );
    check((file, "", "sources = [\"crm\", \"crm\"]\n"), "consent.toml:8:19: source `crm` stands here twice", "remove one");
    check((file, "", "double_opt_in = [\"marketing.mail\"]\n"), "consent.toml:8:18: unknown purpose `marketing.mail`", "`marketing.email`?");
}

#[test]
fn files_that_nobody_reads_or_that_are_missing() {
    check(
        ("40-prohibitions.ceder", "", "forbid (principal, action, resource);"),
        "40-prohibitions.ceder:1:1: nothing reads this file",
        "`NN-topic.cedar`",
    );
    let dir = folder(&[]);
    fs::remove_file(dir.path().join("consent.toml")).unwrap();
    fs::write(dir.path().join("activities.toml"), [0xff, 0xfe]).unwrap();
    let error = Policies::load(dir.path()).unwrap_err();
    let found: Vec<_> = error.0.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("cannot be read") && found[1] == "is missing", "{found:?}");
    assert_eq!(Policies::load(&dir.path().join("nowhere")).unwrap_err().0.len(), 1);
}

#[test]
fn an_empty_policy_set() {
    let dir = folder(&[]);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "cedar") || path.to_string_lossy().ends_with("links.json") {
            fs::remove_file(path).unwrap();
        }
    }
    let error = Policies::load(dir.path()).unwrap_err();
    assert!(error.0.len() == 1 && error.0[0].message.contains("no policy"), "{error}");
}

#[test]
fn a_schema_with_other_words_or_facts() {
    check(
        ("consentry.cedarschema", "\"churned\"]", "\"churned\", \"lost\"]"),
        "consentry.cedarschema:14:1: `Stage` is a closed vocabulary",
        "`churned`",
    );
    let found = findings(&[(
        "consentry.cedarschema",
        "  \"gpc\":         Bool,\n  \"now\":         datetime,\n  \"employee\"?",
        "  \"gpc\":         Bool,\n  \"now\":         datetime,\n  \"weather\": String,\n  \"employee\"?",
    )]);
    assert!(found.iter().any(|f| f.contains("does not accept the facts that the gateway gives")), "{found:#?}");
}

#[test]
fn many_mistakes_are_reported_in_one_run() {
    let found = findings(&[
        ("00-floor.cedar", "@id(\"no-basis-no-use\")\n", ""),
        ("20-sharing.cedar", "Purpose::\"legal-compliance\"", "Purpose::\"legal\""),
        ("activities.toml", "id = \"books\"", "id = \"Books\""),
        ("catalogue.cedarentities.json", "\"owner\":{\"type\":\"Department\",\"id\":\"it\"}", "\"owner\":{\"type\":\"Department\",\"id\":\"ti\"}"),
        ("captures.toml", "\"in-person\"", "\"in-persona\""),
        ("consent.toml", "clock_skew_s = 60", "clock_skew_s = -1"),
        ("99-x.cedar", "", "permit (principal, action, resource"),
    ]);
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn the_id_changes_with_every_governed_byte_and_with_nothing_else() {
    let id = |changes: &[(&str, &str, &str)]| Policies::load(folder(changes).path()).unwrap().id().to_owned();
    let shipped = id(&[]);
    assert_eq!(shipped.len(), 64);
    assert_eq!(id(&[("README.md", "", "\nmore\n")]), shipped);
    assert_ne!(id(&[("consent.toml", "60", "61")]), shipped);
    assert_ne!(id(&[("00-floor.cedar", "", "\n")]), shipped);
}

#[test]
fn a_case_that_fails_says_so_and_a_broken_case_file_is_a_finding() {
    let dir = folder(&[]);
    fs::create_dir(dir.path().join("tests")).unwrap();
    let case = "[[case]]\nname = \"x\"\napp = \"crm\"\naction = \"read\"\ncategory = \"order\"\npurpose = \"sales.outreach\"\n";
    let write = |text: &str| fs::write(dir.path().join("tests/x.toml"), text).unwrap();
    for (expected, says) in [
        ("expect = \"allow\"\n", Some("expected allow, got deny by `consent-basis-needs-consent`")),
        ("expect = \"deny\"\n", None),
        ("expect = \"not-entitled\"\n", Some("expected not-entitled, got deny by `consent-basis-needs-consent`")),
        ("expect = \"deny\"\nbecause = []\n", Some("expected deny by no policy, got deny by `consent-basis-needs-consent`")),
    ] {
        write(&format!("{case}{expected}"));
        let report = cases::run(dir.path()).unwrap();
        assert_eq!((report.cases.len(), report.cases[0].failure.as_deref()), (1, says));
    }
    write(&format!("{case}expect = \"allow\"\nstatus = \"given\"\nbecause = [\"owner-acess\"]\nstage = \"customers\"\n"));
    let found = cases::run(dir.path()).unwrap_err();
    assert_eq!(found.0.len(), 3, "{found}");
    let agent = case.replace("app = \"crm\"", "agent = \"sales-copilot\"") + "consent = \"given\"\nstage = \"lead\"\n";
    for (case, says) in [
        (format!("{case}behalf = \"employee\"\n"), "`behalf` is told of agents only"),
        (format!("{case}task = \"prepare-call\"\n"), "`task` is told of agents only"),
        (format!("{agent}behalf = \"nobody\"\nroles = []\n"), "who calls on behalf of nobody has no employee with `roles`"),
        (format!("{agent}behalf = \"other-customer\"\nroles = [\"on-call\"]\n"), "who calls on behalf of a customer has no employee with `roles`"),
    ] {
        write(&format!("{case}expect = \"deny\"\n"));
        let found = cases::run(dir.path()).unwrap_err();
        assert!(found.0.len() == 1 && found.0[0].message == says, "{found}");
    }
    write(&format!("{agent}behalf = \"other-customer\"\ntask = \"prepare-call\"\ncustomers = 51\nemergency = \"INC-1\"\nexpect = \"allow\"\n"));
    let report = cases::run(dir.path()).unwrap();
    assert!(
        report.cases[0].details[0]
            .ends_with("; lead, standard, unknown, 51 customers, on behalf of other-customer, task prepare-call, emergency INC-1"),
        "{report:?}"
    );
    let json = "[{\"name\":\"x\",\"request\":{\"principal\":\"Application::\\\"crm\\\"\",\"action\":\"Action::\\\"read\\\"\",\"resource\":\"Category::\\\"order\\\"\",\"context\":{}},\"entities\":\"catalogue.cedarentities.json\",\"decision\":\"allow\",\"reason\":[],\"num_errors\":0}]";
    fs::write(dir.path().join("tests/x.toml"), "").unwrap();
    fs::write(dir.path().join("tests/x.json"), json).unwrap();
    let found = cases::run(dir.path()).unwrap_err();
    assert_eq!(found.0.len(), 1, "a context without its facts: {found}");
}
