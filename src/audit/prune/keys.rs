//! Which keys of free text go: those of months that are wholly past their time, unless what was written in them may be needed for a
//! legal claim.
//!
//! A grant holds together what people wrote about it and what it was used for, also where that falls into several months or follows the
//! head: when a decision under it names a customer under hold, every key of its texts stays. The whole log is read for that, also
//! the segment that grows: a quiet log has years in it.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Role, decision, grant, judge, keys};
use super::plan::going_on;
use crate::audit::content;
use crate::audit::error::AuditError;
use crate::audit::segment::{Cursor, SegmentFile};
use crate::audit::text_keys::TextKeyId;
use crate::model::PartyNo;

#[derive(Debug, Default)]
pub(super) struct KeyPlan {
    pub(super) going: Vec<Going>,
    pub(super) held: Vec<TextKeyId>,
}

/// A key that is to be destroyed.
#[derive(Debug)]
pub(super) struct Going {
    pub(super) id: TextKeyId,
    /// Customers for whose sake it must stay if they come under hold.
    pub(super) parties: BTreeSet<PartyNo>,
}

/// What belongs to one grant.
#[derive(Debug, Default)]
struct Emergency {
    keys: BTreeSet<TextKeyId>,
    parties: BTreeSet<PartyNo>,
    /// Of some entry nobody can say whom it names.
    is_unknown: bool,
}

#[derive(Debug, Default)]
struct Survey {
    emergencies: BTreeMap<String, Emergency>,
    /// The grant of a decision, by its head.
    heads: BTreeMap<u64, String>,
    /// Keys of texts that belong to no grant that is known.
    astray: BTreeSet<TextKeyId>,
}

/// `past`: whose month is over. `stop` is asked from time to time.
pub(super) fn plan(
    segments: &[SegmentFile],
    past: &[TextKeyId],
    is_held: &dyn Fn(PartyNo) -> bool,
    stop: &dyn Fn() -> bool,
) -> Result<KeyPlan, AuditError> {
    let mut plan = KeyPlan::default();
    if past.is_empty() {
        return Ok(plan);
    }
    let mut survey = Survey::default();
    let limits = segments.iter().skip(1).map(|next| Some(next.name.first)).chain([None]);
    for (file, limit) in segments.iter().zip(limits) {
        going_on(stop)?;
        let data = content::read(file)?;
        let mut cursor = Cursor::open(file, &data, limit)?;
        while let Some((index, entry)) = cursor.next(&data)? {
            survey.entry(index, entry);
        }
    }
    for id in past {
        match survey.parties(*id) {
            Some(parties) if !parties.iter().any(|party| is_held(*party)) => plan.going.push(Going { id: *id, parties }),
            Some(_) | None => plan.held.push(*id),
        }
    }
    Ok(plan)
}

impl Survey {
    fn entry(&mut self, index: u64, entry: &[u8]) {
        let keys: Vec<TextKeyId> = keys(entry).filter_map(TextKeyId::parse).collect();
        let named = grant(entry).map(str::to_owned);
        let Some(grant) = named.or_else(|| self.heads.get(&decision(entry)?).cloned()) else { return self.astray.extend(keys) };
        let judged = judge(entry);
        let emergency = self.emergencies.entry(grant.clone()).or_default();
        emergency.keys.extend(keys);
        emergency.parties.extend(judged.parties);
        match judged.role {
            Role::Head { .. } => drop(self.heads.insert(index, grant)),
            Role::Stays { .. } => emergency.is_unknown = true,
            Role::Dictionary | Role::Piece { .. } | Role::Other { .. } => {}
        }
    }

    /// Everybody who is named where the key's texts belong; `None` when nobody can say.
    fn parties(&self, id: TextKeyId) -> Option<BTreeSet<PartyNo>> {
        let of_key: Vec<&Emergency> = self.emergencies.values().filter(|emergency| emergency.keys.contains(&id)).collect();
        if self.astray.contains(&id) || of_key.iter().any(|emergency| emergency.is_unknown) {
            return None;
        }
        Some(of_key.into_iter().flat_map(|emergency| emergency.parties.iter().copied()).collect())
    }
}
