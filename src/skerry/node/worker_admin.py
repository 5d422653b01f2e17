"""The agent's hand on the worker: load and unload through its admin door, a Unix socket.

Plain blocking calls of a few milliseconds (a model load takes as long as it takes), so
the agent makes them in a thread and needs no HTTP library.
"""

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from skerry.base.processes import is_alive
from skerry.base.sockets import socket_address
from skerry.node.errors import LoadRefusedError, WorkerUnreachableError
from skerry.node.folder import NodeFolder

LOAD_S_MAX = 120.0
ASK_S_MAX = 5.0
REPLY_BYTES_MAX = 1024 * 1024


class WorkerAdmin:
    """Talks to the worker of one node."""

    def __init__(self, admin_socket: Path) -> None:
        self._socket = admin_socket

    def load(self, folders: Mapping[str, Path]) -> None:
        """Have the worker load, warm and check versions, then serve them instead of what it has.

        `folders` maps model to version folder; all of them are swapped at once. Raises
        `LoadRefusedError` with the worker's reason; then nothing changed.
        """
        first = next(iter(folders))
        together = {model: str(folder) for model, folder in folders.items()}
        body = {"parameters": {"skerry-together": together}}
        status, reply = self._call("POST", f"/v2/repository/models/{first}/load", body, LOAD_S_MAX)
        if status >= 300:
            names = ", ".join(folders)
            raise LoadRefusedError(names, int(folders[first].name), _said(reply, status))

    def unload(self, model: str) -> None:
        """Have the worker let go of a model that nothing names any more."""
        status, reply = self._call("POST", f"/v2/repository/models/{model}/unload", {}, LOAD_S_MAX)
        if status >= 300 and status != 404:
            raise LoadRefusedError(model, 0, _said(reply, status))

    def serving(self) -> dict[str, int]:
        """Return every model in service and its version; 0 for one with several versions.

        One whose server is away just now is in service: loading it again would not help.
        """
        status, reply = self._call("POST", "/v2/repository/index", {}, ASK_S_MAX)
        if status >= 300:
            raise WorkerUnreachableError(str(self._socket), f"its index answered {status}")
        found: dict[str, int] = {}
        for row in reply if isinstance(reply, list) else []:
            if not row.get("in_service"):
                continue
            name = str(row["name"])
            found[name] = 0 if name in found else int(row["version"])
        return found

    def ready(self, model: str, version: int) -> bool:
        """Tell whether a version is loaded and has answered."""
        path = f"/v2/models/{model}/versions/{version}/ready"
        return self._call("GET", path, None, ASK_S_MAX)[0] == 200

    def alive(self) -> bool:
        """Tell whether the worker answers at all."""
        try:
            return self._call("GET", "/v2/health/live", None, ASK_S_MAX)[0] == 200
        except WorkerUnreachableError:
            return False

    def _call(self, method: str, path: str, body: object, limit_s: float) -> tuple[int, Any]:
        connection = _UnixConnection(self._socket, limit_s)
        try:
            data = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, data, {"content-type": "application/json"})
            response = connection.getresponse()
            content = response.read(REPLY_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise WorkerUnreachableError(str(self._socket), why) from error
        finally:
            connection.close()
        try:
            reply = msgspec.json.decode(content) if content else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            reply = {}
        return response.status, reply


def _said(reply: object, status: int) -> str:
    """Return the worker's own words for an error."""
    return str(reply.get("error", "")) if isinstance(reply, dict) else f"status {status}"


class _UnixConnection(http.client.HTTPConnection):
    """`http.client` over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket instead of a TCP connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            with socket_address(self._path) as address:
                self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise


class _WorkerFile(msgspec.Struct):
    pid: int


def worker_pid(folder: NodeFolder) -> int:
    """Return the process id of a worker that has said it is ready; 0 if there is none.

    A worker that was killed leaves its file behind, and its number may be somebody else's
    by now: only a process that runs this program is one.
    """
    try:
        pid = msgspec.json.decode(folder.worker.read_bytes(), type=_WorkerFile).pid
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return 0
    return pid if is_alive(pid) and {b"skerry.node", b"worker"} <= set(command) else 0
