//! What is open to strangers, and must not be for their mischief.

use kit::{Beyond, Error, Fault, Reads, Result, Writing};
use policy::Capability;

use crate::kernel::Kernel;
use crate::tokens::Uses;

/// Lets only those give up what others began who could do it with a token: the one that was shown must be good, and
/// its policies must allow to delete at `path`.
pub(super) fn check(kernel: &Kernel, cx: &Writing<'_>, path: &str) -> Result<()> {
    if may(kernel, cx, path)? {
        return Ok(());
    }
    let text = format!(
        "permission denied: to give up what another began, name its nonce, or show a token that may delete at {path}"
    );
    Err(Error::new(Fault::Denied, text))
}

fn may(kernel: &Kernel, cx: &Writing<'_>, path: &str) -> Result<bool> {
    let beyond = Beyond::for_the_kernel();
    let Some(id) = cx.remote().token.token(&beyond) else { return Ok(false) };
    let today = cx.peek(&beyond).snapshot();
    let known = kernel.tokens.identify(id.expose(), &kernel.store, today, cx.now(), cx.remote(), Uses::Left);
    let Ok(known) = known else { return Ok(false) };
    let acl = kernel.tokens.acl(known.value(), today, cx.now())?;
    Ok(acl.allows(path, Capability::Delete, cx.now().0))
}
