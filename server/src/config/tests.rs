use super::*;

/// Reads one text as a file `c.hcl`.
fn read_text(text: &str, environment: &Environment) -> Loaded {
    let findings = Findings::default();
    let body = hcl::parse_any(text).map_err(|error| error.to_string()).unwrap();
    let config = whole(Section::files(vec![("c.hcl", &body)], &findings), Extent::Whole, environment);
    let findings = findings.into_vec();
    match findings.iter().any(|finding| finding.weight == Weight::Error) {
        true => Err(findings),
        false => Ok((config, findings)),
    }
}

fn config(text: &str) -> Config {
    match read_text(text, &Environment::default()) {
        Ok((config, _)) => config,
        Err(findings) => panic!("{findings:?}"),
    }
}

const STORE: &str = "storage \"raft\" { path = \"/data\" node_id = \"n1\" }\n";
const PLAIN: &str = "storage \"inmem\" {}\nlistener \"tcp\" { tls_disable = 1 }\n";

/// `text` stands on line 3 and below, after a storage and a listener.
#[track_caller]
fn check_error(text: &str, expect: &str) {
    let findings = read_text(&format!("{PLAIN}{text}"), &Environment::default()).unwrap_err();
    let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [expect], "{text}");
}

/// A listener on lines 2 and below.
#[track_caller]
fn check_listener_error(inside: &str, expect: &str) {
    let text = format!("{STORE}listener \"tcp\" {{\n{inside}\n}}\n");
    let findings = read_text(&text, &Environment::default()).unwrap_err();
    let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [expect], "{inside}");
}

#[test]
fn takes_the_configuration_of_an_openbao_server() {
    let text = r#"
        ui = true
        api_addr = "https://vault.example.com:8200/"
        cluster_addr = "https://10.0.0.1:8201"
        cluster_name = "prod"
        log_level = "debug"
        log_format = "json"
        default_lease_ttl = "24h"
        max_lease_ttl = 604800
        raw_storage_endpoint = true
        introspection_endpoint = "true"
        profiling_endpoint = true
        disable_mlock = true
        unsafe_allow_api_audit_creation = true
        telemetry { prometheus_retention_time = "30s" disable_hostname = true }
        user_lockout "userpass" { lockout_threshold = "3" lockout_duration = "10m" }
        audit "file" "main" {
          description = "all of it"
          options { file_path = "/var/log/audit.log" log_raw = true mode = 0600 }
        }
        storage "raft" { path = "/data" node_id = "n1" performance_multiplier = 1 }
        listener "tcp" {
          address = "0.0.0.0:8200"
          cluster_address = "0.0.0.0:8201"
          tls_cert_file = "/tls/cert.pem"
          tls_key_file = "/tls/key.pem"
          tls_client_ca_file = "/tls/ca.pem"
          tls_min_version = "tls13"
          disable_unauthed_rekey_endpoints = true
          telemetry { unauthenticated_metrics_access = true }
        }
        listener "unix" { address = "/run/sealkeep.sock" socket_mode = "660" }
        seal "static" { current_key_id = "a" current_key = "file:///etc/unseal.key" }
    "#;
    let (config, warnings) = read_text(text, &Environment::default()).unwrap();
    assert_eq!(config.storage, Storage::Embedded { called: "raft", folder: "/data".into() });
    assert_eq!(config.api_addr.as_deref(), Some("https://vault.example.com:8200"));
    assert_eq!(config.log, Log { level: Level::Debug, format: Format::Json, file: None });
    assert_eq!(config.default_lease_ttl, Duration::from_secs(24 * 3600));
    assert_eq!(config.max_lease_ttl, Duration::from_secs(604_800));
    assert!(
        config.ui
            && config.raw_storage_endpoint
            && config.introspection_endpoint
            && config.allow_audit_api
            && config.profiling_endpoint
    );
    let audit = &config.audits[0];
    assert_eq!((audit.kind.as_str(), audit.path.as_str()), ("file", "main/"));
    assert_eq!(audit.options["log_raw"], "true");
    assert_eq!(config.lockouts[0].threshold, Some(3));
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!((tls.min, tls.max), (TlsVersion::Tls13, TlsVersion::Tls13));
    assert_eq!(tls.client, ClientCertificate::Optional);
    assert_eq!(config.listeners[0].metrics, Metrics::Open);
    assert_eq!(
        config.listeners[1].place,
        Place::Unix { path: "/run/sealkeep.sock".into(), mode: Some(0o660) }
    );
    assert!(matches!(config.seal, Seal::Static { previous: None, .. }));
    let mut lines: Vec<usize> = warnings.iter().map(|warning| warning.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [13, 21, 24], "{warnings:?}");
}

#[test]
fn takes_json_in_both_forms() {
    for listener in [r#"{"tcp": {"tls_disable": true}}"#, r#"[{"tcp": {"tls_disable": "true"}}]"#] {
        let config = config(&format!(
            r#"{{"storage": {{"file": {{"path": "/d"}}}}, "listener": {listener}, "ui": true}}"#
        ));
        assert_eq!(config.storage, Storage::Embedded { called: "file", folder: "/d".into() });
        assert_eq!(config.listeners.len(), 1);
        assert!(config.ui && config.listeners[0].tls.is_none());
    }
    let two = config(
        r#"{"storage": {"inmem": {}}, "listener": [{"tcp": {"address": "127.0.0.1:1", "tls_disable": 1}}, {"tcp": {"address": "127.0.0.1:2", "tls_disable": 1}}]}"#,
    );
    assert_eq!(two.listeners.len(), 2);
}

#[test]
fn a_listener_may_say_its_type_within() {
    for text in [
        "storage \"inmem\" {}\nlistener { type = \"tcp\"\n tls_disable = 1 }",
        r#"{"storage": {"inmem": {}}, "listener": [{"type": "tcp", "tls_disable": 1}]}"#,
        r#"{"storage": {"inmem": {}}, "listener": {"type": "tcp", "tls_disable": 1}}"#,
    ] {
        let config = config(text);
        assert_eq!(config.listeners[0].place, Place::Tcp("127.0.0.1:8200".to_owned()), "{text}");
    }
    check_listener_error(
        "tls_disable = 1\ntype = \"unix\"",
        "c.hcl:4: listener \"tcp\": \"type\" says otherwise than \"tcp\" before the brace: keep one of the two",
    );
}

#[test]
fn an_audit_device_may_say_its_type_and_path_within() {
    for text in [
        r#"{"storage": {"inmem": {}}, "listener": {"tcp": {"tls_disable": 1}},
            "audit": [{"type": "file", "path": "main/", "options": {"file_path": "/a"}}]}"#
            .to_owned(),
        format!("{PLAIN}audit {{ type = \"file\"\n path = \"main\"\n options {{ file_path = \"/a\" }} }}"),
        format!("{PLAIN}audit \"file\" {{ path = \"main\"\n options {{ file_path = \"/a\" }} }}"),
    ] {
        let audit = &config(&text).audits[0];
        assert_eq!((audit.kind.as_str(), audit.path.as_str()), ("file", "main/"), "{text}");
        assert_eq!(audit.options["file_path"], "/a");
    }
}

#[test]
fn tls_is_switched_off_in_every_spelling() {
    for off in ["true", "1", "\"true\"", "\"1\""] {
        let config = config(&format!("{STORE}listener \"tcp\" {{ tls_disable = {off} }}"));
        assert!(config.listeners[0].tls.is_none(), "{off}");
    }
}

#[test]
fn addresses_are_completed() {
    for (given, expect) in [
        ("127.0.0.1:8300", "127.0.0.1:8300"),
        ("127.0.0.1", "127.0.0.1:8200"),
        (":8300", "[::]:8300"),
        ("[::1]:8300", "[::1]:8300"),
        ("localhost:8300", "localhost:8300"),
        ("::1", "[::1]:8200"),
        ("[::1]", "[::1]:8200"),
    ] {
        let text = format!("{STORE}listener \"tcp\" {{ tls_disable = 1\naddress = \"{given}\" }}");
        assert_eq!(config(&text).listeners[0].place, Place::Tcp(expect.to_owned()));
    }
}

#[test]
fn an_address_that_cannot_be_is_refused() {
    for wrong in ["127.0.0.1:99999", "127.0.0.1:", "a:b", "1:2:3", "[a]:1"] {
        check_listener_error(
            &format!("tls_disable = 1\naddress = \"{wrong}\""),
            "c.hcl:4: listener \"tcp\": \"address\" must be a host and a port up to 65535, such as \"127.0.0.1:8200\" or \"[::1]:8200\"",
        );
    }
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    check_error("uii = true", "c.hcl:3: unknown key \"uii\": did you mean \"ui\"?");
    check_error("\napi_adr = \"x\"", "c.hcl:4: unknown key \"api_adr\": did you mean \"api_addr\"?");
    check_listener_error(
        "tls_disabled = true\ntls_disable = true",
        "c.hcl:3: listener \"tcp\": unknown key \"tls_disabled\": did you mean \"tls_disable\"?",
    );
    check_listener_error(
        "tls_disable = true\ntelemetry { unauthenticated_metric_access = true }",
        "c.hcl:4: telemetry: unknown key \"unauthenticated_metric_access\": did you mean \"unauthenticated_metrics_access\"?",
    );
    check_error(
        "telemetry { unauthenticated_metrics_access = true }",
        "c.hcl:3: telemetry: \"unauthenticated_metrics_access\" is said for each listener: listener \"tcp\" { telemetry { unauthenticated_metrics_access = true } }",
    );
    let far = read_text(&format!("{PLAIN}zzzzzzzzzz = 1"), &Environment::default()).unwrap_err();
    assert!(far[0].text.starts_with("unknown key \"zzzzzzzzzz\": remove it; known here are "), "{far:?}");
}

#[test]
fn wrong_values_are_refused_with_what_would_be_right() {
    check_error("ui = \"perhaps\"", "c.hcl:3: \"ui\" must be true or false, not a string");
    check_error(
        "max_lease_ttl = \"soon\"",
        "c.hcl:3: \"max_lease_ttl\" must be a span of time such as \"90s\", \"15m\" or \"768h\", not a string",
    );
    check_error(
        "log_level = \"loud\"",
        "c.hcl:3: the log level \"loud\" is unknown: take trace, debug, info, warn or error",
    );
    check_error(
        "api_addr = \"vault\"",
        "c.hcl:3: \"api_addr\" must be a URL such as \"https://vault.example.com:8200\"",
    );
    check_error(
        "default_lease_ttl = \"2h\"\nmax_lease_ttl = \"1h\"",
        "c.hcl:3: \"default_lease_ttl\" must not be longer than \"max_lease_ttl\"",
    );
    check_error("ui = true\nui = false", "c.hcl:4: \"ui\" is set twice: keep one of them");
    check_error(
        "audit \"pipe\" \"a\" {\noptions { file_path = \"x\" } }",
        "c.hcl:3: audit \"pipe\" \"a\": there is no audit device \"pipe\": take \"file\", \"socket\", \"syslog\", \"http\"",
    );
    check_error(
        "audit \"socket\" \"a\" {\noptions { file_path = \"x\" } }",
        "c.hcl:4: audit \"socket\" \"a\": address is required",
    );
    check_error(
        "audit \"syslog\" \"a\" {\noptions { facility = \"AUTH\" log_raw = \"perhaps\" } }",
        "c.hcl:4: audit \"syslog\" \"a\": the audit option \"log_raw\" must be true or false, not \"perhaps\"",
    );
    check_error(
        "seal \"awskms\" {}",
        "c.hcl:3: seal \"awskms\": the seal \"awskms\" is not there yet: take \"static\", or leave seals out for key shares",
    );
    check_error(
        "seal \"static\" { current_key_id = \"a\" }",
        "c.hcl:3: seal \"static\": say where the key is: current_key = \"file:///etc/sealkeep/unseal.key\"",
    );
    check_listener_error(
        "",
        "c.hcl:2: listener \"tcp\": TLS needs a certificate: set tls_cert_file and tls_key_file, or tls_disable = true behind a proxy",
    );
    check_listener_error(
        "tls_disable = 1\ntls_min_version = \"tls10\"",
        "c.hcl:4: listener \"tcp\": \"tls_min_version\" must be \"tls12\" or \"tls13\": older versions are broken",
    );
    check_listener_error(
        "tls_disable = 1\nx_forwarded_for_authorized_addrs = \"10.0.0.0/40\"",
        "c.hcl:4: listener \"tcp\": \"10.0.0.0/40\" is no address and no range such as \"10.0.0.0/8\"",
    );
}

#[test]
fn proxies_are_believed_only_by_name() {
    check_listener_error(
        "tls_disable = 1\nx_forwarded_for_client_cert_header = \"Client-Cert\"",
        "c.hcl:4: listener \"tcp\": \"x_forwarded_for_client_cert_header\" without \"x_forwarded_for_authorized_addrs\" lets anybody say which certificate they have: name the proxies that are believed",
    );
    check_listener_error(
        "tls_disable = 1\nx_forwarded_for_client_cert_keep_unauthorized = true",
        "c.hcl:4: listener \"tcp\": \"x_forwarded_for_client_cert_keep_unauthorized\" lets anybody say which certificate they have: leave it out, and name the proxy in x_forwarded_for_authorized_addrs",
    );
    check_listener_error(
        "tls_disable = 1\nx_forwarded_for_client_cert_decoders = [\"ROT13\"]",
        "c.hcl:4: listener \"tcp\": there is no decoder \"ROT13\": take URL, PEM, BASE64, RFC9440 or Envoy",
    );
    check_listener_error(
        "tls_disable = 1\nproxy_protocol_behavior = \"deny_unauthorized\"",
        "c.hcl:4: listener \"tcp\": say which proxies are believed: proxy_protocol_authorized_addrs = [\"10.0.0.0/8\"]",
    );
    check_listener_error(
        "tls_disable = 1\nproxy_protocol_behavior = \"sometimes\"",
        "c.hcl:4: listener \"tcp\": \"proxy_protocol_behavior\" must be \"use_always\", \"allow_authorized\" or \"deny_unauthorized\"",
    );
}

#[test]
fn what_it_would_be_dangerous_to_pass_over_is_refused() {
    let text = "storage \"raft\" { path = \"/d\"\nretry_join { leader_api_addr = \"x\" } }\nlistener \"tcp\" { tls_disable = 1 }";
    let findings = read_text(text, &Environment::default()).unwrap_err();
    assert_eq!(
        findings[0].to_string(),
        "c.hcl:2: storage \"raft\": \"retry_join\" is not supported: this version runs as one node, which needs nobody to join; its data will grow into a cluster"
    );
}

#[test]
fn storage_and_listener_must_be_there() {
    let findings = read_text("", &Environment::default()).unwrap_err();
    let shown: Vec<String> = findings.iter().map(|finding| finding.text.clone()).collect();
    assert!(shown[0].starts_with("no storage: add storage \"raft\""), "{shown:?}");
    assert!(shown[1].starts_with("no listener: add listener \"tcp\""), "{shown:?}");
    let findings =
        read_text("storage \"rafd\" {}\nlistener \"tcp\" { tls_disable = 1 }", &Environment::default());
    let text = findings.unwrap_err()[0].text.clone();
    assert_eq!(
        text,
        "storage \"rafd\": there is no storage \"rafd\": take raft, file, sled, inmem. Did you mean \"raft\"?"
    );
}

#[test]
fn variables_override_files() {
    let environment = Environment::from([
        ("BAO_API_ADDR", "https://a:1"),
        ("VAULT_RAFT_PATH", "/elsewhere"),
        ("SEALKEEP_LOG_LEVEL", "warn"),
        ("BAO_LOG_LEVEL", "trace"),
        ("BAO_UI", "true"),
    ]);
    let text = format!(
        "{STORE}api_addr = \"https://b:1\"\nlog_level = \"info\"\nlistener \"tcp\" {{ tls_disable = 1 }}"
    );
    let (config, _) = read_text(&text, &environment).unwrap();
    assert_eq!(config.api_addr.as_deref(), Some("https://a:1"));
    assert_eq!(config.storage, Storage::Embedded { called: "raft", folder: "/elsewhere".into() });
    assert_eq!(config.log.level, Level::Warn);
    assert!(config.ui);
}

#[test]
fn several_files_are_one_configuration() {
    let folder = std::env::temp_dir().join(format!("sealkeep-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a.hcl"), format!("{STORE}ui = false\n")).unwrap();
    std::fs::write(folder.join("b.json"), r#"{"ui": true, "listener": {"tcp": {"tls_disable": true}}}"#)
        .unwrap();
    std::fs::write(folder.join("notes.txt"), "not read").unwrap();
    let (config, _) = load(std::slice::from_ref(&folder), &Environment::default()).unwrap();
    assert!(config.ui && config.listeners.len() == 1);
    std::fs::write(folder.join("c.hcl"), "ui = [\n").unwrap();
    let findings = load(std::slice::from_ref(&folder), &Environment::default()).unwrap_err();
    assert!(
        findings.iter().any(|finding| finding.file.ends_with("c.hcl") && finding.line > 0),
        "{findings:?}"
    );
    assert_eq!(findings.len(), 1, "what a broken file would have said is not called missing: {findings:?}");
    let missing = load(&[folder.join("missing.hcl")], &Environment::default()).unwrap_err();
    assert!(missing.len() == 1 && missing[0].text.starts_with("cannot be read: "), "{missing:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A key in the wrong place must not end up in a log.
#[test]
fn findings_do_not_repeat_texts() {
    let text = format!(
        "{PLAIN}ui = \"hunter2\"\nseal \"static\" {{ current_key = [\"hunter2\"] current_key_id = \"a\" }}"
    );
    let findings = read_text(&text, &Environment::default()).unwrap_err();
    assert!(findings.iter().all(|finding| !finding.to_string().contains("hunter2")), "{findings:?}");
    let key = KeySource::Here("hunter2".to_owned());
    assert!(!format!("{key:?}").contains("hunter2"));
}

#[test]
fn a_wrong_variable_is_blamed_and_not_the_file() {
    let text =
        "storage \"file\" { path = \"/d\" }\nlog_level = \"debug\"\nlistener \"tcp\" { tls_disable = 1 }";
    let environment = Environment::from([("BAO_API_ADDR", "foo"), ("VAULT_LOG_LEVEL", "zz")]);
    let findings = read_text(text, &environment).unwrap_err();
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|line| line.starts_with("BAO_API_ADDR: \"api_addr\" must be a URL")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("VAULT_LOG_LEVEL: the log level \"zz\"")), "{said:?}");
}
