//! One URL for everything, with the method in the body: JSON-RPC 2.0, and plain bodies of which a member tells the route.

use serde_json::json;

use crate::harness::{Answer, Plan, World, gateway};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";

const ADA: &str = r#"{"id":"0031","updatedAt":"2026-07-01","name":{"given":"Ada","family":"Brandt"},"email":"ada.brandt@example.net","leadScore":71,"note":"vegan","flag":1}"#;
const ADA_CUT: &str =
    r#"{"id":"0031","updatedAt":"2026-07-01","name":{"given":"Ada","family":"Brandt"},"email":"ada.brandt@example.net","leadScore":null}"#;

async fn world() -> World {
    let world = gateway().apis(include_str!("calls.toml")).start().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.consent("crm:0044", OUTREACH, "given").await;
    world.consent("crm:0058", OUTREACH, "refused").await;
    world
}

fn call(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params},"id":7}}"#)
}

fn result(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","result":{result},"id":7}}"#)
}

/// What `explain` says of a POST with this body.
fn explained(world: &World, path: &str, body: &str) -> (i32, String) {
    let file = world.root().join("body.json");
    std::fs::write(&file, body).unwrap();
    world.consentry(&["explain", "POST", path, "--as", "crm", "--purpose", OUTREACH, "--body", file.to_str().unwrap()])
}

async fn crm(world: &World, body: &str) -> Answer {
    world.client("crm").post("/crm/rpc", body).purpose(OUTREACH).await
}

/// What the upstream was sent since the last call, as text.
fn sent(world: &World) -> Vec<String> {
    world.upstream.take().into_iter().map(|r| String::from_utf8(r.body.to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_in_the_body_picks_the_route_and_its_parameters_name_the_customer() {
    let world = world().await;
    world.upstream.json("POST /rpc", &result(ADA));
    let answer = crm(&world, r#" {"id":7, "params":{"lang":"da","id":"0031"}, "method":"person.g\u0065t", "jsonrpc":"2.0"} "#).await;
    answer.released(200, &result(ADA_CUT));
    assert_eq!(Some("application/json"), answer.header("content-type"));
    assert_eq!([call("person.get", r#"{"lang":"da","id":"0031"}"#)], sent(&world)[..], "written anew from what was judged");
    let found = world.found(&answer);
    assert_eq!(("POST /rpc#person.get", "read", 1), (found.route.as_str(), found.action.as_str(), found.parties));
    let (code, told) = world.consentry(&["explain", "POST", "/crm/rpc#person.get", "--as", "crm", "--purpose", OUTREACH]);
    // Whom the body would name is not known: the best that nobody in particular could get.
    assert!(told.contains("crm  POST /rpc#person.get") && told.contains("named in the body") && code == 2, "{code}: {told}");
    let (_, told) = world.consentry(&["explain", "POST", "/crm/rpc#person.drop", "--as", "crm", "--purpose", OUTREACH]);
    assert!(told.contains("no api or route is declared for this path"), "{told}");
    // With the body, that says both.
    for (id, code, customer) in [("0031", 0, "crm:0031; stage customer"), ("0058", 2, "crm:0058; stage customer"), ("9999", 2, "crm:9999, not in")] {
        let (exit, told) = explained(&world, "/crm/rpc", &call("person.get", &format!(r#"{{"id":"{id}"}}"#)));
        assert!(exit == code && told.contains("POST /rpc#person.get") && told.contains(customer), "{exit}: {told}");
    }
    for (body, said) in [
        (call("person.drop", "{}"), "no api or route is declared for this path"),
        (call("person.get", r#"{"id":"0031","fields":"*"}"#), "use only declared parameters"),
        (call("person.get", r#"{"id":"x"}"#), "the id does not match the grammar of `crm`"),
        (format!("[{}]", call("person.get", "{}")), "a batch of calls is not taken"),
        ("person.get".to_owned(), "give the body as the app sends it"),
    ] {
        let (exit, told) = explained(&world, "/crm/rpc", &body);
        assert!(exit != 0 && told.contains(said), "{exit}: {told}");
    }
    // By position.
    crm(&world, &call("person.at", r#"["0031","en"]"#)).await.released(200, &result(ADA_CUT));
    assert_eq!([call("person.at", r#"["0031","en"]"#)], sent(&world)[..]);
    // Refused, unknown, without a readable id: nothing is asked for.
    for (id, status, code) in
        [("\"0058\"", 403, "denied"), ("\"9999\"", 403, "denied"), ("\"x\"", 400, "ambiguous-request"), ("null", 400, "ambiguous-request")]
    {
        crm(&world, &call("person.get", &format!(r#"{{"id":{id}}}"#))).await.refused(status, code);
        crm(&world, &call("person.at", &format!("[{id}]"))).await.refused(status, code);
    }
    // The answer is about somebody else, or answers another call.
    let of_pavel = ADA.replace("0031", "0058");
    assert!(sent(&world).is_empty());
    for bad in
        [result(&of_pavel), result(ADA).replace("\"id\":7}", "\"id\":8}"), result(&format!("[{ADA}]")), ADA.to_owned(), format!("[{}]", result(ADA))]
    {
        world.upstream.json("POST /rpc", &bad);
        crm(&world, &call("person.get", r#"{"id":"0031"}"#)).await.refused(502, "upstream-unreadable");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_one_declared_call_is_refused_and_recorded() {
    let world = world().await;
    let get = call("person.get", r#"{"id":"0031"}"#);
    let deep = call("person.get", &format!("{}1{}", "[".repeat(10_000 / 2), "]".repeat(10_000 / 2)));
    let cases = [
        ("an unknown method", call("person.drop", "{}"), 404, "route-not-declared"),
        ("other letter case", call("Person.Get", r#"{"id":"0031"}"#), 404, "route-not-declared"),
        ("a batch", format!("[{get}]"), 400, "ambiguous-request"),
        ("a batch of two", format!("[{get},{get}]"), 400, "ambiguous-request"),
        ("a notification", get.replace(",\"id\":7}", "}"), 400, "ambiguous-request"),
        ("an id of null", get.replace(":7}", ":null}"), 400, "ambiguous-request"),
        ("two methods", get.replace("\"id\":7", "\"id\":7,\"method\":\"person.find\""), 400, "ambiguous-request"),
        ("two methods, one in other case", get.replace("\"id\":7", "\"id\":7,\"METHOD\":\"person.find\""), 400, "ambiguous-request"),
        ("a member beside the envelope", get.replace("\"id\":7", "\"id\":7,\"auth\":\"x\""), 400, "ambiguous-request"),
        ("version 1", get.replace("2.0", "1.0"), 400, "ambiguous-request"),
        ("two ids", call("person.get", r#"{"id":"0031","id":"0058"}"#), 400, "ambiguous-request"),
        ("two ids, one escaped", call("person.get", r#"{"id":"0031","i\u0064":"0058"}"#), 400, "ambiguous-request"),
        ("an operator as id", call("person.get", r#"{"id":{"$ne":"0058"}}"#), 400, "ambiguous-request"),
        ("a list of ids", call("person.get", r#"{"id":["0031","0058"]}"#), 400, "ambiguous-request"),
        ("an undeclared parameter", call("person.get", r#"{"id":"0031","fields":"*"}"#), 400, "parameter-not-declared"),
        ("a value that is not declared", call("person.get", r#"{"id":"0031","lang":"xx"}"#), 400, "parameter-not-declared"),
        ("by position what is declared by name", call("person.get", r#"["0031"]"#), 400, "parameter-not-declared"),
        ("by name what is declared by position", call("person.at", r#"{"[0]":"0031","id":"0058"}"#), 400, "parameter-not-declared"),
        ("more positions than declared", call("person.at", r#"["0031","en","0058"]"#), 400, "parameter-not-declared"),
        ("nested too deep", deep, 400, "ambiguous-request"),
        ("over the limit", call("person.get", &format!(r#"{{"id":"{}"}}"#, "0".repeat(20_000))), 413, "payload-too-large"),
        ("no JSON", "person.get".to_owned(), 400, "ambiguous-request"),
        ("nothing", String::new(), 400, "ambiguous-request"),
    ];
    for (what, body, status, code) in cases {
        let answer = crm(&world, &body).await;
        assert_eq!((status, code), (answer.status.as_u16(), answer.code().as_str()), "{what}");
        assert!(answer.decision().is_some(), "{what} is recorded");
        assert_eq!("deny", world.found(&answer).outcome, "{what}");
    }
    let batch = crm(&world, "[]").await;
    assert_eq!(json!("a batch of calls is not taken; send one call"), batch.json()["remedy"]);
    assert_eq!(("crm", "-"), (world.found(&batch).api.as_str(), world.found(&batch).route.as_str()));
    let client = world.client("crm");
    let text = client.ask(http::Method::POST, "/crm/rpc").header("content-type", "text/plain").body(get.as_bytes());
    text.purpose(OUTREACH).await.refused(415, "media-type");
    client.get("/crm/rpc").purpose(OUTREACH).await.refused(405, "method-not-allowed");
    assert!(sent(&world).is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_200_is_replaced_or_looks_like_a_denial() {
    let world = world().await;
    let error = r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"no person secret.person@example.net","data":{"near":"0058"}},"id":7}"#;
    let constant = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"the API behind the gateway refused the call"},"id":7}"#;
    let get = call("person.get", r#"{"id":"0031"}"#);
    for theirs in [error.to_owned(), error.replace("\"id\":7", "\"id\":null"), error.replace("\"error\"", "\"result\":null,\"error\"")] {
        world.upstream.json("POST /rpc", &theirs);
        crm(&world, &get).await.released(200, constant);
    }
    world.upstream.json("POST /rpc", error);
    // The id of the call, also as text.
    let answer = crm(&world, &get.replace(":7}", ":\"a\\u0062\"}")).await;
    answer.refused(502, "upstream-unreadable");
    world.upstream.json("POST /rpc", &error.replace(":7}", ":\"ab\"}"));
    crm(&world, &get.replace(":7}", ":\"a\\u0062\"}")).await.released(200, &constant.replace(":7}", ":\"a\\u0062\"}"));
    // A route may declare members of the error free of customer data.
    world.upstream.json("POST /rpc", error);
    crm(&world, &call("person.at", r#"["0031"]"#)).await.released(200, r#"{"jsonrpc":"2.0","error":{"code":-32001},"id":7}"#);
    // Where only the answer names the customer, it would tell which records exist.
    let refused = crm(&world, &call("person.find", r#"{"email":"x@example.net"}"#)).await;
    refused.refused(403, "denied");
    let of_case = world.client("helpdesk").post("/desk/rpc", &call("case.get", r#"{"id":1}"#)).await;
    of_case.refused(403, "denied");
    // Both at once is no answer, nor is an error of HTTP passed on.
    world.upstream.json("POST /rpc", &error.replace("\"error\"", "\"result\":{},\"error\""));
    crm(&world, &get).await.refused(502, "upstream-unreadable");
    world.upstream.on("POST /rpc", Plan::json(error).status(400));
    crm(&world, &get).await.refused(400, "upstream-refused");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_cut_row_by_row_also_by_position() {
    let world = world().await;
    let pavel = ADA.replace("0031", "0058");
    let mina = ADA.replace("0031", "0044");
    let mina_cut = mina.replace(",\"note\":\"vegan\",\"flag\":1", "");
    world.upstream.json("POST /rpc", &result(&format!("[{ADA},{pavel},{mina}]")));
    crm(&world, &call("person.find", r#"{"email":"x@example.net"}"#)).await.released(200, &result(&format!("[{ADA_CUT},{mina_cut}]")));
    // Found by a score that sales may see of leads only.
    crm(&world, &call("person.find", r#"{"score":70}"#)).await.released(200, &result(&format!("[{mina_cut}]")));
    let rows =
        r#"{"rows":[["0031","Ada","ada@example.net",71],["0058","Pavel","p@example.net",9],["0044","Mina","mina@example.net",12,"x"]],"total":3}"#;
    world.upstream.json("POST /rpc", &result(rows));
    let ours = r#"{"rows":[["0031","Ada","ada@example.net",null],["0044","Mina","mina@example.net",12,null]],"total":2}"#;
    crm(&world, &call("person.rows", "{}")).await.released(200, &result(ours));
    crm(&world, r#"{"jsonrpc":"2.0","method":"person.rows","id":7}"#).await.released(200, &result(ours));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_written_call_is_about_whom_its_lookup_finds() {
    let world = world().await;
    let case = |id: u8, who: &str| format!(r#"{{"id":{id},"state":"open","requester":"{who}","subject":"printer"}}"#);
    let lookup = |id: u8| format!(r#"{{"jsonrpc":"2.0","method":"case.get","params":{{"id":{id}}},"id":1}}"#);
    let found = |body: &str| format!(r#"{{"jsonrpc":"2.0","result":{body},"id":1}}"#);
    let desk = |body: String| {
        let world = &world;
        async move { world.client("helpdesk").post("/desk/rpc", &body).await }
    };
    // The harness answers both calls alike: the lookup's id is 1, and so is the call's here.
    let update = |params: &str| call("case.update", params).replace(":7}", ":1}");
    world.upstream.json("POST /rpc", &found(&case(5, "ada.brandt@example.net")));
    let answer = desk(update(r#"{"id":5,"subject":"toner"}"#)).await;
    answer.released(200, &found(&case(5, "ada.brandt@example.net")));
    assert_eq!(("POST /rpc#case.update", "update"), (world.found(&answer).route.as_str(), world.found(&answer).action.as_str()));
    assert_eq!([lookup(5), update(r#"{"id":5,"subject":"toner"}"#)], sent(&world)[..]);
    // A record of somebody unknown, without a customer, not there; a body without a record.
    for (theirs, code) in [
        (found(&case(5, "stranger@example.net")), "denied"),
        (found(r#"{"id":5}"#), "upstream-unreadable"),
        (r#"{"jsonrpc":"2.0","error":{"code":1,"message":"none"},"id":1}"#.to_owned(), "denied"),
        (found("null"), "upstream-unreadable"),
    ] {
        world.upstream.json("POST /rpc", &theirs);
        let answer = desk(update(r#"{"id":5,"subject":"toner"}"#)).await;
        assert_eq!(code, answer.code(), "{theirs}");
        assert_eq!([lookup(5)], sent(&world)[..], "only looked up: {theirs}");
    }
    for params in [r#"{"subject":"toner"}"#, r#"{"id":{"a":1},"subject":"toner"}"#] {
        let answer = desk(update(params)).await;
        assert!([400, 403].contains(&answer.status.as_u16()), "{answer:?}");
    }
    desk(update(r#"[5,"toner"]"#)).await.refused(400, "ambiguous-request");
    desk(update(r#"{"id":5,"subject":"toner","role":"admin"}"#)).await.refused(403, "field-not-permitted");
    assert!(sent(&world).is_empty());
    // A deletion needs leave for all that goes.
    world.upstream.json("POST /rpc", &found(&case(5, "ada.brandt@example.net")));
    let delete = |params: &str| call("case.delete", params).replace(":7}", ":1}");
    desk(delete(r#"{"id":5}"#).replace("delete", "purge")).await.refused(403, "denied");
    assert_eq!([lookup(5)], sent(&world)[..], "the help desk does not own who asked");
    let answer = desk(delete(r#"{"id":5}"#)).await;
    answer.released(200, r#"{"jsonrpc":"2.0","id":1}"#);
    assert_eq!("delete", world.found(&answer).action);
    assert_eq!([lookup(5), delete(r#"{"id":5}"#)], sent(&world)[..]);
    for params in [r#"{"id":"5x"}"#, r#"{"id":5,"all":true}"#, r#"{}"#] {
        let answer = desk(delete(params)).await;
        assert_eq!(400, answer.status.as_u16(), "{params}: {answer:?}");
    }
    assert!(sent(&world).is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_called_create_links_the_id_of_its_result() {
    let world = world().await;
    let create = call("card.create", r#"{"name":"N","email":"new.person@example.net"}"#);
    let ask = || async { world.client("crm").post("/crm/rpc", &create).purpose("service-provision").await };
    world.upstream.json("POST /rpc", &result(r#"{"id":"0101","owner":"secret.person@example.net"}"#));
    ask().await.released(200, &result(r#"{"id":"0101"}"#));
    assert_eq!(create, sent(&world).concat());
    // An upstream that refuses has created nobody.
    world.upstream.json("POST /rpc", r#"{"jsonrpc":"2.0","error":{"code":9,"message":"new.person@example.net exists"},"id":7}"#);
    assert!(ask().await.text().contains("refused the call"));
    world.upstream.json("POST /rpc", &result(r#"{"name":"0102"}"#));
    ask().await.refused(502, "upstream-unreadable");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_plain_body_may_tell_the_route() {
    let world = world().await;
    let found = r#"{"found":[{"id":5,"state":"open","requester":"ada.brandt@example.net","subject":"printer"}]}"#;
    world.upstream.json("POST /commands", found);
    let desk = |body: &'static str| {
        let world = &world;
        async move { world.client("helpdesk").post("/desk/commands", body).purpose(SUPPORT).await }
    };
    let answer = desk(r#"{"command":"find","text":"printer"}"#).await;
    answer.released(200, found);
    assert_eq!("POST /commands#find", world.found(&answer).route);
    desk(r#"{"command":"recent","limit":5}"#).await.released(200, found);
    assert_eq!([r#"{"command":"find","text":"printer"}"#, r#"{"command":"recent","limit":5}"#], sent(&world)[..]);
    for (body, status) in [
        (r#"{"command":"drop","text":"printer"}"#, 404),
        (r#"{"text":"printer"}"#, 404),
        (r#"{"command":["find"],"text":"printer"}"#, 404),
        (r#"{"command":"recent","text":"printer"}"#, 400),
        (r#"{"command":"find","command":"recent"}"#, 400),
        (r#"{"command":"find","COMMAND":"recent"}"#, 400),
        (r#"["find"]"#, 404),
    ] {
        assert_eq!(status, desk(body).await.status.as_u16(), "{body}");
    }
    // The member is looked for in JSON: of a form, whatever it says, no route is found.
    let boundary = "--b\r\nContent-Disposition: form-data; name=command\r\n\r\nfind\r\n--b--\r\n";
    for (content_type, body) in [
        ("application/x-www-form-urlencoded", "command=find&text=printer"),
        ("application/x-www-form-urlencoded", r#"{"command":"find","text":"printer"}"#),
        ("multipart/form-data; boundary=b", boundary),
    ] {
        let client = world.client("helpdesk");
        let form = client.ask(http::Method::POST, "/desk/commands").header("content-type", content_type).body(body.as_bytes());
        let answer = form.purpose(SUPPORT).await;
        answer.refused(415, "media-type");
        assert_eq!("-", world.found(&answer).route, "{content_type}");
    }
    assert!(sent(&world).is_empty());
    world.finish().await;
}
