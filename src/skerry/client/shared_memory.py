"""Large inputs to a server on this machine: through shared memory, in place of a socket.

Regions are POSIX shared memory objects of this process, registered with the server once
and used again for later requests of like size. A server that refuses them, or has lost
them, is sent the bytes as usual. A region whose request had no answer may still be read,
so it is never used again; every object is unlinked at the latest when the client closes,
and by the standard library's resource tracker if this process is killed.

Units:   bytes, seconds.
Errors:  none of its own; what the endpoint raises passes.
Source:  Triton's protocol extension "System Shared Memory".
"""

import asyncio
import copy
import os
import secrets
from multiprocessing.shared_memory import SharedMemory
from typing import Final, Protocol

from skerry.base.errors import SkerryError
from skerry.route.errors import PeerAnsweredError
from skerry.schema.oip import InferReply, InferRequest, OutputWish, Tensor
from skerry.schema.oip_tensors import raw_from_tensor

SHARED_FROM_BYTES: Final = 64 * 1024
"""A smaller input goes with the request: that is faster."""
REGIONS_MAX: Final = 16
REGION_BYTES_MAX: Final = 256 * 1024 * 1024
LOST_MAX: Final = 3
"""A server that knew nothing of a region it had registered, so often, is not asked again."""
GOODBYE_S_MAX: Final = 1.0
_ALIGNED_BYTES: Final = 64


class TakesRegions(Protocol):
    """An endpoint that shared memory can be registered with."""

    async def infer(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Answer one request."""
        ...

    async def register(self, name: str, key: str, byte_size: int, deadline_s: float) -> None:
        """Tell it of a region."""
        ...

    async def unregister(self, name: str, deadline_s: float) -> None:
        """Have it forget a region."""
        ...


class SharedInputs:
    """One endpoint's regions, and the calls that use them."""

    def __init__(self, link: TakesRegions) -> None:
        self._link = link
        self._free: list[SharedMemory] = []
        self._used = 0
        self._lost = 0
        self.refused = False
        """Whether the server takes no regions, or this machine has none."""
        self._goodbyes: set[asyncio.Task[None]] = set()

    async def infer(self, request: InferRequest, deadline_s: float) -> InferReply:
        """Answer one request, its large inputs through shared memory where that is possible."""
        large = [] if self.refused else [one for one in request.inputs if _is_large(one)]
        region = await self._region(large, deadline_s) if large else None
        if region is None:
            return await self._link.infer(request, deadline_s)
        shared = copy.copy(request)
        shared.placed = _placed(region, large)
        self._used += 1
        try:
            reply = await self._link.infer(shared, deadline_s)
        except PeerAnsweredError as error:
            if not error.told_code.startswith("E043"):  # the request's own fault, or another's
                self._free.append(region)
                raise
            self._forget(region)
            self._lost += 1
            self.refused = self._lost >= LOST_MAX
        except BaseException:  # it may still be read there
            self._forget(region)
            raise
        else:
            self._lost = 0
            self._free.append(region)
            return reply
        finally:
            self._used -= 1
        return await self._link.infer(request, deadline_s)

    async def aclose(self) -> None:
        """Unlink every region, and have the server forget them."""
        free, self._free = self._free, []
        for region in free:
            self._forget(region)
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)

    async def _region(self, tensors: list[Tensor], deadline_s: float) -> SharedMemory | None:
        """Return a registered region that holds the tensors; None where there is none to have."""
        wanted = sum(_aligned(tensor.data.nbytes) for tensor in tensors)
        fitting = [region for region in self._free if region.size >= wanted]
        if fitting:
            region = min(fitting, key=lambda one: one.size)
            self._free.remove(region)
            return region
        size = 1 << (wanted - 1).bit_length()
        if size > REGION_BYTES_MAX:
            return None
        if self._used + len(self._free) >= REGIONS_MAX:
            if not self._free:
                return None
            self._forget(self._free.pop(0))
        name = f"skerry-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            region = SharedMemory(name, create=True, size=size)
        except OSError:
            self.refused = True
            return None
        try:
            await self._link.register(name, f"/{name}", size, deadline_s)
        except BaseException as error:
            _unlink(region)
            if not isinstance(error, PeerAnsweredError):
                raise
            self.refused = True
            return None
        return region

    def _forget(self, region: SharedMemory) -> None:
        _unlink(region)
        task = asyncio.get_running_loop().create_task(self._goodbye(region.name))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    async def _goodbye(self, name: str) -> None:
        try:
            await self._link.unregister(name, GOODBYE_S_MAX)
        except (SkerryError, TimeoutError):
            return  # the server is gone, and its mapping with it


def _placed(region: SharedMemory, tensors: list[Tensor]) -> dict[str, OutputWish]:
    """Copy the tensors in, one behind the other, and return where each lies."""
    placed: dict[str, OutputWish] = {}
    view, at = region.buf, 0
    assert view is not None  # noqa: S101 - only a closed region has none
    for tensor in tensors:
        raw = memoryview(raw_from_tensor(tensor))
        view[at : at + len(raw)] = raw
        placed[tensor.name] = OutputWish(
            region=region.name, region_bytes=len(raw), region_offset=at
        )
        at += _aligned(len(raw))
    return placed


def _unlink(region: SharedMemory) -> None:
    region.close()
    region.unlink()


def _is_large(tensor: Tensor) -> bool:
    return tensor.datatype != "BYTES" and tensor.data.nbytes >= SHARED_FROM_BYTES


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES
