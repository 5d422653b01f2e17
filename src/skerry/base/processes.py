"""Child processes that end with their parent, and what a process weighs.

Linux only where it says so: elsewhere the calls do nothing or return 0, and a child
that must not outlive its parent is stopped by the parent alone.
"""

import ctypes
import gc
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, *, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to signal this process when its parent's starting thread ends.

    Called by the child, early. `parent_pid` is whom it expects: a parent that died
    before the call would otherwise be missed, so then the process ends at once.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def rss_bytes(pid: int) -> int:
    """Return a process's resident memory; 0 where it is gone or the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def trim_memory() -> None:
    """Give freed memory back to the system, where the C library can; takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def settle() -> None:
    """Take all that lives now out of the garbage collector's sight, once a process is ready.

    What a process loads at its start stays for its whole life; looking through it again and
    again is what makes a collection of the oldest objects take tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
