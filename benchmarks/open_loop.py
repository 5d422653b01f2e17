"""An open loop: requests leave when their time has come, whatever became of earlier ones.

A closed loop waits for each answer, so it asks a slow server less and flatters it. Here the
arrivals are a Poisson process, drawn beforehand, and latency counts from the moment a
request was due. A request that finds no idle connection opens one.

Units:   seconds, on the loop's clock.
"""

import asyncio
import re
from collections import deque
from dataclasses import dataclass

import numpy as np

CONNECTIONS_MAX = 900
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request; `status` is 0 where no whole answer came.

    `tried_s` is when the generator came to it: what lies between it and `due_s` is the
    generator's own lateness. A connection that had to be opened counts as the server's time.
    """

    due_s: float
    tried_s: float
    ended_s: float
    status: int


class _Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, loop: "OpenLoop") -> None:
        self._loop = loop
        self._got = b""
        self._due_s = self._tried_s = -1.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, due_s: float, tried_s: float | None = None) -> None:
        self._due_s, self._got = due_s, b""
        self._tried_s = self._loop.now_s() if tried_s is None else tried_s
        self._transport.write(self._loop.request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if end else None
        if length is None or len(body) < int(length[1]):
            return
        self._answered(int(head[9:12]))
        if b"connection: close" in head.lower():
            self._transport.close()
        else:
            self._loop.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.lost(self)
        if self._due_s >= 0:
            self._answered(0)

    def _answered(self, status: int) -> None:
        answer = Answer(self._due_s, self._tried_s, self._loop.now_s(), status)
        self._loop.answers.append(answer)
        self._due_s = -1.0


class OpenLoop:
    """Sends the same request over and over to one HTTP port."""

    def __init__(self, port: int, request: bytes) -> None:
        self.request = request
        self.answers: list[Answer] = []
        self.idle: deque[_Line] = deque()
        self.now_s = asyncio.get_running_loop().time
        self._port = port
        self._lines: set[_Line] = set()
        self._opening = 0

    async def run(self, rate_per_s: float, seconds: float, rng: np.random.Generator) -> None:
        """Ask for some seconds, then wait up to five more for the last answers."""
        count = round(rate_per_s * seconds)
        gaps_s = rng.exponential(1 / rate_per_s, count)
        due_s = self.now_s() + np.cumsum(gaps_s)
        before = len(self.answers)
        opening: set[asyncio.Task[None]] = set()
        for due in due_s.tolist():
            if (wait_s := due - self.now_s()) > 0:
                await asyncio.sleep(wait_s)
            if self.idle:
                self.idle.popleft().ask(due)
            elif len(self._lines) + self._opening < CONNECTIONS_MAX:
                self._opening += 1
                task = asyncio.create_task(self._open(due))
                opening.add(task)
                task.add_done_callback(opening.discard)
            else:
                self.answers.append(Answer(due, due, self.now_s(), 0))
        ends_s = self.now_s() + 5
        while len(self.answers) - before < count and self.now_s() < ends_s:
            await asyncio.sleep(0.01)

    async def saturate(self, callers: int, seconds: float) -> float:
        """Return the answers per second of a closed loop: what the server can do."""
        before, ends_s = len(self.answers), self.now_s() + seconds
        opened = [await self._connect() for _ in range(callers)]
        for line in opened:
            line.ask(self.now_s())
        while self.now_s() < ends_s:
            await asyncio.sleep(0)
            while self.idle:
                self.idle.popleft().ask(self.now_s())
        answered = len(self.answers) - before
        while len(self.idle) < len(self._lines):
            await asyncio.sleep(0.01)
        return answered / seconds

    def close(self) -> None:
        """Close every connection."""
        for line in list(self._lines):
            line._transport.close()

    def lost(self, line: _Line) -> None:
        """Forget a connection."""
        self._lines.discard(line)
        if line in self.idle:
            self.idle.remove(line)

    async def _open(self, due_s: float) -> None:
        tried_s = self.now_s()
        try:
            (await self._connect()).ask(due_s, tried_s)
        except OSError:
            self.answers.append(Answer(due_s, tried_s, self.now_s(), 0))
        finally:
            self._opening -= 1

    async def _connect(self) -> _Line:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: _Line(self), "127.0.0.1", self._port)
        self._lines.add(line)
        return line


def milliseconds(times_s: list[float], percent: float) -> float:
    """Return a percentile of some times; 0 where there are none."""
    return float(np.percentile(times_s, percent)) * 1000 if times_s else 0.0


def since_due_s(answers: list[Answer]) -> list[float]:
    """Return how long each answer took from when its request was due."""
    return [one.ended_s - one.due_s for one in answers]
