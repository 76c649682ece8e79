//! Who holds which certificate, and where it is really served: what those who hold them report.
//!
//! A report is taken from the owner of a certificate alone (`report`), or of a role's certificates from whoever a policy
//! lets speak for that role. It goes when the certificate ends.

mod record;
mod report;
mod show;

pub(super) use record::HOLDINGS;
pub(super) use report::{ForgetHolding, Report};
pub(super) use show::{DeleteHolding, HoldersOfCertificate, HoldingsOfHost, ListHoldings};
