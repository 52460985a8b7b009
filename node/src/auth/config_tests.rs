//! The settings: codeQ's own, both kinds of file, and what is refused in which words.

use super::*;
use serde_json::json;

const DEV_PRODUCER: &str = r#"{"token":"dev-token","subject":"producer-dev","email":"dev@codeq.local","raw":{"role":"ADMIN","tenantId":"dev-tenant"}}"#;

fn load(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<AuthConfig, String> {
    let environment = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    AuthConfig::load(file, environment).map_err(|error| error.to_string())
}

/// As a producer's settings in the environment.
fn producer(kind: &str, config: &str) -> Result<AuthConfig, String> {
    load(None, &[("PRODUCER_AUTH_PROVIDER", kind), ("PRODUCER_AUTH_CONFIG", config)])
}

fn refused(kind: &str, config: Value) -> String {
    producer(kind, &config.to_string()).expect_err("refused")
}

/// As a file; of a refusal what follows its path.
fn file(name: &str, text: &str) -> Result<AuthConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    let start = format!("--auth-config {}: ", path.display());
    load(Some(&path), &[]).map_err(|error| error.strip_prefix(&start).expect(&error).to_owned())
}

fn tokens(side: &SideConfig) -> &[StaticToken] {
    match &side.providers[..] {
        [ProviderConfig::Static(tokens)] => tokens,
        other => panic!("{other:?}"),
    }
}

fn issuer(side: &SideConfig) -> &IssuerConfig {
    match &side.providers[..] {
        [ProviderConfig::Jwks(issuer)] => issuer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_nothing_set_nobody_is_let_in() {
    assert_eq!(load(None, &[]).unwrap(), AuthConfig::default());
    assert_eq!(
        load(None, &[("PRODUCER_AUTH_PROVIDER", ""), ("PRODUCER_AUTH_CONFIG", "")]).unwrap(),
        AuthConfig::default()
    );
    assert_eq!(file("auth.json", "{}").unwrap(), AuthConfig::default());
    assert_eq!(file("auth.toml", "").unwrap(), AuthConfig::default());
}

#[test]
fn files_of_both_kinds_and_the_environment_say_the_same() {
    let toml = "allow-producer-as-worker = true\n[producer]\ntype = 'static'\n[producer.config]\ntoken = 'dev-token'\n\
        subject = 'producer-dev'\nemail = 'dev@codeq.local'\nraw = { role = 'ADMIN', tenantId = 'dev-tenant' }\n\
        [rate-limits]\nworker = { requests-per-minute = 600, burst = 20 }\n";
    let from_toml = file("auth.toml", toml).unwrap();
    let json = format!(
        r#"{{"allow-producer-as-worker":true,"producer":{{"type":"static","config":{DEV_PRODUCER}}},"worker":null,
        "rate-limits":{{"worker":{{"requests-per-minute":600,"burst":20}}}}}}"#
    );
    assert_eq!(file("auth.json", &json).unwrap(), from_toml);
    assert_eq!(from_toml.rates.worker, Some(Rate { per_minute: 600, burst: 20 }));
    assert_eq!((from_toml.rates.producer, from_toml.rates.admin), (None, None));
    let from_environment = producer("static", DEV_PRODUCER).unwrap();
    assert_eq!(from_environment.producer, from_toml.producer);
    let claims = super::super::tokens::find(tokens(&from_toml.producer), "dev-token").unwrap();
    assert_eq!(
        (claims.tenant.as_deref(), claims.admin, &claims.email[..]),
        (Some("dev-tenant"), true, "dev@codeq.local")
    );
}

#[test]
fn a_token_may_be_a_text_or_one_of_a_list() {
    let one = producer("static", r#"" dev-token ""#).unwrap();
    let claims = super::super::tokens::find(tokens(&one.producer), "dev-token").unwrap();
    assert_eq!(
        (&claims.subject[..], claims.tenant.as_deref(), claims.admin),
        ("static", Some("static"), false)
    );
    let list = producer("static", r#"["a", {"token": "b", "subject": "bb"}]"#).unwrap();
    assert_eq!(tokens(&list.producer).len(), 2);
    assert_eq!(
        refused("static", json!(["a", "b", {"token": "a"}])),
        "PRODUCER_AUTH_CONFIG[2] has the token of one before it"
    );
    assert_eq!(refused("static", json!([])), "PRODUCER_AUTH_CONFIG must have 1..=1000 tokens, not 0");
    assert_eq!(
        refused("static", json!(vec!["a"; 1_001])),
        "PRODUCER_AUTH_CONFIG must have 1..=1000 tokens, not 1001"
    );
}

#[test]
fn an_issuer_is_read_with_times_in_words_or_in_nanoseconds() {
    let with = |more: Value| {
        let mut config = json!({"jwksUrl": "https://issuer.test/keys", "issuer": "i", "audience": "a"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let times = |more: Value| {
        let config = producer("jwks", &with(more).to_string()).unwrap();
        let issuer = issuer(&config.producer);
        (issuer.clock_skew.as_millis(), issuer.http_timeout.as_millis())
    };
    assert_eq!(times(json!({})), (0, 5_000));
    assert_eq!(times(json!({"clockSkew": "30s", "httpTimeout": "250ms"})), (30_000, 250));
    assert_eq!(
        times(json!({"clockSkew": 60_000_000_000_u64, "httpTimeout": 5_000_000_000_u64})),
        (60_000, 5_000)
    );
    assert_eq!(times(json!({"clockSkew": "1m", "httpTimeout": 0})), (60_000, 5_000));
    for wrong in
        [json!(30), json!(-1), json!("30"), json!("s"), json!("-1s"), json!("1h"), json!(1.5), json!([])]
    {
        assert_eq!(
            refused("jwks", with(json!({"clockSkew": wrong}))),
            "PRODUCER_AUTH_CONFIG.clockSkew must be a time like \"30s\", or a number of nanoseconds, 1000000 at least"
        );
    }
    assert_eq!(
        refused("jwks", with(json!({"clockSkew": "61m"}))),
        "PRODUCER_AUTH_CONFIG.clockSkew must be 3600 s at most"
    );
    assert_eq!(
        refused("jwks", with(json!({"httpTimeout": "61s"}))),
        "PRODUCER_AUTH_CONFIG.httpTimeout must be 60 s at most"
    );
    let url = |url: &str| refused("jwks", with(json!({"jwksUrl": url})));
    assert_eq!(
        url("ftp://x/"),
        "PRODUCER_AUTH_CONFIG.jwksUrl must begin with http:// or https:// and a host"
    );
    assert_eq!(url("http://me:pw@x/"), "PRODUCER_AUTH_CONFIG.jwksUrl must name no user");
    let long = url(&format!("http://x/{}", "a".repeat(70_000)));
    assert!(
        long.starts_with("PRODUCER_AUTH_CONFIG.jwksUrl cannot be asked for: ") && long.len() < 200,
        "{long}"
    );
    assert!(url("keys").starts_with("PRODUCER_AUTH_CONFIG.jwksUrl is no URL: "));
    assert_eq!(refused("jwks", with(json!({"issuer": " "}))), "PRODUCER_AUTH_CONFIG.issuer is missing");
    assert_eq!(refused("jwks", with(json!({"audience": null}))), "PRODUCER_AUTH_CONFIG.audience is missing");
    let no_file = refused("jwks", with(json!({"caFile": "/nowhere/ca.pem"})));
    assert!(no_file.starts_with("PRODUCER_AUTH_CONFIG.caFile cannot be read: "), "{no_file}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let words = refused("jwks", with(json!({"caFile": empty.path()})));
    assert_eq!(words, "PRODUCER_AUTH_CONFIG.caFile has no certificate");
}

#[test]
fn several_providers_are_two_to_four_and_never_several_again() {
    let token = |token: &str| json!({"type": "static", "config": token});
    let multi = |list: &[Value]| json!({"providers": list});
    let two = producer("multi", &multi(&[token("a"), token("b")]).to_string()).unwrap();
    assert_eq!((two.producer.providers.len(), two.producer.multi), (2, true));
    let words = "PRODUCER_AUTH_CONFIG.providers must have 2..=4 of them, not";
    assert_eq!(refused("multi", multi(&[token("a")])), format!("{words} 1"));
    assert_eq!(refused("multi", multi(&[const { Value::Null }; 5])), format!("{words} 5"));
    let nested = json!({"type": "multi", "config": multi(&[token("b"), token("c")])});
    assert_eq!(
        refused("multi", multi(&[token("a"), nested])),
        "PRODUCER_AUTH_CONFIG.providers[1].type must be static or jwks within multi"
    );
    assert_eq!(
        refused("multi", multi(&[token("a"), json!({"type": "static"})])),
        "PRODUCER_AUTH_CONFIG.providers[1].config is missing"
    );
    assert_eq!(
        refused("multi", json!({"providers": {}})),
        "PRODUCER_AUTH_CONFIG.providers must be a list of providers"
    );
}

#[test]
fn what_nobody_reads_is_refused_by_name() {
    assert_eq!(file("auth.toml", "[producre]\n").unwrap_err(), "producre is no setting");
    let typo = "[producer]\ntype = 'static'\nconfig = { token = 'a', scope = 'b' }\n";
    assert_eq!(file("auth.toml", typo).unwrap_err(), "producer.config.scope is no setting");
    assert_eq!(
        file("auth.toml", "rate-limits = { webhook = {} }").unwrap_err(),
        "rate-limits.webhook is no setting"
    );
    assert_eq!(
        refused("static", json!({"token": "a", "Subject": "b"})),
        "PRODUCER_AUTH_CONFIG.Subject is no setting"
    );
    assert_eq!(refused("ldap", json!({})), "PRODUCER_AUTH_PROVIDER must be static, jwks or multi");
}

#[test]
fn contradictions_are_refused() {
    let both = [("PRODUCER_AUTH_PROVIDER", "static"), ("PRODUCER_AUTH_CONFIG", DEV_PRODUCER)];
    assert_eq!(load(None, &both[..1]).unwrap_err(), "PRODUCER_AUTH_PROVIDER needs PRODUCER_AUTH_CONFIG");
    assert_eq!(load(None, &both[1..]).unwrap_err(), "PRODUCER_AUTH_CONFIG needs PRODUCER_AUTH_PROVIDER");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    std::fs::write(&path, r#"{"producer":{"type":"static","config":"a"}}"#).unwrap();
    let words = "PRODUCER_AUTH_PROVIDER and producer of --auth-config exclude each other";
    assert_eq!(load(Some(&path), &both).unwrap_err(), words);
    let worker = [("WORKER_AUTH_PROVIDER", "static"), ("WORKER_AUTH_CONFIG", "\"w\"")];
    let each = load(Some(&path), &worker).unwrap();
    assert_eq!(
        (each.producer.providers.len(), each.worker.providers.len()),
        (1, 1),
        "one side from each place"
    );
    let alone =
        "allow-producer-as-worker (ALLOW_PRODUCER_AS_WORKER) needs a producer: nothing says who is one";
    assert_eq!(load(None, &[("ALLOW_PRODUCER_AS_WORKER", "yes")]).unwrap_err(), alone);
    for (value, allowed) in
        [("True", true), ("1", true), ("yes", true), ("false", false), ("0", false), ("no", false)]
    {
        let variables = [both[0], both[1], ("ALLOW_PRODUCER_AS_WORKER", value)];
        assert_eq!(load(None, &variables).unwrap().allow_producer_as_worker, allowed, "{value}");
    }
    std::fs::write(&path, r#"{"producer":{"type":"static","config":"a"},"allow-producer-as-worker":true}"#)
        .unwrap();
    let allow = |value| load(Some(&path), &[("ALLOW_PRODUCER_AS_WORKER", value)]);
    assert!(allow("").unwrap().allow_producer_as_worker && allow("true").unwrap().allow_producer_as_worker);
    let words = "ALLOW_PRODUCER_AS_WORKER is false, and allow-producer-as-worker of --auth-config is true";
    assert_eq!(allow("false").unwrap_err(), words);
    let words = "ALLOW_PRODUCER_AS_WORKER must be true or false";
    assert_eq!(load(None, &[("ALLOW_PRODUCER_AS_WORKER", "ture")]).unwrap_err(), words);
}

#[test]
fn rates_are_whole_and_above_nothing() {
    let rate = |text: &str| file("auth.toml", &format!("[rate-limits]\nadmin = {text}\n"));
    assert_eq!(
        rate("{ requests-per-minute = 1, burst = 1 }").unwrap().rates.admin,
        Some(Rate { per_minute: 1, burst: 1 })
    );
    assert_eq!(
        rate("{ requests-per-minute = 0, burst = 1 }").unwrap_err(),
        "rate-limits.admin.requests-per-minute must be 1..=60000000, not 0"
    );
    assert_eq!(rate("{ requests-per-minute = 1 }").unwrap_err(), "rate-limits.admin.burst is missing");
    assert_eq!(
        rate("{ requests-per-minute = 1.5, burst = 1 }").unwrap_err(),
        "rate-limits.admin.requests-per-minute must be a whole number"
    );
}

#[test]
fn no_refusal_and_no_debug_shows_a_value() {
    let secret = "s3cr3t-value";
    for config in [
        json!({"token": secret, "subject": 7}),
        json!({"token": [secret]}),
        json!({"token": secret, "scopes": secret}),
        json!({"token": secret, "raw": secret}),
        json!({"token": secret, "eventTypes": [secret, 7]}),
        json!([[secret]]),
        json!(7),
    ] {
        let words = refused("static", config);
        assert!(words.starts_with("PRODUCER_AUTH_CONFIG") && !words.contains(secret), "{words}");
    }
    for kind in ["jwks", "multi"] {
        assert_eq!(refused(kind, json!(secret)), "PRODUCER_AUTH_CONFIG must be a table of settings");
    }
    assert!(!producer("static", secret).unwrap_err().contains(secret), "without quotes it is no JSON");
    for text in [
        format!("[producer]\ntype = 'static'\nconfig = '{secret}\n"),
        format!("[producer]\ntype = 'static'\nconfig = {secret}\n"),
        format!("producer = '{secret}'\n"),
        format!("[producer]\ntype = '{secret}'\nconfig = 'a'\n"),
    ] {
        let words = file("auth.toml", &text).unwrap_err();
        assert!(!words.contains(secret), "{words}");
    }
    let broken = file("auth.toml", "[producer]\ntype = 'static'\nconfig = 's3cr3t\n").unwrap_err();
    assert!(broken.starts_with("line 3: "), "{broken}");
    let shown = format!("{:?}", producer("static", &json!({"token": secret}).to_string()).unwrap());
    assert!(shown.contains("TokenHash(..)") && !shown.contains(secret), "{shown}");
}

#[test]
fn a_file_must_be_there_and_of_a_known_kind() {
    assert_eq!(file("auth.yaml", "").unwrap_err(), "must end in .toml or .json");
    assert_eq!(file("auth", "").unwrap_err(), "must end in .toml or .json");
    assert!(file("auth.json", "{").unwrap_err().starts_with("is no JSON: "));
    assert_eq!(file("auth.json", "[]").unwrap_err(), "must be a table of settings");
    let missing = load(Some(Path::new("/nowhere/auth.toml")), &[]).unwrap_err();
    assert!(missing.starts_with("--auth-config /nowhere/auth.toml: No such file"), "{missing}");
}
