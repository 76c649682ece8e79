//! ML-DSA, judged by OpenSSL: it verifies what Sealkeep signs, and Sealkeep takes its keys, requests and CAs.

use tests::binary::Binary;
use tests::server::{DEV_TOKEN, Server};

use crate::script::python;

#[test]
fn openssl_and_sealkeep_understand_each_other_in_ml_dsa() {
    let server = Server::dev(&Binary::sealkeep());
    python("ml_dsa.py", &server, DEV_TOKEN);
}
