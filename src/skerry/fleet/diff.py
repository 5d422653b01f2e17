"""Two resolved fleets to a list of changes, each with its blast radius.

A change names its object, what becomes of it, the sites that it reaches, and whether
anything on them is restarted (a model is swapped) or merely told. The text is one
summary line, then one line per changed object; removals are listed by name.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from skerry.base.quantity import format_quantity
from skerry.fleet.place import sites_of
from skerry.schema.custody import CustodyPolicy
from skerry.schema.fleet import Fleet, Model, Site, Tier
from skerry.schema.tamper import TamperPolicy
from skerry.schema.trust import Access, Attestation, Updates

_UNITS = (
    ("_usd_per_kwh", "USD/kWh"),
    ("_g_per_kwh", "g/kWh"),
    ("_bit_per_s", "bit/s"),
    ("_usd_per_1k", "USD"),
    ("_wh_per_1k", "Wh"),
    ("_g_per_1k", "g"),
    ("_bytes_per_1k", "B"),
    ("latency_ms_p95", "ms"),
    ("_ratio", "1"),
    ("_ms", "ms"),
    ("_w", "W"),
    ("_s", "s"),
    ("usd_per_month", "USD"),
    ("_usd", "USD"),
)
_NO_SHARE = frozenset({"pue_ratio"})


class Op(StrEnum):
    """What becomes of an object."""

    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One object that changes. `sites` are those it reaches; `restarts` says models swap there."""

    op: Op
    kind: str
    name: str
    detail: str
    sites: tuple[str, ...] = ()
    restarts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All changes between two fleets, and how many objects stay as they are."""

    changes: tuple[Change, ...]
    unchanged: int
    first_ring: tuple[str, ...] = ()
    revert_when: str = ""
    rings: tuple[int, ...] = field(default=())

    def count(self, op: Op) -> int:
        """Return how many objects are added, changed or removed."""
        return sum(change.op is op for change in self.changes)


def differences(old: Fleet | None, new: Fleet) -> Difference:
    """Return what applying `new` over `old` would do; `old` of None means nothing runs yet."""
    before = _objects(old) if old is not None else {}
    now = _objects(new)
    changes = []
    for key in [*now, *(key for key in before if key not in now)]:
        if before.get(key) != now.get(key):
            changes.append(_change(key, before.get(key), now.get(key), old, new))
    gate = new.rollout.gate
    limits = []
    if gate.latency_ms_p95 is not None:
        limits.append(f"p95 > {format_quantity(gate.latency_ms_p95, 'ms')}")
    if gate.errors_ratio is not None:
        limits.append(f"errors > {format_quantity(gate.errors_ratio, '1')}")
    when = " or ".join(limits)
    return Difference(
        changes=tuple(changes),
        unchanged=len(now) - sum(change.op is not Op.REMOVE for change in changes),
        first_ring=new.rollout.rings[0] if new.rollout.rings else (),
        revert_when=when if new.rollout.revert_on_fail else "",
        rings=tuple(len(ring) for ring in new.rollout.rings),
    )


def render_difference(difference: Difference, *, hold_s: float) -> str:
    """Write a difference as people read it: the summary first, then a line per object."""
    lines = [
        f"{difference.count(Op.CHANGE)} to change, {difference.count(Op.ADD)} to add, "
        f"{difference.count(Op.REMOVE)} to remove, {difference.unchanged} unchanged"
    ]
    kind_width = max((len(change.kind) for change in difference.changes), default=0)
    name_width = max((len(change.name) for change in difference.changes), default=0)
    for change in difference.changes:
        line = (
            f"  {change.op.value} {change.kind.ljust(kind_width)} {change.name.ljust(name_width)}"
        )
        effect = _effect(change, difference.rings)
        detail = f"{change.detail}" if change.detail else ""
        lines.append("  ".join(part for part in (line, detail, effect) if part).rstrip())
    if any(change.restarts for change in difference.changes):
        first = ", ".join(difference.first_ring[:6])
        more = (
            f" and {len(difference.first_ring) - 6} more" if len(difference.first_ring) > 6 else ""
        )
        tail = f"First ring: {first}{more}."
        if difference.revert_when:
            hold = format_quantity(hold_s, "s")
            tail += f" Reverts by itself if {difference.revert_when} within {hold}."
        lines.append(tail)
    return "\n".join(lines)


def _effect(change: Change, rings: tuple[int, ...]) -> str:
    if change.kind not in ("model", "site", "tier"):
        return ""
    if not change.restarts:
        return "no restart"
    return f"rings: {', '.join(str(size) for size in rings)}"


def _objects(fleet: Fleet) -> dict[tuple[str, str], Any]:
    """List a fleet's objects by kind and name, each comparable."""
    objects: dict[tuple[str, str], Any] = {("model", m.name): m for m in fleet.models}
    objects |= {("site", site.name): site for site in fleet.sites}
    objects |= {("tier", name): tier for name, tier in fleet.tiers.items()}
    objects |= {("goal", name.value): value for name, value in fleet.goals.items()}
    objects |= {("data", name): rule for name, rule in fleet.data_classes.items()}
    objects |= {
        ("rule", f"{rule.signal} {rule.op} {_plain(rule.value)}"): rule for rule in fleet.rules
    }
    # A round trip that follows from coordinates changes with its site, which is listed.
    objects |= {("link", f"{link.a} - {link.b}"): link for link in fleet.links if link.stated}
    objects["rollout", fleet.name] = fleet.rollout
    objects["domain", fleet.name] = fleet.domain
    if fleet.trust.access != Access():
        objects["access", fleet.name] = fleet.trust.access
    if fleet.trust.tamper != TamperPolicy():
        objects["tamper", fleet.name] = fleet.trust.tamper
    if fleet.trust.custody != CustodyPolicy():
        objects["custody", fleet.name] = fleet.trust.custody
    if fleet.trust.updates != Updates():
        objects["updates", fleet.name] = fleet.trust.updates
    if fleet.trust.attestation != Attestation():
        objects["attestation", fleet.name] = fleet.trust.attestation
    return objects


def _change(key: tuple[str, str], before: Any, now: Any, old: Fleet | None, new: Fleet) -> Change:
    kind, name = key
    op = Op.ADD if before is None else Op.REMOVE if now is None else Op.CHANGE
    fleet = old if now is None and old is not None else new
    subject = before if now is None else now
    sites = _sites_reached(kind, subject, fleet)
    if op is Op.CHANGE and kind == "model" and old is not None:
        reached = dict.fromkeys((*sites, *_sites_reached(kind, before, old)))
        sites = tuple(reached)
    return Change(
        op=op,
        kind=kind,
        name=name,
        detail=_detail(name, op, before, now, len(sites)),
        sites=sites,
        restarts=_restarts(kind, op, before, now),
    )


def _sites_reached(kind: str, subject: Any, fleet: Fleet) -> tuple[str, ...]:
    if kind == "model":
        return tuple(site.name for site in sites_of(fleet, subject))
    if kind == "site":
        return (subject.name,)
    if kind == "tier":
        return tuple(site.name for site in fleet.sites if site.tier == subject.name)
    if kind == "link":
        return (subject.a, subject.b)
    return tuple(site.name for site in fleet.sites)


def _restarts(kind: str, op: Op, before: Any, now: Any) -> bool:
    """Tell whether models are loaded or swapped; other changes are merely told."""
    if kind == "model":
        if op is not Op.CHANGE:
            return True
        return (before.version, before.manifest_sha256, before.tiers) != (
            now.version,
            now.manifest_sha256,
            now.tiers,
        )
    if kind == "site":
        return op is not Op.CHANGE or before.tier != now.tier or before.nodes != now.nodes
    return False


def _detail(name: str, op: Op, before: Any, now: Any, reached: int) -> str:
    subject = before if now is None else now
    on_sites = f"on {reached} site{'' if reached == 1 else 's'}"
    if op is not Op.CHANGE:
        if isinstance(subject, Model):
            return f"v{subject.version} {on_sites}"
        if isinstance(subject, Site):
            return f"{subject.tier} in {subject.region}, {subject.nodes} node(s)"
        if isinstance(subject, Tier):
            return f"{subject.nodes} x {subject.machine.name}"
        return _value(name, subject) if isinstance(subject, str | float) else ""
    if not isinstance(now, msgspec.Struct):
        return f"{_value(name, before)} -> {_value(name, now)}"
    parts = []
    if isinstance(now, Model) and before.version != now.version:
        parts.append(f"v{before.version} -> v{now.version} {on_sites}")
    elif isinstance(now, Model) and before.manifest_sha256 != now.manifest_sha256:
        old_digest = before.manifest_sha256[:12] or "not added"
        parts.append(f"bytes {old_digest} -> {now.manifest_sha256[:12] or 'removed'} {on_sites}")
    for part in now.__struct_fields__:
        if part in ("version", "manifest_sha256", "grid_source"):
            continue
        one, other = getattr(before, part), getattr(now, part)
        if one != other:
            parts.append(f"{_word(part)} {_value(part, one)} -> {_value(part, other)}")
    return "; ".join(parts)


def _word(name: str) -> str:
    for suffix, _ in _UNITS:
        if name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix).replace("_", " ")
    return name.replace("_", " ")


def _value(name: str, value: object) -> str:
    if isinstance(value, float | int) and not isinstance(value, bool):
        for suffix, unit in _UNITS:
            if name.endswith(suffix) and name not in _NO_SHARE:
                return format_quantity(float(value), unit)
    return _plain(value)


def _plain(value: object) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, msgspec.Struct):
        named = getattr(value, "name", "")
        return str(named) or ", ".join(
            f"{field_.replace('_', ' ')} {_value(field_, getattr(value, field_))}"
            for field_ in value.__struct_fields__
        )
    if isinstance(value, tuple):
        shown = ", ".join(_plain(item) for item in value)
        return f"[{shown}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_plain(item)}" for key, item in value.items()) + "}"
    return str(value)
