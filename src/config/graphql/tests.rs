//! A GraphQL route beside the shipped example, one mistake at a time; and what of it is governed.

use std::fs;

use super::super::tests::Example;
use crate::model::ResponsePlan;

const FILE: &str = "apis/graphql.toml";
const SCHEMA: &str = "apis/crm.graphql";

const DECLARED: &str = r#"[ids]
gql = { grammar = "[0-9]{4}" }
[shape.person]
ids = "gql"
customer = "id"
open = ["id"]
[shape.person.fields]
"givenName" = "identity"
"email" = "contact"
"leadScore" = "behaviour"
[shape.each]
ids = "gql"
customer = ["id", "email"]
several = "each"
[shape.each.fields]
"givenName" = "identity"
[[api]]
name = "graph"
owner = "marketing"
at = "https://gw.example.com/graph"
upstream = "salesforce"
[[api.route]]
match = "POST /graphql"
[api.route.graphql]
schema = "crm.graphql"
types = { Customer = "person" }
limits = { document = "32KiB", depth = 8, selections = 100, aliases = 10 }
[api.route.graphql.fields]
customer = { customer = "arg:id" }
customers = { rows = "edges[].node", counts = { totalCount = "rows" }, open = ["pageInfo.hasNextPage"] }
[api.route.graphql.args]
"Query.customers" = { first = "free", "filter.minScore" = ["leadScore"] }
"Customer.tickets" = { first = "free" }
"#;

fn example() -> Example {
    let example = Example::new();
    fs::write(example.file(FILE), DECLARED).unwrap();
    fs::write(example.file(SCHEMA), include_str!("../../../tests/it/graphql.graphql")).unwrap();
    example
}

#[test]
fn a_declaration_is_read_and_its_schema_is_governed() {
    let example = example();
    let config = example.load().unwrap_or_else(|findings| panic!("{findings}"));
    let api = config.catalog.apis.iter().find(|api| api.name.as_str() == "graph").unwrap();
    let route = &api.routes[0];
    assert!(route.graphql.is_some() && route.params.is_empty());
    let ResponsePlan::Rows { shape, .. } = &route.response else { panic!() };
    let told: Vec<String> = shape.fields.iter().map(|field| field.path.to_string()).collect();
    assert_eq!(told, ["Customer.givenName", "Customer.email", "Customer.leadScore"], "explanations tell what could be asked for");
    assert!(config.files.iter().any(|file| file.ends_with("crm.graphql")), "the schema is watched");

    let offline = crate::config::governed_hash(&example.file("consentry.example.toml")).unwrap();
    assert_eq!(offline, config.governed_hash);
    let schema = fs::read_to_string(example.file(SCHEMA)).unwrap();
    fs::write(example.file(SCHEMA), schema.replace("leadScore: Int", "leadScore: String")).unwrap();
    let changed = example.load().unwrap().governed_hash;
    assert_ne!(changed, config.governed_hash, "another schema is another policy set");
    assert_eq!(crate::config::governed_hash(&example.file("consentry.example.toml")).unwrap(), changed);
    fs::remove_file(example.file(SCHEMA)).unwrap();
    assert!(crate::config::governed_hash(&example.file("consentry.example.toml")).is_err());
    assert_eq!(example.load().unwrap_err().0.len(), 1);
}

/// (text of the declaration, what stands there instead, what is said).
const WRONG: &[(&str, &str, &str)] = &[
    ("schema = \"crm.graphql\"", "schema = \"none.graphql\"", "none.graphql` does not exist"),
    ("schema = \"crm.graphql\"", "schema = \"graphql.toml\"", "this is not a GraphQL schema: line 1"),
    ("schema = \"crm.graphql\"\n", "", "`schema` is missing"),
    ("types = { Customer = \"person\" }\n", "", "`types` is missing"),
    ("types = { Customer = \"person\" }", "types = {}", "no type has a shape"),
    ("types = { Customer = \"person\" }", "types = { Customers = \"person\" }", "did you mean `Customer`?"),
    ("types = { Customer = \"person\" }", "types = { Customer = \"persons\" }", "unknown shape `persons`"),
    ("types = { Customer = \"person\" }", "types = { Ticket = \"person\" }", "`Ticket` of the schema has no field `givenName`"),
    ("types = { Customer = \"person\" }", "types = { Customer = \"person\", Node = \"person\" }", "the schema has no object type `Node`"),
    ("types = { Customer = \"person\" }", "types = { Customer = \"each\" }", "`several = \"each\"`, which is not available for GraphQL"),
    ("\"email\" = \"contact\"", "\"mail\" = \"contact\"", "`Customer` of the schema has no field `mail`"),
    ("\"email\" = \"contact\"", "\"address\" = \"contact\"", "write `address.**`"),
    ("limits = { document", "limits = { documents", "unknown key `documents`"),
    ("depth = 8", "depth = 65", "expected a number from 1 to 64"),
    ("selections = 100", "selections = 0", "expected a number from 1 to 10000"),
    ("customer = { customer = \"arg:id\" }", "customer = { customer = \"arg:ids\" }", "`Query.customer` has no argument `ids`"),
    ("customer = { customer = \"arg:id\" }", "customer = { customer = \"path:id\" }", "a query names its customer in an argument"),
    ("customer = { customer = \"arg:id\" }", "customer = { customer = \"arg:id\", ids = \"gqls\" }", "unknown id space `gqls`"),
    ("customer = { customer = \"arg:id\" }", "customer = { subject = \"request\" }", "but the query names nobody"),
    ("customer = { customer = \"arg:id\" }", "customer = { rows = \"[]\" }", "`[]` enters it differently"),
    ("customer = { customer = \"arg:id\" }", "customer = { open = [\"id\"] }", "this belongs to `rows`"),
    ("customer = { customer = \"arg:id\" }", "customer = { shape = \"person\" }", "unknown key `shape` in a field"),
    ("customer = { customer = \"arg:id\" }", "clients = {}", "has no field `clients`"),
    ("customer = { customer = \"arg:id\" }", "ticket = {}", "`ticket` returns `Ticket`, which has no shape"),
    ("customer = { customer = \"arg:id\" }", "customers_ = {}", "did you mean `customers`?"),
    (
        "rows = \"edges[].node\", counts = { totalCount = \"rows\" }, open = [\"pageInfo.hasNextPage\"]",
        "at = \"edges[].node\"",
        "does not return objects there: write `rows",
    ),
    ("rows = \"edges[].node\"", "rows = \"edges.node\"", "write `edges[]`"),
    ("rows = \"edges[].node\"", "rows = \"edges[]\"", "which has no shape"),
    ("rows = \"edges[].node\"", "rows = \"edges[].cursor\"", "does not return objects there"),
    ("rows = \"edges[].node\"", "rows = \"nodes[]\"", "has no field `nodes`"),
    ("rows = \"edges[].node\", ", "rows = \"edges[].node\", subject = \"request\", ", "this belongs to one object"),
    ("counts = { totalCount = \"rows\" }", "counts = { total = \"rows\" }", "has no field `total`"),
    ("open = [\"pageInfo.hasNextPage\"]", "open = [\"pageInfo\"]", "`pageInfo` is not one value"),
    ("\"Query.customers\" = {", "\"Query.clients\" = {", "no object type `Query` with a field `clients`"),
    ("\"Query.customers\" = {", "\"Query.node\" = { id = \"free\" }\n\"Query.customers\" = {", "`node` is not among `fields`"),
    ("\"Customer.tickets\" = {", "\"Node.id\" = {", "no object type `Node`"),
    ("\"Query.customers\" = {", "\"customers\" = {", "does not name a field of a type"),
    ("first = \"free\", \"filter", "last = \"free\", \"filter", "has no argument `last`"),
    ("first = \"free\", \"filter", "first = \"any\", \"filter", "this is not a rule for a parameter"),
    ("\"filter.minScore\" = [", "\"filter.salary\" = [", "has no `salary`"),
    ("\"filter.minScore\" = [", "\"filter\" = [", "`filter` is an input object"),
    ("[\"leadScore\"]", "[\"salary\"]", "unknown field of shape `person` `salary`"),
    ("match = \"POST /graphql\"", "match = \"GET /graphql\"", "GraphQL is asked by POST"),
    ("match = \"POST /graphql\"", "match = \"POST /graphql\"\naction = \"update\"", "GraphQL is served for reading only"),
    ("match = \"POST /graphql\"", "match = \"POST /graphql\"\ncustomer = \"none\"", "unknown key `customer`"),
    ("match = \"POST /graphql\"", "match = \"POST /graphql\"\nresponse = { shape = \"person\" }", "unknown key `response`"),
    ("schema = \"crm.graphql\"", "schema = \"crm.graphql\"\nerrors = \"open\"", "`errors` is not available in this version"),
];

#[test]
fn one_mistake_of_a_declaration_is_one_finding() {
    let example = example();
    let mut wrong = Vec::new();
    for (old, new, said) in WRONG {
        example.replace(FILE, old, new);
        match example.load() {
            Ok(_) => wrong.push(format!("accepted: {new}")),
            Err(findings) => {
                let told = format!("{findings}");
                if findings.0.len() != 1 || !told.contains(said) {
                    wrong.push(format!("for `{new}` expected `{said}`, found:\n{findings}"));
                }
            }
        }
        fs::write(example.file(FILE), DECLARED).unwrap();
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), WRONG.len(), wrong.join("\n"));
}

#[test]
fn the_published_schema_knows_the_declaration() {
    use super::super::schema_tests::{read, valid};
    let root: serde_json::Value = serde_json::from_str(crate::config::schema()).unwrap();
    assert!(valid(&root, &root, &read(DECLARED).unwrap()));
    for (old, new, _) in WRONG.iter().filter(|(_, _, said)| said.contains("unknown key `documents`") || said.contains("is missing")) {
        assert!(!valid(&root, &root, &read(&DECLARED.replacen(old, new, 1)).unwrap()), "{new}");
    }
}
