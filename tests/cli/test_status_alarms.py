"""What a person should look at soon stands at the top of `skerry status`."""

import pytest

from skerry.cli import status
from skerry.schema.api import FleetStatus
from skerry.schema.expiry import Alarm


def test_the_nearest_alarms_are_shown_and_the_rest_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = tuple(
        Alarm(word="ENDS_SOON", what=f"role r{n}", text=f"{n} d left") for n in range(1, 8)
    )
    fleet = FleetStatus(
        fleet="clinic",
        domain="clinic.example",
        generation=1,
        at_unix_s=0.0,
        nodes=(),
        regions=(),
        rollout=None,
        records=0,
        alarms=found,
    )
    status._show(fleet, [], 60.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "▲ ENDS_SOON  role r1: 1 d left"
    assert lines[6] == "  and 2 more: skerry trust status"
