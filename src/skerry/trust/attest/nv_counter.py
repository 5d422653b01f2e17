"""A floor in the TPM: a counter that only goes up, whatever happens to the disk.

Two NV indices of the owner: the counter, and its start. A TPM starts a new counter at the highest
count that any of its counters ever had, so what counts is the distance from the start, which is
written once and locked. Whoever removes both must have the owner's authorisation, and is noticed:
the counter is then gone, and a new one starts at zero while the floor file still has its value.

Each step is a write to a small chip: use it for what rises seldom, such as the least release that
a fleet still takes.

Units:   a count.
Errors:  TpmError.
Source:  TPM 2.0 Library Part 1, section 37.2 (NV counters).
"""

from typing import Any

from skerry.trust.attest.errors import TpmError
from skerry.trust.attest.tpm import Opener, Tpm

COUNTER_INDEX = 0x01800A20
START_INDEX = 0x01800A21
STEPS_MAX = 1000
"""Steps of one raise: more is a mistake, and would wear the chip."""
_NUMBER_BYTES = 8


class NvCounter:
    """A monotonic counter in this machine's TPM."""

    def __init__(self, tpm: Opener, *, index: int = COUNTER_INDEX) -> None:
        self._open, self._index = tpm, index

    def read(self) -> int:
        """Return the count; 0 for a counter that nobody raised yet."""
        with self._open() as tpm:
            found = self._find(tpm)
            return 0 if found is None else self._count(tpm, found)

    def raise_to(self, count: int) -> int:
        """Raise it to `count`, if it is lower; return what it is then. Never lowers it."""
        with self._open() as tpm:
            found = self._find(tpm) or self._define(tpm)
            now = self._count(tpm, found)
            if count - now > STEPS_MAX:
                why = f"from {now} to {count} are more than {STEPS_MAX} steps"
                raise TpmError("raising the counter", why)
            with tpm.doing("raising the counter"):
                for _ in range(count - now):
                    tpm.esapi.nv_increment(found[0])
            return max(now, count)

    def _find(self, tpm: Tpm) -> tuple[Any, Any] | None:
        """Return the handles of counter and start, or None if they are not both there."""
        try:
            find = tpm.esapi.tr_from_tpmpublic
            return find(self._index), find(self._index + 1)
        except tpm.library.TSS2_Exception:
            return None

    def _define(self, tpm: Tpm) -> tuple[Any, Any]:
        """Define both indices and lock the start; what an interrupted try left goes first."""
        library, nv = tpm.library, tpm.library.TPMA_NV
        free = nv.OWNERREAD | nv.OWNERWRITE | nv.AUTHREAD | nv.AUTHWRITE | nv.NO_DA
        with tpm.doing("defining the counter"):
            for index in (self._index, self._index + 1):
                try:
                    tpm.esapi.nv_undefine_space(tpm.esapi.tr_from_tpmpublic(index))
                except library.TSS2_Exception:
                    continue  # it is not there, as it should be
            counter = self._space(
                tpm, self._index, free | library.TPM2_NT.COUNTER << nv.TPM2_NT_SHIFT
            )
            tpm.esapi.nv_increment(counter)  # only then can it be read
            start = self._space(tpm, self._index + 1, free | nv.WRITEDEFINE)
            tpm.esapi.nv_write(start, bytes(tpm.esapi.nv_read(counter, _NUMBER_BYTES)))
            tpm.esapi.nv_write_lock(start)
        return counter, start

    def _space(self, tpm: Tpm, index: int, attributes: int) -> Any:
        library = tpm.library
        public = library.TPM2B_NV_PUBLIC(
            nvPublic=library.TPMS_NV_PUBLIC(
                nvIndex=index,
                nameAlg=library.TPM2_ALG.SHA256,
                attributes=attributes,
                dataSize=_NUMBER_BYTES,
            )
        )
        return tpm.esapi.nv_define_space(None, public)

    def _count(self, tpm: Tpm, found: tuple[Any, Any]) -> int:
        with tpm.doing("reading the counter"):
            now, start = (
                int.from_bytes(bytes(tpm.esapi.nv_read(handle, _NUMBER_BYTES)), "big")
                for handle in found
            )
        return now - start
