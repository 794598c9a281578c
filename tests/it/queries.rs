//! Queries that name fields: who may not see a field learns nothing by selecting, ordering or grouping by it, and whose an answer is
//! is known also when the caller leaves that out.

use std::future::IntoFuture as _;

use serde_json::json;

use crate::harness::{Plan, World, gateway};

const OUTREACH: &str = "sales.outreach";
const SUPPORT: &str = "service-provision.support";

/// Ada agreed, and is a customer, of whom sales may not see behaviour. Mina agreed and is a lead. Pavel refused.
async fn world() -> World {
    let world = gateway().apis(include_str!("queries.toml")).start().await;
    for (id, state) in [("0031", "given"), ("0044", "given"), ("0058", "refused")] {
        world.consent(&format!("crm:{id}"), OUTREACH, state).await;
    }
    world
}

fn person(id: &str, name: &str) -> String {
    format!(r#"{{"@odata.etag":"W/1","Id":"{id}","Name":"{name}","Email":"{name}@example.net","Score":71,"Note":"vegan"}}"#)
}

fn value(rows: &[String]) -> String {
    let rows = rows.join(",");
    format!(
        r#"{{"@odata.context":"https://crm.internal/$metadata#People","@odata.count":3,"value":[{rows}],"@odata.nextLink":"https://crm.internal/People?$skiptoken=pavel@example.net"}}"#
    )
}

/// `a=b&c=d` as the gateway writes it.
fn encoded(query: &str) -> String {
    query.replace(' ', "%20").replace('\'', "%27").replace('(', "%28").replace(')', "%29").replace('/', "%2F").replace(';', "%3B").replace("=", "%3D")
}

#[tokio::test(flavor = "multi_thread")]
async fn odata_options_go_on_as_understood_and_rows_are_judged_by_what_they_touch() {
    let world = world().await;
    let (ada, mina, pavel) = (person("0031", "Ada"), person("0044", "Mina"), person("0058", "Pavel"));
    let ada_cut = r#"{"Id":"0031","Name":"Ada","Email":"Ada@example.net"}"#;
    let mina_cut = r#"{"Id":"0044","Name":"Mina","Email":"Mina@example.net","Score":71}"#;
    let both = format!(r#"{{"value":[{ada_cut},{mina_cut}]}}"#);
    let of_lead = format!(r#"{{"value":[{mina_cut}]}}"#);
    let crm = world.client("crm");
    // (query, as it is sent, what comes back)
    let cases = [
        ("$filter=contains(Name,'a')&$top=10", vec![("$filter", "contains(Name,'a')"), ("$top", "10")], &both),
        ("$filter=Email+ne+null+and+not(Name+eq+'it''s')", vec![("$filter", "Email ne null and not (Name eq 'it''s')")], &both),
        ("$orderby=Name+desc,UpdatedAt&$count=true", vec![("$orderby", "Name desc,UpdatedAt"), ("$count", "true")], &both),
        ("$filter=Name+eq+'Score+gt+50'", vec![("$filter", "Name eq 'Score gt 50'")], &both),
        ("$filter=Score+ge+50", vec![("$filter", "Score ge 50")], &of_lead),
        ("$filter=Name+ne+null+or+Score+ge+50", vec![("$filter", "Name ne null or Score ge 50")], &of_lead),
        ("$orderby=length(Name),Score+desc", vec![("$orderby", "length(Name),Score desc")], &of_lead),
        ("$filter=Visits/any(v:v/Page+eq+'/prices')", vec![("$filter", "Visits/any(v:v/Page eq '/prices')")], &of_lead),
        ("$filter=Visits/$count+gt+3", vec![("$filter", "Visits/$count gt 3")], &of_lead),
        ("$expand=Visits($orderby=Page)", vec![("$expand", "Visits($orderby=Page)")], &of_lead),
        ("%24filter=Score%20ge%2050&tenant=7", vec![("$filter", "Score ge 50"), ("tenant", "7")], &of_lead),
        ("$search=mina", vec![("$search", "mina")], &both),
        ("$format=json&$skip=20", vec![("$format", "json"), ("$skip", "20")], &both),
    ];
    for (query, sent, ours) in cases {
        let sent: Vec<String> = sent.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let what = format!("GET /People?{}", sent.join("&"));
        world.upstream.json(&what, &value(&[ada.clone(), pavel.clone(), mina.clone()]));
        let answer = crm.get(&format!("/odata/People?{query}")).purpose(OUTREACH).await;
        assert_eq!((200, ours.as_str()), (answer.status.as_u16(), answer.text()), "{query}: {:?}", world.upstream.asked());
        assert_eq!([what], world.upstream.asked()[..], "{query}");
    }
    // The whole list: the count is that of the rows.
    let whole = format!(r#"{{"@odata.count":2,"value":[{ada},{pavel}]}}"#);
    world.upstream.json("GET /People?$count=true", &whole);
    crm.get("/odata/People?$count=true").purpose(OUTREACH).await.released(200, &format!(r#"{{"@odata.count":1,"value":[{ada_cut}]}}"#));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odata_that_is_not_understood_or_names_other_fields_is_refused() {
    let world = world().await;
    let crm = world.client("crm");
    let deep = format!("$filter={}Name+eq+'a'{}", "(".repeat(3_000), ")".repeat(3_000));
    let cases = [
        ("$filter=Score+ge+50&$filter=Name+ne+null", 400, "ambiguous-request"),
        ("$filter=Score+ge+50&%24filter=Name+ne+null", 400, "ambiguous-request"),
        ("$FILTER=Score+ge+50", 400, "parameter-not-declared"),
        ("filter=Score+ge+50", 400, "parameter-not-declared"),
        ("$filter%20=Score+ge+50", 400, "parameter-not-declared"),
        ("$apply=aggregate(Score+with+max+as+m)", 400, "parameter-not-declared"),
        ("$compute=Score+add+1+as+s", 400, "parameter-not-declared"),
        ("$skiptoken=x", 400, "parameter-not-declared"),
        ("@p=1", 400, "parameter-not-declared"),
        ("$filter=Score+ge+@p", 400, "parameter-not-declared"),
        ("$filter=$it/Score+ge+1", 400, "parameter-not-declared"),
        ("$filter=cast(Score,Edm.String)+eq+'1'", 400, "parameter-not-declared"),
        ("$filter=Secret+eq+1", 400, "parameter-not-declared"),
        ("$filter=score+ge+50", 400, "parameter-not-declared"),
        ("$filter=Name+eq+'a", 400, "parameter-not-declared"),
        ("$filter=", 400, "parameter-not-declared"),
        (&deep, 400, "parameter-not-declared"),
        ("$select=Secret", 400, "parameter-not-declared"),
        ("$expand=Owner", 400, "parameter-not-declared"),
        ("$expand=*", 400, "parameter-not-declared"),
        ("$format=xml", 400, "parameter-not-declared"),
        ("$expand=Visits($top=1;$skip=1)", 400, "ambiguous-request"),
    ];
    for (query, status, code) in cases {
        let answer = crm.get(&format!("/odata/People?{query}")).purpose(OUTREACH).await;
        assert_eq!((status, code), (answer.status.as_u16(), answer.code().as_str()), "{query:.60}");
    }
    let answer = crm.get("/odata/People?$filter=Owner/Name+eq+'a'").purpose(OUTREACH).await;
    assert_eq!(json!(["$filter: Owner/Name"]), answer.json()["fields"]);
    // Nobody's consent opens behaviour to the help desk, nor health to sales.
    world.client("helpdesk").get("/odata/People?$filter=Score+ge+50").purpose(SUPPORT).await.refused(403, "field-not-permitted");
    let answer = crm.get("/odata/People?$orderby=Note").purpose(OUTREACH).await;
    answer.refused(403, "field-not-permitted");
    assert_eq!(json!(["Note"]), answer.json()["fields"]);
    for (method, path) in
        [(http::Method::POST, "/odata/$batch"), (http::Method::POST, "/odata/People/$query"), (http::Method::GET, "/odata/People/$count")]
    {
        let answer = crm.ask(method, path).purpose(OUTREACH).await;
        answer.refused(404, "route-not-declared");
    }
    assert!(world.upstream.asked().is_empty());
    // Not JSON all the same.
    world.upstream.on("GET /People", Plan::text("application/atom+xml", "<feed/>"));
    crm.get("/odata/People").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_left_out_is_asked_for_and_cut_again() {
    let world = world().await;
    let crm = world.client("crm");
    let row = |id: &str, name: &str| format!(r#"{{"Name":"{name}","Id":"{id}"}}"#);
    let rows = [row("0031", "Ada"), row("0058", "Pavel"), row("0044", "Mina")];
    // (asked, sent, row of Ada)
    for (asked, sent, ours) in [
        ("$select=Name", "$select=Name,Id", r#"{"Name":"Ada"}"#),
        ("$select=Name,%20Id", "$select=Name,Id", r#"{"Name":"Ada","Id":"0031"}"#),
        ("$select=Id,Name", "$select=Id,Name", r#"{"Name":"Ada","Id":"0031"}"#),
        ("$select=*", "$select=*", r#"{"Name":"Ada","Id":"0031"}"#),
    ] {
        world.upstream.json(&format!("GET /People?{sent}"), &format!(r#"{{"value":[{}]}}"#, rows.join(",")));
        let both = format!(r#"{{"value":[{ours},{}]}}"#, ours.replace("Ada", "Mina").replace("0031", "0044"));
        crm.get(&format!("/odata/People?{asked}")).purpose(OUTREACH).await.released(200, &both);
    }
    // A single one, by path: the answer must still say whose it is.
    world.upstream.json("GET /People('0031')?$select=Name,Id", &row("0031", "Ada"));
    crm.get("/odata/People('0031')?$select=Name").purpose(OUTREACH).await.released(200, r#"{"Name":"Ada"}"#);
    world.upstream.json("GET /People('0031')?$select=Name,Id", &row("0058", "Pavel"));
    crm.get("/odata/People('0031')?$select=Name").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    world.upstream.json("GET /People('0031')?$select=Name,Id", r#"{"Name":"Pavel"}"#);
    crm.get("/odata/People('0031')?$select=Name").purpose(OUTREACH).await.refused(502, "upstream-unreadable");
    // Nothing but the id, which nobody asked for: nothing of a customer is left.
    world.upstream.json("GET /People('0031')?$select=UpdatedAt,Id", r#"{"UpdatedAt":"2026-07-01","Id":"0031"}"#);
    crm.get("/odata/People('0031')?$select=UpdatedAt").purpose(OUTREACH).await.refused(403, "denied");

    // An id of a category, in an object of its own; and those of others, whose ids go along.
    let helpdesk = world.client("helpdesk");
    let order = r#"{"Total":5,"Customer":{"Number":"7731"},"ShipTo":{"Name":"Pavel","Number":"7758"}}"#;
    let sent = format!("GET /Orders?$select={}&$expand={}", encoded("Total,Customer/Number"), encoded("ShipTo($select=Name,Number)"));
    world.upstream.json(&sent, &format!(r#"{{"value":[{order}]}}"#));
    let answer = helpdesk.get("/odata/Orders?$select=Total&$expand=ShipTo($select=Name)").purpose(SUPPORT).await;
    answer.released(200, r#"{"value":[{"Total":5,"ShipTo":{"Name":"Pavel","Number":"7758"}}]}"#);
    for query in ["$filter=ShipTo/Name+eq+'Pavel'", "$orderby=ShipTo/Email", "$expand=ShipTo($filter=Name+eq+'Pavel')"] {
        let answer = helpdesk.get(&format!("/odata/Orders?{query}")).purpose(SUPPORT).await;
        answer.refused(403, "field-not-permitted");
        assert!(answer.json()["fields"][0].as_str().unwrap().contains("ShipTo"), "{answer:?}");
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_whom_the_request_names_is_not_searched_by_what_they_withhold() {
    let world = world().await;
    let crm = world.client("crm");
    let visits = r#"{"value":[{"Id":1,"Person":{"Id":"0044","Name":"Mina"},"Score":7}]}"#;
    let sent = format!("GET /People('0044')/Visits?$filter={}", encoded("Score gt 5"));
    world.upstream.json(&sent, visits);
    crm.get("/odata/People('0044')/Visits?$filter=Score+gt+5").purpose(OUTREACH).await.released(200, visits);
    assert_eq!(1, world.upstream.asked().len());
    let answer = crm.get("/odata/People('0031')/Visits?$filter=Score+gt+5").purpose(OUTREACH).await;
    answer.refused(403, "field-not-permitted");
    assert_eq!(json!(["Score"]), answer.json()["fields"]);
    assert_eq!("deny", world.found(&answer).outcome);
    // Whose category it is whose id was left out: cut with it.
    world.upstream.json(&format!("GET /People('0044')/Visits?$select={}", encoded("Score,Person/Id")), visits);
    crm.get("/odata/People('0044')/Visits?$select=Score")
        .purpose(OUTREACH)
        .await
        .released(200, r#"{"value":[{"Id":1,"Person":{"Name":"Mina"},"Score":7}]}"#);
    // By plain parameters it is the same.
    world.upstream.json("GET /people/0031/score?mail=a@b", &person("0031", "Ada"));
    world.upstream.take();
    crm.get("/plain/people/0031/score?mail=a@b").purpose(OUTREACH).await.released(200, r#"{"Id":"0031","Name":"Ada","Email":"Ada@example.net"}"#);
    assert_eq!(1, world.upstream.asked().len());
    crm.get("/plain/people/0031/score?above=50").purpose(OUTREACH).await.refused(403, "field-not-permitted");
    // Who refused, or is unknown, is nobody to learn anything of.
    let refused = crm.get("/plain/people/0058/score?above=50").purpose(OUTREACH).await;
    let unknown = crm.get("/plain/people/9999/score?above=50").purpose(OUTREACH).await;
    refused.refused(403, "denied");
    assert_eq!(refused.anonymous(), unknown.anonymous());
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_parameters_that_name_fields_are_held_against_the_shape() {
    let world = world().await;
    let crm = world.client("crm");
    let (ada, mina, pavel) = (person("0031", "Ada"), person("0044", "Mina"), person("0058", "Pavel"));
    let list = format!(r#"{{"people":[{ada},{pavel},{mina}]}}"#);
    let ada_cut = r#"{"Id":"0031","Name":"Ada","Email":"Ada@example.net"}"#;
    let mina_cut = r#"{"Id":"0044","Name":"Mina","Email":"Mina@example.net","Score":71}"#;
    let both = format!(r#"{{"people":[{ada_cut},{mina_cut}]}}"#);
    let of_lead = format!(r#"{{"people":[{mina_cut}]}}"#);
    let bare = both.replace(r#""Id":"0031","#, "").replace(r#""Id":"0044","#, "");
    for (asked, sent, ours) in [
        ("sort=-Name,last_change", "sort=-Name,last_change", &both),
        ("sort=Name:desc", "sort=Name:desc", &both),
        ("sort=-score", "sort=-score", &of_lead),
        ("sort=Name,-Score", "sort=Name,-Score", &of_lead),
        ("fields=name,mail", "fields=name,mail,number", &bare),
        ("fields=name,number", "fields=name,number", &both),
        ("fields=Score,Note", "fields=Score,Note,number", &bare),
        ("filter[Email]=a@b", "filter%5BEmail%5D=a@b", &both),
        ("filter[Score][gte]=50", "filter%5BScore%5D%5Bgte%5D=50", &of_lead),
        ("filter[Address.City]=Ulm", "filter%5BAddress.City%5D=Ulm", &both),
        ("Email__contains=@b", "Email__contains=@b", &both),
        ("Address__City__contains=U", "Address__City__contains=U", &both),
        ("Score__year=7", "Score__year=7", &of_lead),
        ("group_by=Score", "group_by=Score", &of_lead),
        ("filter[Email]=a@b&sort=Score", "filter%5BEmail%5D=a@b&sort=Score", &of_lead),
    ] {
        world.upstream.json(&format!("GET /people?{sent}"), &list);
        let answer = crm.get(&format!("/plain/people?{asked}")).purpose(OUTREACH).await;
        assert_eq!((200, ours.as_str()), (answer.status.as_u16(), answer.text()), "{asked}: {:?}", world.upstream.asked());
    }
    world.upstream.take();
    for (asked, status) in [
        ("sort=secret", 400),
        ("sort=name", 400),
        ("sort=Note", 403),
        ("fields=*", 400),
        ("fields=name,secret", 400),
        ("filter[secret]=1", 400),
        ("filter[Note]=vegan", 403),
        ("filter[Score][ne]=1", 400),
        ("filter[Score][gte]=x", 400),
        ("filter[Score][gte]=1&filter[Score][gte]=2", 400),
        ("filter=Score", 400),
        ("Score__gt=1", 400),
        ("secret__contains=1", 400),
        ("Note__contains=1", 403),
        ("group_by=sum(Score)", 400),
        ("group_by=Note", 403),
        ("alias[a]=Note", 400),
        ("birth_date_year=1981", 400),
    ] {
        let answer = crm.get(&format!("/plain/people?{asked}")).purpose(OUTREACH).await;
        assert_eq!(status, answer.status.as_u16(), "{asked}: {answer:?}");
    }
    // In a body that selects, the same.
    world.upstream.json("POST /people/search", &list);
    crm.post("/plain/people/search", r#"{"limit":5,"columns":"Name,Email","order":"-Score"}"#)
        .purpose(OUTREACH)
        .await
        .released(200, &of_lead.replace(r#""Id":"0044","#, ""));
    assert_eq!(br#"{"limit":5,"columns":"Name,Email,Id","order":"-Score"}"#, &world.upstream.take()[0].body[..]);
    crm.post("/plain/people/search", r#"{"columns":["Name","Email"],"order":["Name"]}"#).purpose(OUTREACH).await.released(200, &bare);
    assert_eq!(br#"{"columns":["Name","Email","Id"],"order":["Name"]}"#, &world.upstream.take()[0].body[..]);
    for body in [r#"{"order":["Name,secret"]}"#, r#"{"order":[["Name"]]}"#, r#"{"order":[1]}"#, r#"{"limit":["5"]}"#] {
        crm.post("/plain/people/search", body).purpose(OUTREACH).await.refused(400, "ambiguous-request");
    }
    crm.post("/plain/people/search", r#"{"order":["Name","secret"]}"#).purpose(OUTREACH).await.refused(400, "parameter-not-declared");
    crm.post("/plain/people/search", r#"{"order":[]}"#).purpose(OUTREACH).await.refused(400, "parameter-not-declared");
    crm.post("/plain/people/search", r#"{"order":"secret"}"#).purpose(OUTREACH).await.refused(400, "parameter-not-declared");
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_api_names_attributes_and_brings_nobody_else_along() {
    let world = world().await;
    let crm = world.client("crm");
    let resource = |number: &str, name: &str| {
        format!(
            r#"{{"type":"contacts","id":"c-{number}","attributes":{{"number":"{number}","name":"{name}","email":"{name}@example.net","score":7}},"links":{{"self":"/contacts/c-{number}"}}}}"#
        )
    };
    let included = r#"{"type":"people","id":"9","attributes":{"name":"Pavel","email":"pavel@example.net"}}"#;
    let document = |data: &str| {
        format!(
            r#"{{"jsonapi":{{"version":"1.1"}},"data":{data},"included":[{included}],"links":{{"next":"/contacts?page[cursor]=pavel"}},"meta":{{"total":3}}}}"#
        )
    };
    let ours = |data: &str| format!(r#"{{"jsonapi":{{"version":"1.1"}},"data":{data}}}"#);
    let cut = |number: &str, name: &str, score: &str| {
        format!(r#"{{"type":"contacts","id":"c-{number}","attributes":{{"number":"{number}","name":"{name}","email":"{name}@example.net"{score}}}}}"#)
    };
    let (ada, mina) = (cut("0031", "Ada", ""), cut("0044", "Mina", ",\"score\":7"));
    let (both, lead) = (ours(&format!("[{ada},{mina}]")), ours(&format!("[{mina}]")));
    let bare = both.replace(r#""number":"0031","#, "").replace(r#""number":"0044","#, "");
    let rows = format!("[{},{},{}]", resource("0031", "Ada"), resource("0058", "Pavel"), resource("0044", "Mina"));
    for (asked, sent, answered) in [
        ("sort=-name,updated&page[size]=3", "sort=-name,updated&page%5Bsize%5D=3", &both),
        ("sort=score", "sort=score", &lead),
        ("filter[email]=a@b", "filter%5Bemail%5D=a@b", &both),
        ("filter[score][gt]=5", "filter%5Bscore%5D%5Bgt%5D=5", &lead),
        ("fields[contacts]=name,email,score", "fields%5Bcontacts%5D=name,email,score,number", &bare),
        ("fields[contacts]=number,name", "fields%5Bcontacts%5D=number,name", &both),
    ] {
        let plan = Plan::text("application/vnd.api+json", &document(&rows));
        world.upstream.on(&format!("GET /contacts?{sent}"), plan);
        let answer = crm.get(&format!("/api/contacts?{asked}")).purpose(OUTREACH).await;
        assert_eq!((200, answered.as_str()), (answer.status.as_u16(), answer.text()), "{asked}: {:?}", world.upstream.asked());
        assert_eq!(Some("application/vnd.api+json"), answer.header("content-type"));
    }
    let asked = world.upstream.take();
    assert!(asked.iter().all(|r| r.headers["accept"] == "application/vnd.api+json"));
    world.upstream.on("GET /contacts/c-0031", Plan::text("application/vnd.api+json", &document(&resource("0031", "Ada"))));
    crm.get("/api/contacts/c-0031").purpose(OUTREACH).await.released(200, &ours(&ada));
    world.upstream.on("GET /contacts/c-0058", Plan::text("application/vnd.api+json", &document(&resource("0058", "Pavel"))));
    crm.get("/api/contacts/c-0058").purpose(OUTREACH).await.refused(403, "denied");
    world.upstream.take();
    for query in [
        "include=owner",
        "include=",
        "sort=secret",
        "fields[people]=name",
        "fields[contacts]=secret",
        "filter[secret]=1",
        "page[cursor]=x",
        "page[size]=a",
        "Sort=name",
    ] {
        crm.get(&format!("/api/contacts?{query}")).purpose(OUTREACH).await.refused(400, "parameter-not-declared");
    }
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_written_as_json_api_or_json_and_goes_on_as_json_api() {
    let world = world().await;
    let crm = world.client("crm");
    world.upstream.on("PATCH /numbers/0031", Plan::empty(204));
    let document = |member: &str| format!(r#"{{"data":{{"type":"contacts","id":"c-0031","attributes":{{"{member}":"x"}}}}}}"#);
    let patch = |content_type: &str, body: &str| {
        let asked = crm.ask(http::Method::PATCH, "/api/numbers/0031").purpose(OUTREACH);
        asked.header("content-type", content_type).body(body.as_bytes()).into_future()
    };
    // Without `types` these two.
    for content_type in ["application/vnd.api+json", "application/json"] {
        patch(content_type, &document("email")).await.released(204, "");
        let sent = world.upstream.take().remove(0);
        assert_eq!(("application/vnd.api+json", document("email").as_bytes()), (sent.headers["content-type"].to_str().unwrap(), &sent.body[..]));
        patch(content_type, &document("score")).await.refused(403, "field-not-permitted");
    }
    // What an extension means is not sent on, and what it writes is no member of the shape.
    let atomic = "application/vnd.api+json; ext=\"https://jsonapi.org/ext/atomic\"";
    patch(atomic, r#"{"atomic:operations":[{"op":"update","data":{"type":"contacts","id":"c-0058"}}]}"#).await.refused(403, "field-not-permitted");
    for content_type in ["application/merge-patch+json", "application/hal+json", "application/x-www-form-urlencoded"] {
        patch(content_type, &document("email")).await.refused(415, "media-type");
    }
    assert!(world.upstream.asked().is_empty());
    world.finish().await;
}
