"""What a shadow leaves on disk: its record, and the few examples that a rule allows.

Records are replaced whole. Examples are inputs that clients sent, so their folder and
files are open to this user only, and bounded in number and bytes, those of earlier runs
counted too.

    <folder>/<rule>.shadow.json       a `ShadowRecord`
    <folder>/<rule>/000001.example    a `ShadowExample`, MessagePack

Errors:  OSError, where the disk takes no more; ShadowFileError for a file that is no record.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
import msgspec

from skerry.base.files import private_folder, write_private
from skerry.route.errors import ShadowFileError
from skerry.schema.oip import InferRequest, Tensor
from skerry.schema.oip_tensors import raw_from_tensor
from skerry.schema.shadow import ShadowRecord, ShadowRule

RECORD_SUFFIX = ".shadow.json"
EXAMPLE_SUFFIX = ".example"
RECORD_BYTES_MAX = 16 * 1024 * 1024
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class RawTensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor as the protocol lays it out."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


class ShadowExample(msgspec.Struct, frozen=True, kw_only=True):
    """One request on which primary and candidate disagree."""

    model: str
    candidate: str
    data_class: str
    inputs: tuple[RawTensor, ...]
    primary: tuple[RawTensor, ...]
    answered: tuple[RawTensor, ...]
    """What the candidate answered."""


class ExampleFolder:
    """Keeps the examples of one rule within its bounds."""

    def __init__(self, folder: Path, rule: ShadowRule) -> None:
        self._folder, self._rule = folder / rule_name(rule), rule
        self._count = self._bytes = -1

    async def keep(
        self, request: InferRequest, primary: Sequence[Tensor], answered: Sequence[Tensor]
    ) -> bool:
        """Write one example; False where the rule's bounds are reached."""
        if self._count < 0:
            files = self._files()
            self._count, self._bytes = len(files), sum(files)
        if self._count >= self._rule.keep_examples_max:
            return False
        example = ShadowExample(
            model=self._rule.model,
            candidate=self._rule.tried,
            data_class=request.data_class or "",
            inputs=_raw(request.inputs),
            primary=_raw(primary),
            answered=_raw(answered),
        )
        data = msgspec.msgpack.encode(example)
        if self._bytes + len(data) > self._rule.keep_bytes_max:
            return False
        self._count += 1
        self._bytes += len(data)
        path = self._folder / f"{self._count:06d}{EXAMPLE_SUFFIX}"
        await anyio.to_thread.run_sync(write_private, path, data)
        return True

    def _files(self) -> list[int]:
        private_folder(self._folder)
        return [path.stat().st_size for path in self._folder.glob(f"*{EXAMPLE_SUFFIX}")]


def rule_name(rule: ShadowRule) -> str:
    """Return a file name for a rule: what is compared with what, and where."""
    version = f"-{rule.version}" if rule.version else ""
    return _UNSAFE.sub("_", f"{rule.model}--{rule.tried}{version}--{rule.to}")[:150]


def record_path(folder: Path, rule: ShadowRule) -> Path:
    """Return where a rule's record lies."""
    return folder / f"{rule_name(rule)}{RECORD_SUFFIX}"


def write_record(folder: Path, rule: ShadowRule, record: bytes) -> None:
    """Replace a rule's record (JSON), readable by this user only."""
    private_folder(folder)
    write_private(record_path(folder, rule), record)


def read_record(path: Path) -> ShadowRecord:
    """Read a record; raises `ShadowFileError`."""
    try:
        with path.open("rb") as file:
            data = file.read(RECORD_BYTES_MAX + 1)
    except OSError as error:
        raise ShadowFileError(str(path), error.strerror or str(error)) from error
    if len(data) > RECORD_BYTES_MAX:
        raise ShadowFileError(str(path), f"is larger than {RECORD_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=ShadowRecord)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ShadowFileError(str(path), f"is no shadow record ({error})") from error


def records_in(path: Path) -> list[ShadowRecord]:
    """Return the record of a file, or every record below a folder, by name."""
    if not path.is_dir():
        return [read_record(path)]
    return [read_record(found) for found in sorted(path.rglob(f"*{RECORD_SUFFIX}"))]


def goes_on(rule: ShadowRule, record: ShadowRecord) -> bool:
    """Say whether a record of before is of this same rule, so that it may go on."""
    return (rule.model, rule.to, rule.tried, rule.version, rule.share, rule.seed) == (
        record.model,
        record.to,
        record.candidate,
        record.version,
        record.share,
        record.seed,
    )


def _raw(tensors: Sequence[Tensor]) -> tuple[RawTensor, ...]:
    return tuple(
        RawTensor(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=tensor.shape,
            data=bytes(raw_from_tensor(tensor)),
        )
        for tensor in tensors
    )
