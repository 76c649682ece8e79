//! N and B. Leases: what is revoked stays revoked, whatever its name.

use crate::stage::Stage;
use serde_json::json;

#[test]
fn row_029_a_dot_in_a_lease_id_is_a_dot() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true}));
    let role = json!({"allow_any_name": true, "key_type": "ec", "generate_lease": true, "ttl": "1h"});
    stage.root.post("pki/roles/a.b", role).must(200);
    let issued = stage.root.post("pki/issue/a.b", json!({"common_name": "a.b"})).must(200);
    let lease = json!({"lease_id": issued.at("/lease_id")});
    stage.root.post("sys/leases/lookup", lease.clone()).must(200);
    stage.root.post("sys/leases/revoke", lease.clone()).must(204);
    stage.root.post("sys/leases/lookup", lease).must(400);
    let certificate = stage.root.get(&format!("pki/cert/{}", issued.at("/data/serial_number"))).must(200);
    assert_ne!(certificate.at("/data/revocation_time"), "0");
}

#[test]
fn row_033_a_leaked_lease_id_is_no_right() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true, "generate_lease": true}));
    let lease = stage.root.post("pki/issue/web", json!({"common_name": "a.b"})).must(200).at("/lease_id");
    let caller = stage.token(json!({"no_default_policy": true, "policies": ["nothing"]}));
    for path in ["lookup", "renew", "revoke"] {
        caller.post(&format!("sys/leases/{path}"), json!({"lease_id": lease})).must(403);
        caller.post(&format!("sys/leases/{path}/{lease}"), json!({})).must(403);
    }
    for path in [format!("revoke-prefix/{lease}"), "revoke-force/pki".to_owned(), "tidy".to_owned()] {
        caller.post(&format!("sys/leases/{path}"), json!({})).must(403);
    }
    stage.root.post("sys/leases/lookup", json!({"lease_id": lease})).must(200);
}

#[test]
fn row_042_a_revoked_token_takes_its_leases_and_children_along() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true, "generate_lease": true}));
    stage.policy(
        "issuer",
        r#"path "pki/issue/web" { capabilities = ["update"] }
           path "auth/token/create" { capabilities = ["update"] }"#,
    );
    let parent = stage.token(json!({"policies": ["issuer"]}));
    let child = parent.post("auth/token/create", json!({})).must(200).at("/auth/client_token");
    let child = parent.with(&child);
    let leases: Vec<String> = [&parent, &child]
        .map(|caller| caller.post("pki/issue/web", json!({"common_name": "a.b"})).must(200).at("/lease_id"))
        .into();
    stage.root.post("auth/token/revoke", json!({"token": parent.token()})).must(204);
    parent.get("auth/token/lookup-self").must(403);
    child.get("auth/token/lookup-self").must(403);
    stage.server.until("the leases are gone", |_| {
        leases
            .iter()
            .all(|lease| stage.root.post("sys/leases/lookup", json!({"lease_id": lease})).status == 400)
    });
}

#[test]
fn also_an_unmounted_engine_leaves_no_lease() {
    let stage = Stage::dev();
    stage.pki(json!({"allow_any_name": true, "generate_lease": true}));
    let lease = stage.root.post("pki/issue/web", json!({"common_name": "a.b"})).must(200).at("/lease_id");
    stage.root.delete("sys/mounts/pki").must(204);
    stage.server.until("the lease is gone", |_| {
        stage.root.post("sys/leases/lookup", json!({"lease_id": lease})).status == 400
    });
}
