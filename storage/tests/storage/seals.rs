use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use storage::seal::shamir::{Share, SharesError, combine, split};
use storage::seal::{KeyBytes, NamedKey, SealChoice, SealConfig, Split, UnsealKey};
use storage::{Committer, Key, Memory, Open, Phase, Sealed, SystemRandom, UnsealError};

use crate::desk::{PLACE, Seeded, options};

fn blank(memory: &Memory) -> storage::Blank {
    match storage::open(Box::new(memory.clone()), options(Committer::Inline)).unwrap() {
        Phase::Blank(blank) => blank,
        Phase::Sealed(_) => panic!("not blank"),
    }
}

fn sealed(memory: &Memory) -> Sealed {
    match storage::open(Box::new(memory.clone()), options(Committer::Inline)).unwrap() {
        Phase::Sealed(sealed) => sealed,
        Phase::Blank(_) => panic!("not sealed"),
    }
}

fn unseal(sealed: Sealed, key: &UnsealKey) -> Result<Open, UnsealError> {
    sealed.unseal(key, Arc::new(SystemRandom)).map_err(|still| still.why)
}

fn shamir_key(split: Split, shares: &[Share]) -> UnsealKey {
    UnsealKey::Shamir(split.combine(shares).unwrap())
}

fn store_something(open: &Open) {
    let mut txn = open.begin();
    txn.put(&Key::path(PLACE, "a"), b"value".to_vec()).unwrap();
    open.commit(txn).unwrap().unwrap();
}

#[track_caller]
fn still_there(open: &Open) {
    assert_eq!(&*open.snapshot().get(&Key::path(PLACE, "a")).unwrap().unwrap(), b"value");
}

fn named(id: &str, byte: u8) -> NamedKey {
    NamedKey { id: id.to_owned(), key: KeyBytes::from_bytes([byte; 32]) }
}

#[test]
fn any_threshold_of_shares_unseals_and_fewer_do_not() {
    let memory = Memory::new();
    let choice = Split { shares: 5, threshold: 3 };
    let (store, made) = blank(&memory).init(&SealChoice::Shamir(choice), &SystemRandom).unwrap();
    assert_eq!(store.seal_config(), &SealConfig::Shamir(choice));
    assert_eq!(made.shares.len(), 5);
    assert!(
        made.shares.iter().all(|share| share.as_bytes().len() == 33),
        "32 bytes and x, as clients know them"
    );
    store_something(&unseal(store, &made.key).unwrap());
    for pick in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
        let shares: Vec<Share> = pick.iter().map(|at| made.shares[*at].clone()).collect();
        still_there(&unseal(sealed(&memory), &shamir_key(choice, &shares)).unwrap());
    }
    assert_eq!(choice.combine(&made.shares[..2]).unwrap_err(), SharesError::TooFew);
    let two = Split { shares: 5, threshold: 2 };
    let wrong = unseal(sealed(&memory), &shamir_key(two, &made.shares[..2]));
    assert!(matches!(wrong, Err(UnsealError::WrongKey)));
}

#[test]
fn a_wrong_key_hands_the_store_back() {
    let memory = Memory::new();
    let (store, made) =
        blank(&memory).init(&SealChoice::Shamir(Split { shares: 1, threshold: 1 }), &SystemRandom).unwrap();
    let wrong = UnsealKey::Shamir(KeyBytes::from_bytes([0; 32]));
    let Err(still) = store.unseal(&wrong, Arc::new(SystemRandom)) else { panic!("opened by a wrong key") };
    assert!(matches!(still.why, UnsealError::WrongKey));
    unseal(still.sealed, &made.key).unwrap();
    assert_eq!(made.shares[0].as_bytes().len(), 32, "a single share is the key itself");
}

#[test]
fn numbers_of_shares_that_cannot_be() {
    let check = |shares, threshold, text: &str| {
        let error = Split { shares, threshold }.check().unwrap_err().to_string();
        assert_eq!(error, format!("invalid seal configuration: {text}"));
    };
    check(0, 0, "shares must be at least one");
    check(5, 0, "threshold must be at least one");
    check(2, 3, "threshold cannot be larger than shares");
    check(2, 1, "threshold must be greater than one for multiple shares");
    Split { shares: 255, threshold: 255 }.check().unwrap();
}

#[test]
fn a_static_key_unseals_and_its_successor_takes_over() {
    let memory = Memory::new();
    let recovery = Split { shares: 3, threshold: 2 };
    let choice = SealChoice::Static { key: named("one", 1), recovery: Some(recovery) };
    let (store, made) = blank(&memory).init(&choice, &SystemRandom).unwrap();
    assert!(made.shares.is_empty() && made.recovery.len() == 3);
    let open = unseal(store, &made.key).unwrap();
    store_something(&open);
    assert!(open.admits(&recovery.combine(&made.recovery[1..]).unwrap()).unwrap());
    assert!(!open.admits(&KeyBytes::from_bytes([1; 32])).unwrap(), "the static key is no recovery key");
    drop(open);

    let unrelated = UnsealKey::Static { current: named("two", 2), previous: Some(named("zero", 0)) };
    assert!(matches!(unseal(sealed(&memory), &unrelated), Err(UnsealError::WrongKey)));
    let changing = UnsealKey::Static { current: named("two", 2), previous: Some(named("one", 1)) };
    still_there(&unseal(sealed(&memory), &changing).unwrap());
    let SealConfig::Static { key_id, .. } = sealed(&memory).seal_config().clone() else {
        panic!("not static")
    };
    assert_eq!(key_id, "two");
    let only_new = UnsealKey::Static { current: named("two", 2), previous: None };
    let open = unseal(sealed(&memory), &only_new).unwrap();
    still_there(&open);

    let (seal, shares) = open.draft_recovery(Split { shares: 1, threshold: 1 }).unwrap();
    open.install(seal).unwrap();
    assert!(!open.admits(&recovery.combine(&made.recovery[1..]).unwrap()).unwrap());
    assert!(open.admits(&KeyBytes::from_slice(shares[0].as_bytes()).unwrap()).unwrap());
    drop(open);
    still_there(&unseal(sealed(&memory), &only_new).unwrap());
}

#[test]
fn a_new_seal_holds_once_it_is_installed() {
    let memory = Memory::new();
    let old = Split { shares: 1, threshold: 1 };
    let (store, made) = blank(&memory).init(&SealChoice::Shamir(old), &SystemRandom).unwrap();
    let open = unseal(store, &made.key).unwrap();
    store_something(&open);
    let new = Split { shares: 3, threshold: 2 };
    let (seal, remade) = open.draft_seal(&SealChoice::Shamir(new)).unwrap();
    let UnsealKey::Shamir(old_key) = &made.key else { panic!("not shamir") };
    assert!(open.admits(old_key).unwrap(), "a draft changes nothing");
    open.install(seal).unwrap();
    assert!(!open.admits(old_key).unwrap());
    drop(open);
    assert!(matches!(unseal(sealed(&memory), &made.key), Err(UnsealError::WrongKey)));
    let key = shamir_key(new, &remade.shares[1..]);
    let open = unseal(sealed(&memory), &key).unwrap();
    still_there(&open);

    // And on to another kind of seal.
    let (seal, _) = open.draft_seal(&SealChoice::Static { key: named("s", 9), recovery: None }).unwrap();
    open.install(seal).unwrap();
    let (recovery, _) = open.draft_recovery(Split { shares: 2, threshold: 2 }).unwrap();
    open.install(recovery).unwrap();
    drop(open);
    let key = UnsealKey::Static { current: named("s", 9), previous: None };
    still_there(&unseal(sealed(&memory), &key).unwrap());
}

#[test]
fn a_new_root_key_changes_no_share() {
    let memory = Memory::new();
    let choice = Split { shares: 3, threshold: 2 };
    let (store, made) = blank(&memory).init(&SealChoice::Shamir(choice), &SystemRandom).unwrap();
    let open = unseal(store, &made.key).unwrap();
    store_something(&open);
    let record = || memory.dump().into_iter().find(|(key, _)| key.ends_with(b"seal")).unwrap();
    let before = record();
    open.reroot().unwrap();
    assert_ne!(before, record(), "the record of the seal holds another root key");
    let UnsealKey::Shamir(key) = &made.key else { panic!("not shamir") };
    assert!(open.admits(key).unwrap());
    drop(open);
    let open = unseal(sealed(&memory), &shamir_key(choice, &made.shares[1..])).unwrap();
    still_there(&open);

    let recovery = Split { shares: 2, threshold: 2 };
    let (seal, _) =
        open.draft_seal(&SealChoice::Static { key: named("s", 9), recovery: Some(recovery) }).unwrap();
    open.install(seal).unwrap();
    open.reroot().unwrap();
    assert_eq!(open.seal_config().unwrap().split(), Some(recovery), "the recovery key stays");
    drop(open);
    still_there(
        &unseal(sealed(&memory), &UnsealKey::Static { current: named("s", 9), previous: None }).unwrap(),
    );
}

#[test]
fn a_rotation_leaves_old_entries_names_and_blobs_readable() {
    let memory = Memory::new();
    let (store, made) =
        blank(&memory).init(&SealChoice::Shamir(Split { shares: 1, threshold: 1 }), &SystemRandom).unwrap();
    let open = unseal(store, &made.key).unwrap();
    store_something(&open);
    let blob = open.seal_blob(b"for", b"plain").unwrap();
    let salt = open.derive(b"salt");
    let before = open.key_status();
    assert_eq!((before.term, before.encryptions), (1, 2));
    assert_eq!(open.rotate().unwrap().term, 2);
    store_something(&open);
    assert_eq!(open.key_status().encryptions, 1);
    drop(open.shut());
    drop(open);
    let open = unseal(sealed(&memory), &made.key).unwrap();
    still_there(&open);
    assert_eq!(open.snapshot().list(PLACE, "").unwrap().to_vec(), ["a"]);
    assert_eq!(&**open.open_blob(b"for", &blob).unwrap(), b"plain");
    assert!(open.open_blob(b"other", &blob).is_none());
    assert_eq!(open.derive(b"salt"), salt);
    let after = open.key_status();
    assert_eq!(
        (after.term, after.installed, after.encryptions),
        (2, 7, 1),
        "a clean end keeps the exact count"
    );
}

#[test]
fn a_used_up_term_is_followed_by_the_next() {
    let memory = Memory::new();
    let (store, made) =
        blank(&memory).init(&SealChoice::Shamir(Split { shares: 1, threshold: 1 }), &SystemRandom).unwrap();
    drop(store);
    let used_up = [&1_u32.to_be_bytes()[..], &(1_u64 << 31).to_be_bytes()].concat();
    memory.tamper(b"\0seals", &used_up);
    let open = unseal(sealed(&memory), &made.key).unwrap();
    assert_eq!(open.key_status().encryptions, 1 << 31);
    store_something(&open);
    assert_eq!(open.key_status().term, 2);
    store_something(&open);
    drop(open);
    let open = unseal(sealed(&memory), &made.key).unwrap();
    still_there(&open);
    assert_eq!(open.key_status().term, 2);
}

#[test]
fn a_crash_never_makes_the_count_of_seals_too_small() {
    let memory = Memory::new();
    let (store, made) =
        blank(&memory).init(&SealChoice::Shamir(Split { shares: 1, threshold: 1 }), &SystemRandom).unwrap();
    let open = unseal(store, &made.key).unwrap();
    (0..10).for_each(|_| store_something(&open));
    drop(open);
    assert!(unseal(sealed(&memory), &made.key).unwrap().key_status().encryptions >= 10);
}

#[test]
fn nor_do_seals_that_no_commit_counts() {
    let memory = Memory::new();
    let (store, made) =
        blank(&memory).init(&SealChoice::Shamir(Split { shares: 1, threshold: 1 }), &SystemRandom).unwrap();
    let mut before = 0;
    let mut open = unseal(store, &made.key).unwrap();
    for seals in [1, 40_000, 200_000] {
        (0..seals).for_each(|_| drop(open.seal_blob(b"for", b"plain").unwrap()));
        drop(open);
        open = unseal(sealed(&memory), &made.key).unwrap();
        let after = open.key_status().encryptions;
        assert!(after >= before + seals, "{after} after {before} and {seals}");
        before = after;
    }
}

#[test]
fn a_sealed_store_opens_again_without_the_folder_being_let_go() {
    let memory = Memory::new();
    let (store, made) =
        blank(&memory).init(&SealChoice::Shamir(Split { shares: 1, threshold: 1 }), &SystemRandom).unwrap();
    let open = unseal(store, &made.key).unwrap();
    store_something(&open);
    let reading = open.snapshot();
    let store = open.shut();
    let mut late = open.begin();
    late.put(&Key::path(PLACE, "late"), vec![]).unwrap();
    assert!(matches!(open.commit(late), Err(storage::Error::Closed)));
    assert_eq!(&*reading.get(&Key::path(PLACE, "a")).unwrap().unwrap(), b"value", "a request in flight ends");
    still_there(&unseal(store, &made.key).unwrap());
}

/// Shares that OpenBao 2.7.2 handed out, and the key that its own code makes of them.
#[test]
fn shares_of_openbao_combine() {
    for vector in include_str!("shamir-vectors.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut fields = vector.split(' ');
        let secret = hex::decode(fields.next().unwrap()).unwrap();
        let shares: Vec<Share> = fields.map(|share| Share::new(STANDARD.decode(share).unwrap())).collect();
        assert_eq!(combine(&shares).unwrap().to_vec(), secret);
        let reversed: Vec<Share> = shares.iter().rev().cloned().collect();
        assert_eq!(combine(&reversed).unwrap().to_vec(), secret);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_threshold_makes_the_secret_and_less_does_not(
        secret in proptest::collection::vec(any::<u8>(), 16..40),
        threshold in 2..20_u8,
        more in 0..20_u8,
        seed in any::<u64>(),
    ) {
        let random = Seeded::new(seed);
        let mut shares = split(&secret, threshold + more, threshold, &random).unwrap();
        for at in (1..shares.len()).rev() {
            shares.swap(at, random.below(at as u64 + 1) as usize);
        }
        prop_assert_eq!(&combine(&shares[..usize::from(threshold)]).unwrap()[..], &secret[..]);
        prop_assert_eq!(&combine(&shares).unwrap()[..], &secret[..]);
        if threshold > 2 {
            prop_assert_ne!(&combine(&shares[..usize::from(threshold) - 1]).unwrap()[..], &secret[..]);
        }
    }
}

fn seeded(seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(seeded(7))]

    /// Garbage is refused or makes some key, whatever it looks like; it never ends anything else.
    #[test]
    fn garbage_makes_no_noise(
        shares in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        threshold in 0_u8..6,
    ) {
        let shares: Vec<Share> = shares.into_iter().map(Share::new).collect();
        let _ = Split { shares: 5, threshold }.combine(&shares);
    }

    /// Any shares that are enough make the key in any order; one that was touched spoils it.
    #[test]
    fn enough_true_shares_make_the_key(
        key in any::<[u8; 32]>(),
        threshold in 2_u8..6,
        order in Just((0_usize..7).collect::<Vec<_>>()).prop_shuffle(),
        touched in (any::<prop::sample::Index>(), 0_usize..32, 1_u8..),
    ) {
        let split = Split { shares: 7, threshold };
        let shares = split.of(&KeyBytes::from_bytes(key), &SystemRandom).unwrap();
        let picked: Vec<Share> =
            order.iter().take(usize::from(threshold)).map(|at| shares[*at].clone()).collect();
        let made = split.combine(&picked).unwrap();
        prop_assert_eq!(made.expose(), &key);
        let (which, byte, bits) = touched;
        let mut spoilt = picked.clone();
        let which = which.index(spoilt.len());
        let mut bytes = spoilt[which].as_bytes().to_vec();
        bytes[byte] ^= bits;
        spoilt[which] = Share::new(bytes);
        let made = split.combine(&spoilt).unwrap();
        prop_assert_ne!(made.expose(), &key);
        let mut doubled = picked;
        doubled[0] = doubled[1].clone();
        prop_assert_eq!(split.combine(&doubled).unwrap_err(), SharesError::Doubled);
    }
}
