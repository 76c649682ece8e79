"""The files of deploy/ are what their readers accept: systemd, a shell, a container build, Prometheus."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

DEPLOY = pathlib.Path(__file__).resolve().parent.parent / "deploy"
INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL",
                "USER", "VOLUME", "WORKDIR"}
# What a unit of a secrets server cannot do without.
HARDENING = ["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "LimitCORE=0",
             "MemorySwapMax=0", "SystemCallFilter=", "RestrictAddressFamilies=", "User="]
EXPOSURE_MAX = 2.5


def unit(path):
    text = path.read_text()
    for line in HARDENING:
        if line not in text:
            yield f"{path.name}: {line} is gone"
    if not shutil.which("systemd-analyze"):
        print("systemd-analyze is not installed: the unit is read, not verified")
        return
    with tempfile.TemporaryDirectory() as folder:
        # The binary and the user of the unit are not on this machine; all else is verified as it is.
        copy = pathlib.Path(folder) / path.name
        copy.write_text(re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", text, flags=re.M))
        verify = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True)
        ours = [line for line in verify.stderr.splitlines() if path.name in line]
        if verify.returncode or ours:
            yield f"{path.name}: " + (" ".join(ours) or verify.stderr)
        security = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(copy)],
                                  capture_output=True, text=True)
        found = re.search(r"exposure level[^:]*: ([0-9.]+)", security.stdout)
        if not found:
            print("systemd-analyze cannot judge a unit offline here")
        elif float(found.group(1)) > EXPOSURE_MAX:
            yield f"{path.name}: exposure {found.group(1)}, over {EXPOSURE_MAX}"
        else:
            print(f"{path.name}: exposure {found.group(1)}")


def timer(path):
    if not path.with_suffix(".service").exists():
        yield f"{path.name}: there is no unit that it starts"
    if not shutil.which("systemd-analyze"):
        return
    for when in re.findall(r"^OnCalendar=(.*)$", path.read_text(), flags=re.M):
        if subprocess.run(["systemd-analyze", "calendar", when], capture_output=True).returncode:
            yield f"{path.name}: {when} is no time"


def container(path):
    stages, user, last = set(), None, ""
    for line in re.sub(r"\\\n", " ", path.read_text()).splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] not in INSTRUCTIONS:
            yield f"{path.name}: {words[0]} is no instruction"
        if words[0] == "FROM":
            user, last = None, words[1]
            if len(words) == 4:
                stages.add(words[3])
        if words[0] == "USER":
            user = words[1]
        for option in words:
            if option.startswith("--from=") and option.removeprefix("--from=") not in stages:
                yield f"{path.name}: {option} names no stage"
    if last != "scratch":
        yield f"{path.name}: the image stands on {last}, not on nothing"
    if user is None or user.split(":")[0] in ("0", "root"):
        yield f"{path.name}: the image runs as root"


def alerts(path):
    if not shutil.which("promtool"):
        print("promtool is not installed: the alerts are not tested")
        return
    kind = ["test", "rules"] if path.name.endswith(".test.yml") else ["check", "rules"]
    ran = subprocess.run(["promtool", *kind, path.name], cwd=path.parent, capture_output=True, text=True)
    if ran.returncode:
        yield f"{path.name}: {ran.stdout}{ran.stderr}"
    # An alert on a metric that nobody exports never fires.
    ledger = (DEPLOY.parent / "cli/src/agent/ledger.rs").read_text()
    gauges = (DEPLOY.parent / "server/pki/src/gauges.rs").read_text().replace(".", "_")
    for metric in sorted(set(re.findall(r"\bsealkeep_pki_[a-z_]+", path.read_text()))):
        if f'"{metric}"' not in gauges:
            yield f"{path.name}: nothing exports {metric}"
    for metric in sorted(set(re.findall(r"\bkeep_[a-z_]+", path.read_text()))):
        if f'"{metric}"' not in ledger:
            yield f"{path.name}: nothing exports {metric}"
    if not path.name.endswith(".test.yml"):
        tested = path.with_suffix(".test.yml").read_text()
        for alert in re.findall(r"alert: (\w+)", path.read_text()):
            if f"alertname: {alert}\n" not in tested:
                yield f"{path.name}: no test shows {alert} firing"


def main():
    broken = []
    for path in sorted(DEPLOY.rglob("*")):
        if path.suffix == ".service":
            broken += unit(path)
        elif path.suffix == ".timer":
            broken += timer(path)
        elif path.name == "Dockerfile":
            broken += container(path)
        elif path.parent.name == "alerts":
            broken += alerts(path)
        elif path.suffix == ".sh":
            broken += [] if subprocess.run(["bash", "-n", path]).returncode == 0 else [f"{path.name}: no shell reads it"]
    if broken:
        sys.exit("\n".join(broken))
    print("deployment files are accepted")


if __name__ == "__main__":
    main()
