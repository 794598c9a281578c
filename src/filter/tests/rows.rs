//! Lists: dropped rows, counts, links, selection.

use super::*;

fn row() -> Shape {
    shape("row", &["id"], &[], &[("name", "identity"), ("mail", "contact")])
}

fn judge() -> Customers {
    customers(&[("1", "identity+ contact+"), ("2", "identity+"), ("3", "contact-"), ("4", "")])
}

fn check(body: &str, expected: &str) -> crate::filter::Report {
    let counts = [("total", CountRule::Rows), ("next", CountRule::Remove), ("page", CountRule::Free)];
    let result = run(body, &rows_plan("items[]", &row(), &counts, &["kind"]), &[], &mut judge());
    let report = result.as_ref().map(|c| c.report.clone()).unwrap_or_default();
    assert_eq!(outcome(result), expected, "{body}");
    report
}

#[test]
fn rows_are_cut_by_their_own_customer_and_dropped_when_nothing_is_left() {
    let report = check(
        r#"{"kind":"k","items":[{"id":1,"name":"A","mail":"a"},{"id":2,"name":"B","mail":"b"},{"id":3,"mail":"c"},{"id":9,"name":"D"}]}"#,
        r#"{"kind":"k","items":[{"id":1,"name":"A","mail":"a"},{"id":2,"name":"B"}]}"#,
    );
    assert_eq!((report.rows, report.dropped), (2, 2));
    assert_eq!(report.withheld, ["mail"], "of released rows only");
    let groups: Vec<_> = report.groups.iter().map(|g| (g.released, g.parties.len(), g.unknown)).collect();
    assert_eq!(groups, [(true, 1, 0), (true, 1, 0), (false, 1, 0), (false, 0, 1)]);
}

#[test]
fn rows_of_one_outcome_are_one_group() {
    let report = check(
        r#"{"items":[{"id":2,"name":"B"},{"id":2,"name":"C"},{"id":8,"name":"x"},{"id":9,"name":"D"}]}"#,
        r#"{"items":[{"id":2,"name":"B"},{"id":2,"name":"C"}]}"#,
    );
    let groups: Vec<_> = report.groups.iter().map(|g| (g.released, g.parties.clone(), g.unknown)).collect();
    assert_eq!(groups, [(true, vec![PartyNo(2)], 0), (false, vec![], 2)]);
}

#[test]
fn an_empty_list_is_an_answer() {
    check(r#"{"items":[],"total":0}"#, r#"{"items":[],"total":0}"#);
    let report = check(r#"{"items":[{"id":4,"name":"x"}],"total":1}"#, r#"{"items":[],"total":0}"#);
    assert!(report.counts_corrected && !report.counts_removed);
    let bare = rows_plan("[]", &row(), &[], &[]);
    assert_eq!(outcome(run(r#"[{"id":4,"name":"x"},7,null]"#, &bare, &[], &mut judge())), "[]");
    assert_eq!(outcome(run(r#" [ {"id":4,"name":"x"} , {"id":1,"name":"y"}]"#, &bare, &[], &mut judge())), r#"[{"id":1,"name":"y"}]"#);
}

#[test]
fn rows_without_a_readable_id_are_dropped() {
    for id in ["", r#""id":null,"#, r#""id":"","#, r#""id":1.0,"#, r#""id":1e0,"#, r#""id":true,"#, r#""id":[1],"#, r#""id":{"a":1},"#] {
        check(&format!(r#"{{"items":[{{{id}"name":"A"}}]}}"#), r#"{"items":[]}"#);
    }
}

#[test]
fn rows_of_other_customers_than_the_requested_are_dropped() {
    let body = r#"[{"id":1,"name":"A"},{"id":2,"name":"B"}]"#;
    let result = run(body, &rows_plan("[]", &row(), &[], &[]), &[], &mut judge().requested("2"));
    assert_eq!(outcome(result), r#"[{"id":2,"name":"B"}]"#);
}

#[test]
fn totals_are_corrected_only_when_the_answer_holds_the_whole_list() {
    let rows = r#""items":[{"id":1,"name":"A"},{"id":4,"name":"B"}]"#;
    let cut = r#""items":[{"id":1,"name":"A"}]"#;
    // The count may stand on either side of the rows.
    check(&format!(r#"{{"total":2,{rows}}}"#), &format!(r#"{{"total":1,{cut}}}"#));
    check(&format!(r#"{{{rows},"total":2,"next":null}}"#), &format!(r#"{{{cut},"total":1}}"#));
    for not_whole in [
        "\"total\":3",
        "\"total\":1",
        "\"total\":\"2\"",
        "\"total\":2.0",
        "\"total\":null",
        "\"total\":[2]",
        "\"total\":2,\"next\":\"/p2\"",
        "\"total\":2,\"next\":{\"a\":1}",
    ] {
        let report = check(&format!(r#"{{{rows},{not_whole}}}"#), &format!("{{{cut}}}"));
        assert!(report.counts_removed && !report.counts_corrected);
    }
    check(&format!(r#"{{{rows},"page":{{"n": 7}},"other":2}}"#), &format!(r#"{{{cut},"page":{{"n": 7}}}}"#));
}

#[test]
fn rows_over_the_ceiling_are_cut_off_and_then_no_count_is_right() {
    let counts = [("total", CountRule::Rows)];
    let ResponsePlan::Rows { rows, shape, counts, open, .. } = rows_plan("items[]", &row(), &counts, &[]) else {
        panic!("rows");
    };
    let plan = ResponsePlan::Rows { rows, shape, counts, open, rows_max: Some(1), withheld_as: None };
    let mut judge = judge();
    let cut = run(r#"{"items":[{"id":1,"name":"A"},{"id":2,"name":"B"}],"total":2}"#, &plan, &[], &mut judge).unwrap();
    assert_eq!(judge.asked, ["1"], "nobody is judged beyond the ceiling");
    assert_eq!((cut.report.rows, cut.report.dropped), (1, 1));
    assert_eq!(outcome(Ok(cut)), r#"{"items":[{"id":1,"name":"A"}]}"#);
}

#[test]
fn an_answer_without_the_list_is_unreadable() {
    for body in [r#"{"Items":[]}"#, r#"{"items":null}"#, r#"{"items":{"id":1}}"#, "[]", "{}", "1"] {
        check(body, "unreadable: NoRows");
    }
    let nested = rows_plan("groups[].rows[]", &row(), &[], &[]);
    let cut = |body: &str| outcome(run(body, &nested, &[], &mut judge()));
    assert_eq!(cut(r#"{"groups":[]}"#), r#"{"groups":[]}"#);
    assert_eq!(cut(r#"{"groups":[{"a":1}]}"#), "unreadable: NoRows");
    assert_eq!(
        cut(r#"{"groups":[{"rows":[{"id":1,"name":"A"}]},{"x":1},{"rows":[{"id":2,"name":"B"}],"s":"x"}]}"#),
        r#"{"groups":[{"rows":[{"id":1,"name":"A"}]},{"rows":[{"id":2,"name":"B"}]}]}"#
    );
}

#[test]
fn rows_found_by_a_category_need_it_for_their_customer() {
    let body = Bytes::from_static(br#"[{"id":1,"name":"A"},{"id":2,"name":"B"},{"id":5,"name":"C"}]"#);
    let plan = rows_plan("[]", &row(), &[], &[]);
    let mut judge = customers(&[("1", "identity+ contact+"), ("2", "identity+"), ("5", "identity+ contact~")]);
    let result = cut(&body, &plan, &cutters(&plan, &[]), &LIMITS, &[category("contact")], &mut judge);
    assert_eq!(outcome(result), r#"[{"id":1,"name":"A"}]"#);
    let single = object_plan(&row());
    let result = cut(&Bytes::from_static(br#"{"id":2,"name":"B"}"#), &single, &cutters(&single, &[]), &LIMITS, &[category("contact")], &mut judge);
    assert_eq!(outcome(result), "denied");
}

#[test]
fn being_found_tells_of_copied_persons_too() {
    let fields = [("subject", "case"), ("cc[].**", "contact")];
    let ticket = Shape { several: Several::Each, ..shape("ticket", &["by", "cc[].mail"], &[], &fields) };
    let body =
        Bytes::from_static(br#"[{"by":"1","subject":"s","cc":[{"mail":"2"}]},{"by":"1","subject":"t"},{"by":"1","subject":"u","cc":[{"n":1}]}]"#);
    let mut judge = customers(&[("1", "case+ contact+"), ("2", "case+")]);
    let result = cut(&body, &rows_plan("[]", &ticket, &[], &[]), &Cutters::new(&shapes(&[&ticket])), &LIMITS, &[category("contact")], &mut judge);
    assert_eq!(outcome(result), r#"[{"by":"1","subject":"t"}]"#);
}

#[test]
fn positional_rows_keep_their_positions() {
    let positional = shape("positional", &["[0]"], &[], &[("[2]", "identity")]);
    let body = r#"[["1","x","A","y"],["9","x","B"],["","x","C"]]"#;
    assert_eq!(outcome(run(body, &rows_plan("[]", &positional, &[], &[]), &[], &mut judge())), r#"[["1",null,"A",null]]"#);
}

#[test]
fn an_error_member_refuses_the_list_only_from_a_row_that_would_go_out() {
    let strict = shape("strict", &["id"], &[], &[("name", "identity"), ("diet", "health error")]);
    let plan = rows_plan("[]", &strict, &[], &[]);
    let body = r#"[{"id":4,"name":"A","diet":"x"},{"id":2,"name":"B"}]"#;
    assert_eq!(outcome(run(body, &plan, &[], &mut judge())), r#"[{"id":2,"name":"B"}]"#);
    let Err(CutError::OnDenyError(report)) = run(r#"[{"id":2,"name":"B","diet":"x"}]"#, &plan, &[], &mut judge()) else {
        panic!("refused as a whole");
    };
    assert!(report.rows == 0 && report.dropped == 1 && report.groups.iter().all(|g| !g.released));
}

#[test]
fn embedded_customers_of_a_dropped_row_count_as_not_released() {
    let quote = shape("quote", &["id"], &[], &[("total", "order"), ("end", "embed row")]);
    let body = r#"[{"id":4,"total":1,"end":{"id":1,"name":"A"}}]"#;
    let cut = run(body, &rows_plan("[]", &quote, &[], &[]), &[&row()], &mut judge()).unwrap();
    assert!(cut.report.withheld.is_empty() && cut.report.groups.iter().all(|g| !g.released));
    assert_eq!(outcome(Ok(cut)), "[]");
}

#[test]
fn an_error_member_of_an_embedded_customer_in_a_dropped_row_refuses_nothing() {
    let strict = shape("strict", &["id"], &[], &[("name", "identity"), ("diet", "health error")]);
    let quote = shape("quote", &["id"], &[], &[("end", "embed strict"), ("total", "order")]);
    let body = r#"[{"id":4,"end":{"id":1,"name":"A","diet":"x"},"total":1},{"id":5,"total":2}]"#;
    let mut judge = customers(&[("1", "identity+"), ("4", ""), ("5", "order+")]);
    assert_eq!(outcome(run(body, &rows_plan("[]", &quote, &[], &[]), &[&strict], &mut judge)), r#"[{"id":5,"total":2}]"#);
}

#[test]
fn thousands_of_customers_in_one_row_cost_no_square() {
    let many: Vec<String> = (0..20_000).map(|n| format!(r#"{{"mail":"{n}","n":1}}"#)).collect();
    let body = format!(r#"[{{"by":"1","subject":"s","cc":[{}]}}]"#, many.join(","));
    for several in [Several::All, Several::Each] {
        let fields = [("subject", "case"), ("cc[].**", "contact")];
        let ticket = Shape { several, ..shape("ticket", &["by", "cc[].mail"], &[], &fields) };
        let mut judge = customers(&[("1", "case+")]);
        let cut = run(&body, &rows_plan("[]", &ticket, &[], &[]), &[], &mut judge).unwrap();
        let expected = if several == Several::All { "[]" } else { r#"[{"by":"1","subject":"s"}]"# };
        assert_eq!(outcome(Ok(cut)), expected);
    }
}

#[test]
fn nothing_declared_beside_the_rows_speaks_for_them() {
    let body = r#"{"data":{"items":[{"id":4,"name":"A"},{"id":1,"name":"B"}],"n":2}}"#;
    for free in ["data", "data.items", "data.**"] {
        let plan = rows_plan("data.items[]", &row(), &[(free, CountRule::Free)], &[free]);
        assert!(!outcome(run(body, &plan, &[], &mut judge())).contains("\"A\""), "{free}");
    }
    let nested = rows_plan("a[].rows[]", &row(), &[("a[0].rows", CountRule::Free)], &[]);
    let body = r#"{"a":[{"rows":[{"id":4,"name":"A"}]},{"rows":[{"id":1,"name":"B"}]}]}"#;
    assert_eq!(outcome(run(body, &nested, &[], &mut judge())), r#"{"a":[{"rows":[]},{"rows":[{"id":1,"name":"B"}]}]}"#);
}

#[test]
fn links_become_the_gateways_or_are_cut() {
    let shape = Shape { links: paths(&["_url", "self.**"]), ..shape("person", &["id"], &["id", "_url"], &[("name", "identity")]) };
    let counts = [("meta.total", CountRule::Rows), ("meta.next", CountRule::Link), ("prev", CountRule::Link)];
    let plan = rows_plan("rows[]", &shape, &counts, &[]);
    let cut = |body: &str| outcome(run(body, &plan, &[], &mut customers(&[("1", "identity+"), ("2", "identity-")])));
    let row = r#"{"id":"1","name":"Ada","_url":"https://crm/people/1"}"#;
    let ours = r#"{"id":"1","name":"Ada","_url":"https://gw/people/1?of=1"}"#;
    for (meta, kept) in [
        (r#"{"total":1,"next":"https://crm/people?page=2"}"#, r#"{"next":"https://gw/people?page=2"}"#),
        (r#"{"next":"https://crm/people?page=2","total":1}"#, r#"{"next":"https://gw/people?page=2"}"#),
        (r#"{"total":1,"next":null}"#, r#"{"total":1,"next":null}"#),
    ] {
        assert_eq!(cut(&format!(r#"{{"meta":{meta},"rows":[{row}]}}"#)), format!(r#"{{"meta":{kept},"rows":[{ours}]}}"#), "before the rows");
        assert_eq!(cut(&format!(r#"{{"rows":[{row}],"meta":{meta}}}"#)), format!(r#"{{"rows":[{ours}],"meta":{kept}}}"#), "after the rows");
    }
    // Elsewhere, or no text: cut, like a member that holds only such.
    assert_eq!(cut(&format!(r#"{{"meta":{{"next":"https://other/2"}},"rows":[{row}]}}"#)), format!(r#"{{"rows":[{ours}]}}"#));
    assert_eq!(cut(&format!(r#"{{"prev":7,"rows":[{row}]}}"#)), format!(r#"{{"rows":[{ours}]}}"#));
    assert_eq!(cut(r#"{"rows":[{"id":"1","name":"Ada","_url":"https://other/1"}]}"#), r#"{"rows":[{"id":"1","name":"Ada"}]}"#);
    let several = r#"{"rows":[{"id":"1","name":"Ada","self":{"a":"https://crm/a","b":["https://crm/b",1]}}]}"#;
    let rewritten = r#"{"rows":[{"id":"1","name":"Ada","self":{"a":"https://gw/a?of=1","b":["https://gw/b?of=1"]}}]}"#;
    assert_eq!(cut(several), rewritten);
    // A link alone releases nothing.
    assert_eq!(cut(r#"{"rows":[{"id":"2","name":"Ada","_url":"https://crm/people/2"}]}"#), r#"{"rows":[]}"#);
    assert_eq!(cut(r#"{"rows":[{"id":"1","_url":"https://crm/people/1"}]}"#), r#"{"rows":[]}"#);
}

#[test]
fn an_answer_of_which_nothing_is_left_is_still_an_answer() {
    let counts = [("groups[].n", CountRule::Rows)];
    let cut = |rows: &str, counts: &[(&str, CountRule)], body: &str| outcome(run(body, &rows_plan(rows, &row(), counts, &[]), &[], &mut judge()));
    assert_eq!(cut("groups[].rows[]", &counts, r#"{"groups":[]}"#), "{}");
    assert_eq!(cut("groups[].rows[]", &[("groups[].n", CountRule::Remove)], r#"{"groups":[]}"#), "{}");
    assert_eq!(cut("[1].groups[].rows[]", &[("[1].groups[].n", CountRule::Rows)], r#"[{"a":1},{"groups":[]}]"#), "[]");
    assert_eq!(cut("a[].b[].rows[]", &[], r#"{"a":[{"b":[]}]}"#), r#"{"a":[{"b":[]}]}"#, "there could have been lists");
}

#[test]
fn an_id_at_some_position_is_of_the_category_that_stands_there() {
    let copied = |several| Shape {
        several,
        ..shape("copied", &["id", "cc[].id"], &[], &[("name", "identity"), ("cc[0].**", "contact"), ("cc[].name", "identity")])
    };
    let body = r#"[{"id":1,"name":"A","cc":[{"id":"2","name":"B"},{"id":"1","name":"C"}]}]"#;
    let mut judge = customers(&[("1", "identity+ contact+"), ("2", "identity+ contact-")]);
    // The id of the first is `contact`; where those of the others belong the shape does not say.
    for (several, expected) in [
        (Several::All, r#"[{"id":1,"name":"A","cc":[{"name":"B"},{"name":"C"}]}]"#),
        (Several::Each, r#"[{"id":1,"name":"A","cc":[{"name":"B"},{"name":"C"}]}]"#),
    ] {
        assert_eq!(outcome(run(body, &rows_plan("[]", &copied(several), &[], &[]), &[], &mut judge)), expected, "{several:?}");
    }
}

#[test]
fn a_customer_whom_nobody_could_read_drops_the_row() {
    // The configuration refuses such shapes; if one came here all the same, nobody may be overlooked.
    let account = shape("account", &["id"], &[], &[("label", "identity")]);
    let order = shape("order", &["id", "account.owner.person.id", "account.people[].id"], &[], &[("name", "identity"), ("account", "embed account")]);
    let plan = rows_plan("[]", &order, &[], &[]);
    for (within, released) in [("", true), (r#","owner":{"person":{"id":4}}"#, false), (r#","people":[{"id":4}]"#, false), (r#","people":[]"#, true)]
    {
        let body = format!(r#"[{{"id":1,"name":"A","account":{{"id":1,"label":"L"{within}}}}}]"#);
        let kept = if released { r#"[{"id":1,"name":"A","account":{"id":1,"label":"L"}}]"# } else { "[]" };
        assert_eq!(outcome(run(&body, &plan, &[&account], &mut judge())), kept, "{within}");
    }
}

#[test]
fn what_was_withheld_is_listed_in_a_member_of_the_whole_body_if_that_is_wanted() {
    let told = |mut plan: ResponsePlan| {
        if let ResponsePlan::Rows { withheld_as, .. } | ResponsePlan::Object { withheld_as, .. } = &mut plan {
            *withheld_as = Some("_withheld".to_owned());
        }
        plan
    };
    let list = told(rows_plan("items[]", &row(), &[("total", CountRule::Rows)], &[]));
    let one = told(object_plan(&row()));
    for (body, plan, expected) in [
        (
            r#"{"items":[{"id":2,"name":"B","mail":"b"},{"id":4,"name":"D"}],"total":2}"#,
            &list,
            r#"{"items":[{"id":2,"name":"B"}],"total":1,"_withheld":["mail"]}"#,
        ),
        (r#"{"total":2,"items":[{"id":4,"name":"D","mail":"d"}],"_withheld":"by the upstream"}"#, &list, r#"{"items":[],"_withheld":[]}"#),
        (r#"{"items":[] }"#, &list, r#"{"items":[],"_withheld":[]}"#),
        (r#"{"id":2,"name":"B","mail":"b" } "#, &one, r#"{"id":2,"name":"B","_withheld":["mail"]}"#),
        (r#"{"_withheld":1,"id":1,"name":"A","mail":"a"}"#, &one, r#"{"id":1,"name":"A","mail":"a","_withheld":[]}"#),
        (r#"{"id":4,"name":"D"}"#, &one, "denied"),
    ] {
        assert_eq!(outcome(run(body, plan, &[], &mut judge())), expected, "{body}");
    }
}

#[test]
fn an_id_is_read_where_another_path_says_what_becomes_of_it() {
    // `cc[1].**` speaks for the id of the second of them only, and nothing for the first.
    let mut shape = shape("row", &["id", "cc[].id"], &[], &[("name", "identity"), ("cc[1].**", "contact")]);
    for (several, body, expected) in [
        (Several::All, r#"[{"id":1,"name":"A","cc":[{"id":1},{"id":1}]}]"#, r#"[{"id":1,"name":"A","cc":[null,{"id":1}]}]"#),
        (Several::All, r#"[{"id":1,"name":"A","cc":[{"id":4},{"id":1}]}]"#, "[]"),
        (Several::Each, r#"[{"id":1,"name":"A","cc":[{"id":4},{"id":2}]}]"#, r#"[{"id":1,"name":"A"}]"#),
    ] {
        shape.several = several;
        assert_eq!(outcome(run(body, &rows_plan("[]", &shape, &[], &[]), &[], &mut judge())), expected, "{body}");
    }
    // Where only an id is looked for at a position, positions mean nothing.
    let mut shape = self::shape("row", &["id", "cc[1]"], &[], &[("name", "identity"), ("cc[].**", "contact")]);
    shape.several = Several::Each;
    let body = r#"[{"id":1,"name":"A","cc":["x",4,"y"]}]"#;
    assert_eq!(outcome(run(body, &rows_plan("[]", &shape, &[], &[]), &[], &mut judge())), r#"[{"id":1,"name":"A","cc":["x","y"]}]"#);
}
