//! nginx and HAProxy as plain proxies, where they are installed: what passing requests on costs by itself elsewhere.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// A proxy of others, and how it is told what to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other {
    pub(super) name: &'static str,
    config: fn(&Path, SocketAddr, SocketAddr) -> String,
    arguments: fn(&mut Command, &Path),
}

pub(super) const OTHERS: [Other; 2] = [
    Other {
        name: "nginx",
        config: nginx,
        arguments: |command, config| {
            command.arg("-c").arg(config);
        },
    },
    Other {
        name: "haproxy",
        config: haproxy,
        arguments: |command, config| {
            command.arg("-db").arg("-f").arg(config);
        },
    },
];

fn nginx(dir: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let dir = dir.display();
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {dir}/nginx-{what};")).join(" ");
    format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; {folders}
    upstream api {{ server {upstream}; keepalive 1000; keepalive_requests 1000000000; }}
    server {{ listen {address}; location / {{ proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}
}}
"
    )
}

fn haproxy(_: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    http-reuse always
frontend apps
    bind {address}
    default_backend api
backend api
    server api {upstream}
"
    )
}

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

impl Other {
    /// `None`: it is not installed.
    pub(super) fn start(self, dir: &Path, upstream: SocketAddr) -> anyhow::Result<Option<(std::process::Child, SocketAddr)>> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = dir.join(format!("{}.conf", self.name));
        fs::write(&config, (self.config)(dir, address, upstream))?;
        let mut command = Command::new(self.name);
        (self.arguments)(&mut command, &config);
        let said = fs::File::create(dir.join(format!("{}.out", self.name)))?;
        let started = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn();
        let mut process = match started {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            started => started.with_context(|| format!("{} does not start", self.name))?,
        };
        for _ in 0..PATIENCE.as_millis() / 20 {
            if TcpStream::connect(address).is_ok() {
                return Ok(Some((process, address)));
            }
            if let Some(status) = process.try_wait()? {
                let said = fs::read_to_string(dir.join(format!("{}.out", self.name))).unwrap_or_default();
                bail!("{} ended at once ({status}): {}", self.name, said.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        process.kill()?;
        process.wait()?;
        bail!("{} does not listen", self.name)
    }
}
