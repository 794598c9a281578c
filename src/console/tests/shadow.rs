//! Who may have a candidate folder judge, and what is said of a broken one.

use super::*;

const PATH: &str = "/v1/policies/shadow";

fn put(desk: &Desk, who: &As, files: &[(String, String)]) -> (StatusCode, Value) {
    let files: Vec<Value> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    let request = Request::put(PATH).header("content-type", "application/json").body(Body::from(json!({ "files": files }).to_string()));
    desk.send(who, request.unwrap())
}

fn shipped() -> Vec<(String, String)> {
    crate::policy::files(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap().into_iter().collect()
}

#[test]
fn only_who_works_on_policies_starts_stops_and_sees_a_shadow() {
    let desk = Desk::open();
    for other in [AdminRole::Auditor, AdminRole::ConsentDesk, AdminRole::Operator, AdminRole::AppDeveloper] {
        assert_eq!(StatusCode::FORBIDDEN, put(&desk, &role(other), &shipped()).0, "{other:?}");
        assert_eq!(StatusCode::FORBIDDEN, desk.get(&role(other), PATH).0, "{other:?}");
    }
    let (status, answer) = put(&desk, &role(AdminRole::PolicyAuthor), &shipped());
    assert_eq!(StatusCode::OK, status, "{answer}");
    assert!(desk.entries().iter().any(|e| e["operation"] == "policies.shadow.start" && e["role"] == "policy-author" && e["status"] == 200));
    let (status, answer) = desk.get(&role(AdminRole::PolicyApprover), PATH);
    assert_eq!((StatusCode::NOT_FOUND, "not-found"), (status, answer["code"].as_str().unwrap()));
    let stop = Request::delete(PATH).body(Body::empty()).unwrap();
    assert_eq!(StatusCode::NOT_FOUND, desk.send(&role(AdminRole::PolicyAuthor), stop).0);
}

#[test]
fn a_broken_folder_is_refused_with_every_place() {
    let desk = Desk::open();
    let mut files = shipped();
    for (name, text) in &mut files {
        if name == "captures.toml" {
            text.push_str("colour = \"blue\"\n");
        }
        if name == "20-sharing.cedar" {
            text.push_str("permit (principal, action, resource) when { context.purpose in Purpose::\"marketting\" };\n");
        }
    }
    let (status, answer) = put(&desk, &role(AdminRole::PolicyAuthor), &files);
    assert_eq!(StatusCode::UNPROCESSABLE_ENTITY, status, "{answer}");
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("folder/captures.toml:") && detail.contains("folder/20-sharing.cedar:") && detail.contains("marketting"), "{detail}");
    let twice = [shipped(), shipped()].concat();
    assert_eq!(StatusCode::UNPROCESSABLE_ENTITY, put(&desk, &role(AdminRole::PolicyAuthor), &twice).0);
    assert_eq!(StatusCode::UNPROCESSABLE_ENTITY, put(&desk, &role(AdminRole::PolicyAuthor), &[]).0);
}
