//! Rows of SQLite read back. Every number and word is checked: what cannot be read is damage, never skipped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::consent::event::{Assurance, Event, PartyKind, What};
use crate::consent::record::Record;
use crate::model::{Author, EventId, Identifier, PartyNo, Purpose, Revision, Space};

use super::wire::{self, Own, ReadForm};
use super::{
    Answered, Change, ChangeKind, Done, Dossier, FactName, FactRow, Head, LinkRow, MergeRow, PartyRow, Registers, StoreError, Tombstone, Written,
};

/// Forms that were read or written, by number and by text.
#[derive(Default)]
pub(super) struct Forms {
    pub(super) numbers: HashMap<String, i64>,
    read: HashMap<i64, Arc<ReadForm>>,
}

impl Forms {
    fn get(&mut self, connection: &Connection, no: i64) -> Result<Arc<ReadForm>, StoreError> {
        if let Some(form) = self.read.get(&no) {
            return Ok(Arc::clone(form));
        }
        let body: String = connection.prepare_cached("SELECT body FROM form WHERE no = ?1")?.query_row(params![no], |row| row.get(0))?;
        let form = Arc::new(wire::decode_form(&body)?);
        if self.read.len() >= FORMS_MAX {
            self.read.clear();
        }
        self.read.insert(no, Arc::clone(&form));
        Ok(form)
    }

    /// The number of a form that is stored.
    pub(super) fn number(&mut self, connection: &Connection, body: &str) -> Result<Option<i64>, StoreError> {
        if let Some(no) = self.numbers.get(body) {
            return Ok(Some(*no));
        }
        let found = connection.prepare_cached("SELECT no FROM form WHERE body = ?1")?.query_row(params![body], |row| row.get(0)).optional()?;
        if let Some(no) = found {
            self.note(body, no);
        }
        Ok(found)
    }

    pub(super) fn note(&mut self, body: &str, no: i64) {
        if self.numbers.len() >= FORMS_MAX {
            self.numbers.clear();
        }
        self.numbers.insert(body.to_owned(), no);
    }
}

pub(super) fn head(connection: &Connection) -> Result<Head, StoreError> {
    let meta = |name: &str| -> Result<Vec<u8>, StoreError> {
        Ok(connection.query_row("SELECT value FROM meta WHERE name = ?1", params![name], |row| row.get(0))?)
    };
    let key = meta("key")?.try_into().map_err(|_wrong_length| unreadable("key"))?;
    let id = String::from_utf8(meta("id")?).map_err(|_not_text| unreadable("id"))?;
    let revision: i64 = connection.query_row("SELECT coalesce(max(revision), 0) FROM change", [], |row| row.get(0))?;
    Ok(Head { id, revision: Revision(unsigned(revision)?), key })
}

pub(super) fn logged(connection: &Connection) -> Result<Revision, StoreError> {
    let revision: i64 = connection.query_row("SELECT value FROM meta WHERE name = 'logged'", [], |row| row.get(0))?;
    Ok(Revision(unsigned(revision)?))
}

pub(super) fn changed_parties(connection: &Connection, after: Revision) -> Result<Vec<PartyNo>, StoreError> {
    list(connection, "SELECT no FROM party WHERE revision > ?1 ORDER BY no", params![signed(after.0)?], |row| party_no(row.get(0)?))
}

pub(super) fn registers(connection: &Connection, erased_after: Revision) -> Result<Registers, StoreError> {
    Ok(Registers {
        matched: list(
            connection,
            "SELECT i.space, i.value, l.party FROM link l JOIN identifier i ON i.no = l.ident WHERE l.assurance = 'matched' AND l.to_rev IS NULL \
             AND i.value IS NOT NULL",
            [],
            |row| Ok((identifier(row, 0)?, party_no(row.get(2)?)?)),
        )?,
        merged: list(connection, "SELECT no, merged_into FROM party WHERE merged_into IS NOT NULL", [], |row| {
            Ok((party_no(row.get(0)?)?, party_no(row.get(1)?)?))
        })?,
        tombstones: list(connection, "SELECT hash, party FROM tombstone", [], |row| {
            Ok(Tombstone { hash: row.get(0)?, party: row.get::<_, Option<i64>>(1)?.map(party_no).transpose()? })
        })?,
        erased_since: connection.prepare_cached("SELECT 1 FROM party WHERE erased > ?1")?.exists(params![signed(erased_after.0)?])?,
    })
}

pub(super) fn dossier(connection: &Connection, forms: &mut Forms, no: PartyNo) -> Result<Option<Dossier>, StoreError> {
    let sql = "SELECT kind, revision, merged_into, erased FROM party WHERE no = ?1";
    let mut found = list(connection, sql, params![signed(no.0)?], |row| {
        Ok(PartyRow {
            no,
            kind: PartyKind::parse(&row.get::<_, String>(0)?).ok_or_else(|| unreadable("party kind"))?,
            revision: Revision(unsigned(row.get(1)?)?),
            merged_into: row.get::<_, Option<i64>>(2)?.map(party_no).transpose()?,
            is_erased: row.get::<_, Option<i64>>(3)?.is_some(),
        })
    })?;
    let Some(party) = found.pop() else { return Ok(None) };
    let links = list(
        connection,
        "SELECT i.space, i.value, l.party, l.grp, l.assurance, l.grants_after, l.source, l.from_rev, l.from_time, l.to_rev, l.to_time, l.ident \
         FROM link l JOIN identifier i ON i.no = l.ident WHERE l.party = ?1",
        params![signed(no.0)?],
        link,
    )?;
    let facts = list(
        connection,
        "SELECT name, value, source, time, revision FROM fact WHERE party = ?1 ORDER BY revision, rowid",
        params![signed(no.0)?],
        |row| fact(row, no),
    )?;
    let merges = merges_of(connection, no, &links)?;
    let mut idents: Vec<u64> = links.iter().map(|(ident, _)| *ident).collect();
    idents.sort_unstable();
    idents.dedup();
    let mut records = Vec::new();
    for ident in idents {
        for record in records_of(connection, forms, ident)? {
            records.push((ident, record));
        }
    }
    Ok(Some(Dossier { party, links, facts, merges, records }))
}

fn records_of(connection: &Connection, forms: &mut Forms, ident: u64) -> Result<Vec<Record>, StoreError> {
    let sql = "SELECT revision, recorded, happened, due, uses, about, form, fired, used FROM event WHERE ident = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![signed(ident)?])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let Own { id, record_time, event_time, due, uses, about } = own(row)?;
        let form = Arc::clone(&forms.get(connection, row.get(6)?)?.form);
        let fired = row.get::<_, i64>(7)? != 0;
        let used: u32 = row.get(8)?;
        let due = due.filter(|_| form.may_run_out());
        let uses_left = uses.map(|uses| uses.saturating_sub(used));
        let used_up = if uses_left == Some(0) { used_up(connection, id)? } else { None };
        records.push(Record { id, form, event_time, record_time, about, due, fired, uses_left, used_up });
    }
    Ok(records)
}

/// When the last use of a grant was taken. Those before it change nothing that is told, and have no time.
fn used_up(connection: &Connection, id: EventId) -> Result<Option<(Revision, Timestamp)>, StoreError> {
    let sql = "SELECT revision, at FROM change WHERE kind = 'used-up' AND event = ?1";
    Ok(list(connection, sql, params![signed(id.0)?], |row| Ok((Revision(unsigned(row.get(0)?)?), time(row.get(1)?)?)))?.pop())
}

/// Merges among the customers whose ids these are or were.
fn merges_of(connection: &Connection, no: PartyNo, links: &[(u64, LinkRow)]) -> Result<Vec<MergeRow>, StoreError> {
    if links.iter().all(|(_, link)| link.group == no) {
        return Ok(Vec::new());
    }
    let sql = "SELECT revision, from_party, time, reason, source, undone FROM merge WHERE into_party = ?1 ORDER BY revision";
    let mut found: Vec<MergeRow> = Vec::new();
    let mut groups: Vec<PartyNo> = links.iter().map(|(_, link)| link.group).chain([no]).collect();
    groups.sort_unstable();
    groups.dedup();
    for into in groups {
        found.extend(list(connection, sql, params![signed(into.0)?], |row| {
            Ok(MergeRow {
                revision: Revision(unsigned(row.get(0)?)?),
                into,
                from: party_no(row.get(1)?)?,
                time: time(row.get(2)?)?,
                reason: row.get(3)?,
                source: row.get(4)?,
                undone: row.get::<_, Option<i64>>(5)?.map(|r| unsigned(r).map(Revision)).transpose()?,
            })
        })?);
    }
    found.sort_by_key(|merge| merge.revision);
    Ok(found)
}

pub(super) fn links_of(connection: &Connection, of: &Identifier) -> Result<Vec<(u64, LinkRow)>, StoreError> {
    list(
        connection,
        "SELECT i.space, i.value, l.party, l.grp, l.assurance, l.grants_after, l.source, l.from_rev, l.from_time, l.to_rev, l.to_time, l.ident \
         FROM link l JOIN identifier i ON i.no = l.ident WHERE i.space = ?1 AND i.value = ?2 ORDER BY l.from_rev",
        params![of.space.as_str(), of.value],
        link,
    )
}

pub(super) fn merged_into(connection: &Connection, party: PartyNo, known: Revision) -> Result<Option<PartyNo>, StoreError> {
    let sql =
        "SELECT into_party FROM merge WHERE from_party = ?1 AND revision <= ?2 AND (undone IS NULL OR undone > ?2) ORDER BY revision DESC LIMIT 1";
    Ok(list(connection, sql, params![signed(party.0)?, signed(known.0)?], |row| party_no(row.get(0)?))?.pop())
}

pub(super) fn answered(connection: &Connection, caller: &str, key: &str, not_before: Timestamp) -> Result<Option<Answered>, StoreError> {
    let sql = "SELECT body, event, party, revision, author, detail, at FROM answered WHERE caller = ?1 AND key = ?2 AND at >= ?3";
    let found = list(connection, sql, params![caller, key, micros(not_before)], |row| {
        Ok(Answered {
            caller: caller.to_owned(),
            key: key.to_owned(),
            body: row.get(0)?,
            done: Done {
                event: row.get::<_, Option<i64>>(1)?.map(|event| unsigned(event).map(EventId)).transpose()?,
                party: row.get::<_, Option<i64>>(2)?.map(party_no).transpose()?,
                revision: Revision(unsigned(row.get(3)?)?),
                author: row.get::<_, Option<String>>(4)?.map(|text| author(&text)).transpose()?,
                detail: row.get(5)?,
                at: time(row.get(6)?)?,
            },
        })
    })?;
    Ok(found.into_iter().next())
}

const EVENT: &str = "SELECT e.revision, e.recorded, e.happened, e.due, e.uses, e.about, e.form, e.detail, i.space, i.value \
                     FROM event e JOIN identifier i ON i.no = e.ident";

pub(super) fn events(connection: &Connection, forms: &mut Forms, identifiers: &[Identifier]) -> Result<Vec<Event>, StoreError> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(&format!("{EVENT} WHERE i.space = ?1 AND i.value = ?2"))?;
    for identifier in identifiers {
        let mut rows = statement.query(params![identifier.space.as_str(), identifier.value])?;
        while let Some(row) = rows.next()? {
            found.push(read_event(connection, forms, row)?);
        }
    }
    found.sort_by_key(|event| event.revision);
    Ok(found)
}

pub(super) fn event(connection: &Connection, forms: &mut Forms, id: EventId) -> Result<Option<Event>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{EVENT} WHERE e.revision = ?1"))?;
    let mut rows = statement.query(params![signed(id.0)?])?;
    rows.next()?.map(|row| read_event(connection, forms, row)).transpose()
}

fn read_event(connection: &Connection, forms: &mut Forms, row: &Row<'_>) -> Result<Event, StoreError> {
    let detail: Option<String> = row.get(7)?;
    forms.get(connection, row.get(6)?)?.event(&own(row)?, identifier(row, 8)?, detail.as_deref())
}

pub(super) fn known(connection: &Connection, forms: &mut Forms, events: &[&Written]) -> Result<Vec<Option<EventId>>, StoreError> {
    // Most ids of a new import have nothing yet: that is asked once for each.
    let mut ident = connection.prepare_cached(
        "SELECT i.no FROM identifier i WHERE i.space = ?1 AND i.value = ?2 AND EXISTS (SELECT 1 FROM event e WHERE e.ident = i.no)",
    )?;
    let mut same = connection.prepare_cached(
        "SELECT e.revision FROM event e WHERE e.ident = ?1 AND e.form = ?2 AND e.happened IS ?3 AND e.due IS ?4 AND e.uses IS ?5 \
         AND e.about IS ?6 AND e.detail IS ?7 \
         AND (e.happened IS NOT NULL OR NOT EXISTS (SELECT 1 FROM event l WHERE l.ident = e.ident AND l.revision > e.revision)) LIMIT 1",
    )?;
    let mut idents: HashMap<&Identifier, Option<i64>> = HashMap::new();
    let mut found = Vec::with_capacity(events.len());
    for written in events {
        let (identifier, form, detail, event_time, due, uses, about) = written.says();
        let ident = match idents.entry(identifier) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let values = params![identifier.space.as_str(), identifier.value];
                *new.insert(ident.query_row(values, |row| row.get(0)).optional()?)
            }
        };
        // A stop or refusal that may not be in force any more is never taken for known.
        let may_be_known = !matches!(written.event.what, What::Lift { .. });
        let Some(ident) = ident.filter(|_| may_be_known) else {
            found.push(None);
            continue;
        };
        let Some(form) = forms.number(connection, form)? else {
            found.push(None);
            continue;
        };
        let about = about.map(|a| signed(a.0)).transpose()?;
        let values = params![ident, form, event_time.map(micros), due.map(micros), uses, about, detail];
        let revision: Option<i64> = same.query_row(values, |row| row.get(0)).optional()?;
        found.push(revision.map(|revision| unsigned(revision).map(EventId)).transpose()?);
    }
    Ok(found)
}

pub(super) fn due(connection: &Connection, by: Timestamp, limit: usize) -> Result<Vec<(EventId, Identifier)>, StoreError> {
    let sql = "SELECT e.revision, i.space, i.value FROM event e JOIN identifier i ON i.no = e.ident \
               WHERE e.due IS NOT NULL AND e.fired = 0 AND e.due <= ?1 ORDER BY e.due, e.revision LIMIT ?2";
    list(connection, sql, params![micros(by), count(limit)], |row| Ok((EventId(unsigned(row.get(0)?)?), identifier(row, 1)?)))
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT min(due) FROM event WHERE due IS NOT NULL AND fired = 0";
    let due: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    due.map(time).transpose()
}

pub(super) fn of_age(connection: &Connection, by: Timestamp, limit: usize) -> Result<Vec<PartyNo>, StoreError> {
    let sql = "SELECT no FROM party WHERE adult_from IS NOT NULL AND adult_from <= ?1 LIMIT ?2";
    list(connection, sql, params![micros(by), count(limit)], |row| party_no(row.get(0)?))
}

/// Bisected, since times grow with revisions but for steps of the clock.
pub(super) fn revision_at(connection: &Connection, at: Timestamp) -> Result<Revision, StoreError> {
    let sql = "SELECT revision, at FROM change WHERE revision <= ?1 ORDER BY revision DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let (mut low, mut high) = (0_u64, head(connection)?.revision.0);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let found: Option<(i64, i64)> = statement.query_row(params![signed(middle)?], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((revision, time)) if time <= micros(at) => low = unsigned(revision)?.max(middle),
            Some((revision, _)) => high = unsigned(revision)?.saturating_sub(1),
            None => high = middle.saturating_sub(1),
        }
    }
    Ok(Revision(low))
}

pub(super) fn unlinked(connection: &Connection) -> Result<Vec<(Space, u64)>, StoreError> {
    let sql = "SELECT i.space, count(*) FROM identifier i WHERE i.value IS NOT NULL AND i.space <> 'party' \
               AND EXISTS (SELECT 1 FROM event e WHERE e.ident = i.no) \
               AND NOT EXISTS (SELECT 1 FROM link l WHERE l.ident = i.no AND l.to_rev IS NULL AND l.assurance <> 'matched') GROUP BY i.space";
    list(connection, sql, [], |row| Ok((Space::intern(&row.get::<_, String>(0)?), unsigned(row.get(1)?)?)))
}

pub(super) fn holds(connection: &Connection, revision: Revision) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM change WHERE revision = ?1";
    Ok(connection.prepare_cached(sql)?.exists(params![signed(revision.0)?])?)
}

pub(super) fn changes(connection: &Connection, after: Revision, limit: usize) -> Result<Vec<Change>, StoreError> {
    let sql = "SELECT revision, at, kind, party, event, purposes, state, author FROM change WHERE revision > ?1 ORDER BY revision LIMIT ?2";
    list(connection, sql, params![signed(after.0)?, count(limit)], |row| {
        let purposes: String = row.get(5)?;
        Ok(Change {
            revision: Revision(unsigned(row.get(0)?)?),
            at: time(row.get(1)?)?,
            kind: ChangeKind::parse(&row.get::<_, String>(2)?).ok_or_else(|| unreadable("change"))?,
            party: row.get::<_, Option<i64>>(3)?.map(party_no).transpose()?,
            event: row.get::<_, Option<i64>>(4)?.map(|e| unsigned(e).map(EventId)).transpose()?,
            purposes: purposes.split_whitespace().map(Purpose::intern).collect(),
            state: row.get(6)?,
            author: row.get::<_, Option<String>>(7)?.map(|text| author(&text)).transpose()?,
        })
    })
}

pub(super) fn documents(connection: &Connection, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT key, body FROM document WHERE kind = ?1 ORDER BY key";
    list(connection, sql, params![kind], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn list<T>(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn own(row: &Row<'_>) -> Result<Own, StoreError> {
    Ok(Own {
        id: EventId(unsigned(row.get(0)?)?),
        record_time: time(row.get(1)?)?,
        event_time: row.get::<_, Option<i64>>(2)?.map(time).transpose()?,
        due: row.get::<_, Option<i64>>(3)?.map(time).transpose()?,
        uses: row.get(4)?,
        about: row.get::<_, Option<i64>>(5)?.map(|e| unsigned(e).map(EventId)).transpose()?,
    })
}

fn link(row: &Row<'_>) -> Result<(u64, LinkRow), StoreError> {
    let to: Option<(i64, i64)> = row.get::<_, Option<i64>>(9)?.zip(row.get::<_, Option<i64>>(10)?);
    let link = LinkRow {
        identifier: identifier(row, 0)?,
        party: party_no(row.get(2)?)?,
        group: party_no(row.get(3)?)?,
        assurance: Assurance::parse(&row.get::<_, String>(4)?).ok_or_else(|| unreadable("assurance"))?,
        grants_after: Revision(unsigned(row.get(5)?)?),
        source: row.get(6)?,
        from: Revision(unsigned(row.get(7)?)?),
        from_time: time(row.get(8)?)?,
        to: to.map(|(revision, at)| Ok::<_, StoreError>((Revision(unsigned(revision)?), time(at)?))).transpose()?,
    };
    Ok((unsigned(row.get(11)?)?, link))
}

fn fact(row: &Row<'_>, party: PartyNo) -> Result<FactRow, StoreError> {
    Ok(FactRow {
        party,
        name: FactName::parse(&row.get::<_, String>(0)?).ok_or_else(|| unreadable("fact"))?,
        value: row.get(1)?,
        source: row.get(2)?,
        time: time(row.get(3)?)?,
        revision: Revision(unsigned(row.get(4)?)?),
    })
}

/// An id whose value was erased reads as an empty one, which no grammar takes.
fn identifier(row: &Row<'_>, at: usize) -> Result<Identifier, StoreError> {
    let value: Option<String> = row.get(at + 1)?;
    Ok(Identifier { space: Space::intern(&row.get::<_, String>(at)?), value: value.unwrap_or_default() })
}

fn author(text: &str) -> Result<Author, StoreError> {
    Author::parse(text).ok_or_else(|| unreadable("author"))
}

fn party_no(number: i64) -> Result<PartyNo, StoreError> {
    Ok(PartyNo(unsigned(number)?))
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Damaged(format!("the stored {what} cannot be read"))
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_too_large| StoreError::Damaged("a number is too large".to_owned()))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_negative| StoreError::Damaged("a number is negative".to_owned()))
}

/// Times are kept to the microsecond; the ledger cuts them to it before it uses them.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_out_of_range| unreadable("time"))
}

/// Forms that are remembered; when there are more, reading begins anew.
const FORMS_MAX: usize = 65_536;
