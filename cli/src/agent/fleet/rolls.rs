//! R16: a CA is rolled while agents of both generations talk with each other over mutual TLS.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    client::WebPkiServerVerifier,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
    time_provider::TimeProvider,
};

use super::{authority::authority, *};
use crate::agent::pair;

const SIZE: usize = 6;
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// The clock of the simulation, for those who judge certificates.
#[derive(Debug)]
struct Now(Moment);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.since(Moment::default())))
    }
}

/// What a service would read from the disk of an agent.
struct Read {
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    anchors: Arc<RootCertStore>,
}

fn read(agent: &Agent) -> Read {
    let file = |name: &str| agent.disk.read(&Path::new("/tls/current").join(name)).unwrap();
    let mut anchors = RootCertStore::empty();
    for anchor in CertificateDer::pem_slice_iter(&file("ca.pem")) {
        anchors.add(anchor.unwrap()).unwrap();
    }
    Read {
        key: PrivateKeyDer::from_pem_slice(&file("key.pem")).unwrap(),
        chain: CertificateDer::pem_slice_iter(&file("fullchain.pem")).map(Result::unwrap).collect(),
        anchors: Arc::new(anchors),
    }
}

/// A handshake in which both sides show what they hold and judge what they see.
fn handshake(client: &Agent, server: &Agent, now: Moment) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let name = server.course.plan.name.clone();
    let (client, server) = (read(client), read(server));
    let judge =
        WebPkiClientVerifier::builder_with_provider(server.anchors, Arc::clone(&provider)).build().unwrap();
    let at_server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(Now(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(judge)
        .with_single_cert(server.chain, server.key)
        .unwrap();
    let judge =
        WebPkiServerVerifier::builder_with_provider(client.anchors, Arc::clone(&provider)).build().unwrap();
    let at_client = ClientConfig::builder_with_details(provider, Arc::new(Now(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(judge)
        .with_client_auth_cert(client.chain, client.key)
        .unwrap();
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(at_client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(at_server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        carry(&mut client, &mut server).map_err(|why| format!("the server refuses: {why}"))?;
        carry(&mut server, &mut client).map_err(|why| format!("the client refuses: {why}"))?;
    }
    Ok(())
}

fn carry<A, B>(
    from: &mut rustls::ConnectionCommon<A>,
    to: &mut rustls::ConnectionCommon<B>,
) -> Result<(), rustls::Error>
where
    A: rustls::SideData,
    B: rustls::SideData,
{
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = io::Cursor::new(bytes);
    while rest.position() < rest.get_ref().len() as u64 {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// Everybody with everybody, in both directions.
#[track_caller]
fn all_talk(site: &Site, agents: &[Agent], when: &str) {
    for client in agents {
        for server in agents {
            let done = handshake(client, server, site.now.get());
            let names = (&client.course.plan.name, &server.course.plan.name);
            assert_eq!(done, Ok(()), "{when}: {names:?}");
        }
    }
}

fn generations(agents: &[Agent], anchor: &str) -> usize {
    let issuer = crate::pem::blocks(anchor).remove(0);
    let (_, issuer) = x509_parser::parse_x509_certificate(&issuer).unwrap();
    let is_under = |agent: &&Agent| {
        let chain = read(agent).chain;
        let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        leaf.verify_signature(Some(issuer.public_key())).is_ok()
    };
    agents.iter().filter(is_under).count()
}

/// A full cycle, hours in seconds: the next CA is published, signs, and is alone at the end. At no moment does a handshake
/// fail, while certificates of both generations are about.
#[test]
fn no_handshake_fails_in_a_full_roll() {
    let site = Site::new(LIFE);
    site.authority.borrow_mut().advises = true;
    let mut agents = fleet(&site, SIZE);
    // Some come later, so that the generations mix.
    run_all(&site, &mut agents[..SIZE / 2], site.at(3 * HOUR));
    run_all(&site, &mut agents, site.at(4 * HOUR));
    all_talk(&site, &agents, "before");
    let (issuer, next) = authority("Simulated CA 2");
    let old = site.authority.borrow().bundle.clone();
    let both = format!("{old}{next}");
    site.authority.borrow_mut().bundle = both.clone();
    let mut mixed = 0;
    let mut hours = |site: &Rc<Site>, agents: &mut [Agent], count: u32, when: &str| {
        for _ in 0..count * 3 {
            let until = site.now.get().plus(Duration::from_secs(1200));
            run_all(site, agents, until);
            let young = generations(agents, &next);
            mixed += usize::from(young > 0 && young < SIZE);
            all_talk(site, agents, when);
        }
    };
    // Nobody knows of the next CA at first; within five minutes and a bit all trust it, with the leaf they had.
    let serials: Vec<String> = agents.iter().map(Agent::serial).collect();
    hours(&site, &mut agents, 1, "published");
    let bundle = Some(pair::fingerprint(&both));
    assert!(agents.iter().all(|agent| agent.record().held.as_ref().unwrap().bundle == bundle));
    let same = agents.iter().zip(&serials).filter(|(agent, serial)| agent.serial() == **serial).count();
    assert!(same > SIZE / 2, "a bundle costs no certificate: {same}");
    assert_eq!(generations(&agents, &next), 0, "it does not sign yet");

    site.authority.borrow_mut().sign_by((issuer, next.clone()));
    hours(&site, &mut agents, 13, "draining");
    assert_eq!(generations(&agents, &next), SIZE, "the last old leaf has ended");
    site.authority.borrow_mut().bundle = next.clone();
    hours(&site, &mut agents, 8, "finished");
    assert!(mixed > 3, "both generations were about at {mixed} looks");
    for agent in &agents {
        assert_eq!(read(agent).anchors.len(), 1);
        assert_eq!((agent.record().failures, agent.events()), (0, vec![]));
    }
}

/// The order matters: a CA that signs before it is published does break handshakes, so the test above can fail.
#[test]
fn a_ca_that_signs_unpublished_breaks_handshakes() {
    let site = Site::new(LIFE);
    site.authority.borrow_mut().advises = true;
    let mut agents = fleet(&site, 2);
    run_all(&site, &mut agents, site.at(HOUR));
    let next = authority("Simulated CA 2");
    site.authority.borrow_mut().bundle = next.1.clone();
    site.authority.borrow_mut().sign_by(next);
    agents[0].course.begin_now();
    agents[0].turn();
    assert!(handshake(&agents[0], &agents[1], site.now.get()).is_err());
}

/// A bundle that cannot be put away, or does not fit what was said of it, changes nothing.
#[test]
fn a_bundle_that_is_none_changes_nothing() {
    let site = Site::new(LIFE);
    site.authority.borrow_mut().advises = true;
    let mut agent = Agent::new(&site, "a.internal");
    agent.run_until(site.at(HOUR));
    let before = agent.disk.read(Path::new("/tls/current/ca.pem")).unwrap().to_vec();
    site.authority.borrow_mut().bundle = "nonsense".to_owned();
    agent.run_until(site.at(2 * HOUR));
    assert_eq!(agent.disk.read(Path::new("/tls/current/ca.pem")).unwrap().to_vec(), before);
    assert_eq!(agent.record().failures, 0);
    // Neither does one without the CA under which the agent itself stands, when it renews.
    let (_, other) = authority("Another");
    site.authority.borrow_mut().bundle = other;
    agent.run_until(site.at(7 * HOUR));
    let held =
        String::from_utf8(agent.disk.read(Path::new("/tls/current/ca.pem")).unwrap().to_vec()).unwrap();
    let before = String::from_utf8(before).unwrap();
    assert!(held.contains(before.trim()), "it trusts its own CA all the same");
}
