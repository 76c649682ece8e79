use std::collections::BTreeMap;
use std::fs::read_to_string;

use kit::{Query, Reading, Reads, Reply, Result, Route};
use rustix::fs::statvfs;
use rustix::system::{sysinfo, uname};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Sys;

/// How the machine is called.
pub(super) fn name() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

#[derive(JsonSchema, Serialize)]
pub(super) struct Shown {
    cpu: Vec<Value>,
    cpu_times: Vec<Value>,
    disk: Vec<Value>,
    host: Value,
    memory: Value,
    timestamp: String,
}

/// Shows what the machine has: processors, memory, disk. What it does not tell is left out.
#[derive(Deserialize, JsonSchema)]
pub(super) struct HostInfo {}

impl Query<Sys> for HostInfo {
    const ROUTE: Route = Route::get("host-info").or_folder().root_only();
    type Reply = Shown;

    fn run(self, _: &Sys, cx: &Reading<'_>) -> Result<Reply<Shown>> {
        let read = |path: &str| read_to_string(path).unwrap_or_default();
        let now = cx.now();
        if read("/proc/meminfo").is_empty() {
            cx.warn(
                "the system hides /proc/cpuinfo, /proc/stat and /proc/meminfo from this server (ProcSubset=pid in its unit): processors are left out, and of memory the sums alone are shown",
            );
        }
        let shown = Shown {
            cpu: processors(&read("/proc/cpuinfo")),
            cpu_times: processor_times(&read("/proc/stat")),
            disk: disks(root_kind(&read("/proc/mounts"))),
            host: host(
                now.seconds(),
                &read("/etc/os-release"),
                read("/proc/sys/kernel/random/boot_id").trim(),
            ),
            memory: memory(&read("/proc/meminfo")),
            timestamp: now.rfc3339(),
        };
        Ok(shown.into())
    }
}

fn host(now_seconds: u64, release: &str, boot_id: &str) -> Value {
    let (names, info) = (uname(), sysinfo());
    let uptime = u64::try_from(info.uptime).unwrap_or(0);
    let said = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    json!({
        "hostname": names.nodename().to_string_lossy(),
        "uptime": uptime,
        "bootTime": now_seconds.saturating_sub(uptime),
        "procs": info.procs,
        "os": std::env::consts::OS,
        "platform": said("ID"),
        "platformFamily": family(&said("ID"), &said("ID_LIKE")),
        "platformVersion": said("VERSION_ID"),
        "kernelVersion": names.release().to_string_lossy(),
        "kernelArch": names.machine().to_string_lossy(),
        "virtualizationSystem": "",
        "virtualizationRole": "",
        "hostid": boot_id,
    })
}

/// The distribution that another is made from: the last that it names, itself if it names none.
fn family<'a>(id: &'a str, like: &'a str) -> &'a str {
    like.split_whitespace().next_back().unwrap_or(id)
}

/// The kind of the file system at `/`, as it is mounted last.
fn root_kind(mounts: &str) -> &str {
    let root = |line: &'_ str| line.split(' ').nth(1) == Some("/");
    mounts.lines().rfind(|line| root(line)).and_then(|line| line.split(' ').nth(2)).unwrap_or_default()
}

fn processors(cpuinfo: &str) -> Vec<Value> {
    let blocks = cpuinfo.split("\n\n").filter(|block| !block.trim().is_empty());
    let processor = |block: &str| {
        let fields: BTreeMap<&str, &str> = block
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let text = |key: &str| fields.get(key).copied().unwrap_or_default();
        let number =
            |key: &str| text(key).split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        json!({
            "cpu": number("processor") as u64,
            "vendorId": text("vendor_id"),
            "family": text("cpu family"),
            "model": text("model"),
            "stepping": number("stepping") as u64,
            "physicalId": text("physical id"),
            "coreId": text("core id"),
            "cores": 1,
            "modelName": text("model name"),
            "mhz": number("cpu MHz"),
            "cacheSize": number("cache size") as u64,
            "flags": text("flags").split_whitespace().collect::<Vec<_>>(),
            "microcode": text("microcode"),
        })
    };
    blocks.map(processor).collect()
}

fn processor_times(stat: &str) -> Vec<Value> {
    /// The kernel counts in hundredths of a second on every platform that we run on.
    const TICKS: f64 = 100.0;
    const NAMES: [&str; 10] =
        ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestNice"];
    let lines = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    let times = |line: &str| {
        let mut fields = line.split_whitespace();
        let mut shown = Map::new();
        shown.insert("cpu".to_owned(), fields.next().unwrap_or_default().into());
        for (name, ticks) in NAMES.iter().zip(fields) {
            shown.insert((*name).to_owned(), (ticks.parse::<f64>().unwrap_or(0.0) / TICKS).into());
        }
        Value::Object(shown)
    };
    lines.map(times).collect()
}

/// The root's file system; where the data lies is for the configuration to say.
fn disks(kind: &str) -> Vec<Value> {
    let Ok(stat) = statvfs("/") else { return Vec::new() };
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let used = total.saturating_sub(stat.f_bfree.saturating_mul(stat.f_frsize));
    let inodes_used = stat.f_files.saturating_sub(stat.f_ffree);
    vec![json!({
        "path": "/",
        "fstype": kind,
        "total": total,
        "free": free,
        "used": used,
        "usedPercent": percent(used, used + free),
        "inodesTotal": stat.f_files,
        "inodesUsed": inodes_used,
        "inodesFree": stat.f_ffree,
        "inodesUsedPercent": percent(inodes_used, stat.f_files),
    })]
}

fn memory(meminfo: &str) -> Value {
    let mut shown = Map::new();
    for (key, rest) in meminfo.lines().filter_map(|line| line.split_once(':')) {
        let number = rest.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let scale = if rest.ends_with("kB") { 1024 } else { 1 };
        let name = match key {
            "MemTotal" => "total".to_owned(),
            "MemFree" => "free".to_owned(),
            "MemAvailable" => "available".to_owned(),
            "Shmem" => "shared".to_owned(),
            other if other.contains('(') => continue,
            other => other.to_lowercase().replace('_', ""),
        };
        shown.insert(name, number.saturating_mul(scale).into());
    }
    if shown.is_empty() {
        return sums();
    }
    let number = |name: &str| shown.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (total, available) = (number("total"), number("available"));
    let used = total.saturating_sub(available);
    shown.insert("used".to_owned(), used.into());
    shown.insert("usedPercent".to_owned(), percent(used, total).into());
    Value::Object(shown)
}

/// What the system itself tells where its files are hidden.
fn sums() -> Value {
    let info = sysinfo();
    let bytes = |count: u64| count.saturating_mul(u64::from(info.mem_unit));
    json!({
        "total": bytes(info.totalram),
        "free": bytes(info.freeram),
        "shared": bytes(info.sharedram),
        "buffers": bytes(info.bufferram),
        "swaptotal": bytes(info.totalswap),
        "swapfree": bytes(info.freeswap),
    })
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_read() {
        assert_eq!((family("debian", ""), family("ubuntu", "debian")), ("debian", "debian"));
        assert_eq!(family("rocky", "rhel centos fedora"), "fedora");
        assert_eq!(
            root_kind("none /proc proc rw 0 0\nrootfs / rootfs rw 0 0\n/dev/vda / ext4 rw 0 0\n"),
            "ext4"
        );
        let memory = memory(
            "MemTotal:       1000 kB\nMemAvailable:    250 kB\nHugePages_Total:   3\nActive(anon): 5 kB\n",
        );
        assert_eq!(memory["total"], 1_024_000);
        assert_eq!(memory["usedPercent"], 75.0);
        assert_eq!(memory["hugepagestotal"], 3);
        let hidden = super::memory("");
        assert!(hidden["total"].as_u64() > Some(0) && hidden.get("used").is_none(), "{hidden}");
        let cpus = processors("processor\t: 1\nmodel name\t: X\ncpu MHz\t\t: 2400.5\nflags\t: a b\n\n");
        assert_eq!(
            (&cpus[0]["cpu"], &cpus[0]["mhz"], &cpus[0]["flags"]),
            (&json!(1), &json!(2400.5), &json!(["a", "b"]))
        );
        let times = processor_times("cpu  1 2 3\ncpu0 100 0 50 25\nintr 5\n");
        assert_eq!((times.len(), &times[0]["user"], &times[0]["system"]), (1, &json!(1.0), &json!(0.5)));
    }
}
