//! What lies in the corpus, a little changed. DER is taken apart and put together again with lengths that fit, so that the
//! parsers get far before they meet the change; then bytes are changed too.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use x509::{Padding, PrivateKey, Scheme};

/// Cases of one property, unless the environment says another number: a second or two together.
pub(crate) fn config(seed: u64, cases: u32) -> ProptestConfig {
    let config = ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    };
    // The default number is 256.
    ProptestConfig { cases: if config.cases == 256 { cases } else { config.cases }, ..config }
}

/// The files of a folder of the corpus, in the order of their names.
pub(crate) fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = base.parent().unwrap().join("x509/tests/corpus").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// The same as text.
pub(crate) fn texts(folder: &str) -> Vec<String> {
    corpus(folder).into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

/// The DER in them, whether they are PEM or DER.
pub(crate) fn ders(folder: &str) -> Vec<Vec<u8>> {
    let der = |bytes: Vec<u8>| match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN ") => x509::pem::blocks(text).unwrap()[0].der.to_vec(),
        _ => bytes,
    };
    corpus(folder).into_iter().map(der).collect()
}

/// A value of DER: what stands before the values in it (the unused bits of a BIT STRING), and those.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Leaf(u8, Vec<u8>),
    Inner(u8, Vec<u8>, Vec<Node>),
}

/// The values that the bytes are made of; nothing, if they are not.
pub(crate) fn parse(mut bytes: &[u8]) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        let (length, rest) = match *length {
            short @ 0..0x80 => (usize::from(short), rest),
            long => {
                let (size, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                (
                    size.iter()
                        .try_fold(0_usize, |all, byte| all.checked_mul(256)?.checked_add((*byte).into()))?,
                    rest,
                )
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let inner = match (*tag, content) {
            (0x03, [0, inside @ ..]) => Some((vec![0], inside)),
            (0x04, inside) => Some((vec![], inside)),
            (tag, inside) if tag & 0x20 != 0 => Some((vec![], inside)),
            _ => None,
        };
        let inner = inner.and_then(|(before, inside)| Some((before, parse(inside)?)));
        nodes.push(match inner {
            Some((before, children)) if !children.is_empty() => Node::Inner(*tag, before, children),
            _ => Node::Leaf(*tag, content.to_vec()),
        });
        bytes = rest;
    }
    bytes.is_empty().then_some(nodes)
}

/// The values one after another.
pub(crate) fn encode(nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    for node in nodes {
        let (tag, content) = match node {
            Node::Leaf(tag, content) => (*tag, content.clone()),
            Node::Inner(tag, before, children) => (*tag, [before.clone(), encode(children)].concat()),
        };
        out.push(tag);
        let length = content.len();
        if length < 0x80 {
            out.push(length as u8);
        } else {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
        out.extend(content);
    }
    out
}

/// A request that says what its body says, signed by the first key of the corpus, which stands in its place in the body.
pub(crate) fn request_of(mut body: Vec<Node>) -> Vec<u8> {
    let key = PrivateKey::from_pem(&texts("keys")[0]).unwrap();
    if let Some(Node::Inner(_, _, parts)) = body.first_mut()
        && let Some(part) = parts.get_mut(2)
    {
        *part = parse(key.public().spki()).unwrap().remove(0);
    }
    let body = encode(&body);
    let scheme = Scheme::choose(key.public().shape(), 0, Padding::Pkcs1).unwrap();
    let signature = key.sign(scheme, &body).unwrap();
    // ECDSA with SHA-256.
    let algorithm = Node::Inner(0x30, vec![], parse(&[6, 8, 42, 134, 72, 206, 61, 4, 3, 2]).unwrap());
    let rest = encode(&[algorithm, Node::Leaf(0x03, [&[0], signature.as_slice()].concat())]);
    encode(&[Node::Leaf(0x30, [body, rest].concat())])
}

/// One change to a value.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Repeat(usize),
    Tag(u8),
    Content(Vec<u8>),
    Copy(Index),
    Wrap(u8),
}

/// One change to bytes.
#[derive(Clone, Debug)]
enum Edit {
    Cut(Index, usize),
    Put(Index, Vec<u8>),
    Flip(Index, u8),
}

const TAGS: [u8; 16] =
    [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x0c, 0x13, 0x16, 0x17, 0x18, 0x1e, 0x30, 0x31, 0xa0];

fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        select(vec![
            vec![],
            vec![0],
            vec![0; 200],
            vec![0xff; 9],
            vec![0x80],
            b"a\0b".to_vec(),
            b"\xc3\x28".to_vec(),
            b"\xe2\x80\xae.example.com".to_vec(),
            b"99991231235959Z".to_vec(),
            b"000101000000Z".to_vec(),
            vec![b'a'; 70_000],
        ]),
    ]
}

fn changes() -> impl Strategy<Value = Vec<(Index, Change)>> {
    let change = prop_oneof![
        Just(Change::Remove),
        prop_oneof![Just(2_usize), Just(3), Just(70), Just(400)].prop_map(Change::Repeat),
        prop_oneof![select(TAGS.to_vec()), any::<u8>()].prop_map(Change::Tag),
        contents().prop_map(Change::Content),
        any::<Index>().prop_map(Change::Copy),
        select(TAGS.to_vec()).prop_map(Change::Wrap),
    ];
    prop::collection::vec((any::<Index>(), change), 0..4)
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Edit::Cut(at, length)),
        (any::<Index>(), contents()).prop_map(|(at, piece)| Edit::Put(at, piece)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
    ];
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(edit, 1..4)]
}

/// Values near these, which are whole again.
pub(crate) fn near_values(ders: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<Node>> {
    let nodes: Vec<_> = ders.iter().map(|der| parse(der).expect("the corpus is DER")).collect();
    (select(nodes), changes()).prop_map(|(mut nodes, changes)| {
        for (at, change) in changes {
            let count = count(&nodes);
            if count == 0 {
                break;
            }
            let donor = match &change {
                Change::Copy(from) => nth(&nodes, &mut from.index(count)).cloned(),
                _ => None,
            };
            apply(&mut nodes, &mut at.index(count), &change, donor.as_ref());
        }
        nodes
    })
}

/// Bytes that show as hex when a test fails.
#[derive(Clone)]
pub(crate) struct Der(pub(crate) Vec<u8>);

impl std::fmt::Debug for Der {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::ops::Deref for Der {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

/// Bytes near these.
pub(crate) fn near(ders: Vec<Vec<u8>>) -> impl Strategy<Value = Der> {
    (near_values(ders), edits()).prop_map(|(nodes, edits)| Der(edited(encode(&nodes), &edits)))
}

/// Text near these.
pub(crate) fn near_text(texts: Vec<String>) -> impl Strategy<Value = String> {
    const PIECES: [&str; 16] = [
        "-----BEGIN ",
        "-----END ",
        "-----",
        "\n",
        "\r\n",
        ":",
        "=",
        "====",
        "\0",
        "\u{e9}",
        "{",
        "\"",
        "[",
        "null",
        "AAAA",
        "-----BEGIN CERTIFICATE-----\n",
    ];
    let edit = prop_oneof![
        (any::<Index>(), 1_usize..200).prop_map(|(at, length)| Edit::Cut(at, length)),
        (any::<Index>(), select(PIECES.to_vec()))
            .prop_map(|(at, piece)| Edit::Put(at, piece.as_bytes().to_vec())),
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
    ];
    (select(texts), prop::collection::vec(edit, 0..5))
        .prop_map(|(text, edits)| String::from_utf8_lossy(&edited(text.into_bytes(), &edits)).into_owned())
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match edit {
            Edit::Cut(index, length) => {
                let (from, end) = (at(index), bytes.len());
                drop(bytes.drain(from..(from + length).min(end)));
            }
            Edit::Put(index, piece) => {
                let from = at(index);
                drop(bytes.splice(from..from, piece.iter().copied()));
            }
            Edit::Flip(index, bits) => {
                let from = at(index);
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= bits;
                }
            }
        }
    }
    bytes
}

fn count(nodes: &[Node]) -> usize {
    let each = |node: &Node| match node {
        Node::Leaf(..) => 1,
        Node::Inner(_, _, children) => 1 + count(children),
    };
    nodes.iter().map(each).sum()
}

fn nth<'a>(nodes: &'a [Node], left: &mut usize) -> Option<&'a Node> {
    for node in nodes {
        if *left == 0 {
            return Some(node);
        }
        *left -= 1;
        if let Node::Inner(_, _, children) = node
            && let Some(found) = nth(children, left)
        {
            return Some(found);
        }
    }
    None
}

/// Changes the value of that number, and says whether it was among these.
fn apply(nodes: &mut Vec<Node>, left: &mut usize, change: &Change, donor: Option<&Node>) -> bool {
    for at in 0..nodes.len() {
        if *left > 0 {
            *left -= 1;
            if let Node::Inner(_, _, children) = &mut nodes[at]
                && apply(children, left, change, donor)
            {
                return true;
            }
            continue;
        }
        let node = nodes[at].clone();
        match (change, node) {
            (Change::Remove, _) => drop(nodes.remove(at)),
            (Change::Repeat(times), node) => drop(nodes.splice(at..=at, std::iter::repeat_n(node, *times))),
            (Change::Tag(tag), Node::Leaf(_, content)) => nodes[at] = Node::Leaf(*tag, content),
            (Change::Tag(tag), Node::Inner(_, before, children)) => {
                nodes[at] = Node::Inner(*tag, before, children)
            }
            (Change::Content(content), Node::Leaf(tag, _) | Node::Inner(tag, ..)) => {
                nodes[at] = Node::Leaf(tag, content.clone());
            }
            (Change::Copy(_), node) => nodes[at] = donor.cloned().unwrap_or(node),
            (Change::Wrap(tag), node) => nodes[at] = Node::Inner(*tag, vec![], vec![node]),
        }
        return true;
    }
    false
}
