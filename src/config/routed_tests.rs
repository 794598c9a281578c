//! Mistakes of routes that speak a dialect, each in a small configuration of its own.

use std::sync::Arc;

use super::tests::{Example, MARKETING, SALES};

const RPC: &str = r#"
[shape.called]
ids = "salesforce"
customer = "id"
open = ["id"]
[shape.called.fields]
"email" = "contact"

[[api]]
name = "called"
owner = "marketing"
at = "/called"
upstream = "salesforce"
dialect = "json-rpc"
[[api.route]]
match = "POST /rpc"
when = { method = "get" }
action = "read"
customer = "request:params.id"
request = { params = { id = "free" } }
response = { at = "result", shape = "called" }
[[api.route]]
match = "POST /rpc"
when = { method = "read" }
action = "read"
request = { params = { id = "free" } }
response = { at = "result", shape = "called" }
[[api.route]]
match = "POST /rpc"
when = { method = "set" }
action = "update"
lookup = "POST /rpc#read"
request = { shape = "called" }
response = { at = "result", shape = "called" }
[[api.route]]
match = "POST /rpc"
when = { method = "drop" }
action = "delete"
lookup = "POST /rpc#read"
request = { shape = "called", params = { id = "free" } }
response = { open = ["result"] }
"#;

/// The example with more APIs: the messages and helps of its mistakes.
pub(super) fn mistakes(more: &str) -> Vec<String> {
    let example = Example::new();
    example.append(MARKETING, more);
    match example.load() {
        Ok(_) => Vec::new(),
        Err(findings) => findings.0.iter().map(|f| format!("{} | {}", f.message, f.help.clone().unwrap_or_default())).collect(),
    }
}

/// (what stands there, what stands there instead, what is said).
#[track_caller]
pub(super) fn each_is_one_mistake(text: &str, table: &[(&str, &str, &str)]) {
    assert_eq!(Vec::<String>::new(), mistakes(text));
    for (old, new, said) in table {
        assert!(text.contains(old), "{old}");
        let found = mistakes(&text.replacen(old, new, 1));
        assert!(found.len() == 1 && found[0].contains(said), "for `{new}` expected `{said}`, found {found:#?}");
    }
}

#[test]
fn calls_are_declared_whole() {
    each_is_one_mistake(
        RPC,
        &[
            ("when = { method = \"get\" }\n", "", "does not say which method is called"),
            ("{ method = \"get\" }", "{ params = \"get\" }", "told apart by their method"),
            ("{ method = \"get\" }", "{ method = \"get\", id = \"1\" }", "one member of the body"),
            ("{ method = \"get\" }", "{ method = \"get it\" }", "without blanks"),
            ("{ method = \"drop\" }", "{ method = \"set\" }", "route `POST /rpc#set` is declared twice"),
            ("match = \"POST /rpc\"", "match = \"PUT /rpc\"", "`when` belongs to a POST"),
            ("\"request:params.id\"", "\"request:id\"", "stands in `params`"),
            ("\"request:params.id\"", "\"request:params\"", "stands in `params`"),
            ("\"request:params.id\"", "\"request:params.who.id\"", "no such member"),
            ("response = { at = \"result\", shape = \"called\" }", "response = { shape = \"called\" }", "stands in `result`"),
            ("response = { at = \"result\", shape = \"called\" }", "response = { rows = \"rows[]\", shape = \"called\" }", "stands in `result`"),
            ("{ open = [\"result\"] }", "\"empty\"", "a call is always answered"),
            ("response = { at = \"result\",", "response = { withheld_as = \"id\", at = \"result\",", "`id` may have the name"),
            (
                "response = { at = \"result\", shape = \"called\" }",
                "response = { stream = \"ndjson\", shape = \"called\" }",
                "a call is answered once",
            ),
            (
                "request = { shape = \"called\" }",
                "request = { shape = \"called\", types = [\"application/json\", \"multipart/form-data\"] }",
                "leave forms out of `types`",
            ),
            (
                "lookup = \"POST /rpc#read\"\nrequest = { shape = \"called\" }",
                "customer = \"request:params.id\"\nrequest = { shape = \"called\" }",
                "proves nothing",
            ),
            ("\"POST /rpc#read\"", "\"POST /rpc#raed\"", "did you mean `POST /rpc#read`"),
            ("\"POST /rpc#read\"", "\"POST /rpc#set\"", "does not read one record"),
            ("request = { shape = \"called\" }", "request = { shape = \"called\", params = { id = \"free\" } }", "only a deletion by POST has both"),
            (
                "params = { id = \"free\" } }\nresponse = { open",
                "params = { no = \"free\" } }\nresponse = { open",
                "no member of what this one sends",
            ),
        ],
    );
}

#[test]
fn routes_of_one_path_are_told_apart_by_the_same_member() {
    let other = "[[api.route]]\nmatch = \"POST /rpc\"\ndialect = \"plain\"\nwhen = { kind = \"get\" }\naction = \"read\"\n\
                 request = { params = {} }\nresponse = { rows = \"x[]\", shape = \"called\" }\n";
    let found = mistakes(&format!("{RPC}{other}"));
    assert!(found.len() == 1 && found[0].contains("`POST /rpc#get` is declared twice"), "{found:?}");
    let found = mistakes(&format!("{RPC}{}", other.replace("\"get\"", "\"list\"")));
    assert!(found.len() == 1 && found[0].contains("route `POST /rpc#list` cannot be told from `POST /rpc#get`"), "{found:?}");
}

#[test]
fn an_error_is_no_oracle_for_records_whose_customer_stands_in_them() {
    let named = RPC.replacen("shape = \"called\" }", "shape = \"called\", open = [\"error.code\"] }", 1);
    assert_eq!(Vec::<String>::new(), mistakes(&named));
    let unnamed = named.replacen("customer = \"request:params.id\"\n", "", 1);
    assert!(mistakes(&unnamed).iter().any(|m| m.contains("would tell which records exist")), "{:?}", mistakes(&unnamed));
}

#[test]
fn a_plain_body_that_tells_its_route_is_written_with_that_member() {
    let plain = r#"
[[api]]
name = "plain"
owner = "sales"
at = "/plain"
upstream = "cpq"
[[api.route]]
match = "POST /do"
when = { command = "change" }
action = "update"
lookup = "GET /Quotes({id})"
request = { shape = "quote" }
response = "empty"
"#;
    let found = mistakes(plain);
    assert!(found.iter().any(|m| m.contains("`command` is no member of shape `quote`")), "{found:?}");
    let sales = Example::new();
    sales.replace(SALES, "purpose = { fixed = \"service-provision\" } ", "dialect = \"plain\"\npurpose = { fixed = \"service-provision\" } ");
    let config = Arc::new(sales.load().unwrap_or_else(|findings| panic!("{findings}")));
    assert_eq!(4, config.catalog.apis.len());
}

const QUERIES: &str = r#"
[shape.asked]
ids = "salesforce"
customer = "id"
open = ["id", "changed"]
[shape.asked.fields]
"name" = "identity"
"email" = "contact"
"account" = { embed = "contact" }

[[api]]
name = "asked"
owner = "marketing"
at = "/asked"
upstream = "salesforce"
[[api.route]]
match = "GET /plain"
response = { rows = "rows[]", shape = "asked" }
[api.route.query]
sort = { names = "sort", as = { mail = "email" } }
fields = { names = "select" }
"filter[{field}]" = {}
"{field}__{op}" = { operators = ["contains"], grammar = "[a-z]+" }
[[api.route]]
match = "GET /odata"
dialect = "odata"
query = { "$search" = ["name", "email"], page = "free" }
response = { rows = "value[]", shape = "asked" }
[[api.route]]
match = "GET /countries"
dialect = "odata"
customer = "none"
departments = ["sales"]
query = { "$filter" = "free" }
response = { content_types = ["application/json"] }
[[api.route]]
match = "GET /resources"
dialect = "json-api"
type = "resources"
response = { rows = "data[]", shape = "asked" }
"#;

#[test]
fn what_names_fields_is_declared_whole() {
    each_is_one_mistake(
        QUERIES,
        &[
            ("names = \"sort\"", "names = \"order\"", "unknown use of names `order`"),
            ("names = \"sort\"", "names = \"sort\", one_of = [\"email\"]", "either `one_of`, `grammar` or `names`"),
            ("names = \"sort\", as", "grammar = \"[a-z]+\", as", "these names stand in no value"),
            ("as = { mail = \"email\" }", "as = { mail = \"e-mail\" }", "unknown field of shape `asked` `e-mail`"),
            ("as = { mail = \"email\" }", "as = { mail = \"account.Email\" }", "an embedded customer is not available"),
            ("\"filter[{field}]\" = {}", "\"filter[{field}]\" = \"free\"", "expected a table"),
            ("\"filter[{field}]\" = {}", "\"filter[{field}]\" = { operators = [\"eq\"] }", "no `{op}` stands in the name"),
            ("\"filter[{field}]\" = {}", "\"filter[{field}][{field}]\" = {}", "`{field}` stands there once"),
            ("\"filter[{field}]\" = {}", "\"filter[{op}][{field}]\" = {}", "`{field}` stands there once"),
            ("operators = [\"contains\"], ", "", "which operators may stand at `{op}`"),
            ("operators = [\"contains\"]", "operators = []", "no operator stands there"),
            ("grammar = \"[a-z]+\" }", "grammar = \"[a-z\" }", "this grammar cannot be read"),
            ("\"$search\" = ", "\"$filter\" = ", "OData's own `$filter` is read by the shape"),
            ("match = \"GET /odata\"", "match = \"GET /odata/$batch\"", "a batch holds requests that nobody judged"),
            ("dialect = \"odata\"", "dialect = \"odata\"\ntype = \"x\"", "resources have a `type` in JSON:API"),
            ("dialect = \"odata\"", "dialect = \"OData\"", "unknown dialect `OData`"),
        ],
    );
}

#[test]
fn neither_a_write_nor_an_export_answers_a_stream() {
    let write =
        "[[api.route]]\nmatch = \"PATCH /one/{id}\"\ncustomer = \"path:id\"\nrequest = { shape = \"asked\" }\nresponse = { shape = \"asked\" }\n";
    let export = "[[api.route]]\nmatch = \"GET /all\"\naction = \"export\"\nresponse = { rows = \"all[]\", shape = \"asked\", rows_max = 9 }\n";
    let stream = "response = { stream = \"ndjson\", shape = \"asked\" }";
    each_is_one_mistake(
        &format!("{QUERIES}{write}{export}"),
        &[
            ("response = { shape = \"asked\" }", stream, "a write does not answer a stream"),
            ("response = { rows = \"all[]\", shape = \"asked\", rows_max = 9 }", stream, "an export answers `rows`"),
        ],
    );
}

#[test]
fn an_id_outside_the_shape_must_not_be_left_out() {
    let outside = QUERIES.replace("customer = \"id\"\n", "").replace("rows = \"rows[]\"", "at = \"one\"").replacen(
        "match = \"GET /plain\"",
        "match = \"GET /plain\"\ncustomer = \"response:owner\"\nids = \"salesforce\"",
        1,
    );
    let found = mistakes(&outside);
    assert!(found.iter().any(|m| m.contains("a request could leave this id out")), "{found:#?}");
}
