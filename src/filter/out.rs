//! What is released of a piece of a body: spans of it, and what stands in their place. Neighbouring spans are copied in one go, with
//! what stands between them, so that what is kept is kept byte for byte.

use super::json::Node;

/// Writes what goes out of one piece of a body.
#[derive(Debug)]
pub(super) struct Out<'o, 'b> {
    bytes: &'b [u8],
    out: &'o mut Vec<u8>,
    /// A span that is to be copied.
    from: usize,
    to: usize,
}

/// To where it can be undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    written: usize,
    from: usize,
    to: usize,
}

impl<'o, 'b> Out<'o, 'b> {
    pub(super) const fn new(bytes: &'b [u8], out: &'o mut Vec<u8>) -> Self {
        Self { bytes, out, from: 0, to: 0 }
    }

    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark { written: self.out.len(), from: self.from, to: self.to }
    }

    pub(super) fn undo(&mut self, mark: Mark) {
        self.out.truncate(mark.written);
        (self.from, self.to) = (mark.from, mark.to);
    }

    /// Goes on copying from here.
    pub(super) fn start(&mut self, at: usize) {
        self.flush();
        (self.from, self.to) = (at, at);
    }

    /// Copies up to here.
    pub(super) const fn extend_to(&mut self, at: usize) {
        self.to = at;
    }

    /// Writes something else in the place of what ends at `at`.
    pub(super) fn put(&mut self, text: &[u8], at: usize) {
        self.flush();
        self.out.extend_from_slice(text);
        (self.from, self.to) = (at, at);
    }

    /// All that is to be copied is copied.
    pub(super) fn flush(&mut self) {
        self.out.extend_from_slice(self.bytes.get(self.from..self.to).unwrap_or_default());
        self.from = self.to;
    }

    /// Begins an object or array. What is copied before it ends where it begins.
    pub(super) const fn open(&mut self, node: &Node) -> Between {
        self.extend_to(node.start as usize + 1);
        Between { written: false, whole: true }
    }

    /// Begins what stands in it; what is copied goes on from the child's beginning.
    #[inline]
    pub(super) fn child(&mut self, between: &mut Between, child: &Node) {
        if !between.whole {
            if between.written {
                self.flush();
                self.out.push(b',');
            }
            self.start(child.name as usize);
        }
        *between = Between { written: true, whole: true };
    }

    /// Ends it.
    pub(super) fn close(&mut self, between: Between, node: &Node) {
        let end = node.end as usize;
        if !between.whole {
            self.start(end.saturating_sub(1));
        }
        self.extend_to(end);
    }
}

/// What has happened in an object or array so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Between {
    /// Something of it goes out.
    pub(super) written: bool,
    /// Nothing was left out since what was written last.
    pub(super) whole: bool,
}
