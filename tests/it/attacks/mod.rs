//! The catalogue of attacks in ARCHITECTURE.md, a file for each of its parts: what is tried, and what must become of it.

mod admin;
mod answers;
mod bodies;
mod certificates;
mod consent;
mod customer;
mod floods;
mod frames;
mod headers;
mod heard;
mod log;
mod methods;
mod paths;
mod secrets;
mod smuggling;
mod supply;
mod tokens;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Client, soon};

/// Statuses and problem codes of all answers to these bytes, until the gateway closes the connection.
async fn answers(client: &Client, bytes: impl AsRef<[u8]>) -> Vec<(u16, String)> {
    told(&client.raw(bytes.as_ref()).await)
}

fn told(text: &str) -> Vec<(u16, String)> {
    let pieces = text.split("HTTP/1.").skip(1);
    pieces
        .filter_map(|piece| {
            let status = piece.split(' ').nth(1)?.parse().ok()?;
            let code = piece.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            Some((status, code.to_owned()))
        })
        .collect()
}

/// A connection of HTTP/1.1 on which bytes are sent as they are, bit by bit.
struct Line(tokio_rustls::client::TlsStream<tokio::net::TcpStream>);

impl Line {
    async fn open(client: &Client) -> Self {
        Self(client.connect(&["http/1.1"]).await)
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("room for bytes", self.0.write_all(bytes.as_ref())).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// What comes until this stands in it.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(end) {
            let read = soon(&format!("`{end}`"), self.0.read_buf(&mut text)).await.unwrap();
            assert!(read > 0, "closed before `{end}`: {}", String::from_utf8_lossy(&text));
        }
        String::from_utf8(text).unwrap()
    }

    /// All that comes until the gateway closes the connection.
    async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        drop(soon("the end of a connection", self.0.read_to_end(&mut text)).await);
        String::from_utf8_lossy(&text).into_owned()
    }
}
