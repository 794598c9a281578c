//! The tables. Events are append-only; their content is never changed or deleted (triggers hold it).
//!
//! ```text
//! meta(name, value)           id, key, how far the decision log is
//! identifier(no, space, value)                 erased: the value goes, the number stays
//! party(no, kind, revision, merged_into, …)    link(ident, party, grp, …, from_rev, to_rev)    merge(revision, …)    fact(…)
//! form(no, body)              what very many events share (wire.rs)
//! event(revision, ident, form, recorded, happened, due, uses, about, detail; fired, used)
//! change(revision, …)         what happened, for log and feed          tombstone(hash, party)         document(kind, key, body)
//! answered(caller, key, …)    what was done under an idempotency key, 24 h
//! ```

pub(super) const VERSION: i64 = 3;

pub(super) const TABLES: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE identifier(no INTEGER PRIMARY KEY, space TEXT NOT NULL, value TEXT, UNIQUE(space, value));
CREATE TABLE party(
  no INTEGER PRIMARY KEY, kind TEXT NOT NULL, revision INTEGER NOT NULL, merged_into INTEGER, erased INTEGER, adult_from INTEGER);
CREATE INDEX party_changed ON party(revision);
CREATE INDEX party_merged ON party(merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX party_erased ON party(erased) WHERE erased IS NOT NULL;
CREATE INDEX party_minor ON party(adult_from) WHERE adult_from IS NOT NULL;
CREATE TABLE link(
  ident INTEGER NOT NULL REFERENCES identifier(no), party INTEGER NOT NULL REFERENCES party(no), from_rev INTEGER NOT NULL,
  grp INTEGER NOT NULL, assurance TEXT NOT NULL, grants_after INTEGER NOT NULL, source TEXT NOT NULL, from_time INTEGER NOT NULL,
  to_rev INTEGER, to_time INTEGER, PRIMARY KEY(ident, party, from_rev)) WITHOUT ROWID;
CREATE INDEX link_of ON link(party);
CREATE UNIQUE INDEX link_resolves ON link(ident) WHERE assurance <> 'matched' AND to_rev IS NULL;
CREATE INDEX link_matched ON link(ident) WHERE assurance = 'matched' AND to_rev IS NULL;
CREATE TABLE merge(
  revision INTEGER PRIMARY KEY, into_party INTEGER NOT NULL, from_party INTEGER NOT NULL, time INTEGER NOT NULL, reason TEXT NOT NULL,
  source TEXT NOT NULL, undone INTEGER);
CREATE INDEX merge_into ON merge(into_party);
CREATE INDEX merge_from ON merge(from_party);
CREATE TABLE fact(
  party INTEGER NOT NULL REFERENCES party(no), name TEXT NOT NULL, value TEXT NOT NULL, source TEXT NOT NULL,
  time INTEGER NOT NULL, revision INTEGER NOT NULL);
CREATE INDEX fact_of ON fact(party);
CREATE TABLE form(no INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
CREATE TABLE event(
  revision INTEGER PRIMARY KEY, ident INTEGER NOT NULL REFERENCES identifier(no), form INTEGER NOT NULL REFERENCES form(no),
  recorded INTEGER NOT NULL, happened INTEGER, due INTEGER, uses INTEGER, about INTEGER, detail TEXT,
  fired INTEGER NOT NULL DEFAULT 0, used INTEGER NOT NULL DEFAULT 0);
CREATE INDEX event_of ON event(ident);
CREATE INDEX event_due ON event(due) WHERE due IS NOT NULL AND fired = 0;
CREATE TABLE tombstone(hash BLOB PRIMARY KEY, party INTEGER) WITHOUT ROWID;
CREATE TABLE change(
  revision INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, party INTEGER, event INTEGER, purposes TEXT NOT NULL,
  state TEXT NOT NULL, author TEXT);
CREATE TABLE document(kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY(kind, key)) WITHOUT ROWID;
CREATE TABLE answered(
  caller TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, event INTEGER, party INTEGER, revision INTEGER NOT NULL,
  author TEXT, detail TEXT, at INTEGER NOT NULL, PRIMARY KEY(caller, key)) WITHOUT ROWID;
CREATE INDEX answered_at ON answered(at);
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT raise(ABORT, 'events are never deleted'); END;
CREATE TRIGGER event_is_final BEFORE UPDATE OF revision, ident, form, recorded, happened, due, uses, about, detail ON event
  BEGIN SELECT raise(ABORT, 'events are never changed'); END;
CREATE TRIGGER form_is_final BEFORE UPDATE ON form BEGIN SELECT raise(ABORT, 'events are never changed'); END;
CREATE TRIGGER form_stays BEFORE DELETE ON form BEGIN SELECT raise(ABORT, 'events are never deleted'); END;
";

/// Made at each opening where they are missing: they hold nothing of their own, so that they need no other version.
pub(super) const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS change_used_up ON change(event) WHERE kind = 'used-up';
";
