//! The tables against plain Cedar, question by question: the shipped policies, and 300 and 1,000 with conditions drawn at random.

use consentry::policy::Policies;

#[path = "../bench/large.rs"]
mod large;

use large::{Asker, Draw};

/// Says how many were permitted, and how many plain Cedar had to answer.
#[expect(clippy::print_stdout, reason = "the figures are what one runs it for")]
fn answers_are_the_same(each: usize, most: usize) {
    for (total, apps) in [(0, 0), (300, 20), (1_000, most)] {
        let folder = tempfile::tempdir().unwrap();
        large::folder(folder.path(), total, apps, 300);
        let policies = Policies::load(folder.path()).unwrap();
        let asker = Asker::new(&policies);
        let (mut draw, mut permitted, mut plain) = (Draw::new(5), 0, 0);
        for _ in 0..each {
            asker.ask(&mut draw, &policies, |question| {
                let decided = policies.decide(question);
                assert_eq!(decided, policies.evaluate(question), "{question:#?}");
                permitted += usize::from(decided.allow());
                plain += usize::from(!decided.is_compiled());
            });
        }
        println!("{} policies: {each} questions, {permitted} permitted, {plain} answered by plain Cedar", policies.policies().len());
        assert!(permitted * 25 > each && permitted * 2 < each, "{permitted} of {each} permitted");
        // Emergencies always; of the generated policies one in three hundred, where the rest of it does not settle it.
        assert!(plain * 200 > each && plain * 2 < each, "{plain} of {each} by plain Cedar");
    }
}

#[test]
fn thousands_of_random_questions_are_answered_as_by_cedar() {
    answers_are_the_same(6_700, 40);
}

#[test]
#[ignore = "a million questions to plain Cedar take minutes"]
fn a_million_random_questions_are_answered_as_by_cedar() {
    answers_are_the_same(333_334, 500);
}
