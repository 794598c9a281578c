//! Written bodies that are no JSON: forms and uploads, judged like JSON with the same members and sent on written anew.

use http::Method;
use serde_json::json;

use crate::harness::people::{ada, ada_for_outreach, card, card_whole};
use crate::harness::{Answer, Client, Plan, World, gateway};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";
const PROVISION: &str = "service-provision";
const FORM: &str = "application/x-www-form-urlencoded";

/// Beside the house's APIs: the same records, for clients that send forms.
const APIS: &str = concat!(
    include_str!("harness/apis.toml"),
    r#"
[shape.note]
open = ["kind"]
[shape.note.fields]
"subject" = "case"
"attachment" = "case"
"diagnosis" = "health"

[[api]]
name = "forms"
owner = "marketing"
at = "/forms"
upstream = "house"
request_headers = ["content-type"]
[[api.route]]
match = "PATCH /customers/{id}"
customer = "path:id"
request = { shape = "customer", types = ["application/x-www-form-urlencoded"] }
response = { shape = "customer" }
[[api.route]]
match = "PATCH /cards/{id}"
customer = "path:id"
request = { shape = "card", types = ["application/x-www-form-urlencoded", "multipart/form-data"] }
response = { shape = "card" }
[[api.route]]
match = "PUT /cards/{id}"
customer = "path:id"
request = { shape = "card", types = ["application/json", "application/x-www-form-urlencoded"] }
response = "empty"
[[api.route]]
match = "PUT /customers/{id}"
customer = "path:id"
request = { shape = "customer", types = ["application/x-www-form-urlencoded", "multipart/form-data"] }
response = "empty"
[[api.route]]
match = "POST /customers"
customer = { new = "response:id", match = { email = "email" } }
ids = "crm"
request = { shape = "card", types = ["application/x-www-form-urlencoded"] }
response = { open = ["id", "success"] }
[[api.route]]
match = "POST /notes/{id}"
customer = "path:id"
ids = "crm"
request = { shape = "note", types = ["multipart/form-data"] }
response = { open = ["kind"] }
[[api.route]]
match = "GET /tickets/{id}"
response = { shape = "ticket" }
[[api.route]]
match = "PATCH /tickets/{id}"
lookup = "GET /tickets/{id}"
request = { shape = "ticket", types = ["application/x-www-form-urlencoded"] }
response = { shape = "ticket" }
"#
);

async fn world() -> World {
    gateway().apis(APIS).start().await
}

async fn send(client: &Client, method: Method, target: &str, content_type: &str, body: &[u8], purpose: &str) -> Answer {
    client.ask(method, target).header("content-type", content_type).purpose(purpose).body(body).await
}

async fn form(client: &Client, method: Method, target: &str, body: &str, purpose: &str) -> Answer {
    send(client, method, target, FORM, body.as_bytes(), purpose).await
}

/// What was sent on: method and path, content type, body.
fn sent(world: &World) -> Vec<(String, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    world.upstream.take().into_iter().map(|r| (r.what, text(r.headers["content-type"].as_bytes()), text(&r.body))).collect()
}

#[track_caller]
fn nothing_sent(world: &World, what: &str) {
    assert!(world.upstream.asked().is_empty(), "{what}: something was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_judged_field_by_field_and_sent_written_anew() {
    let world = world().await;
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("PATCH /customers/0031", &ada());
    let crm = world.client("crm");
    let patch = async |body: &str| form(&crm, Method::PATCH, "/forms/customers/0031", body, OUTREACH).await;
    let answer = patch("name[family]=Brandt-Ohm&email=%61da.new@example.net&address[street]=1+Ulmer+Stra%c3%9fe").await;
    // The answer is a read, and cut like one.
    answer.released(200, &ada_for_outreach());
    let body = "name%5Bfamily%5D=Brandt-Ohm&email=ada.new%40example.net&address%5Bstreet%5D=1+Ulmer+Stra%C3%9Fe";
    assert_eq!(sent(&world), [("PATCH /customers/0031".to_owned(), FORM.to_owned(), body.to_owned())]);
    for (body, fields) in [
        ("leadScore=99", vec!["leadScore"]),
        ("email=x%40example.net&leadScore=99&dietaryNote=none", vec!["dietaryNote", "leadScore"]),
        ("email=x%40example.net&role=admin", vec!["role"]),
        ("address[city]=Ulm&name[given]=A&name[nick]=B", vec!["name.nick"]),
        ("updatedAt=2026-07-02", vec!["updatedAt"]),
        ("email=x%40example.net&_method=DELETE", vec!["_method"]),
        ("email=x%40example.net&address[__proto__][x]=1", vec!["address.__proto__"]),
    ] {
        let answer = patch(body).await;
        answer.refused(403, "field-not-permitted");
        assert_eq!(json!(fields), answer.json()["fields"], "{body}");
        nothing_sent(&world, body);
    }
    for body in [
        "email=a&email=b",
        "email=a&Email=b",
        "email=a&%65mail=b",
        "email=a&email[]=b",
        "email=a&email[x]=b",
        "address[city]=a&address[city]=b",
        "address.city=a",
        "email=%",
        "email=%ff",
        "email=a;name=b",
        "em%00ail=a",
        "email=a b",
        "id[$ne]=1&email=a",
        "id=&email=a",
        "{\"email\":\"a\"}",
    ] {
        patch(body).await.refused(400, "ambiguous-request");
        nothing_sent(&world, body);
    }
    // Whose data it is, is asked like of JSON.
    form(&crm, Method::PATCH, "/forms/customers/0058", "email=a", OUTREACH).await.refused(403, "denied");
    let of_others = form(&crm, Method::PATCH, "/forms/cards/0031", "id=0058&email=a", OUTREACH).await;
    of_others.refused(403, "denied");
    patch("id=0058&email=a").await.refused(403, "field-not-permitted");
    nothing_sent(&world, "another customer");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_takes_no_other_content_type_than_it_declares() {
    let world = world().await;
    let helpdesk = world.client("helpdesk");
    let part = "--b\r\nContent-Disposition: form-data; name=email\r\n\r\na@example.net\r\n--b--\r\n";
    let json = r#"{"email":"a@example.net"}"#;
    for (content_type, body) in [
        ("application/json", json),
        ("application/merge-patch+json", json),
        ("application/json-patch+json", r#"[{"op":"replace","path":"/email","value":"a"}]"#),
        ("text/plain", "email=a"),
        ("application/x-www-form-urlencoded; charset=iso-8859-1", "email=a"),
        ("application/x-www-form-urlencoded; charset=utf-8; charset=utf-8", "email=a"),
        ("multipart/form-data", part),
        ("multipart/form-data; boundary=b; boundary=b", part),
        ("multipart/form-data; boundary=b; charset=utf-16", part),
        ("multipart/mixed; boundary=b", part),
        ("application/xml", "<email/>"),
    ] {
        let answer = send(&helpdesk, Method::PATCH, "/forms/cards/0031", content_type, body.as_bytes(), SUPPORT).await;
        answer.refused(415, "media-type");
        assert_eq!(
            "send uncompressed application/x-www-form-urlencoded or multipart/form-data in UTF-8",
            answer.json()["remedy"].as_str().unwrap(),
            "{content_type}"
        );
        nothing_sent(&world, content_type);
    }
    let ask = || helpdesk.ask(Method::PATCH, "/forms/cards/0031").purpose(SUPPORT).body(b"email=a");
    ask().await.refused(415, "media-type");
    ask().header("content-type", FORM).header("content-type", FORM).await.refused(415, "media-type");
    ask().header("content-type", FORM).header("content-encoding", "gzip").await.refused(415, "media-type");
    // What takes forms elsewhere takes JSON only where it says nothing.
    for (content_type, body) in [(FORM, "email=a"), ("application/merge-patch+json", json), ("application/vnd.api+json", json)] {
        let answer = send(&helpdesk, Method::PATCH, "/crm/cards/0031", content_type, body.as_bytes(), SUPPORT).await;
        answer.refused(415, "media-type");
        assert_eq!("send uncompressed application/json in UTF-8", answer.json()["remedy"].as_str().unwrap());
    }
    nothing_sent(&world, "undeclared types");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_sends_back_what_was_withheld_stores_nothing_of_it() {
    let world = world().await;
    let helpdesk = world.client("helpdesk");
    let crm = world.client("crm");
    world.consent("crm:0031", OUTREACH, "given").await;
    world.upstream.json("PATCH /cards/0031", &card("0031", "ada.new@example.net"));
    world.upstream.on("PUT /cards/0031", Plan::empty(204));
    let answer = form(&helpdesk, Method::PATCH, "/forms/cards/0031", "email=a%40example.net&phone=****4567", SUPPORT).await;
    answer.refused(409, "masked-write");
    assert_eq!(json!(["phone"]), answer.json()["fields"]);
    // A PUT wipes what it does not name, whatever carries it.
    for (content_type, body) in [
        (FORM, "email=a%40example.net"),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=email\r\n\r\na\r\n--b--\r\n"),
    ] {
        let answer = send(&crm, Method::PUT, "/forms/customers/0031", content_type, body.as_bytes(), OUTREACH).await;
        answer.refused(409, "masked-write");
        assert_eq!(json!(["dietaryNote", "lastVisit", "leadScore"]), answer.json()["fields"], "{content_type}");
    }
    nothing_sent(&world, "masked");
    form(&helpdesk, Method::PUT, "/forms/cards/0031", "name=A&email=a%40example.net&phone=1", SUPPORT).await.released(204, "");
    form(&helpdesk, Method::PATCH, "/forms/cards/0031", "phone=%2B49+1", SUPPORT).await.released(200, &card_whole("0031", "ada.new@example.net"));
    let expected = [("PUT /cards/0031", "name=A&email=a%40example.net&phone=1"), ("PATCH /cards/0031", "phone=%2B49+1")];
    assert_eq!(sent(&world), expected.map(|(what, body)| (what.to_owned(), FORM.to_owned(), body.to_owned())));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_through_with_its_category_and_its_name_reaches_no_log() {
    let world = world().await;
    let helpdesk = world.client("helpdesk");
    let content = b"%PDF-1.7\r\n\x00\xff secret.person@example.net \r\n--c\r\n";
    let upload = |name: &str| {
        let mut body = b"--c7\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nBroken\r\n".to_vec();
        body.extend(format!("--c7\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"secret Brandt.pdf\"\r\n").as_bytes());
        body.extend(b"Content-Type: application/pdf\r\n\r\n");
        body.extend(content);
        body.extend(b"\r\n--c7--\r\n");
        body
    };
    world.upstream.on("POST /notes/0031", Plan::json(r#"{"kind":"upload","subject":"Broken"}"#).status(201));
    let post = async |body: &[u8]| send(&helpdesk, Method::POST, "/forms/notes/0031", "multipart/form-data; boundary=c7", body, SUPPORT).await;
    post(&upload("attachment")).await.released(201, r#"{"kind":"upload"}"#);
    let received = world.upstream.take();
    let mut expected = b"--consentry-0\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nBroken\r\n--consentry-0\r\n".to_vec();
    expected.extend(b"Content-Disposition: form-data; name=\"attachment\"; filename=\"secret Brandt.pdf\"\r\nContent-Type: application/pdf\r\n\r\n");
    expected.extend(content);
    expected.extend(b"\r\n--consentry-0--\r\n");
    assert_eq!(received[0].body, expected);
    assert_eq!(received[0].headers.get_all("content-type").iter().collect::<Vec<_>>(), ["multipart/form-data; boundary=consentry-0"]);
    for (name, code, fields) in [("diagnosis", "field-not-permitted", json!(["diagnosis"])), ("other", "field-not-permitted", json!(["other"]))] {
        let answer = post(&upload(name)).await;
        answer.refused(403, code);
        assert_eq!(fields, answer.json()["fields"]);
    }
    let text = |body: &str| body.replace('\n', "\r\n").into_bytes();
    for (what, body) in [
        ("nothing", Vec::new()),
        ("another boundary", text("--c8\nContent-Disposition: form-data; name=subject\n\nx\n--c8--\n")),
        ("a preamble", [b"This is MIME\r\n".to_vec(), upload("attachment")].concat()),
        ("an epilogue", [upload("attachment"), b"more".to_vec()].concat()),
        ("no end", upload("attachment")[..120].to_vec()),
        ("two of one name", upload("subject")),
        ("an encoding", text("--c7\nContent-Disposition: form-data; name=subject\nContent-Transfer-Encoding: base64\n\neA==\n--c7--\n")),
        ("parts in a part", text("--c7\nContent-Disposition: form-data; name=subject\nContent-Type: multipart/mixed; boundary=d\n\n--d--\n--c7--\n")),
        ("JSON in a part", text("--c7\nContent-Disposition: form-data; name=subject\nContent-Type: application/json\n\n{}\n--c7--\n")),
        ("a path", text("--c7\nContent-Disposition: form-data; name=attachment; filename=\"../x\"\n\nx\n--c7--\n")),
        ("two file names", text("--c7\nContent-Disposition: form-data; name=attachment; filename=a; filename*=UTF-8''b\n\nx\n--c7--\n")),
    ] {
        let answer = post(&body).await;
        assert_eq!((400, "ambiguous-request"), (answer.status.as_u16(), answer.code().as_str()), "{what}");
    }
    nothing_sent(&world, "uploads that are not taken");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_creates_no_customer_who_was_erased_and_moves_no_ticket_to_one_who_refuses() {
    let world = world().await;
    let crm = world.client("crm");
    world.upstream.on("POST /customers", Plan::json(r#"{"id":"0101","success":true,"owner":"secret.person@example.net"}"#).status(201));
    let create = async |body: &str| form(&crm, Method::POST, "/forms/customers", body, PROVISION).await;
    create("name=N&email=New.Person%40example.net&phone=").await.released(201, r#"{"id":"0101","success":true}"#);
    world.upstream.take();
    world.desk(Method::POST, "/v1/parties/email:jonas.lindqvist@example.net:erase", json!({ "reason": "asked for it" })).await;
    create("name=J&email=Jonas.Lindqvist%40example.net").await.refused(403, "denied");
    nothing_sent(&world, "an erased customer");
    // The same rules for whoever a ticket is given to.
    let ticket =
        |requester: &str| format!(r#"{{"id":"t1","state":"open","subject":"Broken","requester":{{"email":"{requester}","name":"R"}},"cc":[]}}"#);
    world.upstream.json("GET /tickets/t1", &ticket("ada.brandt@example.net"));
    world.upstream.json("PATCH /tickets/t1", &ticket("ada.brandt@example.net"));
    let helpdesk = world.client("helpdesk");
    let patch = async |body: &str| form(&helpdesk, Method::PATCH, "/forms/tickets/t1", body, SUPPORT).await;
    patch("subject=Still+broken").await.released(200, &ticket("ada.brandt@example.net"));
    // The look-up before it has no body of which a type could speak.
    let types: Vec<bool> = world.upstream.take().iter().map(|r| r.headers.contains_key("content-type")).collect();
    assert_eq!([false, true], types[..]);
    world.desk(Method::POST, "/v1/restrictions", json!({ "party": "crm:0058", "evidence": [{ "kind": "letter", "reference": "l" }] })).await;
    for body in
        ["requester[email]=pavel.horak%40example.net", "subject=x&requester[email]=nobody%40example.net", "cc[0][email]=pavel.horak%40example.net"]
    {
        patch(body).await.refused(403, "denied");
        assert_eq!(["GET /tickets/t1"], world.upstream.asked()[..], "{body}");
    }
    patch("cc[0][name]=x").await.refused(400, "ambiguous-request");
    world.finish().await;
}
