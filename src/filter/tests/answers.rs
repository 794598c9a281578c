//! Single objects: members, masks, embedded customers, several customers, the subject.

use super::*;

fn contact() -> Shape {
    shape(
        "contact",
        &["Id"],
        &["Id", "attributes.**", "Modified"],
        &[
            ("Name", "identity"),
            ("Birthdate", "identity year"),
            ("Email", "contact"),
            ("Phone", "contact last4"),
            ("Address.**", "contact"),
            ("Address.Geo", "behaviour"),
            ("Score", "behaviour null"),
            ("Diet", "health error"),
            ("Tags[]", "behaviour"),
            ("Grid[1]", "contact"),
        ],
    )
}

fn check(body: &str, given: &str, expected: &str) {
    let mut judge = customers(&[("c1", given)]);
    assert_eq!(outcome(run(body, &object_plan(&contact()), &[], &mut judge)), expected, "{body} with {given}");
}

#[test]
fn members_go_out_by_their_category() {
    // Nothing permitted, nothing out: id and open members never go alone.
    check(r#"{"Id":"c1","Name":"Ann","Modified":1}"#, "identity-", "denied");
    check(r#"{"Id":"c1","Name":"Ann","Modified":1}"#, "", "denied");
    check(r#"{"Id":"c1","Name":"Ann","Modified":1}"#, "contact+", "denied");
    check(r#"{"Id":"c1","Modified":1}"#, "identity+ contact+", "denied");
    check(r#"{"Id":"c1","Other":"x"}"#, "identity+ contact+", "denied");
    check(r#"{"Id":"c1"}"#, "identity+", "denied");
    check(r#"{"Id":"c1","Score":7}"#, "contact+", "denied");
    check(r#"{"Id":"c1","Name":"Ann"}"#, "identity+", r#"{"Id":"c1","Name":"Ann"}"#);
    check(r#"{"Id":"c1","Name":"Ann","Email":"a@b"}"#, "identity+", r#"{"Id":"c1","Name":"Ann"}"#);
    check(r#"{"Email":"a@b","Id":"c1","Name":"Ann"}"#, "contact+", r#"{"Email":"a@b","Id":"c1"}"#);
    check(r#"{"Id":"c1","name":"x","Name":"Ann"}"#, "identity+", r#"{"Id":"c1","Name":"Ann"}"#);
    check(r#"{"Id":"c1","Name":null}"#, "identity+", r#"{"Id":"c1","Name":null}"#);
}

#[test]
fn kept_members_keep_order_spelling_and_number_text() {
    let body = r#"{ "Score" : 1.50E+02, "\u0049d":"c1" ,"Name":"A\u006en\/", "Address":{"n":-0.0,"big":12345678901234567890123} }"#;
    check(body, "identity+ contact+ behaviour+", body);
    let kept = r#"{ "Score" : 1.50E+02, "\u0049d":"c1" ,"Name":"A\u006en\/"}"#;
    check(body, "identity+ behaviour+", kept);
}

#[test]
fn a_path_does_not_cover_what_stands_below_it_and_the_longest_wins() {
    check(r#"{"Id":"c1","Name":{"first":"Ann"}}"#, "identity+", "denied");
    check(r#"{"Id":"c1","Email":"a","Name":["Ann"]}"#, "identity+ contact+", r#"{"Id":"c1","Email":"a"}"#);
    check(r#"{"Id":"c1","Address":{"City":"B","Geo":"1,2"}}"#, "contact+", r#"{"Id":"c1","Address":{"City":"B"}}"#);
    check(r#"{"Id":"c1","Address":{"City":"B","Geo":"1,2"}}"#, "behaviour+", r#"{"Id":"c1","Address":{"Geo":"1,2"}}"#);
    check(r#"{"Id":"c1","Address":{"a":[{"b":[1,{}]}]}}"#, "contact+", r#"{"Id":"c1","Address":{"a":[{"b":[1,{}]}]}}"#);
    check(r#"{"Id":"c1","Address":"B"}"#, "contact+", r#"{"Id":"c1","Address":"B"}"#);
}

#[test]
fn containers_in_which_nothing_is_left_are_withheld_and_empty_ones_need_every_category_below() {
    check(r#"{"Id":"c1","Name":"A","Address":{"City":"B"},"Tags":["x"]}"#, "identity+", r#"{"Id":"c1","Name":"A"}"#);
    check(r#"{"Id":"c1","Name":"A","Address":{},"Tags":[]}"#, "identity+", r#"{"Id":"c1","Name":"A"}"#);
    check(r#"{"Id":"c1","Name":"A","Tags":[]}"#, "identity+ behaviour+", r#"{"Id":"c1","Name":"A","Tags":[]}"#);
    check(r#"{"Id":"c1","Name":"A","Tags":null}"#, "identity+ behaviour+", r#"{"Id":"c1","Name":"A","Tags":null}"#);
    check(r#"{"Id":"c1","Name":"A","Tags":"x"}"#, "identity+ behaviour+", r#"{"Id":"c1","Name":"A"}"#);
    check(r#"{"Id":"c1","Tags":["x","y"]}"#, "behaviour+", r#"{"Id":"c1","Tags":["x","y"]}"#);
}

#[test]
fn a_withheld_position_of_an_array_becomes_null() {
    check(r#"{"Id":"c1","Grid":["a","b","c"]}"#, "contact+", r#"{"Id":"c1","Grid":[null,"b",null]}"#);
    check(r#"{"Id":"c1","Name":"A","Grid":["a","b","c"]}"#, "identity+", r#"{"Id":"c1","Name":"A"}"#);
}

#[test]
fn refused_members_are_removed_nulled_masked_or_refuse_the_answer() {
    check(r#"{"Id":"c1","Name":"A","Score":7}"#, "identity+", r#"{"Id":"c1","Name":"A","Score":null}"#);
    check(r#"{"Id":"c1","Name":"A","Diet":"x"}"#, "identity+", "on_deny error");
    check(r#"{"Id":"c1","Name":"A","Diet":"x"}"#, "identity+ health~", "on_deny error");
    check(r#"{"Id":"c1","Diet":"x"}"#, "identity+", "denied");
    check(r#"{"Id":"c1","Name":"A"}"#, "identity+", r#"{"Id":"c1","Name":"A"}"#);
    check(r#"{"Id":"c1","Birthdate":"1981-04-12","Name":"A"}"#, "identity~", r#"{"Id":"c1","Birthdate":"1981"}"#);
    check(r#"{"Id":"c1","Phone":"+49 170 1234567"}"#, "contact~", r#"{"Id":"c1","Phone":"****4567"}"#);
    check(r#"{"Id":"c1","Phone":"+49 170 1234567"}"#, "contact-", "denied");
    for unmasked in ["491701234567", "\"1234567\"", "null", "true", "[\"12345678\"]", "{\"a\":1}"] {
        check(&format!(r#"{{"Id":"c1","Phone":{unmasked}}}"#), "contact~", "denied");
        check(&format!(r#"{{"Id":"c1","Name":"A","Phone":{unmasked}}}"#), "contact~ identity+", r#"{"Id":"c1","Name":"A"}"#);
    }
}

#[test]
fn needed_categories_must_be_permitted_in_full() {
    let mut needing = contact();
    needing.needs = vec![category("contact")];
    for (given, expected) in [("identity+", "denied"), ("identity+ contact~", "denied"), ("identity+ contact+", r#"{"Id":"c1","Name":"A"}"#)] {
        let mut judge = customers(&[("c1", given)]);
        assert_eq!(outcome(run(r#"{"Id":"c1","Name":"A"}"#, &object_plan(&needing), &[], &mut judge)), expected);
    }
}

#[test]
fn the_answer_must_be_about_the_customer_that_was_judged() {
    let plan = object_plan(&contact());
    let ask = |body: &str, requested: &str| {
        outcome(run(body, &plan, &[], &mut customers(&[("c1", "identity+"), ("c2", "identity+")]).requested(requested)))
    };
    assert_eq!(ask(r#"{"Id":"c1","Name":"A"}"#, "c1"), r#"{"Id":"c1","Name":"A"}"#);
    assert_eq!(ask(r#"{"Id":"c1","Name":"A"}"#, "c2"), "subject mismatch");
    assert_eq!(ask(r#"{"Id":"c9","Name":"A"}"#, "c1"), "subject mismatch");
    for absent in ["", r#""Id":null,"#, r#""Id":"","#, r#""Id":["c1"],"#, r#""Id":{"$ne":1},"#, r#""Id":true,"#, r#""Id":1.0,"#, r#""Id":1e3,"#] {
        assert_eq!(ask(&format!(r#"{{{absent}"Name":"A"}}"#), "c1"), "subject absent", "{absent}");
    }
    assert_eq!(outcome(run(r#"{"Id":"c9","Name":"A"}"#, &plan, &[], &mut customers(&[]))), "denied", "an unknown customer is as one without consent");
    assert_eq!(outcome(run(r#"{"Id":17,"Name":"A"}"#, &plan, &[], &mut customers(&[("17", "identity+")]))), r#"{"Id":17,"Name":"A"}"#);
}

#[test]
fn the_subject_of_the_request_counts_only_where_that_is_written() {
    let mut silent = contact();
    silent.customer.clear();
    let body = r#"{"Name":"A"}"#;
    let mut judge = customers(&[("c1", "identity+")]).requested("c1");
    assert_eq!(outcome(run(body, &object_plan(&silent), &[], &mut judge)), "subject absent");
    let by_request = |shape: &Shape| ResponsePlan::Object {
        at: PathPattern::default(),
        shape: Arc::new(shape.clone()),
        subject: Subject::Request,
        open: Vec::new(),
        withheld_as: None,
    };
    assert_eq!(outcome(run(body, &by_request(&silent), &[], &mut judge)), body);
    assert_eq!(outcome(run(body, &by_request(&silent), &[], &mut customers(&[("c1", "identity+")]))), "subject absent");
    assert_eq!(outcome(run(body, &by_request(&contact()), &[], &mut judge)), body);
    assert_eq!(outcome(run(r#"{"Id":"c2","Name":"A"}"#, &by_request(&contact()), &[], &mut judge)), "subject mismatch");
}

#[test]
fn the_id_goes_with_the_object_unless_it_is_of_a_category() {
    let quote = shape("quote", &["customer.number"], &[], &[("total", "order"), ("customer.name", "identity")]);
    let body = r#"{"customer":{"number":"c1","name":"A"},"total":3}"#;
    let cut = |shape: &Shape, given: &str| outcome(run(body, &object_plan(shape), &[], &mut customers(&[("c1", given)])));
    assert_eq!(cut(&quote, "order+"), r#"{"customer":{"number":"c1"},"total":3}"#);
    let categorised = shape("quote", &["customer.number"], &[], &[("total", "order"), ("customer.**", "identity")]);
    assert_eq!(cut(&categorised, "order+"), r#"{"total":3}"#);
}

#[test]
fn embedded_customers_have_their_own_verdicts() {
    let quote = shape("quote", &["party"], &["id"], &[("total", "order"), ("end", "embed person"), ("all[]", "embed person")]);
    let person = shape("person", &["Id"], &["kind"], &[("Name", "identity"), ("Diet", "health error"), ("boss", "embed person")]);
    let cut = |body: &str, c1: &str, c2: &str| {
        outcome(run(body, &object_plan(&quote), &[&person], &mut customers(&[("c1", c1), ("c2", c2)]).requested("c1")))
    };
    let body = r#"{"id":1,"party":"c1","total":3,"end":{"Id":"c2","kind":"x","Name":"B"}}"#;
    assert_eq!(cut(body, "order+", "identity+"), body);
    assert_eq!(cut(body, "order+ identity+", ""), r#"{"id":1,"party":"c1","total":3}"#, "never judged by the outer customer");
    assert_eq!(cut(body, "", "identity+ order+"), "denied", "an embedded customer does not release the object around");
    assert_eq!(cut(r#"{"party":"c1","total":3,"end":{"Name":"B"}}"#, "order+", "identity+"), r#"{"party":"c1","total":3}"#);
    assert_eq!(cut(r#"{"party":"c1","total":3,"end":null,"all":[]}"#, "order+", "identity+"), r#"{"party":"c1","total":3}"#);
    assert_eq!(cut(r#"{"party":"c1","total":3,"end":"c2"}"#, "order+", "identity+"), r#"{"party":"c1","total":3}"#);
    let list =
        r#"{"party":"c1","total":3,"end":[{"Id":"c9","Name":"X"},{"Id":"c2","Name":"B"},[{"Id":"c2","Name":"C"}]],"all":[{"Id":"c2","Name":"D"},7]}"#;
    assert_eq!(cut(list, "order+", "identity+"), r#"{"party":"c1","total":3,"end":[{"Id":"c2","Name":"B"}],"all":[{"Id":"c2","Name":"D"}]}"#);
    let nested = r#"{"party":"c1","total":3,"end":{"Id":"c2","Name":"B","boss":{"Id":"c1","Name":"A"}}}"#;
    assert_eq!(cut(nested, "order+ identity+", "identity+"), nested);
    assert_eq!(cut(nested, "order+", "identity+"), r#"{"party":"c1","total":3,"end":{"Id":"c2","Name":"B"}}"#);
    assert_eq!(cut(r#"{"party":"c1","total":3,"end":{"Id":"c2","Name":"B","Diet":"x"}}"#, "order+", "identity+"), "on_deny error");
    assert_eq!(cut(r#"{"party":"c1","total":3,"end":{"Id":"c2","Diet":"x"}}"#, "order+", "identity+"), r#"{"party":"c1","total":3}"#);
    assert_eq!(
        outcome(run(body, &object_plan(&quote), &[], &mut customers(&[("c1", "order+"), ("c2", "identity+")]))),
        r#"{"id":1,"party":"c1","total":3}"#
    );
}

fn ticket(several: Several) -> Shape {
    let fields = [("subject", "case"), ("requester.**", "contact"), ("cc[].**", "contact")];
    Shape { several, ..shape("ticket", &["requester.email", "cc[].email"], &["id", "cc[].seen"], &fields) }
}

const TICKET: &str = r#"{"id":1,"subject":"s","requester":{"email":"r"},"cc":[{"email":"a","n":1,"seen":0},{"email":"b","n":2}]}"#;

fn ticket_outcome(several: Several, body: &str, r: &str, a: &str, b: &str) -> String {
    outcome(run(body, &object_plan(&ticket(several)), &[], &mut customers(&[("r", r), ("a", a), ("b", b)])))
}

#[test]
fn each_of_several_customers_judges_the_own_member() {
    let each = |r, a, b| ticket_outcome(Several::Each, TICKET, r, a, b);
    let all = "case+ contact+";
    assert_eq!(each(all, all, all), TICKET);
    assert_eq!(each(all, "case+", all), r#"{"id":1,"subject":"s","requester":{"email":"r"},"cc":[{"email":"b","n":2}]}"#);
    assert_eq!(each(all, "", ""), r#"{"id":1,"subject":"s","requester":{"email":"r"}}"#);
    assert_eq!(each("case+", "contact+", ""), r#"{"id":1,"subject":"s","cc":[{"email":"a","n":1,"seen":0}]}"#);
    assert_eq!(each("contact+", "case+", "case+"), r#"{"id":1,"requester":{"email":"r"}}"#, "a copied person permits no shared member");
    assert_eq!(each("", all, all), "denied", "a copied person releases no ticket");
    let unnamed = r#"{"id":1,"subject":"s","requester":{"email":"r"},"cc":[{"n":1},{"email":null,"n":2},"a",{"email":"b","n":3}]}"#;
    assert_eq!(
        ticket_outcome(Several::Each, unnamed, all, all, all),
        r#"{"id":1,"subject":"s","requester":{"email":"r"},"cc":[{"email":"b","n":3}]}"#
    );
    assert_eq!(ticket_outcome(Several::Each, r#"{"subject":"s","cc":[{"email":"a"}]}"#, all, all, all), "subject absent");
    assert_eq!(ticket_outcome(Several::Each, r#"{"subject":"s","requester":{}}"#, all, all, all), "subject absent");
}

#[test]
fn all_of_several_customers_must_permit() {
    let every = |r, a, b| ticket_outcome(Several::All, TICKET, r, a, b);
    let all = "case+ contact+";
    assert_eq!(every(all, all, all), TICKET);
    assert_eq!(every(all, all, ""), "denied");
    assert_eq!(every("case+", "contact+", all), "denied");
    assert_eq!(every(all, "case+", all), r#"{"id":1,"subject":"s","cc":[{"seen":0}]}"#);
    let unnamed = r#"{"id":1,"subject":"s","requester":{"email":"r"},"cc":[{"n":1}]}"#;
    assert_eq!(ticket_outcome(Several::All, unnamed, all, all, all), "subject absent", "somebody who cannot be judged");
    assert_eq!(
        ticket_outcome(Several::All, r#"{"subject":"s","requester":{"email":"r"}}"#, all, "", ""),
        r#"{"subject":"s","requester":{"email":"r"}}"#
    );
}

#[test]
fn the_customer_of_the_request_speaks_for_nobody_else_in_the_object() {
    let by_request = |several: Several, shape: Shape, body: &str, r: &str, a: &str, b: &str| {
        let plan = ResponsePlan::Object {
            at: PathPattern::default(),
            shape: Arc::new(Shape { several, ..shape }),
            subject: Subject::Request,
            open: Vec::new(),
            withheld_as: None,
        };
        outcome(run(body, &plan, &[], &mut customers(&[("r", r), ("a", a), ("b", b)]).requested("r")))
    };
    let every = |body: &str, r: &str, a: &str, b: &str| by_request(Several::All, ticket(Several::All), body, r, a, b);
    let all = "case+ contact+";
    assert_eq!(every(TICKET, all, all, all), TICKET);
    assert_eq!(every(TICKET, all, all, ""), "denied");
    assert_eq!(every(TICKET, "", all, all), "denied");
    assert_eq!(every(TICKET, all, "case+", all), r#"{"id":1,"subject":"s","cc":[{"seen":0}]}"#);
    let silent = r#"{"id":1,"subject":"s"}"#;
    assert_eq!(every(silent, all, "", ""), silent, "the object does not say");
    assert_eq!(every(r#"{"subject":"s","cc":[{"email":"a"}]}"#, all, all, all), "subject mismatch", "it says that it is somebody else's");
    assert_eq!(
        every(r#"{"subject":"s","requester":{"email":"r"},"cc":[{"n":1}]}"#, all, all, all),
        "subject absent",
        "somebody who cannot be judged"
    );
    // Copied persons judge what is theirs as ever; of several main customers each has a say.
    let each = |body: &str, r: &str, a: &str, b: &str| by_request(Several::Each, ticket(Several::Each), body, r, a, b);
    assert_eq!(each(TICKET, all, "case+", all), r#"{"id":1,"subject":"s","requester":{"email":"r"},"cc":[{"email":"b","n":2}]}"#);
    let owners = shape("owned", &["owners[].email", "cc[].email"], &[], &[("subject", "case"), ("owners[].n", "contact"), ("cc[].n", "contact")]);
    let owned = r#"{"subject":"s","owners":[{"email":"r","n":1},{"email":"a","n":2}],"cc":[{"email":"b","n":3}]}"#;
    let several = |r: &str, a: &str, b: &str| by_request(Several::Each, owners.clone(), owned, r, a, b);
    assert_eq!(several(all, all, all), owned);
    assert_eq!(several(all, "contact+", ""), r#"{"owners":[{"email":"r","n":1},{"email":"a","n":2}]}"#);
}

#[test]
fn a_name_that_no_path_says_does_not_stay_behind_with_a_null() {
    let open = shape("open", &["Id"], &["Id"], &[("Name", "identity"), ("more.**", "health null")]);
    let known =
        shape("known", &["Id"], &["Id"], &[("Name", "identity"), ("more.**", "health null"), ("more.k", "contact"), ("more.n", "health null")]);
    let body = |more: &str| format!(r#"{{"Id":"c1","Name":"A","more":{more}}}"#);
    let cut = |shape: &Shape, more: &str, given: &str| outcome(run(&body(more), &object_plan(shape), &[], &mut customers(&[("c1", given)])));
    let more = r#"{"ann@example.com":{"x":1},"list":[1,2],"k":3,"n":4}"#;
    for shape in [&open, &known] {
        assert_eq!(cut(shape, more, "identity+ health+ contact+"), body(more));
        for single in ["7", "null", "{}", "[]"] {
            assert_eq!(cut(shape, single, "identity+ contact+"), body("null"), "{single}");
        }
    }
    assert_eq!(cut(&open, more, "identity+ contact+"), body("null"));
    assert_eq!(cut(&open, r#"["a"]"#, "identity+"), body("null"));
    assert_eq!(cut(&known, more, "identity+ contact+"), body(r#"{"k":3,"n":null}"#));
    assert_eq!(cut(&known, more, "identity+"), body(r#"{"n":null}"#));
}

#[test]
fn an_object_inside_an_answer_is_found_and_nothing_beside_it_goes_out() {
    let plan = ResponsePlan::Object { at: path("result"), shape: Arc::new(contact()), subject: Subject::Answer, open: Vec::new(), withheld_as: None };
    let cut = |body: &str| outcome(run(body, &plan, &[], &mut customers(&[("c1", "identity+")])));
    assert_eq!(cut(r#"{"jsonrpc":"2.0","result":{"Id":"c1","Name":"A","x":1},"y":{"Name":"B"}}"#), r#"{"result":{"Id":"c1","Name":"A"}}"#);
    for bad in ["{}", r#"{"result":null}"#, r#"{"result":[{"Id":"c1","Name":"A"}]}"#, r#"{"result":"x"}"#, "[]", "7", "null"] {
        assert_eq!(cut(bad), "unreadable: TopLevel", "{bad}");
    }
}

#[test]
fn only_open_members_of_an_open_answer_go_out() {
    let plan = ResponsePlan::Open { open: paths(&["id", "errors[]", "meta.**"]) };
    let cut = |body: &str| outcome(run(body, &plan, &[], &mut customers(&[])));
    assert_eq!(cut(r#"{"id":"x","email":"a@b","errors":[],"meta":{"a":{"b":1}}}"#), r#"{"id":"x","errors":[],"meta":{"a":{"b":1}}}"#);
    assert_eq!(cut(r#"{"email":"a@b"}"#), "{}");
    assert_eq!(cut(r#"[{"id":1}]"#), "[]");
    assert_eq!(cut("\"a@b\""), "unreadable: TopLevel");
    assert_eq!(
        outcome(run(r#"{"Name":"A"}"#, &ResponsePlan::Empty, &[], &mut customers(&[])).map(|c| {
            assert!(c.filtered.is_empty());
            Cut { filtered: crate::filter::Filtered(Bytes::from_static(b"{}")), ..c }
        })),
        "{}"
    );
}

#[test]
fn free_answers_pass_only_with_a_listed_content_type() {
    use crate::filter::Filtered;
    let plan = ResponsePlan::Free { content_types: vec!["application/json".to_owned()] };
    let pass = |plan: &ResponsePlan, kind: &str| Filtered::declared_free(plan, kind, Bytes::from_static(b"x")).map(Filtered::into_bytes);
    assert_eq!(pass(&plan, "Application/JSON; charset=utf-8").unwrap(), "x");
    for kind in ["text/html", "", "application/jsonp", "application/json,text/html"] {
        assert!(pass(&plan, kind).is_err(), "{kind}");
    }
    assert!(pass(&object_plan(&contact()), "application/json").is_err());
    assert!(matches!(run("{}", &plan, &[], &mut customers(&[])), Err(CutError::Unreadable(_))));
}

#[test]
fn the_report_tells_paths_by_verdict_and_never_values() {
    let mut judge = customers(&[("c1", "identity+ contact~")]);
    let body = r#"{"Id":"c1","Name":"A","Foo":{"x":"SECRET"},"ann@example.com":1,"0035g00000Abc12AAB":2,"@odata.etag":3}"#;
    let report = run(body, &object_plan(&contact()), &[], &mut judge).unwrap().report;
    assert_eq!(report.withheld, ["Address.**", "Address.Geo", "Diet", "Email", "Grid[1]", "Score", "Tags[]"]);
    assert_eq!(report.drift, ["*", "@odata.etag", "Foo"]);
    assert_eq!((report.rows, report.dropped), (1, 0));
    assert_eq!(report.groups.iter().map(|g| (g.released, g.parties.clone(), g.unknown)).collect::<Vec<_>>(), [(true, vec![PartyNo(1)], 0)]);
    let Err(CutError::Denied(report)) = run(r#"{"Id":"c9","Name":"A"}"#, &object_plan(&contact()), &[], &mut judge) else {
        panic!("an unknown customer is denied");
    };
    assert_eq!(report.withheld.len(), contact().fields.len());
    assert_eq!((report.groups.len(), report.groups[0].unknown, report.groups[0].released), (1, 1, false));
}

#[test]
fn a_whole_element_of_a_list_belongs_to_the_customer_named_in_it() {
    let fields = [("subject", "case"), ("cc[].name", "contact"), ("cc[].who.mail", "contact"), ("watchers[]", "contact")];
    let ticket = Shape { several: Several::Each, ..shape("ticket", &["by", "cc[].who.mail", "watchers[]"], &[], &fields) };
    let body = r#"{"by":"r","subject":"s","cc":[{"name":"A","who":{"mail":"a"}},{"name":"B","who":{"mail":"b"}}],"watchers":["b","a"]}"#;
    let mut judge = customers(&[("r", "case+ contact+"), ("a", "contact+"), ("b", "case+")]);
    let expected = r#"{"by":"r","subject":"s","cc":[{"name":"A","who":{"mail":"a"}}],"watchers":["a"]}"#;
    assert_eq!(outcome(run(body, &object_plan(&ticket), &[], &mut judge)), expected);
}
