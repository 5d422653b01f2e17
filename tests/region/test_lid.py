"""A lid opened at a node of a running fleet: locked, back in quarantine, and told in order."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.base.clock import SystemClock
from skerry.base.errors import Exit
from skerry.cli.main import run
from skerry.node.enrol import join
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.quarantine import read_quarantine
from skerry.node.settings import NodeSettings, write_settings
from skerry.schema import api
from skerry.schema.context import Context, write_context
from skerry.schema.tamper import Sensor, SignedTamperEvent
from skerry.trust.enrol import load_or_create_enrolment_key
from skerry.trust.tamper_events import check_events

KINDS = ["tamper.watch_started", "tamper.lid_open", "tamper.reacted", "tamper.watch_started"]


def test_a_locked_node_comes_back_in_quarantine_and_tells_what_happened(
    house: Any, wait_until: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = NodeFolder(tmp_path / "node").make()
    files = IdentityFiles(folder.identity)
    join(files, house.ticket("oslo"), inference_url="https://127.0.0.1:9", clock=SystemClock())
    lid = tmp_path / "intrusion0_alarm"
    lid.write_bytes(b"0\n")
    settings = NodeSettings(
        fleet="clinic",
        domain="clinic.example",
        region="region-eu",
        site="oslo",
        number=1,
        tier="closet",
        region_url=house.region_url,
        region_host="region-eu.clinic.example",
        sensors=(Sensor(name="lid", path=str(lid), period_s=0.1),),
    )
    write_settings(folder.settings, settings)
    first = files.load().serial
    command = [sys.executable, "-m", "skerry.node", "agent", "--state", str(folder.root)]
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        assert b'"ready":true' in agent.stdout.readline()
        house.region.kill()  # the network is cut
        lid.write_bytes(b"1\n")
        assert b'"locked":true' in agent.stdout.readline()
        assert not files.identity.exists()
        assert "LID_OPEN" in read_quarantine(folder.quarantine).reason
        house.region.start()
        wait_until(files.identity.exists, "the node has an identity again")
        assert files.load().serial != first

        def told() -> Any:
            page = house.ask("central", "GET", "/v1/events?kind=tamper", api.EventPage)
            return page.events if len(page.events) >= len(KINDS) else None

        events = wait_until(told, "its events are at central")
        assert [one.event.kind for one in events][: len(KINDS)] == KINDS
        signed = [
            msgspec.json.decode(str(one.event.detail["signed"]), type=SignedTamperEvent)
            for one in events
        ]
        enrolment = load_or_create_enrolment_key(files.enrolment_key).public_key()
        check_events(signed, node="oslo/1", enrolment_key=enrolment)

        def reported() -> Any:
            status = house.ask("central", "GET", "/v1/status", api.FleetStatus)
            seen = {node.node: node.observed for node in status.nodes}.get("oslo/1")
            return seen is not None and "LID_OPEN" in seen.quarantine

        wait_until(reported, "central knows that it is in quarantine")
        context = Context(
            fleet="clinic",
            domain="clinic.example",
            central_url=house.central_url,
            region_urls={"region-eu": house.region_url},
            identity=str(house.trust.operator("local")),
            roots=str(house.trust.roots),
            offline="",
        )
        write_context(tmp_path, context)
        assert run(["custody", "events", "oslo/1", "--folder", str(tmp_path)]) == Exit.DONE
        shown = capsys.readouterr()
        assert "LID_OPEN" in shown.out
        assert "gone: identity.pem, site-authority.pem, login.json; in quarantine" in shown.out
        assert "each signed, none missing in between" in shown.err
    finally:
        agent.terminate()
        _, words = agent.communicate(timeout=15)
    assert b"Traceback" not in words, words.decode()
    assert agent.returncode == 0
