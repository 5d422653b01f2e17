"""Data classes, models and rules of the authored file to resolved ones."""

import re

from skerry.fleet.findings import Findings
from skerry.fleet.resolve_places import check_country, check_token
from skerry.schema.desired import DesiredRule
from skerry.schema.file_errors import KeyPath
from skerry.schema.fleet import Model
from skerry.schema.fleet_file import FleetFile, RuleFile
from skerry.schema.lock import FleetLock
from skerry.schema.policy import Residency, Stays

VERSION_MAX = 2**31 - 1
DEFERRABLE = ("retraining", "uploads", "updates")
SIGNALS: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "power.source": ("power.source", ("mains", "ups")),
    "grid.carbon": ("grid.carbon_g_per_kwh", "g/kWh"),
    "temperature": ("temperature_c", "C"),
    "feed.load": ("feed.load_ratio", "1"),
}
"""Signal as people write it, to its name in observed state, and its words or its unit."""

_VERSION = re.compile(r"v?([1-9][0-9]{0,9})")
_WHEN = re.compile(r"([a-z_.]+) *(==|!=|>=|<=|>|<) *(\S.{0,40})")


def resolve_classes(file: FleetFile, notes: Findings) -> dict[str, Residency]:
    """Return each data class with where it may go."""
    classes = {}
    for name, entry in file.data.items():
        path: KeyPath = ("data", name, "stays")
        check_token(name, "data class", ("data", name), notes)
        if isinstance(entry.stays, list):
            for index, code in enumerate(entry.stays):
                check_country(code, (*path, index), notes)
            classes[name] = Residency(
                stays=Stays.JURISDICTIONS, jurisdictions=tuple(dict.fromkeys(entry.stays))
            )
            continue
        words = [word.value for word in Stays if word is not Stays.JURISDICTIONS]
        if entry.stays in words:
            classes[name] = Residency(stays=Stays(entry.stays))
        else:
            is_code = len(entry.stays) == 2 and entry.stays.isupper()
            notes.bad_value(
                path,
                f"`{entry.stays}` says nothing of where data may go",
                f"a country goes into a list: [{entry.stays}]"
                if is_code
                else f"wanted {', '.join(words)}, or a list of countries such as [NO, DE]",
            )
    return classes


def resolve_models(file: FleetFile, lock: FleetLock, notes: Findings) -> tuple[Model, ...]:
    """Return the models, with the digest that the lock knows for their version."""
    first_at: dict[str, int] = {}
    models = []
    names = [model.name for model in file.models]
    for index, model in enumerate(file.models):
        path: KeyPath = ("models", index)
        if model.name in first_at:
            notes.duplicate(
                (*path, "name"),
                f"model `{model.name}` is there twice",
                f"the first is models.{first_at[model.name]}; a model has one version per fleet",
            )
        first_at.setdefault(model.name, index)
        version = _version(model.version, (*path, "version"), notes)
        for number, tier in enumerate(model.place):
            if tier not in file.tiers:
                notes.unknown((*path, "place", number), "tier", tier, file.tiers)
        classes = [model.data] if isinstance(model.data, str) else model.data
        for number, name in enumerate(classes):
            if name not in file.data:
                where: KeyPath = (*path, "data")
                where = where if isinstance(model.data, str) else (*where, number)
                notes.unknown(where, "data class", name, file.data)
        if model.fallback == model.name:
            notes.contradiction(
                (*path, "fallback"),
                f"`{model.name}` cannot stand in for itself",
                "name a smaller model of the same signature, or remove the line",
            )
        elif model.fallback is not None and model.fallback not in names:
            notes.unknown((*path, "fallback"), "model", model.fallback, set(names) - {model.name})
        models.append(
            Model(
                name=model.name,
                version=version,
                manifest_sha256=lock.manifest_sha256(model.name, version),
                standin=model.fallback,
                tiers=tuple(dict.fromkeys(model.place)),
                data_classes=tuple(dict.fromkeys(classes)),
            )
        )
    return tuple(models)


def _version(written: str | int, path: KeyPath, notes: Findings) -> int:
    match = _VERSION.fullmatch(str(written))
    if match is None or int(match[1]) > VERSION_MAX:
        notes.bad_value(path, f"`{written}` is not a version, wanted `v14` or 14")
        return 1
    return int(match[1])


def resolve_rules(file: FleetFile, notes: Findings) -> tuple[DesiredRule, ...]:
    """Return the rules, decoded, in the order of the file: the first that holds wins."""
    rules = []
    for index, rule in enumerate(file.rules):
        when = _when(rule.when, ("rules", index, "when"), notes)
        action = _action(rule, file, ("rules", index), notes)
        if when is not None and action is not None:
            signal, op, value = when
            do, what = action
            rules.append(DesiredRule(signal=signal, op=op, value=value, do=do, what=what))
    return tuple(rules)


def _when(text: str, path: KeyPath, notes: Findings) -> tuple[str, str, str | float] | None:
    match = _WHEN.fullmatch(text.strip())
    if match is None:
        notes.bad_value(
            path,
            f"`{text}` is not a condition",
            "wanted `power.source == ups` or `grid.carbon > 400 g/kWh`",
        )
        return None
    written, op, value = match[1], match[2], match[3].strip()
    if written not in SIGNALS:
        notes.unknown(path, "signal", written, SIGNALS)
        return None
    signal, scale = SIGNALS[written]
    if isinstance(scale, str):
        low = -100.0 if scale == "C" else 0.0
        return signal, op, notes.quantity(value, scale, path, low=low)
    if op not in ("==", "!="):
        notes.bad_value(path, f"`{op}` does not order words", f"write `{written} == {scale[0]}`")
    elif value not in scale:
        notes.unknown(path, f"value of {written}", value, scale)
    return signal, op, value


def _action(
    rule: RuleFile, file: FleetFile, path: KeyPath, notes: Findings
) -> tuple[str, tuple[str, ...]] | None:
    words = rule.do.split()
    if words == ["defer"]:
        if not rule.what:
            notes.bad_value(
                (*path, "do"), "defers nothing", f"add `what: [{', '.join(DEFERRABLE)}]`"
            )
        for index, name in enumerate(rule.what):
            if name not in DEFERRABLE:
                notes.unknown((*path, "what", index), "work to defer", name, DEFERRABLE)
        return "defer", tuple(rule.what)
    if len(words) == 2 and words[0] == "prefer":
        names = {model.name for model in file.models}
        standins = {model.fallback for model in file.models if model.fallback is not None}
        # A stand-in with a fault of its own is told of once, where it stands.
        alone = any(model.fallback == model.name for model in file.models)
        if words[1] not in names:
            notes.unknown((*path, "do"), "model", words[1], names)
        elif words[1] not in standins and standins <= names and not alone:
            notes.contradiction(
                (*path, "do"),
                f"`{words[1]}` stands in for no model, so this rule would do nothing",
                f"add `fallback: {words[1]}` to the model it may replace",
            )
        if rule.what:
            notes.bad_value((*path, "what"), "`prefer` takes its model in `do`", "remove `what`")
        return "prefer", (words[1],)
    notes.bad_value(
        (*path, "do"), f"`{rule.do}` is not an action", "wanted `prefer MODEL` or `defer`"
    )
    return None
