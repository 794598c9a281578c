//! Whole configurations: the shipped example, ten planted mistakes, and one mistake at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::catalog::{Customer, Target};
use crate::model::{
    BodyKind, Category, CategoryInfo, Client, ClientInfo, ClientKind, Department, DepartmentInfo, Purpose, PurposeInfo, Sensitivity, Term,
};

/// The names of the shipped catalogue, as far as configurations use them.
fn vocabulary() -> Arc<Vocabulary> {
    let mut v = Vocabulary::default();
    for name in ["marketing", "sales", "service", "it", "finance"] {
        v.departments.insert(Department::intern(name), DepartmentInfo { active: true });
    }
    for (name, owner) in [
        ("identity", "it"),
        ("contact", "marketing"),
        ("behaviour", "marketing"),
        ("opportunity", "sales"),
        ("order", "sales"),
        ("case", "service"),
        ("billing", "finance"),
        ("health", "service"),
    ] {
        let info = CategoryInfo {
            owner: Department::intern(owner),
            contributors: Vec::new(),
            sensitivity: Sensitivity::Ordinary,
            parents: Vec::new(),
            ancestors: vec![Category::intern(name)],
            term: Term::default(),
        };
        v.categories.insert(Category::intern(name), info);
    }
    for (name, parent) in [
        ("marketing", None),
        ("marketing.email", Some("marketing")),
        ("sales", None),
        ("sales.outreach", Some("sales")),
        ("service-provision", None),
        ("service-provision.support", Some("service-provision")),
        ("legal-compliance", None),
        ("data-coordination", None),
    ] {
        let parents: Vec<Purpose> = parent.into_iter().map(Purpose::intern).collect();
        let ancestors = std::iter::once(Purpose::intern(name)).chain(parents.clone()).collect();
        v.purposes.insert(Purpose::intern(name), PurposeInfo { channel: None, parents, ancestors, ..PurposeInfo::default() });
    }
    for (name, kind, department, registered) in [
        ("campaign-manager", ClientKind::Application, "marketing", &["marketing"][..]),
        ("crm", ClientKind::Application, "sales", &["sales", "service-provision"]),
        ("helpdesk", ClientKind::Application, "service", &["service-provision"]),
        ("preference-centre", ClientKind::Application, "it", &[]),
        ("mdm-hub", ClientKind::Application, "it", &["data-coordination"]),
        ("ledger", ClientKind::Application, "finance", &["legal-compliance"]),
        ("sales-copilot", ClientKind::Agent, "sales", &["sales"]),
    ] {
        let registered = registered.iter().map(|p| Purpose::intern(p)).collect();
        v.clients.insert(
            Client::intern(name),
            ClientInfo { kind, department: Department::intern(department), registered, agent: None, customers_max: None },
        );
    }
    Arc::new(v)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("apis")).unwrap();
    for folder in [PathBuf::new(), PathBuf::from("apis")] {
        for entry in fs::read_dir(from.join(&folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                fs::copy(&path, to.join(&folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
}

/// The shipped example with the files it names.
pub(super) struct Example {
    dir: tempfile::TempDir,
}

impl Example {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("gw");
        copy(&root().join(".dist"), &home);
        for folder in ["gw/certs", "gw/state", "policies"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for name in ["gw", "admin", "gw-client", "apps-ca", "staff-ca", "internal-ca", "other"] {
            let made = rcgen::generate_simple_self_signed(vec![format!("{name}.internal")]).unwrap();
            fs::write(home.join(format!("certs/{name}.pem")), made.cert.pem()).unwrap();
            fs::write(home.join(format!("certs/{name}.key")), made.signing_key.serialize_pem()).unwrap();
        }
        let log = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        fs::write(home.join("certs/log.key"), log.serialize_pem()).unwrap();
        fs::write(home.join("certs/older.key"), rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem()).unwrap();
        fs::write(home.join("certs/issuer-jwks.json"), "{\"keys\":[]}").unwrap();
        fs::write(home.join("certs/secret"), "api-key-of-the-desk\n").unwrap();
        fs::write(home.join("certs/not-pem"), "this is no certificate").unwrap();
        Self { dir }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("gw").join(name)
    }

    /// Replaces text that stands exactly once in one of the files.
    pub(super) fn replace(&self, name: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "`{old}` must stand once in {name}");
        fs::write(self.file(name), text.replace(old, new)).unwrap();
    }

    /// More at the end of one of the files.
    pub(super) fn append(&self, name: &str, more: &str) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        fs::write(self.file(name), format!("{text}\n{more}")).unwrap();
    }

    pub(super) fn load(&self) -> Result<Config, Findings> {
        load(&self.file("consentry.example.toml"), &|folder| {
            assert!(folder.watched().ends_with("policies"), "{folder:?}");
            Ok(vocabulary())
        })
    }
}

#[test]
fn exports_are_read_and_their_tokens_are_never_shown() {
    let example = Example::new();
    let export = r#"dir = "state/log"
        export = [
            { name = "siem", format = "ocsf", to = "https://siem.example.com/in", token = { file = "certs/secret" } },
            { name = "soc-1", format = "cef", to = "syslog+tls://[::1]", tls = { ca = "certs/internal-ca.pem" } },
            { name = "soc-2", format = "leef", to = "syslog+tls://soc.example.com:443" },
            { name = "loopback", format = "otlp", to = "http://127.0.0.1:4318/v1/logs" },
            { name = "file", format = "ndjson", to = "file:///tmp/decisions.ndjson" },
        ]"#;
    example.replace("consentry.example.toml", "dir = \"state/log\"", export);
    let exports = example.load().unwrap_or_else(|findings| panic!("{findings}")).audit.exports;
    assert_eq!(exports[0].token.as_ref().unwrap(), "Bearer api-key-of-the-desk");
    assert!(!format!("{exports:?}").contains("api-key"), "{exports:?}");
    let to: Vec<&ExportTo> = exports.iter().map(|export| &export.to).collect();
    let syslog = |host: &str, port| ExportTo::Syslog { host: host.to_owned(), port };
    assert_eq!(
        to,
        [
            &ExportTo::Https { url: "https://siem.example.com/in".to_owned(), is_tls: true },
            &syslog("[::1]", 6514),
            &syslog("soc.example.com", 443),
            &ExportTo::Https { url: "http://127.0.0.1:4318/v1/logs".to_owned(), is_tls: false },
            &ExportTo::File("/tmp/decisions.ndjson".into()),
        ]
    );
    example.replace("consentry.example.toml", "format = \"ndjson\"", "format = \"parquet\"");
    let refused = example.load().unwrap_err().to_string();
    assert!(refused.contains("only good as a whole") && refused.contains("audit export --format parquet"), "{refused}");
    example.replace("consentry.example.toml", "format = \"parquet\"", "format = \"ndjson\"");
    // A file inside the log's folder is nobody's but the log's.
    fs::create_dir_all(example.file("state/log")).unwrap();
    let inside = example.file("state/log/events");
    example.replace("consentry.example.toml", "/tmp/decisions.ndjson", inside.to_str().unwrap());
    assert!(example.load().unwrap_err().to_string().contains("the log's folder is the log's alone"));
}

#[test]
fn the_shipped_example_is_right() {
    let example = Example::new();
    let config = example.load().unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(config.gateway.public_url, "https://gw.example.com");
    assert_eq!(config.listeners.len(), 1);
    assert!(matches!(config.listeners[0].client_certificates, ClientCertificates::Require(_)));
    assert_eq!(config.listeners[0].limits, Limits::default());
    assert_eq!(config.admin.as_ref().unwrap().roles.len(), 6);
    assert_eq!(config.clients.len(), 7);
    assert_eq!(config.upstreams.len(), 4);
    assert_eq!(config.upstreams[&crate::model::UpstreamName::intern("cpq")].targets[0].authority(), "cpq.internal:8443");
    assert_eq!(config.catalog.apis.len(), 4);
    assert_eq!(config.catalog.shapes.len(), 4);
    assert_eq!(config.governed_hash.len(), 64);
    assert!(config.policy_compiled);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let names: Vec<String> = config.files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for expected in ["consentry.example.toml", "marketing.toml", "sales.toml", "service.toml", "gw.key", "issuer-jwks.json"] {
        assert!(names.iter().any(|n| n == expected), "{expected} is watched");
    }
    assert!(!format!("{config:?}").contains("PRIVATE KEY"), "no secret is shown");
}

#[test]
fn routes_of_the_example_name_their_customers() {
    let config = Example::new().load().unwrap();
    let found = |method: http::Method, target: &str| config.catalog.find(&method, &Target::parse(target).unwrap()).unwrap();
    let quote = found(http::Method::PATCH, "/sales/Quotes(7)");
    assert!(matches!(&quote.route.customer, Customer::Lookup { route, .. } if route.as_str() == "GET /Quotes({id})"));
    assert_eq!(quote.lookup_target("/v1").as_deref(), Some("/v1/Quotes(7)"));
    let create = found(http::Method::POST, "/crm/sobjects/Contact");
    assert!(matches!(&create.route.customer, Customer::New { matches, .. } if matches.len() == 1));
    let mut invoices = found(http::Method::GET, "/erp/invoices?party=0042");
    assert!(matches!(&invoices.route.customer, Customer::Query { .. }));
    assert!(invoices.judge_query().unwrap().selections.is_empty(), "the customer's parameter is declared by naming it");
    let export = found(http::Method::GET, "/crm/jobs/query/750/results.json");
    assert_eq!(export.route.records_max, Some(10_000));
    let sorted = found(http::Method::GET, "/sales/Quotes?sort=total&name=Ada&page=2").judge_query().unwrap().selections;
    let categories: Vec<&str> = sorted.iter().flat_map(|s| s.categories.iter().map(|c| c.as_str())).collect();
    assert_eq!(categories, ["order", "identity"]);
    let search = found(http::Method::POST, "/desk/tickets/search");
    assert_eq!(search.route.search.as_ref().unwrap().len(), 3);
}

#[test]
fn a_written_body_has_the_types_that_its_route_takes() {
    let example = Example::new();
    let kinds = || {
        let config = example.load().unwrap_or_else(|findings| panic!("{findings}"));
        let found = |method: http::Method, target: &str| config.catalog.find(&method, &Target::parse(target).unwrap()).unwrap();
        let written = found(http::Method::PATCH, "/sales/Quotes(7)").route.request.clone().unwrap().types;
        let deleted = found(http::Method::DELETE, "/desk/tickets/7").route.request.clone().unwrap().types;
        (written.into_iter().map(|t| (t.name, t.kind)).collect::<Vec<_>>(), deleted)
    };
    assert_eq!(kinds(), (vec![("application/json".to_owned(), BodyKind::Json)], Vec::new()));
    let types = "[\"application/vnd.api+json\", \"application/merge-patch+json\", \"application/x-www-form-urlencoded\", \"multipart/form-data\"]";
    example.replace(SALES, "request = { shape = \"quote\" }\n", &format!("request = {{ shape = \"quote\", types = {types} }}\n"));
    let expected = [BodyKind::Json, BodyKind::MergePatch, BodyKind::Form, BodyKind::Multipart];
    assert_eq!(kinds().0.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>(), expected);
}

#[test]
fn a_controller_has_a_name_and_may_have_more() {
    let example = Example::new();
    let read = || example.load().unwrap_or_else(|findings| panic!("{findings}")).consent.controller.unwrap();
    assert_eq!((read().name.as_str(), read().contact.as_deref()), ("Example Ltd", Some("privacy@example.com")));
    let whole = "controller = { name = \"Example Ltd\", address = \"1 Example Street, Exampletown\", contact = \"privacy@example.com\" }";
    example.replace(MAIN, whole, "controller = \"Example Ltd\"");
    assert_eq!(read(), Controller { name: "Example Ltd".to_owned(), address: None, contact: None });
}

#[test]
fn budgets_are_read_from_all_files_and_are_governed() {
    let example = Example::new();
    let before = example.load().unwrap();
    let each = "\n[budget.everybody]\nfor = { each = \"client\", purpose = \"sales\" }\nrequests = \"500/1s\"\ncustomers = \"20000/1d\"\n";
    example.append(SALES, each);
    let config = example.load().unwrap();
    let [.., budget] = config.budgets.as_slice() else { panic!("{:?}", config.budgets) };
    let allowance = |most, seconds| Some(Allowance { most, within: Duration::from_secs(seconds) });
    assert_eq!(("everybody", true, None), (budget.name.as_str(), budget.each_client, budget.client));
    assert_eq!(Some("sales"), budget.purpose.map(|purpose| purpose.as_str()));
    assert_eq!((allowance(500, 1), None, allowance(20_000, 86_400)), (budget.requests, budget.rows, budget.customers));
    assert_ne!(before.governed_hash, config.governed_hash, "another budget is another policy set");
    example.append(MARKETING, each);
    let said = example.load().unwrap_err().to_string();
    assert!(said.contains("budget `everybody` is declared in another file too"), "{said}");
}

#[test]
fn the_governed_hash_sees_rules_and_nothing_else() {
    let example = Example::new();
    let before = example.load().unwrap().governed_hash;
    example.replace("consentry.example.toml", "in_flight_max = 200", "in_flight_max = 100");
    example.replace("apis/sales.toml", "# Governed: quotes (sales) and invoices (finance).", "# another comment");
    example.replace("apis/sales.toml", "ids = \"quote-party\"\ncustomer = \"party\"", "customer   = \"party\"\nids = \"quote-party\"");
    assert_eq!(example.load().unwrap().governed_hash, before);
    example.replace("apis/sales.toml", "\"iban\" = { category = \"billing\", on_deny = \"mask:last4\" }", "\"iban\" = \"billing\"");
    assert_ne!(example.load().unwrap().governed_hash, before);
}

#[test]
fn ten_planted_mistakes_are_ten_findings_each_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("tests/fixtures/ten-mistakes");
    copy(&root().join("tests/fixtures/ten-mistakes"), &home);
    fs::create_dir_all(dir.path().join("policies")).unwrap();
    let findings = load(&home.join("consentry.toml"), &|_| Ok(vocabulary())).unwrap_err();
    let found: Vec<String> = findings
        .0
        .iter()
        .map(|f| {
            format!("{}:{}:{} {}", f.file.strip_prefix(&home).unwrap().display(), f.line, f.column, f.message.replace(&*home.to_string_lossy(), ""))
        })
        .collect();
    let expected = [
        "apis/desk.toml:10:18 unknown category `contacts`",
        "apis/desk.toml:23:9 route `GET /tickets/{number}` is shadowed by `GET /tickets/{id}`",
        "apis/desk.toml:26:1 route `GET /tickets/stats` does not say whose data it returns",
        "consentry.toml:13:27 the file `/no-such.pem` does not exist",
        "consentry.toml:13:48 a secret stands in the file",
        "consentry.toml:15:31 unknown key `header_timout` in `limits`",
        "consentry.toml:19:77 client `helpdesk` is not registered for purpose `marketing.email`",
        "consentry.toml:31:23 the environment variable `CONSENTRY_TEST_NEVER_SET` is not set",
        "consentry.toml:35:24 this is not a duration",
        "consentry.toml:36:1 `via` is not available in this version",
    ];
    assert_eq!(found, expected, "\n{findings}");
    let shown = findings.to_string();
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("did you mean `contact`?") && shown.contains("did you mean `header_timeout`?"), "{shown}");
    assert!(shown.contains("   26 | [[api.route]]\n      | ^^^^^^^^^^^^^ add `customer"), "{shown}");
}

/// One mistake each: (file, text, what stands there instead, what is said).
const MAIN: &str = "consentry.example.toml";
pub(super) const MARKETING: &str = "apis/marketing.toml";
pub(super) const SALES: &str = "apis/sales.toml";
const SERVICE: &str = "apis/service.toml";
pub(super) const SINGLE: &[(&str, &str, &str, &str)] = &[
    // the file
    (MAIN, "version = 1\n", "version = 2\n", "version 2 of this file is not known"),
    (MAIN, "version = 1\n", "version = \"1\"\n", "expected a number, found a string"),
    (MAIN, "include = [\"apis/*.toml\"]", "include = [\"apis/*.toml\", \"more/*.toml\"]", "no file matches `more/*.toml`"),
    (MAIN, "[health] ", "[helth] ", "unknown key `helth` in the file"),
    (MAIN, "[health] ", "[budget]\nrows = 5\n[health] ", "expected a table, found a number"),
    (MAIN, "[health] ", "[budget.b]\nfor = { client = \"crm\" }\n[health] ", "budget `b` bounds nothing"),
    (MAIN, "[health] ", "[budget.b]\nrows = \"5/1h\"\n[health] ", "`for` is missing in `[budget.b]`"),
    (MAIN, "[health] ", "[budget.b]\nfor = {}\nrows = \"5/1h\"\n[health] ", "nobody is named"),
    (MAIN, "[health] ", "[budget.b]\nfor = { client = \"crn\" }\nrows = \"5/1h\"\n[health] ", "unknown client `crn`"),
    (MAIN, "[health] ", "[budget.b]\nfor = { api = \"crn\" }\nrows = \"5/1h\"\n[health] ", "unknown api `crn`"),
    (MAIN, "[health] ", "[budget.b]\nfor = { purpose = \"crn\" }\nrows = \"5/1h\"\n[health] ", "unknown purpose `crn`"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"app\" }\nrows = \"5/1h\"\n[health] ", "unknown each `app`"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"client\" }\nrow = \"5/1h\"\nrows = \"5/1h\"\n[health] ", "unknown key `row`"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"client\" }\nrows = \"5 per hour\"\n[health] ", "this is not a number in a time"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"client\" }\nrows = \"+5/1h\"\n[health] ", "this is not a number in a time"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"client\" }\nrows = \"0/1h\"\n[health] ", "expected a number from 1 to"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"client\" }\ncustomers = \"100001/1h\"\n[health] ", "expected a number from 1 to 100000"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"client\" }\nrows = \"5/32d\"\n[health] ", "expected a time from 1s to 31d"),
    (MAIN, "[health] ", "[budget.b]\nfor = { each = \"client\" }\nrows = \"5/500ms\"\n[health] ", "expected a time from 1s to 31d"),
    (SERVICE, "[shape.ticket]\n", "[admin]\n[shape.ticket]\n", "unknown key `admin` in the file"),
    (SERVICE, "several = \"each\" ", "several = ", "this is not TOML"),
    (SERVICE, "several = \"each\" ", "several = \"each\"\nseveral = \"all\" ", "this is not TOML: duplicate key"),
    // telemetry
    (MAIN, "# [telemetry]  ", "[telemetry]\nsampling = 1\notlp = { url = \"https://a\" } #", "unknown key `sampling`"),
    (MAIN, "# [telemetry]  ", "[telemetry]\notlp = { url = \"https://a\", one_in = 0 } #", "expected a number from 1 to 1000000"),
    (MAIN, "# [telemetry]  ", "[telemetry]\notlp = { url = \"http://collector\" } #", "spans would be sent in the clear"),
    (
        MAIN,
        "# [telemetry]  ",
        "[telemetry]\notlp = { url = \"http://127.0.0.1:4318\", tls = { roots = \"system\" } } #",
        "`tls` stands beside an `http://` address",
    ),
    // webhooks
    (MAIN, "hosts = [\"hooks.crm.example.com\", \"hooks.internal:8443\"]", "hosts = []", "no host stands there"),
    (MAIN, "hosts = [\"hooks.crm.example.com\", \"hooks.internal:8443\"]", "host = \"a\"\nhosts = [\"a\"]", "unknown key `host`"),
    (MAIN, "\"hooks.internal:8443\"", "\"https://hooks.internal\"", "this is not a host"),
    (MAIN, "\"hooks.internal:8443\"", "\"hooks.internal/path\"", "this is not a host"),
    (MAIN, "\"hooks.internal:8443\"", "\"*.internal\"", "this is not a host"),
    (MAIN, "\"hooks.internal:8443\"", "\"hooks.internal:0\"", "this is not a host"),
    (MAIN, "\"hooks.internal:8443\"", "\"me@hooks.internal\"", "this is not a host"),
    // gateway and listeners
    (MAIN, "environment = \"production\"", "# none", "`environment` is missing in `[gateway]`"),
    (MAIN, "environment = \"production\"", "environment = \"prod\"", "unknown environment `prod`"),
    (MAIN, "public_url = \"https://gw.example.com\"", "public_url = \"gw.example.com\"", "this is not a URL"),
    (MAIN, "public_url = \"https://gw.example.com\"", "public_url = \"https://me@gw.example.com\"", "this is not a URL"),
    (MAIN, "address = \"[::]:8443\"", "address = \"8443\"", "this is not an address"),
    (MAIN, "address = \"[::]:8443\"", "address = \"[::]:8445\"", "another listener has the address `[::]:8445`"),
    (MAIN, "header_timeout = \"10s\"", "header_timeout = \"0s\"", "this is not a duration"),
    (MAIN, "header_timeout = \"10s\"", "header_timeout = 10", "expected a string, found a number"),
    (MAIN, "headers = \"64KiB\"", "headers = \"64KB\"", "this is not a size"),
    (MAIN, "streams = 100", "streams = 0", "expected a number from 1 to 10000"),
    (MAIN, "idle_timeout = \"75s\"", "idle_timeout = \"75\"", "this is not a duration"),
    (MAIN, "send_timeout = \"60s\"", "send_timeout = \"0s\"", "this is not a duration"),
    (MAIN, "connections = 10000", "connections = 0", "expected a number from 1 to 1000000"),
    (MAIN, "connections_per_ip = 256", "connections_per_ip = 2000000", "expected a number from 1 to 1000000"),
    (MAIN, "# proxy_protocol = { from = [\"10.0.0.0/8\"] }", "proxy_protocol = { from = [] }", "nobody could connect"),
    (MAIN, "# proxy_protocol = { from = [\"10.0.0.0/8\"] }", "proxy_protocol = { from = [\"10.0.0.1/8\"] }", "`10.0.0.1/8` is no network"),
    (MAIN, "# proxy_protocol = { from = [\"10.0.0.0/8\"] }", "proxy_protocol = { from = [\"2001:db8::/129\"] }", "`2001:db8::/129` is no network"),
    (MAIN, "# proxy_protocol = { from = [\"10.0.0.0/8\"] }", "proxy_protocol = { from = [\"balancer\"] }", "`balancer` is no network"),
    (MAIN, "# proxy_protocol = { from = [\"10.0.0.0/8\"] }", "proxy_protocol = {}", "`from` is missing"),
    (MAIN, "{ mode = \"require\", ca = \"certs/apps-ca.pem\" }", "{ mode = \"require\" }", "`ca` is missing"),
    (MAIN, "{ mode = \"require\", ca = \"certs/apps-ca.pem\" }", "{ mode = \"maybe\", ca = \"certs/apps-ca.pem\" }", "unknown mode `maybe`"),
    (
        MAIN,
        "certificates = [{ chain = \"certs/admin.pem\", key = { file = \"certs/admin.key\" } }]",
        "certificates = []",
        "at least one certificate is needed",
    ),
    // certificates and secrets
    (MAIN, "{ chain = \"certs/admin.pem\"", "{ chain = \"certs/other.pem\"", "does not belong to the key"),
    (MAIN, "{ chain = \"certs/admin.pem\"", "{ chain = \"certs/not-pem\"", "no certificate stands in this file"),
    (MAIN, "key = { file = \"certs/admin.key\" }", "key = { file = \"certs/admin.pem\" }", "no private key stands there"),
    (
        MAIN,
        "key = { file = \"certs/admin.key\" }",
        "key = { env = \"CONSENTRY_TEST_NEVER_SET\" }",
        "the environment variable `CONSENTRY_TEST_NEVER_SET` is not set",
    ),
    (MAIN, "key = { file = \"certs/admin.key\" }", "key = { file = \"certs/admin.key\", env = \"X\" }", "either `file` or `env`"),
    (MAIN, "name = \"Example Ltd\", ", "", "`name` is missing in `controller`"),
    (MAIN, "name = \"Example Ltd\", ", "name = \"\", ", "this must not be empty"),
    (MAIN, "name = \"Example Ltd\", ", "name = \"Example Ltd\", fax = \"1\", ", "unknown key `fax` in `controller`"),
    (MAIN, "\ncontact = \"privacy@example.com\"", "\ncontact = 1", "expected a string, found a number"),
    (MAIN, "signing_key = { file = \"certs/log.key\" }", "signing_key = { file = \"certs/secret\" }", "this is not an Ed25519 key"),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nprevious_key = { file = \"certs/secret\" }\nsecrets_key = { file = \"certs/log.key\" }",
        "this is not an Ed25519 key",
    ),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nsecrets_key = { file = \"certs/secret\" }", "this is not an Ed25519 key"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nsecrets_key = \"abc\"", "a secret stands in the file"),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nprevious_key = { file = \"certs/log.key\" }\nsecrets_key = { file = \"certs/log.key\" }",
        "this is `signing_key` itself",
    ),
    (
        MAIN,
        "signing_key = { file = \"certs/log.key\" }",
        "signing_key = { file = \"certs/log.key\" }\nprevious_key = { file = \"certs/older.key\" }",
        "`previous_key` needs `secrets_key`",
    ),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nprevious_keys = []", "unknown key `previous_keys`"),
    (MAIN, "credentials = \"forward\"", "credentials = \"Bearer abc\"", "a secret stands in the file"),
    (MAIN, "credentials = \"forward\"", "credentials = { oauth2 = { token_url = \"x\" } }", "`oauth2` is not available in this version"),
    (
        MAIN,
        "credentials = \"forward\"",
        "credentials = { header = { name = \"x y\", value = { file = \"certs/secret\" } } }",
        "this is not a header name",
    ),
    // admin
    (MAIN, "operator        = [", "operators       = [", "unknown role `operators`"),
    (MAIN, "group = \"governance-board\"", "group = \"governance-board\", app = \"crm\"", "unknown key `app`"),
    (
        MAIN,
        "policy-approver = [{ issuer = \"corp\", group = \"governance-board\" }]",
        "policy-approver = [{ certificate = \"spiffe://example.com/staff/policy-author\" }]",
        "`policy-author` and `policy-approver`",
    ),
    (MAIN, "{ issuer = \"corp\", group = \"privacy-office\" }", "{ issuer = \"corpo\", group = \"privacy-office\" }", "unknown issuer `corpo`"),
    (MAIN, "{ issuer = \"corp\", group = \"privacy-office\" }", "{ group = \"privacy-office\" }", "a role is held by"),
    (MAIN, ", app = \"crm\" }]", " }]", "`app` is missing"),
    (MAIN, ", app = \"crm\" }]", ", app = \"crn\" }]", "unknown client `crn`"),
    // public
    (MAIN, "base_url = \"https://consent.example.com\"", "# none", "`base_url` is missing in `[public]`"),
    (MAIN, "base_url = \"https://consent.example.com\"", "base_url = \"http://consent.example.com\"", "links would lead to a page without TLS"),
    (MAIN, "base_url = \"https://consent.example.com\"", "base_url = \"https://consent.example.com/?a=b\"", "this is not a URL"),
    (MAIN, "\ncontact = \"privacy@example.com\"", "\n# none", "`contact` is missing in `[public]`"),
    (MAIN, "\ncontact = \"privacy@example.com\"", "\ncontact = \"\"", "this must not be empty"),
    (MAIN, "[admin.roles]", "break_glass_max = \"25h\"\n[admin.roles]", "an emergency is over within a day"),
    (MAIN, "[admin.roles]", "break_glass_max = 4\n[admin.roles]", "expected a string, found a number"),
    (MAIN, "link_days_max = 400", "link_days_max = 401", "expected a number from 1 to 400"),
    (MAIN, "link_days_max = 400", "link_days_max = 0", "expected a number from 1 to 400"),
    (MAIN, "link_days_max = 400", "client_ca = \"certs/apps-ca.pem\"", "unknown key `client_ca` in `[public]`"),
    (MAIN, "\"sales.outreach\" = {", "\"sales.outreech\" = {", "unknown purpose `sales.outreech`"),
    (MAIN, ", da = \"tilbud fra vores salgsafdeling\"", "", "`da` is missing in purpose `sales.outreach`"),
    // who calls
    (MAIN, "keys = { file = \"certs/issuer-jwks.json\" }", "keys = \"discover\"", "unknown source of keys `discover`"),
    (
        MAIN,
        "keys = { file = \"certs/issuer-jwks.json\" }",
        "keys = { url = \"http://login.example.com/keys\" }",
        "keys would come over a line without TLS",
    ),
    (MAIN, "keys = { file = \"certs/issuer-jwks.json\" }", "keys = { file = \"jwks.json\" }", "does not exist"),
    (MAIN, "\"ES256\", \"RS256\"", "\"ES256\", \"HS256\"", "unknown algorithm `HS256`"),
    (MAIN, "sender_constraint = \"mtls\"", "sender_constraint = \"DPoP\"", "unknown sender constraint `DPoP`"),
    (MAIN, "sender_constraint = \"mtls\"", "# none", "`sender_constraint` is missing"),
    (MAIN, "ledger            = {", "legder            = {", "unknown client `legder`"),
    (MAIN, "{ certificate = \"spiffe://example.com/app/ledger\" }", "{ }", "client `ledger` has no credential"),
    (MAIN, "\"spiffe://example.com/app/ledger\"", "\"spiffe://example.com/app/mdm-hub\"", "client `mdm-hub` has the same certificate"),
    (MAIN, "client = \"sales-copilot\" }", "client = \"crm\" }", "has the same token"),
    (MAIN, "{ kind = \"agent\", ", "{ kind = \"application\", ", "the catalogue declares `sales-copilot` as an agent"),
    (MAIN, "purposes = [\"service-provision.support\"]", "purposes = [\"sales\"]", "client `helpdesk` is not registered for purpose `sales`"),
    (MAIN, "purposes = [\"service-provision.support\"]", "purposes = [\"support\"]", "unknown purpose `support`"),
    // truth and evidence
    (MAIN, "unsigned = true ", "# none ", "`unsigned` is missing"),
    (MAIN, "unsigned = true ", "unsigned = false ", "a folder is never signed"),
    (MAIN, "folder = \"../policies\"\nunsigned = true ", "bundle = \"consentry.example.toml\" ", "`allowed_signers` is missing"),
    (
        MAIN,
        "folder = \"../policies\"\nunsigned = true ",
        "bundle = \"no.bundle\"\nallowed_signers = \"consentry.example.toml\" ",
        "no.bundle` does not exist",
    ),
    (
        MAIN,
        "unsigned = true ",
        "bundle = \"consentry.example.toml\"\nallowed_signers = \"consentry.example.toml\" ",
        "`bundle` and `folder` exclude each other",
    ),
    (MAIN, "unsigned = true ", "unsigned = true\nallowed_signers = \"x\" ", "`allowed_signers` is for a signed bundle"),
    (MAIN, "unsigned = true ", "unsigned = true\ndepartments_min = 2 ", "`departments_min` is for a signed bundle"),
    (MAIN, "folder = \"../policies\"", "folder = \"policies\"", "does not exist"),
    (MAIN, "unsigned = true ", "unsigned = true\ncompiled = \"no\" ", "expected true or false"),
    (MAIN, "unsigned = true ", "unsigned = true\ncompile = false ", "unknown key `compile`"),
    (MAIN, "store = { sqlite = \"state/consent.db\" }", "store = { sqlite = \"nowhere/consent.db\" }", "the folder `"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = \"fast\"", "unknown mode"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = {}", "`bounded` is missing"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = { bounded = { max_ms = 5 } }", "`max_records` is missing"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = { bounded = { max_records = 5 } }", "`max_ms` is missing"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = { bounded = { max_ms = 5, max_records = 5, sync = 1 } }", "unknown key `sync`"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = { bounded = { max_ms = 2000, max_records = 5 } }", "expected a number from 1 to 1000"),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = { bounded = { max_ms = 5, max_records = 0 } }", "expected a number from 1 to 100000"),
    (MAIN, "permit = \"12 months\"", "permit = \"12m\"", "`12m` is not a period"),
    (MAIN, "permit = \"12 months\"", "permit = \"0 days\"", "`0 days` is not a period"),
    (MAIN, "deny = \"36 months\"", "deny = \"200 years\"", "`200 years` is over a hundred years"),
    (MAIN, "deny = \"36 months\"", "denies = \"1 year\"", "unknown key `denies` in `retention`"),
    (
        MAIN,
        "retention = { permit = \"12 months\", deny = \"36 months\", admin = \"36 months\", break-glass = \"36 months\" }",
        "retention = \"1 year\"",
        "expected a table, found a string",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nwitnesses = [{ url = \"http://w.example.com\", key = \"consentry.example.toml\" }]",
        "a witness is asked in the clear",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nwitnesses = [{ url = \"https://w.example.com\", key = \"no.vkey\" }]",
        "no.vkey` does not exist",
    ),
    (MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"ocsf\" }]", "`to` is missing"),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"ocsf\", to = \"https://s.example.com\", batch = 7 }]",
        "unknown key `batch`",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"syslog\", to = \"https://s.example.com\" }]",
        "unknown format `syslog`",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"http://s.example.com/in\" }]",
        "the log would be sent in the clear",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"syslog://s.example.com\" }]",
        "an export goes nowhere like that",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"stdout\" }]",
        "an export goes nowhere like that",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"syslog+tls://s.example.com/x\" }]",
        "this is not a syslog receiver",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"otlp\", to = \"syslog+tls://s.example.com\" }]",
        "OTLP is not for syslog",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"syslog+tls://s.example.com\", token = { file = \"certs/secret\" } }]",
        "syslog takes no `token`",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"file://siem.cef\" }]",
        "this is not a file",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"file:///nonexistent/siem.cef\" }]",
        "the folder of `/nonexistent/siem.cef` does not exist",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"cef\", to = \"file:///tmp/siem.cef\", tls = {} }]",
        "a file takes no `tls`",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"ocsf\", to = \"https://s.example.com\", token = \"hunter2\" }]",
        "a secret stands in the file",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"SIEM 1\", format = \"ocsf\", to = \"https://s.example.com\" }]",
        "this is not a name for an export",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"ocsf\", to = \"https://s.example.com\" }, { name = \"siem\", format = \"cef\", to = \"https://t.example.com\" }]",
        "two exports have the name `siem`",
    ),
    (
        MAIN,
        "dir = \"state/log\"",
        "dir = \"state/log\"\nexport = [{ name = \"siem\", format = \"ocsf\", to = \"http://127.0.0.1:9/in\", tls = {} }]",
        "`tls` stands beside an `http://` address",
    ),
    // upstreams
    (MAIN, "\"https://cpq.internal:8443\"", "\"http://cpq-1.internal\", \"http://cpq-2.internal\"", "`tls` stands beside an `http://` target"),
    (MAIN, "\"https://cpq.internal:8443\"", "\"https://cpq.internal\", \"https://cpq.internal:443\"", "this target stands there twice"),
    (MAIN, "[\"https://cpq.internal:8443\"]", "[\"https://a.internal\", \"http://b.internal\"]", "stand beside each other"),
    (MAIN, "[upstream.tickets]\n", "[upstream.tickets]\nhealth = { every = \"5s\" }\n", "`path` is missing in `health`"),
    (MAIN, "[upstream.tickets]\n", "[upstream.tickets]\nhealth = { path = \"/h\", every = \"50ms\" }\n", "every 100ms at most"),
    (MAIN, "[upstream.tickets]\n", "[upstream.tickets]\nhealth = { path = \"/h/{id}\" }\n", "this path cannot hold parameters"),
    (MAIN, "[upstream.tickets]\n", "[upstream.tickets]\nejection = { first = \"10m\" }\n", "`first` is longer than `longest`"),
    (MAIN, "[upstream.tickets]\n", "[upstream.tickets]\nejection = { failure = 3 }\n", "unknown key `failure` in `ejection`"),
    (MAIN, "\"https://cpq.internal:8443\"", "\"https://cpq.internal:8443/v1\"", "an upstream address has no path"),
    (MAIN, "\"https://cpq.internal:8443\"", "\"https://cpq.internal:99999\"", "this is not a URL"),
    (MAIN, "\"https://cpq.internal:8443\"", "\"http://cpq.internal:8443\"", "`tls` stands beside an `http://` target"),
    (MAIN, "base_path = \"/services/data/v62.0\"", "base_path = \"/services/../data\"", "could never match"),
    (
        MAIN,
        "tls = { roots = \"system\" }",
        "tls = { roots = \"system\", ca = \"certs/internal-ca.pem\" }",
        "`ca` and `roots` stand beside each other",
    ),
    (MAIN, "[upstream.erp]", "[upstream.epr]", "unknown upstream `erp`"),
    (MAIN, "accept_encoding = \"gzip\"", "accept_encoding = \"br\"", "unknown coding `br`"),
    (MAIN, "accept_encoding = \"gzip\"", "accept_encoding = true", "expected a string"),
    (MAIN, "decode_ratio_max = 100", "decode_ratio_max = 0", "expected a number from 1 to 10000"),
    (MAIN, "decode_ratio_max = 100", "decode_ratio = 5", "unknown key `decode_ratio`"),
    // what comes back
    (SALES, "response = { rows = \"value[]\", ", "response = { withheld_as = \"value\", rows = \"value[]\", ", "`value[]` may have the name"),
    (SALES, "response = { rows = \"value[]\", ", "response = { withheld_as = \"@odata.count\", rows = \"value[]\", ", "may have the name"),
    (SALES, "response = { rows = \"value[]\", ", "response = { withheld_as = \"a b\", rows = \"value[]\", ", "this is not the name of a member"),
    (SALES, "response = { rows = \"value[]\", ", "response = { withheld_as = \"w\", rows = \"[]\", ", "this body is a list, which has no members"),
    (SALES, "response = { shape = \"quote\" } ", "response = { shape = \"quote\", withheld_as = \"lines\" } ", "`lines[].sku` may have the name"),
    // id spaces and shapes
    (SALES, "grammar = \"0*[1-9][0-9]{0,9}\"", "grammar = \"0*[1-9\"", "this grammar cannot be read"),
    (SALES, "normalise = [\"trim-zeros\"]", "normalise = [\"trim\"]", "unknown step `trim`"),
    (SALES, "ids = \"quote-party\"\ncustomer = \"party\"", "ids = \"quote-pary\"\ncustomer = \"party\"", "unknown id space `quote-pary`"),
    (SALES, "ids = \"quote-party\"\ncustomer = \"party\"", "customer = \"party\"", "have no id space"),
    (SALES, "customer = \"party\"", "customer = \"party.**\"", "an id stands at one path"),
    (SALES, "\"number\" = \"billing\"", "\"number\" = \"?\"", "the category is still open"),
    (SALES, "\"number\" = \"billing\"", "\"number\" = \"biling\"", "unknown category `biling`"),
    (SALES, "\"number\" = \"billing\"", "\"a..b\" = \"billing\"", "a member name is missing"),
    (SALES, "on_deny = \"mask:last4\"", "on_deny = \"hash\"", "unknown form `hash`"),
    (SALES, "needs = [\"order\"]", "needs = [\"health\"]", "no field of shape `quote` is `health`"),
    (SALES, "\"customer.name\" = \"identity\"", "\"status\" = \"identity\"\n\"customer.name\" = \"identity\"", "`status` is declared twice"),
    (SALES, "{ embed = \"contact\" }", "{ embed = \"contcat\" }", "unknown shape `contcat`"),
    (SALES, "{ embed = \"contact\" }", "{ embed = \"quote\" }", "shape `quote` embeds itself by way of `quote`"),
    (
        SALES,
        "customer = \"customer.number\"",
        "several = \"each\"\ncustomer = [\"customer.number\", \"endCustomer.Owner.Id\"]",
        "shape `quote` looks for a customer at `endCustomer.Owner.Id`, where `contact` stands",
    ),
    (SALES, "endCustomer\" = { embed = \"contact\" }", "endCustomer.**\" = { embed = \"contact\" }", "an embedded customer stands at one path"),
    (SERVICE, "open = [\"id\", \"state\"]", "open = [\"id\", \"state\"]\nlinks = [\"_links.\"]", "a member name is missing"),
    (SERVICE, "open = [\"id\", \"state\"]", "open = [\"id\", \"state\"]\nlinks = [\"subject\"]", "`subject` is declared twice"),
    (SERVICE, "[shape.ticket]\n", "[shape.invoice]\nfields = {}\n[shape.ticket]\n", "shape `invoice` is declared in another file too"),
    // apis
    (SALES, "name = \"erp\"", "name = \"cpq\"", "two apis have the name `cpq`"),
    (SALES, "owner = \"finance\"", "owner = \"finances\"", "unknown department `finances`"),
    (SALES, "at = \"https://gw.example.com/erp\"", "at = \"https://gw.example.com/sales/erp\"", "lie within each other"),
    (SALES, "at = \"https://gw.example.com/erp\"", "at = \"/erp/{tenant}\"", "cannot hold parameters"),
    (
        SALES,
        "purpose = { fixed = \"legal-compliance\" }",
        "purpose = { default = \"legal-compliance\", fixed = \"legal-compliance\" }",
        "there is no `default` purpose",
    ),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "purpose = { fixed = \"legal\" }", "unknown purpose `legal`"),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "dialect = \"odata4\"", "unknown dialect `odata4`"),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "mode = \"report\"", "report mode needs an end, a reason and an approval"),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "mode = \"learn\"", "unknown mode `learn`"),
    (
        SALES,
        "purpose = { fixed = \"legal-compliance\" }",
        "report = { until = 2026-09-30, reason = \"x\", approved = \"y\" }",
        "`report` says nothing while the API is enforced",
    ),
    (
        SALES,
        "purpose = { fixed = \"legal-compliance\" }",
        "mode = \"report\"\nreport = { until = 2026-09-30, approved = \"y\" }",
        "`reason` is missing",
    ),
    (
        SALES,
        "purpose = { fixed = \"legal-compliance\" }",
        "mode = \"report\"\nreport = { until = 2026-09-30, reason = \"x\" }",
        "`approved` is missing",
    ),
    (
        SALES,
        "purpose = { fixed = \"legal-compliance\" }",
        "mode = \"report\"\nreport = { until = \"2026-09-30\", reason = \"x\", approved = \"y\" }",
        "this is not a date",
    ),
    (
        SALES,
        "purpose = { fixed = \"legal-compliance\" }",
        "mode = \"report\"\nreport = { until = 2026-09-30T10:00:00, reason = \"x\", approved = \"y\" }",
        "this is not a day",
    ),
    (
        SALES,
        "purpose = { fixed = \"legal-compliance\" }",
        "mode = \"report\"\nreport = { until = 2026-09-30, reason = \"x\", approved = \"y\", customers = 5 }",
        "unknown key `customers`",
    ),
    (SALES, "match = \"GET /invoices\"", "match = \"GET /invoices\"\nmode = \"report\"", "`mode` is not available in this version"),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "openapi = { file = \"none.yaml\", use = \"drift\" }", "none.yaml` does not exist"),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "openapi = { file = \"sales.toml\", use = \"drift\" }", "cannot be used: "),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "openapi = { file = \"sales.toml\", use = \"import\" }", "unknown use `import`"),
    (SALES, "purpose = { fixed = \"legal-compliance\" }", "openapi = { file = \"sales.toml\" }", "`use` is missing"),
    // what a draft leaves open
    (SALES, "shape = \"invoice\" }", "shape = \"?\" }", "the shape is still open"),
    (SALES, "customer = \"query:party\"", "customer = \"?\"", "the customer is still open"),
    (SALES, "ids = \"quote-party\"\ncustomer = \"party\"", "ids = \"quote-party\"\ncustomer = \"?\"", "the path is still open"),
    (SALES, "ids = \"quote-party\"\ncustomer = \"party\"", "ids = \"?\"\ncustomer = \"party\"", "the id space is still open"),
    (SALES, "name = [\"customer.name\"]", "name = \"?\"", "how this parameter is judged is still open"),
    (SALES, "name = [\"customer.name\"]", "name = { grammar = \"[a-z]+\", fields = [\"?\"] }", "the path is still open"),
    (
        SERVICE,
        "{ fixed = \"service-provision.support\" }",
        "{ fixed = \"service-provision.support\", case = \"path:id\" }",
        "`case` is not available in this version",
    ),
    (MARKETING, "\"accept-language\", \"content-type\"", "\"accept-language\", \"If-None-Match\"", "the header `if-none-match` cannot be passed on"),
    (
        MARKETING,
        "\"accept-language\", \"content-type\"",
        "\"accept-language\", \"X-Original-URI\"",
        "the header `x-original-uri` cannot be passed on",
    ),
    (MARKETING, "\"content-language\", \"sforce-limit-info\"", "\"set-cookie\"", "the header `set-cookie` cannot be passed on"),
    // routes
    (SALES, "match = \"GET /invoices\"", "match = \"get /invoices\"", "unknown method `get`"),
    (SALES, "match = \"GET /invoices\"", "match = \"/invoices\"", "this is not a method and a path"),
    (SALES, "match = \"GET /invoices\"", "match = \"GET /a//b\"", "could never match"),
    (SALES, "match = \"GET /invoices\"", "match = \"GET /{a}{b}\"", "one `{parameter}`"),
    (SALES, "match = \"GET /Quotes\"\n", "match = \"GET /Quotes({key})\"\n", "route `GET /Quotes({id})` is shadowed by `GET /Quotes({key})`"),
    (SALES, "match = \"GET /invoices\"", "match = \"GET /invoices\"\nwhen = {}", "routes are told apart by one member"),
    (SALES, "match = \"GET /invoices\"", "match = \"GET /invoices\"\naction = \"delete\"", "`GET` cannot be judged as `delete`"),
    (SALES, "match = \"PATCH /Quotes({id})\"", "match = \"PATCH /Quotes({id})\"\naction = \"read\"", "`PATCH` cannot be judged as `read`"),
    (SALES, "customer = \"query:party\"", "customer = \"cookie:party\"", "unknown source `cookie`"),
    (SALES, "customer = \"query:party\"", "customer = \"path:party\"", "unknown path parameter `party`"),
    (SALES, "customer = \"query:party\"", "customer = \"header:cookie\"", "the header `cookie` cannot name a customer"),
    (SALES, "customer = \"query:party\"", "customer = \"none\"\ndepartments = [\"sales\"]", "says its content types"),
    (SALES, "customer = \"query:party\"", "customer = \"query:party\"\ndepartments = [\"selling\"]", "unknown department `selling`"),
    (SALES, "customer = \"query:party\"", "customer = \"query:party\"\ndepartments = []", "nobody could call"),
    (SALES, "shape = \"invoice\" }", "shape = \"invoices\" }", "unknown shape `invoices`"),
    (
        SALES,
        "response = { shape = \"quote\" }               #",
        "response = { shape = \"quote\", subject = \"request\" }  #",
        "the request names nobody",
    ),
    (SALES, "rows = \"invoices[]\"", "rows = \"invoices\"", "`rows` does not name a list"),
    (SALES, "rows = \"invoices[]\"", "stream = \"sse\", rows = \"invoices[]\"", "a stream has a `shape`, which its records have, and neither"),
    (SALES, "rows = \"invoices[]\"", "stream = \"sse\", events = [\"a b\"]", "this is not a name of events"),
    (SALES, "rows = \"invoices[]\"", "stream = \"ndjson\", events = [\"paid\"]", "this belongs to `stream = \"sse\"`"),
    (SALES, "rows = \"invoices[]\"", "stream = \"websocket\"", "unknown stream"),
    (SALES, "rows = \"invoices[]\"", "error = {}, rows = \"invoices[]\"", "does not say what of an error body goes on"),
    (SALES, "rows = \"invoices[]\"", "error = \"empty\", rows = \"invoices[]\"", "expected a table"),
    (SALES, "rows = \"invoices[]\"", "error = { open = [] }, rows = \"invoices[]\"", "no member of the error body is named"),
    (SALES, "rows = \"invoices[]\"", "error = { shape = \"invoices\" }, rows = \"invoices[]\"", "unknown shape `invoices`"),
    (
        SALES,
        "rows = \"invoices[]\"",
        "error = { shape = \"invoice\", open = [\"code\"] }, rows = \"invoices[]\"",
        "does not say what of an error body",
    ),
    (SALES, "rows = \"invoices[]\"", "error = { open = [\"code\"], rows = \"e[]\" }, rows = \"invoices[]\"", "unknown key `rows` in `error`"),
    (
        SALES,
        "response = { shape = \"quote\" }               #",
        "response = { shape = \"quote\", error = { shape = \"quote\", subject = \"request\" } } #",
        "`subject = \"request\"` in `error`, but the request names nobody",
    ),
    (SALES, "rows = \"invoices[]\"", "empty = true, rows = \"invoices[]\"", "`empty` stands beside what comes back"),
    (MARKETING, "response = { open = [\"id\", \"success\"] }", "response = { empty = true, open = [\"id\"] }", "`empty` stands beside `open`"),
    (MARKETING, "response = \"empty\" ", "response = { empty = false } ", "`empty = false` does not say what comes back"),
    (
        MARKETING,
        "content_types = [\"application/json\"]",
        "error = { open = [\"code\"] }, content_types = [\"application/json\"]",
        "`error` stands beside `content_types`",
    ),
    (MARKETING, "cache = \"1h\"", "cache = \"48h\"", "this cannot be kept so long"),
    (MARKETING, "cache = \"1h\"", "cache = \"500ms\"", "this cannot be kept so long"),
    (MARKETING, "cache = \"1h\"", "cache = true", "expected a string"),
    (SALES, "match = \"GET /invoices\"", "match = \"GET /invoices\"\ncache = \"1h\"", "`cache` stands on a route about customers"),
    (MARKETING, "\"sforce-limit-info\"", "\"etag\"", "the header `etag` cannot be passed on"),
    (MARKETING, "\"sforce-limit-info\"", "\"Set-Cookie\"", "the header `set-cookie` cannot be passed on"),
    (MARKETING, "\"sforce-limit-info\"", "\"content-disposition\"", "may name a file after a customer"),
    (MARKETING, "\"sforce-limit-info\"", "\"transfer-encoding\"", "it speaks for one connection only"),
    (MARKETING, "\"sforce-limit-info\"", "\"access-control-allow-origin\"", "pages of other origins get no data"),
    (MARKETING, "\"sforce-limit-info\"", "\"consentry-decision\"", "the gateway sets it itself"),
    (MARKETING, "etag = \"sealed\"", "etag = \"strong\"", "unknown etag `strong`"),
    (MARKETING, "etag = \"sealed\"", "etag = true", "expected a string"),
    (MARKETING, "compress = false", "compress = \"gzip\"", "expected true or false"),
    (SALES, "rows = \"invoices[]\"", "raws = \"invoices[]\"", "unknown key `raws` in `response`"),
    (SALES, "ids = \"quote-party\"\ncustomer = \"party\"", "ids = \"quote-party\"", "the shape `invoice` does not say whose row it is"),
    (SALES, "lookup = \"GET /Quotes({id})\"", "customer = \"query:id\"", "a write names its customer by `path:` or `lookup`"),
    (SALES, "lookup = \"GET /Quotes({id})\"", "customer = \"request:customer.number\"", "proves nothing about the record written"),
    (SALES, "lookup = \"GET /Quotes({id})\"", "# none", "route `PATCH /Quotes({id})` does not say whose data it writes"),
    (SALES, "lookup = \"GET /Quotes({id})\"", "lookup = \"GET /Quotes({key})\"", "unknown route `GET /Quotes({key})`"),
    (SALES, "lookup = \"GET /Quotes({id})\"", "lookup = \"GET /Quotes\"", "does not say whose object it answers"),
    (SALES, "customer = \"customer.number\"", "customer = [\"customer.number\", \"id\"]", "answers an object of several customers"),
    (SALES, "lookup = \"GET /Quotes({id})\"", "lookup = \"GET /Quotes({id})\"\ncustomer = \"path:id\"", "`lookup` stands beside `customer`"),
    (SALES, "request = { shape = \"quote\" }\n", "", "does not say what it writes"),
    (SALES, "request = { shape = \"quote\" }\n", "request = { shape = \"quote\", put = \"merge\" }\n", "`put` belongs to a PUT route"),
    (SALES, "request = { shape = \"quote\" }\n", "request = { shape = \"quote\", types = [] }\n", "nothing could be written"),
    (SALES, "request = { shape = \"quote\" }\n", "request = { shape = \"quote\", types = \"application/json\" }\n", "expected a list"),
    (
        SALES,
        "request = { shape = \"quote\" }\n",
        "request = { shape = \"quote\", types = [\"application/xml\"] }\n",
        "unknown content type `application/xml`",
    ),
    (
        SALES,
        "request = { shape = \"quote\" }\n",
        "request = { shape = \"quote\", types = [\"application/JSON\"] }\n",
        "unknown content type `application/JSON`",
    ),
    (
        SALES,
        "request = { shape = \"quote\" }\n",
        "request = { shape = \"quote\", types = [\"application/+json\"] }\n",
        "unknown content type `application/+json`",
    ),
    (
        SALES,
        "request = { shape = \"quote\" }\n",
        "request = { shape = \"quote\", types = [\"application/json\", \"application/json\"] }\n",
        "is declared twice",
    ),
    (
        SALES,
        "request = { shape = \"quote\" }\n",
        "request = { shape = \"quote\", type = [\"application/json\"] }\n",
        "unknown key `type` in `request`",
    ),
    (
        MARKETING,
        "request = { shape = \"contact\" }",
        "request = { shape = \"contact\", types = [\"application/merge-patch+json\"] }",
        "belongs to a PATCH route",
    ),
    (
        MARKETING,
        "request = { shape = \"contact\" }",
        "request = { shape = \"contact\", types = [\"application/json-patch+json\"] }",
        "belongs to a PATCH route",
    ),
    (SERVICE, "request = { shape = \"ticket\" } ", "request = { shape = \"ticket\", types = [\"application/json\"] } ", "a DELETE has no body"),
    (SERVICE, "request = { params = {", "request = { types = [\"application/json\"], params = {", "this belongs to a written `shape`"),
    (SALES, "name = [\"customer.name\"]", "name = [\"customer.nam\"]", "unknown field of shape `quote` `customer.nam`"),
    (SALES, "name = [\"customer.name\"]", "name = [\"endCustomer.Name\"]", "an embedded customer is not available in this version"),
    (SALES, "status = \"free\"", "status = \"fre\"", "this is not a rule for a parameter"),
    (SALES, "status = \"free\"", "status = []", "no field stands there"),
    (MARKETING, "departments = [\"marketing\", \"sales\", \"service\"]\n", "", "who may read this is not said"),
    (MARKETING, "content_types = [\"application/json\"]", "content_types = [\"application/json; charset=utf-8\"]", "this is not a content type"),
    (MARKETING, ", rows_max = 10000", "", "an export says how many rows"),
    (MARKETING, "response = { open = [\"id\", \"success\"] }", "response = { shape = \"contact\" }", "nobody has consented yet"),
    (MARKETING, "match = { \"Email\" = \"email\" }", "match = { \"Email\" = \"mail\" }", "unknown id space `mail`"),
    (MARKETING, "new = \"response:id\"", "new = \"request:id\"", "the id of a new customer stands in the answer"),
    (MARKETING, "response = \"empty\" ", "response = \"nothing\" ", "unknown response `nothing`"),
    (SERVICE, "request = { params = {", "request = { shape = \"ticket\", params = {", "either a `shape`"),
    (SERVICE, "request = { shape = \"ticket\" } ", "request = { params = { id = \"free\" } } ", "a write has a `shape`"),
];

#[test]
fn one_mistake_is_one_finding_that_says_what_is_wrong() {
    let mut wrong = Vec::new();
    let example = Example::new();
    for (file, old, new, said) in SINGLE {
        let before = fs::read_to_string(example.file(file)).unwrap();
        example.replace(file, old, new);
        match example.load() {
            Ok(_) => wrong.push(format!("accepted: {new}")),
            Err(findings)
                if findings.0.len() == 1 && findings.0[0].message.contains(said) || findings.0.len() == 1 && said_in_help(&findings, said) => {}
            Err(findings) => wrong.push(format!("for `{new}` expected `{said}`, found:\n{findings}")),
        }
        fs::write(example.file(file), before).unwrap();
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), SINGLE.len(), wrong.join("\n"));
}

fn said_in_help(findings: &Findings, said: &str) -> bool {
    findings.0[0].help.as_deref().is_some_and(|help| help.contains(said))
}

#[test]
fn an_object_that_does_not_say_whose_it_is_must_be_trusted_explicitly() {
    let example = Example::new();
    example.replace(MARKETING, "ids = \"salesforce\"\ncustomer = \"Id\"\n", "ids = \"salesforce\"\n");
    let findings = example.load().unwrap_err();
    assert!(findings.0.iter().any(|f| f.message == "the shape `contact` does not say whose object comes back"), "{findings}");
    assert!(findings.0.iter().any(|f| f.message == "the embedded shape `contact` does not say whose it is"), "{findings}");
}

#[test]
fn mistakes_of_the_policy_folder_join_the_others_and_hide_none() {
    let example = Example::new();
    example.replace(MAIN, "address = \"[::]:8443\"", "address = \"8443\"");
    let findings =
        load(&example.file(MAIN), &|source| Err(Findings(vec![Finding::of_file(&source.watched().join("a.cedar"), "broken")]))).unwrap_err();
    let messages: Vec<&str> = findings.0.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(messages, ["broken", "this is not an address"], "{findings}");
}

#[test]
fn a_missing_file_is_a_finding() {
    let findings = load(Path::new("/nowhere/consentry.toml"), &|_| Ok(vocabulary())).unwrap_err();
    assert_eq!(findings.0.len(), 1);
    assert!(findings.0[0].message.starts_with("this file cannot be read"), "{findings}");
}

#[test]
fn a_log_that_may_lose_something_is_a_warning() {
    let example = Example::new();
    let warnings = |example: &Example| example.load().unwrap().warnings.iter().map(|w| w.message.clone()).collect::<Vec<_>>();
    let before = warnings(&example).len();
    assert_eq!(AuditMode::Strict, example.load().unwrap().audit.mode);
    example.replace(MAIN, "dir = \"state/log\"", "dir = \"state/log\"\nmode = { bounded = { max_ms = 50, max_records = 1000 } }");
    assert_eq!(AuditMode::Bounded { max_ms: 50, max_records: 1_000 }, example.load().unwrap().audit.mode);
    let after = warnings(&example);
    assert!(after.len() == before + 1 && after.iter().any(|w| w.starts_with("a power cut may take the newest decisions")), "{after:?}");
}

#[test]
fn what_weakens_a_default_is_a_warning() {
    let example = Example::new();
    example.replace(MAIN, "address = \"127.0.0.1:9901\"", "address = \"0.0.0.0:9901\"");
    example.replace(MAIN, "sender_constraint = \"mtls\"", "sender_constraint = \"none\"");
    let warnings = example.load().unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings.iter().any(|w| (w.line, w.column) == (26, 11) && w.message == "the admin listener can be reached from other machines"),
        "{warnings:?}"
    );
}

#[test]
fn damaged_files_are_findings_and_never_a_panic() {
    let example = Example::new();
    let names = [MAIN, MARKETING, SALES, SERVICE];
    let texts = names.map(|name| fs::read_to_string(example.file(name)).unwrap());
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config { cases: 64, ..Default::default() });
    let strategy = (0..names.len(), proptest::prelude::any::<proptest::sample::Index>(), 1..200_usize, "[\\[\\]{}=\\\"'a-z0-9.\n-]{0,6}");
    let run = runner.run(&strategy, |(file, start, length, inserted)| {
        let (name, text) = (names[file], &texts[file]);
        let chars: Vec<char> = text.chars().collect();
        let start = start.index(chars.len());
        let end = (start + length).min(chars.len());
        let damaged: String = chars[..start].iter().copied().chain(inserted.chars()).chain(chars[end..].iter().copied()).collect();
        fs::write(example.file(name), damaged).unwrap();
        let loaded = example.load();
        fs::write(example.file(name), text).unwrap();
        if let Err(findings) = loaded {
            proptest::prop_assert!(!findings.is_empty());
            proptest::prop_assert!(findings.0.iter().all(|f| f.message != "the configuration could not be read"), "a mistake without a place");
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn an_error_body_with_a_shape_says_whose_it_is() {
    let example = Example::new();
    example.replace(SALES, "rows = \"invoices[]\"", "error = { shape = \"bare\" }, rows = \"invoices[]\"");
    let text = fs::read_to_string(example.file(SALES)).unwrap();
    fs::write(example.file(SALES), format!("{text}\n[shape.bare]\nfields = {{ a = \"order\" }}\n")).unwrap();
    let findings = example.load().unwrap_err();
    assert_eq!((1, "the shape `bare` does not say whose error this is"), (findings.0.len(), findings.0[0].message.as_str()), "{findings}");
    example.replace(SALES, "error = { shape = \"bare\" }", "error = { shape = \"bare\", subject = \"request\" }");
    let config = example.load().unwrap_or_else(|findings| panic!("{findings}"));
    let found = config.catalog.find(&http::Method::GET, &Target::parse("/erp/invoices?party=1").unwrap()).unwrap();
    assert!(matches!(found.route.error, Some(crate::model::ResponsePlan::Object { subject: crate::model::Subject::Request, .. })));
}
