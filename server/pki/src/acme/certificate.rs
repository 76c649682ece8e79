//! What was issued, for download: the certificate with its chain, or with another chain to another root.

use kit::{Reads, Time, Writing};
use x509::{Serial, pem};

use super::order::found;
use super::problem::{Kind, Refused, Result};
use super::records::OrderRecord;
use super::signed::{Asked, Said, signed_operation};
use crate::authorities::{Authorities, Issuer, authorities, refused};
use crate::certificates::PEM;
use crate::signers::twins;
use crate::store::CERTIFICATES;

signed_operation! {
    /// Gives the certificate of an order, with its chain.
    Certificate at "order/{order_id}/cert", by Account {
        /// The order's id.
        order_id,
    } |cx, asked| download(cx, &asked, &order_id, "0")
}

signed_operation! {
    /// Gives the certificate of an order with another chain.
    CertificateByChain at "order/{order_id}/cert/{chain}", by Account {
        /// The order's id.
        order_id,
        /// The number of the chain.
        chain,
    } |cx, asked| download(cx, &asked, &order_id, &chain)
}

fn download(cx: &mut Writing<'_>, asked: &Asked<'_>, order_id: &str, chain: &str) -> Result<Said> {
    let (id, order) = found(cx, asked, order_id)?;
    let (leaf, issuer) = issued(cx, &order)?;
    let all = authorities(cx)?;
    let chains = issuer.map_or(Vec::new(), |issuer| chains(&all, issuer, cx.now()));
    let none = || Refused::new(Kind::Malformed, "there is no such chain").with_status(404);
    let number: usize = chain.parse().map_err(|_| none())?;
    let above: &[&Issuer] = match chains.get(number) {
        Some(chain) => chain,
        None if number == 0 => &[],
        None => return Err(none()),
    };
    let mut text = leaf;
    for issuer in above {
        text.push('\n');
        text.push_str(&issuer.pem);
    }
    text.push('\n');
    let mut said = Said::raw(PEM, text.into_bytes());
    for other in (0..chains.len()).filter(|other| *other != number) {
        let url = asked.directory.url(format_args!("order/{id}/cert/{other}"));
        said = said.with("link", format!("<{url}>;rel=\"alternate\""));
    }
    Ok(said)
}

/// The certificate of an order, and who issued it.
fn issued(cx: &Writing<'_>, order: &OrderRecord) -> Result<(String, Option<crate::store::Id>)> {
    let Some(serial) = &order.serial else {
        let why = "the order has no certificate; it needs to be in valid state";
        return Err(Refused::new(Kind::OrderNotReady, why));
    };
    let serial = Serial::parse(serial).map_err(refused)?;
    let gone = || Refused::new(Kind::Malformed, "the certificate is not kept any more").with_status(404);
    let record = CERTIFICATES.get(cx, serial.as_bytes())?.ok_or_else(gone)?;
    Ok((pem::encode(pem::CERTIFICATE, &record.der.0), record.issuer))
}

/// The chains above what an issuer signs: its own first, then those of other certificates for the same name and key, as
/// cross-signing makes them.
fn chains(all: &Authorities, issuer: crate::store::Id, now: Time) -> Vec<Vec<&Issuer>> {
    let Some(own) = all.issuers.iter().find(|one| one.id == issuer) else { return Vec::new() };
    // What has ended or was revoked is no way up.
    let is_good = |one: &&Issuer| one.id != own.id && one.is_valid(now) && one.record.revoked_at.is_none();
    let others = twins(all, own).filter(is_good);
    std::iter::once(own).chain(others).map(|one| all.chain(one, now)).collect()
}
