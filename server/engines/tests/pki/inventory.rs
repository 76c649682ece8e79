//! Who holds which certificate, and where it is served.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::{entity, ready, role, text};

fn report(serial: &str, host: &str) -> Value {
    json!({
        "serial_number": serial, "host": host, "name": "web", "agent": "keep 1.0", "bundle": "ab",
        "next_renewal": "2026-01-01T00:30:00Z",
        "served": [{"address": "10.0.0.1:443", "serial_number": serial, "at": "2026-01-01T00:00:00Z"}],
    })
}

fn issue(bench: &Bench) -> String {
    let leaf = bench.post("issue/r", json!({"common_name": "a.example.com"})).is(200);
    text(&leaf, "serial_number").to_owned()
}

#[test]
fn holders_report_what_they_hold_and_nothing_else() {
    let mut bench = ready();
    bench.caller = entity("ann");
    let (first, other) = (issue(&bench), issue(&bench));
    bench.list("inventory").is(404);
    bench.post("inventory/report", report(&first, "h1")).is(204);
    let shown = bench.get(&format!("inventory/certificate/{first}")).is(200).data;
    assert_eq!((&shown["owner"], &shown["role"]), (&json!("ann"), &json!("r")));
    let holder = &shown["holders"][0];
    assert_eq!(holder["host"], "h1");
    assert_eq!(holder["served"][0]["address"], "10.0.0.1:443");
    assert_eq!(holder["next_renewal"], "2026-01-01T00:30:00Z");
    assert_eq!((&holder["owner_name"], &holder["stale"]), (&json!("approle-ann"), &json!([])));
    let nobody = bench.get(&format!("inventory/certificate/{other}")).is(200).data;
    assert_eq!(nobody["holders"], json!([]), "one that nobody reported is there all the same");

    bench.caller = entity("bob");
    bench.post("inventory/report", report(&first, "h2")).refuses(403, "not issued to you");
    bench.post("inventory/report/other", report(&first, "h2")).refuses(403, "not issued under the role");
    bench.post("inventory/report/r", report(&first, "h2")).is(204);
    let both = bench.get(&format!("inventory/certificate/{first}")).is(200).data;
    assert_eq!(both["holders"].as_array().unwrap().len(), 2, "a policy for the role lets others speak");
    bench.caller = kit::Caller::default();
    bench.post("inventory/report", report(&first, "h3")).refuses(403, "not issued to you");
    let unowned = issue(&bench);
    bench.post("inventory/report", report(&unowned, "h3")).refuses(403, "not issued to you");
}

#[test]
fn the_next_report_takes_the_place_of_the_last() {
    let mut bench = ready();
    bench.caller = entity("ann");
    let first = issue(&bench);
    bench.post("inventory/report", report(&first, "h1")).is(204);
    bench.wait(1800);
    let second = issue(&bench);
    bench.post("inventory/report", report(&second, "h1")).is(204);
    let gone = bench.get(&format!("inventory/certificate/{first}")).is(200).data;
    assert_eq!(gone["holders"], json!([]));
    let host = bench.get("inventory/host/h1").is(200).data;
    assert_eq!(host["certificates"].as_array().unwrap().len(), 1);
    assert_eq!(host["certificates"][0]["serial_number"], second.as_str());
    bench.get("inventory/host/h2").is(404);

    // The first one's end takes nothing away; the second one's does.
    bench.wait(1801);
    bench.tick();
    bench.get("inventory/host/h1").is(200);
    bench.wait(1800);
    assert_eq!(bench.tick(), 1);
    bench.list("inventory").is(404);
    assert_eq!([20, 21, 22].map(|table| bench.ids(table).0), [0; 3], "nothing is left behind");
    bench.post("inventory/report", report(&second, "h1")).refuses(400, "has ended");
}

#[test]
fn what_is_not_as_it_should_be_is_told() {
    let mut bench = ready();
    bench.caller = entity("ann");
    role(&bench, json!({"ttl": "48h"}));
    let (good, wrong, revoked) = (issue(&bench), issue(&bench), issue(&bench));
    for (serial, host) in [(&good, "good"), (&wrong, "wrong"), (&revoked, "revoked")] {
        bench.post("inventory/report", report(serial, host)).is(204);
    }
    let mut other = report(&wrong, "wrong");
    other["served"][0]["serial_number"] = json!(good);
    bench.post("inventory/report", other).is(204);
    bench.post("revoke", json!({"serial_number": revoked})).is(200);
    let stale = |bench: &Bench, path: &str| {
        let list = bench.list(path);
        let details = list.data["key_info"].as_object().cloned().unwrap_or_default();
        let mut found: Vec<(String, String)> = details
            .values()
            .map(|one| (one["host"].as_str().unwrap().to_owned(), one["stale"].to_string()))
            .collect();
        found.sort();
        found
    };
    let pair = |host: &str, why: &str| (host.to_owned(), why.to_owned());
    assert_eq!(
        stale(&bench, "inventory?stale=true"),
        [pair("revoked", "[\"revoked\"]"), pair("wrong", "[\"not_served\"]")]
    );
    assert_eq!(stale(&bench, "inventory").len(), 3);
    bench.wait(3 * 3600);
    bench.post("inventory/report", report(&good, "good")).is(204);
    assert_eq!(
        stale(&bench, "inventory?stale=true"),
        [pair("revoked", "[\"silent\",\"revoked\"]"), pair("wrong", "[\"silent\",\"not_served\"]")]
    );
    assert_eq!(stale(&bench, "inventory?stale=true&not_seen_for=24h").len(), 2);
    assert_eq!(stale(&bench, "inventory?owner=ann&role=r&limit=2").len(), 2);
    assert_eq!(stale(&bench, "inventory?owner=bob"), []);
    let list = bench.list("inventory").data;
    let id = list["keys"][0].as_str().unwrap();
    bench.delete(&format!("inventory/{id}")).is(204);
    assert_eq!(stale(&bench, "inventory").len(), 2);
}

#[test]
fn a_report_has_its_limits() {
    let mut bench = ready();
    bench.caller = entity("ann");
    let serial = issue(&bench);
    let with = |field: &str, value: Value| {
        let mut body = report(&serial, "h");
        body[field] = value;
        body
    };
    for (field, value, why) in [
        ("host", json!(""), "host is missing"),
        ("name", json!("a\u{1b}[2Jb"), "control characters"),
        ("agent", json!("x".repeat(256)), "longer than 255"),
        ("served", json!("nonsense"), "served must be a list"),
        ("served", json!(vec![json!({"address": "a:1", "serial_number": "01"}); 33]), "32 are allowed"),
        ("serial_number", json!("aa:bb"), "there is no certificate aa:bb here"),
    ] {
        bench.post("inventory/report", with(field, value)).refuses(400, why);
    }
    for host in 0..64 {
        bench.post("inventory/report", report(&serial, &format!("h{host}"))).is(204);
    }
    bench.post("inventory/report", report(&serial, "h64")).refuses(400, "has 64 holders already");
    bench.post("inventory/report", report(&serial, "h63")).is(204);
    role(&bench, json!({"no_store": true}));
    let unstored = issue(&bench);
    bench.post("inventory/report", report(&unstored, "h")).refuses(400, "no_store");
}

#[test]
fn what_many_hold_is_shown_page_by_page() {
    let mut bench = ready();
    bench.caller = entity("ann");
    for host in ["h1", "h2", "h3", "h4", "h5"] {
        let serial = issue(&bench);
        bench.post("inventory/report", report(&serial, host)).is(204);
    }
    let keys = |query: &str| bench.list(&format!("inventory{query}")).is(200).data["keys"].clone();
    let all = keys("");
    let (mut pages, mut after) = (Vec::new(), String::new());
    for size in [2, 2, 1] {
        let page = keys(&format!("?limit=2&after={after}"));
        let page = page.as_array().unwrap();
        assert_eq!(page.len(), size);
        after = page.last().unwrap().as_str().unwrap().to_owned();
        pages.extend(page.iter().cloned());
    }
    assert_eq!(json!(pages), all);
    bench.list(&format!("inventory?after={after}")).is(404);
}
