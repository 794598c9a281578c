//! The projection kept in a file beside the database, so that a start need not read every event.
//!
//! It is written while the ledger goes on, piece by piece: the file is a mixture of states, none older than the revision in its
//! head. Whoever changed after that revision is read anew from the store at the start, so the mixture does no harm. Each
//! block carries a checksum; a file that is damaged, foreign or of another version is left aside and everything is read.
//!
//! ```text
//! magic · block(head as JSON) · block(rows) … · block(long lists) · block(shard) × 256 · block(profiles as JSON lines)
//! block: length u64 · CRC-32C u32 · bytes
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::model::{PartyNo, Revision, Space};

use super::crosswalk::{Crosswalk, Shard, Slot};
use super::dossier::Settings;
use super::error::Unavailable;
use super::health::lock;
use super::intern::Interner;
use super::ledger::Ledger;
use super::profile::Profile;
use super::projection::{Projection, crosswalk_key};
use super::rows::{ROW_BYTES, Row, Rows};
use super::store::Head;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadV1 {
    store: String,
    revision: u64,
    skew_s: i64,
    row_blocks: u64,
    shards: u64,
}

/// What is known of the file.
#[derive(Debug)]
pub(super) struct Kept {
    /// The revision in its head; `None`: there is no file.
    pub(super) revision: Option<Revision>,
    /// Why it could not be written the last time.
    pub(super) failed: Option<Unavailable>,
    /// How often somebody was erased; a file that is being written meanwhile is thrown away.
    erasures: u64,
}

impl Kept {
    pub(super) const fn of(revision: Option<Revision>) -> Self {
        Self { revision, failed: None, erasures: 0 }
    }
}

/// What the file holds, if it is of this store and whole.
pub(super) fn read(path: &Path, head: &Head, settings: &Settings) -> Option<Projection> {
    match read_file(path, head, settings) {
        Ok(Some(found)) => return Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(None) => tracing::warn!("the snapshot is not of the consent store as it is; every event is read instead"),
        Err(error) => tracing::warn!(kind = %error.kind(), "the snapshot of the consent store cannot be used; every event is read instead"),
    }
    None
}

/// Removes the file and whatever an unfinished write has left: a file that was once left aside must not come to be used after all.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    for path in [path, &part(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn part(path: &Path) -> PathBuf {
    path.with_extension("snapshot.part")
}

fn read_file(path: &Path, head: &Head, settings: &Settings) -> io::Result<Option<Projection>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(damaged());
    }
    let found: HeadV1 = serde_json::from_slice(&read_block(&mut file)?)?;
    if found.store != head.id || found.revision > head.revision.0 {
        return Ok(None);
    }
    let mut rows = Rows::default();
    for _ in 0..found.row_blocks {
        for row in read_block(&mut file)?.chunks_exact(ROW_BYTES) {
            let row = row.first_chunk().and_then(Row::from_bytes).ok_or_else(damaged)?;
            row.push_to(&mut rows);
        }
    }
    read_long_lists(&read_block(&mut file)?, &mut rows)?;
    let mut shards = Vec::new();
    for _ in 0..found.shards {
        shards.push(read_shard(&read_block(&mut file)?)?);
    }
    let tail = read_block(&mut file)?;
    let (spaces, mut profiles) = read_profiles(&tail, &rows, Revision(found.revision))?;
    // These are read anew from the store.
    for row in rows.iter_mut().filter(|row| row.revision.0 > found.revision) {
        row.profile = profiles.hold(Profile::default());
    }
    if rows.iter().any(|(_, row)| profiles.get(row.profile).is_none()) {
        return Err(damaged());
    }
    if rows.iter().any(|(_, row)| row.revision > head.revision) {
        // The store was put back to an earlier time while the file was not.
        return Ok(None);
    }
    // The policies that are loaded next may name another; then every customer is read anew.
    let settings = Settings { skew: SignedDuration::from_secs(found.skew_s), ..settings.clone() };
    let crosswalk = Crosswalk::restore(crosswalk_key(&head.key), spaces, shards).ok_or_else(damaged)?;
    let mut projection = Projection::with(crosswalk, rows, profiles, &head.key, settings);
    projection.revision = Revision(found.revision);
    Ok(Some(projection))
}

/// The revision in the file's head; `None` when somebody was erased meanwhile, so that there is no file.
pub(super) fn write(path: &Path, ledger: &Ledger) -> io::Result<Option<Revision>> {
    let part = part(path);
    let mut written = write_part(path, &part, ledger);
    for _ in 0..RETRIES {
        if !written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            break;
        }
        written = write_part(path, &part, ledger);
    }
    if written.is_err() {
        // It holds ids; that there is none is as good.
        drop(fs::remove_file(&part));
    }
    written
}

fn write_part(path: &Path, part: &Path, ledger: &Ledger) -> io::Result<Option<Revision>> {
    let erasures = lock(&ledger.kept).erasures;
    let (revision, skew_s, notices, row_blocks, shards) = {
        let projection = ledger.reading();
        let blocks = projection.rows.chunks().len();
        (projection.revision, projection.settings.skew.as_secs(), projection.notices, blocks, projection.crosswalk.shards().len())
    };
    let mut file = BufWriter::with_capacity(1 << 20, File::create(part)?);
    file.write_all(MAGIC)?;
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let head = HeadV1 { store: ledger.head.id.clone(), revision: revision.0, skew_s, row_blocks: count(row_blocks), shards: count(shards) };
    write_block(&mut file, &serde_json::to_vec(&head)?)?;
    // The lock is taken anew for each piece: nobody waits longer than one takes to copy.
    for block in 0..row_blocks {
        let bytes: Vec<u8> = ledger.reading().rows.chunks().get(block).into_iter().flatten().flat_map(|row| row.to_bytes()).collect();
        write_block(&mut file, &bytes)?;
    }
    let mut long = Vec::new();
    for (no, bytes) in ledger.reading().rows.long() {
        long.extend_from_slice(&no.0.to_le_bytes());
        long.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        long.extend_from_slice(bytes);
    }
    write_block(&mut file, &long)?;
    for shard in 0..shards {
        let bytes = ledger.reading().crosswalk.shards().get(shard).map(shard_bytes).unwrap_or_default();
        write_block(&mut file, &bytes)?;
    }
    let (spaces, profiles) = {
        let projection = ledger.reading();
        if projection.notices != notices || projection.settings.skew.as_secs() != skew_s {
            // Profiles were numbered anew for customers who did not change.
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let profiles: Vec<(u32, Arc<Profile>)> = projection.profiles.iter().map(|(number, profile)| (number, Arc::clone(profile))).collect();
        (projection.crosswalk.spaces().to_vec(), profiles)
    };
    write_block(&mut file, &profile_bytes(&spaces, &profiles))?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    let mut kept = lock(&ledger.kept);
    if kept.erasures != erasures {
        // It would bring back the ids of somebody who was erased meanwhile.
        return discard(path).map(|()| None);
    }
    fs::rename(part, path)?;
    (kept.revision, kept.failed) = (Some(revision), None);
    drop(kept);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(Some(revision))
}

/// Removes the file: it holds ids that are to go.
pub(super) fn forget(ledger: &Ledger) -> io::Result<()> {
    let Some(path) = &ledger.snapshot else { return Ok(()) };
    let mut kept = lock(&ledger.kept);
    (kept.revision, kept.erasures) = (None, kept.erasures + 1);
    discard(path)
}

fn write_block(file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    file.write_all(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes())?;
    file.write_all(&crc32c::crc32c(bytes).to_le_bytes())?;
    file.write_all(bytes)
}

fn read_block(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut length, mut sum) = ([0; 8], [0; 4]);
    file.read_exact(&mut length)?;
    file.read_exact(&mut sum)?;
    let length = u64::from_le_bytes(length);
    if length > BLOCK_BYTES_MAX {
        return Err(damaged());
    }
    let mut bytes = Vec::new();
    let read = file.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(read).ok() != Some(length) || crc32c::crc32c(&bytes) != u32::from_le_bytes(sum) {
        return Err(damaged());
    }
    Ok(bytes)
}

fn shard_bytes(shard: &Shard) -> Vec<u8> {
    let (slots, bytes, dead_bytes) = shard.parts();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX).to_le_bytes();
    let mut out = Vec::with_capacity(16 + slots.len() * SLOT_BYTES + bytes.len());
    out.extend_from_slice(&count(slots.len()));
    out.extend_from_slice(&count(dead_bytes));
    slots.iter().flatten().for_each(|part| out.extend_from_slice(&part.to_le_bytes()));
    out.extend_from_slice(bytes);
    out
}

fn read_shard(bytes: &[u8]) -> io::Result<Shard> {
    let split = || {
        let (slots, rest) = bytes.split_first_chunk::<8>()?;
        let (dead, rest) = rest.split_first_chunk::<8>()?;
        let slots = usize::try_from(u64::from_le_bytes(*slots)).ok()?;
        let (slots, bytes) = rest.split_at_checked(slots.checked_mul(SLOT_BYTES)?)?;
        let (parts, _) = slots.as_chunks::<4>();
        let (slots, _) = parts.as_chunks::<3>();
        let slots = slots.iter().map(|slot| slot.map(u32::from_le_bytes)).collect();
        Some(Shard::from_parts(slots, bytes.to_vec(), usize::try_from(u64::from_le_bytes(*dead)).ok()?))
    };
    split().ok_or_else(damaged)
}

fn read_long_lists(mut rest: &[u8], rows: &mut Rows) -> io::Result<()> {
    while !rest.is_empty() {
        let mut next = || {
            let (no, after) = rest.split_first_chunk::<8>()?;
            let (length, after) = after.split_first_chunk::<4>()?;
            let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            rest = after;
            Some((PartyNo(u64::from_le_bytes(*no)), bytes))
        };
        let (no, bytes) = next().ok_or_else(damaged)?;
        rows.put_long(no, bytes.into());
    }
    Ok(())
}

/// Spaces in their order, then profiles by number.
fn profile_bytes(spaces: &[Space], profiles: &[(u32, Arc<Profile>)]) -> Vec<u8> {
    let spaces: Vec<&str> = spaces.iter().map(|space| space.as_str()).collect();
    let mut text = format!("{}\n", spaces.join(" "));
    for (number, profile) in profiles {
        text.extend([&number.to_string(), " ", &profile.encode(), "\n"]);
    }
    text.into_bytes()
}

/// Only what customers hold who did not change while the file was written: the numbers of the others may have been given anew.
fn read_profiles(bytes: &[u8], rows: &Rows, settled: Revision) -> io::Result<(Vec<Space>, Interner)> {
    let mut held: HashMap<u32, u64> = HashMap::new();
    for (_, row) in rows.iter().filter(|(_, row)| row.revision <= settled) {
        *held.entry(row.profile).or_default() += 1;
    }
    let text = std::str::from_utf8(bytes).map_err(|_not_text| damaged())?;
    let (spaces, lines) = text.split_once('\n').ok_or_else(damaged)?;
    let mut profiles = Interner::default();
    for line in lines.lines() {
        let read = || {
            let (number, profile) = line.split_once(' ')?;
            Some((number.parse::<u32>().ok()?, Profile::decode(profile)?))
        };
        let (number, profile) = read().ok_or_else(damaged)?;
        profiles.restore(number, profile, held.get(&number).copied().unwrap_or(0));
    }
    profiles.restored();
    Ok((spaces.split_whitespace().map(Space::intern).collect(), profiles))
}

fn damaged() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

/// A notice that takes force while the file is written begins it anew, so often.
const RETRIES: usize = 2;
const MAGIC: &[u8; 20] = b"consentry-snapshot-2";
const SLOT_BYTES: usize = size_of::<Slot>();
/// A shard of 100 million ids with their keys stays below it.
const BLOCK_BYTES_MAX: u64 = 1 << 32;
