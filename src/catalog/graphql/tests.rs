//! Tables of queries: what they come to, and why they are refused.

use serde_json::json;

use super::*;
use crate::model::{Field, FieldRule, Mask, OnDeny, Several};

const SHOP: &str = r#"
"What a shop knows."
schema { query: Query mutation: Mutation }
type Query {
  customer(id: ID!): Customer
  customers(first: Int = 10, after: String, filter: CustomerFilter, sort: CustomerSort): CustomerConnection!
  orders(first: Int!, ids: [ID!]): [Order!]!
  search(text: String!): [Found!]!
  node(id: ID!): Node
  viewer: Viewer
  secrets: [String!]!
}
type Mutation { rename(id: ID!, name: String!): Customer }
interface Node { id: ID! }
union Found = Customer | Order | Product
type Viewer { customer: Customer, theme: String }
type Customer implements Node {
  id: ID!
  name: String
  email: String
  vip: Boolean!
  tags: [String!]
  address: Address
  meta: JSON
  note: String
  score(scale: Int = 10): Int
  orders(first: Int, state: OrderState): [Order!]!
  contact: Contact
  updatedAt: DateTime!
}
type Address { street: String, city: String }
type Contact implements Node { id: ID!, email: String, phone(format: String!): String }
type Order implements Node { id: ID!, number: String, total: Float, state: OrderState, customer: Customer, products: [Product!]! }
type Product implements Node { id: ID!, number: Int, title: String }
type CustomerConnection { edges: [CustomerEdge!]!, nodes: [Customer!]!, pageInfo: PageInfo!, totalCount: Int! }
type CustomerEdge { cursor: String!, node: Customer, weight: Int }
type PageInfo { hasNextPage: Boolean!, endCursor: String }
enum OrderState { OPEN CLOSED }
enum CustomerSort { NAME CREATED }
input CustomerFilter { email: String, city: String, ids: [ID!], all: [CustomerFilter!], range: JSON }
scalar JSON
scalar DateTime
extend type Customer { nickname: String }
"#;

fn path(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn shape(name: &str, customer: &str, open: &[&str], fields: &[(&str, &str)]) -> Shape {
    let rule = |text: &str| match text.split_once(':') {
        Some(("embed", name)) => FieldRule::Embed(ShapeName::intern(name)),
        Some((name, _)) => FieldRule::Category { category: Category::intern(name), on_deny: OnDeny::Mask(Mask::Year) },
        None => FieldRule::Category { category: Category::intern(text), on_deny: OnDeny::Remove },
    };
    Shape {
        name: ShapeName::intern(name),
        ids: Some(Space::intern("shop")),
        customer: vec![path(customer)],
        several: Several::All,
        open: open.iter().map(|text| path(text)).collect(),
        links: Vec::new(),
        hidden: Vec::new(),
        needs: Vec::new(),
        also: Vec::new(),
        bare: false,
        lets_unmapped_pass: false,
        fields: fields.iter().map(|(at, text)| Field { path: path(at), rule: rule(text) }).collect(),
    }
}

fn shapes() -> Shapes {
    let customer = shape(
        "customer",
        "id",
        &["id", "updatedAt", "orders[].id"],
        &[
            ("name", "identity"),
            ("email", "contact"),
            ("vip", "behaviour"),
            ("tags[]", "behaviour"),
            ("address.**", "contact"),
            ("meta.score", "behaviour"),
            ("score", "behaviour"),
            ("orders[].total", "order"),
            ("orders[].state", "order"),
            ("contact", "embed:contact"),
            ("nickname", "identity:year"),
        ],
    );
    let order = shape("order", "customer.id", &["id", "number"], &[("total", "order"), ("state", "order"), ("customer", "embed:customer")]);
    let contact = shape("contact", "id", &[], &[("email", "contact"), ("phone", "contact")]);
    [customer, order, contact].into_iter().map(|shape| (shape.name, Arc::new(shape))).collect()
}

fn rule(name: &str, categories: &[&str]) -> Param {
    Param { name: name.to_owned(), accepts: crate::catalog::Accepts::Any, categories: categories.iter().map(|c| Category::intern(c)).collect() }
}

fn shop() -> Graphql {
    let shapes = shapes();
    let of = |name: &str| Arc::clone(&shapes[&ShapeName::intern(name)]);
    let arg = |name: &str| Some(CustomerArg { name: name.to_owned(), path: Vec::new(), space: Space::intern("shop") });
    let rows = |rows: &str| Answers::Rows { rows: path(rows), counts: Vec::new(), open: Vec::new(), rows_max: Some(100) };
    let connection = Answers::Rows {
        rows: path("edges[].node"),
        counts: vec![(path("totalCount"), CountRule::Rows)],
        open: vec![path("pageInfo.hasNextPage"), path("edges[].cursor")],
        rows_max: None,
    };
    let one = |at: &str| Answers::Object { at: if at.is_empty() { PathPattern::default() } else { path(at) }, subject: Subject::Answer };
    let fields = [
        ("customer", RootField { answers: one(""), customer: arg("id") }),
        ("customers", RootField { answers: connection, customer: None }),
        ("orders", RootField { answers: rows("[]"), customer: None }),
        ("search", RootField { answers: rows("[]"), customer: None }),
        ("node", RootField { answers: one(""), customer: None }),
        ("viewer", RootField { answers: one("customer"), customer: None }),
    ];
    let args = [
        ("Query.customer", vec![rule("id", &[])]),
        ("Query.node", vec![rule("id", &[])]),
        (
            "Query.customers",
            vec![
                Param { accepts: crate::catalog::Accepts::grammar("[1-9][0-9]?").unwrap(), ..rule("first", &[]) },
                rule("after", &[]),
                rule("filter.email", &["contact"]),
                rule("filter.ids[]", &[]),
                rule("filter.range.from", &["order"]),
                Param { accepts: crate::catalog::Accepts::OneOf(vec!["NAME".into()]), ..rule("sort", &["identity"]) },
            ],
        ),
        ("Query.orders", vec![rule("first", &[]), rule("ids[]", &[])]),
        ("Query.search", vec![rule("text", &["identity"])]),
        ("Customer.orders", vec![rule("first", &[]), rule("state", &["order"])]),
        ("Customer.score", vec![rule("scale", &[])]),
    ];
    Graphql::new(
        Schema::parse(SHOP).unwrap(),
        [("Customer", "customer"), ("Order", "order")].map(|(name, shape)| (name.to_owned(), of(shape))).into(),
        fields.map(|(name, field)| (name.to_owned(), field)).into(),
        args.map(|(name, rules)| (name.to_owned(), rules)).into(),
        Limits { document_bytes: 2_000, depth: 6, selections: 40, aliases: 8 },
        shapes.clone(),
    )
}

fn query(text: &str, variables: &Json) -> Query {
    Query { text: text.to_owned(), operation: None, variables: variables.as_object().unwrap().clone() }
}

fn plan(text: &str, variables: &Json) -> Result<Planned, QueryError> {
    shop().plan(&query(text, variables))
}

/// `path = category`, `path ! category` for one that is `null` when withheld, `path > shape`, `path` alone for what is open,
/// `path ?` for the customer's id.
fn told(shape: &Shape) -> Vec<String> {
    let mut told: Vec<String> = shape
        .fields
        .iter()
        .map(|field| match &field.rule {
            FieldRule::Category { category, on_deny } => format!("{} {} {category}", field.path, if *on_deny == OnDeny::Null { "!" } else { "=" }),
            FieldRule::Embed(name) => format!("{} > {name}", field.path),
        })
        .chain(shape.open.iter().map(ToString::to_string))
        .chain(shape.customer.iter().map(|path| format!("{path} ?")))
        .collect();
    told.sort();
    assert_eq!(shape.customer, shape.hidden, "whoever is asked for by the gateway is not told");
    told
}

/// (query, variables, what goes upstream, its variables, where the object or the rows are, the shape).
#[expect(clippy::needless_pass_by_value, reason = "tables read better")]
fn check(text: &str, variables: Json, sent: &str, bound: Json, at: &str, shape: &[&str]) -> Planned {
    let planned = plan(text, &variables).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(sent, planned.text, "{text}");
    let body = planned.bind(&shop(), variables.as_object().unwrap()).unwrap_or_else(|error| panic!("{error}: {text}")).body;
    let body: Json = serde_json::from_str(&body).unwrap();
    assert_eq!(json!({ "query": sent, "variables": bound }), body, "{text}");
    let place = match &planned.response {
        ResponsePlan::Object { at, .. } => at.to_string(),
        ResponsePlan::Rows { rows, .. } => rows.to_string(),
        ResponsePlan::Empty | ResponsePlan::Free { .. } | ResponsePlan::Open { .. } | ResponsePlan::Stream { .. } => panic!("{text}"),
    };
    assert_eq!(at, place, "{text}");
    assert_eq!(shape, told(planned.response.shape().unwrap()), "{text}");
    planned
}

#[test]
fn names_in_the_answer_are_the_callers_and_mean_what_the_schema_says() {
    check(
        r#"query Card($id: ID!) { c: customer(id: $id) { mail: email, city: name, tags, home: address { where: city } id } }"#,
        json!({ "id": "7" }),
        "query Card($v1:ID!){c:customer(id:$v1){mail:email city:name tags home:address{where:city} id consentry_0:id}}",
        json!({ "v1": "7" }),
        "data.c",
        &["city ! identity", "consentry_0 ?", "home.where = contact", "id", "mail ! contact", "tags[] = behaviour"],
    );
}

#[test]
fn fragments_and_directives_are_resolved() {
    let text = r#"
        query ($id: ID!, $full: Boolean = false, $brief: Boolean!) {
          customer(id: $id) { ...Who ... on Node { updatedAt } ... @include(if: $full) { email } vip @skip(if: $brief) name @include(if: true) }
        }
        fragment Who on Customer { name ...More }
        fragment More on Customer { nickname tags @skip(if: true) }
    "#;
    check(
        text,
        json!({ "id": 7, "brief": true }),
        "query($v1:ID!){customer(id:$v1){name nickname updatedAt consentry_0:id}}",
        json!({ "v1": 7 }),
        "data.customer",
        &["consentry_0 ?", "name ! identity", "nickname = identity", "updatedAt"],
    );
    check(
        text,
        json!({ "id": "7", "brief": false, "full": true }),
        "query($v1:ID!){customer(id:$v1){name nickname updatedAt email vip consentry_0:id}}",
        json!({ "v1": "7" }),
        "data.customer",
        &["consentry_0 ?", "email ! contact", "name ! identity", "nickname = identity", "updatedAt", "vip = behaviour"],
    );
}

#[test]
fn one_name_selected_twice_is_one_field() {
    check(
        r#"{ customer(id: "7") { address { city } ...A address { street } name name } } fragment A on Customer { address { city } }"#,
        json!({}),
        "query($v1:ID!){customer(id:$v1){address{city street} name consentry_0:id}}",
        json!({ "v1": "7" }),
        "data.customer",
        &["address.city = contact", "address.street = contact", "consentry_0 ?", "name ! identity"],
    );
}

#[test]
fn a_connections_rows_counts_and_cursors_are_found_by_the_schema() {
    let planned = check(
        r"query ($n: Int, $f: CustomerFilter) {
            list: customers(first: $n, filter: $f, sort: NAME) {
              n: totalCount
              __typename
              page: pageInfo { more: hasNextPage endCursor __typename }
              rows: edges { c: cursor weight __typename one: node { name orders(state: OPEN) { total __typename } } }
            }
          }",
        json!({ "n": 5, "f": { "email": "a@b.example", "ids": ["1", 2] } }),
        "query($v1:Int,$v2:CustomerFilter,$v3:CustomerSort,$v4:OrderState)\
         {list:customers(filter:$v2,first:$v1,sort:$v3){__typename n:totalCount page:pageInfo{__typename more:hasNextPage} \
         rows:edges{__typename c:cursor one:node{name orders(state:$v4){__typename total} consentry_0:id}}}}"
            .replace("$v1:Int,$v2:CustomerFilter", "$v1:CustomerFilter,$v2:Int")
            .replace("filter:$v2,first:$v1", "filter:$v1,first:$v2")
            .as_str(),
        json!({ "v1": { "email": "a@b.example", "ids": ["1", 2] }, "v2": 5, "v3": "NAME", "v4": "OPEN" }),
        "data.list.rows[]",
        &["__typename", "c", "one.consentry_0 ?", "one.name ! identity", "one.orders[].__typename = order", "one.orders[].total = order"],
    );
    let ResponsePlan::Rows { counts, open, .. } = &planned.response else { panic!() };
    assert_eq!(counts, &[(path("data.list.n"), CountRule::Rows)]);
    assert_eq!(open, &[path("data.list.page.more"), path("data.list.page.__typename"), path("data.list.__typename")]);
    assert_eq!(planned.unmapped, ["CustomerEdge.weight", "PageInfo.endCursor"]);
    let shape = planned.response.shape().unwrap();
    assert!(["contact", "identity", "order"].iter().all(|c| shape.categories().contains(&Category::intern(c))), "what selects is judged: {shape:?}");
    let bound = planned.bind(&shop(), json!({ "f": { "email": "x" } }).as_object().unwrap()).unwrap();
    assert_eq!(bound.selected_by, ["contact", "identity", "order"].map(Category::intern), "{bound:?}");
}

#[test]
fn objects_of_others_have_their_own_shapes_and_ids() {
    let planned = check(
        r#"{ orders(first: 3) { total customer { name contact { email } } products { title } } }"#,
        json!({}),
        "query($v1:Int!){orders(first:$v1){total customer{name contact{email consentry_0:id} consentry_0:id} consentry_0:customer{consentry_0:id}}}",
        json!({ "v1": 3 }),
        "data.orders[]",
        &["consentry_0.consentry_0 ?", "customer > graphql#1", "total ! order"],
    );
    assert_eq!(planned.unmapped, ["Order.products", "Product.title"]);
    let inner = &planned.shapes[&ShapeName::intern("graphql#1")];
    assert_eq!(told(inner), ["consentry_0 ?", "contact > graphql#2", "name ! identity"]);
    let innermost = &planned.shapes[&ShapeName::intern("graphql#2")];
    assert_eq!(told(innermost), ["consentry_0 ?", "email ! contact"]);
    assert_eq!(planned.declared("customer.contact.email"), "customer.contact.email");
    let renamed = plan(r#"{ orders(first: 3) { t: total, who: customer { n: name, via: contact { m: email } } } }"#, &json!({})).unwrap();
    for (of_answer, declared) in [("t", "total"), ("who.n", "customer.name"), ("who.via.m", "customer.contact.email"), ("made.up", "*")] {
        assert_eq!(renamed.declared(of_answer), declared);
    }
}

#[test]
fn interfaces_and_unions_are_read_by_their_object_types() {
    check(
        r#"{ node(id: "7") { __typename ... on Customer { name } ... on Product { title } } }"#,
        json!({}),
        "query($v1:ID!){node(id:$v1){__typename ... on Customer{name consentry_0:id}}}",
        json!({ "v1": "7" }),
        "data.node",
        &["__typename", "consentry_0 ?", "name ! identity"],
    );
    for (text, why) in [
        // An order names its customer elsewhere than a customer does.
        (r#"{ search(text: "a") { ... on Customer { name } ... on Order { total } } }"#, "two types are asked for at one place"),
        (r#"{ node(id: "7") { id } }"#, "the field `id` is asked of an interface or union"),
        (r#"{ node(id: "7") { ... on Node { id } } }"#, "the field `id` is asked of an interface or union"),
        (r#"{ node(id: "7") { ... on Address { city } } }"#, "the field `Address` is a type that can never stand"),
        (r#"{ search(text: "a") { ... on Contact { email } } }"#, "the field `Contact` is a type that can never stand"),
        (r#"{ node(id: "7") { __typename } }"#, "nothing that the query selects is declared"),
        (r#"{ node(id: "7") { ... on Product { title } } }"#, "nothing that the query selects is declared"),
        (r#"{ customer(id: "7") { ... on Order { total } } }"#, "the field `Order` is a type that can never stand"),
        (r#"{ node(id: "7") { ... on Nowhere { a } } }"#, "the field `Nowhere` is no type with fields"),
    ] {
        refused(text, &json!({}), why);
    }
}

#[track_caller]
fn refused(text: &str, variables: &Json, why: &str) {
    let graphql = shop();
    let found = graphql.plan(&query(text, variables)).and_then(|planned| planned.bind(&graphql, variables.as_object().unwrap()));
    match found {
        Ok(bound) => panic!("{text} became {bound:?}"),
        Err(error) => assert!(error.to_string().contains(why), "{text}: {error}"),
    }
}

#[test]
fn what_cannot_be_resolved_is_refused() {
    let none = json!({});
    for (text, why) in [
        ("", "the document cannot be read"),
        ("{ customer(id: \"7\") { name }", "the document cannot be read"),
        ("type Query { a: Int }", "a type is defined where a query is expected"),
        ("mutation { rename(id: \"7\", name: \"x\") { name } }", "only queries are served here"),
        ("subscription { customer(id: \"7\") { name } }", "only queries are served here"),
        ("query A { viewer { customer { name } } } query B { viewer { customer { name } } }", "not hold exactly one operation"),
        ("{ viewer { customer { name } } } { viewer { customer { name } } }", "two operations have one name"),
        ("query A { viewer { customer { name } } } { viewer { customer { name } } }", "one of several has none"),
        ("fragment A on Customer { name }", "not hold exactly one operation"),
        ("{ __schema { types { name } } }", "introspection is not answered"),
        ("{ a: __schema { types { name } } }", "introspection is not answered"),
        ("{ customer(id: \"7\") { name } __type(name: \"Customer\") { name } }", "introspection is not answered"),
        ("{ ...A } fragment A on Query { b: __type(name: \"Customer\") { name } }", "introspection is not answered"),
        ("{ __typename }", "select `__typename` within"),
        ("{ customer(id: \"7\") { name } __typename }", "select `__typename` within"),
        ("{ a: customer(id: \"7\") { name } b: customer(id: \"8\") { name } }", "exactly one field of the query type"),
        ("{ secrets }", "`Query.secrets` is not declared for this route"),
        ("{ nothing }", "`Query.nothing` is not in the schema"),
        ("{ customer(id: \"7\") { ssn } }", "`Customer.ssn` is not in the schema"),
        ("{ customer(id: \"7\") { note } }", "nothing that the query selects is declared"),
        ("{ customer(id: \"7\") { name { first } } }", "`Customer.name` has no fields to select"),
        ("{ customer(id: \"7\") { address } }", "`Customer.address` has fields; select some"),
        ("{ customer(id: \"7\") { x: name x: email } }", "the field `x` is the name of two different fields"),
        ("{ customer(id: \"7\") { name: email ...A } } fragment A on Customer { name }", "`name` is the name of two different fields"),
        ("{ customer(id: \"7\") { x: orders(first: 1) { total } x: orders(first: 2) { total } } }", "`x` is the name of two different fields"),
        ("{ customer(id: \"7\") { address { x: city } ... { address { x: street } } } }", "`x` is the name of two different fields"),
        ("{ customer(id: \"7\") { x: __typename x: name } }", "`x` is the name of two different fields"),
        ("{ customer(id: \"7\") { consentry_0: name } }", "`consentry_0` is a name that the gateway has for itself"),
        ("{ customer(id: \"7\") { consentry_0: __typename } }", "`consentry_0` is a name that the gateway has for itself"),
        ("{ customer(id: \"7\") { __x: name } }", "`__x` is no alias"),
        ("{ customer(id: \"7\") { __typename(a: 1) name } }", "`__typename` takes no arguments"),
        ("{ customer(id: \"7\") { ...A } }", "the fragment `A` is not defined"),
        ("{ customer(id: \"7\") { ...A } } fragment A on Customer { name ...A }", "the fragment `A` holds itself"),
        (
            "{ customer(id: \"7\") { ...A } } fragment A on Customer { name ...B } fragment B on Customer { vip ...A }",
            "the fragment `A` holds itself",
        ),
        (
            "{ orders(first: 1) { ...O } } fragment O on Order { total customer { ...C } } fragment C on Customer { orders { ...O } }",
            "the fragment `O` holds itself",
        ),
        ("{ customer(id: \"7\") { ...A } } fragment A on Customer { name } fragment A on Customer { email }", "the fragment `A` is defined twice"),
        ("{ customer(id: \"7\") { name @defer } }", "the directive `@defer` cannot be judged"),
        ("{ customer(id: \"7\") { orders @stream(initialCount: 1) { total } } }", "the directive `@stream` cannot be judged"),
        ("query @live { customer(id: \"7\") { name } }", "the directive `@live` cannot be judged"),
        ("{ customer(id: \"7\") { name @include } }", "the directive `@include` cannot be judged"),
        ("{ customer(id: \"7\") { name @include(if: true, and: false) } }", "the directive `@include` cannot be judged"),
        ("{ customer(id: \"7\") { name @skip(if: \"no\") } }", "the directive `@skip` cannot be judged"),
        ("{ customer(id: \"7\") { name @skip(if: false) @skip(if: true) } }", "the directive `@skip` cannot be judged"),
        ("{ customer(id: \"7\") { name @skip(if: $x) } }", "the variable `$x` is not defined"),
        ("query ($x: Boolean) { customer(id: \"7\") { name @skip(if: $x) } }", "the variable `$x` decides about"),
        ("query ($x: ID, $x: ID) { customer(id: $x) { name } }", "the variable `$x` is defined twice"),
        ("{ customer(id: $id) { name } }", "the variable `$id` is not defined by the operation"),
        ("query ($id: ID!) { customer(id: $id) { name } }", "`Query.customer(id)` must be given"),
        ("{ customer { name } }", "`Query.customer(id)` must be given"),
        ("{ customer(id: null) { name } }", "`Query.customer(id)` must not be `null`"),
        ("{ customer(id: [\"7\"]) { name } }", "has a value of another type"),
        ("{ customer(id: 7.5) { name } }", "has a value of another type"),
        ("{ customer(id: \"7\", id: \"8\") { name } }", "`customer(id)` stands there twice"),
        ("{ customer(id: \"7\", as: \"x\") { name } }", "`Query.customer(as)` is not in the schema"),
        ("{ viewer { theme } }", "nothing that the query selects is declared"),
        ("{ customers(first: 5) { totalCount } }", "nothing that the query selects is declared"),
        ("{ customers(first: 5) { nodes { name } } }", "nothing that the query selects is declared"),
        ("{ customers(first: 5) { edges { node { name } } more: edges { node { name } } } }", "more than one list"),
        ("{ customers(first: 5) { edges { node { name } other: node { email } } } }", "more than one list"),
    ] {
        refused(text, &none, why);
    }
}

#[test]
fn arguments_select_and_are_declared_value_by_value() {
    for (variables, selected) in [
        (json!({}), &[][..]),
        (json!({ "f": null }), &[]),
        (json!({ "f": {} }), &[]),
        (json!({ "f": { "ids": [] } }), &[]),
        (json!({ "f": { "ids": "1" } }), &[]),
        (json!({ "f": { "email": "a" } }), &["contact"]),
        (json!({ "f": { "email": null } }), &["contact"]),
        (json!({ "f": { "range": { "from": 3 } } }), &["order"]),
        (json!({ "n": 99, "after": "x" }), &[]),
    ] {
        let text =
            "query ($f: CustomerFilter, $n: Int, $after: String) { customers(filter: $f, first: $n, after: $after) { edges { node { name } } } }";
        let bound = plan(text, &variables).and_then(|planned| planned.bind(&shop(), variables.as_object().unwrap())).unwrap();
        assert_eq!(bound.selected_by, selected.iter().map(|c| Category::intern(c)).collect::<Vec<_>>(), "{variables}");
    }
    for (args, why) in [
        ("filter: { city: \"x\" }", "the argument `Query.customers(filter.city)` is not declared"),
        ("filter: { all: [{ email: \"x\" }] }", "the argument `Query.customers(filter.all[].email)` is not declared"),
        ("filter: { range: { to: 3 } }", "the argument `Query.customers(filter.range.to)` is not declared"),
        ("filter: { range: 3 }", "the argument `Query.customers(filter.range)` is not declared"),
        ("filter: { salary: 3 }", "`Query.customers(filter.salary)` is not in the schema"),
        ("filter: { email: \"a\", email: \"b\" }", "`email` stands there twice"),
        ("filter: \"x\"", "`Query.customers(filter)` is not an object"),
        ("filter: { ids: [[\"1\"]] }", "has a value of another type"),
        ("first: 100", "`Query.customers(first)` has a value that is not declared for it"),
        ("first: \"5\"", "has a value of another type"),
        ("first: null", "has a value that is not declared for it"),
        ("sort: CREATED", "has a value that is not declared for it"),
        ("sort: SALARY", "is none of the values of its type"),
    ] {
        refused(&format!("{{ customers({args}) {{ edges {{ node {{ name }} }} }} }}"), &json!({}), why);
    }
    for (variables, why) in [
        (json!({ "f": { "range": { "from.x": 3 } } }), "has a member whose name cannot be judged"),
        (json!({ "f": { "range": { "from": 1e300 } } }), "is a number that cannot be passed on unchanged"),
        (json!({ "f": { "Email": "x" } }), "`Query.customers(filter.Email)` is not in the schema"),
    ] {
        refused("query ($f: CustomerFilter) { customers(filter: $f) { edges { node { name } } } }", &variables, why);
    }
    // Where another customer stands, nothing may be selected by what is known of them: their own verdicts would not be asked.
    refused("{ orders(first: 1) { total customer { orders(state: OPEN) { total } } } }", &json!({}), "another customer than the answer's own");
    refused("{ customer(id: \"7\") { contact { phone(format: \"e164\") } } }", &json!({}), "`Contact.phone(format)` is not declared");
    refused("{ customer(id: \"7\") { contact { phone } } }", &json!({}), "`Contact.phone(format)` must be given");
}

#[test]
fn what_a_query_costs_is_bounded() {
    let wrapped = |inner: &str| format!("{{ customer(id: \"7\") {{ {inner} }} }}");
    refused(&wrapped(&"name ".repeat(500)), &json!({}), "more than 2000 bytes");
    refused(&wrapped(&"name ".repeat(50)), &json!({}), "more than 40 selections");
    refused(&wrapped("a: name b: name c: name d: name e: name f: name g: name h: name i: name"), &json!({}), "more than 8 aliases");
    let deep = "contact { email } ".to_owned();
    refused(
        &wrapped(&format!("orders {{ customer {{ orders {{ customer {{ orders {{ customer {{ {deep} }} }} }} }} }} }}")),
        &json!({}),
        "more than 6 levels",
    );
    // A bomb: fifty fragments, each twice the one before.
    let bomb: String = (1..20).map(|n| format!("fragment F{n} on Customer {{ ...F{m} ...F{m} }} ", m = n - 1)).collect();
    refused(&format!("{{ customer(id: \"7\") {{ ...F19 }} }} fragment F0 on Customer {{ name }} {bomb}"), &json!({}), "more than 40 selections");
    let chain: String = (1..40).map(|n| format!("fragment F{n} on Customer {{ ...F{m} }} ", m = n - 1)).collect();
    refused(&format!("{{ customer(id: \"7\") {{ ...F39 }} }} fragment F0 on Customer {{ name }} {chain}"), &json!({}), "more than 32 fragments");
    for nested in ["{ a ", "[", "{a:"] {
        let text = if nested == "{ a " { nested.repeat(400) } else { wrapped(&format!("orders(first: {})", nested.repeat(400))) };
        let many = Graphql { limits: Limits { document_bytes: 1 << 20, ..Limits::default() }, ..shop() };
        assert!(matches!(many.plan(&query(&text, &json!({}))), Err(QueryError::Syntax(_))), "{nested}");
        let much = nested.repeat(100_000);
        assert!(matches!(many.plan(&query(&much, &json!({}))), Err(QueryError::Syntax(_))), "{nested}");
    }
    let many = Graphql { limits: Limits { document_bytes: 1 << 20, ..Limits::default() }, ..shop() };
    assert!(matches!(many.plan(&query(&wrapped(&"name ".repeat(30_000)), &json!({}))), Err(QueryError::Syntax(_))), "tokens are counted");
}

#[test]
fn the_named_operation_is_the_one_that_counts() {
    let text =
        "query A { viewer { customer { name } } } query B { viewer { customer { email } } } mutation C { rename(id: \"7\", name: \"x\") { name } }";
    let named = |name: &str| shop().plan(&Query { operation: Some(name.to_owned()), ..query(text, &json!({})) });
    assert_eq!(named("A").unwrap().text, "query A{viewer{customer{name consentry_0:id}}}");
    assert_eq!(named("B").unwrap().text, "query B{viewer{customer{email consentry_0:id}}}");
    assert!(matches!(named("C"), Err(QueryError::Operation(_))));
    assert!(matches!(named("D"), Err(QueryError::Operation(_))));
    assert!(matches!(named(""), Err(QueryError::Operation(_))));
}

#[test]
fn scalars_of_the_apis_own_are_mapped_below() {
    check(
        r#"{ customer(id: "7") { m: meta } }"#,
        json!({}),
        "query($v1:ID!){customer(id:$v1){m:meta consentry_0:id}}",
        json!({ "v1": "7" }),
        "data.customer",
        &["consentry_0 ?", "m.score = behaviour"],
    );
}

#[test]
fn one_place_in_an_answer_means_one_thing_whatever_type_stands_there() {
    let schema = "type Query { find: [Found!]! } union Found = A | B | C
        type A { id: ID!, x: String, part: P } type B { id: ID!, y: String, part: P, blob: JSON } type C { id: ID!, y: String }
        type P { p: String, q: String } scalar JSON";
    let shapes: Vec<Shape> = vec![
        shape("a", "id", &[], &[("x", "identity"), ("part.p", "identity"), ("part.q", "contact")]),
        shape("b", "id", &[], &[("y", "contact"), ("part.p", "identity"), ("blob.**", "contact")]),
        shape("c", "id", &["y"], &[("id", "identity")]),
    ];
    let types = ["A", "B", "C"].into_iter().zip(shapes).map(|(name, shape)| (name.to_owned(), Arc::new(shape))).collect();
    let rows = Answers::Rows { rows: path("[]"), counts: Vec::new(), open: Vec::new(), rows_max: None };
    let fields = [("find".to_owned(), RootField { answers: rows, customer: None })].into();
    let graphql = Graphql::new(Schema::parse(schema).unwrap(), types, fields, BTreeMap::new(), Limits::default(), Shapes::new());
    let plan = |text: &str| graphql.plan(&query(text, &json!({})));
    for text in [
        "{ find { ... on A { v: x } ... on B { v: y } } }",
        "{ find { ... on B { v: y } ... on C { v: y } } }",
        "{ find { ... on A { v: part { p } } ... on B { v: blob } } }",
        "{ find { ... on A { v: part { w: p } } ... on B { v: part { w: p } } ... on C { v: y } } }",
        "{ find { ... on A { part { w: q } } ... on B { part { w: p } } } }",
    ] {
        let error = plan(text).map(|planned| planned.text).unwrap_err();
        assert!(error.to_string().contains("means different things in two types"), "{text}: {error}");
    }
    let same = plan("{ find { ... on A { v: x w: part { p } } ... on B { u: y w: part { p } } } }").unwrap();
    assert_eq!(told(same.response.shape().unwrap()), ["consentry_0 ?", "u ! contact", "v ! identity", "w.p = identity"]);
}

#[test]
fn a_schema_that_means_nothing_certain_is_refused() {
    for (text, why) in [
        ("", "line 1"),
        ("type Query { a: ", "line 1"),
        ("type Query { a: Int }\ntype Query { b: Int }", "line 2: the type `Query` is defined twice"),
        ("type Query { a: Int a: Int }", "the field `a` is defined twice"),
        ("type Query { a(b: Int, b: Int): Int }", "`b` is defined twice"),
        ("type Query { a: Nowhere }", "`Query.a` names the type `Nowhere`, which is not defined"),
        ("type Query { a: In } input In { b: Int }", "`Query.a` cannot have the type `In`"),
        ("type Query { a(b: Query): Int }", "`Query.a` cannot have the type `Query`"),
        ("type Query { a: U } union U = Int", "`U` can be of the type `Int`"),
        ("type Other { a: Int }", "the schema has no type `Query`"),
        ("schema { query: Root } type Query { a: Int }", "the schema has no type `Root`"),
        ("type Query { a: Int } extend enum Query { B }", "is extended as another kind of type"),
        ("query { a }", "this is a query, not a schema"),
    ] {
        let error = Schema::parse(text).map(|_| ()).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_declaration_is_held_against_the_schema() {
    let schema = Schema::parse(SHOP).unwrap();
    let all = shapes();
    for (name, of) in [("customer", "Customer"), ("order", "Order")] {
        schema.fits(of, &all[&ShapeName::intern(name)], &all).unwrap();
    }
    let contact = schema.fits("Contact", &all[&ShapeName::intern("contact")], &all);
    contact.unwrap();
    for (customer, open, field, why) in [
        ("id", "id", "ssn", "`Customer` of the schema has no field `ssn`"),
        ("id", "ssn", "name", "has no field `ssn`"),
        ("ssn", "id", "name", "has no field `ssn`"),
        ("id", "id", "tags", "`tags` is a list in the schema; write `tags[]`"),
        ("id", "id", "name[]", "`name[]` enters `String` as a list"),
        ("id", "id", "meta.list[0]", "names a position"),
        ("id", "id", "tags[0]", "is a list in the schema; write `tags[]`"),
        ("id", "id", "address", "`address` is an object in the schema; write `address.**`"),
        ("id", "id", "orders.total", "is a list in the schema; write `orders[]`"),
        ("id", "id", "name.first", "`String` of the schema has no field `first`"),
        ("contact.phone", "id", "name", "the gateway cannot ask for `contact.phone`"),
        ("meta.id", "id", "name", "the gateway cannot ask for `meta.id`"),
        ("address", "id", "name", "`address` is an object"),
    ] {
        let error = schema.fits("Customer", &shape("s", customer, &[open], &[(field, "identity")]), &all).unwrap_err();
        assert!(error.contains(why), "{field}: {error}");
    }
    let each = Shape { several: Several::Each, ..shape("s", "id", &[], &[("name", "identity")]) };
    assert!(schema.fits("Customer", &each, &all).unwrap_err().contains("not available for GraphQL"));
    for (of, field, rule, found) in [
        ("Query", "customers", "first", Ok(true)),
        ("Query", "customers", "filter.email", Ok(true)),
        ("Query", "customers", "filter.ids[]", Ok(false)),
        ("Query", "customers", "filter.all[].email", Ok(false)),
        ("Query", "customers", "filter.range.from", Ok(false)),
        ("Query", "customers", "filter", Err("`filter` is an input object")),
        ("Query", "customers", "filter.ids", Err("does not enter the lists")),
        ("Query", "customers", "first[]", Err("does not enter the lists")),
        ("Query", "customers", "filter.salary", Err("has no `salary`")),
        ("Query", "customers", "limit", Err("has no argument `limit`")),
        ("Query", "clients", "first", Err("has no field `clients`")),
    ] {
        match (schema.argument(of, field, rule), found) {
            (Ok(one), Ok(expected)) => assert_eq!(one, expected, "{rule}"),
            (Err(error), Err(why)) => assert!(error.contains(why), "{rule}: {error}"),
            (found, expected) => panic!("{rule}: {found:?}, not {expected:?}"),
        }
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Whatever comes: no panic, no endless work.
        #[test]
        fn any_text_is_planned_or_refused(text in "[ -~\\n\u{feff}é]{0,200}") {
            let _planned = plan(&text, &json!({}));
        }

        /// Pieces of the language in any order come closer to what a parser might stumble over.
        #[test]
        fn any_pieces_are_planned_or_refused(pieces in proptest::collection::vec(proptest::sample::select(&[
            "query", "mutation", "fragment", "on", "Q", "{", "}", "(", ")", "[", "]", ":", "!", "$", "$id", "@", "include", "if", "...", "=", "|",
            "&", "customer", "id", "name", "\"7\"", "\"", "\"\"\"", "\\", "7", "-", "1e9", "true", "null", "#", "\n", ",", "__typename", "ID", "Customer",
        ][..]), 0..60)) {
            let _planned = plan(&pieces.join(" "), &json!({}));
        }
    }
}
