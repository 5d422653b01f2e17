"""What can go wrong on a node."""

from skerry.base.errors import Exit, SkerryError


class NodeError(SkerryError):
    """The root of errors on a node."""

    code = "E1000"


class NotJoinedError(NodeError):
    """The state folder holds no identity: this machine has not joined a fleet."""

    code = "E1001"
    exit_code = Exit.WRONG_USE

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return f"{self.folder} holds no identity; this machine has not joined a fleet"

    @property
    def hint(self) -> str:
        """Name the command that joins."""
        return "ask for a join ticket and run: skerry join --ticket FILE"


class SettingsError(NodeError):
    """The node's settings file cannot be read or holds a value that cannot be used."""

    code = "E1002"
    exit_code = Exit.FILE_INVALID

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the page that lists every setting."""
        return "docs/reference/node-settings.md lists every setting with its unit"


class WorkerUnreachableError(NodeError):
    """The worker of this node does not answer on its admin door; it may be starting."""

    code = "E1003"
    exit_code = Exit.UNREACHABLE

    def __init__(self, socket: str, why: str) -> None:
        super().__init__(socket, why)
        self.socket, self.why = socket, why

    def __str__(self) -> str:
        return f"no worker answers on {self.socket}: {self.why}"


class LoadRefusedError(NodeError):
    """The worker would not load a model version; the one before goes on serving."""

    code = "E1004"

    def __init__(self, model: str, version: int, why: str) -> None:
        super().__init__(model, version, why)
        self.model, self.version, self.why = model, version, why

    def __str__(self) -> str:
        return f"model {self.model} version {self.version} was not loaded: {self.why}"


class RenewalError(NodeError):
    """The node's certificate could not be renewed; it goes on with the one that it has."""

    code = "E1005"
    exit_code = Exit.UNREACHABLE

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"{self.where} did not renew the certificate: {self.why}"


class JoinRefusedError(NodeError):
    """The region would not let this machine in; the message repeats its reason.

    A ticket works once, for one site, for fifteen minutes; ask for a new one.
    """

    code = "E1006"
    exit_code = Exit.REFUSED

    def __init__(self, region: str, why: str) -> None:
        super().__init__(region, why)
        self.region, self.why = region, why

    def __str__(self) -> str:
        return f"{self.region} refused the join: {self.why}"

    @property
    def hint(self) -> str:
        """Name the way to a new ticket."""
        return "ask for a new ticket: skerry trust ticket SITE/NUMBER"


class ContainerError(NodeError):
    """A model's container could not be started, or did not become ready; what serves goes on.

    The text says which command failed and what it said. A node needs `podman` or `docker` in its
    path, or `skerry model runtime manifests` for a cluster that runs it elsewhere.
    """

    code = "E1009"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what, self.why = what, why

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"

    @property
    def hint(self) -> str:
        """Name the page."""
        return "docs/how-to/run-a-container-runtime.md says what a node needs"


class StageError(NodeError):
    """A model version could not be laid out on this disk; what serves goes on serving.

    A version number stands for one set of bytes for ever: give a changed model a new one.
    """

    code = "E1008"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"
