"""The system login of one NATS server: push account changes, cut live connections, check both.

Removing a login from a configuration leaves its live connection open; so revoking is a push
of the changed account, a kick of every connection of that key, and a look at whether anyone
is left. Repeating it is safe.

A server says *updated* of an account that it then does not use, and keeps it on its disk: so it
is asked first whether it trusts the signer, and afterwards which account it goes by.

Units:  seconds. Errors: AccountPushError, and what a `NatsBus` raises.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from skerry.spine.errors import AccountPushError
from skerry.spine.nats_bus import NatsBus
from skerry.spine.nats_jwt import Credentials, issuer_of, operator_keys, subject_of

_ANSWER_S = 2.0
_PAGE = 1024
_LOOK_AGAIN_S = 0.02
_APPLIED_S = 2.0


def applied(in_use: str, pushed: str) -> bool:
    """Tell whether the account that a server goes by is the one that was pushed."""
    return in_use == pushed


@dataclass(frozen=True, slots=True)
class LiveConnection:
    """One client connection of a server, by the user key that it logged in with."""

    id: int
    public: str
    began_unix_s: float
    active_unix_s: float


class NatsAdmin:
    """One server's system account."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus

    @classmethod
    async def connect(
        cls,
        servers: Sequence[str],
        *,
        tls: Callable[[], ssl.SSLContext],
        tls_hostname: str,
        credentials: Callable[[], Credentials],
        wait: bool = True,
    ) -> "NatsAdmin":
        """Log in with `ServerKit.system`."""
        return cls(
            await NatsBus.connect(
                servers,
                name="admin",
                inbox_prefix="_INBOX._s",
                tls=tls,
                tls_hostname=tls_hostname,
                credentials=credentials,
                wait=wait,
            )
        )

    async def push_account(self, jwt: str) -> None:
        """Make the server use this account JWT from now on, also after a restart, and check it."""
        signer, account = issuer_of(jwt), subject_of(jwt)
        if signer not in await self.trusted():
            raise AccountPushError("an account change", f"the server does not know {signer}")
        answer = await self._ask("$SYS.REQ.CLAIMS.UPDATE", jwt.encode())
        if answer.get("data", {}).get("code") != 200:
            why = str(answer.get("error", {}).get("description", answer))
            raise AccountPushError("an account change", why)
        until_s = time.monotonic() + _APPLIED_S
        while not applied(await self._account(account), jwt):
            if time.monotonic() > until_s:
                raise AccountPushError("an account change", "the server goes by another account")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def trusted(self) -> frozenset[str]:
        """Return the keys whose signature under an account the running server takes."""
        answer = await self._ask(f"$SYS.REQ.SERVER.{await self._id()}.VARZ", b"")
        tokens = (answer.get("data") or {}).get("trusted_operators_jwt") or []
        return frozenset(key for one in tokens for key in operator_keys(one))

    async def _account(self, public: str) -> str:
        """Return the account JWT that the server goes by, or will at the next login under it."""
        wish = msgspec.json.encode({"account": public})
        answer = await self._ask(f"$SYS.REQ.SERVER.{await self._id()}.ACCOUNTZ", wish)
        loaded = (answer.get("data") or {}).get("account_detail")
        if loaded:
            return str(loaded.get("jwt", ""))
        subject = f"$SYS.REQ.ACCOUNT.{public}.CLAIMS.LOOKUP"
        return (await self._bus.request(subject, b"", timeout_s=_ANSWER_S)).decode()

    async def leafs(self) -> list[int]:
        """Return the ids of the live leaf links."""
        answer = await self._ask(f"$SYS.REQ.SERVER.{await self._id()}.LEAFZ", b"")
        return [int(one["id"]) for one in (answer.get("data") or {}).get("leafs") or []]

    async def replace_credentials(self) -> None:
        """Log in with the credentials as they are now, then leave the old connection."""
        await self._bus.replace_credentials()

    async def live(self, public: str) -> list[int]:
        """Return the ids of the live client connections of a user key."""
        wish = msgspec.json.encode({"auth": True, "user": public, "limit": 1024})
        answer = await self._ask(f"$SYS.REQ.SERVER.{await self._id()}.CONNZ", wish)
        found = answer.get("data", {}).get("connections") or []
        return [int(one["cid"]) for one in found if one.get("authorized_user") == public]

    async def all_live(self) -> list["LiveConnection"]:
        """Return every live client connection with when it began and last did something."""
        found: list[LiveConnection] = []
        while True:
            wish = msgspec.json.encode({"auth": True, "limit": _PAGE, "offset": len(found)})
            answer = await self._ask(f"$SYS.REQ.SERVER.{await self._id()}.CONNZ", wish)
            page = answer.get("data", {}).get("connections") or []
            found += [
                LiveConnection(
                    id=int(one["cid"]),
                    public=str(one.get("authorized_user", "")),
                    began_unix_s=datetime.fromisoformat(one["start"]).timestamp(),
                    active_unix_s=datetime.fromisoformat(one["last_activity"]).timestamp(),
                )
                for one in page
            ]
            if len(page) < _PAGE:
                return found

    async def kick(self, connection: int) -> None:
        """Cut one connection."""
        wish = msgspec.json.encode({"cid": connection})
        await self._ask(f"$SYS.REQ.SERVER.{await self._id()}.KICK", wish)

    async def revoke(self, jwt: str, publics: Sequence[str], *, deadline_s: float = 5.0) -> float:
        """Push the account that revokes these keys, cut them, and return the seconds it took."""
        began_s = time.monotonic()
        await self.push_account(jwt)
        left: dict[int, str] = {}
        while True:
            left = {one: public for public in publics for one in await self.live(public)}
            if not left:
                return time.monotonic() - began_s
            if time.monotonic() - began_s > deadline_s:
                raise AccountPushError(f"revoking {', '.join(left.values())}", "still connected")
            for connection in left:
                await self.kick(connection)
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def wait_connected(self, *, timeout_s: float) -> None:
        """Wait for a connection, after a restart of the server; raises `BusTimeoutError`."""
        await self._bus.wait_connected(timeout_s=timeout_s)

    async def close(self) -> None:
        """Leave."""
        await self._bus.close()

    async def _id(self) -> str:
        # A restarted server has a new id, so it is asked for anew each time: one local round trip.
        answer = await self._ask("$SYS.REQ.SERVER.PING", b"")
        return str(answer["server"]["id"])

    async def _ask(self, subject: str, payload: bytes) -> dict[str, Any]:
        return dict(
            msgspec.json.decode(await self._bus.request(subject, payload, timeout_s=_ANSWER_S))
        )
