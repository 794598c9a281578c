//! The demo's folder: certificates, configuration, policies, customers, and later the consent store and the log. Everything
//! it needs is in the binary, so that `demo` works from any directory.
//!
//! ```text
//! demo-state/  .consentry-demo (this folder is a demo's; locked while it runs)
//!              consentry.toml  apis/*.toml  policies/  parties.csv  certs/  upstream.key  log-ed25519.pem  curl/
//!              consent.db  log/ (made by the gateway)
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::gateway::Addresses;
use crate::cli::certs::{DevCerts, DevNames, PemPair};

/// Says that a folder may be made anew; never is another one emptied.
const MARK: &str = ".consentry-demo";

/// Applications of the catalogue that get a certificate.
const APPS: [&str; 6] = ["campaign-manager", "crm", "helpdesk", "ledger", "mdm-hub", "preference-centre"];
const AGENTS: [&str; 1] = ["sales-copilot"];
/// Servers behind the gateway.
const UPSTREAMS: [&str; 3] = ["crm", "sales", "desk"];

const CONFIG: &str = include_str!("files/consentry.toml");
const APIS: [(&str, &str); 4] = [
    ("ids.toml", include_str!("files/apis/ids.toml")),
    ("crm.toml", include_str!("files/apis/crm.toml")),
    ("sales.toml", include_str!("files/apis/sales.toml")),
    ("desk.toml", include_str!("files/apis/desk.toml")),
];
const PARTIES: &str = include_str!("files/parties.csv");

macro_rules! policies {
    ($($name:literal,)*) => { &[$(($name, include_str!(concat!("../../../policies/", $name))),)*] };
}

/// The policy folder that is shipped.
const POLICIES: &[(&str, &str)] = policies![
    "README.md",
    "00-floor.cedar",
    "10-ownership.cedar",
    "20-sharing.cedar",
    "30-steward.cedar",
    "40-prohibitions.cedar",
    "50-agents.cedar",
    "60-break-glass.cedar",
    "70-agreements.cedar",
    "activities.toml",
    "agreements.cedartemplatelinks.json",
    "captures.toml",
    "catalogue.cedarentities.json",
    "consent.toml",
    "consentry.cedarschema",
    "tests/agents.json",
    "tests/agents.toml",
    "tests/basic.json",
    "tests/conditions.toml",
    "tests/emergency.json",
    "tests/organisations.toml",
    "tests/probes.toml",
    "tests/tour.toml",
];

/// The demo's folder while the demo runs.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    certs: DevCerts,
    api_key: String,
    /// Held so that no second demo empties the folder.
    _lock: File,
}

/// What stands in braces in the configuration.
#[derive(Clone, Debug)]
pub struct Places {
    pub gateway: Addresses,
    pub issuer: String,
    pub keys_url: String,
    pub crm: SocketAddr,
    pub sales: SocketAddr,
    pub desk: SocketAddr,
}

impl StateDir {
    /// Makes the folder (anew, if a demo made it) with certificates, keys, policies and customers.
    ///
    /// # Errors
    /// The folder holds something else, a demo is running in it, or it cannot be written.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let lock = claim(path)?;
        // Absolute, so that the printed commands and the curl files work from anywhere.
        let path = path.canonicalize()?;
        let names = DevNames {
            apps: APPS.map(str::to_owned).to_vec(),
            agents: AGENTS.map(str::to_owned).to_vec(),
            upstreams: UPSTREAMS.map(str::to_owned).to_vec(),
            ..DevNames::default()
        };
        let certs = crate::cli::certs::dev(&path.join("certs"), &names)?;
        let api_key = random_hex()?;
        write_secret(&path.join("upstream.key"), &api_key)?;
        crate::audit::generate_signing_key(&path.join("log-ed25519.pem"))?;
        write_policies(&path.join("policies"))?;
        write(&path.join("parties.csv"), PARTIES)?;
        let state = Self { path, certs, api_key, _lock: lock };
        for (name, pair) in state.certs.clients.iter().chain(&state.certs.staff) {
            write(&state.path.join("curl").join(name), &state.curl_options(pair))?;
        }
        Ok(state)
    }

    /// Writes `consentry.toml` and `apis/`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_config(&self, places: &Places) -> anyhow::Result<PathBuf> {
        for (name, text) in APIS {
            write(&self.path.join("apis").join(name), &fill(text, places))?;
        }
        let config = self.path.join("consentry.toml");
        write(&config, &fill(CONFIG, places))?;
        Ok(config)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub const fn certs(&self) -> &DevCerts {
        &self.certs
    }

    /// The key by which the sample CRM and desk know the gateway.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The file for `consentry party import`.
    #[must_use]
    pub fn parties(&self) -> PathBuf {
        self.path.join("parties.csv")
    }

    /// The folder of the decision log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// `curl -K` file: who calls, and whom to trust.
    fn curl_options(&self, pair: &PemPair) -> String {
        format!(
            "cacert = \"{}\"\ncert = \"{}\"\nkey = \"{}\"\ninclude\nsilent\nshow-error\n",
            self.certs.internal_ca.display(),
            pair.chain.display(),
            pair.key.display()
        )
    }
}

/// Writes the policies that are shipped.
///
/// # Errors
/// A file cannot be written.
pub(in crate::cli) fn write_policies(folder: &Path) -> anyhow::Result<()> {
    POLICIES.iter().try_for_each(|(name, text)| write(&folder.join(name), text))
}

/// As many different free ports of 127.0.0.1.
///
/// # Errors
/// No port is free.
pub fn free_addresses() -> std::io::Result<Addresses> {
    // All are held until all are known; then they are free again for the gateway, which binds them a moment later.
    let held = [(); 4].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let [apps, admin, capture, health] = held;
    let (apps, admin, capture, health) = (apps?, admin?, capture?, health?);
    Ok(Addresses { apps: apps.local_addr()?, admin: admin.local_addr()?, capture: capture.local_addr()?, health: health.local_addr()? })
}

fn claim(path: &Path) -> anyhow::Result<File> {
    let mark = path.join(MARK);
    let is_ours = mark.is_file();
    let is_used = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if is_used && !is_ours {
        bail!("`{}` holds files that no demo wrote; name another folder with --dir", path.display());
    }
    fs::create_dir_all(path).with_context(|| format!("cannot make the folder `{}`", path.display()))?;
    let lock = File::options().create(true).truncate(false).write(true).open(&mark)?;
    if lock.try_lock().is_err() {
        bail!("a demo is running in `{}`; stop it or name another folder with --dir", path.display());
    }
    for entry in path.read_dir()? {
        let entry = entry?;
        if entry.file_name() == MARK {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
            .with_context(|| format!("cannot remove `{}` of an earlier demo", entry.path().display()))?;
    }
    Ok(lock)
}

fn fill(text: &str, places: &Places) -> String {
    let addresses = [
        ("{apps}", places.gateway.apps),
        ("{admin}", places.gateway.admin),
        ("{capture}", places.gateway.capture),
        ("{health}", places.gateway.health),
        ("{crm}", places.crm),
        ("{sales}", places.sales),
        ("{desk}", places.desk),
    ];
    let text = addresses.iter().fold(text.to_owned(), |text, (name, address)| text.replace(name, &address.to_string()));
    text.replace("{issuer}", &places.issuer).replace("{keys}", &places.keys_url)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file =
        File::options().write(true).create_new(true).mode(0o600).open(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 24];
    aws_lc_rs::rand::fill(&mut bytes).context("the system has no randomness")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Places {
            gateway: Addresses { apps: at(1), admin: at(2), capture: at(3), health: at(4) },
            issuer: "http://127.0.0.1:5/".to_owned(),
            keys_url: "http://127.0.0.1:5/jwks.json".to_owned(),
            crm: at(6),
            sales: at(7),
            desk: at(8),
        }
    }

    #[test]
    fn no_place_is_left_open_and_all_files_are_toml() {
        let templates = APIS.iter().map(|(_, text)| *text).chain([CONFIG]);
        for text in templates {
            let text = fill(text, &places());
            let table: toml::Table = text.parse().unwrap();
            assert!(!table.is_empty());
            // Only route templates keep their braces; those of TOML's own tables are followed by a space.
            let open = |line: &&str| line.split('{').skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_lowercase()));
            let left: Vec<&str> = text.lines().filter(open).filter(|line| !line.starts_with("match =") && !line.starts_with("lookup =")).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    #[test]
    fn the_binary_carries_the_whole_policy_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut found = Vec::new();
        for folder in [root.clone(), root.join("tests")] {
            for entry in folder.read_dir().unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
                found.push(entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
        found.sort();
        let mut carried: Vec<&str> = POLICIES.iter().map(|(name, _)| *name).collect();
        carried.sort_unstable();
        assert_eq!(carried, found);
    }

    #[test]
    fn the_configuration_is_accepted_as_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let config = state.write_config(&places()).unwrap();
        let vocabulary_of =
            |source: &crate::config::PolicySource| crate::policy::Policies::load(source.watched()).map(|policies| policies.vocabulary().clone());
        let loaded = crate::config::load(&config, &vocabulary_of).unwrap_or_else(|findings| panic!("{findings}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert_eq!(loaded.audit.dir, state.log());
    }

    #[test]
    fn every_customer_of_the_crm_is_in_the_crosswalk() {
        let crm = |line: &'static str| line.split([' ', ',']).find_map(|id| id.strip_prefix("crm:"));
        let ids: Vec<&str> = PARTIES.lines().filter_map(crm).collect();
        assert_eq!(ids, ["0012", "0031", "0044", "0058", "0070"]);
        let columns = PARTIES.lines().map(|line| line.split(',').count()).collect::<Vec<_>>();
        assert!(columns.iter().all(|n| Some(n) == columns.first()), "{columns:?}");
    }

    #[test]
    fn a_folder_with_foreign_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
        assert!(claim(dir.path()).unwrap_err().to_string().contains("--dir"));
        assert_eq!(fs::read_to_string(dir.path().join("thesis.txt")).unwrap(), "mine");
    }

    #[test]
    fn a_folder_of_a_demo_is_made_anew_unless_one_runs_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let lock = claim(&state).unwrap();
        fs::create_dir(state.join("log")).unwrap();
        fs::write(state.join("log/segment"), "old").unwrap();
        assert!(claim(&state).unwrap_err().to_string().contains("running"));
        assert!(state.join("log/segment").exists());
        drop(lock);
        let _lock = claim(&state).unwrap();
        assert!(!state.join("log").exists());
    }

    #[test]
    fn the_free_addresses_differ() {
        let found = free_addresses().unwrap();
        let mut ports = [found.apps, found.admin, found.capture, found.health].map(|address| address.port()).to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4);
    }
}
