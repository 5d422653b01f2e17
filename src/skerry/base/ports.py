"""Free ports, below the range that the system hands to outgoing connections.

A port of that range (32768 and up on Linux) that is free now may be some connection's
own end a moment later, long before the process that it was meant for listens on it.
"""

import ipaddress
import random
import socket
from contextlib import ExitStack

from skerry.base.errors import Exit, SkerryError

PORT_MIN, PORT_MAX = 20_000, 32_000


class NoFreePortError(SkerryError):
    """No port between 20000 and 32000 is free on this address."""

    code = "E0022"
    exit_code = Exit.WRONG_USE

    def __init__(self, host: str, wanted: int) -> None:
        super().__init__(host, wanted)
        self.host, self.wanted = host, wanted

    def __str__(self) -> str:
        return f"{self.host} has not {self.wanted} free ports from {PORT_MIN} to {PORT_MAX}"

    @property
    def hint(self) -> str:
        """Name the ways out."""
        return "check the address, or state ports in the settings file"


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return so many different ports that nothing listens on now."""
    start = random.SystemRandom().randrange(PORT_MIN, PORT_MAX)
    span = PORT_MAX - PORT_MIN
    found: list[int] = []
    with ExitStack() as held:  # all at once, so that none is given twice
        for step in range(span):
            if len(found) == count:
                return found
            port = PORT_MIN + (start - PORT_MIN + step) % span
            try:
                held.enter_context(socket.create_server((host, port)))
            except OSError:
                continue
            found.append(port)
    raise NoFreePortError(host, count)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
