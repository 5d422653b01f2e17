"""How a request was routed, as a table that people can read."""

import click

from skerry.cli.output import print_table
from skerry.schema.route_trace import CandidateSeen, RouteTrace


def print_route(trace: RouteTrace) -> None:
    """Print a trace: what was settled, each candidate, each attempt, then the node's own part."""
    who = trace.node or "this client"
    data_class = trace.data_class or "the model's first"
    click.echo(
        f"\nroute of {who}: {trace.model}, class {data_class}, from {trace.origin or 'here'}, "
        f"{trace.deadline_ms:.0f} ms to go"
    )
    if trace.candidates:
        print_table(
            ("rank", "candidate", "tier", "verdict", "expected ms", "load", "detail"),
            [_row(seen) for seen in trace.candidates],
        )
    for attempt in trace.attempts:
        cause = f" after {attempt.cause}" if attempt.cause else ""
        click.echo(
            f"  {attempt.at_ms:8.1f} ms  asked {attempt.node or 'this client'} for "
            f"{attempt.model}{cause}: {attempt.verdict} in {attempt.took_ms:.1f} ms"
        )
    for line in _notes(trace):
        click.echo(f"  {line}")
    if trace.there is not None:
        print_route(trace.there)


def _row(seen: CandidateSeen) -> tuple[str, ...]:
    return (
        str(seen.place) if seen.place else "-",
        seen.node or "this client",
        seen.tier,
        seen.verdict,
        "-" if seen.expected_ms is None else f"{seen.expected_ms:.1f}",
        "-" if seen.load is None else f"{seen.load:.1f}",
        seen.detail,
    )


def _notes(trace: RouteTrace) -> list[str]:
    notes = []
    if trace.hedge_after_ms is not None:
        notes.append(f"a second is asked after {trace.hedge_after_ms:.1f} ms of silence")
    if trace.retry_tokens is not None:
        notes.append(f"{trace.retry_tokens:.0f} further attempts in the budget")
    if trace.cache != "off":
        notes.append(f"kept answers: {trace.cache}")
    cascade = trace.cascade
    if cascade is not None:
        sure = "none" if cascade.confidence is None else f"{cascade.confidence:.4f}"
        notes.append(
            f"cascade: {cascade.small} is {cascade.verdict}, confidence {sure} of "
            f"{cascade.threshold:.4f}; {cascade.disagreed} of {cascade.checked} checks differed "
            f"({cascade.disagreement_low:.3f} to {cascade.disagreement_high:.3f} at 95 %)"
        )
    notes += [f"ensemble: {member}" for member in trace.ensemble]
    if trace.reason:
        notes.append(f"reason: {trace.reason}, {trace.took_ms:.1f} ms in all")
    return notes
