//! Cuts a file of any size into pieces that are sent one by one. A piece never splits a record and can be read by itself: the
//! header of rows goes along, and the number of its first line. Records that repeat an earlier one of the file byte for byte
//! are left out and reported.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Read};

use aws_lc_rs::digest;

use super::ImportError;
use super::options::ImportFormat;
use super::reader::{RECORD_BYTES_MAX, Record, Records, Shape, cells, newlines, without_mark};

/// A part of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// The line of the file on which the first record stands; the header of rows goes before it.
    pub line: u64,
    /// The line on which the next piece begins; the same one where a line holds many records.
    pub next_line: u64,
    /// Where it begins in the file, and how many bytes of the file it is made of.
    pub offset: u64,
    pub length: u64,
    /// How many records it has, those that cannot be read included.
    pub records: u64,
    pub bytes: Vec<u8>,
    /// Records that stand in the file already and were left out.
    pub repeated: Vec<ImportError>,
    /// What is wrong with the file beside its records.
    pub faults: Vec<ImportError>,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece").field("line", &self.line).field("records", &self.records).finish_non_exhaustive()
    }
}

/// Cuts what a reader gives.
pub struct Cutter<R> {
    input: R,
    buffer: Vec<u8>,
    is_at_end: bool,
    is_begun: bool,
    /// How many bytes of the file are behind us.
    offset: u64,
    line: u64,
    shape: Shape,
    /// What each piece begins with: the header of rows, the bracket of an array.
    head: Vec<u8>,
    /// An array that was opened is closed before the file ends.
    wants_bracket: bool,
    /// The hash of each record, with its line; none when repetitions are kept.
    seen: Option<HashMap<[u8; 16], u64>>,
}

impl<R> std::fmt::Debug for Cutter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<R: Read> Cutter<R> {
    /// # Errors
    /// When the file cannot be read.
    pub fn new(input: R, format: ImportFormat) -> io::Result<Self> {
        let mut cutter = Self {
            input,
            buffer: Vec::new(),
            is_at_end: false,
            is_begun: false,
            offset: 0,
            line: 1,
            shape: Shape::Lines,
            head: Vec::new(),
            wants_bracket: false,
            seen: Some(HashMap::new()),
        };
        cutter.fill()?;
        let mark = cutter.buffer.len() - without_mark(&cutter.buffer).len();
        cutter.pass(mark);
        if format.is_rows() {
            cutter.read_header();
        } else {
            let text = cutter.buffer.trim_ascii_start();
            cutter.wants_bracket = text.first() == Some(&b'[');
            // A record that is laid out over several lines begins with a bracket alone.
            if cutter.wants_bracket || text.split(|b| *b == b'\n').next().is_some_and(|first| first.trim_ascii() == b"{") {
                cutter.shape = Shape::Objects;
                cutter.head.push(b'[');
            }
        }
        Ok(cutter)
    }

    /// Leaves records in that repeat an earlier one.
    #[must_use]
    pub fn keep_repeated(mut self) -> Self {
        self.seen = None;
        self
    }

    /// Whether pieces are arrays and not one object a line.
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.shape == Shape::Objects
    }

    /// How many lines of each piece are the header of rows.
    #[must_use]
    pub fn head_lines(&self) -> u64 {
        newlines(&self.head)
    }

    /// The next piece; none at the end. The first one comes also when there is nothing in it, since its head is to be checked.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        self.fill()?;
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let (line, offset, bytes) = (self.line, self.offset, self.head.clone());
        let mut piece = Piece { line, next_line: line, offset, length: 0, records: 0, bytes, repeated: Vec::new(), faults: Vec::new() };
        let mut records = Records::new(&self.buffer, line, self.shape);
        // The buffer ends inside a record that cannot be read: what follows in the file is still of that record.
        let (mut is_cut, mut after_unread) = (false, false);
        while piece.records < PIECE_RECORDS && records.at < PIECE_BYTES {
            let from = records.at;
            let record = records.next();
            let bytes = self.buffer.get(from..records.at).unwrap_or_default();
            piece.records += u64::from(record.is_some());
            // What cannot be read ends where a record begins: one behind it is never left out.
            let is_kept = std::mem::replace(&mut after_unread, record.as_ref().is_some_and(|record| record.text.is_err()));
            match record.as_ref().and_then(|record| repeats(self.seen.as_mut(), record)).filter(|_| !is_kept) {
                // Only its lines are left, so that what follows keeps its number, and of objects what parts its neighbours.
                Some(error) => {
                    piece.repeated.push(error);
                    piece.bytes.extend((self.shape == Shape::Objects).then_some(b','));
                    piece.bytes.extend(bytes.iter().filter(|b| **b == b'\n'));
                }
                None => piece.bytes.extend_from_slice(bytes),
            }
            let is_unread = record.is_some_and(|record| record.text.is_err()) && records.at == self.buffer.len();
            is_cut = is_unread && (self.shape == Shape::Objects || !bytes.ends_with(b"\n"));
            if records.at == self.buffer.len() {
                break;
            }
        }
        let read = records.at;
        self.line = records.line;
        let last = self.buffer.get(..read).and_then(|read| read.trim_ascii_end().last().copied());
        self.pass(read);
        if is_cut && self.is_array() {
            (self.is_at_end, self.wants_bracket) = (true, false);
        } else if is_cut && self.skip_line()? {
            piece.bytes.push(b'\n');
        }
        if self.wants_bracket && self.is_at_end && self.buffer.is_empty() && last.is_some_and(|last| last != b']') {
            piece.faults.push(ImportError { line: self.line, message: "the array is not closed; the file may be cut".to_owned() });
        }
        (piece.next_line, piece.length) = (self.line, self.offset - offset);
        let is_over = self.is_at_end && self.buffer.is_empty();
        let is_empty = is_over && piece.records == 0 && piece.faults.is_empty() && !is_first;
        Ok(if is_empty { None } else { Some(piece) })
    }

    fn read_header(&mut self) {
        let mut records = Records::new(&self.buffer, 1, Shape::Rows { cells: None });
        let header = records.next();
        let mut names = Vec::new();
        cells(header.as_ref().and_then(|record| record.text.as_ref().ok()).unwrap_or(&""), &mut names);
        self.shape = Shape::Rows { cells: Some(names.len()) };
        let length = records.at;
        self.line = records.line;
        self.head = self.buffer.get(..length).unwrap_or_default().to_vec();
        self.pass(length);
        if !self.head.ends_with(b"\n") {
            self.head.push(b'\n');
        }
    }

    /// Leaves bytes behind.
    fn pass(&mut self, bytes: usize) {
        self.buffer.drain(..bytes.min(self.buffer.len()));
        self.offset += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Enough that each record of the next piece stands in the buffer as a whole.
    fn fill(&mut self) -> io::Result<()> {
        let wanted = PIECE_BYTES + 2 * RECORD_BYTES_MAX;
        while !self.is_at_end && self.buffer.len() < wanted {
            let missing = u64::try_from(wanted - self.buffer.len()).unwrap_or(u64::MAX);
            self.is_at_end = self.input.by_ref().take(missing).read_to_end(&mut self.buffer)? == 0;
        }
        Ok(())
    }

    /// Passes over the rest of a line that is longer than the buffer; whether it has an end.
    fn skip_line(&mut self) -> io::Result<bool> {
        while !self.is_at_end {
            self.fill()?;
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                self.pass(end + 1);
                self.line += 1;
                return Ok(true);
            }
            self.pass(self.buffer.len());
        }
        Ok(false)
    }
}

fn repeats(seen: Option<&mut HashMap<[u8; 16], u64>>, record: &Record<'_>) -> Option<ImportError> {
    let (seen, text) = (seen?, record.text.as_ref().ok()?);
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    match seen.entry(*hash.as_ref().first_chunk::<16>()?) {
        Entry::Vacant(new) => {
            new.insert(record.line);
            None
        }
        Entry::Occupied(earlier) => Some(ImportError { line: record.line, message: format!("repeats line {}; left out", earlier.get()) }),
    }
}

/// A piece has at most so many records.
const PIECE_RECORDS: u64 = 5_000;
/// A piece ends with the record in which it exceeds this.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
