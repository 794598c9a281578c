//! `source-priority/v1` over the ledger: who may say what is derived there, and decides what yields.

use crate::model::EventId;

use super::*;

const MAIL: &str = "marketing.email";
const CRM: &str = "crm";

/// The preference centre ranks before the CRM, which is registered for nothing; all others rank last.
fn ranked() -> Bench {
    let bench = bench();
    adopt(&bench.ledger);
    bench
}

fn adopt(ledger: &Ledger) {
    ledger.adopt(vocabulary(), by_rank(), captures()).unwrap();
}

fn by_rank() -> ConsentRules {
    ConsentRules { rule: ConflictRule::SourcePriority, sources: vec![CENTRE.to_owned(), CRM.to_owned()], ..rules() }
}

fn effective(ledger: &Ledger) -> Effective {
    let standing = ledger.standing(&id("crm:1")).unwrap().unwrap();
    standing.status(&vocabulary(), &by_rank(), purpose(MAIL), category("contact"), department("marketing"), Channel::Email)
}

/// Who hands a word in, as whose, from which system, with evidence or without.
#[derive(Clone, Copy)]
struct Word {
    by: &'static str,
    claims: Author,
    system: Option<&'static str>,
    evidenced: bool,
    state: State,
}

const fn word(by: &'static str, claims: Author, state: State) -> Word {
    Word { by, claims, system: None, evidenced: false, state }
}

const fn from(word: Word, system: &'static str) -> Word {
    Word { system: Some(system), ..word }
}

const fn evidenced(word: Word) -> Word {
    Word { evidenced: true, ..word }
}

fn say(bench: &Bench, word: Word) -> EventId {
    let mut draft = bench.draft("crm:1", MAIL, word.state);
    (draft.claims, draft.source_system) = (word.claims, word.system.map(str::to_owned));
    if !word.evidenced {
        draft.evidence.clear();
    }
    let caller = if word.by == "desk" { staff() } else { Capturer::Client(Client::intern(word.by)) };
    bench.ledger.record(draft, &caller).unwrap().event
}

const YES: Word = evidenced(word(CENTRE, Author::Customer, State::Given));

#[test]
fn a_later_no_yields_to_the_centres_grant_only_where_others_noted_it_and_rank_lower() {
    use Author::{Customer, Guardian, Staff, System};
    use State::{Expired, Invalidated, Refused, Revoked, Superseded, Withdrawn};
    for (what, no, yields) in [
        ("the CRM's own", word(CRM, System, Refused), true),
        ("the CRM's, revoked", word(CRM, System, Revoked), true),
        ("the CRM's employee's, for which it is not registered", word(CRM, Staff, Withdrawn), true),
        ("the same with evidence", evidenced(word(CRM, Staff, Withdrawn)), true),
        ("the desk's, from the CRM", from(word("desk", Staff, Refused), CRM), true),
        ("the desk's own", word("desk", Staff, Refused), true),
        ("nobody's, from the desk", word("desk", System, Refused), true),
        ("an unknown app's", word("shop", System, Refused), true),
        // A person's no is the person's, registered and evidenced or not.
        ("the customer's, through the CRM", word(CRM, Customer, Refused), false),
        ("the customer's, through the desk", word("desk", Customer, Withdrawn), false),
        ("the customer's, through an unknown app", word("shop", Customer, Revoked), false),
        ("the guardian's, through the CRM", word(CRM, Guardian, Refused), false),
        ("the customer's, with evidence", evidenced(word(CENTRE, Customer, Withdrawn)), false),
        // Of the same rank.
        ("the centre's own", word(CENTRE, System, Refused), false),
        ("the desk's, from the centre", from(word("desk", Staff, Refused), CENTRE), false),
        ("an app's that names the centre", from(word("shop", System, Refused), CENTRE), false),
        ("the centre's that names a lower system", from(word(CENTRE, System, Refused), "shop"), false),
        // What ended or never was valid is no opinion.
        ("expired", word(CRM, System, Expired), false),
        ("superseded", word(CRM, System, Superseded), false),
        ("invalidated", word(CRM, System, Invalidated), false),
    ] {
        let bench = ranked();
        let yes = say(&bench, YES);
        bench.advance(3600);
        let no = say(&bench, no);
        for ledger in [&bench.ledger, &bench.reopened()] {
            adopt(ledger);
            let found = effective(ledger);
            assert_eq!((found.state.opens(), found.rule), (yields, ConflictRule::SourcePriority), "{what}");
            let expected = if yields { (Some(yes), vec![no]) } else { (Some(no), vec![yes]) };
            assert_eq!((found.event, found.overridden), expected, "{what}");
        }
        // A hard stop yields to no rank, whoever noted it.
        bench.ledger.add_stop(StopDraft { claims: System, ..StopDraft::new(id("crm:1"), StopKind::Suppression) }, &staff()).unwrap();
        let standing = bench.ledger.standing(&id("crm:1")).unwrap().unwrap();
        let floor = floor(&standing.profile, &vocabulary(), &by_rank(), purpose(MAIL), LawfulBasis::Consent, category("contact"), Channel::Email);
        assert_eq!(floor, Err("suppression"), "{what}");
    }
}

#[test]
fn an_earlier_no_of_the_crm_yields_to_no_word_that_cannot_raise_whatever_its_rank() {
    use Author::{Customer, Guardian, Staff, System};
    for (what, yes, opens) in [
        ("the customer's, evidenced", YES, true),
        ("the same through the desk", evidenced(word("desk", Customer, State::Given)), true),
        ("without evidence", Word { evidenced: false, ..YES }, false),
        ("without evidence, through the desk", from(word("desk", Customer, State::Given), CENTRE), false),
        ("the centre's own", evidenced(word(CENTRE, System, State::Given)), false),
        ("an employee's", evidenced(word("desk", Staff, State::Given)), false),
        ("a guardian's without mandate", evidenced(word(CENTRE, Guardian, State::Given)), false),
        ("through the CRM, which is not registered", evidenced(word(CRM, Customer, State::Given)), false),
        ("through an app that names the centre", evidenced(from(word("shop", Customer, State::Given), CENTRE)), false),
        ("a renewal of nothing", Word { state: State::Renewed, ..YES }, false),
    ] {
        let bench = ranked();
        say(&bench, word(CRM, System, State::Refused));
        bench.advance(3600);
        say(&bench, yes);
        assert_eq!(effective(&bench.ledger).state.opens(), opens, "{what}");
    }
}

#[test]
fn of_later_noes_that_yield_the_grant_must_rank_higher_than_each() {
    let through_desk = evidenced(from(word("desk", Author::Customer, State::Given), CENTRE));
    for (what, yes, no, opens) in [
        // Whoever captures it limits the rank: anybody may name a system.
        ("the desk names the centre, against the CRM", through_desk, word(CRM, Author::System, State::Refused), false),
        ("the desk names the centre, against an unranked app", through_desk, word("shop", Author::System, State::Refused), false),
        ("the centre names the CRM, against the CRM", from(YES, CRM), word(CRM, Author::System, State::Refused), false),
        ("the centre names the CRM, against an unranked app", from(YES, CRM), word("shop", Author::System, State::Refused), true),
    ] {
        let bench = ranked();
        say(&bench, yes);
        bench.advance(3600);
        say(&bench, no);
        assert_eq!(effective(&bench.ledger).state.opens(), opens, "{what}");
        say(&bench, word("batch", Author::System, State::Refused));
        say(&bench, from(word("batch", Author::System, State::Refused), CENTRE));
        assert!(!effective(&bench.ledger).state.opens(), "{what}: and one of the same rank");
    }
}

#[test]
fn imported_words_without_author_or_evidence_close_and_raise_nothing() {
    let around = Surroundings { activities: &[], normalise: &normalise };
    for (state, opens) in [("refused", false), ("withdrawn", false), ("given", true)] {
        let bench = ranked();
        say(&bench, YES);
        bench.advance(3600);
        let file = format!("id,state,purposes,source_system\ncrm:1,{state},{MAIL},{CRM}\n");
        let mut cutter = Cutter::new(file.as_bytes(), ImportFormat::Csv).unwrap();
        let piece = cutter.next_piece().unwrap().unwrap();
        let piece = ImportPiece { key: "7d", line: piece.line, offset: piece.offset, length: piece.length, bytes: &piece.bytes, is_array: false };
        let options = ImportOptions::new(ImportFormat::Csv).cover("categories", "contact").cover("recipients", "marketing");
        let report = bench.ledger.import_consents(&piece, &options, &around, &staff(), false).unwrap();
        assert_eq!((report.errors, report.piece.records), (vec![], 1));
        assert_eq!(effective(&bench.ledger).state.opens(), opens, "{state}: whose no it is was not said, so it is the person's");
        bench.advance(3600);
        say(&bench, word(CRM, Author::System, State::Refused));
        assert_eq!(effective(&bench.ledger).state.opens(), opens, "{state}");
    }
}
