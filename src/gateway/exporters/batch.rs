//! What is sent at a time.

use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;

use crate::audit::Log;
use crate::audit::export::{ExportError, Position, Step, Tail, body, record, syslog_frame};
use crate::model::EventFormat;

/// In one batch.
pub(super) const EVENTS_MAX: usize = 500;
/// Of one batch; one event more may begin below it.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Entries that are read at a time, so that a stop does not wait for long.
const READ_MAX: u64 = 20_000;

/// The log that is read, and how its events are written.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) dir: PathBuf,
    pub(super) origin: String,
    /// Of the export: under it the position is stored.
    pub(super) name: String,
    pub(super) log: Log,
    pub(super) format: EventFormat,
    pub(super) is_syslog: bool,
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) events: usize,
    pub(super) payload: Bytes,
    /// Where to go on once it is acknowledged.
    pub(super) position: Position,
    read: u64,
    /// There was nothing more.
    pub(super) is_last: bool,
}

impl Batch {
    /// What was only looked through may be looked through again.
    pub(super) fn is_worth_storing(&self) -> bool {
        self.events > 0 || self.read >= READ_MAX
    }
}

impl Source {
    /// Reads on; `None` for a tail begins where the destination has acknowledged.
    pub(super) fn gather(&self, tail: Option<Tail>, now: Timestamp, events_max: usize) -> Result<(Tail, Batch), ExportError> {
        // Only what is durable may be told.
        let bound = self.log.metrics().entries;
        let mut tail = match tail {
            Some(tail) => tail,
            None => self.open(bound)?,
        };
        let (mut records, mut bytes, mut read, mut is_last) = (Vec::new(), 0, 0, false);
        while records.len() < events_max && bytes < PAYLOAD_BYTES_MAX && read < READ_MAX {
            match tail.step(Some(bound), Some(now))? {
                Step::Event(event) => {
                    let record = record(self.format, &event);
                    let record = if self.is_syslog { syslog_frame(&event, &record) } else { record };
                    bytes += record.len();
                    records.push(record);
                }
                Step::Read => read += 1,
                Step::Idle => {
                    is_last = true;
                    break;
                }
            }
        }
        let texts = records.iter().map(String::as_str);
        let payload = if self.is_syslog { texts.collect::<String>() } else { body(self.format, &self.origin, texts) };
        let batch = Batch { events: records.len(), payload: payload.into(), position: tail.position(), read, is_last };
        Ok((tail, batch))
    }

    fn open(&self, entries: u64) -> Result<Tail, ExportError> {
        let position = Position::load(&self.dir, &self.name, &self.origin)?;
        if position.next > entries {
            return Err(ExportError::SetBack { next: position.next, entries });
        }
        Tail::open(&self.dir, &self.origin, position)
    }
}
