use clap::Args;
use serde_json::json;

use super::{Mount, mount::Version};
use crate::{
    call::Call,
    client::Found,
    commands::logical::Page,
    output::{Detail, say},
    paths,
    session::Session,
    stop::{Outcome, Stop},
};

/// List the secrets and folders below a path
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    mount: Mount,
    #[command(flatten)]
    page: Page,
    /// Path to list; may be left out with -mount
    path: Option<String>,
}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        listing(session, &self.mount, &self.page, self.path.as_deref(), Call::list).await
    }
}

/// List the secrets below a path, all the way down
#[derive(Args, Debug)]
pub(crate) struct Scan {
    #[command(flatten)]
    mount: Mount,
    #[command(flatten)]
    page: Page,
    /// Path to scan; may be left out with -mount
    path: Option<String>,
}

impl Scan {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        listing(session, &self.mount, &self.page, self.path.as_deref(), Call::scan).await
    }
}

async fn listing(
    session: &Session,
    mount: &Mount,
    page: &Page,
    path: Option<&str>,
    ask: fn(String) -> Call,
) -> Outcome {
    if path.is_none() && mount.mount.is_none() {
        return Err(Stop::local("Not enough arguments (expected 1, got 0)"));
    }
    let place = mount.find(&session.client, path.unwrap_or_default()).await?;
    let path = place.api("metadata");
    let output = page.shape(session.output);
    // The second version has a listing of its own for what it knows of each secret.
    if output.detail == Detail::Full && place.version == Version::Two {
        let path = place.api("detailed-metadata");
        match session.client.find(page.ask(ask(path.clone()))).await {
            Ok(found @ Found::Secret(_)) if found.has_keys() => return output.listing(found, &path),
            // Some servers have none, and whoever has set KEEP_DETAILED for all may list names alone here.
            Ok(_) => {}
            Err(refused) if refused.status() == Some(403) && !page.is_detailed() => {}
            Err(refused) => return Err(refused.during(format!("Error listing {path}"))),
        }
    }
    let call = page.ask(ask(path.clone()));
    let found = session.client.find(call).await.map_err(|e| e.during(format!("Error listing {path}")))?;
    output.listing(found, &path)
}

/// Turn a store of the first version into one of the second; it cannot be undone
#[derive(Args, Debug)]
pub(crate) struct EnableVersioning {
    /// Mount of the store
    mount: String,
}

impl EnableVersioning {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let mount = paths::mount(&paths::clean(&self.mount));
        let body = json!({ "options": { "version": "2" } });
        let call = Call::post(format!("sys/mounts/{}/tune", paths::clean(&mount)), body);
        session
            .client
            .send(call)
            .await
            .map_err(|e| e.during(format!("Error tuning secrets engine {mount}")))?;
        say(format!("Success! Tuned the secrets engine at: {mount}"));
        Ok(0)
    }
}
