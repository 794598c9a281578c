//! `check --online`: whether what the configuration names can be reached. Opens connections, sends no request but for key
//! sets, writes nothing.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::state::Snapshot;
use super::tls;
use crate::config::{Config, Origin, Upstream};
use crate::identity::KeyState;

const PATIENCE: Duration = Duration::from_secs(5);

/// One thing that was tried: what, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    pub what: String,
    pub problem: Option<String>,
}

/// Tries upstreams (TCP, and TLS where it is configured), key sets and the consent store's folder.
pub async fn probe(config: &Config, snapshot: &Snapshot) -> Vec<Probed> {
    let mut all = Vec::new();
    for upstream in config.upstreams.values() {
        for target in &upstream.targets {
            let tried = tokio::time::timeout(PATIENCE, reach(upstream, target)).await;
            let problem = tried.unwrap_or_else(|_late| Err("no answer in time".to_owned())).err();
            all.push(Probed { what: format!("upstream {} at {target}", upstream.name), problem });
        }
    }
    snapshot.authenticator.refresh_keys().await;
    for status in snapshot.authenticator.keys_status() {
        let problem = (!matches!(status.state, KeyState::Fresh)).then(|| "its key set could not be read".to_owned());
        all.push(Probed { what: format!("issuer {}", status.issuer), problem });
    }
    let folder = config.consent.sqlite.parent().filter(|p| !p.as_os_str().is_empty());
    let problem = folder.filter(|p| !p.is_dir()).map(|p| format!("`{}` is not a folder", p.display()));
    all.push(Probed { what: format!("consent store {}", config.consent.sqlite.display()), problem });
    all
}

async fn reach(upstream: &Upstream, target: &Origin) -> Result<(), String> {
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, target.port)).await.map_err(|e| e.to_string())?;
    if !target.tls {
        return Ok(());
    }
    let config = tls::client(upstream.tls.as_ref()).map_err(|e| e.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(|_connected| ()).map_err(|e| e.to_string())
}
