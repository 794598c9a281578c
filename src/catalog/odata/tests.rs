//! Tables of options: what they touch, how they are sent, and what is refused.

use proptest::prelude::*;

use super::super::fields::tests::order;
use super::*;

/// What the options touch, and how they are sent.
fn said(options: &[(&str, &str)]) -> Result<(String, Vec<String>, bool), ParamError> {
    let given: Vec<(String, String)> = options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let said = read(&order(), &given)?;
    let mut categories: Vec<&str> = said.iter().flat_map(|s| s.categories.iter().map(|c| c.as_str())).collect();
    categories.sort_unstable();
    categories.dedup();
    Ok((categories.join(" "), said.iter().map(|s| s.value.clone()).collect(), said.iter().any(|s| s.bare)))
}

#[test]
fn filters_touch_what_they_name_and_are_written_anew() {
    for (filter, touched, sent) in [
        ("total gt 100", "order", "total gt 100"),
        ("  total   gt   100  ", "order", "total gt 100"),
        ("status eq 'open'", "", "status eq 'open'"),
        ("status eq 'it''s'", "", "status eq 'it''s'"),
        ("status eq 'total eq 1 or secret'", "", "status eq 'total eq 1 or secret'"),
        ("status eq ''", "", "status eq ''"),
        ("status in ('a','b' , 'c')", "", "status in ('a','b' ,'c')"),
        ("not contains(customer/email,'@x')", "contact", "not contains(customer/email,'@x')"),
        ("not(total eq 1)", "order", "not (total eq 1)"),
        ("concat(customer/name, customer/email) eq 'ab'", "contact identity", "concat(customer/name,customer/email) eq 'ab'"),
        ("(total add 5) mul 2 ge -7.5e3 and null ne total", "order", "(total add 5) mul 2 ge -7.5e3 and null ne total"),
        ("-total lt -INF", "order", "-total lt -INF"),
        ("year(customer/address/since) eq 2026", "contact", "year(customer/address/since) eq 2026"),
        ("customer/address/geo eq null", "location", "customer/address/geo eq null"),
        ("id eq 01234567-89ab-cdef-0123-456789abcdef", "", "id eq 01234567-89ab-cdef-0123-456789abcdef"),
        ("id eq a1234567-89ab-cdef-0123-456789abcdef", "", "id eq a1234567-89ab-cdef-0123-456789abcdef"),
        ("status ge 2026-11-27T20:43:08.5Z", "", "status ge 2026-11-27T20:43:08.5Z"),
        ("status ge duration'P1D' and status le now()", "", "status ge duration'P1D' and status le now()"),
        ("lines/any(l:l/price gt 5 and l/sku eq 'S')", "order", "lines/any(l:l/price gt 5 and l/sku eq 'S')"),
        ("lines/all(l: total gt 5)", "free-text order", "lines/all(l:total gt 5)"),
        ("lines/any()", "free-text order", "lines/any()"),
        ("lines/any(l:true)", "free-text order", "lines/any(l:true)"),
        ("lines/any(l:tags/any(t:t eq l/sku))", "behaviour", "lines/any(l:tags/any(t:t eq l/sku))"),
        ("lines/$count gt 3", "free-text order", "lines/$count gt 3"),
        ("tags/any(t:t eq 'vip')", "behaviour", "tags/any(t:t eq 'vip')"),
        ("tags/any(t:t in ('a'))", "behaviour", "tags/any(t:t in ('a'))"),
        ("customer ne null", "contact identity location", "customer ne null"),
        ("substring(status,1,2) eq 'x'", "", "substring(status,1,2) eq 'x'"),
    ] {
        let sent = sent.replace("'b' ,'c'", "'b','c'");
        assert_eq!(Ok((touched.to_owned(), vec![sent], false)), said(&[("$filter", filter)]), "{filter}");
    }
}

#[test]
fn expressions_within_each_other_have_a_limit() {
    let nested = |levels: usize| said(&[("$filter", &format!("{}total gt 1{}", "(".repeat(levels), ")".repeat(levels)))]).is_ok();
    assert!(nested(31));
    assert!(!nested(32));
}

#[test]
fn order_select_and_expand_are_read() {
    for (option, value, touched, sent, bare) in [
        ("$orderby", "total desc, status asc,customer/name", "identity order", "total desc,status asc,customer/name", false),
        ("$orderby", "length(customer/email) desc", "contact", "length(customer/email) desc", false),
        ("$orderby", "lines/$count", "free-text order", "lines/$count", false),
        ("$select", "total, status", "", "total,status,customer/number", true),
        ("$select", "total,customer/number", "", "total,customer/number", false),
        ("$select", "customer", "", "customer", false),
        ("$select", "*", "", "*", false),
        ("$select", "shipTo/name", "", "shipTo/name,customer/number,shipTo/number", true),
        ("$expand", "lines", "", "lines", false),
        ("$expand", "customer($select=name),lines($top=5)", "", "customer($select=name,number),lines($top=5)", false),
        (
            "$expand",
            "lines($filter=price gt 5;$orderby=sku desc;$count=true)",
            "order",
            "lines($filter=price gt 5;$orderby=sku desc;$count=true)",
            false,
        ),
        ("$expand", "shipTo($select=name;$expand=address)", "", "shipTo($select=name,number;$expand=address)", false),
        ("$expand", "customer($expand=address($select=zip))", "", "customer($expand=address($select=zip))", false),
        ("$top", "50", "", "50", false),
        ("$count", "true", "", "true", false),
        ("$format", "json", "", "json", false),
    ] {
        assert_eq!(Ok((touched.to_owned(), vec![sent.to_owned()], bare)), said(&[(option, value)]), "{option}={value}");
    }
    // What one selects, the other brings along, whichever comes first.
    let both = [("$select", "total"), ("$expand", "customer($select=name)")];
    let sent = |a: &str, b: &str| Ok((String::new(), vec![a.to_owned(), b.to_owned()], false));
    assert_eq!(sent("total", "customer($select=name,number)"), said(&both));
    assert_eq!(sent("customer($select=name,number)", "total"), said(&[both[1], both[0]]));
}

#[test]
fn what_is_not_understood_is_refused() {
    let deep = format!("{}total eq 1{}", "(".repeat(10_000), ")".repeat(10_000));
    let nots = format!("{}total", "not ".repeat(10_000));
    let minus = format!("{}total", "- ".repeat(10_000));
    let calls = format!("{}total{}", "trim(".repeat(10_000), ")".repeat(10_000));
    let lambdas: String = (0..200).map(|n| format!("lines/any(v{n}:")).collect();
    for filter in [
        deep.as_str(),
        &nots,
        &minus,
        &calls,
        &lambdas,
        "",
        " ",
        "total gt",
        "gt 100",
        "total gt 100)",
        "(total gt 100",
        "total gt 100 or",
        "total gt 100 total",
        "total\tgt\t100",
        "total gt100",
        "totalgt 100",
        "total GT 100",
        "total eq 'open",
        "total eq 'a'b'",
        "total eq \"open\"",
        "total eq 'a'or status eq 'b'",
        "$it/total eq 1",
        "$it eq null",
        "$root/People eq null",
        "total eq @p",
        "@p",
        "total eq @p&@p=1",
        "cast(total,Edm.String) eq '1'",
        "cast(Edm.String) eq '1'",
        "isof(Sales.Vip)",
        "Sales.Vip/total eq 1",
        "customer/Sales.Vip/name eq 'x'",
        "status has Sales.State'Open'",
        "status eq Sales.State'Open'",
        "total eq datetime'2026-01-01T00:00:00'",
        "geo.distance(customer/address/geo,geography'POINT(0 0)') lt 9",
        "total in (1,status)",
        "total in ()",
        "total in 1",
        "total in [1,2]",
        "status eq ['a']",
        "status eq {\"a\":1}",
        "contains(status)",
        "contains(status,'a','b')",
        "contains (status,'a')",
        "contains(status,'a',)",
        "now(total)",
        "secretfunction(total)",
        "any(l:l/price gt 5)",
        "lines/any(l/price gt 5)",
        "lines/any(l:l/price gt 5",
        "lines/any(total:total/price gt 5)",
        "lines/any(l:lines/any(l:l/price gt 5))",
        "lines/$count/$count gt 1",
        "lines/$value eq 1",
        "total/ eq 1",
        "/total eq 1",
        "total//x eq 1",
        "total eq 1;total eq 2",
        "total eq 1 --",
        "total eq 1/*x*/",
        "ｔotal eq 1",
        "total\u{a0}eq\u{a0}1",
        "total eq １",
    ] {
        let refused = said(&[("$filter", filter)]);
        assert!(refused.is_err(), "{filter:.80}: {refused:?}");
    }
    for (option, value) in [
        ("$orderby", "total descending"),
        ("$orderby", "total DESC"),
        ("$orderby", "total,"),
        ("$orderby", ",total"),
        ("$select", ""),
        ("$select", "total,"),
        ("$select", "customer($select=name)"),
        ("$select", "$count"),
        ("$expand", "*"),
        ("$expand", "lines/$ref"),
        ("$expand", "lines/$count"),
        ("$expand", "lines($levels=3)"),
        ("$expand", "lines($levels=max)"),
        ("$expand", "lines()"),
        ("$expand", "lines(top=3)"),
        ("$expand", "lines($top=3;$top=4)"),
        ("$expand", "lines($top=3;)"),
        ("$expand", "lines($search=x)"),
        ("$expand", "lines($apply=x)"),
        ("$expand", "lines($format=xml)"),
        ("$expand", "lines,lines($filter=price gt 5)"),
        ("$expand", "lines($top=3"),
        ("$top", "-1"),
        ("$top", "1e3"),
        ("$top", ""),
        ("$top", "10000000000"),
        ("$skip", "x"),
        ("$count", "True"),
        ("$format", "xml"),
        ("$format", "atom"),
        ("$format", "application/json;odata.metadata=full"),
    ] {
        assert_eq!(Err(ParamError::Value(option.to_owned())), said(&[(option, value)]), "{option}={value}");
    }
}

#[test]
fn fields_that_do_not_come_back_and_those_of_other_customers_are_refused() {
    let field = |option: &str, field: &str| Err(ParamError::field(option, field));
    for (option, value, name) in [
        ("$filter", "secret eq 1", "secret"),
        ("$filter", "Total eq 1", "Total"),
        ("$filter", "total eq secret", "secret"),
        ("$filter", "contains(status,secret)", "secret"),
        ("$filter", "customer/phone eq '1'", "customer/phone"),
        ("$filter", "lines/any(l:l/cost gt 5)", "lines/cost"),
        ("$filter", "lines/any(l:m/price gt 5)", "m/price"),
        ("$filter", "lines/any(l:true) and l/price gt 1", "l/price"),
        ("$filter", "year eq 1", "year"),
        ("$orderby", "secret", "secret"),
        ("$select", "total,secret", "secret"),
        ("$select", "shipTo/phone", "shipTo/phone"),
        ("$select", "Sales.*", "Sales"),
        ("$expand", "owner", "owner"),
        ("$expand", "total", "total"),
        ("$expand", "customer/email", "customer/email"),
        ("$expand", "lines($select=cost)", "lines/cost"),
        ("$expand", "lines($filter=total gt 5)", "lines/total"),
        ("$expand", "lines($expand=parts)", "lines/parts"),
    ] {
        assert_eq!(field(option, name), said(&[(option, value)]), "{option}={value}");
    }
    for (option, value) in [
        ("$filter", "shipTo/name eq 'x'"),
        ("$filter", "shipTo eq null"),
        ("$orderby", "shipTo/address/city"),
        ("$expand", "shipTo($filter=name eq 'x')"),
        ("$expand", "shipTo($orderby=name)"),
    ] {
        assert!(matches!(said(&[(option, value)]), Err(ParamError::Embedded { .. })), "{option}={value}: {:?}", said(&[(option, value)]));
    }
}

/// An expression with the names that stand in it.
fn expressions() -> impl Strategy<Value = (String, Vec<&'static str>)> {
    let leaf = prop_oneof![
        Just(("total".to_owned(), vec!["order"])),
        Just(("customer/email".to_owned(), vec!["contact"])),
        Just(("customer/name".to_owned(), vec!["identity"])),
        Just(("tags/any(t:t eq 'x')".to_owned(), vec!["behaviour"])),
        "[a-z' ()/,]{0,12}".prop_map(|text| (format!("'{}'", text.replace('\'', "''")), Vec::new())),
        (-999_i32..999).prop_map(|n| (n.to_string(), Vec::new())),
    ];
    leaf.prop_recursive(5, 24, 2, |inner| {
        let both = (inner.clone(), inner.clone(), prop::sample::select(&OPERATORS[..]));
        prop_oneof![
            both.prop_map(|((a, x), (b, y), op)| (format!("({a} {op} {b})"), [x, y].concat())),
            inner.clone().prop_map(|(a, x)| (format!("not {a}"), x)),
            (inner.clone(), inner).prop_map(|((a, x), (b, y))| (format!("concat({a},{b})"), [x, y].concat())),
        ]
    })
}

proptest! {
    /// Whatever stands in an expression is touched, and what is sent says the same.
    #[test]
    fn no_name_in_an_expression_is_missed((text, mut names) in expressions()) {
        names.sort_unstable();
        names.dedup();
        let (touched, sent, _) = said(&[("$filter", &text)]).unwrap();
        prop_assert_eq!(&names.join(" "), &touched);
        prop_assert_eq!(&text, &sent[0]);
        let again = said(&[("$filter", &sent[0])]).unwrap();
        prop_assert_eq!((touched, sent), (again.0, again.1));
    }

    /// No text makes the reader panic, and what it takes it reads the same way again.
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z$@'(),;:/ =.ü0-9-]{0,60}|(total|status|lines|not|any|eq|and|in|[(),':/ ]){0,14}") {
        for option in OPTIONS {
            if let Ok((touched, sent, _)) = said(&[(option, &text)]) {
                let again = said(&[(option, &sent[0])]).unwrap();
                prop_assert_eq!(touched, again.0);
                prop_assert_eq!(&sent, &again.1);
            }
        }
    }
}
