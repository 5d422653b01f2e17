"""Unix sockets in folders of any depth.

The kernel takes 107 bytes as the address of a Unix socket; state folders may lie deeper.
Linux can name a folder by an open handle, which makes every path short. Elsewhere a path
that is too long is refused, with the words to shorten it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skerry.base.errors import Exit, SkerryError

ADDRESS_BYTES_MAX = 107
"""`sockaddr_un.sun_path` less its closing zero, on Linux; a few less elsewhere."""


class SocketPathError(SkerryError):
    """A Unix socket would lie so deep that this system cannot give it an address.

    Linux can; other systems allow about a hundred bytes. Choose a shorter folder.
    """

    code = "E0021"
    exit_code = Exit.WRONG_USE

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        length = len(os.fsencode(self.path))
        return f"the socket {self.path} has {length} bytes, wanted at most {ADDRESS_BYTES_MAX}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "use a state folder with a shorter path"


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address to bind or connect to; it is good while the context is open.

    Raises `SocketPathError`, or `FileNotFoundError` where the folder is missing.
    """
    if len(os.fsencode(path)) <= ADDRESS_BYTES_MAX:
        yield str(path)
        return
    if not sys.platform.startswith("linux") or len(os.fsencode(path.name)) > 64:
        raise SocketPathError(str(path))
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)
