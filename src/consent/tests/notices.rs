//! Registered notices: consent that is given on one, and a version that takes its place.

use crate::model::Revision;

use super::*;

const MAIL: &str = "marketing.email";
const TEXT: &str = "We write to you about what is new.";

fn version(bench: &Bench, number: &str, supersedes: bool) -> NoticeVersion {
    NoticeVersion {
        notice: Notice {
            id: "news".to_owned(),
            version: number.to_owned(),
            purposes: vec![purpose(MAIL)],
            categories: vec![category("contact")],
            recipients: vec![department("marketing")],
        },
        language: "en".to_owned(),
        hash: NoticeVersion::hash_of(TEXT),
        text: Some(TEXT.into()),
        url: None,
        valid_from: bench.now(),
        valid_to: None,
        supersedes,
        revision: Revision(0),
    }
}

fn given_on(bench: &Bench, number: &str) -> EventDraft {
    let mut draft = bench.draft("crm:1", MAIL, State::Given);
    draft.scope = Scope::default();
    draft.notice = Some(Notice { id: "news".to_owned(), version: number.to_owned(), ..Notice::default() });
    draft
}

#[test]
fn a_registered_notice_is_named_by_id_and_version_alone_and_says_what_is_covered() {
    let bench = bench();
    assert!(matches!(bench.record(given_on(&bench, "1")), Err(ConsentError::Invalid(_))), "not registered: it covers nothing");
    bench.ledger.add_notice(version(&bench, "1", false), None).unwrap();
    bench.record(given_on(&bench, "1")).unwrap();
    assert_eq!(bench.state("crm:1", MAIL), State::Given);
    let mut other = given_on(&bench, "1");
    other.notice.as_mut().unwrap().categories = vec![category("behaviour")];
    assert!(matches!(bench.record(other), Err(ConsentError::Invalid(_))), "it names something else");
}

#[test]
fn given_survives_until_a_new_version_is_in_force_and_is_renewed_on_it() {
    let bench = bench();
    bench.ledger.add_notice(version(&bench, "1", false), None).unwrap();
    bench.record(given_on(&bench, "1")).unwrap();
    bench.advance(100);
    bench.ledger.add_notice(version(&bench, "2", false), None).unwrap();
    assert_eq!(bench.state("crm:1", MAIL), State::Given, "a version beside it changes nothing");

    bench.advance(100);
    let tomorrow = NoticeVersion { valid_from: bench.now() + seconds(86_400), ..version(&bench, "3", true) };
    bench.ledger.add_notice(tomorrow.clone(), None).unwrap();
    let before = bench.ledger.standing(&id("crm:1")).unwrap().unwrap().revision;
    bench.advance(86_399);
    bench.ledger.tick(bench.now()).unwrap();
    assert_eq!((bench.state("crm:1", MAIL), bench.ledger.notice_state(&tomorrow)), (State::Given, "future"));
    bench.advance(1);
    bench.ledger.tick(bench.now()).unwrap();
    assert_eq!((bench.state("crm:1", MAIL), bench.ledger.notice_state(&tomorrow)), (State::Superseded, "in-force"));
    let standing = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
    assert!(standing.revision > before, "whoever compares revisions sees it");
    assert_eq!(bench.ledger.party_revision(standing.party), Some(standing.revision));
    assert_eq!(bench.ledger.notice_state(&version(&bench, "1", false)), "superseded");

    // Asked later, both times have their answer.
    let asked = Asked { purpose: Some(purpose(MAIL)), category: Some(category("contact")), recipient: Some(department("marketing")) };
    let at = |at| bench.ledger.effective(&id("crm:1").into(), asked, AsOf { at: Some(at), known_at: None }).unwrap().rows[0].consent.state;
    assert_eq!((at(bench.now() - seconds(1)), at(bench.now())), (State::Given, State::Superseded));

    bench.record(given_on(&bench, "1")).unwrap();
    assert_eq!(bench.state("crm:1", MAIL), State::Superseded, "who is shown the old text consents to nothing");
    bench.advance(100);
    bench.record(given_on(&bench, "3")).unwrap();
    assert_eq!(bench.state("crm:1", MAIL), State::Given);
}

#[test]
fn a_restart_keeps_what_took_force_and_lets_take_force_what_came_due_meanwhile() {
    let bench = bench();
    bench.ledger.add_notice(version(&bench, "1", false), None).unwrap();
    bench.record(given_on(&bench, "1")).unwrap();
    let later = NoticeVersion { valid_from: bench.now() + seconds(3600), ..version(&bench, "2", true) };
    bench.ledger.add_notice(later, None).unwrap();
    let state = |ledger: &Ledger| {
        let standing = ledger.standing(&id("crm:1")).unwrap().unwrap();
        standing.status(&bench.vocabulary, &rules(), purpose(MAIL), category("contact"), department("marketing"), Channel::Email).state
    };
    let reopened = bench.reopened();
    assert_eq!((state(&reopened), reopened.notices().len()), (State::Given, 2));
    assert_eq!(reopened.notices()[0].text.as_deref(), Some(TEXT), "the text is kept as it was");
    bench.advance(3600);
    assert_eq!(state(&bench.reopened()), State::Superseded);
}

#[test]
fn a_version_that_is_not_whole_or_not_the_same_is_refused() {
    let bench = bench();
    let first = bench.ledger.add_notice(version(&bench, "1", false), None).unwrap();
    assert_eq!(bench.ledger.add_notice(version(&bench, "1", false), None).unwrap(), first, "the same again");
    let spoils: [Spoil<NoticeVersion>; 10] = [
        ("other content", |v| v.notice.version = "1".to_owned()),
        ("no id", |v| v.notice.id = " ".to_owned()),
        ("no version", |v| v.notice.version = String::new()),
        ("no language", |v| v.language = String::new()),
        ("no purposes", |v| v.notice.purposes.clear()),
        ("a hash of something else", |v| v.hash = "0".repeat(64)),
        ("no hash", |v| (v.text, v.hash) = (None, "sha256".to_owned())),
        ("an endless text", |v| (v.text, v.hash) = (Some("a".repeat(65_537).into()), NoticeVersion::hash_of(&"a".repeat(65_537)))),
        ("an end before its beginning", |v| v.valid_to = Some(v.valid_from)),
        ("an id of two lines", |v| v.notice.id = "news\nnews".to_owned()),
    ];
    for (what, spoil) in spoils {
        let mut spoilt = NoticeVersion { language: "da".to_owned(), ..version(&bench, "2", true) };
        spoil(&mut spoilt);
        assert!(matches!(bench.ledger.add_notice(spoilt, None), Err(ConsentError::Invalid(_))), "{what}");
    }
    assert_eq!(bench.ledger.notices().len(), 1);
    bench.switch.down();
    assert!(matches!(bench.ledger.add_notice(version(&bench, "2", true), None), Err(ConsentError::Unavailable(_))));
    bench.switch.up();
    assert_eq!(bench.ledger.notices().len(), 1);
}
