//! How the release is linked. A third of the program would otherwise be what it holds twice, and what finds its own addresses.

use std::env;
use std::process::Command;

/// glibc reads packed relocations since this version.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[expect(
        clippy::disallowed_methods,
        reason = "this is how cargo tells what is built, and no configuration"
    )]
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    // Of the linkers, the one that Rust brings for this target is known to have these arguments.
    if !is("PROFILE", "release") || !is("TARGET", "x86_64-unknown-linux-gnu") {
        return;
    }
    // Functions of equal code become one: generic code is compiled once for each type, and often comes out the same.
    println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    if is("HOST", "x86_64-unknown-linux-gnu") && glibc().is_some_and(|version| version >= PACKED_SINCE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().rsplit_once(' ')?.1.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
