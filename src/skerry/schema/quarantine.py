"""Why a node is in quarantine, as it lies on the node's own disk.

Several watchers may each have a reason; the quarantine ends when the last one is lifted.

Units: unix seconds.
"""

import msgspec


class QuarantineCause(msgspec.Struct, frozen=True, kw_only=True):
    """One reason: `word` is stable (`LID_OPEN`), `text` is for people."""

    word: str
    text: str
    at_unix_s: float


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """Every reason, by who has it: `tamper`, `attest`, `custody`."""

    causes: dict[str, QuarantineCause]

    @property
    def reason(self) -> str:
        """The oldest reason in words, empty where there is none."""
        if not self.causes:
            return ""
        first = min(self.causes.values(), key=lambda cause: cause.at_unix_s)
        return f"{first.word}: {first.text}"
