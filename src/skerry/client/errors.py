"""What the SDK itself refuses; what a fleet answers raises the errors of `skerry.route.errors`."""

from skerry.base.errors import Exit, SkerryError


class ClientError(SkerryError):
    """The SDK was used in a way that cannot work."""

    code = "E1300"
    exit_code = Exit.WRONG_USE


class ClientClosedError(ClientError):
    """A client was used after `close`, or outside its `with` block."""

    code = "E1301"

    def __str__(self) -> str:
        return "this client is closed"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "keep the client open as long as requests are sent; it is cheap to keep"


class InputError(ClientError):
    """An input cannot be sent: not an array, or of a type that the protocol does not carry.

    Give `inputs={name: numpy array}` (or something numpy makes an array of), or `file=`
    bytes or a path, and not both. Text and bytes travel as BYTES.
    """

    code = "E1302"

    def __init__(self, name: str, found: str, wanted: str) -> None:
        super().__init__(name, found, wanted)
        self.name, self.found, self.wanted = name, found, wanted

    def __str__(self) -> str:
        return f"{self.name} is {self.found}, wanted {self.wanted}"


class RunFileError(ClientError):
    """There is no running local fleet to talk to, or its run file does not know the site.

    `skerry up` writes `.skerry/run.json` into the fleet folder; the SDK and the CLI read it.
    """

    code = "E1303"
    exit_code = Exit.UNREACHABLE

    def __init__(self, path: str, found: str) -> None:
        super().__init__(path, found)
        self.path, self.found = path, found

    def __str__(self) -> str:
        return f"{self.path}: {self.found}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "start the fleet with `skerry up`, or give --url"
