"""One measurement: wrk on its own core, and what it and the kernel counted."""

import json
import os
import subprocess
import tempfile

from servers import WrongAnswer

LOAD_CORE = "1"
CONNECTIONS = 32

# wrk answers in JSON; errors are counted by wrk itself, so that checking costs the load generator nothing.
REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests": %d, "micros": %d, "status": %d, "socket": %d, "timeout": %d, "p50": %d, "p99": %d}\\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def lua_string(text):
    """The text as a Lua literal."""
    return "[==[" + text + "]==]"


def fixed(verb="GET", body=None, token=None):
    """A script that sends one and the same request."""
    lines = [f'wrk.method = "{verb}"']
    if body is not None:
        lines.append(f"wrk.body = {lua_string(json.dumps(body))}")
    if token:
        lines.append(f'wrk.headers["X-Vault-Token"] = "{token}"')
    return "\n".join(lines)


def numbered(prefix, body, token, first=0):
    """A script that writes to a new key with each request: prefix0, prefix1, …"""
    return f"""
local n = {first} - 1
wrk.headers["X-Vault-Token"] = "{token}"
local body = {lua_string(json.dumps(body))}
request = function()
  n = n + 1
  return wrk.format("POST", "{prefix}" .. n, nil, body)
end
"""


def each_token(path, file):
    """A script that sends every request as another of the tokens in the file."""
    return f"""
local tokens = {{}}
for line in io.lines({lua_string(file)}) do tokens[#tokens + 1] = line end
local n = 0
request = function()
  n = n % #tokens + 1
  return wrk.format("GET", "{path}", {{["X-Vault-Token"] = tokens[n]}})
end
"""


def start(url, script, seconds, connections=CONNECTIONS):
    """Starts wrk; `finish` gives its counts."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as file:
        file.write(script + REPORT)
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s",
               "-s", file.name, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), file.name


def finish(started):
    """Waits for wrk and gives what it counted."""
    process, script = started
    output, _ = process.communicate()
    os.unlink(script)
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise WrongAnswer("wrk said: " + output)
    return json.loads(line.removeprefix("RESULT "))


def measure(server, url, script, seconds):
    """Requests per second, p50, p99 and CPU time per request of this load on this server."""
    before = server.cpu_seconds() if server else 0
    counted = finish(start(url, script, seconds))
    cpu = (server.cpu_seconds() if server else 0) - before
    if counted["status"] or counted["socket"] or counted["timeout"] or not counted["requests"]:
        raise WrongAnswer(f"{url}: {counted}")
    return {
        "per_second": counted["requests"] / (counted["micros"] / 1e6),
        "p50_ms": counted["p50"] / 1000,
        "p99_ms": counted["p99"] / 1000,
        "cpu_micros": cpu * 1e6 / counted["requests"],
        "requests": counted["requests"],
    }
