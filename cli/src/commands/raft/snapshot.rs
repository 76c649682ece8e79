//! Copies of the storage of a raft cluster: an archive with a list of its own hashes.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use clap::{Args, Subcommand};
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

use super::refused;
use crate::{
    agent::disk::sync_folder,
    call::Call,
    output::say,
    session::Session,
    stop::{Outcome, Stop},
    upload::Upload,
};

/// Copies of the storage of a raft cluster
#[derive(Subcommand, Debug)]
pub(crate) enum Snapshot {
    Save(Save),
    Restore(Restore),
    Inspect(Inspect),
}

impl Snapshot {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self {
            Snapshot::Save(verb) => verb.run(session).await,
            Snapshot::Restore(verb) => verb.run(session).await,
            Snapshot::Inspect(verb) => verb.run(session),
        }
    }
}

/// Write a snapshot into a file, or into a folder of them
///
/// The file appears once the snapshot is whole and its hashes are right. It is for its owner alone. In a folder it is named by the
/// time, and -retain takes older ones away once it is there.
#[derive(Args, Debug)]
pub(crate) struct Save {
    /// How many snapshots to keep in the folder
    #[arg(long, value_name = "COUNT")]
    retain: Option<NonZeroUsize>,
    /// File to write, or a folder
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

const DURING_SAVE: &str = "Error taking the snapshot";

impl Save {
    async fn run(self, session: &Session) -> Outcome {
        let into_folder = self.file.is_dir();
        if self.retain.is_some() && !into_folder {
            let text = format!("-retain keeps snapshots of a folder, and {} is none", self.file.display());
            return Err(Stop::local(text).hint("Make the folder first, and name it in place of the file."));
        }
        let (file, part) = match into_folder {
            true => (self.file.join(dated()), self.file.join(PART)),
            false => {
                let name = self
                    .file
                    .file_name()
                    .ok_or_else(|| Stop::local(format!("{} is no name of a file", self.file.display())))?;
                let part = self.file.with_file_name(format!("{}.part", name.to_string_lossy()));
                (self.file.clone(), part)
            }
        };
        let saved = fetch(session, &part).await.and_then(|()| {
            read(&part)?;
            fs::rename(&part, &file).map_err(|e| unwritable(&file, &e))
        });
        if saved.is_err() {
            // What is not whole is of no use; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&part);
        }
        saved?;
        if into_folder {
            sync_folder(&self.file).map_err(|e| unwritable(&self.file, &e))?;
            say(file.display().to_string());
        }
        if let Some(count) = self.retain {
            retain(&self.file, count.get())?;
        }
        Ok(0)
    }
}

/// Names of snapshots in a folder begin and end so, and what is between sorts by time.
const PREFIX: &str = "sealkeep-";
const SUFFIX: &str = ".snap";
/// What a snapshot in a folder is called until it is whole. One that was left behind is in nobody's way.
const PART: &str = "sealkeep.snap.part";

/// `sealkeep-20261127T201343.123Z.snap`
fn dated() -> String {
    let now = time::OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second, milli) = now.to_hms_milli();
    format!("{PREFIX}{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{milli:03}Z{SUFFIX}")
}

/// Takes all but the newest snapshots of a folder away. What is named otherwise is not ours.
fn retain(folder: &Path, count: usize) -> Result<(), Stop> {
    let trouble = |e: std::io::Error| {
        Stop::local(format!("The snapshot is there, but older ones in {} remain: {e}", folder.display()))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(trouble)? {
        let name = entry.map_err(trouble)?.file_name();
        let time = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        if time
            .is_some_and(|time| time.len() == 20 && time.ends_with('Z') && time.starts_with(char::is_numeric))
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.truncate(names.len().saturating_sub(count));
    names.iter().try_for_each(|name| fs::remove_file(folder.join(name))).map_err(trouble)
}

async fn fetch(session: &Session, part: &Path) -> Result<(), Stop> {
    let mut out = None;
    let mut trouble = None;
    let call = Call::get("sys/storage/raft/snapshot");
    let keep = |piece: &[u8]| {
        if trouble.is_some() {
            return;
        }
        // Only an answer makes a file: a refusal leaves nothing behind.
        let written = match &mut out {
            Some(file) => Ok(file),
            None => create(part).map(|file| out.insert(file)),
        };
        trouble = written.and_then(|file| file.write_all(piece)).err();
    };
    session.client.stream(call, keep).await.map_err(|e| {
        let alone = e.status() == Some(404);
        let stop = e.during(DURING_SAVE);
        if !alone {
            return stop;
        }
        stop.hint("This server makes no snapshots of its storage.")
    })?;
    match (out, trouble) {
        (_, Some(error)) => Err(unwritable(part, &error)),
        (None, None) => Err(Stop::remote(format!("{DURING_SAVE}: the server sent nothing"))),
        (Some(file), None) => file.sync_all().map_err(|e| unwritable(part, &e)),
    }
}

fn create(file: &Path) -> std::io::Result<fs::File> {
    if fs::symlink_metadata(file).is_ok() {
        fs::remove_file(file)?;
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

fn unwritable(file: &Path, error: &std::io::Error) -> Stop {
    Stop::remote(format!("{DURING_SAVE}: {} cannot be written: {error}", file.display()))
}

/// Put a snapshot in place of everything that the cluster holds
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// Even one of another cluster, with other unseal keys
    #[arg(short, long)]
    force: bool,
    /// File to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Restore {
    async fn run(self, session: &Session) -> Outcome {
        let upload = Upload { file: self.file };
        upload.open().map_err(|e| {
            let name = upload.name();
            match e.kind() {
                std::io::ErrorKind::NotFound => Stop::remote(format!(
                    "Error opening snapshot file: open {name}: no such file or directory"
                )),
                _ => Stop::remote(format!("Error opening snapshot file: {name}: {e}")),
            }
        })?;
        let path = if self.force { "sys/storage/raft/snapshot-force" } else { "sys/storage/raft/snapshot" };
        let call = Call::upload(path, upload);
        session.client.send(call).await.map_err(|e| refused(e, "Error installing the snapshot"))?;
        Ok(0)
    }
}

/// Print what a snapshot holds, and whether it is whole; no server is asked
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// File to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Inspect {
    fn run(self, session: &Session) -> Outcome {
        let data = read(&self.file)?;
        session.output.object(&data)
    }
}

/// The list of hashes.
const SUMS: &str = "SHA256SUMS";
const META: &str = "meta.json";
/// The same, sealed by the server. A snapshot of Sealkeep ends with it.
const SEALED: &str = "SHA256SUMS.sealed";
/// Neither what a snapshot is about nor its hashes are longer.
const TEXT_SIZE_MAX: u64 = 16 * 1024 * 1024;

/// What a snapshot is about, once every part of it has its hash.
fn read(file: &Path) -> Result<Map<String, Value>, Stop> {
    let wrong = |why: String| {
        Stop::local(format!("{} is no whole snapshot: {why}", file.display()))
            .hint("Take it once more with `keep operator raft snapshot save`.")
    };
    let open = fs::File::open(file).map_err(|e| Stop::local(format!("{}: {e}", file.display())))?;
    let mut archive = tar::Archive::new(GzDecoder::new(open));
    let (mut sums, mut meta) = (String::new(), String::new());
    let mut found = Parts::new();
    for entry in archive.entries().map_err(|e| wrong(e.to_string()))? {
        let mut entry = entry.map_err(|e| wrong(e.to_string()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name == SUMS {
            entry.take(TEXT_SIZE_MAX).read_to_string(&mut sums).map_err(|e| wrong(e.to_string()))?;
            continue;
        }
        let hashed =
            hash(&mut entry, (name == META).then_some(&mut meta)).map_err(|e| wrong(e.to_string()))?;
        found.insert(name, hashed);
    }
    if sums.is_empty() || !found.contains_key(META) {
        return Err(wrong(format!("{META} and {SUMS} are not in it")));
    }
    let listed: BTreeMap<&str, &str> =
        sums.lines().filter_map(|line| line.split_once("  ").map(|(sum, name)| (name, sum))).collect();
    if let Some((name, _)) = found.iter().find(|(name, (sum, _))| {
        // A sealed list of hashes proves itself to who has the key, and is not in the open one.
        !name.ends_with(".sealed") && listed.get(name.as_str()) != Some(&sum.as_str())
    }) {
        return Err(wrong(format!("the hash of {name} is another")));
    }
    if let Some(name) = listed.keys().find(|name| !found.contains_key(**name)) {
        return Err(wrong(format!("{name} is missing")));
    }
    let meta: Value = serde_json::from_str(&meta).map_err(|e| wrong(format!("{META}: {e}")))?;
    shown(&meta, &found).map_err(wrong)
}

/// The parts of a snapshot by name: the hash and the length of each.
type Parts = BTreeMap<String, (String, u64)>;

/// What is told of a whole snapshot: of one of OpenBao what raft wrote of it, of one of Sealkeep when and by what it was made.
fn shown(meta: &Value, found: &Parts) -> Result<Map<String, Value>, String> {
    let part = |key: &str| meta.get(key).cloned().unwrap_or_default();
    if meta.get("kind").is_some() {
        if !found.contains_key(SEALED) {
            return Err(format!("{SEALED} is missing: it is cut short"));
        }
        let pieces = found.iter().filter(|(name, _)| name.starts_with("state/"));
        let size: u64 = pieces.map(|(_, (_, size))| size).sum();
        let data = [
            ("kind", part("kind")),
            ("made", part("made")),
            ("server", part("server")),
            ("version", part("version")),
            ("size", json!(size)),
        ];
        return Ok(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    }
    let size = found.get("state.bin").map(|(_, size)| *size);
    let data = [
        ("id", part("ID")),
        ("index", part("Index")),
        ("term", part("Term")),
        ("version", part("Version")),
        ("size", json!(size)),
    ];
    Ok(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The hash and length of a part; a part that is text is kept as well.
fn hash(entry: &mut impl Read, mut text: Option<&mut String>) -> std::io::Result<(String, u64)> {
    let mut hasher = digest::Context::new(&digest::SHA256);
    let mut size = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = entry.read(&mut buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
        size += count as u64;
        if let Some(text) = text.as_deref_mut().filter(|text| (text.len() as u64) < TEXT_SIZE_MAX) {
            text.push_str(&String::from_utf8_lossy(piece));
        }
    }
    let sum = hasher.finish();
    Ok((sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(), size))
}
