"""Servers that the bench measures: started on one core, initialised, unsealed, and stopped by process id."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

SERVER_CORE = "0"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

CONFIG = """
storage "raft" {{
  path    = "{folder}/data"
  node_id = "one"
}}
listener "tcp" {{
  address         = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable     = true
}}
listener "tcp" {{
  address         = "127.0.0.1:{tls}"
  cluster_address = "127.0.0.1:{tls_cluster}"
  tls_cert_file   = "{folder}/cert.pem"
  tls_key_file    = "{folder}/key.pem"
}}
api_addr     = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
disable_mlock = true
log_level = "error"
unsafe_allow_api_audit_creation = true
"""


class WrongAnswer(Exception):
    """A server said something else than it must: figures of such a run mean nothing."""


def free_ports(count):
    """Ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Api:
    """One keep-alive connection of one caller."""

    def __init__(self, port, token=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.token = token

    def ask(self, verb, path, body=None):
        """Status and body of any request."""
        headers = {"X-Vault-Token": self.token} if self.token else {}
        text = json.dumps(body) if body is not None else None
        self.connection.request(verb, "/v1/" + path, body=text, headers=headers)
        reply = self.connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text else None

    def must(self, verb, path, body=None):
        """The body of a request that has to succeed."""
        status, answer = self.ask(verb, path, body)
        if status not in (200, 204):
            raise WrongAnswer(f"{verb} {path}: {status} {answer}")
        return answer


class Server:
    """A process with durable storage in a folder of its own."""

    def __init__(self, name, binary):
        self.name, self.binary = name, binary
        self.folder = tempfile.mkdtemp(prefix=f"bench-{name}-")
        os.mkdir(self.folder + "/data")
        ports = free_ports(4)
        self.port, self.cluster, self.tls, self.tls_cluster = ports
        self.process = self.root = self.share = None
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", self.folder + "/key.pem", "-out", self.folder + "/cert.pem"],
            check=True, stderr=subprocess.DEVNULL)
        with open(self.folder + "/server.hcl", "w") as file:
            file.write(CONFIG.format(folder=self.folder, port=self.port, cluster=self.cluster, tls=self.tls,
                                     tls_cluster=self.tls_cluster))

    def spawn(self):
        """Starts the process and gives the seconds from exec to its first answer."""
        log = open(self.folder + "/log", "ab")
        command = ["taskset", "-c", SERVER_CORE, self.binary, "server", f"-config={self.folder}/server.hcl"]
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self.until(start, lambda api: api.ask("GET", "sys/health")[0] in (200, 429, 501, 503))

    def until(self, start, yes, limit=180):
        """Asks on new connections until the answer is yes; the seconds since the start."""
        while time.perf_counter() - start < limit:
            if self.process.poll() is not None:
                raise WrongAnswer(f"{self.name} ended: " + open(self.folder + "/log").read()[-2000:])
            try:
                if yes(Api(self.port, self.root)):
                    return time.perf_counter() - start
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.0005)
        raise WrongAnswer(f"{self.name} answers nothing")

    def open(self):
        """Initialises and unseals a fresh store."""
        keys = Api(self.port).must("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.root, self.share = keys["root_token"], keys["keys"][0]
        self.unseal("auth/token/lookup-self")

    def unseal(self, path):
        """Gives the key; the seconds until this path is answered with 200."""
        start = time.perf_counter()
        Api(self.port).must("PUT", "sys/unseal", {"key": self.share})
        return self.until(start, lambda api: api.ask("GET", path)[0] == 200)

    def api(self):
        """A connection with the root token."""
        return Api(self.port, self.root)

    def cpu_seconds(self):
        """User and system time that the process has used."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def resident_mib(self):
        """Resident memory."""
        with open(f"/proc/{self.process.pid}/status") as file:
            line = next(line for line in file if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def stop(self, how=signal.SIGTERM):
        """Ends the process and waits for it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def remove(self):
        """Stops it and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
