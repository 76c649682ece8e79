//! L. and G. SSH: no certificate for everybody by oversight, no password twice.

use crate::stage::Stage;
use serde_json::json;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICnO36VFhAs5/BQfkW/3qHrWry6yzPRYwsmKDz4+KnMY ann@host";

fn mounted() -> Stage {
    let stage = Stage::dev();
    stage.root.post("sys/mounts/ssh", json!({"type": "ssh"})).must(204);
    stage.root.post("ssh/config/ca", json!({"key_type": "ed25519"})).must(200);
    stage
}

#[test]
fn row_065_a_password_is_for_one_login() {
    let stage = mounted();
    let role = json!({"key_type": "otp", "default_user": "ann", "cidr_list": "10.0.0.0/8"});
    stage.root.post("ssh/roles/o", role).must(204);
    let otp = stage.root.post("ssh/creds/o", json!({"ip": "10.0.0.1"})).must(200).at("/data/key");
    for address in ["11.0.0.1", "10.0.0.1, 11.0.0.1", "10.0.0.1%eth0", "0x0a000001", "localhost"] {
        stage.root.post("ssh/creds/o", json!({ "ip": address })).must(400);
    }
    let verify = || stage.anonymous().post("ssh/verify", json!({ "otp": otp }));
    // It says for which machine it is, and the machine that asks holds itself against that.
    assert_eq!(verify().must(200).at("/data/ip"), "10.0.0.1");
    verify().must(400);
}

#[test]
fn row_127_a_certificate_for_everybody_is_not_given_by_oversight() {
    let stage = mounted();
    for users in ["", "*", "ann"] {
        let role = json!({"key_type": "ca", "allow_user_certificates": true, "allowed_users": users});
        stage.root.post("ssh/roles/r", role).must(204);
        for nobody in [json!({}), json!({"valid_principals": ""}), json!({"valid_principals": " , "})] {
            let mut body = nobody;
            body["public_key"] = json!(KEY);
            let refused = stage.root.post("ssh/sign/r", body).must(400);
            assert!(refused.errors().contains("globally-valid certificate"), "{}", refused.errors());
        }
    }
}
