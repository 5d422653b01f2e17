"""The bus on a real NATS server, and the only door to nats-py.

One keeper task owns the connection. Whenever it is lost, for whatever reason (a cut, an
expired or revoked login, a server restart), the keeper asks for fresh certificates and
credentials and opens a new one, for as long as the process lives; standing subscriptions
move over. Renewal is the same step done early: `replace_credentials` opens the new
connection first and drains the old one after, so no message falls between.

Asking, keeping and pulling use one reply inbox per connection, private to this login.
Errors: BusUnreachableError, BusTimeoutError, NobodyListensError, BusRefusedError.
"""

import asyncio
import itertools
import logging
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from skerry.spine import backoff, without_aiohttp
from skerry.spine.bus import ACK_WAIT_S, Handler, KeptAck, KeptMessage, Message
from skerry.spine.errors import (
    BusRefusedError,
    BusTimeoutError,
    BusUnreachableError,
    NobodyListensError,
    SpineError,
)
from skerry.spine.nats_jwt import Credentials, sign_nonce

with without_aiohttp.blocked():
    import nats.errors
    import nats.js.errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription as NatsSubscription
    from nats.js import api

_LOOK_S = 1.0  # how often a connection is looked at that nobody said was lost
_DISCARD_S = 0.3  # after a refused login, TLS never finishes closing
_REFUSED = re.compile(r"permissions violation for (\w+) to \"([^\"]+)\"", re.IGNORECASE)
_DOMAIN_API = re.compile(r"^\$js\.[^.]+\.api\.")
_MSG_ID = "Nats-Msg-Id"
_NO_RESPONDERS = "503"
_ACK_PENDING_MAX = 8192
_NS = 1_000_000_000
_EOF_REMARK = "returning true from eof_received() has no effect when using ssl"


def _is_news(line: logging.LogRecord) -> bool:
    """Pass every line of asyncio but one.

    The streams that nats-py reads from offer to stay open for writing after the other side has
    ended; TLS cannot, and asyncio says so each time a server closes a connection. The bus hears
    of the end by itself and tells it once.
    """
    return line.msg != _EOF_REMARK


class _Standing:
    """One subscription of a process; it outlives connections."""

    def __init__(self, bus: "NatsBus", subject: str, queue: str, handler: Handler) -> None:
        self._bus, self.subject, self.queue, self.handler = bus, subject, queue, handler
        self.live: NatsSubscription | None = None

    async def cancel(self) -> None:
        await self._bus._cancel(self)


class _Link:
    """One connection: a nats-py client, its reply inbox and what waits for replies."""

    def __init__(self, client: Client, inbox: str) -> None:
        self.client, self.inbox = client, inbox
        self.waiting: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self.pulls: dict[str, asyncio.Queue[Msg | None]] = {}
        self.consumers: set[tuple[str, str]] = set()
        self._tokens = itertools.count(1)
        self.lost = asyncio.Event()

    async def open(self) -> None:
        await self.client.subscribe(f"{self.inbox}.*", cb=self._on_reply)

    async def _on_reply(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        entry = self.waiting.pop(token, None)
        if entry is not None and not entry[1].done():
            entry[1].set_result(message)

    def next_token(self) -> str:
        return str(next(self._tokens))

    def refuse(self, subject: str, error: SpineError) -> None:
        for token, (asked, future) in list(self.waiting.items()):
            if _as_refused(asked) == _as_refused(subject) and not future.done():
                future.set_exception(error)
                self.waiting.pop(token, None)

    @property
    def gone(self) -> bool:
        """Whether this connection is over, whatever nats-py said of it.

        Where the peer left while something waited to be sent, the client closes without
        calling back.
        """
        return self.lost.is_set() or bool(self.client.is_closed)

    def drop(self, where: str) -> None:
        """Tell everyone who waits that no answer will come on this connection."""
        self.lost.set()
        for asked, future in self.waiting.values():
            if not future.done():
                future.set_exception(BusUnreachableError(asked, where, "the connection was lost"))
        self.waiting.clear()
        for queue in self.pulls.values():
            if not queue.full():
                queue.put_nowait(None)


class NatsBus:
    """`Bus` on a NATS server. Build it with `connect`."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str,
        inbox_prefix: str,
        tls: Callable[[], ssl.SSLContext],
        tls_hostname: str,
        credentials: Callable[[], Credentials],
        domain: str | None = None,
        on_note: Callable[[str], None] | None = None,
        timeout_s: float = backoff.LOGIN_TIMEOUT_S,
    ) -> None:
        self._servers, self._name, self._inbox_prefix = list(servers), name, inbox_prefix
        self._tls, self._tls_hostname, self._credentials = tls, tls_hostname, credentials
        self._domain, self._timeout_s = domain, timeout_s
        self._api = f"$JS.{domain}.API" if domain else "$JS.API"
        self._note = on_note or (lambda text: None)
        self._rng = random.Random()  # noqa: S311  (spreads reconnects, protects nothing)
        self._link: _Link | None = None
        self._standing: list[_Standing] = []
        self._turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._lives = 0
        self._last_note = ""
        self._closing = False

    @classmethod
    async def connect(
        cls,
        servers: Sequence[str],
        *,
        name: str,
        inbox_prefix: str,
        tls: Callable[[], ssl.SSLContext],
        tls_hostname: str,
        credentials: Callable[[], Credentials],
        domain: str | None = None,
        on_note: Callable[[str], None] | None = None,
        timeout_s: float = backoff.LOGIN_TIMEOUT_S,
        wait: bool = True,
    ) -> "NatsBus":
        """Connect, and stay connected.

        `tls` and `credentials` are asked again for every connection, so they may renew what
        they give. `wait=False` returns at once and keeps trying in the background; otherwise
        a first connection that fails raises `BusUnreachableError` or `BusRefusedError`.
        `domain` is the JetStream domain of `ensure_stream` and `pull`: the region's own id, or
        `central`. `on_note` gets a sentence about each trouble, for the log.
        """
        logging.getLogger("asyncio").addFilter(_is_news)  # adding it again changes nothing
        bus = cls(
            servers,
            name=name,
            inbox_prefix=inbox_prefix,
            tls=tls,
            tls_hostname=tls_hostname,
            credentials=credentials,
            domain=domain,
            on_note=on_note,
            timeout_s=timeout_s,
        )
        if wait:
            bus._take_over(await bus._open())
        bus._keeper = asyncio.create_task(bus._keep(), name=f"bus {name}")
        return bus

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._link is not None and not self._link.gone

    @property
    def lives(self) -> int:
        """How many connections there have been."""
        return self._lives

    async def wait_connected(self, *, timeout_s: float) -> None:
        """Wait for a connection; raises `BusTimeoutError`."""
        try:
            await asyncio.wait_for(self._up.wait(), timeout_s)
        except TimeoutError as error:
            raise BusTimeoutError("connection", timeout_s) from error

    # -- the connection ---------------------------------------------------------------------

    async def _open(self) -> _Link:
        client = Client()
        login = self._credentials()
        self._lives += 1
        link = _Link(client, f"{self._inbox_prefix}.{self._lives}x{self._rng.getrandbits(48):x}")

        async def on_error(error: Exception) -> None:
            self._on_error(link, error)

        async def on_closed() -> None:
            if client.last_error is not None:
                self._say(f"connection ended: {client.last_error}")
            self._over(link)

        try:
            await asyncio.wait_for(
                client.connect(
                    self._servers,
                    name=self._name,
                    allow_reconnect=False,  # the keeper does that, with fresh credentials
                    connect_timeout=int(max(1, self._timeout_s)),
                    ping_interval=backoff.PING_S,
                    max_outstanding_pings=backoff.PINGS_MAX,
                    drain_timeout=5,
                    tls=self._tls(),
                    tls_hostname=self._tls_hostname,
                    user_jwt_cb=lambda: bytearray(login.jwt.encode()),
                    signature_cb=lambda nonce: sign_nonce(login.seed, nonce),
                    inbox_prefix=self._inbox_prefix,
                    error_cb=on_error,
                    closed_cb=on_closed,
                ),
                self._timeout_s,
            )
            await link.open()
            for standing in self._standing:
                await self._listen(link, standing)
            await _settled(client, self._timeout_s)
        except (OSError, nats.errors.Error, TimeoutError, ValueError) as error:
            await _discard(client)
            self._raise_connect(error)
        except BaseException:
            await _discard(client)
            raise
        return link

    def _take_over(self, link: _Link) -> _Link | None:
        old, self._link = self._link, link
        self._up.set()
        self._last_note = ""
        return old

    async def _keep(self) -> None:
        wait_s = backoff.LOGIN_S_MIN
        while not self._closing:
            link = self._link
            if link is not None:
                await self._end_of(link)
            async with self._turn:
                if self._link is not link:
                    continue  # replaced while we waited
                try:
                    self._take_over(await self._open())
                    wait_s = backoff.LOGIN_S_MIN
                    continue
                except SpineError as error:
                    self._say(str(error))
            await asyncio.sleep(backoff.pause_s(wait_s, self._rng.random()))
            wait_s = backoff.longer_s(wait_s, backoff.LOGIN_S_MAX)

    async def _end_of(self, link: _Link) -> None:
        """Wait until a connection is over: told at once, or seen within a second."""
        while not link.gone:
            with suppress(TimeoutError):
                await asyncio.wait_for(link.lost.wait(), _LOOK_S)
        self._over(link)

    def _over(self, link: _Link) -> None:
        """Tell those who wait on a connection, and those who look whether there is one."""
        link.drop(self._where)
        if self._link is link:
            self._up.clear()

    async def replace_credentials(self) -> None:
        """Open a connection with the credentials as they are now, move over, drain the old one."""
        async with self._turn:
            old = self._take_over(await self._open())
        if old is None or old.gone:
            return
        until_s = time.monotonic() + self._timeout_s
        while (old.waiting or old.pulls) and time.monotonic() < until_s:
            await asyncio.sleep(0.01)  # answers that are on their way arrive on the old one
        try:
            await old.client.drain()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._say(f"the old connection ended early: {error}")
            await _discard(old.client)

    async def close(self) -> None:
        """Send what is buffered and leave."""
        self._closing = True
        for _ in range(3):  # nats-py can swallow a cancellation while it connects
            if self._keeper is not None and not self._keeper.done():
                self._keeper.cancel()
                await asyncio.wait({self._keeper}, timeout=1)
        link, self._link = self._link, None
        self._up.clear()
        if link is not None:
            if not link.gone:
                try:
                    await asyncio.wait_for(_settled(link.client, 2), 2)
                except (nats.errors.Error, OSError, TimeoutError):
                    pass  # leaving anyway; kept messages were acknowledged or will be repeated
            link.drop(self._where)
            await _discard(link.client)

    @property
    def _where(self) -> str:
        return ", ".join(self._servers)

    def _say(self, text: str) -> None:
        if text != self._last_note:  # a long outage is one line, not thousands
            self._last_note = text
            self._note(text)

    def _on_error(self, link: _Link, error: Exception) -> None:
        refused = _REFUSED.search(str(error))
        if refused is None:
            self._say(f"bus: {error or type(error).__name__}")
            return
        verb, subject = refused.group(1).lower(), refused.group(2)
        refusal = BusRefusedError(f"to {verb} {subject}", "this role has no such right")
        link.refuse(subject, refusal)
        self._say(str(refusal))

    def _raise_connect(self, error: Exception) -> NoReturn:
        text = str(error) or type(error).__name__
        refusals = ("authoriz", "authentic", "expired", "revoked")
        if isinstance(error, nats.errors.AuthorizationError) or (
            not isinstance(error, OSError) and any(word in text.lower() for word in refusals)
        ):
            raise BusRefusedError(f"the login of {self._name}", text) from error
        raise BusUnreachableError("connecting", self._where, text) from error

    def _now(self, what: str) -> _Link:
        link = self._link
        if link is None or link.gone:
            raise BusUnreachableError(what, self._where, "not connected")
        return link

    # -- core messages ----------------------------------------------------------------------

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send a core message; nobody may be listening."""
        link = self._now(subject)
        try:
            await link.client.publish(subject, payload)
        except (nats.errors.Error, OSError) as error:
            raise BusUnreachableError(subject, self._where, str(error)) from error

    async def request(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Ask, and return the first answer."""
        return bytes((await self._ask(subject, payload, timeout_s=timeout_s)).data)

    async def _ask(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: dict[str, str] | None = None,
    ) -> Msg:
        link = self._now(subject)
        token = link.next_token()
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        link.waiting[token] = (subject, future)
        try:
            async with asyncio.timeout(timeout_s):
                await link.client.publish(
                    subject, payload, reply=f"{link.inbox}.{token}", headers=headers
                )
                message = await future
        except TimeoutError as error:
            raise BusTimeoutError(subject, timeout_s) from error
        except (nats.errors.Error, OSError) as error:
            raise BusUnreachableError(subject, self._where, str(error)) from error
        finally:
            link.waiting.pop(token, None)
        if not message.data and _status(message) == _NO_RESPONDERS:
            raise NobodyListensError(subject)
        return message

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "") -> _Standing:
        """Call `handler` for each message, one at a time; it lasts across reconnects."""
        standing = _Standing(self, subject, queue, handler)
        async with self._turn:
            self._standing.append(standing)
            link = self._link
            if link is not None and not link.gone:
                try:
                    await self._listen(link, standing)
                    await _settled(link.client, self._timeout_s)
                except (nats.errors.Error, OSError, TimeoutError) as error:
                    self._say(f"subscribing to {subject}: {error}")  # the next life repeats it
        return standing

    async def _listen(self, link: _Link, standing: _Standing) -> None:
        async def on_message(message: Msg) -> None:
            try:
                answer = await standing.handler(Message(message.subject, bytes(message.data)))
                if answer is not None and message.reply:
                    await link.client.publish(message.reply, answer)
            except (nats.errors.Error, OSError) as error:
                self._say(f"answering on {standing.subject}: {error}")
            except Exception as error:  # a handler's slip must not end the subscription
                self._say(f"handling {message.subject}: {type(error).__name__}: {error}")

        standing.live = await link.client.subscribe(
            standing.subject, queue=standing.queue, cb=on_message
        )

    async def _cancel(self, standing: _Standing) -> None:
        async with self._turn:
            if standing in self._standing:
                self._standing.remove(standing)
            link = self._link
            if standing.live is not None and link is not None and not link.gone:
                await _unsubscribe(standing.live)
                # Until the server knows, it goes on sending to somebody who no longer listens.
                with suppress(nats.errors.Error, OSError, TimeoutError):
                    await _settled(link.client, self._timeout_s)

    # -- kept messages ----------------------------------------------------------------------

    async def publish_kept(
        self, subject: str, payload: bytes, *, msg_id: str, timeout_s: float = 5.0
    ) -> KeptAck:
        """Hand over a message for keeping; returns once the server has stored it."""
        reply = await self._ask(subject, payload, timeout_s=timeout_s, headers={_MSG_ID: msg_id})
        try:
            answer = msgspec.json.decode(reply.data, type=_PubAck)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BusRefusedError(
                f"to keep {msg_id}", "the answer is no acknowledgement"
            ) from error
        if answer.error is not None:
            raise BusRefusedError(f"to keep {msg_id}", str(answer.error.get("description", "")))
        return KeptAck(answer.stream, answer.seq, answer.duplicate)

    async def ensure_stream(
        self, name: str, subjects: Sequence[str], *, max_bytes: int, max_age_s: float
    ) -> bool:
        """Create a stream, or bring an existing one to these limits; True if it was missing."""
        config = {
            "name": name,
            "subjects": list(subjects),
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": 1,
            "max_bytes": max_bytes,
            "max_age": int(max_age_s * _NS),
            "max_msgs": -1,
            "max_consumers": -1,
            "max_msg_size": -1,
            "duplicate_window": int(min(120.0, max_age_s) * _NS),
        }
        answer = await self._manage(f"STREAM.INFO.{name}", b"")
        missing = "error" in answer and answer["error"].get("code") == 404
        verb = "CREATE" if missing else "UPDATE"
        self._check(await self._manage(f"STREAM.{verb}.{name}", msgspec.json.encode(config)), name)
        return missing

    async def _manage(self, what: str, payload: bytes) -> dict[str, Any]:
        reply = await self._ask(f"{self._api}.{what}", payload, timeout_s=self._timeout_s)
        return dict(msgspec.json.decode(reply.data))

    @staticmethod
    def _check(answer: Mapping[str, Any], name: str) -> None:
        if "error" in answer:
            raise BusRefusedError(f"stream {name}", str(answer["error"].get("description", "")))

    async def pull(
        self, stream: str, durable: str, *, limit: int, timeout_s: float
    ) -> list[KeptMessage]:
        """Return up to `limit` messages that were not acknowledged; empty if none came in time."""
        link = self._now(stream)
        if (stream, durable) not in link.consumers:
            config = {
                "durable_name": durable,
                "ack_policy": "explicit",
                "ack_wait": int(ACK_WAIT_S * _NS),
                "max_ack_pending": _ACK_PENDING_MAX,
                "deliver_policy": "all",
                "max_deliver": -1,
            }
            body = msgspec.json.encode({"stream_name": stream, "config": config})
            what = f"CONSUMER.CREATE.{stream}.{durable}"
            self._check(await self._manage(what, body), stream)
            link.consumers.add((stream, durable))
        found = await self._fetch(link, stream, durable, batch=limit, wait_s=0.0)
        if not found and timeout_s > 0:
            found = await self._fetch(link, stream, durable, batch=1, wait_s=timeout_s)
            if found and limit > 1:  # the rest of a burst came right behind the first
                found += await self._fetch(link, stream, durable, batch=limit - 1, wait_s=0.0)
        return found

    async def _fetch(
        self, link: _Link, stream: str, durable: str, *, batch: int, wait_s: float
    ) -> list[KeptMessage]:
        token = link.next_token()
        queue: asyncio.Queue[Msg | None] = asyncio.Queue(batch + 2)
        link.pulls[token] = queue
        inbox = f"{link.inbox}.p.{token}"  # pulled messages keep their own subject: no mux for them
        listening: NatsSubscription | None = None
        wish: dict[str, object] = {"batch": batch}
        wish |= {"expires": int(wait_s * _NS)} if wait_s else {"no_wait": True}
        found: list[KeptMessage] = []
        try:
            async with asyncio.timeout(wait_s + self._timeout_s):
                listening = await link.client.subscribe(inbox, cb=queue.put)
                await link.client.publish(
                    f"{self._api}.CONSUMER.MSG.NEXT.{stream}.{durable}",
                    msgspec.json.encode(wish),
                    reply=inbox,
                )
                while len(found) < batch:
                    message = await queue.get()
                    if message is None:
                        if found:
                            break
                        raise BusUnreachableError(stream, self._where, "the connection was lost")
                    status = _status(message)
                    if status:
                        if status == _NO_RESPONDERS or status == "409":
                            link.consumers.discard((stream, durable))  # gone: made again next time
                        break
                    found.append(_kept(message))
        except TimeoutError as error:
            if not found:
                raise BusTimeoutError(f"{stream}.{durable}", wait_s) from error
        except (nats.errors.Error, OSError) as error:
            raise BusUnreachableError(stream, self._where, str(error)) from error
        finally:
            link.pulls.pop(token, None)
            if listening is not None and not link.gone:
                await _unsubscribe(listening)
        return found

    async def ack(self, messages: Sequence[KeptMessage]) -> None:
        """Acknowledge, and return once the server has read it: these never come again."""
        if not messages:
            return
        link = self._now("ack")
        try:
            for message in messages:
                await link.client.publish(message.reply, b"+ACK")
            await _settled(link.client, self._timeout_s)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise BusUnreachableError("ack", self._where, str(error)) from error


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


def _as_refused(subject: str) -> str:
    """Spell a subject as a refusal does: without its domain, and in lower case."""
    return _DOMAIN_API.sub("$js.api.", subject.lower())


def _status(message: Msg) -> str:
    headers = message.headers or {}
    return str(headers.get(api.Header.STATUS, ""))


def _kept(message: Msg) -> KeptMessage:
    # $JS.ACK.<stream>.<consumer>.<tries>.<stream seq>..., two more parts where a domain is named
    parts = message.reply.split(".")
    at = 4 if len(parts) <= 9 else 6
    return KeptMessage(
        subject=message.subject,
        payload=bytes(message.data),
        msg_id=str((message.headers or {}).get(_MSG_ID, "")),
        sequence=int(parts[at + 1]),
        tries=int(parts[at]),
        reply=message.reply,
    )


async def _settled(client: Client, timeout_s: float) -> None:
    """Return once the server has read everything that was handed over before this call.

    nats-py writes its PING past what still waits in its own buffer: the first answer says
    only that the buffer has gone out, the second that the server read what was in it.
    """
    for _ in range(2):
        await client.flush(timeout=max(1, int(timeout_s)))


async def _unsubscribe(subscription: NatsSubscription) -> None:
    try:
        await subscription.unsubscribe()
    except (nats.errors.Error, OSError):
        pass  # the connection went away, and the subscription with it


async def _discard(client: Client) -> None:
    try:
        await asyncio.wait_for(client.close(), _DISCARD_S)
    except (nats.errors.Error, OSError, TimeoutError):
        pass  # it is being thrown away
