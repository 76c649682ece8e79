//! In which spelling a path is judged: that of a request, and that of a request that somebody only asks about.

use std::borrow::Cow;
use std::ops::Range;

use kit::{
    AnyEngine, Called, Captures, Error, Found, Judged, Match, Reading, Reads, Result, Right, Route, Verb,
};
use policy::{AnyCase, Path};
use storage::Snapshot;

use crate::mounts::Mounted;
use crate::router::Router;

/// A path as rules see it.
pub(crate) struct Spelt {
    pub(crate) path: Path,
    pub(crate) any_case: Option<AnyCase>,
    /// The operation that answers there, if one does.
    pub(crate) route: Option<Route>,
    /// Whoever comes is let in without a token.
    pub(crate) open: bool,
}

/// A name that may be spelt in several ways is judged in one. `before` is how many bytes of the path stand before what
/// the engine sees of it.
pub(crate) fn judged<'a>(
    cx: &Reading<'_>,
    engine: &dyn AnyEngine,
    path: &'a Path,
    before: usize,
    captures: &Captures<'_>,
) -> Result<(Cow<'a, Path>, Option<AnyCase>)> {
    let (text, Some(name)) = (path.as_str(), captures.name()) else {
        return Ok((Cow::Borrowed(path), None));
    };
    let (start, end) = (before + name.start, before + name.end);
    if name.judged == Judged::InLowerCase {
        return Ok((Cow::Borrowed(path), Some(AnyCase::of(text, start..end))));
    }
    let called = engine.called(text.get(start..end).unwrap_or_default(), cx)?;
    let (Called::InThisCase(name) | Called::InAnyCase(name)) = &called;
    let (head, tail) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
    let path = Path::internal(&format!("{head}{name}{tail}")).map_err(|_| Error::denied())?;
    let names = AnyCase::of(path.as_str(), start..start + name.len());
    Ok((Cow::Owned(path), matches!(called, Called::InAnyCase(_)).then_some(names)))
}

/// Puts the bytes of `rest` in this range in lower case. They are counted from the end, for a mount lies before.
pub(crate) fn lowered(path: &Path, rest: &str, range: Range<usize>) -> Result<Path> {
    let text = path.as_str();
    let start = text.len() - rest.len() + range.start;
    let (head, tail) = text.split_at_checked(start).unwrap_or((text, ""));
    let (name, tail) = tail.split_at_checked(range.len()).unwrap_or((tail, ""));
    Path::internal(&format!("{head}{}{tail}", name.to_lowercase())).map_err(|_| Error::denied())
}

/// How a request with this verb would be judged. The path is one from the root namespace on.
pub(crate) fn of_request(
    router: &Router,
    today: &Snapshot,
    cx: &Reading<'_>,
    path: &Path,
    verb: Verb,
) -> Result<Spelt> {
    let mut path = if matches!(verb, Verb::List | Verb::Scan) { path.as_folder() } else { path.clone() };
    loop {
        let (space, local) = router.locate(path.as_str());
        let Some((mounted, rest)) = space.nearest(local) else {
            return Ok(Spelt { path, any_case: None, route: None, open: false });
        };
        if let Some(range) = lower_at(mounted, verb, rest) {
            path = lowered(&path, rest, range)?;
            continue;
        }
        let Found::Here { route, captures, .. } = mounted.engine.find(verb, rest) else {
            let login = mounted.method.as_ref().and_then(|method| method.find_login(verb, rest));
            let open = matches!(login, Some((_, _, Match::Yes(_))));
            return Ok(Spelt { path, any_case: None, route: None, open });
        };
        let before = path.as_str().len() - rest.len();
        let there = Reading::new(&Right::Open, today, &mounted.info, cx.caller(), cx.remote(), cx.now());
        let (judged, any_case) = judged(&there, &*mounted.engine, &path, before, &captures)?;
        let open = route.open;
        return Ok(Spelt { path: judged.into_owned(), any_case, route: Some(*route), open });
    }
}

/// Which bytes have to be in lower case before anything answers.
fn lower_at(mounted: &Mounted, verb: Verb, rest: &str) -> Option<Range<usize>> {
    if let Some(method) = &mounted.method
        && let Some((_, _, Match::Lower(range))) = method.find_login(verb, rest)
    {
        return Some(range);
    }
    match mounted.engine.find(verb, rest) {
        Found::Lower(range) => Some(range),
        _ => None,
    }
}
