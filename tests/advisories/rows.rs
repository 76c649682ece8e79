//! The table of advisories as a whole: each row is held by a test, or it is said why none can be.

use std::collections::BTreeSet;
use std::path::Path;

/// The rows of the table.
const ROWS: [u16; 126] = [
    1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26, 27, 29, 30, 31, 33, 34, 35, 37,
    38, 39, 41, 42, 43, 45, 46, 47, 49, 50, 51, 53, 54, 55, 57, 58, 59, 61, 62, 63, 65, 66, 67, 69, 70, 71,
    73, 74, 75, 77, 78, 79, 81, 82, 83, 85, 86, 87, 89, 90, 91, 93, 94, 95, 97, 98, 99, 101, 102, 103, 105,
    106, 107, 109, 110, 111, 113, 114, 115, 117, 118, 119, 121, 122, 123, 125, 126, 127, 129, 130, 131, 133,
    134, 135, 137, 138, 139, 141, 142, 143, 145, 146, 147, 149, 150, 151, 153, 154, 155, 157, 158, 159, 161,
    162, 163, 165, 166, 167,
];

/// Rows that are held beside the code, or where a site, a clock or an agent stands.
const ELSEWHERE: [(u16, &str); 9] = [
    (51, "tests/e2e/cert.rs"),
    (67, "tests/sim/factors.rs"),
    (81, "tests/sim/mfa.rs"),
    (122, "server/engines/tests/pki/acme/proofs.rs"),
    (131, "server/engines/tests/pki/acme/caa.rs"),
    (133, "server/engines/tests/pki/acme/orders.rs"),
    (150, "tests/sim/unmounting.rs"),
    (161, "tests/deploy.py"),
    (162, "tests/e2e/keep_secrets.rs"),
];

/// Rows about parts that Sealkeep does not have.
const NOT_HERE: [(u16, &str); 21] = [
    (54, "no logins by a cloud"),
    (55, "no logins by a cloud"),
    (57, "no logins by a cloud"),
    (66, "no logins by a cloud"),
    (93, "no databases outside"),
    (103, "no cluster to join"),
    (106, "no plugins"),
    (118, "no keys in hardware"),
    (129, "no SCEP"),
    (130, "SSH certificates are not revoked"),
    (134, "no ACME client"),
    (135, "no manifests for Kubernetes"),
    (142, "no cluster to join"),
    (151, "no databases outside"),
    (153, "no accounts of a cloud"),
    (154, "no pages that show what is stored"),
    (155, "no pages that show what is stored"),
    (157, "no databases beneath"),
    (158, "no databases outside"),
    (165, "no volumes for Kubernetes"),
    (166, "no operator for Kubernetes"),
];

#[test]
fn every_row_is_held_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut held: BTreeSet<u16> = BTreeSet::new();
    for file in std::fs::read_dir(root.join("tests/advisories")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        held.extend(text.split("\nfn row_").skip(1).map(|rest| rest[..3].parse::<u16>().unwrap()));
    }
    for (row, file) in ELSEWHERE {
        assert!(root.join(file).exists(), "row {row}: {file} is gone");
        held.insert(row);
    }
    let absent: BTreeSet<u16> = NOT_HERE.iter().map(|(row, _)| *row).collect();
    assert!(held.is_disjoint(&absent), "{:?} are held after all", held.intersection(&absent));
    let known: BTreeSet<u16> = ROWS.into_iter().collect();
    let spoken_of: BTreeSet<u16> = held.union(&absent).copied().collect();
    assert_eq!(spoken_of, known);
}
