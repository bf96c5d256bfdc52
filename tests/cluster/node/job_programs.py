"""Programs that jobs of these tests run."""

from __future__ import annotations

WAITS = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path('/tmp/go').exists(): time.sleep(0.1)
"""

# This program prints what it finds around itself as one line of JSON.
LOOK = r"""
import json, os, pathlib

def readable(path):
    try:
        return bool(os.listdir(path)) if os.path.isdir(path) else bool(open(path, "rb").read(1))
    except OSError:
        return False

status = dict(
    line.split(":\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines()
    if ":\t" in line
)
environments = []
for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
        environments.append(path.read_text(errors="replace"))
    except OSError:
        pass
files = [
    str(found) for top in ("/barograph", "/var/run", "/run", "/etc", "/tmp") if os.path.isdir(top)
    for found in pathlib.Path(top).rglob("*") if found.is_file() and found.stat().st_size < 1e6
]
# Put together here, so that this file is not one of those that hold it.
URL = "amqp" + "://"
secret = [f for f in files if readable(f) and URL.encode() in open(f, "rb").read()]
print("FOUND " + json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"],
    "seccomp": status["Seccomp"],
    "token": readable("/var/run/secrets"),
    "secret_files": secret,
    "environment": sorted(os.environ),
    "secret_environment": any(URL in text for text in environments),
}), flush=True)
"""

# This program prints which hosts it reaches; HOSTS is a dict of names and ports.
REACH = r"""
import json, socket

def answers(name, port):
    try:
        socket.create_connection((name, port), timeout=5).close()
    except OSError:
        return False
    return True

print("REACHED " + json.dumps({name: answers(name, port) for name, port in HOSTS.items()}))
"""

PORT = 4444
LISTENS = f"""
import socket, time
server = socket.create_server(('', {PORT}))
print('listens', flush=True)
time.sleep(3600)
"""
