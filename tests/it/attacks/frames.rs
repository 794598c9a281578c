//! HTTP/2 written and read by hand: frames and header blocks as no library would send them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{Client, soon};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// One connection.
pub(super) struct Frames {
    stream: TlsStream<TcpStream>,
    held: Vec<u8>,
    /// What the gateway said of itself at the beginning.
    pub(super) settings: Vec<(u16, u32)>,
}

impl Frames {
    /// Opens a connection on which nothing but settings has been exchanged.
    pub(super) async fn open(client: &Client, settings: &[(u16, u32)]) -> Self {
        let mut stream = client.connect(&["h2"]).await;
        assert_eq!(Some(&b"h2"[..]), stream.get_ref().1.alpn_protocol());
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut this = Self { stream, held: Vec::new(), settings: Vec::new() };
        let payload: Vec<u8> = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        this.send(SETTINGS, 0, 0, &payload).await;
        let theirs = this.until(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).await.unwrap();
        let number = |piece: &[u8]| (u16::from_be_bytes([piece[0], piece[1]]), u32::from_be_bytes(piece[2..6].try_into().unwrap()));
        this.settings = theirs.payload.chunks(6).map(number).collect();
        this.send(SETTINGS, ACK, 0, &[]).await;
        this
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        assert!(self.try_send(&frame(kind, flags, stream, payload)).await, "the connection is closed");
    }

    /// Sends bytes; whether they were taken.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        match tokio::time::timeout(std::time::Duration::from_secs(10), self.stream.write_all(bytes)).await {
            Ok(written) => written.is_ok() && self.stream.flush().await.is_ok(),
            Err(_elapsed) => false,
        }
    }

    /// A request whose fields are these, without a body.
    pub(super) async fn ask(&mut self, stream: u32, fields: &[(&[u8], &[u8])]) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)).await;
    }

    /// A head without a body, in as many frames as it takes.
    pub(super) async fn send_block(&mut self, stream: u32, block: &[u8]) {
        let (mut pieces, mut kind, mut flags) = (block.chunks(16 * 1024).peekable(), HEADERS, END_STREAM);
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            self.send(kind, flags | end, stream, piece).await;
            (kind, flags) = (CONTINUATION, 0);
        }
    }

    /// `None` when the connection is closed.
    pub(super) async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = self.held.get(..9) {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if self.held.len() >= 9 + length {
                    let frame = Frame {
                        kind: head[3],
                        flags: head[4],
                        stream: u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff,
                        payload: self.held[9..9 + length].to_vec(),
                    };
                    self.held.drain(..9 + length);
                    return Some(frame);
                }
            }
            match soon("a frame", self.stream.read_buf(&mut self.held)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(super) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// What becomes of a stream, or of the connection before that.
    pub(super) async fn outcome(&mut self, stream: u32) -> Outcome {
        let wanted = |frame: &Frame| frame.kind == GOAWAY || frame.stream == stream && (frame.kind == HEADERS || frame.kind == RST_STREAM);
        match self.until(wanted).await {
            None => Outcome::Closed,
            Some(frame) if frame.kind == GOAWAY => Outcome::GoAway(frame.number(4)),
            Some(frame) if frame.kind == RST_STREAM => Outcome::Reset(frame.number(0)),
            Some(frame) => Outcome::Status(status(&frame.payload)),
        }
    }

    /// How the connection ends: the error that is told, if one is.
    pub(super) async fn end(&mut self) -> Option<u32> {
        let told = self.until(|frame| frame.kind == GOAWAY).await.map(|frame| frame.number(4));
        while self.read().await.is_some() {}
        told
    }
}

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block: every field a literal that is not indexed, in plain bytes.
pub(super) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let text = |text: &[u8]| [&integer(7, 0, text.len()), text].concat();
    fields.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat()).collect()
}

/// An integer with a prefix of so many bits: RFC 7541, 5.1.
pub(super) fn integer(bits: u8, first: u8, value: usize) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let (mut out, mut rest) = (vec![first | u8::try_from(most).unwrap()], value - most);
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
    out
}

/// The status at the beginning of an answer's block: of the static table, or a literal in Huffman's code.
fn status(block: &[u8]) -> u16 {
    match block {
        [first @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)],
        [0x08 | 0x48, length, text @ ..] if length & 0x80 == 0 => std::str::from_utf8(&text[..usize::from(*length)]).unwrap().parse().unwrap(),
        [0x08 | 0x48, length, text @ ..] => {
            let text = &text[..usize::from(length & 0x7f)];
            let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |n| u16::from(byte >> n & 1)));
            // 0, 1 and 2 are five bits, the other digits six.
            (0..3).fold(0, |number, _digit| {
                let five = bits.by_ref().take(5).fold(0, |code, bit| code << 1 | bit);
                let digit = if five <= 2 { five } else { (five << 1 | bits.next().unwrap()) - 0b01_1001 + 3 };
                number * 10 + digit
            })
        }
        _ => panic!("no status: {block:?}"),
    }
}

/// The four pseudo-headers of a read by the helpdesk, and its purpose.
pub(super) fn read(path: &str) -> Vec<(&[u8], &[u8])> {
    vec![
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", path.as_bytes()),
        (b"data-purpose", b"service-provision.support"),
    ]
}
