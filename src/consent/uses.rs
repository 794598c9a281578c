//! Grants that may be relied on only so often. A use is taken durably before what relies on it is released: after a crash in
//! between it counts as taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{EventId, PartyNo, Revision};

use super::commit::Binding;
use super::error::ConsentError;
use super::event::{Event, State, What};
use super::ledger::Ledger;
use super::store::{Batch, ChangeKind};

/// A customer whose grant was used for the last time: the revision of what was decided on, and the one that it has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub party: PartyNo,
    pub from: Revision,
    pub to: Revision,
}

impl Ledger {
    /// Takes one use of each of these grants, of all or of none; durable on return. A last use ends its grant: whoever decided
    /// on it at another revision than the one told must decide anew. While uses remain nothing but their number changes.
    ///
    /// # Errors
    /// [`ConsentError::UsedUp`] when one has none left, [`ConsentError::NotFound`] when one is nobody's grant of limited uses;
    /// [`ConsentError::Unavailable`] when the store is away: whether the uses were taken is then not known.
    pub fn reserve_uses(&self, events: &[EventId]) -> Result<Vec<Moved>, ConsentError> {
        let mut writer = self.begin();
        let used = BTreeSet::from_iter(events.iter().copied());
        let last = used.iter().filter_map(|id| self.last_use(*id).transpose()).collect::<Result<Vec<Event>, _>>()?;
        let mut batch = Batch { used: used.into_iter().collect(), ..Batch::default() };
        let mut moved = BTreeMap::new();
        for event in last {
            let reached = self.reading().reached_by(&event.identifier);
            moved.extend(reached.into_iter().filter_map(|no| Some((no, self.party_revision(no)?))));
            self.change(&mut writer, &mut batch, self.record_time(), ChangeKind::UsedUp, &event.identifier, |change| {
                change.event = Some(event.id);
                if let What::Consent(consent) = event.what {
                    change.purposes = consent.purposes;
                }
                State::Expired.as_str().clone_into(&mut change.state);
            });
        }
        self.commit(&mut writer, batch, Binding::OnlyIfStored)?;
        // The one writer's turn is still ours: nothing else has touched them.
        Ok(moved.into_iter().filter_map(|(party, from)| Some(Moved { party, from, to: self.party_revision(party)? })).collect())
    }

    /// The grant, when it may be used once more only.
    fn last_use(&self, id: EventId) -> Result<Option<Event>, ConsentError> {
        let (event, party) = self.event(id)?;
        let dossier = party.map(|no| self.store.dossier(no)).transpose()?.flatten().ok_or(ConsentError::NotFound)?;
        let left = dossier.records.iter().find(|(_, record)| record.id == id).and_then(|(_, record)| record.uses_left);
        match left.ok_or(ConsentError::NotFound)? {
            0 => Err(ConsentError::UsedUp),
            1 => Ok(Some(event)),
            _ => Ok(None),
        }
    }
}
