"""One call on an HTTP/2 connection: what came of it, and what still has to go."""

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from skerry.base.drive import Begun
from skerry.schema.oip_tensors import Buffer
from skerry.serve.grpc_call import Call
from skerry.serve.grpc_head import Head
from skerry.serve.grpc_inbox import MessageInbox, StreamInbox

if TYPE_CHECKING:
    from skerry.serve.h2_answers import Answerer


class H2Stream(msgspec.Struct, eq=False):
    """One call; a struct, as every call makes one."""

    connection: "Answerer"
    id: int
    head: Head
    call: Call
    window: int
    """What may be sent on it."""
    moved_s: float
    messages: StreamInbox | None = None
    """What came on a stream of messages; None for a unary call."""
    inbox: MessageInbox | None = None
    """The message of a unary call that did not come at once."""
    begun: Begun[list[Buffer]] | None = None
    ended: bool = False
    """Whether the client has sent all."""
    gone: bool = False
    busy: bool = False
    """Whether a request of the stream is being answered."""
    feeding: bool = False
    opened: bool = False
    """Whether the head of the answer is out."""
    compressed: int = 0
    """1 where the next answer is compressed, as its message says."""
    held: int = 0
    unacked: int = 0
    """What came and was not allowed again."""
    pieces: deque[Buffer] | None = None
    pieces_bytes: int = 0
    end: bytes = b""
    stuck_s: float | None = None
    """Since when answers wait for the client."""

    def note_compressed(self) -> None:
        """Take note that the next answer is compressed."""
        self.compressed = 1

    def answered(self, pieces: list[Buffer] | None, error: BaseException | None) -> None:
        """Take the answer of a work."""
        self.connection.answered(self, pieces, error)
