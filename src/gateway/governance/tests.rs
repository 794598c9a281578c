//! Which bundle is taken and which is confirmed, and what is remembered when store, log and files do not agree.

use super::*;
use crate::audit::{LogSettings, Mode, SigningKeySource};
use crate::clock::SystemClock;
use crate::policy::bundle::{NAMESPACE, Pen, Wanted};

/// A consent store, and a log in which `policy_activated` stands for the versions given.
struct Room {
    dir: tempfile::TempDir,
    ledger: Arc<Ledger>,
}

impl Room {
    fn new(logged: &[u64]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(&dir.path().join("consent.db"), SystemClock::shared()).unwrap());
        audit::generate_signing_key(&dir.path().join("key.pem")).unwrap();
        let settings = LogSettings {
            dir: dir.path().join("log"),
            spare_dir: None,
            origin: "gw".to_owned(),
            signing_key: SigningKeySource::Bytes(fs::read(dir.path().join("key.pem")).unwrap()),
            previous_key: None,
            queue_max: 16,
            segment_bytes: 1 << 20,
            mode: Mode::Strict,
            seal: true,
        };
        let (log, _) = Log::open(settings, SystemClock::shared()).unwrap();
        for version in logged {
            let activated = Entry::PolicyActivated {
                version: *version,
                bundle: format!("d{version}"),
                set: "s".to_owned(),
                needed: vec![Department::intern("sales")],
                only_narrows: false,
                approved: vec![Department::intern("sales")],
            };
            log.append(activated).unwrap().wait().unwrap();
        }
        log.close();
        Self { dir, ledger }
    }

    fn memory(&self) -> Memory {
        Memory::open(Arc::clone(&self.ledger), &self.dir.path().join("log")).unwrap()
    }

    /// Stores as another memory would have; what was opened before does not know it.
    fn put(&self, version: u64, state: State) {
        self.ledger.put_documents(vec![known(version, state).document()], None, None).unwrap();
    }

    /// The highest version, and what is taken for the last when the bundle's file is that of `found`.
    fn last(&self, found: u64) -> (u64, u64, State) {
        let memory = self.memory();
        let highest = memory.highest();
        let last = memory.last(&format!("d{found}")).unwrap().unwrap();
        (highest, last.version, last.state)
    }
}

fn known(version: u64, state: State) -> Known {
    let need = Need { departments: [Department::intern("sales")].into(), only_narrows: false };
    Known { version, digest: format!("d{version}"), need, state }
}

#[test]
fn what_is_remembered_is_read_back() {
    for state in State::ALL {
        let body = known(7, state).document().body.unwrap();
        assert_eq!(Known::of(7, &serde_json::from_str(&body).unwrap()), Some(known(7, state)));
        let other = body.replace(state.as_str(), "else");
        assert_eq!(Known::of(7, &serde_json::from_str(&other).unwrap()), None, "a word that is not known is not guessed");
    }
}

#[test]
fn neither_a_lost_store_nor_an_older_one_lowers_the_highest_version() {
    assert_eq!(Room::new(&[2, 4]).last(4), (4, 4, State::Active), "the log knows");
    let room = Room::new(&[2, 3, 4]);
    room.put(2, State::Active);
    assert_eq!(room.last(2), (4, 4, State::Active), "an older store was put back, and the file of its time");
    assert!(room.ledger.documents(KIND).unwrap().iter().any(|(key, _)| key.ends_with("4")), "told to the store again");
    // Of the same version another bundle was taken after the one that failed.
    let room = Room::new(&[4]);
    let failed = Known { digest: "other".to_owned(), ..known(4, State::TakenBack) };
    room.ledger.put_documents(vec![failed.document()], None, None).unwrap();
    assert_eq!(room.last(3), (4, 4, State::Active));
}

#[test]
fn the_newest_activation_is_found_wherever_it_stands_in_the_log() {
    let dir = |versions: &[u64]| {
        let room = Room::new(versions);
        let found = audit::newest(&room.dir.path().join("log"), "policy_activated").unwrap();
        found.map(|entry| entry.value["version"].as_u64().unwrap())
    };
    assert_eq!((dir(&[]), dir(&[9]), dir(&[4, 5, 6])), (None, Some(9), Some(6)));
}

#[test]
fn what_failed_was_never_active() {
    let room = Room::new(&[4, 5]);
    room.put(4, State::Active);
    room.put(5, State::TakenBack);
    assert_eq!(room.last(4), (4, 4, State::Active), "and its version may come again");
    assert_eq!(room.last(5), (4, 4, State::Active), "its file is another's");
}

#[test]
fn a_kill_during_an_activation_leaves_the_old_bundle_or_the_new_one() {
    for logged in [&[9][..], &[9, 10]] {
        let room = Room::new(logged);
        room.put(9, State::Active);
        room.put(10, State::UnderWay);
        assert_eq!(room.last(1), (10, 10, State::UnderWay), "neither of them: to be refused");
        assert_eq!(room.last(9), (10, 9, State::Active), "killed before its files");
        assert_eq!(room.last(9), (9, 9, State::Active), "and so it stays");
        room.put(10, State::UnderWay);
        assert_eq!(room.last(10).1, 10, "killed after its files");
        assert_eq!(room.last(9), (10, 10, State::Active), "from then on the old one is refused");
    }
}

const EXPIRES: &str = "2027-01-31T00:00:00Z";

/// Bundles of the shipped folder, and who signs them.
struct House {
    room: Room,
    policies: Policies,
    pens: Vec<(String, Pen)>,
    settings: BundleSettings,
}

impl House {
    fn new() -> Self {
        let room = Room::new(&[]);
        let policies = Policies::load(Path::new("policies")).unwrap();
        let owners = policies.vocabulary().categories.values().map(|info| format!("own-{0}@{0}", info.owner));
        let owners: std::collections::BTreeSet<String> = owners.collect();
        let pens: Vec<(String, Pen)> = owners.into_iter().chain(["kim@marketing".to_owned()]).map(|who| (who, Pen::new())).collect();
        let lines: String = pens.iter().map(|(who, pen)| format!("{who} {}\n", pen.line())).collect();
        let allowed_signers = room.dir.path().join("approvers");
        fs::write(&allowed_signers, lines).unwrap();
        let settings = BundleSettings { file: room.dir.path().join("active.bundle"), allowed_signers, departments_min: 1 };
        Self { room, policies, pens, settings }
    }

    /// Signed by its author, kim, and by the first so many owners.
    fn candidate(&self, version: u64, replaces: Option<&str>, owners: usize) -> Candidate {
        let wanted = Wanted {
            version,
            expires: at(0),
            author: "kim@marketing".to_owned(),
            replaces: replaces.map(str::to_owned),
            governed: "house".to_owned(),
        };
        let bundle = Bundle::of_folder(Path::new("policies"), wanted).unwrap();
        let signing = self.pens.iter().rev().take(1).chain(self.pens.iter().take(owners.min(self.owners())));
        let signatures = signing.map(|(_, pen)| pen.sign(bundle.bytes(), NAMESPACE)).collect();
        Candidate::new(&self.settings, bundle, signatures).unwrap()
    }

    fn owners(&self) -> usize {
        self.pens.len() - 1
    }

    fn confirm(&self, candidate: &Candidate, governed: &str, second: i64) -> Result<(ActiveBundle, bool), Refusal> {
        candidate.confirm(governed, &self.policies, &self.room.memory(), at(second))
    }
}

/// Seconds after the bundles run out.
fn at(second: i64) -> Timestamp {
    EXPIRES.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second)
}

#[test]
fn a_gateways_own_copy_is_what_was_activated_last_or_a_first_one_that_every_owner_signed() {
    let house = House::new();
    let first = house.candidate(3, None, usize::MAX);
    assert!(matches!(house.confirm(&first, "other", -1), Err(Refusal::Routes)));
    assert!(matches!(house.confirm(&first, "house", 0), Err(Refusal::Expired(_))), "nothing begins with a bundle that has run out");
    let unsigned = house.candidate(3, None, house.owners() - 1);
    assert!(matches!(house.confirm(&unsigned, "house", -1), Err(Refusal::Signatures(missing)) if missing.departments.len() == 1));
    let (active, is_first) = house.confirm(&first, "house", -1).unwrap();
    assert!(is_first);
    house.room.memory().remember(&active, State::Active, None).unwrap();

    let (again, is_first) = house.confirm(&first, "house", 0).unwrap();
    assert!(!is_first && again.has_run_out(at(0)), "it starts even so");
    assert!(matches!(house.confirm(&first, "other", -1), Err(Refusal::Routes)), "also what was activated");
    let mut fewer = house.candidate(3, None, house.owners() - 1);
    assert!(matches!(house.confirm(&fewer, "house", -1), Err(Refusal::Signatures(_))), "its signatures must still hold");
    fewer = house.candidate(4, None, usize::MAX);
    assert!(matches!(house.confirm(&fewer, "house", -1), Err(Refusal::Foreign(3))));
}

#[test]
fn what_ran_out_stays_so_when_the_clock_is_set_back_and_it_is_taken_anew() {
    let house = House::new();
    let candidate = house.candidate(3, None, usize::MAX);
    let (active, _) = house.confirm(&candidate, "house", -1).unwrap();
    let memory = house.room.memory();
    memory.remember(&active, State::Active, None).unwrap();
    memory.remember_end(&active, at(-1)).unwrap();
    assert!(!house.confirm(&candidate, "house", -1).unwrap().0.has_run_out(at(-1)));
    memory.remember_end(&active, at(0)).unwrap();
    memory.remember_end(&active, at(-100)).unwrap();
    let (again, _) = house.confirm(&candidate, "house", -100).unwrap();
    assert!(again.has_run_out(at(-100)));
    assert_eq!(house.room.memory().highest(), 3);
}

#[test]
fn what_is_to_take_its_place_is_later_in_time_of_the_same_routes_and_made_against_it() {
    let house = House::new();
    let (active, _) = house.confirm(&house.candidate(3, None, usize::MAX), "house", -1).unwrap();
    let set = house.policies.id();
    let judge = |candidate: &Candidate, governed: &str, active: &ActiveBundle, second| {
        candidate.judge(governed, &house.policies, (active, &house.policies), 3, at(second))
    };
    let next = house.candidate(4, Some(set), 1);
    assert!(matches!(judge(&house.candidate(3, Some(set), 1), "house", &active, -1), Err(Refusal::Rollback { version: 3, highest: 3 })));
    assert!(matches!(judge(&next, "house", &active, 0), Err(Refusal::Expired(_))));
    assert!(matches!(judge(&house.candidate(4, None, 1), "house", &active, -1), Err(Refusal::Replaces { .. })));
    assert!(matches!(judge(&house.candidate(4, Some("else"), 1), "house", &active, -1), Err(Refusal::Replaces { .. })));
    assert!(matches!(judge(&next, "other", &active, -1), Err(Refusal::Routes)));
    assert_eq!(judge(&next, "house", &active, -1).unwrap().version(), 4, "nothing changes: one approver of any department");
    // Other routes than the active bundle was made for: each owner must see them.
    let mut elsewhere = active;
    elsewhere.manifest.governed = "before".to_owned();
    assert!(matches!(judge(&next, "house", &elsewhere, -1), Err(Refusal::Signatures(missing)) if missing.departments.len() == house.owners() - 1));
}
