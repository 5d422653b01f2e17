"""`skerry status`: one screen. Goals beside actual, then sites, then models."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli.folders import folder_option, reach
from skerry.cli.output import json_option, print_json, print_table, say
from skerry.cli.words import figure_text, goal_text, name_text

if TYPE_CHECKING:
    from skerry.schema.api import FleetStatus, NodeStatus
    from skerry.schema.goal import GoalRecord

ALARMS_SHOWN = 5
SHAPES = {"ok": "●", "warn": "▲", "down": "■", "stale": "◌", "paused": "‖", "unknown": "?"}


@click.command("status")
@folder_option
@click.option(
    "--minutes",
    type=click.IntRange(1, 1440),
    default=10,
    show_default=True,
    help="Span that the goals are measured over.",
)
@click.option("--watch", is_flag=True, help="Again every 2 s, until Ctrl-C.")
@json_option
def command(folder: Path, minutes: int, watch: bool, as_json: bool) -> None:
    """Show the fleet: is it fine, is that still true, does it meet its goals."""
    from skerry.fleet.load import load_fleet
    from skerry.proof.goals import measured_goals
    from skerry.schema.goal import Level

    while True:
        fleet_reach = reach(folder)
        central = fleet_reach.central
        now_s = time.time()
        span_s = min(minutes * 60.0, now_s - fleet_reach.since_unix_s)
        status = central.status()
        goals = measured_goals(
            central.summaries(now_s - span_s, now_s),
            load_fleet(folder),
            duration_s=span_s,
            at_unix_s=now_s,
            level=Level.EMULATED if fleet_reach.emulated else Level.MEASURED,
        )
        if as_json:
            print_json("status", {"status": status, "goals": goals})
            return
        if watch:
            click.clear()
        _show(status, goals, span_s)
        if not watch:
            return
        time.sleep(2)


def _show(status: "FleetStatus", goals: "list[GoalRecord]", span_s: float) -> None:
    at = time.strftime("%H:%M:%S", time.gmtime(status.at_unix_s))
    ok = sum(node.state == "ok" for node in status.nodes)
    marker = f"   keys: {status.marker}" if status.marker else ""
    click.echo(f"{status.fleet}   {ok}/{len(status.nodes)} ok   data as of {at}Z{marker}")
    if status.rollout is not None and status.rollout.phase != "none":
        rollout = status.rollout
        ring = min(rollout.ring + 1, len(rollout.ring_names))
        click.echo(
            f"rollout of generation {rollout.generation}: {rollout.phase}, "
            f"ring {ring}/{len(rollout.ring_names)}  {rollout.reason}".rstrip()
        )
    for alarm in status.alarms[:ALARMS_SHOWN]:
        click.echo(f"▲ {alarm.word}  {alarm.what}: {alarm.text}")
    if len(status.alarms) > ALARMS_SHOWN:
        click.echo(f"  and {len(status.alarms) - ALARMS_SHOWN} more: skerry trust status")
    click.echo()
    say(f"Goals, measured over the last {span_s / 60:.0f} min; energy and cost are estimates")
    print_table(
        ("goal", "wanted", "actual", "level", "verdict"),
        [
            (
                name_text(goal.name),
                goal_text(goal.name, goal.goal),
                figure_text(goal.name, goal.measured),
                goal.measured.level.value if goal.measured else "-",
                goal.verdict.value,
            )
            for goal in goals
        ],
    )
    click.echo()
    worst_first = sorted(status.nodes, key=lambda node: (node.state == "ok", node.node))
    print_table(
        ("node", "state", "in sync", "p95", "requests", "age", "models", "reason"),
        [_node_row(node) for node in worst_first],
    )


def _node_row(node: "NodeStatus") -> tuple[str, ...]:
    seen = node.observed
    p95 = seen.window.latency_ms_p95 if seen else None
    models = ", ".join(f"{m.name} v{m.version}" for m in seen.models) if seen else "-"
    reason = (seen.reason or seen.refusal or ", ".join(seen.rules_active)) if seen else ""
    stands = node.attestation
    if stands.state in ("late", "quarantine"):
        reason = f"{stands.state}, {stands.reason}"
    elif stands.state == "no-tpm":
        reason = f"no TPM  {reason}".rstrip()
    return (
        node.node,
        f"{SHAPES.get(node.state, '?')} {node.state}",
        "yes" if node.in_sync else "no",
        f"{p95:.1f} ms" if p95 is not None else "-",
        str(seen.window.requests) if seen else "-",
        f"{node.age_s:.0f} s" if node.age_s is not None else "-",
        models or "-",
        reason or "",
    )
