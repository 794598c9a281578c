//! A syslog receiver over TLS (RFC 5425). The protocol has no acknowledgement: what was written to a connection that is then still
//! open counts as received. What is on its way when the receiver dies may be lost; who needs more takes HTTPS or a file.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Unsent, trouble};
use crate::config::UpstreamTls;
use crate::gateway::tls::{self, TlsError};

/// A receiver that has gone says so at once, at least on its own machine.
const LISTEN_AFTER: Duration = Duration::from_millis(20);

pub(super) struct Syslog {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    open: Option<TlsStream<TcpStream>>,
}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syslog").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Syslog {
    pub(super) fn new(host: &str, port: u16, tls: &UpstreamTls) -> Result<Self, TlsError> {
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port, tls: Arc::new(tls::client(Some(tls))?), open: None })
    }

    pub(super) fn forget(&mut self) {
        self.open = None;
    }

    pub(super) async fn write(&mut self, payload: &[u8]) -> Result<(), Unsent> {
        // Taken out, so that a connection on which this is broken off is never used again.
        let mut open = self.open.take();
        if let Some(stream) = &mut open
            && !is_open(stream, Duration::ZERO).await
        {
            open = None;
        }
        let mut stream = match open {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        stream.write_all(payload).await.map_err(|error| trouble(&error))?;
        stream.flush().await.map_err(|error| trouble(&error))?;
        if !is_open(&mut stream, LISTEN_AFTER).await {
            return Err(Unsent::Trouble("it closed the connection after a batch".to_owned()));
        }
        self.open = Some(stream);
        Ok(())
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, Unsent> {
        let name = ServerName::try_from(self.host.clone()).map_err(|error| trouble(&error))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| trouble(&error))?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(|error| trouble(&error))
    }
}

/// A receiver says nothing; whatever can be read is an end.
async fn is_open(stream: &mut TlsStream<TcpStream>, within: Duration) -> bool {
    tokio::time::timeout(within, stream.read(&mut [0])).await.is_err()
}
