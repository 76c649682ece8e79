//! On what the server spends its processors.

use tests::binary::Binary;
use tests::http::Request;
use tests::scratch::Scratch;
use tests::server::{Config, Server, Storage};

#[test]
fn the_time_of_processors_is_watched_for_a_while() {
    let folder = Scratch::new();
    let config = Config::new(Storage::Inmem, folder.path()).with("profiling_endpoint = true");
    let (server, keys) = Server::opened(&Binary::sealkeep(), &config);
    let root = server.anonymous().with(&keys.root);
    let took = |query: &str| {
        let text = root.get(&format!("sys/pprof/profile?debug=1&{query}")).must(200).text();
        assert!(text.starts_with("profile profile: "), "{text}");
        text
    };
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| took("seconds=1"));
        while !watched.is_finished() {
            root.get("auth/token/lookup-self").must(200);
        }
        let text = watched.join().unwrap();
        let line = text.lines().find(|line| line.ends_with("; program")).unwrap_or_else(|| panic!("{text}"));
        let (ticks, thread) = line.split_once(" @ ").unwrap();
        let (samples, nanos) = ticks.split_once(' ').unwrap();
        assert!(samples.parse::<u64>().unwrap() > 0 && nanos.parse::<u64>().unwrap() > 1_000_000, "{line}");
        assert_eq!(thread.split("; ").count(), 3, "{line}");
    });
    let line = root.get("sys/pprof/cmdline").must(200).text();
    assert!(line.contains('\0') && line.contains("server"), "{line}");
    let file = root.send(&Request::new("GET", "/v1/sys/pprof/profile?seconds=1")).must(200);
    assert_eq!(file.header("content-type"), Some("application/octet-stream"));
}
