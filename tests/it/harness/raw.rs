//! An upstream that sends bytes as a test has written them: what no proper server would send, and how connections are used.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Plain HTTP on a loopback port.
#[derive(Clone)]
pub(crate) struct RawUpstream {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    plans: HashMap<String, Reply>,
    connections: usize,
    received: Vec<Asked>,
}

#[derive(Clone)]
struct Reply {
    bytes: Vec<u8>,
    closes: bool,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /cards/0031`, without the base path.
    pub(crate) what: String,
    /// In lower case.
    pub(crate) head: String,
    /// Which connection it came on.
    pub(crate) connection: usize,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl RawUpstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = serving.clone();
                let connection = {
                    let mut state = this.state.lock().unwrap();
                    state.connections += 1;
                    state.connections
                };
                tokio::spawn(async move { drop(this.serve(stream, connection).await) });
            }
        });
        this
    }

    /// Sends these bytes to whoever asks `GET /cards/0031`, or `POST /rpc {"id":7}` with that body, from now on; the connection stays
    /// open.
    pub(crate) fn on(&self, what: &str, bytes: impl Into<Vec<u8>>) {
        self.plan(what, bytes.into(), false);
    }

    /// The same, and closes the connection.
    pub(crate) fn once(&self, what: &str, bytes: impl Into<Vec<u8>>) {
        self.plan(what, bytes.into(), true);
    }

    fn plan(&self, what: &str, bytes: Vec<u8>, closes: bool) {
        self.state.lock().unwrap().plans.insert(what.to_owned(), Reply { bytes, closes });
    }

    /// Everything received since the last call.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().received)
    }

    async fn serve(&self, mut stream: TcpStream, connection: usize) -> std::io::Result<()> {
        let mut held = Vec::new();
        loop {
            let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") else {
                if stream.read_buf(&mut held).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            let text = String::from_utf8_lossy(&held[..end]).into_owned();
            let head = text.to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or_default();
            while held.len() < end + 4 + length {
                if stream.read_buf(&mut held).await? == 0 {
                    return Ok(());
                }
            }
            let whole: Vec<u8> = held.drain(..end + 4 + length).collect();
            let what = text.lines().next().unwrap().rsplit_once(' ').unwrap().0.replacen("/v7", "", 1);
            let reply = {
                let mut state = self.state.lock().unwrap();
                state.received.push(Asked { what: what.clone(), head, connection });
                let with_body = format!("{what} {}", String::from_utf8_lossy(&whole[end + 4..]));
                state.plans.get(&with_body).or_else(|| state.plans.get(&what)).cloned()
            };
            let lost = || Reply { bytes: b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(), closes: false };
            let reply = reply.unwrap_or_else(lost);
            stream.write_all(&reply.bytes).await?;
            stream.flush().await?;
            if reply.closes {
                return stream.shutdown().await;
            }
        }
    }
}

/// A response with a length: head lines below the status line, then the body.
pub(crate) fn response(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    [format!("HTTP/1.1 {status}\r\n{lines}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// 200 with a JSON body.
pub(crate) fn json(headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    response("200 OK", &[&["content-type: application/json"], headers].concat(), body)
}
