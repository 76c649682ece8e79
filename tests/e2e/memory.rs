//! Where keys are in the memory of a server: in locked pages alone while it is open, and nowhere once it is sealed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use serde_json::json;
use tests::binary::Binary;
use tests::http::Client;
use tests::scratch::Scratch;
use tests::server::{Config, Keys, Server, Storage};

/// What is looked at at a time. Parts overlap by the longest thing that is looked for.
const PART: usize = 1 << 20;
const OVERLAP: usize = 128;
/// What is looked for of a locked page.
const PIECE: usize = 32;
/// Counters, pointers and zeros have fewer different bytes than a key.
const DIFFERENT_MIN: usize = 20;

/// Writable memory of a process.
struct Area {
    from: u64,
    until: u64,
    name: String,
    /// Left out of core dumps, as only memory for keys is.
    kept: bool,
}

/// The memory of a server. `None` to whoever may not look at it.
fn memory(server: &Server) -> Option<(File, Vec<Area>)> {
    let folder = format!("/proc/{}", server.pid());
    let memory = File::open(format!("{folder}/mem")).ok()?;
    let mut areas: Vec<Area> = Vec::new();
    for line in std::fs::read_to_string(format!("{folder}/smaps")).ok()?.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let bounds = words[0].split_once('-').and_then(|(from, until)| {
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(until, 16).ok()?))
        });
        match (bounds, areas.last_mut()) {
            (Some((from, until)), _) => {
                // What cannot be written has no size here, and is not looked at.
                let until = if words[1].contains('w') { until } else { from };
                areas.push(Area { from, until, name: line.to_owned(), kept: false });
            }
            (None, Some(area)) if words[0] == "VmFlags:" => area.kept = words.contains(&"dd"),
            _ => {}
        }
    }
    Some((memory, areas))
}

/// Hands each part that is not empty to `each`.
fn parts(memory: &File, area: &Area, mut each: impl FnMut(u64, &[u8])) {
    let (mut part, zeros) = (vec![0; PART + OVERLAP], vec![0; PART + OVERLAP]);
    for at in (area.from..area.until).step_by(PART) {
        let size = usize::try_from(area.until - at).unwrap().min(part.len());
        let part = &mut part[..size];
        // What was unmapped meanwhile is not there.
        if memory.read_exact_at(part, at).is_ok() && *part != zeros[..size] {
            each(at, part);
        }
    }
}

/// Everything in locked pages that looks like a key.
fn keys(server: &Server) -> Option<Vec<Vec<u8>>> {
    let (memory, areas) = memory(server)?;
    let mut found = Vec::new();
    for area in areas.iter().filter(|area| area.kept) {
        parts(&memory, area, |_, part| {
            for piece in part.chunks_exact(PIECE) {
                let mut different = piece.to_vec();
                different.sort_unstable();
                different.dedup();
                if different.len() >= DIFFERENT_MIN {
                    found.push(piece.to_vec());
                }
            }
        });
    }
    Some(found)
}

/// Where any of `wanted` lies, outside of locked pages or anywhere.
fn found(server: &Server, wanted: &[Vec<u8>], anywhere: bool) -> Vec<String> {
    let (memory, areas) = memory(server).unwrap();
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut starts: Vec<Vec<&Vec<u8>>> = vec![Vec::new(); 1 << 16];
    wanted.iter().for_each(|wanted| starts[start(wanted)].push(wanted));
    let mut places = Vec::new();
    for area in areas.iter().filter(|area| anywhere || !area.kept) {
        parts(&memory, area, |at, part| {
            for (offset, pair) in part.windows(2).enumerate() {
                if starts[start(pair)].iter().any(|wanted| part[offset..].starts_with(wanted)) {
                    places.push(format!("{:x} in {}", at + offset as u64, area.name));
                }
            }
        });
    }
    places
}

#[test]
fn keys_are_in_locked_pages_and_go_with_the_seal() {
    let folder = Scratch::new();
    let server = Server::configured(&Binary::sealkeep(), &Config::new(Storage::File, folder.path()));
    let shares = server.init(5, 3);
    server.unseal(&shares);
    let root = server.anonymous().with(&shares.root);
    root.post("sys/mounts/kv", json!({"type": "kv"})).must(204);
    for number in 0..50 {
        let path = format!("kv/folder/{number}");
        root.post(&path, json!({"x": "y"})).must(204);
        root.get(&path).must(200);
        root.get("kv/folder/?list=true").must(200);
    }
    // Only root may look at the memory of a process that keeps itself out of core dumps.
    let Some(keys) = keys(&server) else { return };
    assert!(keys.len() > 20, "keys and their schedules are in locked pages: {}", keys.len());
    assert_eq!(found(&server, &keys, false), Vec::<String>::new(), "keys outside of locked pages");
    root.post("sys/seal", json!({})).must(204);
    server.until("it is sealed", |client| client.get("sys/health").status == 503);
    assert_eq!(found(&server, &keys, true), Vec::<String>::new(), "keys after the seal");
    let old: Vec<Vec<u8>> = shares.shares.iter().flat_map(|share| spelt(share)).collect();
    assert_eq!(found(&server, &old, true), Vec::<String>::new(), "old shares after the seal");
}

#[test]
fn new_shares_go_with_their_answer() {
    let folder = Scratch::new();
    let (server, keys) = Server::opened(&Binary::sealkeep(), &Config::new(Storage::File, folder.path()));
    if memory(&server).is_none() {
        return;
    }
    let root = server.anonymous().with(&keys.root);
    let seal = json!({"seal": "seal \"shamir\" { shares = 3 threshold = 2 }"});
    let made = root.post("sys/namespaces/a", seal).must(200).json();
    let shares = made["data"]["key_shares"].as_array().unwrap().iter();
    let mut told: Vec<Vec<u8>> = shares.flat_map(|share| spelt(share.as_str().unwrap())).collect();
    told.extend(rotated(&root, &keys));
    // Nothing is asked after it that would take the place of the answer.
    assert_eq!(found(&server, &told, true), Vec::<String>::new(), "new shares");
    root.post("sys/seal", json!({})).must(204);
    server.until("it is sealed", |client| client.get("sys/health").status == 503);
    assert_eq!(found(&server, &told, true), Vec::<String>::new(), "new shares after the seal");
}

/// A share in hex, and the bytes that it stands for.
fn spelt(share: &str) -> [Vec<u8>; 2] {
    let digits = share.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    [share.as_bytes().to_vec(), digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()]
}

/// Makes a new key. Its shares in all the ways they are spelt.
fn rotated(root: &Client, keys: &Keys) -> Vec<Vec<u8>> {
    let begun =
        root.post("sys/rotate/root/init", json!({"secret_shares": 7, "secret_threshold": 4})).must(200);
    let nonce = begun.at("/data/nonce");
    let show = |share| root.post("sys/rotate/root/update", json!({"key": share, "nonce": nonce})).must(200);
    let told =
        keys.shares.iter().take(keys.threshold).fold(None, |_, share| Some(show(share))).unwrap().json();
    let texts = |name: &str| {
        let texts = told["data"][name].as_array().unwrap().iter();
        texts.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut spelt: Vec<Vec<u8>> = texts("keys").iter().flat_map(|share| spelt(share)).collect();
    assert_eq!(spelt.len(), 14, "{told}");
    spelt.extend(texts("keys_base64").into_iter().map(String::into_bytes));
    spelt
}
