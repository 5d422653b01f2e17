"""System shared memory: regions that a client on this machine registers, read without a copy.

A region is a part of a POSIX shared memory object, mapped once when it is registered.
Inputs are views of the mapping; outputs are copied into it once. Only listeners that
take admin commands may use regions: whoever can name one can read and write it.

Each use holds the size of the object against the region again: a client that cut its
object short would otherwise end this process with SIGBUS instead of getting an error.

Units:   bytes.
Errors:  RegionError, UnknownRegionError.
Source:  Triton's protocol extension "System Shared Memory".
"""

import mmap
import os
import re
import stat
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from skerry.schema.oip import OutputWish, Tensor
from skerry.schema.oip_documents import RegionStatus
from skerry.schema.oip_errors import shown
from skerry.schema.oip_tensors import raw_from_tensor
from skerry.serve.errors import ServeError

REGIONS_MAX = 256
MAPPED_BYTES_MAX = 16 * 1024**3
FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory objects are on Linux

_KEY = re.compile(r"/?([A-Za-z0-9_][A-Za-z0-9_.-]{0,253})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


class RegionError(ServeError):
    """A shared memory region cannot be registered or used as asked.

    A key is the POSIX name of a shared memory object, `/name`, without further slashes;
    the object must exist and be at least as long as the region. What a request names
    must lie within the region.
    """

    code = "E0430"
    http_status = 400
    grpc_code = "INVALID_ARGUMENT"

    def __init__(self, name: str, found: str, wanted: str) -> None:
        super().__init__(name, found, wanted)
        self.name, self.found, self.wanted = name, found, wanted

    def __str__(self) -> str:
        return f"shared memory region {shown(self.name)}: {self.found}, wanted {self.wanted}"


class UnknownRegionError(RegionError):
    """No shared memory region of that name is registered with this server.

    A region lasts until it is unregistered or the server ends.
    """

    code = "E0431"
    http_status = 404
    grpc_code = "NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(name, "not registered", "one that is")

    def __reduce__(self) -> tuple[object, ...]:
        return UnknownRegionError, (self.name,)

    @property
    def hint(self) -> str:
        """Say how to register one."""
        return "register it first: POST /v2/systemsharedmemory/region/<name>/register"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Region:
    status: RegionStatus
    file: int
    """Descriptor of the object, for asking its size; closed when nobody holds the region."""
    view: memoryview
    """The region's bytes alone; the mapping goes when the last array over it does."""
    end: int
    """Least size of the object that makes every byte of the region real."""


class Regions:
    """The regions of one process, by name."""

    def __init__(self) -> None:
        self._regions: dict[str, _Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Map a region."""
        if not _NAME.fullmatch(name):
            raise RegionError(name[:80], "its name", "1 to 256 printable characters")
        if name in self._regions:
            raise RegionError(name, "registered already", "to be unregistered first")
        if len(self._regions) >= REGIONS_MAX:
            raise RegionError(name, f"one more than {REGIONS_MAX} regions", "others to go first")
        mapped = sum(one.status.byte_size for one in self._regions.values())
        room = MAPPED_BYTES_MAX - mapped
        if not 1 <= byte_size <= room:
            raise RegionError(name, f"{byte_size} bytes", f"1 to {room}")
        if not 0 <= offset < 2**48:
            raise RegionError(name, f"an offset of {offset}", "0 or more")
        region = _mapped(RegionStatus(name=name, key=key, offset=offset, byte_size=byte_size))
        weakref.finalize(region, os.close, region.file)
        self._regions[name] = region

    def unregister(self, name: str = "") -> None:
        """Forget one region, or all; requests under way keep what they use."""
        if name:
            self._get(name)
            del self._regions[name]
        else:
            self._regions.clear()

    def status(self, name: str = "") -> list[RegionStatus]:
        """Say which regions there are, or what one is."""
        found = [self._get(name)] if name else list(self._regions.values())
        return [region.status for region in found]

    def read(self, name: str, size: int, offset: int) -> memoryview:
        """Return bytes of a region without copying them."""
        region = self._get(name)
        if offset + size > region.status.byte_size:
            raise RegionError(
                name,
                f"{size} bytes from {offset}",
                f"at most its {region.status.byte_size}",
            )
        length = os.fstat(region.file).st_size
        if length < region.end:
            raise RegionError(name, f"its object has {length} bytes left", f"{region.end}")
        return region.view[offset : offset + size]

    def write(self, wish: OutputWish, tensor: Tensor) -> OutputWish:
        """Copy an output to where its wish says; return what was written where."""
        raw = raw_from_tensor(tensor)
        if len(raw) > wish.region_bytes:
            raise RegionError(
                wish.region,
                f"{wish.region_bytes} bytes for output {shown(tensor.name)}",
                f"{len(raw)}",
            )
        self.read(wish.region, len(raw), wish.region_offset)[:] = raw
        return OutputWish(
            region=wish.region, region_bytes=len(raw), region_offset=wish.region_offset
        )

    def check(self, wishes: Mapping[str, OutputWish]) -> None:
        """Refuse wishes for regions that cannot take anything, before anything is run."""
        for wish in wishes.values():
            if wish.region:
                self.read(wish.region, wish.region_bytes, wish.region_offset)

    def _get(self, name: str) -> _Region:
        region = self._regions.get(name)
        if region is None:
            raise UnknownRegionError(name)
        return region


def _mapped(status: RegionStatus) -> _Region:
    """Open and map an object; a link, a folder or a name with a path in it is refused."""
    key = _KEY.fullmatch(status.key)
    if key is None:
        raise RegionError(status.name, f"key {shown(status.key)}", "a POSIX name such as /name")
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(FOLDER / key[1], flags)
    except OSError as error:
        why = error.strerror or str(error)
        raise RegionError(
            status.name, f"key {shown(status.key)}: {why}", "an object that can be opened"
        ) from error
    try:
        found = os.fstat(file)
        end = status.offset + status.byte_size
        if not stat.S_ISREG(found.st_mode):
            raise RegionError(status.name, f"key {shown(status.key)}", "a shared memory object")
        if found.st_size < end:
            raise RegionError(status.name, f"an object of {found.st_size} bytes", f"{end}")
        skip = status.offset % mmap.ALLOCATIONGRANULARITY
        view = memoryview(mmap.mmap(file, skip + status.byte_size, offset=status.offset - skip))[
            skip:
        ]
    except BaseException:
        os.close(file)
        raise
    return _Region(status, file, view, end)
