"""The check outside, before a ring begins: a question to a URL or a command, with a deadline.

Only *yes* lets a ring begin: status 200 to 299, or exit status 0. Everything else holds it, with
the first line of what came back as the reason: another status, no answer in time, no such
command. Commands are those of central's own settings, by name, so that whoever may change a
fleet file cannot have central run what he likes.

Units:   seconds.
Errors:  none; what goes wrong is the answer.
"""

import os
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode, urlsplit

import anyio

from skerry.base.errors import SkerryError
from skerry.base.http_client import Address, HttpClient
from skerry.schema.fleet import RingCheck

SAID_CHARS_MAX = 200


class RingChecks:
    """Asks for central, with the commands that its settings name."""

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self._commands = commands

    async def ask(self, check: RingCheck, generation: int, ring: str) -> str:
        """Return nothing where the ring may begin, else why not."""
        try:
            with anyio.fail_after(check.timeout_s):
                if check.url:
                    return await _ask_url(check.url, generation, ring, check.timeout_s)
                return await self._run(check.command, generation, ring)
        except TimeoutError:
            return f"no answer within {check.timeout_s:g} s"
        except (OSError, SkerryError, ValueError) as error:
            return _line(str(error) or type(error).__name__)

    async def _run(self, name: str, generation: int, ring: str) -> str:
        command = self._commands.get(name)
        if not command:
            return f"central's settings name no check {name!r}"
        facts = {"SKERRY_GENERATION": str(generation), "SKERRY_RING": ring}
        done = await anyio.run_process(
            list(command),
            check=False,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", ""), **facts},
        )
        if done.returncode == 0:
            return ""
        said = _line(done.stdout.decode(errors="replace"))
        return f"{name} ended with {done.returncode}" + (f": {said}" if said else "")


async def _ask_url(url: str, generation: int, ring: str, timeout_s: float) -> str:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    address = Address(
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        server_name=parts.hostname or "",
    )
    facts = urlencode({"generation": generation, "ring": ring})
    query = f"{parts.query}&{facts}" if parts.query else facts
    client = HttpClient(ssl.create_default_context() if tls else None, connect_s_max=timeout_s)
    try:
        answer = await client.call(
            address, "GET", f"{parts.path or '/'}?{query}", deadline_s=timeout_s
        )
    finally:
        client.close()
    if 200 <= answer.status < 300:
        return ""
    said = _line(bytes(answer.body).decode(errors="replace"))
    return f"{parts.hostname} answered {answer.status}" + (f": {said}" if said else "")


def _line(text: str) -> str:
    """Return the first line, printable and short."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return "".join(c for c in first.strip() if c.isprintable())[:SAID_CHARS_MAX]
