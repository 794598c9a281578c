//! Rows 97 and 98: which credentials are which client, and what a recognised caller may ask for.

use super::*;

async fn by_certificate(peer: &PeerCertificate) -> Result<Principal, AuthError> {
    World::new().authenticator.authenticate(Some(peer), &HeaderMap::new(), here()).await
}

#[tokio::test]
async fn a_certificate_counts_by_its_exact_uri() {
    let principal = by_certificate(&certificate(&[CRM], &["crm.example.com"], "whatever")).await.expect("crm");
    assert_eq!(Client::intern("crm"), principal.caller().client);
    assert_eq!((ClientKind::Application, "sales"), (principal.caller().kind, principal.caller().department.as_str()));
    assert_eq!(None, principal.caller().employee);
    assert_eq!(purposes(&["sales", "sales.outreach", "service"]), principal.purposes());
    assert_eq!(&Credentials { certificate: Some(CRM.to_owned()), token: None }, principal.registered_as());
    assert_eq!(ClientKind::Agent, by_certificate(&certificate(&[COPILOT], &[], "x")).await.expect("agent").caller().kind);
}

#[tokio::test]
async fn names_that_only_resemble_a_client_are_nobody() {
    for (case, uris, dns, common_name) in [
        ("none", vec![], vec![], ""),
        ("common name only", vec![], vec![], CRM),
        ("other case", vec!["spiffe://example.com/app/CRM"], vec![], ""),
        ("other case in the scheme", vec!["SPIFFE://example.com/app/crm"], vec![], ""),
        ("longer", vec!["spiffe://example.com/app/crm2"], vec![], ""),
        ("below", vec!["spiffe://example.com/app/crm/x"], vec![], ""),
        ("with a slash", vec!["spiffe://example.com/app/crm/"], vec![], ""),
        ("shorter", vec!["spiffe://example.com/app/cr"], vec![], ""),
        ("wildcard", vec!["spiffe://example.com/app/*"], vec![], ""),
        ("of another domain", vec!["spiffe://example.org/app/crm"], vec![], ""),
        ("encoded", vec!["spiffe://example.com/app/%63rm"], vec![], ""),
        ("the uri as a dns name", vec![], vec![CRM], ""),
        ("the client's name", vec!["crm"], vec!["crm"], "crm"),
    ] {
        let error = by_certificate(&certificate(&uris, &dns, common_name)).await.expect_err(case);
        assert_eq!(AuthError::Unauthenticated, error, "{case}");
    }
    let both = by_certificate(&certificate(&[CRM, HELPDESK], &[], "")).await.expect_err("two clients");
    assert_eq!(AuthError::CredentialsDisagree, both);
    assert_eq!(AuthError::Unauthenticated, World::new().authenticator.authenticate(None, &HeaderMap::new(), here()).await.expect_err("nothing"));
}

#[tokio::test]
async fn dns_names_are_matched_exactly_too() {
    let world = World::with(issuer(), vec![client("crm", Some("crm.example.com"), None)]);
    let authenticate = async |uris: &[&str], dns: &[&str]| {
        let peer = certificate(uris, dns, "crm.example.com");
        world.authenticator.authenticate(Some(&peer), &HeaderMap::new(), here()).await.map(|principal| principal.caller().client)
    };
    assert_eq!(Ok(Client::intern("crm")), authenticate(&[], &["crm.example.com"]).await);
    for dns in ["CRM.example.com", "*.example.com", "a.crm.example.com", "crm.example.com.", "example.com"] {
        assert_eq!(Err(AuthError::Unauthenticated), authenticate(&[], &[dns]).await, "{dns}");
    }
    assert_eq!(Err(AuthError::Unauthenticated), authenticate(&["crm.example.com"], &[]).await, "a uri is no dns name");
}

#[test]
fn certificates_that_two_readers_may_read_differently_are_refused() {
    assert_eq!(Err(AuthError::Unauthenticated), PeerCertificate::from_der(b""));
    assert_eq!(Err(AuthError::Unauthenticated), PeerCertificate::from_der(b"not a certificate"));
    for name in ["spiffe://example.com/app/crm\0.evil.example", "spiffe://example.com/app/crm\n", "spiffe://example.com/app/c rm", ""] {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(name.try_into().unwrap())];
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(Err(AuthError::Unauthenticated), PeerCertificate::from_der(certificate.der()), "{name:?}");
        let mut trailing = certificate.der().to_vec();
        trailing.push(0);
        assert_eq!(Err(AuthError::Unauthenticated), PeerCertificate::from_der(&trailing));
    }
}

#[tokio::test]
async fn certificate_and_token_must_stand_for_one_client() {
    let world = World::new();
    let helpdesk = certificate(&[HELPDESK], &[], "");
    let nobody = certificate(&["spiffe://example.com/app/nobody"], &[], "");
    let bound = |peer: &PeerCertificate, client: &str| world.token(json!({ "azp": client, "cnf": { "x5t#S256": peer.thumbprint() } }));
    let send = async |peer: &PeerCertificate, client: &str| {
        world.authenticator.authenticate(Some(peer), &bearer(&bound(peer, client)), here()).await.map(|principal| principal.caller().client.as_str())
    };
    assert_eq!(Ok("crm"), send(&world.crm, "crm").await);
    assert_eq!(Ok("helpdesk"), send(&helpdesk, "helpdesk").await);
    assert_eq!(Err(AuthError::CredentialsDisagree), send(&helpdesk, "crm").await);
    assert_eq!(Err(AuthError::CredentialsDisagree), send(&world.crm, "sales-copilot").await);
    assert_eq!(Err(AuthError::CredentialsDisagree), send(&nobody, "crm").await, "crm has a certificate of its own");
    assert_eq!(Err(AuthError::CredentialsDisagree), send(&world.crm, "tokens-only").await);
    assert_eq!(Ok("tokens-only"), send(&nobody, "tokens-only").await, "the issuer bound the token to this certificate");

    let free = World::with(IssuerSettings { sender_constraint: SenderConstraint::None, ..issuer() }, clients());
    let token = free.token(json!({ "azp": "tokens-only", "cnf": null }));
    let unbound = free.authenticator.authenticate(Some(&nobody), &bearer(&token), here()).await.expect_err("not bound");
    assert_eq!(AuthError::CredentialsDisagree, unbound);
    free.authenticator.authenticate(None, &bearer(&token), here()).await.expect("no certificate to disagree with");
}

#[tokio::test]
async fn a_bad_token_is_not_made_up_for_by_a_good_certificate() {
    let world = World::new();
    world.authenticator.authenticate(Some(&world.crm), &HeaderMap::new(), here()).await.expect("the certificate alone");
    world.refused("garbage", "x.y.z", TokenFault::Malformed).await;
}

#[tokio::test]
async fn employees_are_pseudonyms_with_the_roles_that_exist() {
    let world = World::new();
    let token = world.token(json!({ "roles": ["on-call", "a role of no catalogue", "on-call"], "department": "finance", "email": "x@example.com" }));
    let principal = world.send(&token).await.expect("good");
    let employee = principal.caller().employee.clone().expect("employee");
    assert_eq!(vec![Role::intern("on-call")], employee.roles);
    assert_eq!("sales", principal.caller().department.as_str(), "the department is the catalogue's");
    assert_eq!((36, true), (employee.pseudonym.len(), employee.pseudonym.starts_with("emp_")));
    assert_eq!(employee.pseudonym, pseudonym(&[7; 32], ISSUER, "u-17"));
    assert_ne!(employee.pseudonym, pseudonym(&[8; 32], ISSUER, "u-17"));
    assert_ne!(employee.pseudonym, pseudonym(&[7; 32], ISSUER, "u-18"));
    assert_ne!(pseudonym(&[7; 32], "a", "bc"), pseudonym(&[7; 32], "ab", "c"));
    assert_eq!((Some("x@example.com"), None), (principal.claim("email"), principal.claim("exp")));
    assert_eq!(Some(world.crm.thumbprint().as_str()), principal.claim("cnf.x5t#S256"));
    assert!(!format!("{principal:?}").contains("example.com\""), "no claim in Debug");
    assert!(crate::model::Name::known("a role of no catalogue").is_none(), "text of a request is not interned");
}

#[tokio::test]
async fn a_client_that_acts_for_itself_is_no_employee() {
    let world = World::new();
    for subject in ["crm", "crm@clients", "helpdesk"] {
        let principal = world.send(&world.token(json!({ "sub": subject, "roles": ["on-call"] }))).await.expect(subject);
        assert_eq!(None, principal.caller().employee, "{subject}");
    }
    assert_eq!(None, world.send(&world.token(json!({ "sub": null }))).await.expect("good").caller().employee);
}

#[tokio::test]
async fn an_agent_is_the_principal_and_inner_actors_are_only_recorded() {
    let world = World::new();
    let copilot = certificate(&[COPILOT], &[], "");
    let send = async |peer: &PeerCertificate, act: Value| {
        let token = world.token(json!({ "act": act, "cnf": { "x5t#S256": peer.thumbprint() } }));
        world.authenticator.authenticate(Some(peer), &bearer(&token), here()).await
    };
    let principal = send(&copilot, json!({ "sub": "sales-copilot", "act": { "sub": "crm", "act": { "sub": "x" } } })).await.expect("agent");
    assert_eq!((Client::intern("sales-copilot"), ClientKind::Agent), (principal.caller().client, principal.caller().kind));
    assert_eq!(pseudonym(&[7; 32], ISSUER, "u-17"), principal.caller().employee.clone().expect("employee").pseudonym);
    assert_eq!(2, principal.inner_actors().len());
    assert!(principal.inner_actors().iter().all(|actor| actor.starts_with("act_") && actor.len() == 36));
    assert_eq!(purposes(&["sales", "sales.outreach"]), principal.purposes(), "the agent's, not the app's");

    // An actor that is no registered agent is recorded, and the client claim decides; an inner agent decides nothing.
    let principal = send(&world.crm, json!({ "sub": "helpdesk", "act": { "sub": "sales-copilot" } })).await.expect("crm");
    assert_eq!((Client::intern("crm"), 2), (principal.caller().client, principal.inner_actors().len()));
    assert_eq!(Err(AuthError::CredentialsDisagree), send(&world.crm, json!({ "sub": "sales-copilot" })).await.map(|_| ()), "an app as its agent");
    assert_eq!(Err(AuthError::CredentialsDisagree), send(&copilot, json!({ "sub": "nobody" })).await.map(|_| ()), "an agent as an app");

    let alone = world.token(
        json!({ "sub": "sales-copilot", "azp": "sales-copilot", "act": { "sub": "sales-copilot" }, "cnf": { "x5t#S256": copilot.thumbprint() } }),
    );
    let principal = world.authenticator.authenticate(Some(&copilot), &bearer(&alone), here()).await.expect("agent");
    assert_eq!(None, principal.caller().employee, "an agent on its own behalf");
}

#[tokio::test]
async fn the_task_of_an_agent_narrows_its_purposes_and_must_be_its_own() {
    let mut reading = issuer();
    reading.claims.customer = Some("customer".to_owned());
    let copilot = certificate(&[COPILOT], &[], "");
    let told = async |settings: IssuerSettings, more: Value| {
        let world = World::with(settings, clients());
        let mut claims = json!({ "act": { "sub": "sales-copilot" }, "cnf": { "x5t#S256": copilot.thumbprint() } });
        for (name, value) in more.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        world.authenticator.authenticate(Some(&copilot), &bearer(&world.token(claims)), here()).await
    };
    let sent = told(issuer(), json!({ "task": "prepare-call" })).await.expect("agent");
    assert_eq!((Ok(Some(Task::intern("prepare-call"))), purposes(&["sales.outreach"])), (sent.task(), sent.purposes().to_vec()));
    // Nobody's, another agent's, and one that the catalogue has no longer.
    for task in ["write-poems", "answer-case", "gone", "Prepare-call", " prepare-call"] {
        assert_eq!(Err(UnknownTask), told(issuer(), json!({ "task": task })).await.expect("agent").task(), "{task}");
    }
    for wrong in [json!(""), json!(7), json!(["prepare-call"])] {
        assert_eq!(Err(AuthError::TokenInvalid(TokenFault::Claim)), told(issuer(), json!({ "task": wrong })).await.map(|_| ()));
    }
    // The customer is read only where the configuration names the claim, and is then no employee.
    let claims = json!({ "customer": "crm:1" });
    let unread = told(issuer(), claims.clone()).await.expect("agent");
    assert!(unread.for_customer().is_none() && unread.caller().employee.is_some());
    let read = told(reading, claims).await.expect("agent");
    assert_eq!((Some("crm:1"), None), (read.for_customer(), read.caller().employee.as_ref()));
    assert!(!format!("{read:?}").contains("crm:1"));
}

#[tokio::test]
async fn purposes_are_only_ever_taken_away() {
    let mut narrowed = clients();
    narrowed[0].purposes = Some(purposes(&["sales.outreach", "service", "marketing"]));
    let world = World::with(issuer(), narrowed);
    let all = purposes(&["sales.outreach", "service"]);
    for (case, claim, left) in [
        ("no claim", Value::Null, all.clone()),
        ("a text", json!("sales.outreach"), purposes(&["sales.outreach"])),
        ("a text of two", json!("service sales.outreach"), all.clone()),
        ("a list", json!(["service", "marketing", "unheard of"]), purposes(&["service"])),
        ("details", json!([{ "type": "consentry", "purpose": "service" }, { "type": "x", "purposes": ["sales.outreach"] }]), all),
        ("details of something else", json!([{ "type": "payment" }]), vec![]),
        ("other case", json!(["Service"]), vec![]),
        ("padded", json!(["service "]), vec![]),
        ("an ancestor", json!(["sales"]), vec![]),
        ("not registered", json!(["marketing"]), vec![]),
        ("nothing", json!([]), vec![]),
    ] {
        let principal = world.send(&world.token(json!({ "authorization_details": claim }))).await.expect(case);
        assert_eq!(left, principal.purposes(), "{case}");
    }
}

#[tokio::test]
async fn a_principal_chooses_among_its_purposes() {
    let world = World::new();
    let principal = world.authenticator.authenticate(Some(&world.crm), &HeaderMap::new(), here()).await.expect("crm");
    let header = HeaderValue::from_static("sales.outreach");
    assert_eq!(Ok(Purpose::intern("sales.outreach")), choose_purpose(&principal, [&header], PurposeRule::Any, &vocabulary()));
    let foreign = HeaderValue::from_static("marketing");
    assert_eq!(Err(PurposeError::NotRegistered), choose_purpose(&principal, [&foreign], PurposeRule::Any, &vocabulary()));
}

#[test]
fn settings_that_leave_a_doubt_are_refused() {
    let build = |issuers: Vec<IssuerSettings>, clients: Vec<ClientSettings>| {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let made = Authenticator::new(issuers, clients, vocabulary(), Server::answers(&json!({})) as _, clock as _, [7; 32]);
        made.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(Ok(()), build(vec![issuer()], clients()));
    let url = |url: &str| vec![IssuerSettings { keys: KeySource::Url(url.to_owned()), ..issuer() }];
    for good in ["http://127.0.0.1:8/k", "http://[::1]:8/k", "http://localhost/k", "https://login.example.com/k"] {
        assert_eq!(Ok(()), build(url(good), vec![]), "{good}");
    }
    for (case, issuers, clients) in [
        ("an issuer twice", vec![issuer(), issuer()], vec![]),
        ("an iss twice", vec![issuer(), IssuerSettings { name: IssuerName::intern("other"), ..issuer() }], vec![]),
        ("no algorithm", vec![IssuerSettings { algorithms: vec![], ..issuer() }], vec![]),
        ("no audience", vec![IssuerSettings { audience: String::new(), ..issuer() }], vec![]),
        ("keys in the clear", url("http://login.example.com/k"), vec![]),
        ("keys behind a password", url("https://a:b@login.example.com/k"), vec![]),
        ("keys from a name that only begins like loopback", url("http://127.0.0.1.evil.example/k"), vec![]),
        ("keys from elsewhere", url("file:///etc/keys"), vec![]),
        ("keys without an address", url("keys"), vec![]),
        ("metadata in the clear", vec![IssuerSettings { keys: KeySource::Discovery("http://login.example.com/m".to_owned()), ..issuer() }], vec![]),
        ("a missing key file", vec![IssuerSettings { keys: KeySource::File("/nowhere/keys.json".into()), ..issuer() }], vec![]),
        ("a client that is not in the catalogue", vec![issuer()], vec![client("ghost", Some(CRM), None)]),
        ("a client without credentials", vec![issuer()], vec![client("crm", None, None)]),
        ("a client twice", vec![issuer()], vec![client("crm", Some(CRM), None), client("crm", Some(HELPDESK), None)]),
        ("a wildcard", vec![issuer()], vec![client("crm", Some("*.example.com"), None)]),
        ("an empty name", vec![issuer()], vec![client("crm", Some(""), None)]),
        ("a shared certificate", vec![issuer()], vec![client("crm", Some(CRM), None), client("helpdesk", Some(CRM), None)]),
        ("a shared token client", vec![issuer()], vec![client("crm", None, Some("x")), client("helpdesk", None, Some("x"))]),
        ("a token of nobody", vec![], vec![client("crm", None, Some("x"))]),
    ] {
        build(issuers, clients).expect_err(case);
    }
}

#[tokio::test]
async fn a_caller_whose_registration_changed_is_no_longer_known() {
    let principal = by_certificate(&certificate(&[CRM], &[], "")).await.expect("crm");
    let narrowed = ClientSettings { purposes: Some(purposes(&["sales"])), ..client("crm", Some(CRM), Some("crm")) };
    for (case, clients, known) in [
        ("as it was", clients(), true),
        ("with a token, too", vec![client("crm", Some(CRM), Some("crm"))], true),
        ("gone", vec![client("helpdesk", Some(HELPDESK), Some("helpdesk"))], false),
        ("under another certificate", vec![client("crm", Some("spiffe://example.com/app/crm-2"), Some("crm"))], false),
        ("the certificate is another's", vec![client("crm", None, Some("crm")), client("helpdesk", Some(CRM), None)], false),
        ("for fewer purposes", vec![narrowed], false),
    ] {
        assert_eq!(known, World::with(issuer(), clients).authenticator.still_knows(&principal), "{case}");
    }
}
