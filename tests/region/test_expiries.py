"""Every end of a running fleet, asked of central and of the region, and shown by one command."""

import json
from pathlib import Path
from typing import Any

import pytest

from skerry.base.errors import Exit
from skerry.cli import trust_status
from skerry.cli.folders import Reach
from skerry.cli.main import run
from skerry.client.operator import Operator
from skerry.schema import api
from skerry.schema.expiry import ExpiriesReply
from skerry.testing.clock import ManualClock
from skerry.trust.spiffe import central_id

REGION = "region-eu"


@pytest.fixture(scope="module")
def joined(shared: Any) -> Any:
    shared.join("oslo")
    return shared


def names(house: Any, where: str) -> dict[str, str]:
    reply = house.ask(where, "GET", "/v1/expiries", ExpiriesReply)
    return {one.name: one.kind for one in reply.expiries}


def test_central_knows_its_roles_roots_chain_and_logins(joined: Any) -> None:
    reply = joined.ask("central", "GET", "/v1/expiries", ExpiriesReply)
    found = {(one.kind, one.name) for one in reply.expiries}  # central's authority is named as root
    assert {"root", "targets", "models", "canary", "desired", "snapshot", "timestamp"} <= {
        name for kind, name in found if kind == "role"
    }
    assert {kind for kind, _ in found} == {"role", "root", "authority", "certificate", "login"}
    assert ("login", "NATS login central") in found


def test_a_region_knows_the_certificates_that_its_nodes_hold(joined: Any) -> None:
    found = names(joined, "region")
    nodes = [name for name in found if "/node/" in name]
    assert len(nodes) == 1
    assert nodes[0].startswith("spiffe://oslo.")


@pytest.fixture
def reached(joined: Any, monkeypatch: pytest.MonkeyPatch) -> Reach:
    """The running house, as `skerry trust status` reaches a fleet."""
    domain, identity, roots = (
        joined.trust.domain,
        joined.trust.operator("local"),
        joined.trust.roots,
    )
    fleet = Reach(
        folder=Path(),
        domain=domain,
        central=Operator.with_identity(
            joined.central_url, central_id(domain).host, identity, roots
        ),
        region_urls={REGION: joined.region_url},
        identity=identity,
        roots=roots,
        offline=joined.trust.offline,
        tuf_root=joined.trust.tuf_root,
        emulated=False,
        since_unix_s=0.0,
    )
    monkeypatch.setattr(trust_status, "reach", lambda _: fleet)
    return fleet


def test_a_fresh_fleet_has_nothing_near(reached: Reach, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "status", "--json"]) == Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["near"] == 0
    assert len(document["expiries"]) > 15
    assert run(["trust", "status"]) == Exit.DONE
    assert "more are fine" in capsys.readouterr().err


def test_ten_months_later_roles_are_flagged_and_the_exit_code_says_so(
    reached: Reach, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import skerry.base.clock as clocks

    later = ManualClock()
    later.advance(clocks.SystemClock().unix_s() + 320 * 86_400 - later.unix_s())
    monkeypatch.setattr(clocks, "SystemClock", lambda: later)
    assert run(["trust", "status"]) == Exit.BAD_OUTCOME
    shown = capsys.readouterr()
    assert "ENDS_SOON" in next(line for line in shown.out.splitlines() if " targets " in line)
    assert shown.out.splitlines()[1].startswith("■ ENDED")
    assert "skerry trust renew" in shown.err


def test_a_region_that_is_silent_is_unknown_and_not_fine(
    reached: Reach, capsys: pytest.CaptureFixture[str]
) -> None:
    reached.region_urls[REGION] = "https://127.0.0.1:1"
    assert run(["trust", "status"]) == Exit.UNREACHABLE
    assert f"{REGION} did not answer" in capsys.readouterr().err


def test_status_carries_no_alarm_while_nothing_is_near(joined: Any) -> None:
    status = joined.ask("central", "GET", "/v1/status", api.FleetStatus)
    assert status.alarms == ()
