//! Authlib, a relying party that nobody here wrote, lets people in through Sealkeep.

use tests::binary::Binary;
use tests::server::{DEV_TOKEN, Server};

use crate::script::python;

#[test]
fn an_application_lets_people_in_through_sealkeep() {
    let server = Server::dev(&Binary::sealkeep());
    python("relying_party.py", &server, DEV_TOKEN);
}
