//! Members with counts that stand before the rows they count: kept back until it is known how many there are.

use super::envelope::{Envelope, Links, Outline, alive_of, place};
use super::json::Unreadable;
use super::path::{At, Trail};
use super::reader::{Everything, Reader};
use super::report::Notes;

/// What is kept back of one body, in bytes at most.
const HELD_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Held {
    /// Where among what goes out it belongs.
    pub(super) at: usize,
    pub(super) raw_name: String,
    pub(super) value: Vec<u8>,
    /// The names on the way to it; items have none.
    pub(super) path: Vec<Option<String>>,
    /// Something stands before it in the same object.
    pub(super) follows: bool,
    pub(super) alive: Vec<usize>,
    pub(super) depth: usize,
    /// The gateway's URLs for links in it, in their order.
    pub(super) links: Vec<Option<String>>,
}

/// All that is kept back, in the order of the body.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    held: Vec<Held>,
    bytes: usize,
}

/// What became of counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    pub(super) removed: bool,
    pub(super) corrected: bool,
}

impl Backlog {
    pub(super) const fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn keep(&mut self, held: Held) -> Result<(), Unreadable> {
        self.bytes += held.value.len();
        if self.bytes > HELD_BYTES_MAX {
            return Err(Unreadable::TooLarge { max: HELD_BYTES_MAX });
        }
        self.held.push(held);
        Ok(())
    }

    /// Drops what was kept since there were so many; whether there was any.
    pub(super) fn drop_since(&mut self, mark: usize) -> bool {
        let dropped = self.held.split_off(mark.min(self.held.len()));
        self.bytes -= dropped.iter().map(|held| held.value.len()).sum::<usize>();
        !dropped.is_empty()
    }

    /// Puts all of it in where it belongs; with `None` its counts are left out.
    pub(super) fn settle(&mut self, out: &mut Vec<u8>, outline: &Outline, reader: &mut Reader, notes: &mut Notes, count: Option<usize>) -> Settled {
        let mut settled = Settled::default();
        if self.held.is_empty() {
            return settled;
        }
        // Mostly the counts stand behind the rows, and nothing has to be moved.
        let first = self.held.first().map_or(out.len(), |held| held.at);
        let (rest, mut from) = (out.split_off(first.min(out.len())), 0);
        self.bytes = 0;
        for held in std::mem::take(&mut self.held) {
            // It was read before.
            if reader.value(&held.value, 0, true, 0, At::default(), &Everything).is_err() {
                continue;
            }
            let Ok(value) = reader.tape(&held.value).root() else { continue };
            let base = held.path.iter().map(|name| place(name.as_ref())).collect();
            let links = Links::Known(held.links.into_iter());
            let mut envelope = Envelope { notes, base, trail: Trail::default(), count, links, removed: false, corrected: false };
            let mut text = String::new();
            let kept = envelope.value(value, &alive_of(outline, &held.alive), held.depth, &mut text);
            settled.removed |= envelope.removed;
            settled.corrected |= envelope.corrected;
            if kept {
                let member = format!("{}:{text}", held.raw_name);
                let member = if held.follows { format!(",{member}") } else { format!("{member},") };
                let to = held.at.saturating_sub(first);
                out.extend_from_slice(rest.get(from..to).unwrap_or_default());
                out.extend_from_slice(member.as_bytes());
                from = to;
            }
        }
        out.extend_from_slice(rest.get(from..).unwrap_or_default());
        settled
    }
}
