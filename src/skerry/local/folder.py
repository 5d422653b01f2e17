"""Where a local fleet keeps everything: `.skerry` beside the fleet file.

keys/                 the throwaway trust set, marked as such
central/              central's state
regions/<region>/     a region's state
nodes/<site>-<n>/     a node's state
logs/                 one log per process
drills/               graded drills
ports.json            ports, chosen once
links.json            emulated links
run.json              what runs now (see `skerry.schema.run_file`)
"""

from dataclasses import dataclass
from pathlib import Path

from skerry.base.files import private_folder

FLEET_FILE = "fleet.yaml"
MODELS = "models"


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """The paths of one local fleet. `root` holds the fleet file."""

    root: Path

    def make(self) -> "LocalFolder":
        """Make the state folder, readable by this user only."""
        private_folder(self.state)
        return self

    @property
    def fleet_file(self) -> Path:
        """The fleet file."""
        return self.root / FLEET_FILE

    @property
    def models(self) -> Path:
        """The model repository beside the fleet file."""
        return self.root / MODELS

    @property
    def state(self) -> Path:
        """Everything that `up` keeps."""
        return self.root / ".skerry"

    @property
    def keys(self) -> Path:
        """The throwaway trust set."""
        return self.state / "keys"

    @property
    def central(self) -> Path:
        """Central's state."""
        return self.state / "central"

    def region(self, name: str) -> Path:
        """A region's state."""
        return self.state / "regions" / name

    def node(self, node: str) -> Path:
        """A node's state."""
        return self.state / "nodes" / node.replace("/", "-")

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.state / "logs"

    @property
    def drills(self) -> Path:
        """Graded drills."""
        return self.state / "drills"

    @property
    def ports(self) -> Path:
        """Ports, chosen once."""
        return self.state / "ports.json"

    @property
    def links(self) -> Path:
        """Emulated links."""
        return self.state / "links.json"

    @property
    def links_control(self) -> Path:
        """The link emulator's control socket."""
        return self.state / "links.sock"

    @property
    def control(self) -> Path:
        """The supervisor's control socket."""
        return self.state / "up.sock"

    @property
    def run_file(self) -> Path:
        """What runs now."""
        return self.state / "run.json"
