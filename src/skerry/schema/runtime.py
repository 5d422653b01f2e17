"""What a server says of a model's runtime: what runs it, why so, and what happened to it.

`GET /v2/models/<model>/runtime` answers with `ModelRuntime`; `skerry model explain --url`
shows it. Tolerant of additions, so that a command and a server of other versions talk.

Units:   bytes, seconds, requests per second; microseconds per run.
"""

import msgspec

from skerry.schema.profile import Profile

LOADED = "loaded"
RESTING = "resting"
REFUSED = "refused"


class ProviderLeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """An execution provider that does not run the model, and why."""

    provider: str
    reason: str


class VersionRuntime(msgspec.Struct, frozen=True, kw_only=True):
    """One version: `loaded`, `resting` (loads when asked) or `refused`, and how it runs."""

    version: int
    state: str
    reason: str = ""
    is_default: bool = False
    pinned: bool = False
    memory_bytes: int = 0
    load_s: float = 0.0
    idle_s: float = 0.0
    """Since the last request, to the second."""
    providers: tuple[str, ...] = ()
    left_out: tuple[ProviderLeftOut, ...] = ()
    run_us: float = 0.0
    batch_max: int = 1
    run_on: str = "auto"
    concurrency: int = 1
    threads: int = 1
    arena: bool = False
    io_binding: bool = False
    queue_len_max: int = 0
    priority_default: int = 0
    rate_per_s: float | None = None
    burst: int = 0
    profile_note: str = ""
    profile: Profile | None = None


class RuntimeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a version: loaded, unloaded or refused, and why."""

    at_unix_s: float
    model: str
    version: int
    what: str
    reason: str


class ModelRuntime(msgspec.Struct, frozen=True, kw_only=True):
    """A model's versions as a server runs them, and the latest events about it."""

    name: str
    memory_bytes: int
    """Of all loaded models together."""
    memory_bytes_max: int | None
    """The server's bound for that; None where there is none."""
    versions: tuple[VersionRuntime, ...]
    events: tuple[RuntimeEvent, ...] = ()
