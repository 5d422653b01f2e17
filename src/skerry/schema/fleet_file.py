"""The fleet file, as people write it: words and quantities with their units.

These documents refuse unknown fields. `skerry.schema.fleet_reader` decodes them,
`skerry.fleet.resolve` turns them into `skerry.schema.fleet.Fleet`, where every value
is present and every unit is in a field's name. `docs/reference/fleet-file.md`
explains each key; `examples/clinic/fleet.yaml` is the reference.

Units: as each value says (`skerry.base.quantity`).
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from skerry.schema.authored import Authored, Name, Quantity, Ratio
from skerry.schema.trust_file import TrustFile

API_VERSION = "skerry/v1"


class GoalsFile(Authored, frozen=True, kw_only=True):
    """What *good* means. Plans, gates, drills and pilots all read this."""

    latency_p95: Quantity | None = None
    local_answers: Quantity | None = None
    cost_per_1k: Quantity | None = None
    energy_per_1k: Quantity | None = None
    carbon_per_1k: Quantity | None = None
    availability: Quantity | None = None
    upstream_per_1k: Quantity | None = None


class MachineFile(Authored, frozen=True, kw_only=True):
    """A machine type: its draw, price and life, and where those figures come from."""

    idle: Quantity
    busy: Quantity
    price: Quantity
    life: Ratio
    """Years."""
    source: str


class TierFile(Authored, frozen=True, kw_only=True):
    """A named profile that sites share."""

    kind: str
    nodes: str
    """`2 x mini-pc`: how many, of which machine."""
    feed: Quantity | None = None
    ups: Quantity | None = None
    uplink: Quantity | None = None
    pue: Ratio | None = None
    energy: Quantity | None = None
    monthly: Quantity | None = None


class ContactFile(Authored, frozen=True, kw_only=True):
    """Whom to call at a site."""

    name: str
    phone: str


class SiteFile(Authored, frozen=True, kw_only=True):
    """One place."""

    name: Name
    tier: str
    at: Annotated[list[Ratio], Meta(min_length=2, max_length=2)]
    """Latitude and longitude, in degrees."""
    region: str | None = None
    jurisdiction: str | None = None
    grid: str | None = None
    grid_carbon: Quantity | None = None
    grid_source: str | None = None
    nodes: Annotated[int, Meta(ge=1, le=1000)] | None = None
    feed: Quantity | None = None
    hours: str | None = None
    contact: ContactFile | None = None
    labels: dict[str, str | int | bool] = {}
    air_gapped: bool = False


class ModelFile(Authored, frozen=True, kw_only=True):
    """One model: which version, where, and what data it may see."""

    name: Name
    version: str | int
    place: Annotated[list[str], Meta(min_length=1)]
    data: str | Annotated[list[str], Meta(min_length=1)]
    fallback: str | None = None


class DataClassFile(Authored, frozen=True, kw_only=True):
    """Where data of one class may go: `site`, `region`, `anywhere`, or a list of countries."""

    stays: str | Annotated[list[str], Meta(min_length=1)]


class RuleFile(Authored, frozen=True, kw_only=True):
    """When a signal crosses a value, do something about it."""

    when: str
    do: str
    what: list[str] = []


class GateFile(Authored, frozen=True, kw_only=True):
    """When a new version may stay."""

    hold: Quantity
    latency_p95: Quantity | None = None
    errors: Quantity | None = None
    requests: Annotated[int, Meta(ge=0)] = 20


class RingCheckFile(Authored, frozen=True, kw_only=True):
    """What is asked before a ring: a `url`, or a `command` that central's settings name."""

    url: str | None = None
    command: Name | None = None
    timeout: Quantity = "10 s"


class RolloutFile(Authored, frozen=True, kw_only=True):
    """How a change travels through the fleet."""

    rings: Annotated[list[str], Meta(min_length=1)]
    gate: GateFile
    on_fail: str = "revert"
    window: str = "always"
    soak: Quantity | None = None
    approve: list[str] = []
    """Rings that wait for a person, as `rings` names them."""
    check: RingCheckFile | None = None


class LinkFile(Authored, frozen=True, kw_only=True):
    """What is known of the link between two sites; the rest is computed."""

    between: Annotated[list[str], Meta(min_length=2, max_length=2)]
    round_trip: Quantity
    jitter: Quantity | None = None
    bandwidth: Quantity | None = None


class FleetFile(Authored, frozen=True, kw_only=True):
    """The whole file."""

    api_version: str = msgspec.field(name="apiVersion")
    kind: str
    name: Name
    domain: str
    tiers: dict[str, TierFile]
    sites: Annotated[list[SiteFile], Meta(min_length=1)]
    models: list[ModelFile]
    data: dict[str, DataClassFile]
    rollout: RolloutFile
    goals: GoalsFile = GoalsFile()
    machines: dict[str, MachineFile] = {}
    rules: list[RuleFile] = []
    links: list[LinkFile] = []
    trust: TrustFile = TrustFile()


def validation_schema() -> dict[str, Any]:
    """Return the JSON Schema that `FleetFile` decodes by, once CSV and folder are read."""
    return msgspec.json.schema(FleetFile)


def editor_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) for editors; it also knows `sites: {from: FILE}`.

    Editors support draft 7; msgspec writes 2020-12. The file's types use nothing in
    which the two differ but where definitions stand, and references name that place.
    """
    schema = validation_schema()
    fleet = schema["$defs"]["FleetFile"]
    fleet["properties"]["apiVersion"] = {"const": API_VERSION}
    fleet["properties"]["kind"] = {"const": "Fleet"}
    fleet["properties"]["sites"] = {
        "anyOf": [
            fleet["properties"]["sites"],
            {
                "type": "object",
                "properties": {"from": {"type": "string", "description": "A CSV file."}},
                "required": ["from"],
                "additionalProperties": False,
            },
        ]
    }
    schema["$defs"]["TierFile"]["properties"]["kind"] = {
        "enum": ["edge", "onprem", "regional", "cloud"]
    }
    definitions = schema.pop("$defs")
    text = msgspec.json.encode({"definitions": definitions, **schema}).decode()
    moved: dict[str, Any] = msgspec.json.decode(text.replace("#/$defs/", "#/definitions/"))
    # In draft 7 a `$ref` hides its siblings, so the root repeats the fleet itself.
    root: dict[str, Any] = moved["definitions"].pop("FleetFile")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Skerry fleet file",
        **root,
        "definitions": moved["definitions"],
    }
