"""Goals and figures in people's words and units: `latency_ms_p95` 38.2 becomes `38.2 ms`."""

from skerry.schema.goal import AT_LEAST, Figure, GoalName

_NAMES = {
    GoalName.LATENCY_MS_P95: ("latency p95", "ms", 1.0),
    GoalName.LOCAL_RATIO: ("local answers", "%", 100.0),
    GoalName.COST_USD_PER_1K: ("cost / 1k", "USD", 1.0),
    GoalName.ENERGY_WH_PER_1K: ("energy / 1k", "Wh", 1.0),
    GoalName.CARBON_G_PER_1K: ("carbon / 1k", "g", 1.0),
    GoalName.AVAILABILITY_RATIO: ("availability", "%", 100.0),
    GoalName.UPSTREAM_BYTES_PER_1K: ("upstream / 1k", "B", 1.0),
}


def name_text(name: GoalName) -> str:
    """Return a goal's name."""
    return _NAMES[name][0]


def goal_text(name: GoalName, goal: float | None) -> str:
    """Return what is wanted, with its direction and unit; `-` where nothing is."""
    if goal is None:
        return "-"
    return f"{'≥' if name in AT_LEAST else '≤'} {_number(name, goal)}"


def figure_text(name: GoalName, figure: Figure | None) -> str:
    """Return a figure with its interval and unit; `-` where there is none."""
    if figure is None:
        return "-"
    value = _number(name, figure.value)
    if figure.low == figure.high:
        return value
    _, _, factor = _NAMES[name]
    return f"{value} ({figure.low * factor:.4g} to {figure.high * factor:.4g})"


def _number(name: GoalName, value: float) -> str:
    _, unit, factor = _NAMES[name]
    return f"{value * factor:.4g} {unit}"
