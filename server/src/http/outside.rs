//! What is not the API: `/`, `/ui/`, `/robots.txt`.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::any;

use super::reply::{self, Reply};

/// No crawler has anything to look for here.
const ROBOTS: &str = "# http://www.robotstxt.org\nUser-agent: *\nDisallow: /\n";

/// The pages outside `/v1/`.
pub(crate) fn router(ui: bool) -> Router {
    let missing = || async { page(reply::bare(404)) };
    let router = Router::new()
        .route("/robots.txt", any(|| async { page(reply::text(200, ROBOTS)) }))
        .fallback(missing);
    let no_page = || async { page(reply::text(404, "404 page not found\n")) };
    let no_ui = || async {
        page(reply::text(
            404,
            "The web UI is not part of this version: use the keep command or the API below /v1/.\n",
        ))
    };
    match ui {
        false => {
            router.route("/", any(no_page)).route("/ui/", any(no_page)).route("/ui/{*rest}", any(no_page))
        }
        true => router
            .route("/", any(|| async { page(reply::redirect("/ui/")) }))
            .route("/ui/", any(no_ui))
            .route("/ui/{*rest}", any(no_ui)),
    }
}

fn page(reply: Reply) -> Response {
    reply.map(Body::new)
}
