//! A gateway as an operator meets it: the built binary with files, ports and signals of its own. Certificates,
//! configuration and sample APIs are those of the demo.

mod upstream;

use std::fs::{self, File};
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use consentry::audit;
use consentry::cli::certs::PemPair;
use consentry::cli::demo::sample_apis::SampleApis;
use consentry::cli::demo::{Addresses, AppClient, Places, Reply, StateDir};
use consentry::clock::SystemClock;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

pub(crate) use upstream::{Script, Upstream};

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Holds what a command shows in `tests/it/screens/NAME.snap`, but for what differs from run to run.
pub(crate) fn screen(name: &str, shown: &str) {
    let filters = [
        ("SHA256:[A-Za-z0-9+/]{43}", "SHA256:…"),
        (r"\b[0-9a-f]{64}\b", "[set]"),
        (r"\b(set|policies) [0-9a-f]{6}\b", "$1 [set]"),
        (r"#\d+", "#[index]"),
        (r"/[^ ]*/\.tmp\w+/", "[folder]/"),
        (r"(?m)^[0-9a-f]{6} (judges|since) ", "[set] $1 "),
        (r"\b20[12]\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z)", "[time]"),
        (r"\b\d+(\.\d+)? (s|ms)\b", "[duration]"),
        (r"cvc5 \d[\d.]*", "cvc5 [version]"),
        (r"localhost:\d+|127\.0\.0\.1:\d+", "[address]"),
        (r"\bbg_[0-9A-Za-z]+", "[grant]"),
    ];
    insta::with_settings!({ filters => filters, snapshot_path => "../screens", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, shown);
    });
}

/// The shipped policies, in a folder to change them in.
pub(crate) fn policies_to_change() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), &dir.path().join("policies"));
    dir
}

pub(crate) const OUTREACH: &str = "sales.outreach";
/// Permitted to `crm` for outreach once [`Site::prepare`] has recorded the customer's consent.
pub(crate) const QUOTE: &str = "/sales/quotes/Q-77";
/// A customer nobody knows: refused without a look at the upstream.
pub(crate) const UNKNOWN: &str = "/crm/customers/9999";
/// The customer whose consent the tests change, and a read that rests on it.
pub(crate) const MINA: &str = "0044";
pub(crate) const MINAS: &str = "/crm/customers/0044";

const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A folder with everything a gateway needs, and the sample APIs behind it.
pub(crate) struct Site {
    pub(crate) state: StateDir,
    pub(crate) addresses: Addresses,
    pub(crate) apis: SampleApis,
    config: PathBuf,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let apis = runtime.block_on(SampleApis::start(state.certs(), state.api_key())).unwrap();
        let addresses = Addresses { apps: free_port(), admin: free_port(), capture: free_port(), health: free_port() };
        let places = Places {
            gateway: addresses,
            issuer: "https://login.example.com/".to_owned(),
            keys_url: "https://login.example.com/jwks.json".to_owned(),
            crm: apis.crm,
            sales: apis.sales,
            desk: apis.desk,
        };
        let config = state.write_config(&places).unwrap();
        let site = Self { state, addresses, apis, config, runtime, _dir: dir };
        // No issuer is asked: the apps of these tests show their certificates.
        site.edit("consentry.toml", "{ url = \"https://login.example.com/jwks.json\" }", "{ file = \"certs/issuer-jwks.json\" }");
        site
    }

    pub(crate) fn path(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.state.log()
    }

    pub(crate) fn block<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(crate) fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> tokio::task::JoinHandle<F::Output> {
        self.runtime.spawn(future)
    }

    /// Replaces text of a file, which must stand there.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "`{from}` does not stand in {file}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// The configuration under another name, with all of this text replaced; replaces in the copy if it is there.
    pub(crate) fn copy_config(&self, name: &str, from: &str, to: &str) {
        let copy = self.path().join(name);
        let source = if copy.exists() { &copy } else { &self.config };
        let text = fs::read_to_string(source).unwrap();
        fs::write(&copy, text.replace(from, to)).unwrap();
    }

    /// `consentry run`, answering its probes.
    pub(crate) fn start(&self) -> Gateway {
        let mut gateway = Gateway::spawn(Command::new(binary()).args(["run", "--config"]).arg(&self.config), self.path());
        self.await_live(&mut gateway);
        gateway
    }

    /// The same with variables of a service manager.
    pub(crate) fn start_told(&self, variables: &[(&str, &str)]) -> Gateway {
        let mut command = Command::new(binary());
        let mut gateway = Gateway::spawn(command.args(["run", "--config"]).arg(&self.config).envs(variables.iter().copied()), self.path());
        self.await_live(&mut gateway);
        gateway
    }

    /// The same on sockets that outlive it, handed over as systemd does: from descriptor 3 on, to this process alone.
    pub(crate) fn start_on(&self, sockets: [&TcpListener; 2]) -> Gateway {
        let [first, second] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
        let mut shell = Command::new("sh");
        let script = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_FDS=2 LISTEN_PID=$$; exec \"$0\" run --config \"$1\"";
        shell.args(["-c", script]).arg(binary()).arg(&self.config).stdin(first).stdout(second);
        Gateway::spawn_as_it_is(&mut shell, self.path())
    }

    /// The same by a shell that lets writes over a file-size limit fail instead of ending the process.
    pub(crate) fn start_with_failing_writes(&self) -> Gateway {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" run --config \"$1\"", env!("CARGO_BIN_EXE_consentry")]).arg(&self.config);
        let mut gateway = Gateway::spawn(&mut shell, self.path());
        self.await_live(&mut gateway);
        gateway
    }

    pub(crate) fn await_live(&self, gateway: &mut Gateway) {
        patiently(|| {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}: {}", gateway.trace());
            }
            probe(self.addresses.health, "/livez").ok_or_else(|| format!("the gateway does not answer: {}", gateway.trace()))
        });
    }

    /// Imports the sample customers and records what the tests rest on: consent of 0012 to outreach.
    pub(crate) fn prepare(&self) {
        let desk = self.staff("consent-desk");
        let csv = fs::read(self.state.parties()).unwrap();
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("text/csv"))]);
        let url = format!("https://{}/v1/parties", self.addresses.admin);
        let imported = self.block(desk.send(Method::POST, &url, headers, csv)).unwrap();
        assert!(imported.status.is_success(), "{}", text(&imported));
        self.say("0012", "given");
    }

    /// The preference centre records what a customer said about outreach; acknowledged when this returns.
    pub(crate) fn say(&self, customer: &str, state: &str) -> Reply {
        let reply = self.block(self.try_say(customer, state));
        assert_eq!(reply.status, 201, "{}", text(&reply));
        reply
    }

    pub(crate) async fn try_say(&self, customer: &str, state: &str) -> Reply {
        let mut event = json!({
            "party": format!("crm:{customer}"),
            "purposes": [OUTREACH],
            "state": state,
            "event_time": SystemClock::shared().now().to_string(),
            "channel": "system",
            "method": "expressed",
            "author": "customer",
            "evidence": [{ "kind": "form-hash", "reference": format!("sha256:{}", "0".repeat(64)) }, { "kind": "notice", "reference": "outreach-v1" }],
        });
        if state == "given" {
            event["categories"] = json!(["identity", "contact", "behaviour", "opportunity", "order"]);
            event["recipients"] = json!(["sales"]);
        }
        post(&self.app("preference-centre"), self.addresses.capture, "/v1/consents", &event).await
    }

    /// The consent desk restricts processing: a stop for whatever rests on consent.
    pub(crate) fn restrict(&self, customer: &str) -> Reply {
        let body = json!({ "party": format!("crm:{customer}"), "reason": "said on the phone" });
        self.block(post(&self.staff("consent-desk"), self.addresses.admin, "/v1/restrictions", &body))
    }

    /// A client with the certificate of an app or agent.
    pub(crate) fn app(&self, name: &str) -> AppClient {
        self.client(&self.state.certs().clients[name])
    }

    /// A client with the certificate of a member of staff.
    pub(crate) fn staff(&self, role: &str) -> AppClient {
        self.client(&self.state.certs().staff[role])
    }

    fn client(&self, pair: &PemPair) -> AppClient {
        AppClient::new(&self.state.certs().internal_ca, &pair.chain, &pair.key).unwrap()
    }

    /// One read of `crm` for outreach.
    pub(crate) fn read(&self, target: &str) -> Reply {
        self.block(read(&self.app("crm"), self.addresses.apps, target, OUTREACH)).unwrap()
    }

    /// Reads until the answer is as wanted. An answer may be cut when what it rests on goes away under it; it is then asked
    /// for again.
    pub(crate) fn read_until(&self, target: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
        let app = self.app("crm");
        patiently(|| {
            let reply = self.block(read(&app, self.addresses.apps, target, OUTREACH)).map_err(|cut| format!("`{target}` is cut: {cut:#}"))?;
            if wanted(&reply) { Ok(reply) } else { Err(format!("`{target}` still answers {}: {}", reply.status, text(&reply))) }
        })
    }

    /// Status and body of the health listener.
    pub(crate) fn health(&self, path: &str) -> (u16, String) {
        probe(self.addresses.health, path).unwrap()
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn ready_until(&self, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        patiently(|| {
            let (status, body) = self.health("/readyz");
            let document: Value = serde_json::from_str(&body).unwrap();
            if wanted(status, &document) { Ok(document) } else { Err(format!("/readyz still answers {status}: {body}")) }
        })
    }

    /// A command in the site's folder.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run_in(self.path(), args)
    }

    /// A command that asks the admin listener as a member of staff.
    pub(crate) fn run_as(&self, role: &str, args: &[&str]) -> Ran {
        let pair = &self.state.certs().staff[role];
        let mut command = command(self.path(), args);
        command.env("CONSENTRY_SERVER", format!("https://{}", self.addresses.admin));
        command.env("CONSENTRY_CERT", &pair.chain).env("CONSENTRY_KEY", &pair.key).env("CONSENTRY_CA", &self.state.certs().internal_ca);
        Ran::of(&command.output().unwrap())
    }

    /// Waits until the log is so; what nobody waits for is written within a second or two.
    pub(crate) fn log_until(&self, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        patiently(|| {
            let entries = self.entries();
            if wanted(&entries) { Ok(entries) } else { Err(format!("the log does not say so: {entries:#?}")) }
        })
    }

    /// All entries of the log.
    pub(crate) fn entries(&self) -> Vec<Value> {
        audit::Reader::open(&self.log()).unwrap().map(|entry| entry.unwrap().resolved).collect()
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    trace: PathBuf,
}

impl Gateway {
    fn spawn(command: &mut Command, dir: &Path) -> Self {
        Self::spawn_as_it_is(command.stdin(Stdio::null()).stdout(Stdio::null()), dir)
    }

    fn spawn_as_it_is(command: &mut Command, dir: &Path) -> Self {
        let trace = dir.join("trace.log");
        let file = File::options().create(true).append(true).open(&trace).unwrap();
        clean(command).current_dir(dir).stderr(file);
        Self { child: command.spawn().unwrap(), trace }
    }

    /// `kill -9`, and nothing of it is left.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The most resident memory that it ever had.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok()).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Limits the size of files that the running process may write.
    pub(crate) fn limit_files(&self, bytes: u64) {
        let pid = self.child.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status().unwrap();
        assert!(set.success());
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        patiently(|| self.child.try_wait().unwrap().ok_or("the gateway does not end"))
    }

    /// How it ended by itself, and what it wrote to stderr.
    pub(crate) fn trace_at_end(mut self) -> (Option<i32>, String) {
        let status = patiently(|| self.child.try_wait().unwrap().ok_or("the gateway does not end"));
        (status.code(), self.trace())
    }

    /// What it wrote to stderr so far, earlier runs included.
    pub(crate) fn trace(&self) -> String {
        fs::read_to_string(&self.trace).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The gateway under test: another build of it where `GATEWAY_UNDER_TEST` names one.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("GATEWAY_UNDER_TEST").map_or_else(|| env!("CARGO_BIN_EXE_consentry").into(), PathBuf::from)
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { exit: output.status.code().unwrap(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command in a folder, without settings from outside.
pub(crate) fn run_in(dir: &Path, args: &[&str]) -> Ran {
    Ran::of(&command(dir, args).output().unwrap())
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentry"));
    clean(&mut command).args(args).current_dir(dir).stdin(Stdio::null());
    command
}

fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSENTRY_")) {
        command.env_remove(name);
    }
    command
}

/// Some thousand customers more.
pub(crate) fn import_many(site: &Site) {
    let rows: String = (1_000..4_000).map(|n| format!("crm:{n},person,lead,standard,adult\n")).collect();
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("text/csv"))]);
    let url = format!("https://{}/v1/parties", site.addresses.admin);
    let body = format!("identifiers,kind,stage,segment,age\n{rows}").into_bytes();
    let imported = site.block(site.staff("consent-desk").send(Method::POST, &url, headers, body)).unwrap();
    assert!(imported.status.is_success() && imported.json().unwrap()["errors"] == json!([]), "{}", text(&imported));
}

/// One read of an app.
pub(crate) async fn read(app: &AppClient, at: SocketAddr, target: &str, purpose: &'static str) -> anyhow::Result<Reply> {
    let headers = HeaderMap::from_iter([("data-purpose".parse().unwrap(), HeaderValue::from_static(purpose))]);
    app.send(Method::GET, &format!("https://{at}{target}"), headers, "").await
}

pub(crate) async fn post(client: &AppClient, at: SocketAddr, path: &str, body: &Value) -> Reply {
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    client.send(Method::POST, &format!("https://{at}{path}"), headers, body.to_string()).await.unwrap()
}

pub(crate) fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// The problem code of a refusal.
pub(crate) fn code(reply: &Reply) -> String {
    reply.json().and_then(|body| Some(body.get("code")?.as_str()?.to_owned())).unwrap_or_else(|| format!("no code in {}", text(reply)))
}

/// The entry's number in `<origin>#<index>`.
pub(crate) fn index(reply: &Reply) -> Option<usize> {
    reply.header("consentry-decision")?.rsplit_once('#')?.1.parse().ok()
}

/// Looks again until something comes of it.
pub(crate) fn patiently<T, E: std::fmt::Display>(mut look: impl FnMut() -> Result<T, E>) -> T {
    let clock = SystemClock::shared();
    let until = clock.monotonic() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(clock.monotonic() < until, "{why}"),
        }
        thread::sleep(POLL);
    }
}

/// A plain HTTP/1.1 request: none if nobody listens.
fn probe(at: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A port below those that the system hands out by itself, so that it is still free after a kill.
pub(crate) fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 500).unwrap() * 32;
    for _ in 0..16_000 {
        let port = 12_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
    panic!("no port is free");
}
