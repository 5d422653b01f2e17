"""A node's state folder: every path in it, and who writes there.

Agent and worker share it and nothing else. Each file has one writer and is replaced
whole, so the other side reads the old one or the new one.

    node.json          settings                          whoever installs the node
    identity/          keys, certificates, NATS login     agent
    trust/             update metadata, floors, targets   agent
    blobs/             members of models, by digest       agent
    stick/             what a bundle brought              skerry bundle import
    models/            every version on this disk         agent
    active             link to what the worker serves by  agent
    releases/a, b      that, and the one before: links    agent
                       to versions, and current.json
    accepted.json      the newest that was verified       agent
    access.json        the fleet's own access policy      agent
    committed.json     the last that passed its gate      agent
    memory.json        how far a change has come          agent
    containers.json    ports of model runtimes            agent
    signals.json       what rules read                    meters, people, drills
    quarantine.json    why it takes no restricted data    agent
    tamper/            what sensors saw, signed           agent
    custody/           maintenance windows, signed        agent, people
    journal/           request records                    worker
    shadow/            what shadows found, and examples   worker
    secrets/           what upstream servers ask for      people
    outbox.db          records on their way up            agent
    audit/             the audit ledger                   agent
    worker.json        ports and pid of the worker        worker
    worker.sock        the worker's admin door            worker
"""

from dataclasses import dataclass
from pathlib import Path

from skerry.base.files import private_folder
from skerry.schema.upstream import PORTS_FILE


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """The paths below one node's state folder."""

    root: Path

    def make(self) -> "NodeFolder":
        """Make the folders that do not exist yet."""
        for name in ("", "identity", "trust", "blobs", "models", "releases", "journal"):
            private_folder(self.root / name)
        for name in ("secrets", "custody"):  # what people put there
            private_folder(self.root / name)
        return self

    @property
    def settings(self) -> Path:
        """Where the node is told what it is."""
        return self.root / "node.json"

    @property
    def identity(self) -> Path:
        """Keys, certificates and the NATS login."""
        return self.root / "identity"

    @property
    def trust(self) -> Path:
        """The update client's metadata, floors and verified targets."""
        return self.root / "trust"

    @property
    def blobs(self) -> Path:
        """Members of models, named by digest."""
        return self.root / "blobs"

    @property
    def stick(self) -> Path:
        """What a bundle brought: a repository folder and blobs, for when no region answers."""
        return self.root / "stick"

    @property
    def models(self) -> Path:
        """Every model version on this disk."""
        return self.root / "models"

    @property
    def releases(self) -> Path:
        """What the worker serves by, and what it did before."""
        return self.root / "releases"

    @property
    def active(self) -> Path:
        """The pointer to what the worker serves by."""
        return self.root / "active"

    @property
    def serving(self) -> Path:
        """The model repository that the worker starts from, in Triton's layout."""
        return self.active / "serving"

    @property
    def secrets(self) -> Path:
        """Files that hold what the servers behind models ask for, one secret each."""
        return self.root / "secrets"

    @property
    def accepted(self) -> Path:
        """The newest desired state that was verified, tried or not."""
        return self.root / "accepted.json"

    @property
    def access(self) -> Path:
        """The fleet's own access policy as it was verified; what it forbids of data holds here."""
        return self.root / "access.json"

    @property
    def current(self) -> Path:
        """The accepted desired state that the worker serves by."""
        return self.active / "current.json"

    @property
    def committed(self) -> Path:
        """The last accepted desired state that passed its gate, to go back to."""
        return self.root / "committed.json"

    @property
    def container_ports(self) -> Path:
        """Where the containers that models run in are reached, by model and version."""
        return self.root / PORTS_FILE

    @property
    def memory(self) -> Path:
        """How far a change has come on this disk."""
        return self.root / "memory.json"

    @property
    def signals(self) -> Path:
        """What rules read."""
        return self.root / "signals.json"

    @property
    def quarantine(self) -> Path:
        """Why the node takes no restricted data; absent while it does."""
        return self.root / "quarantine.json"

    @property
    def attestation(self) -> Path:
        """When the machine last passed attestation, and how long that holds."""
        return self.root / "attestation.json"

    @property
    def sealed_key(self) -> Path:
        """What opens the site's authority, sealed to this machine's TPM and boot."""
        return self.root / "sealed.json"

    @property
    def tamper(self) -> Path:
        """What the tamper sensors saw, as signed events and as a raw series."""
        return self.root / "tamper"

    @property
    def custody(self) -> Path:
        """Signed maintenance windows, one custody entry on each line of each file."""
        return self.root / "custody"

    @property
    def journal(self) -> Path:
        """Request records, as the worker writes them."""
        return self.root / "journal"

    @property
    def shadow(self) -> Path:
        """What shadows found, a record per rule, and the examples that rules allow."""
        return self.root / "shadow"

    @property
    def outbox(self) -> Path:
        """Records on their way up."""
        return self.root / "outbox.db"

    @property
    def audit(self) -> Path:
        """The audit ledger, and what this node knows of its neighbours'."""
        return self.root / "audit"

    @property
    def worker(self) -> Path:
        """Ports and process id of the running worker."""
        return self.root / "worker.json"

    @property
    def admin_socket(self) -> Path:
        """The worker's admin door, open to this user only."""
        return self.root / "worker.sock"
