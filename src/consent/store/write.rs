//! A batch written as rows of SQLite, within the caller's transaction.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, ToSql, params};

use crate::model::{Author, Identifier, Revision};

use super::read::{Forms, micros, signed};
use super::wire::{self, Own};
use super::{Batch, FactName, StoreError, Written};

pub(super) fn batch(transaction: &Connection, forms: &mut Forms, batch: &Batch) -> Result<(), StoreError> {
    for party in &batch.parties {
        run(
            transaction,
            "INSERT INTO party(no, kind, revision) VALUES (?1, ?2, ?3)",
            params![signed(party.no.0)?, party.kind.as_str(), signed(party.revision.0)?],
        )?;
    }
    let mut idents = Idents::default();
    links(transaction, batch, &mut idents)?;
    facts(transaction, batch)?;
    events(transaction, forms, batch, &mut idents)?;
    for id in &batch.fired {
        run(transaction, "UPDATE event SET fired = 1 WHERE revision = ?1", params![signed(id.0)?])?;
    }
    for id in &batch.used {
        run(transaction, "UPDATE event SET used = used + 1 WHERE revision = ?1", params![signed(id.0)?])?;
    }
    merges(transaction, batch)?;
    for (no, revision) in &batch.erased {
        let no = signed(no.0)?;
        run(transaction, "DELETE FROM fact WHERE party = ?1", params![no])?;
        run(transaction, "UPDATE party SET erased = ?2, adult_from = NULL WHERE no = ?1", params![no, signed(revision.0)?])?;
    }
    for (identifier, _) in &batch.forgotten {
        let values = params![identifier.space.as_str(), identifier.value];
        // Nobody can be told any more that it ran out.
        let sql = "UPDATE event SET fired = 1 WHERE due IS NOT NULL AND ident = (SELECT no FROM identifier WHERE space = ?1 AND value = ?2)";
        run(transaction, sql, values)?;
        run(transaction, "UPDATE identifier SET value = NULL WHERE space = ?1 AND value = ?2", values)?;
    }
    for tombstone in &batch.tombstones {
        let party = tombstone.party.map(|no| signed(no.0)).transpose()?;
        run(transaction, "INSERT OR IGNORE INTO tombstone(hash, party) VALUES (?1, ?2)", params![tombstone.hash, party])?;
    }
    for (no, revision) in &batch.touched {
        run(transaction, "UPDATE party SET revision = ?2 WHERE no = ?1", params![signed(no.0)?, signed(revision.0)?])?;
    }
    history(transaction, batch)?;
    for document in &batch.documents {
        match &document.body {
            Some(body) => {
                run(transaction, "INSERT OR REPLACE INTO document(kind, key, body) VALUES (?1, ?2, ?3)", params![document.kind, document.key, body])?
            }
            None => run(transaction, "DELETE FROM document WHERE kind = ?1 AND key = ?2", params![document.kind, document.key])?,
        }
    }
    Ok(())
}

pub(super) fn mark_logged(connection: &Connection, up_to: Revision) -> Result<(), StoreError> {
    run(connection, "UPDATE meta SET value = ?1 WHERE name = 'logged' AND value < ?1", params![signed(up_to.0)?])
}

fn links<'b>(transaction: &Connection, batch: &'b Batch, idents: &mut Idents<'b>) -> Result<(), StoreError> {
    for unlink in &batch.unlinks {
        run(
            transaction,
            "UPDATE link SET to_rev = ?3, to_time = ?4 WHERE ident = ?1 AND party = ?2 AND to_rev IS NULL",
            params![signed(unlink.ident)?, signed(unlink.party.0)?, signed(unlink.revision.0)?, micros(unlink.time)],
        )?;
    }
    let named = batch.links.iter().map(|link| (None, link));
    for (ident, link) in named.chain(batch.moved.iter().map(|(ident, link)| (Some(*ident), link))) {
        let ident = match ident {
            Some(ident) => signed(ident)?,
            None => idents.number(transaction, &link.identifier)?,
        };
        run(
            transaction,
            "INSERT INTO link(ident, party, from_rev, grp, assurance, grants_after, source, from_time) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                ident,
                signed(link.party.0)?,
                signed(link.from.0)?,
                signed(link.group.0)?,
                link.assurance.as_str(),
                signed(link.grants_after.0)?,
                link.source,
                micros(link.from_time)
            ],
        )?;
    }
    Ok(())
}

fn facts(transaction: &Connection, batch: &Batch) -> Result<(), StoreError> {
    for fact in &batch.facts {
        run(
            transaction,
            "INSERT INTO fact(party, name, value, source, time, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![signed(fact.party.0)?, fact.name.as_str(), fact.value, fact.source, micros(fact.time), signed(fact.revision.0)?],
        )?;
        match fact.name {
            // What stands beside the party is only the timer.
            FactName::AdultFrom => {
                let day = fact.value.parse::<jiff::Timestamp>().map_err(|_not_a_time| StoreError::Damaged("a fact is no time".to_owned()))?;
                run(transaction, "UPDATE party SET adult_from = ?2 WHERE no = ?1", params![signed(fact.party.0)?, micros(day)])?;
            }
            FactName::Age => run(transaction, "UPDATE party SET adult_from = NULL WHERE no = ?1", params![signed(fact.party.0)?])?,
            FactName::Stage | FactName::Segment | FactName::LegalHold | FactName::Kind => {}
        }
    }
    Ok(())
}

fn events<'b>(transaction: &Connection, forms: &mut Forms, batch: &'b Batch, idents: &mut Idents<'b>) -> Result<(), StoreError> {
    let sql = "INSERT INTO event(revision, ident, form, recorded, happened, due, uses, about, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut insert = transaction.prepare_cached(sql)?;
    for Written { event, form, detail } in &batch.events {
        let Own { id, record_time, event_time, due, uses, about } = wire::own(event);
        insert.execute(params![
            signed(id.0)?,
            idents.number(transaction, &event.identifier)?,
            form_number(transaction, forms, form)?,
            micros(record_time),
            event_time.map(micros),
            due.map(micros),
            uses,
            about.map(|a| signed(a.0)).transpose()?,
            detail
        ])?;
    }
    Ok(())
}

fn form_number(transaction: &Connection, forms: &mut Forms, body: &str) -> Result<i64, StoreError> {
    if let Some(no) = forms.number(transaction, body)? {
        return Ok(no);
    }
    run(transaction, "INSERT INTO form(body) VALUES (?1)", params![body])?;
    let no = transaction.last_insert_rowid();
    forms.note(body, no);
    Ok(no)
}

fn merges(transaction: &Connection, batch: &Batch) -> Result<(), StoreError> {
    for merge in &batch.merges {
        run(
            transaction,
            "INSERT INTO merge(revision, into_party, from_party, time, reason, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![signed(merge.revision.0)?, signed(merge.into.0)?, signed(merge.from.0)?, micros(merge.time), merge.reason, merge.source],
        )?;
        run(transaction, "UPDATE party SET merged_into = ?2 WHERE no = ?1", params![signed(merge.from.0)?, signed(merge.into.0)?])?;
    }
    for (merge, split) in &batch.splits {
        run(transaction, "UPDATE merge SET undone = ?2 WHERE revision = ?1 AND undone IS NULL", params![signed(merge.0)?, signed(split.0)?])?;
        run(
            transaction,
            "UPDATE party SET merged_into = NULL WHERE no = (SELECT from_party FROM merge WHERE revision = ?1)",
            params![signed(merge.0)?],
        )?;
    }
    Ok(())
}

fn history(transaction: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let sql = "INSERT INTO change(revision, at, kind, party, event, purposes, state, author) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let mut insert = transaction.prepare_cached(sql)?;
    for change in &batch.changes {
        let purposes: Vec<&str> = change.purposes.iter().map(|p| p.as_str()).collect();
        insert.execute(params![
            signed(change.revision.0)?,
            micros(change.at),
            change.kind.as_str(),
            change.party.map(|p| signed(p.0)).transpose()?,
            change.event.map(|e| signed(e.0)).transpose()?,
            purposes.join(" "),
            change.state,
            change.author.map(Author::as_str)
        ])?;
    }
    for answered in &batch.answered {
        let day_ago = answered.done.at.checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(jiff::Timestamp::MIN);
        run(transaction, "DELETE FROM answered WHERE at < ?1", params![micros(day_ago)])?;
        run(
            transaction,
            "INSERT OR IGNORE INTO answered(caller, key, body, event, party, revision, author, detail, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                answered.caller,
                answered.key,
                answered.body,
                answered.done.event.map(|event| signed(event.0)).transpose()?,
                answered.done.party.map(|p| signed(p.0)).transpose()?,
                signed(answered.done.revision.0)?,
                answered.done.author.map(Author::as_str),
                answered.done.detail,
                micros(answered.done.at)
            ],
        )?;
    }
    Ok(())
}

/// The numbers of ids; one gets its number when it is first written down.
#[derive(Default)]
struct Idents<'b>(HashMap<&'b Identifier, i64>);

impl<'b> Idents<'b> {
    fn number(&mut self, transaction: &Connection, identifier: &'b Identifier) -> Result<i64, StoreError> {
        if let Some(no) = self.0.get(identifier) {
            return Ok(*no);
        }
        let values = params![identifier.space.as_str(), identifier.value];
        let sql = "SELECT no FROM identifier WHERE space = ?1 AND value = ?2";
        let found = transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
        let no = match found {
            Some(no) => no,
            None => {
                run(transaction, "INSERT INTO identifier(space, value) VALUES (?1, ?2)", values)?;
                transaction.last_insert_rowid()
            }
        };
        self.0.insert(identifier, no);
        Ok(no)
    }
}

fn run(transaction: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}
