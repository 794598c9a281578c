//! An API that answers as it is told: bytes, in the clear, after a wait, and then the end of the connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) wait: Duration,
    pub(crate) bytes: Vec<u8>,
}

impl Script {
    /// A whole answer.
    pub(crate) fn answer(status: &str, headers: &[&str], body: &str) -> Self {
        Self::promising(status, headers, body, body.len())
    }

    /// An answer whose head promises `length` bytes.
    pub(crate) fn promising(status: &str, headers: &[&str], body: &str, length: usize) -> Self {
        let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let bytes = format!("HTTP/1.1 {status}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes();
        Self { wait: Duration::ZERO, bytes }
    }

    /// The connection ends without a byte.
    pub(crate) fn silent() -> Self {
        Self { wait: Duration::ZERO, bytes: Vec::new() }
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// Serves until the test process ends.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Upstream {
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script));
        let current = Arc::clone(&script);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let script = current.lock().unwrap().clone();
                thread::spawn(move || play(stream, &script));
            }
        });
        Self { address, script }
    }

    /// What is answered from now on.
    pub(crate) fn play(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }
}

/// Reads one request's head, answers, closes.
fn play(mut stream: TcpStream, script: &Script) {
    let mut lines = BufReader::new(&stream).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
    }
    drop(lines);
    thread::sleep(script.wait);
    // The gateway may have given up: that is what some tests are about.
    drop(stream.write_all(&script.bytes));
}
