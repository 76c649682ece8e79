//! Limits hold where they are set: of requests before anyone is looked at, of leases when one is made.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kit::Verb::{Delete, Get, List, Post};
use serde_json::{Value, json};
use storage::faulty::PowerCut;
use tests::desk::{Desk, Said, request};

fn desk(seed: u64) -> Desk {
    let desk = Desk::new(seed);
    desk.ask(Post, "sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "sys/auth/people", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "auth/people/users/ann", r#"{"password":"pw","token_ttl":"1h"}"#).expect(204);
    desk
}

fn log_in(desk: &Desk) -> Said {
    desk.ask_as("", Post, "auth/people/login/ann", r#"{"password":"pw"}"#)
}

fn rate(desk: &Desk, name: &str, body: &str) {
    desk.ask(Post, &format!("sys/quotas/rate-limit/{name}"), body).expect(204);
}

fn leases(desk: &Desk, name: &str, body: &str) {
    desk.ask(Post, &format!("sys/quotas/lease-count/{name}"), body).expect(204);
}

fn counter(desk: &Desk, name: &str) -> Value {
    desk.ask(Get, &format!("sys/quotas/lease-count/{name}"), "").expect(200).json["data"]["counter"].clone()
}

#[test]
fn a_limit_holds_for_each_address_and_for_a_while() {
    let desk = desk(70);
    rate(&desk, "kv", r#"{"path":"kv","rate":2,"interval":"10s"}"#);
    desk.ask(Get, "kv/a", "").expect(404);
    desk.ask_as("", Get, "kv/b", "").expect(403);
    // A stranger who asks too often learns no more than that.
    let said = desk.ask_as("", Get, "kv/c", "").expect(429);
    assert_eq!(said.error(), "request path \"kv/c\": rate limit quota exceeded");
    let mut other = request(&desk.root, Get, "kv/a", "");
    other.remote.address = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    desk.send(&other).expect(404);
    desk.ask(Get, "sys/mounts", "").expect(200);
    desk.wait(Duration::from_secs(10));
    desk.ask(Get, "kv/a", "").expect(404);
}

#[test]
fn the_narrowest_limit_holds() {
    let desk = desk(71);
    rate(&desk, "all", r#"{"rate":1000,"interval":"1h"}"#);
    rate(&desk, "kv", r#"{"path":"kv","rate":3,"interval":"1h"}"#);
    rate(&desk, "below", r#"{"path":"kv/deep/*","rate":2,"interval":"1h"}"#);
    rate(&desk, "one", r#"{"path":"kv/deep/one","rate":1,"interval":"1h"}"#);
    let asks = |path: &str| (0..4).filter(|_| desk.ask(Get, path, "").status == 404).count();
    assert_eq!((asks("kv/x"), asks("kv/deep/x"), asks("kv/deep/one"), asks("nothing/x")), (3, 2, 1, 4));
    // A listing asks at the same path.
    assert_eq!(desk.ask(List, "kv/deep/one", "").status, 429);
    // What is changed begins anew, and what is deleted gives way to the next wider one.
    rate(&desk, "one", r#"{"path":"kv/deep/one","rate":2,"interval":"1h"}"#);
    assert_eq!(asks("kv/deep/one"), 2);
    desk.ask(Delete, "sys/quotas/rate-limit/one", "").expect(204);
    assert_eq!(asks("kv/deep/one"), 0, "those below have used theirs");
}

#[test]
fn a_limit_goes_with_its_mount() {
    let desk = desk(72);
    rate(&desk, "kv", r#"{"path":"kv/a","rate":1,"interval":"1h"}"#);
    desk.ask(Post, "sys/remount", r#"{"from":"kv","to":"moved"}"#).expect(200);
    let shown = desk.ask(Get, "sys/quotas/rate-limit/kv", "").expect(200);
    assert_eq!(shown.json["data"]["path"], "moved/a");
    desk.ask(Get, "moved/a", "").expect(404);
    desk.ask(Get, "moved/a", "").expect(429);
    desk.ask(Delete, "sys/mounts/moved", "").expect(204);
    desk.ask(Get, "sys/quotas/rate-limit/kv", "").expect(404);
    desk.ask(List, "sys/quotas/rate-limit", "").expect(404);
    // A mount that takes its place is not limited by it.
    desk.ask(Post, "sys/mounts/moved", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Get, "moved/a", "").expect(404);
    desk.ask(Get, "moved/a", "").expect(404);
}

#[test]
fn who_is_over_a_limit_fills_no_log() {
    let desk = desk(73);
    let folder = tests::scratch::Scratch::new();
    let file = folder.path().join("audit.log");
    let body = json!({"type": "file", "options": {"file_path": file.display().to_string()}}).to_string();
    desk.ask(Post, "sys/audit/file", &body).expect(204);
    rate(&desk, "kv", r#"{"path":"kv","rate":1,"interval":"1h"}"#);
    let lines = || std::fs::read_to_string(&file).unwrap().lines().count();
    desk.ask(Get, "kv/a", "").expect(404);
    let before = lines();
    desk.ask(Get, "kv/a", "").expect(429);
    assert_eq!(lines(), before);
    desk.ask(Post, "sys/quotas/config", r#"{"enable_rate_limit_audit_logging":true}"#).expect(204);
    let before = lines();
    desk.ask(Get, "kv/a", "").expect(429);
    assert_eq!(lines(), before + 2, "the question and the answer");
}

#[test]
fn a_role_has_a_limit_of_its_own() {
    let desk = desk(74);
    desk.ask(Post, "sys/auth/approle", r#"{"type":"approle"}"#).expect(204);
    let role = |name: &str| {
        desk.ask(
            Post,
            &format!("auth/approle/role/{name}"),
            r#"{"bind_secret_id":false,"secret_id_bound_cidrs":["127.0.0.1/32"],"token_ttl":"1h"}"#,
        )
        .expect(204);
        let said = desk.ask(Get, &format!("auth/approle/role/{name}/role-id"), "").expect(200);
        said.json["data"]["role_id"].as_str().unwrap().to_owned()
    };
    let (web, batch) = (role("web"), role("batch"));
    let enter = |id: &str| desk.ask_as("", Post, "auth/approle/login", &json!({"role_id": id}).to_string());
    rate(&desk, "web", r#"{"path":"auth/approle","role":"web","rate":1,"interval":"1h"}"#);
    enter(&web).expect(200);
    enter(&web).expect(429);
    enter(&batch).expect(200);
    enter(&batch).expect(200);
    desk.ask(Delete, "sys/quotas/rate-limit/web", "").expect(204);
    leases(&desk, "batch", r#"{"path":"auth/approle","role":"batch","max_leases":3}"#);
    enter(&web).expect(200);
    assert_eq!(counter(&desk, "batch"), 0, "who came in before roles were counted has none");
    for _ in 0..3 {
        enter(&batch).expect(200);
    }
    enter(&batch).expect(429);
    enter(&web).expect(200);
    assert_eq!(counter(&desk, "batch"), 3);
    let desk = desk.crash(PowerCut::Drop);
    assert_eq!(counter(&desk, "batch"), 3, "counted anew by what is stored");
}

#[test]
fn so_many_leases_and_no_more() {
    let desk = desk(75);
    let first = log_in(&desk).expect(200).token();
    leases(&desk, "people", r#"{"path":"auth/people","max_leases":2}"#);
    assert_eq!(counter(&desk, "people"), 1, "those that were there count");
    let second = log_in(&desk).expect(200).token();
    let said = log_in(&desk).expect(429);
    assert_eq!(
        said.error(),
        "1 error occurred:\n\t* request path \"auth/people/login/ann\": lease count quota exceeded\n\n"
    );
    // A place is free again when a lease is revoked, and when one ends.
    desk.ask_as(&first, Post, "auth/token/revoke-self", "").expect(204);
    assert_eq!(counter(&desk, "people"), 1);
    log_in(&desk).expect(200);
    log_in(&desk).expect(429);
    desk.wait(Duration::from_secs(3700));
    desk.tick();
    assert_eq!(counter(&desk, "people"), 0);
    desk.ask_as(&second, Get, "auth/token/lookup-self", "").expect(403);
    log_in(&desk).expect(200);
    // A login that fails takes no place.
    for _ in 0..3 {
        desk.ask_as("", Post, "auth/people/login/ann", r#"{"password":"no"}"#).expect(400);
    }
    log_in(&desk).expect(200);
    log_in(&desk).expect(429);
}

/// Whatever is mounted, tuned, moved or unmounted: what was counted is what one counts who looks at all there is.
#[test]
fn counts_of_leases_hold_while_mounts_come_and_go() {
    let mut desk = desk(90);
    desk.ask(Post, "sys/auth/folk", r#"{"type":"userpass"}"#).expect(204);
    desk.ask(Post, "auth/folk/users/ann", r#"{"password":"pw","token_ttl":"1h"}"#).expect(204);
    leases(&desk, "people", r#"{"path":"auth/people","max_leases":50}"#);
    leases(&desk, "all", r#"{"max_leases":100}"#);
    let folk = |desk: &Desk| {
        desk.ask_as("", Post, "auth/folk/login/ann", r#"{"password":"pw"}"#).expect(200);
    };
    let mut expect = [0, 0];
    for (what, path, body, status) in [
        ("a mount", "sys/mounts/one", r#"{"type":"kv"}"#, 204),
        ("a namespace", "sys/namespaces/a", "{}", 200),
        ("a mount there", "a/sys/auth/people", r#"{"type":"userpass"}"#, 204),
        ("tuned", "sys/auth/people/tune", r#"{"default_lease_ttl":"2h"}"#, 204),
        ("moved, and its leases end", "sys/remount", r#"{"from":"auth/folk","to":"auth/others"}"#, 200),
        ("in its place", "sys/auth/folk", r#"{"type":"userpass"}"#, 204),
    ] {
        log_in(&desk).expect(200);
        if what != "in its place" {
            folk(&desk);
            expect[1] += 1;
        }
        expect[0] += 1;
        desk.ask(Post, path, body).expect(status);
        desk.tick();
        if what.starts_with("moved") {
            expect[1] = 0;
        }
        assert_eq!(
            [counter(&desk, "people"), counter(&desk, "all")],
            expect.map(|count| json!(count)),
            "{what}"
        );
    }
    desk.ask(Delete, "sys/auth/people", "").expect(204);
    desk.tick();
    assert_eq!(counter(&desk, "all"), expect[1]);
    desk = desk.crash(PowerCut::Drop);
    assert_eq!(counter(&desk, "all"), expect[1], "counted anew by what is stored");
}

#[test]
fn the_owner_gets_in_whatever_is_full() {
    let desk = desk(76);
    let policy = r#"{"policy":"path \"auth/token/create\" { capabilities = [\"update\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/maker", policy).expect(204);
    let body = r#"{"policies":["maker"],"ttl":"1h"}"#;
    let maker = desk.ask(Post, "auth/token/create", body).expect(200).token();
    leases(&desk, "all", r#"{"max_leases":1}"#);
    assert_eq!(counter(&desk, "all"), 1);
    desk.ask_as(&maker, Post, "auth/token/create", body).expect(429);
    desk.ask_as(&maker, Post, "auth/token/create", r#"{"type":"batch","policies":["maker"],"ttl":"1h"}"#)
        .expect(429);
    log_in(&desk).expect(429);
    desk.ask(Post, "auth/token/create", body).expect(200);
    assert_eq!(counter(&desk, "all"), 2);
    // A wider limit gives way to a narrower one, and does not count what lies under it.
    leases(&desk, "people", r#"{"path":"auth/people","max_leases":5}"#);
    log_in(&desk).expect(200);
    assert_eq!((counter(&desk, "all"), counter(&desk, "people")), (json!(2), json!(1)));
}

/// A server with a namespace `a` that holds a namespace `a/b`, and a kv mount in each.
fn family(seed: u64) -> Desk {
    let desk = desk(seed);
    desk.ask(Post, "sys/namespaces/a", "{}").expect(200);
    desk.ask(Post, "a/sys/namespaces/b", "{}").expect(200);
    desk.ask(Post, "a/sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk.ask(Post, "a/b/sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    desk
}

/// How many of four requests are heard.
fn heard(desk: &Desk, path: &str) -> usize {
    (0..4).filter(|_| desk.ask(Get, path, "").status == 404).count()
}

#[test]
fn a_limit_of_a_namespace_holds_there_and_beneath_only_if_it_says_so() {
    let desk = family(77);
    rate(&desk, "a", r#"{"path":"a/","rate":2,"interval":"1h"}"#);
    assert_eq!(desk.ask(Get, "sys/quotas/rate-limit/a", "").expect(200).json["data"]["path"], "a/");
    assert_eq!(heard(&desk, "a/kv/x"), 2);
    assert_eq!((heard(&desk, "a/b/kv/x"), heard(&desk, "kv/x")), (4, 4));
    rate(&desk, "a", r#"{"path":"a/","rate":3,"interval":"1h","inheritable":true}"#);
    assert_eq!(heard(&desk, "a/kv/x"), 3);
    assert_eq!(heard(&desk, "a/b/kv/x"), 0, "those above have used what there is");
    assert_eq!(heard(&desk, "kv/x"), 4);
    // A limit of the one beneath is narrower, and a mount's is narrower still.
    rate(&desk, "b", r#"{"path":"a/b/","rate":1,"interval":"1h"}"#);
    assert_eq!(heard(&desk, "a/b/kv/x"), 1);
    rate(&desk, "kv", r#"{"path":"a/b/kv","rate":2,"interval":"1h"}"#);
    assert_eq!(heard(&desk, "a/b/kv/x"), 2);
}

#[test]
fn the_header_of_a_namespace_walks_around_no_limit() {
    let desk = family(78);
    rate(&desk, "kv", r#"{"path":"a/b/kv","rate":2,"interval":"1h"}"#);
    let ask = |namespace: &str, path: &str| {
        let mut asked = request(&desk.root, Get, path, "");
        namespace.clone_into(&mut asked.namespace);
        desk.send(&asked).status
    };
    assert_eq!([ask("a/b", "kv/x"), ask("a", "b/kv/x"), ask("", "a/b/kv/x")], [404, 404, 429]);
    assert_eq!([ask("a/b", "kv/x"), ask("a", "b/kv/y")], [429, 429]);
}

#[test]
fn a_limit_goes_with_its_namespace() {
    let desk = family(79);
    rate(&desk, "b", r#"{"path":"a/b/","rate":1,"interval":"1h"}"#);
    rate(&desk, "kv", r#"{"path":"a/b/kv/x","rate":1,"interval":"1h"}"#);
    desk.ask(Delete, "a/sys/namespaces/b", "").expect(200);
    desk.tick();
    for name in ["b", "kv"] {
        desk.ask(Get, &format!("sys/quotas/rate-limit/{name}"), "").expect(404);
    }
    // One that takes its place is not limited by it.
    desk.ask(Post, "a/sys/namespaces/b", "{}").expect(200);
    desk.ask(Post, "a/b/sys/mounts/kv", r#"{"type":"kv"}"#).expect(204);
    assert_eq!(heard(&desk, "a/b/kv/x"), 4);
}

#[test]
fn leases_of_a_namespace_are_counted_for_it_and_for_no_other() {
    let desk = family(80);
    leases(&desk, "a", r#"{"path":"a/","max_leases":2}"#);
    leases(&desk, "all", r#"{"max_leases":100}"#);
    let policy = r#"{"policy":"path \"auth/token/create\" { capabilities = [\"update\"] }"}"#;
    desk.ask(Post, "a/sys/policies/acl/maker", policy).expect(204);
    desk.ask(Post, "a/b/sys/policies/acl/maker", policy).expect(204);
    let body = r#"{"policies":["maker"],"ttl":"1h"}"#;
    let make =
        |namespace: &str| desk.ask(Post, &format!("{namespace}auth/token/create"), body).expect(200).token();
    let (in_a, in_b) = (make("a/"), make("a/b/"));
    let before = counter(&desk, "all");
    desk.ask_as(&in_a, Post, "a/auth/token/create", body).expect(200);
    desk.ask_as(&in_a, Post, "a/auth/token/create", body).expect(429);
    assert_eq!((counter(&desk, "a"), counter(&desk, "all")), (json!(2), before));
    for _ in 0..3 {
        desk.ask_as(&in_b, Post, "a/b/auth/token/create", body).expect(200);
    }
    let desk = desk.crash(PowerCut::Drop);
    assert_eq!(counter(&desk, "a"), 2, "counted anew by what is stored");
    leases(&desk, "a", r#"{"path":"a/","max_leases":3,"inheritable":true}"#);
    assert_eq!(counter(&desk, "a"), 6, "with those beneath it");
    desk.ask_as(&in_b, Post, "a/b/auth/token/create", body).expect(429);
}

#[test]
fn quotas_are_set_from_the_root_alone() {
    let desk = family(81);
    for (verb, path) in [(Post, "rate-limit/x"), (Get, "rate-limit/x"), (List, "rate-limit"), (Get, "config")]
    {
        let said = desk.ask(verb, &format!("a/sys/quotas/{path}"), r#"{"rate":1}"#).expect(400);
        assert_eq!(said.error(), "operation only available in root namespace");
    }
    rate(&desk, "x", r#"{"path":"a/kv","rate":1,"interval":"1h"}"#);
    desk.ask(Post, "sys/remount", r#"{"from":"a/kv","to":"a/b/moved"}"#).expect(200);
    let shown = desk.ask(Get, "sys/quotas/rate-limit/x", "").expect(200);
    assert_eq!(shown.json["data"]["path"], "a/b/moved/");
    assert_eq!(heard(&desk, "a/b/moved/x"), 1);
}

#[test]
fn a_login_in_two_steps_takes_a_place_too() {
    let desk = desk(79);
    let role = r#"{"path":"auth/people","max_leases":1}"#;
    let said = log_in(&desk).expect(200);
    let entity = said.json["auth"]["entity_id"].as_str().unwrap().to_owned();
    let body = format!(r#"{{"token":"{}"}}"#, said.token());
    desk.ask(Post, "auth/token/revoke", &body).expect(204);
    let made = desk.ask(Post, "identity/mfa/method/totp", r#"{"issuer":"Here"}"#).expect(200);
    let method = made.json["data"]["method_id"].as_str().unwrap().to_owned();
    let body = json!({"method_id": method, "entity_id": entity}).to_string();
    let said = desk.ask(Post, "identity/mfa/method/totp/admin-generate", &body).expect(200);
    let url = said.json["data"]["url"].as_str().unwrap();
    let secret = url.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    let secret = kit::Secret::new(secret.to_owned());
    let body = json!({"mfa_method_ids": [method], "identity_entity_ids": [entity]}).to_string();
    desk.ask(Post, "identity/mfa/login-enforcement/e", &body).expect(204);
    leases(&desk, "people", role);
    // Neither has a token yet, so for both there is a place.
    let waiting = [log_in(&desk).expect(200), log_in(&desk).expect(200)];
    let show = |said: &Said| {
        desk.wait(Duration::from_secs(60));
        let digits = otp::Digits::try_from(6).unwrap();
        let code = otp::code(&secret, otp::Algorithm::Sha1, digits, desk.seconds() / 30).unwrap();
        let id = &said.json["auth"]["mfa_requirement"]["mfa_request_id"];
        let body = json!({"mfa_request_id": id, "mfa_payload": {method.as_str(): [code.to_string()]}});
        desk.ask_as("", Post, "sys/mfa/validate", &body.to_string())
    };
    let token = show(&waiting[0]).expect(200).token();
    assert_eq!(counter(&desk, "people"), 1);
    assert!(show(&waiting[1]).expect(429).error().contains("lease count quota exceeded"));
    // With a place it goes on where it was.
    desk.ask(Post, "auth/token/revoke", &format!(r#"{{"token":"{token}"}}"#)).expect(204);
    show(&waiting[1]).expect(200);
}

/// A caller without the root policy.
fn somebody(desk: &Desk) -> String {
    let policy = r#"{"policy":"path \"*\" { capabilities = [\"create\", \"read\", \"update\"] }"}"#;
    desk.ask(Post, "sys/policies/acl/most", policy).expect(204);
    desk.ask(Post, "auth/token/create", r#"{"policies":["most"],"ttl":"1h"}"#).expect(200).token()
}

#[test]
fn a_mount_that_moves_is_counted_where_it_is() {
    let desk = desk(81);
    let caller = somebody(&desk);
    desk.ask(Post, "sys/mounts/lk", r#"{"type":"kv","options":{"leased_passthrough":"true"}}"#).expect(204);
    desk.ask(Post, "lk/a", r#"{"x":1}"#).expect(204);
    leases(&desk, "all", r#"{"max_leases":3}"#);
    leases(&desk, "lk", r#"{"path":"lk","max_leases":5}"#);
    for _ in 0..4 {
        desk.ask_as(&caller, Get, "lk/a", "").expect(200);
    }
    assert_eq!((counter(&desk, "all"), counter(&desk, "lk")), (json!(1), json!(4)));
    desk.ask(Post, "sys/remount", r#"{"from":"lk","to":"lk2"}"#).expect(200);
    desk.tick();
    desk.ask(List, "sys/leases/lookup/lk/a", "").expect(404);
    assert_eq!((counter(&desk, "all"), counter(&desk, "lk")), (json!(1), json!(0)));
    for _ in 0..5 {
        desk.ask_as(&caller, Get, "lk2/a", "").expect(200);
    }
    desk.ask_as(&caller, Get, "lk2/a", "").expect(429);
    assert_eq!((counter(&desk, "all"), counter(&desk, "lk")), (json!(1), json!(5)));
}

/// Asks for a wrapped answer.
fn wrapped(desk: &Desk, token: &str, verb: kit::Verb, path: &str, body: &str) -> Said {
    let wrap_ttl = Some(Duration::from_secs(360_000_000));
    desk.send(&kernel::Request { wrap_ttl, ..request(token, verb, path, body) })
}

#[test]
fn strangers_have_nothing_kept_by_wrapping() {
    let desk = desk(82);
    let before = desk.ask(List, "auth/token/accessors", "").expect(200).json["data"]["keys"].clone();
    let said = wrapped(&desk, "", Get, "sys/internal/ui/mounts", "").expect(400);
    assert!(said.error().starts_with("X-Vault-Wrap-TTL: "), "{}", said.error());
    assert_eq!(desk.ask(List, "auth/token/accessors", "").expect(200).json["data"]["keys"], before);
    // A login is wrapped, and no longer than a token may live there.
    let login = wrapped(&desk, "", Post, "auth/people/login/ann", r#"{"password":"pw"}"#).expect(200);
    assert_eq!(login.json["wrap_info"]["ttl"], 768 * 3600);
    let caller = somebody(&desk);
    wrapped(&desk, &caller, Get, "sys/internal/ui/mounts", "").expect(200);
}

#[test]
fn a_wrapped_answer_takes_a_place() {
    let desk = desk(83);
    let caller = somebody(&desk);
    desk.ask(Post, "kv/a", r#"{"x":1}"#).expect(204);
    leases(&desk, "all", r#"{"max_leases":3}"#);
    for _ in 0..2 {
        wrapped(&desk, &caller, Get, "kv/a", "").expect(200);
    }
    wrapped(&desk, &caller, Get, "kv/a", "").expect(429);
    assert_eq!(counter(&desk, "all"), 3);
    desk.ask_as(&caller, Get, "kv/a", "").expect(200);
}
