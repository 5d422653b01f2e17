"""Graded advice about a fleet that resolves: what will hurt, and what to do about it.

An *error* is a fleet that could never do what it says; a *warning* is a risk to
answers, power or goals; a *note* is worth knowing. Pure; the paths point into the
authored file.
"""

from skerry.base.quantity import format_quantity
from skerry.fleet.desired import access_of, policy_of
from skerry.fleet.findings import Finding, Findings
from skerry.fleet.place import fallbacks, sites_of
from skerry.fleet.resolve_places import ENERGY_USD_PER_KWH_ASSUMED, PUE_ASSUMED
from skerry.fleet.windows import OUTSIDE_HOURS
from skerry.schema.fleet import Fleet, Kind
from skerry.schema.fleet_file import FleetFile
from skerry.schema.goal import GoalName
from skerry.schema.policy import Stays
from skerry.schema.trust import Access
from skerry.trust.access_errors import PolicyInvalidError
from skerry.trust.residency import ResidencyTable

FEED_LOAD_WARN = 0.8
"""Above it a breaker may trip on inrush: the continuous-load rule of electricians."""


def lint(file: FleetFile, fleet: Fleet) -> tuple[Finding, ...]:
    """Return what is worth saying about a resolved fleet, worst first."""
    notes = Findings()
    _feeds(file, fleet, notes)
    _models(fleet, notes)
    _failover(fleet, notes)
    _gate(file, fleet, notes)
    _access(fleet, notes)
    _assumptions(file, notes)
    _contacts(fleet, notes)
    order = {"error": 0, "warn": 1, "note": 2}
    return tuple(sorted(notes.found, key=lambda finding: order[finding.grade]))


def _feeds(file: FleetFile, fleet: Fleet, notes: Findings) -> None:
    for index, site in enumerate(fleet.sites):
        if site.kind is Kind.CLOUD and site.feed_w == 0:
            continue
        tier = fleet.tiers[site.tier]
        busy_w = site.nodes * tier.machine.busy_w
        load = busy_w / site.feed_w
        own = file.sites[index].feed is not None
        path = ("sites", index, "feed") if own else ("tiers", site.tier, "feed")
        text = (
            f"`{site.name}` has a {format_quantity(site.feed_w, 'W')} feed and "
            f"{format_quantity(busy_w, 'W')} of nodes at full load ({load * 100:,.0f} %)"
        )
        if load > 1:
            slip = f"; or did you mean {site.feed_w:g} kW?" if site.feed_w * 1000 >= busy_w else ""
            advice = f"a larger feed, fewer nodes or a smaller machine{slip}"
            if busy_w >= 20 * site.feed_w:
                notes.contradiction(path, text, advice)
            else:
                notes.warn(path, text, advice)
        elif load > FEED_LOAD_WARN:
            notes.note(path, text, "above 80 % a breaker may trip on inrush")
        if not own and load > FEED_LOAD_WARN:
            break  # one word about a tier says it for all its sites


def _models(fleet: Fleet, notes: Findings) -> None:
    standins = {model.standin for model in fleet.models}
    for index, model in enumerate(fleet.models):
        path = ("models", index)
        if not sites_of(fleet, model):
            notes.warn(
                (*path, "place"), f"no site has a tier of `{model.name}`, so it runs nowhere"
            )
        if not model.manifest_sha256:
            notes.note(
                (*path, "version"),
                f"`{model.name}` v{model.version} is not in fleet.lock yet",
                "add its bytes: skerry model add",
            )
        if model.standin is None:
            if model.name not in standins:
                notes.note(
                    path,
                    f"`{model.name}` has no stand-in",
                    "a smaller model of the same signature can answer for it: `fallback`",
                )
            continue
        other = next(m for m in fleet.models if m.name == model.standin)
        missing = [tier for tier in model.tiers if tier not in other.tiers]
        if missing:
            notes.warn(
                (*path, "fallback"),
                f"`{other.name}` is not placed on {', '.join(missing)}: no stand-in there",
                f"add it to the `place` of `{other.name}`",
            )
        if set(model.data_classes) - set(other.data_classes):
            lost = ", ".join(sorted(set(model.data_classes) - set(other.data_classes)))
            notes.contradiction(
                (*path, "fallback"),
                f"`{other.name}` may not see {lost}, so it cannot stand in for `{model.name}`",
                f"add it to the `data` of `{other.name}`",
            )
    if not fleet.models:
        notes.note(("models",), "no models yet", "add one: skerry model add")


def _failover(fleet: Fleet, notes: Findings) -> None:
    """Find data that can be received at a site and answered nowhere, or in one place only."""
    standins = {model.standin for model in fleet.models}
    others = fallbacks(fleet)
    allowed = ResidencyTable(policy_of(fleet, generation=0)).destinations
    for model_index, model in enumerate(fleet.models):
        if model.name in standins:
            continue  # what its principal is told holds for it too
        served = {site.name for site in sites_of(fleet, model)}
        for class_index, name in enumerate(model.data_classes):
            path = ("models", model_index, "data", class_index)
            alone, stranded = [], []
            for site in fleet.sites:
                if site.kind in (Kind.CLOUD, Kind.REGIONAL):
                    continue
                able = served & allowed(name, site.name) & {s.name for s in others[site.name]}
                if site.name not in served and not able:
                    stranded.append(site.name)
                elif site.name in served and not able and site.nodes == 1:
                    alone.append(site.name)
            if stranded:
                notes.warn(
                    path,
                    f"`{name}` received at {_some(stranded)} may go nowhere that runs "
                    f"`{model.name}`: it will be refused",
                    "place the model there, or widen `stays`",
                )
            if alone:
                notes.warn(
                    path,
                    f"`{name}` at {_some(alone)} has one node and nowhere else to go: "
                    "if it stops, requests are refused",
                    "a second node at the site, or a wider `stays`",
                )
    for name, rule in fleet.data_classes.items():
        places = {site.jurisdiction for site in fleet.sites}
        missing = [code for code in rule.jurisdictions if code not in places]
        if rule.stays is Stays.JURISDICTIONS and missing:
            notes.note(("data", name, "stays"), f"no site is in {', '.join(missing)}")


def _access(fleet: Fleet, notes: Findings) -> None:
    """Refuse what central would refuse when it is published; the default needs no look."""
    if fleet.trust.access == Access():
        return
    from skerry.trust.access import check_publishable  # the policy engine costs 6 MB

    try:
        check_publishable(access_of(fleet, generation=0))
    except PolicyInvalidError as error:
        notes.bad_value(("trust", "access"), error.why, error.hint)


def _gate(file: FleetFile, fleet: Fleet, notes: Findings) -> None:
    gate = fleet.rollout.gate
    goal_ms = fleet.goals.get(GoalName.LATENCY_MS_P95)
    if goal_ms is not None and gate.latency_ms_p95 is None:
        notes.warn(
            ("rollout", "gate"),
            f"the goal for p95 is {format_quantity(goal_ms, 'ms')}, and no gate holds it",
            f"add `latency_p95: {format_quantity(goal_ms, 'ms')}` to the gate",
        )
    elif goal_ms is not None and gate.latency_ms_p95 is not None and gate.latency_ms_p95 > goal_ms:
        notes.warn(
            ("rollout", "gate", "latency_p95"),
            f"the gate lets {format_quantity(gate.latency_ms_p95, 'ms')} pass, "
            f"the goal is {format_quantity(goal_ms, 'ms')}",
        )
    if GoalName.AVAILABILITY_RATIO in fleet.goals and gate.errors_ratio is None:
        notes.warn(
            ("rollout", "gate"),
            "availability is a goal, and no gate holds it",
            "add `errors: 0.1 %`",
        )
    if len(fleet.rollout.rings) == 1 and len(fleet.sites) > 1:
        notes.warn(
            ("rollout", "rings"),
            "one ring: a bad change reaches every site at once",
            "begin with a pilot, such as [ring=pilot, 50 %, 100 %]",
        )
    elif len(fleet.rollout.rings[0]) > max(1, len(fleet.sites) // 2):
        notes.warn(("rollout", "rings", 0), "the first ring holds more than half of the sites")
    if all(site in fleet.rollout.unheard for site in fleet.rollout.rings[0]):
        notes.warn(
            ("rollout", "rings", 0), "the first ring is air-gapped, so nothing judges a change"
        )
    if file.rollout.window == OUTSIDE_HOURS and not fleet.rollout.windows:
        notes.note(
            ("rollout", "window"), "no site states its `hours`, so the window is always open"
        )


def _assumptions(file: FleetFile, notes: Findings) -> None:
    for name, tier in file.tiers.items():
        if tier.pue is None:
            notes.note(("tiers", name), f"no `pue`: {PUE_ASSUMED:g} is assumed")
        if tier.energy is None:
            price = format_quantity(ENERGY_USD_PER_KWH_ASSUMED, "USD/kWh")
            notes.note(("tiers", name), f"no `energy` price: {price} is assumed")


def _contacts(fleet: Fleet, notes: Findings) -> None:
    without = [
        (index, site.name)
        for index, site in enumerate(fleet.sites)
        if site.contact is None and site.kind is not Kind.CLOUD
    ]
    if without:
        notes.note(
            ("sites", without[0][0]),
            f"no contact at {_some([name for _, name in without])}",
            "`contact: {name: ..., phone: ...}` is whom a technician calls",
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{', '.join(names[:4])}{more}"
