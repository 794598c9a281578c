//! What lies between a connection's TLS and hyper: requests of HTTP/1.1 are held to the letter (`strict.rs`), a head that comes too
//! slowly and a client that takes nothing are cut, and at the end what is still on its way is taken in, since closing over it would
//! destroy the answer before the client has read it.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::strict::Strict;

/// How long, and how many bytes, a client that was answered may go on sending before its connection is closed over it.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Taken in at a time then, bytes.
const LINGER_PIECE: usize = 8 * 1024;

/// A connection's bytes, watched.
#[derive(Debug)]
pub(super) struct Wire<T> {
    stream: T,
    /// Of HTTP/1.1; HTTP/2 has a grammar of its own.
    strict: Option<Strict>,
    head: Timer,
    send: Timer,
    /// At the end: how much more is taken in.
    linger: Option<usize>,
    lingering: Timer,
    is_at_end: bool,
    /// What hyper gets in the place of what follows something wrong.
    tail: &'static [u8],
    dropped: usize,
}

/// The end of a head: hyper waits for it before it looks at what it has.
const TAIL: &[u8] = b"\r\n\r\n";

impl<T> Wire<T> {
    /// HTTP/1.1: heads have to come within `head`, also the first; what is sent has to be taken within `send`.
    pub(super) fn http1(stream: T, head: Duration, send: Duration) -> Self {
        Self { strict: Some(Strict::new()), head: Timer::begun(head), ..Self::http2(stream, send) }
    }

    pub(super) fn http2(stream: T, send: Duration) -> Self {
        Self {
            stream,
            strict: None,
            head: Timer::new(send),
            send: Timer::new(send),
            linger: None,
            lingering: Timer::new(LINGER_TIME_MAX),
            is_at_end: false,
            tail: TAIL,
            dropped: 0,
        }
    }

    /// Reads behind something wrong: what is there is nobody's, but that the client goes away is to be seen.
    fn read_beyond(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>>
    where
        T: AsyncRead + Unpin,
    {
        if !self.tail.is_empty() {
            let (now, later) = self.tail.split_at_checked(buffer.remaining()).unwrap_or((self.tail, &[]));
            buffer.put_slice(now);
            self.tail = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        while self.dropped < LINGER_BYTES_MAX {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let come = buffer.filled().len().saturating_sub(before);
            buffer.set_filled(before);
            self.dropped = self.dropped.saturating_add(come);
            if come == 0 {
                self.is_at_end = true;
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what came of a write: one that goes on waiting comes to an end.
    fn sent<R>(&mut self, cx: &mut Context<'_>, written: Poll<Result<R>>) -> Poll<Result<R>> {
        if written.is_ready() {
            self.send.stop();
            return written;
        }
        self.send.start();
        ready!(self.send.poll(cx));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if this.strict.as_ref().is_some_and(Strict::is_over) {
            return this.read_beyond(cx, buffer);
        }
        let before = buffer.filled().len();
        if Pin::new(&mut this.stream).poll_read(cx, buffer)?.is_pending() {
            ready!(this.head.poll(cx));
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the head of a request took too long")));
        }
        let come = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        this.is_at_end |= come.is_empty();
        if let Some(strict) = &mut this.strict {
            strict.look(come);
            if strict.is_in_head() { this.head.start() } else { this.head.stop() }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[std::io::IoSlice<'_>]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.sent(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.sent(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.sent(cx, shut))?;
            this.linger = Some(LINGER_BYTES_MAX);
            this.lingering.start();
        }
        // Where no request is under way there is nothing to be taken in.
        let is_quiet = this.strict.as_ref().is_some_and(Strict::is_between);
        let mut piece = [0; LINGER_PIECE];
        while let Some(left) = this.linger.filter(|left| *left > 0 && !this.is_at_end && !is_quiet) {
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => this.linger = Some(left.saturating_sub(buffer.filled().len())),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(this.lingering.poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A time that something may take, once it has begun.
#[derive(Debug)]
struct Timer {
    patience: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    const fn new(patience: Duration) -> Self {
        Self { patience, sleep: None }
    }

    fn begun(patience: Duration) -> Self {
        let mut this = Self::new(patience);
        this.start();
        this
    }

    /// Begins; what has begun goes on.
    fn start(&mut self) {
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
    }

    fn stop(&mut self) {
        self.sleep = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}
