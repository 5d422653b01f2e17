"""Another server as a model's runtime: `<repository>/<model>/<version>/upstream.json`.

The file stands where `model.onnx` would, so repository, index, swap and signatures are the
same for both. It holds no secret: a header's value is named by the environment variable or
the file that holds it. The host must be loopback, or be allowed by the server's settings.

Units:   seconds.
Errors:  `msgspec.DecodeError`, with the field that is wrong and what was wanted.
"""

import re
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import msgspec

UPSTREAM_FILE = "upstream.json"
PORTS_FILE = "containers.json"
"""In a node's state folder: `<model>/<version>` to the loopback port of its container."""
UPSTREAM_SCHEMA = "skerry.upstream/1"
UPSTREAM_BYTES_MAX = 64 * 1024
ENV_PREFIX = "SKERRY_UPSTREAM_"
"""Environment variables that may become headers begin so: a model's file cannot name others."""

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Text = Annotated[str, msgspec.Meta(max_length=256)]

_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PATH = re.compile(r"/[A-Za-z0-9_.~/-]{0,255}")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,200}@sha256:[0-9a-f]{64}")
_GPUS = re.compile(r"all|[0-9]{1,3}(,[0-9]{1,3}){0,15}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a header's value lies: an environment variable or a file, one of the two."""

    env: str = ""
    """Name of an environment variable; it begins with `SKERRY_UPSTREAM_`."""
    file: str = ""
    """Name of a file in the server's folder of secrets."""
    prefix: Text = ""
    """What stands before the value, such as `Bearer ` with its space."""

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.file):
            raise ValueError("a header's value comes from `env` or from `file`, one of them")
        if self.env and not (self.env.startswith(ENV_PREFIX) and _SECRET.fullmatch(self.env)):
            raise ValueError(f"env is {self.env!r}, wanted a name that begins with {ENV_PREFIX}")
        if self.file and not _SECRET.fullmatch(self.file):
            raise ValueError(f"file is {self.file!r}, wanted a plain name in the secrets folder")
        if "\r" in self.prefix or "\n" in self.prefix:
            raise ValueError("prefix holds a line break")


class Container(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container that the server runs in: a node's agent starts, watches and stops it."""

    image: str
    """Image by digest, `registry/name@sha256:...`: a tag may be moved, a digest may not."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    """Port that the server listens on inside; outside it is a free one on loopback."""
    args: Annotated[tuple[str, ...], msgspec.Meta(max_length=128)] = ()
    """What follows the image on the command line."""
    env: dict[str, str] = {}
    """Environment variables; no secrets, as the file is copied and signed."""
    mount: str = "/models"
    """Where the version's folder is mounted inside, read-only."""
    cpus: Annotated[float, msgspec.Meta(gt=0, le=4096)] = 1.0
    """CPU cores that it may use."""
    memory_bytes: Annotated[int, msgspec.Meta(ge=16 * 1024**2, le=2**50)] = 2 * 1024**3
    """Memory that it may use; more ends it."""
    shm_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**50)] = 64 * 1024**2
    """Size of its `/dev/shm`."""
    gpus: str = ""
    """`all`, or indices such as `0,1`; empty: none."""
    writable: bool = False
    """Whether it may write outside `/tmp`, which lies in memory."""
    stop_s: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 30
    """Time it gets to end what it has begun, in seconds."""

    def __post_init__(self) -> None:
        if not _IMAGE.fullmatch(self.image):
            raise ValueError(f"image is {self.image!r}, wanted name@sha256: and 64 hex digits")
        if not _PATH.fullmatch(self.mount) or self.mount == "/":
            raise ValueError(f"mount is {self.mount!r}, wanted an absolute path")
        if self.gpus and not _GPUS.fullmatch(self.gpus):
            raise ValueError(f"gpus is {self.gpus!r}, wanted all, or indices such as 0,1")
        for name, value in self.env.items():
            if not _VARIABLE.fullmatch(name) or "\n" in value or "\0" in value:
                raise ValueError(f"env.{name} is no variable of one line")
        if any("\0" in value for value in self.args):
            raise ValueError("args hold a zero byte")


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One upstream server and how it is asked."""

    schema: Literal["skerry.upstream/1"]
    kind: Literal["oip", "openai"]
    """What it speaks: `oip` (Triton, OpenVINO Model Server, MLServer, KServe, skerry) or
    `openai` (vLLM, llama.cpp)."""
    url: str
    """`oip`: the server, `http://127.0.0.1:8100`. `openai`: what its clients call the base
    URL, with the version in it, `http://127.0.0.1:8100/v1`."""
    model: Text = ""
    """The model's name there; empty: as here."""
    version: Text = ""
    """The model's version there, `oip` only; empty: the one that it serves by default."""
    protocol: Literal["http"] = "http"
    tensors: Literal["auto", "binary", "json"] = "auto"
    """`oip`: how tensors travel; `auto` asks the server whether it has the binary extension."""
    headers: dict[str, Secret] = {}
    """Header name, in lower case, to where its value lies."""
    ca_file: str = ""
    """`https`: file of the roots to trust; empty: the system's."""
    timeout_s: Seconds = 120.0
    """Longest run, whatever deadline the client allows."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 8
    """Requests that it is given at once; the next ones wait here."""
    ready_path: str = ""
    """Answers 200 while the server is ready; empty: the model's own ready path (`oip`), or
    `/health` (`openai`)."""
    ready_every_s: Seconds = 2.0
    """Time between two looks at the ready path, give or take a fifth."""
    ready_within_s: Seconds = 60.0
    """How long a swap to this version waits until it is ready before it is refused."""
    failures_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    """Failed runs in a row after which it is not asked again before it says it is ready."""
    container: Container | None = None
    """The container that it runs in; its port then replaces that of `url`."""

    def __post_init__(self) -> None:
        host = base_of(self.url)[0]
        if self.container is not None and host not in ("127.0.0.1", "localhost"):
            raise ValueError(f"url is at {host}, wanted 127.0.0.1, where its container is")
        if self.ready_path and not _PATH.fullmatch(self.ready_path):
            raise ValueError(f"ready_path is {self.ready_path!r}, wanted a path such as /health")
        for name in self.headers:
            if not _HEADER.fullmatch(name) or name in _OURS:
                raise ValueError(f"headers.{name} is no header to set; write names in lower case")

    def ready_at(self, name: str) -> str:
        """Return the path that says whether it is ready; `name` is the model's name here."""
        if self.ready_path:
            return self.ready_path
        if self.kind == "openai":
            return "/health"
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"/v2/models/{quote(self.model or name, safe='')}{version}/ready"


def base_of(url: str) -> tuple[str, int, bool, str]:
    """Return host, port, whether over TLS, and the path without its last slash.

    Raises `ValueError` for what is not `http(s)://host[:port][/path]`: a name or password in
    it, a query and a fragment too.
    """
    wanted = f"url is {url!r}, wanted http(s)://host[:port][/path]"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(wanted) from error
    plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError(wanted)
    path = parts.path.rstrip("/")
    if path and not _PATH.fullmatch(path):
        raise ValueError(wanted)
    tls = parts.scheme == "https"
    return parts.hostname, port or (443 if tls else 80), tls, path


def decode_upstream(data: bytes) -> Upstream:
    """Read the file's content; raises `msgspec.DecodeError`."""
    if len(data) > UPSTREAM_BYTES_MAX:
        raise msgspec.DecodeError(f"larger than {UPSTREAM_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=Upstream)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
