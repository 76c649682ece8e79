use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    call::Call,
    output::{say, warn},
    paths,
    session::Session,
    span::Span,
    stop::{Outcome, Stop},
};

/// Work with leases
#[derive(Subcommand, Debug)]
pub(crate) enum Lease {
    Lookup(Lookup),
    Renew(Renew),
    Revoke(Revoke),
}

impl Lease {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Lease::Lookup(verb) => verb.run(session).await,
            Lease::Renew(verb) => verb.run(session).await,
            Lease::Revoke(verb) => verb.run(session).await,
        }
    }
}

/// Print what the server knows about a lease
#[derive(Args, Debug)]
pub(crate) struct Lookup {
    /// Lease to look up
    #[arg(value_name = "ID")]
    id: String,
}

impl Lookup {
    async fn run(self, session: &Session) -> Outcome {
        let id = self.id.trim();
        let call = Call::put("sys/leases/lookup", json!({ "lease_id": id }));
        let secret = session
            .client
            .write(call)
            .await
            .map_err(|e| e.during(format!("error looking up lease id {id}")))?;
        session.output.secret(&secret.unwrap_or_default())
    }
}

/// Extend a lease
#[derive(Args, Debug)]
pub(crate) struct Renew {
    /// Lifetime to ask for, from now
    #[arg(long, value_name = "DURATION")]
    increment: Option<Span>,
    /// Lease to renew
    #[arg(value_name = "ID")]
    id: String,
}

impl Renew {
    async fn run(self, session: &Session) -> Outcome {
        let id = self.id.trim();
        let increment = self.increment.map_or(0, |span| span.seconds().max(0));
        let call = Call::put("sys/leases/renew", json!({ "lease_id": id, "increment": increment }));
        let secret =
            session.client.write(call).await.map_err(|e| e.during(format!("Error renewing {id}")))?;
        session.output.secret(&secret.unwrap_or_default())
    }
}

/// Revoke a lease, or all leases under a prefix
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Forget the leases even if they cannot be undone; needs -prefix
    #[arg(short, long)]
    force: bool,
    /// The argument is a prefix of leases
    #[arg(long)]
    prefix: bool,
    /// Wait until it is done
    #[arg(long)]
    sync: bool,
    /// Lease to revoke, or with -prefix the start of their names
    #[arg(value_name = "ID")]
    id: String,
}

impl Revoke {
    async fn run(self, session: &Session) -> Outcome {
        let id = self.id.trim();
        if self.force && !self.prefix {
            return Err(Stop::local("Specifying -force requires also specifying -prefix"));
        }
        let clean = paths::clean(id);
        let (call, during, done) = if self.force {
            warn(
                "Warning! Force-removing leases can cause the server to become out of sync with\nsecret engines!",
            );
            (
                Call::put(format!("sys/leases/revoke-force/{clean}"), json!({})),
                format!("Error force revoking leases with prefix {id}"),
                format!("Success! Force revoked any leases with prefix: {id}"),
            )
        } else if self.prefix {
            (
                Call::put(format!("sys/leases/revoke-prefix/{clean}"), json!({ "sync": self.sync })),
                format!("Error revoking leases with prefix {id}"),
                format!("Success! Revoked any leases with prefix: {id}"),
            )
        } else {
            (
                Call::put("sys/leases/revoke", json!({ "lease_id": id, "sync": self.sync })),
                format!("Error revoking lease {id}"),
                format!("Success! Revoked lease: {id}"),
            )
        };
        session.client.send(call).await.map_err(|e| e.during(during))?;
        let queued = !self.force && !self.sync;
        say(if queued { "All revocation operations queued successfully!".to_owned() } else { done });
        Ok(0)
    }
}
