"""What a node without a link says of itself, carried out on the stick that brought an update."""

import msgspec

from skerry.schema.records import Envelope

STICK_REPORT_SCHEMA = "skerry.stick-report/1"


class StickReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of one node, by its own clock."""

    schema: str = STICK_REPORT_SCHEMA
    spiffe_id: str
    at_unix_s: float
    generation: int
    """The generation that serves; 0 for none yet."""
    on_trial: bool
    models: dict[str, int]
    """Name to version of what answers."""
    gave_up: int = 0
    """The last generation that it tried and took back; 0 for none."""
    gave_up_reason: str = ""
    records: tuple[Envelope, ...] = ()
    """Records that could not go up, as many as were asked for; each counts once at central."""


class StickTaken(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/stick`: what a region did with a report from a stick."""

    node: str
    records: int
    """Handed to central; those that it had already count once there."""


class SignedReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report and the node's enrolment key's signature over exactly these bytes."""

    report: bytes
    signature: bytes
