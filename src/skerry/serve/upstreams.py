"""From `upstream.json` to a runtime and its lane.

An upstream may be on this machine, or on a host that the server's settings allow: a model's
file alone sends no request off the machine.

Errors:  UpstreamFileError, UpstreamNotReadyError.
"""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
from msgspec.structs import replace

from skerry.base.clock import Clock
from skerry.schema.model import MODEL_FILE, Card
from skerry.schema.upstream import UPSTREAM_BYTES_MAX, UPSTREAM_FILE, Upstream, base_of
from skerry.schema.upstream import decode_upstream as decode
from skerry.serve.loading import Loaded
from skerry.serve.model_settings import LaneSettings, ModelSettings
from skerry.serve.upstream import UpstreamLane
from skerry.serve.upstream_errors import UpstreamFileError, UpstreamNotReadyError
from skerry.serve.upstream_health import UpstreamHealth

Spent = Callable[[str, int, int], None]
"""Told of a model's tokens, in and out, once an answer has ended."""


@dataclass(slots=True)
class Opened:
    """A runtime that is another server, ready to be put into a slot."""

    loaded: Loaded
    lane: UpstreamLane
    health: UpstreamHealth


@dataclass(slots=True, kw_only=True)
class Upstreams:
    """What every upstream of one server shares: what is allowed, and the time."""

    clock: Clock
    hosts: tuple[str, ...] = ()
    """Hosts other than loopback that an upstream may be at."""
    secrets: Path | None = None
    """The folder of the files that headers may be read from."""
    ports: Path | None = None
    """The file that says at which ports a node's containers are; None: nobody starts any."""
    rng: Random = field(default_factory=Random)
    spent: Spent = lambda model, tokens_in, tokens_out: None
    """Told of the tokens of each answer of a language model."""

    async def open(
        self,
        name: str,
        folder: Path,
        card: Card | None,
        model_settings: ModelSettings,
        limits: LaneSettings,
        *,
        wait: bool,
    ) -> Opened:
        """Begin to watch an upstream; with `wait`, only one that becomes ready is returned.

        Without, it is put into service as it is, and answers once it is ready.
        """
        # What only servers with upstreams need: 10 ms of a cold start.
        from skerry.serve.upstream_call import UpstreamCalls
        from skerry.serve.upstream_oip import OipUpstream
        from skerry.serve.upstream_openai import OpenAiUpstream

        start_s = self.clock.monotonic_s()
        path = folder / UPSTREAM_FILE
        settings = self._read(path)
        if card is not None and (card.name, str(card.version)) != (name, folder.name):
            raise UpstreamFileError(
                str(folder), f"its card says {card.name} {card.version}, not {name} {folder.name}"
            )
        calls = UpstreamCalls(
            name,
            settings,
            tls=self._tls(path, settings),
            secrets=self.secrets,
            port=self._port(path, f"{name}/{folder.name}", settings),
        )
        runtime: OipUpstream | OpenAiUpstream
        if settings.kind == "openai":
            runtime = OpenAiUpstream(name, calls, self._spent)
        else:
            runtime = OipUpstream(name, calls, card)
        health = UpstreamHealth(
            name,
            runtime.probe,
            every_s=settings.ready_every_s,
            failures_max=settings.failures_max,
            clock=self.clock,
            rng=self.rng,
        )
        lane = UpstreamLane(
            runtime,
            health,
            concurrency=settings.concurrency,
            queue_len_max=limits.queue_len_max,
            timeout_s=settings.timeout_s,
            clock=self.clock,
        )
        await health.look()
        health.start()
        if wait and not await health.wait_ready(settings.ready_within_s):
            health.stop()
            runtime.close()
            raise UpstreamNotReadyError(str(path), health.reason)
        loaded = Loaded(
            model=runtime,
            card=card,
            settings=model_settings,
            lane=replace(limits, concurrency=settings.concurrency),
            profile=None,
            profile_note=f"run by the {settings.kind} server at {settings.url}",
            memory_bytes=0,
            load_s=self.clock.monotonic_s() - start_s,
        )
        return Opened(loaded, lane, health)

    def _spent(self, model: str, tokens_in: int, tokens_out: int) -> None:
        self.spent(model, tokens_in, tokens_out)  # who listens may have come after the model

    def _read(self, path: Path) -> Upstream:
        if path.with_name(MODEL_FILE).exists():
            raise UpstreamFileError(
                str(path), f"{MODEL_FILE} stands beside it; keep one of the two"
            )
        try:
            with path.open("rb") as file:
                settings = decode(file.read(UPSTREAM_BYTES_MAX + 1))
        except (OSError, msgspec.DecodeError) as error:
            raise UpstreamFileError(str(path), str(error)) from error
        host = base_of(settings.url)[0]
        if not _is_loopback(host) and host not in self.hosts:
            raise UpstreamFileError(
                str(path), f"host {host} is neither loopback nor allowed by this server's settings"
            )
        if any(secret.file for secret in settings.headers.values()) and self.secrets is None:
            raise UpstreamFileError(
                str(path), "it names a secret file, and there is no folder of secrets"
            )
        return settings

    def _port(self, path: Path, key: str, settings: Upstream) -> int | None:
        """Return the port of the container that it runs in; None where it runs in none."""
        if settings.container is None:
            return None
        if self.ports is None:
            raise UpstreamFileError(
                str(path), "its container is started by a node's agent, and this is no node"
            )
        try:
            return msgspec.json.decode(self.ports.read_bytes(), type=dict[str, int])[key]
        except (OSError, msgspec.DecodeError, KeyError) as error:
            raise UpstreamFileError(str(path), "its container has not been started") from error

    def _tls(self, path: Path, settings: Upstream) -> ssl.SSLContext | None:
        if not base_of(settings.url)[2]:
            return None
        try:
            return ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as error:
            raise UpstreamFileError(str(path), f"ca_file {settings.ca_file}: {error}") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
