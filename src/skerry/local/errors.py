"""What can go wrong around a local fleet."""

from skerry.base.errors import Exit, SkerryError


class LocalError(SkerryError):
    """The root of errors around a fleet that runs on this machine."""

    code = "E1400"


class ChildError(LocalError):
    """A process of the fleet did not become ready, or would not stay up.

    The message names the process and ends with the last lines it wrote; its whole log
    lies in the `logs` folder of the fleet's state folder.
    """

    code = "E1401"
    exit_code = Exit.UNREACHABLE

    def __init__(self, name: str, what: str, last_lines: str) -> None:
        super().__init__(name, what, last_lines)
        self.name, self.what, self.last_lines = name, what, last_lines

    def __str__(self) -> str:
        tail = f":\n{self.last_lines}" if self.last_lines else ""
        return f"{self.name} {self.what}{tail}"


class NotRunningError(LocalError):
    """A command wants the running fleet of a folder, and none runs there."""

    code = "E1402"
    exit_code = Exit.UNREACHABLE

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return f"no fleet runs from {self.folder}"

    @property
    def hint(self) -> str:
        """Name the command that starts one."""
        return "start it with: skerry up"


class OrderRefusedError(LocalError):
    """The supervisor of a local fleet could not carry out an order: to kill, hold or release.

    It knows its processes by name; `skerry status` lists nodes, `skerry logs` every process.
    """

    code = "E1404"

    def __init__(self, order: str, why: str) -> None:
        super().__init__(order, why)
        self.order, self.why = order, why

    def __str__(self) -> str:
        return f"the order to {self.order} was not carried out: {self.why}"


class PortTakenError(LocalError):
    """Another process listens on a port that a local fleet has chosen at its first start.

    `ports.json` in the fleet's state folder keeps the choice, since addresses are signed.
    """

    code = "E1405"
    exit_code = Exit.WRONG_USE

    def __init__(self, name: str, port: int, file: str) -> None:
        super().__init__(name, port, file)
        self.name, self.port, self.file = name, port, file

    def __str__(self) -> str:
        return f"port {self.port} of {self.name} is taken by another process ({self.file})"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return f"stop what listens on port {self.port}, then run skerry up again"
