//! The projection kept in a file: used when it is whole and of this store, else left aside and removed, and never kept beyond an
//! erasure.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::Revision;

use super::*;

fn opened(dir: &Path, clock: &Arc<ManualClock>) -> Ledger {
    let ledger = Ledger::open(&dir.join("consent.db"), Arc::clone(clock) as Arc<dyn Clock>).unwrap();
    ledger.adopt(vocabulary(), rules(), captures()).unwrap();
    ledger
}

/// A ledger of some customers with a snapshot, closed.
fn kept() -> (Bench, PathBuf) {
    let bench = bench();
    bench.import(&format!("identifiers\n{}", (2..400).map(|n| format!("crm:{n}\n")).collect::<String>()));
    bench.say("crm:1", "marketing.email", State::Given);
    let ledger = opened(bench.dir.path(), &bench.clock);
    assert_eq!(ledger.snapshot_revision(), Revision(0));
    ledger.write_snapshot().unwrap();
    assert_eq!((ledger.snapshot_revision(), ledger.snapshot_failed()), (ledger.revision(), None));
    let file = bench.dir.path().join("consent.db.snapshot");
    assert!(file.exists());
    (bench, file)
}

fn says(ledger: &Ledger, who: &str) -> State {
    let standing = ledger.standing(&id(who)).unwrap().unwrap();
    let asked = (purpose("marketing.email"), category("contact"), department("marketing"), Channel::Email);
    standing.status(&vocabulary(), &rules(), asked.0, asked.1, asked.2, asked.3).state
}

#[test]
fn a_whole_snapshot_is_used_and_what_came_after_it_is_read() {
    let (bench, file) = kept();
    let from = bench.ledger.revision();
    bench.advance(120);
    bench.say("crm:1", "marketing.email", State::Withdrawn);
    let ledger = opened(bench.dir.path(), &bench.clock);
    assert_eq!(ledger.snapshot_revision(), from, "from there on events were read");
    assert_eq!((says(&ledger, "crm:1"), ledger.party_count()), (State::Withdrawn, 399));
    assert!(file.exists());
}

#[test]
fn a_snapshot_that_is_damaged_cut_off_or_foreign_is_left_aside_and_goes() {
    let spoil: [Spoil<Vec<u8>>; 8] = [
        ("a byte in the head", |bytes| bytes[40] ^= 1),
        ("a byte in the middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("the last byte", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("cut off", |bytes| bytes.truncate(bytes.len() - 1)),
        ("cut off in the middle", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
        ("another version", |bytes| bytes[19] += 1),
        ("of another store", |bytes| {
            let (_folder, other) = kept();
            *bytes = fs::read(other).unwrap();
        }),
    ];
    for (how, spoil) in spoil {
        let (bench, file) = kept();
        let mut bytes = fs::read(&file).unwrap();
        spoil(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let ledger = opened(bench.dir.path(), &bench.clock);
        assert_eq!(ledger.snapshot_revision(), Revision(0), "{how}");
        assert_eq!((says(&ledger, "crm:1"), ledger.party_count()), (State::Given, 399), "{how}: everything is read");
        assert!(!file.exists(), "{how}: it must not come to be used later");
    }
}

#[test]
fn a_snapshot_of_a_later_time_than_a_restored_store_is_never_used() {
    let bench = bench();
    let backup = tempfile::tempdir().unwrap();
    let names = ["consent.db", "consent.db-wal"];
    let copy = |from: &Path, to: &Path| {
        for name in names.iter().filter(|name| from.join(name).exists()) {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    };
    copy(bench.dir.path(), backup.path());
    bench.say("crm:1", "marketing.email", State::Given);
    let dir = bench.dir.path().to_owned();
    opened(&dir, &bench.clock).write_snapshot().unwrap();
    let Bench { dir: folder, clock, ledger, .. } = bench;
    drop(ledger);
    // The store alone is put back to before the grant, and then grows beyond the snapshot's revision.
    names.iter().for_each(|name| drop(fs::remove_file(dir.join(name))));
    copy(backup.path(), &dir);
    let restored = opened(&dir, &clock);
    assert_eq!(says(&restored, "crm:1"), State::Unknown);
    for _ in 0..5 {
        clock.advance(Duration::from_secs(1));
        restored.add_stop(StopDraft::new(id("crm:77"), StopKind::Suppression), &staff()).unwrap();
    }
    drop(restored);
    let again = opened(&dir, &clock);
    assert_eq!((says(&again, "crm:1"), again.snapshot_revision()), (State::Unknown, Revision(0)));
    drop(folder);
}

#[test]
fn an_erasure_takes_the_snapshot_with_it_at_once_and_after_a_crash() {
    let (bench, file) = kept();
    let ledger = opened(bench.dir.path(), &bench.clock);
    let before = fs::read(&file).unwrap();
    ledger.add_stop(StopDraft::new(id("crm:1"), StopKind::Erasure), &staff()).unwrap();
    assert!(!file.exists());
    assert_eq!(ledger.snapshot_revision(), Revision(0));
    drop(ledger);
    // Had the process ended before it could remove the files.
    fs::write(&file, &before).unwrap();
    fs::write(file.with_extension("snapshot.part"), &before).unwrap();
    let ledger = opened(bench.dir.path(), &bench.clock);
    assert!(!file.exists() && !file.with_extension("snapshot.part").exists());
    // The next one does not know the id.
    ledger.write_snapshot().unwrap();
    let holds = |text: &str| fs::read(&file).unwrap().windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds("ann@example.org"));
}

#[test]
fn a_snapshot_that_cannot_be_written_is_told_and_leaves_nothing_behind() {
    let (bench, file) = kept();
    let ledger = opened(bench.dir.path(), &bench.clock);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(ledger.write_snapshot().is_err());
    assert!(ledger.snapshot_failed().is_some() && ledger.healthy().is_ok());
    assert!(!file.with_extension("snapshot.part").exists());
    fs::remove_dir(&file).unwrap();
    ledger.write_snapshot().unwrap();
    assert_eq!(ledger.snapshot_failed(), None);
}
