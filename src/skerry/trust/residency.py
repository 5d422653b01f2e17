"""Where data may go: one pure predicate, deny by default.

A request may be answered at a site only if its data class may travel there from the site where it
was received. Unknown classes, models and sites are refused. Data that stays where it was received
does not travel.

Errors:  none; a `Refusal` is a value, with a reason a person can read.
"""

from dataclasses import dataclass

from skerry.schema.policy import Policy


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something may not be done. `rule` is stable; `text` is for people."""

    rule: str
    text: str


class ResidencyTable:
    """A policy, prepared: every decision is a set lookup of well under a microsecond or two."""

    def __init__(self, policy: Policy) -> None:
        raise NotImplementedError

    def may_go(self, data_class: str, origin: str, destination: str) -> Refusal | None:
        """Return None if data of this class, received at `origin`, may be answered there."""
        raise NotImplementedError

    def destinations(self, data_class: str, origin: str) -> frozenset[str]:
        """Return every site that may answer; empty where nothing is known."""
        raise NotImplementedError

    def data_class_of(self, model: str, asked: str | None) -> str | Refusal:
        """Return the class of a request: the one asked for, or the model's first."""
        raise NotImplementedError


def may_go(policy: Policy, data_class: str, origin: str, destination: str) -> Refusal | None:
    """Decide by the policy's text alone: what the table must agree with."""
    raise NotImplementedError


def data_class_of(policy: Policy, model: str, asked: str | None) -> str | Refusal:
    """Return the class of a request; unknown models, classes and those not of the model refuse."""
    raise NotImplementedError
