//! What goes over the wire, seen by a server that answers what the test tells it to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
};

use crate::bao::{Folder, Said, bare, run};

/// A server that gives these answers, one per connection, and tells what it was asked.
struct Stub {
    address: String,
    asked: Receiver<String>,
}

impl Stub {
    fn new(answers: Vec<String>) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            for (answer, stream) in answers.iter().zip(listener.incoming()) {
                let mut stream = stream.unwrap();
                let _ = tell.send(request(&stream));
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Stub { address, asked }
    }

    fn keep(&self, line: &str, env: &[(&str, &str)]) -> Said {
        let folder = Folder::new();
        let mut command = bare(env!("CARGO_BIN_EXE_keep"), &folder.0, line);
        command.env("KEEP_ADDR", &self.address).env("KEEP_TOKEN", "s.top-secret").envs(env.iter().copied());
        run(command, "")
    }

    fn requests(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

fn found() -> String {
    answer("200 OK", "", r#"{"request_id":"r","data":{"a":"b"}}"#)
}

fn busy() -> String {
    answer("429 Too Many Requests", "Retry-After: 0\r\n", r#"{"errors":["slow down"]}"#)
}

#[test]
fn headers_carry_token_namespace_wrapping_and_more() {
    let stub = Stub::new(vec![found()]);
    let said = stub
        .keep("write -ns=team/a -wrap-ttl=90 -header=X-Team=web -mfa=totp:123 -policy-override a/b k=v", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let asked = stub.requests().remove(0).to_lowercase();
    for part in [
        "put /v1/a/b http/1.1",
        "x-vault-token: s.top-secret",
        "x-vault-request: true",
        "x-vault-namespace: team/a/",
        "x-vault-wrap-ttl: 1m30s",
        "x-team: web",
        "x-vault-mfa: totp:123",
        "x-vault-policy-override: true",
        r#"{"k":"v"}"#,
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert_eq!(stub.keep("read -header=X-Vault-Token=other a/b", &[]).code, 1);
}

#[test]
fn retries_are_made_only_when_asked_for_and_only_so_often() {
    let stub = Stub::new(vec![busy(), busy(), found()]);
    let said = stub.keep("read a/b", &[("VAULT_MAX_RETRIES", "2")]);
    assert_eq!((said.code, stub.requests().len()), (0, 3), "{said:?}");
    let stub = Stub::new(vec![busy(), found()]);
    let said = stub.keep("read a/b", &[]);
    assert_eq!((said.code, stub.requests().len()), (2, 1), "{said:?}");
    let stub = Stub::new(vec![busy(), busy(), found()]);
    let said = stub.keep("read a/b", &[("BAO_MAX_RETRIES", "1")]);
    assert_eq!((said.code, stub.requests().len()), (2, 2), "{said:?}");
    assert!(said.err.contains("Code: 429. Errors:\n\n* slow down"), "{said:?}");
    let stub = Stub::new(vec![answer("501 Not Implemented", "", r#"{"errors":["no"]}"#), found()]);
    let said = stub.keep("read a/b", &[("KEEP_MAX_RETRIES", "2")]);
    assert_eq!((said.code, stub.requests().len()), (2, 1), "{said:?}");
}

#[test]
fn redirects_keep_verb_body_and_token_but_not_for_ever() {
    let leader = Stub::new(vec![found()]);
    let location = format!("Location: {}/v1/a/b\r\n", leader.address);
    let standby = Stub::new(vec![answer("307 Temporary Redirect", &location, "")]);
    let said = standby.keep("write a/b k=v", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let asked = leader.requests().remove(0);
    assert!(
        asked.starts_with("PUT /v1/a/b ")
            && asked.contains("s.top-secret")
            && asked.ends_with(r#"{"k":"v"}"#),
        "{asked}"
    );

    let around = answer("307 Temporary Redirect", "Location: /v1/a/b\r\n", "");
    let circle = Stub::new(vec![around.clone(), around.clone(), around.clone(), around]);
    let said = circle.keep("read a/b", &[]);
    assert!(said.code == 2 && said.err.contains("circle"), "{said:?}");
    let stays = Stub::new(vec![answer("307 Temporary Redirect", &location, "")]);
    assert_eq!(stays.keep("read -disable-redirects a/b", &[]).code, 2);
}

#[test]
fn a_preview_sends_nothing_and_shows_no_token() {
    let stub = Stub::new(vec![found()]);
    let said = stub.keep("write -output-curl-string a/b 'k=it is' q=$x", &[]);
    let expect = format!(
        "curl -X PUT -H \"X-Vault-Request: true\" -H \"X-Vault-Token: $(keep print token)\" -d '{{\"k\":\"it is\",\"q\":\"$x\"}}' \"{}/v1/a/b\"\n",
        stub.address
    );
    assert_eq!((said.code, said.out), (0, expect));
    assert!(stub.requests().is_empty());
}

#[test]
fn an_answer_that_comes_before_the_request_has_ended_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The body is not read: closing then cuts off who still writes it.
            let _ = (&stream).read(&mut [0; 64]);
            let _ = (&stream)
                .write_all(answer("413 Payload Too Large", "", r#"{"errors":["too large"]}"#).as_bytes());
        }
    });
    let folder = Folder::new();
    folder.write("big", &"x".repeat(20_000_000));
    for _ in 0..5 {
        let mut command = bare(env!("CARGO_BIN_EXE_keep"), &folder.0, "write a/b k=@big");
        command.env("KEEP_ADDR", &address).env("KEEP_TOKEN", "t");
        let said = run(command, "");
        assert!(said.code == 2 && said.err.contains("Code: 413. Errors:\n\n* too large"), "{said:?}");
    }
}

#[test]
fn a_handshake_that_breaks_off_is_told_with_advice() {
    for wire in ["", "\x15\x03\x03\x00\x02\x02\x28", "\x15\x03\x03\x00\x02\x02\x2a", "SSH-2.0-x\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let _ = (&stream).read(&mut [0; 64]);
            let _ = (&stream).write_all(wire.as_bytes());
        });
        let folder = Folder::new();
        let mut command = bare(env!("CARGO_BIN_EXE_keep"), &folder.0, "read a/b");
        command.env("KEEP_ADDR", &address);
        let said = run(command, "");
        assert!(said.code == 2 && said.err.lines().count() == 2, "{wire:?}: {said:?}");
        assert!(!said.err.contains("canceled") && !said.err.contains("panicked"), "{wire:?}: {said:?}");
    }
}

#[test]
fn answers_that_are_no_answers_are_told_in_one_line() {
    for (wire, told) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>hi<".to_owned(), "cannot be read"),
        ("nonsense\r\n\r\n".to_owned(), "malformed HTTP response"),
        (String::new(), "EOF"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{".to_owned(), "broke off"),
    ] {
        let stub = Stub::new(vec![wire.clone()]);
        let said = stub.keep("read a/b", &[]);
        assert!(
            said.code == 2 && said.err.contains(told) && !said.err.contains("panicked"),
            "{wire:?}: {said:?}"
        );
    }
}

#[test]
fn variables_of_all_three_names_count_in_their_order() {
    let stub = Stub::new(vec![found(), found()]);
    let folder = Folder::new();
    let ask = |env: &[(&str, &str)]| {
        let mut command = bare(env!("CARGO_BIN_EXE_keep"), &folder.0, "read a/b");
        command.env("VAULT_ADDR", &stub.address).envs(env.iter().copied());
        run(command, "")
    };
    assert_eq!(ask(&[("VAULT_TOKEN", "of-vault"), ("BAO_TOKEN", ""), ("KEEP_FORMAT", "json")]).code, 0);
    assert_eq!(
        ask(&[("VAULT_TOKEN", "of-vault"), ("BAO_TOKEN", "of-bao"), ("KEEP_TOKEN", "of-keep")]).code,
        0
    );
    let asked = stub.requests();
    assert!(
        asked[0].contains("of-vault") && asked[1].contains("of-keep") && !asked[1].contains("of-vault"),
        "{asked:?}"
    );
}

#[test]
fn a_variable_that_says_neither_yes_nor_no_is_refused() {
    for (name, value, told) in [
        ("BAO_SKIP_VERIFY", "maybe", "KEEP_SKIP_VERIFY must be true or false, not \"maybe\""),
        ("VAULT_DISABLE_REDIRECTS", "yes", "KEEP_DISABLE_REDIRECTS must be true or false, not \"yes\""),
        ("BAO_RATE_LIMIT", "x", "KEEP_RATE_LIMIT must be requests per second, such as 5"),
        ("BAO_RATE_LIMIT", "5:x", "KEEP_RATE_LIMIT must be requests per second, such as 5"),
    ] {
        let stub = Stub::new(vec![found()]);
        // Where TLS is spoken, or not: a wrong variable is not believed to be a no.
        for address in [stub.address.clone(), stub.address.replace("http://", "https://")] {
            let said = stub.keep(&format!("read -address={address} a/b"), &[(name, value)]);
            assert!(said.code == 1 && said.err.contains(told), "{name} {address}: {said:?}");
        }
        assert!(stub.requests().is_empty());
    }
    let stub = Stub::new(vec![found()]);
    let said = stub.keep("read a/b", &[("BAO_SKIP_VERIFY", "F"), ("BAO_RATE_LIMIT", "1000:2")]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn the_proxy_of_this_program_alone_is_used_for_this_machine_too() {
    let proxy = Stub::new(vec![found(), found()]);
    for name in ["BAO_PROXY_ADDR", "KEEP_HTTP_PROXY"] {
        let env = [("KEEP_ADDR", "http://127.0.0.1:1"), ("NO_PROXY", "127.0.0.1"), (name, &proxy.address)];
        let said = proxy.keep("read a/b", &env);
        assert_eq!(said.code, 0, "{name}: {said:?}");
        assert!(proxy.requests().remove(0).starts_with("GET http://127.0.0.1:1/v1/a/b "), "{name}");
    }
    let said =
        proxy.keep("read a/b", &[("HTTP_PROXY", "http://127.0.0.1:1"), ("KEEP_ADDR", "http://127.0.0.1:2")]);
    assert!(said.err.contains("dial tcp 127.0.0.1:2: connect"), "{said:?}");
    let said = proxy.keep("read a/b", &[("KEEP_PROXY_ADDR", "http://127.0.0.1:1")]);
    assert!(
        said.err.contains("proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused"),
        "{said:?}"
    );
    assert!(said.err.contains("Check KEEP_PROXY_ADDR"), "{said:?}");
}

#[test]
fn a_server_that_nobody_has_set_up_is_not_to_be_unsealed() {
    let sealed = || answer("503 Service Unavailable", "", r#"{"errors":["Vault is sealed"]}"#);
    let init = |yes: bool| answer("200 OK", "", &format!(r#"{{"initialized":{yes}}}"#));
    for (set_up, told) in [(false, "set it up with `keep operator init`"), (true, "`keep operator unseal`")] {
        let stub = Stub::new(vec![sealed(), init(set_up)]);
        let said = stub.keep("read -wrap-ttl=1m a/b", &[]);
        assert!(said.code == 2 && said.err.contains(told), "{said:?}");
        let asked = stub.requests();
        assert!(asked[1].starts_with("GET /v1/sys/init ") && !asked[1].contains("Wrap-TTL"), "{asked:?}");
    }
}

#[test]
fn the_curl_of_a_login_shows_no_token() {
    let stub = Stub::new(vec![]);
    let said = stub.keep("login -output-curl-string -method=userpass username=u password=p", &[]);
    let expect = format!(
        "curl -X PUT -H \"X-Vault-Request: true\" -d '{{\"password\":\"p\"}}' \"{}/v1/auth/userpass/login/u\"\n",
        stub.address
    );
    assert_eq!((said.code, said.out), (0, expect));
}

/// A server that does not want a file says so at its beginning: nobody reads the rest of it first. It is too long for that.
#[test]
fn a_file_that_is_refused_is_not_read_to_its_end() {
    let folder = Folder::new();
    let file = folder.0.join("store.snap");
    std::fs::File::create(&file).unwrap().set_len(1 << 43).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let _ =
            stream.write_all(answer("413 Payload Too Large", "", r#"{"errors":["too much"]}"#).as_bytes());
    });
    let line = format!("operator raft snapshot restore {}", file.display());
    let mut command = bare(env!("CARGO_BIN_EXE_keep"), &folder.0, &line);
    command.env("KEEP_ADDR", &address).env("KEEP_TOKEN", "s.top-secret");
    let said = run(command, "");
    assert!(said.code == 2 && said.err.contains("* too much"), "{said:?}");
}

/// A server that closes a connection on which it has answered before, without a word: what only looks is asked again.
fn closes_the_second(line: &str) -> (Said, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        let kept = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mount = r#"{"data":{"path":"secret/","options":{"version":"1"}}}"#;
        let value = r#"{"data":{"a":"b"}}"#;
        let (first, _) = listener.accept().unwrap();
        let _ = tell.send(request(&first));
        let _ = (&first).write_all(kept(mount).as_bytes());
        let _ = tell.send(request(&first));
        drop(first);
        if let Ok((second, _)) = listener.accept() {
            let _ = tell.send(request(&second));
            let _ = (&second).write_all(kept(value).as_bytes());
        }
    });
    let folder = Folder::new();
    let mut command = bare(env!("CARGO_BIN_EXE_keep"), &folder.0, line);
    command.env("KEEP_ADDR", &address).env("KEEP_TOKEN", "s.top-secret");
    let said = run(command, "");
    let asked = asked.try_iter().map(|text| text.lines().next().unwrap_or_default().to_owned()).collect();
    (said, asked)
}

#[test]
fn what_only_looks_is_asked_again_where_a_kept_connection_ended() {
    let (said, asked) = closes_the_second("kv get -field=a secret/x");
    assert_eq!((said.code, said.out.as_str()), (0, "b"), "{said:?} {asked:?}");
    assert!(
        asked.len() == 3 && asked[1] == asked[2] && asked[2].starts_with("GET /v1/secret/x "),
        "{asked:?}"
    );
    // Nobody knows whether a change was made.
    let (said, asked) = closes_the_second("kv put secret/x a=b");
    assert!(
        said.code == 2 && asked.len() == 2 && asked[1].starts_with("PUT /v1/secret/x "),
        "{said:?} {asked:?}"
    );
}

/// One certificate that cannot be read hides none of the others.
#[test]
fn a_listing_goes_on_behind_what_cannot_be_read() {
    let broken =
        answer("500 Internal Server Error", "", r#"{"errors":["a stored certificate cannot be read"]}"#);
    let odd = answer("200 OK", "", r#"{"data":{"certificate":"no PEM"}}"#);
    let keys = answer("200 OK", "", r#"{"data":{"keys":["11:11","22:22","33:33"]}}"#);
    let gone = answer("404 Not Found", "", r#"{"errors":[]}"#);
    let stub = Stub::new(vec![keys, broken, odd, gone]);
    let said = stub.keep("pki list -revoked pki", &[]);
    assert!(said.code == 0 && said.out.contains("11:11") && said.out.contains("22:22"), "{said:?}");
    assert!(
        said.err.contains("pki/cert/11:11") && said.err.contains("pki/cert/22:22 cannot be read"),
        "{said:?}"
    );
}

#[test]
fn a_reissue_that_is_not_there_is_told_from_a_mount_that_is_not() {
    let stub = Stub::new(vec![answer("404 Not Found", "", r#"{"errors":[]}"#)]);
    let said = stub.keep("pki revoke -abort=zzz pki", &[]);
    assert!(said.code == 2 && said.err.contains("There is no re-issue zzz"), "{said:?}");
    let nowhere =
        r#"{"errors":["no handler for route \"nowhere/reissue/zzz/abort\". route entry not found."]}"#;
    let stub = Stub::new(vec![answer("404 Not Found", "", nowhere)]);
    let said = stub.keep("pki revoke -abort=zzz nowhere", &[]);
    assert!(
        said.code == 2 && said.err.contains("no handler for route") && !said.err.contains("no re-issue"),
        "{said:?}"
    );
}
