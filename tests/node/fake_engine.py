"""A container engine for tests: keeps containers as files, and a real server for each.

Called as `podman`: understands what the agent says, and refuses everything else.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKE_ENGINE_HOME"])

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if "never-ready" in sys.argv else 200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *of): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(verb: str, *rest: str) -> int:
    with (HOME / "calls").open("a") as calls:
        calls.write(json.dumps([verb, *rest]) + "\n")
    if verb == "run":
        if (HOME / "refuses").exists():
            sys.stderr.write("Error: no such image\n")
            return 125
        options = [one for one in rest if one.startswith("--")]
        image_at = next(at for at, one in enumerate(rest) if "@sha256:" in one)
        labels = dict(one[8:].split("=", 1) for one in options if one.startswith("--label="))
        name = next(one[7:] for one in options if one.startswith("--name="))
        port = next(one for one in options if one.startswith("--publish=")).split(":")[1]
        path = HOME / f"{name}.json"
        if path.exists():
            sys.stderr.write(f"Error: the container name {name} is already in use\n")
            return 125
        arguments = [sys.executable, "-c", SERVER, port, *rest[image_at + 1 :]]
        process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        path.write_text(json.dumps({"pid": process.pid, "labels": labels}))
        say(name)
    elif verb == "ps":
        wanted = rest[-1].removeprefix("--filter=label=").split("=", 1)
        for path in sorted(HOME.glob("*.json")):
            if json.loads(path.read_text())["labels"].get(wanted[0]) == wanted[1]:
                say(path.stem)
    elif verb == "inspect":
        for one in rest[1:]:
            found = json.loads((HOME / f"{one}.json").read_text())
            state = "running" if running(found["pid"]) else "exited"
            say(f"{one} {state} {json.dumps(found['labels'])}")
    elif verb in ("stop", "rm"):
        path = HOME / f"{rest[-1]}.json"
        pid = json.loads(path.read_text())["pid"]
        if running(pid):
            os.kill(pid, signal.SIGKILL)
        if verb == "rm":
            path.unlink()
    else:
        sys.stderr.write(f"unknown: {verb}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
