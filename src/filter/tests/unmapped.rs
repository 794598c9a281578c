//! Report mode: what no path maps goes out with an object of which everything is permitted, and else as little as ever.

use super::*;

fn contact() -> Shape {
    let fields = [("Name", "identity"), ("Email", "contact"), ("Address.Street", "contact"), ("Owner", "embed owner"), ("Score", "behaviour null")];
    Shape { lets_unmapped_pass: true, ..shape("contact", &["Id"], &["Id"], &fields) }
}

fn owner() -> Shape {
    Shape { lets_unmapped_pass: true, ..shape("owner", &["Id"], &[], &[("Name", "identity")]) }
}

const WHOLE: &str = r#"{"Id":"c1","Name":"Ann","Extra":{"a":[1,{"b":"x"}],"e":{}},"Email":"a@b"}"#;

/// The verdicts of `c1`, what goes out, and whether something did that nobody decided.
#[track_caller]
fn check(body: &str, given: &str, expected: &str, unenforced: bool) {
    let mut judge = customers(&[("c1", given), ("c2", "identity+"), ("c3", "identity-")]);
    let result = run(body, &object_plan(&contact()), &[&owner()], &mut judge);
    let told = result.as_ref().map(|cut| cut.report.unenforced).unwrap_or_default();
    assert_eq!((outcome(result).as_str(), told), (expected, unenforced), "{body} with {given}");
}

#[test]
fn all_of_a_body_goes_out_only_where_everything_is_permitted() {
    let all = "identity+ contact+ behaviour+";
    check(WHOLE, all, WHOLE, true);
    let cut = r#"{"Id":"c1","Name":"Ann","Email":"a@b"}"#;
    // One category that is not in full is enough, also of which nothing stands in the body.
    check(WHOLE, "identity+ contact+ behaviour-", cut, false);
    check(WHOLE, "identity+ contact+ behaviour~", cut, false);
    check(WHOLE, "identity+ contact-", r#"{"Id":"c1","Name":"Ann"}"#, false);
    check(WHOLE, "identity- contact- behaviour-", "denied", false);
    check(WHOLE, "", "denied", false);
    // Nothing unmapped goes alone, and nothing of somebody who is not known.
    check(r#"{"Id":"c1","Extra":1}"#, all, "denied", false);
    check(r#"{"Id":"c9","Name":"Ann","Extra":1}"#, all, "denied", false);
}

#[test]
fn what_lies_above_mapped_members_is_not_unmapped() {
    let all = "identity+ contact+ behaviour+";
    check(r#"{"Id":"c1","Name":"A","Address":{"Street":"S","Geo":[1]}}"#, all, r#"{"Id":"c1","Name":"A","Address":{"Street":"S","Geo":[1]}}"#, true);
    check(r#"{"Id":"c1","Name":"A","Address":"Main Street 1"}"#, all, r#"{"Id":"c1","Name":"A"}"#, false);
    check(r#"{"Id":"c1","Name":"A","Address":["Main Street 1"]}"#, all, r#"{"Id":"c1","Name":"A","Address":["Main Street 1"]}"#, true);
    check(r#"{"Id":"c1","Name":{"First":"A"},"Email":"a@b"}"#, all, r#"{"Id":"c1","Name":{"First":"A"},"Email":"a@b"}"#, true);
}

#[test]
fn an_embedded_customer_decides_alone() {
    let all = "identity+ contact+ behaviour+";
    let body = |id: &str| format!(r#"{{"Id":"c1","Name":"A","X":1,"Owner":{{"Id":"{id}","Name":"O","Y":2}}}}"#);
    check(&body("c2"), all, &body("c2"), true);
    check(&body("c3"), all, r#"{"Id":"c1","Name":"A","X":1}"#, true);
    // The other way round: of whom it is not all permitted, only what is mapped.
    check(&body("c2"), "identity+ contact+ behaviour-", r#"{"Id":"c1","Name":"A","Owner":{"Id":"c2","Name":"O","Y":2}}"#, true);
}

#[test]
fn rows_are_told_apart_and_what_stands_beside_them_is_withheld() {
    let mut judge = customers(&[("c1", "identity+ contact+ behaviour+"), ("c2", "identity+ contact+ behaviour-"), ("c3", "identity-")]);
    let body =
        r#"{"rows":[{"Id":"c1","Name":"A","X":1},{"Id":"c2","Name":"B","X":1},{"Id":"c3","Name":"C","X":1}],"included":[{"Id":"c3","Name":"C"}]}"#;
    let plan = rows_plan("rows[]", &contact(), &[], &[]);
    let cut = run(body, &plan, &[&owner()], &mut judge).unwrap();
    assert!(cut.report.unenforced);
    assert_eq!(cut.report.drift, ["included", "rows[].X"]);
    assert_eq!(outcome(Ok(cut)), r#"{"rows":[{"Id":"c1","Name":"A","X":1},{"Id":"c2","Name":"B"}]}"#);
    // A row that is dropped tells nothing, and nothing of it went out.
    let mut judge = customers(&[("c1", "identity+ contact+ behaviour+")]);
    let needs = Shape { needs: vec![category("health")], ..contact() };
    let cut = run(r#"{"rows":[{"Id":"c1","Name":"A","X":1}]}"#, &rows_plan("rows[]", &needs, &[], &[]), &[&owner()], &mut judge).unwrap();
    assert!(!cut.report.unenforced);
}

#[test]
fn an_id_that_was_not_asked_for_does_not_pass_as_unmapped() {
    let all = "identity+ contact+ behaviour+";
    let mut judge = customers(&[("c1", all)]).requested("c1");
    let by_answer = object_plan(&contact()).bare();
    let cut = run(r#"{"Id":"c1","Name":"A","X":1}"#, &by_answer, &[&owner()], &mut judge);
    assert_eq!(outcome(cut), r#"{"Name":"A","X":1}"#);
    // Whatever stands there, where the request says whose the object is.
    let plan = ResponsePlan::Object {
        at: PathPattern::default(),
        shape: Arc::new(contact()),
        subject: Subject::Request,
        open: Vec::new(),
        withheld_as: None,
    };
    for id in ["\"c1\"", "null", "{}", "[]", r#"{"a":"b"}"#, r#"["c1"]"#] {
        let body = format!(r#"{{"Id":{id},"Name":"A","X":1}}"#);
        let (with, without) = (run(&body, &plan, &[&owner()], &mut judge), run(&body, &plan.bare(), &[&owner()], &mut judge));
        assert_eq!((outcome(with), outcome(without)), (body, r#"{"Name":"A","X":1}"#.to_owned()));
    }
}
