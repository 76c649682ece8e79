//! J. Denial of service, by whoever has shown nothing yet: what they make the server hold is bounded and shared.

use tests::frames::{Frames, LATEST, head, kept};

use crate::load::resident_kib;
use crate::stage::Stage;

#[test]
fn also_a_head_that_is_repeated_is_held_once() {
    let stage = Stage::dev();
    let before = resident_kib(&stage);
    let open = || {
        let mut frames = Frames::connect(stage.server.address(), &[]).unwrap();
        let first =
            [head("POST", "/v1/sys/unseal", &[]), kept("a", &"v".repeat(3_900)), vec![LATEST; 6]].concat();
        frames.request(&first, true).unwrap();
        let again = [head("POST", "/v1/sys/unseal", &[]), vec![LATEST; 7]].concat();
        for _ in 0..120 {
            frames.request(&again, true).unwrap();
        }
        frames.settle();
        frames
    };
    let held: Vec<Frames> = (0..20).map(|_| open()).collect();
    let grown = resident_kib(&stage).saturating_sub(before);
    // A copy for each request would be 66,000 KiB.
    assert!(grown < 40 * 1024, "{grown} KiB");
    stage.lives();
    drop(held);
}

#[test]
fn also_a_head_is_small_over_http_2() {
    let stage = Stage::dev();
    let status = |more: Vec<u8>| {
        let mut frames = Frames::connect(stage.server.address(), &[]).unwrap();
        frames.request(&[head("GET", "/v1/sys/health", &[]), more].concat(), false).unwrap();
        frames.status().unwrap()
    };
    assert_eq!(status(Vec::new()), 200);
    assert_eq!(status([kept("a", "b"), vec![LATEST; 95]].concat()), 200);
    assert_eq!(status([kept("a", "b"), vec![LATEST; 100]].concat()), 431, "too many fields");
    assert_eq!(status([kept("a", &"v".repeat(3_900)), vec![LATEST; 6]].concat()), 200);
    assert_eq!(status([kept("a", &"v".repeat(3_900)), vec![LATEST; 8]].concat()), 431, "too long");
}
