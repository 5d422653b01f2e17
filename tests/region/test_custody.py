"""Papers on their way: an operator adds them at central, a node gets them from its region."""

import hashlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.base.errors import Exit
from skerry.cli.main import run
from skerry.client.custody import CentralBook
from skerry.client.operator import Operator, OperatorError
from skerry.fleet.desired import policy_of
from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.papers import FETCHED, Papers, take_papers
from skerry.node.quarantine import read_quarantine
from skerry.region.settings import RegionFolder
from skerry.schema import api
from skerry.schema.context import Context, write_context
from skerry.schema.custody import Step
from skerry.schema.policy import policy_target
from skerry.schema.trust import Trust
from skerry.testing.papers import (
    MACHINE,
    NODE,
    POLICY,
    SIGNERS,
    delivered,
    installed,
)
from skerry.testing.papers import (
    Papers as Chain,
)
from skerry.trust.custody import judge
from skerry.trust.custody_sign import entry_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinic" / "fleet.yaml"


def apply_with_signers(house: Any) -> None:
    """Apply a fleet whose file names the signers of the papers."""
    _, manifest = house.add_model(1)
    fleet = house.fleet(1, manifest, rings=(("oslo",), ("bergen", "region-eu")))
    fleet = msgspec.structs.replace(fleet, trust=Trust(custody=POLICY))
    policy = msgspec.json.encode(policy_of(fleet, 1))
    house.sign({policy_target("clinic"): policy})
    request = api.ApplyRequest(
        fleet=fleet, expected_generation=0, policy_sha256=hashlib.sha256(policy).hexdigest()
    )
    house.ask("central", "POST", "/v1/apply", api.ApplyReply, request)


def test_papers_go_from_a_signature_to_the_nodes_disk(house: Any, tmp_path: Path) -> None:
    apply_with_signers(house)
    operator = Operator.with_identity(
        house.central_url, "clinic.example", house.trust.operator("local"), house.trust.roots
    )
    book = CentralBook(operator)
    now = int(time.time())
    papers = installed().window(now - 60, now + 3600)
    for signed in papers.chain:
        book.add(MACHINE, signed)
    book.add(MACHINE, papers.chain[-1])  # the answer was lost, and it is sent again
    assert book.machines() == [MACHINE]
    assert judge(book.chain(MACHINE), SIGNERS).whole
    assert book.chain("SN-9") == []

    with pytest.raises(OperatorError, match="wanted entry 5"):
        book.add(MACHINE, installed().window(1, 2).chain[-1])
    forged = papers.window(1, 2).chain[-1]
    forged = msgspec.structs.replace(forged, signatures=forged.signatures[:1])
    with pytest.raises(OperatorError, match="not signed by anna"):
        book.add(MACHINE, forged)
    with pytest.raises(OperatorError, match="is about"):
        book.add("SN-1", papers.chain[-1])

    joined = house.join("oslo")
    folder = NodeFolder(tmp_path / "node").make()
    files = IdentityFiles(folder.identity)
    joined.identity.save(files.identity)
    files.roots.write_bytes(house.roots)
    at_region = {"url": house.region_url, "host": "region-eu.clinic.example"}
    assert take_papers(files, folder, **at_region) is False
    assert Papers(folder.custody, NODE).open_window(SIGNERS, now)
    assert not read_quarantine(folder.quarantine).causes

    house.central.kill()
    (folder.custody / FETCHED).unlink()
    take_papers(files, folder, **at_region)
    assert Papers(folder.custody, NODE).open_window(SIGNERS, now)  # from the region's memory


def test_broken_papers_put_a_node_into_quarantine_and_whole_ones_let_it_out(
    house: Any, tmp_path: Path
) -> None:
    apply_with_signers(house)
    joined = house.join("oslo")
    folder = NodeFolder(tmp_path / "node").make()
    files = IdentityFiles(folder.identity)
    joined.identity.save(files.identity)
    files.roots.write_bytes(house.roots)

    def post(papers: Any, machine: str) -> None:
        for signed in papers.chain:
            house.ask("central", "POST", f"/v1/custody/{machine}", None, signed)

    def look() -> str:
        house.region.kill()  # so that it remembers nothing
        house.region.start()
        take_papers(files, folder, url=house.region_url, host="region-eu.clinic.example")
        return read_quarantine(folder.quarantine).reason

    assert "no chain of custody" in look()
    post(delivered().add(Step.INSTALLED, "store", "site", place=NODE, seals_found=("S8",)), MACHINE)
    assert "entry 3 (installed): found seals S8" in look()
    another = Chain()
    for signed in installed().chain:
        entry = entry_of(signed)
        another.add(
            entry.step,
            entry.giver,
            entry.taker,
            machine="SN-7",
            place=entry.place,
            seals_left=entry.seals_left,
        )
    post(another, "SN-7")
    assert look() == ""


def test_a_ticket_is_for_the_tpm_of_the_factory_record(
    house: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apply_with_signers(house)
    for signed in delivered().add(Step.INSTALLED, "store", "site", seals_found=("S8",)).chain:
        house.ask("central", "POST", f"/v1/custody/{MACHINE}", None, signed)
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
    text = EXAMPLE.read_text()
    signers = "".join(
        f'      - {{name: {one.name}, key: "{one.key}", may: [{", ".join(one.may)}]}}\n'
        for one in POLICY.signers
    )
    trust = f"trust:\n  custody:\n    signers:\n{signers}links:"
    (tmp_path / "fleet.yaml").write_text(text.replace("links:", trust, 1))
    where = ["--folder", str(tmp_path), "--out", str(tmp_path / "ticket.json")]
    ask = ["trust", "ticket", "oslo/1", "--machine"]
    assert run([*ask, MACHINE, *where]) == Exit.DONE
    said = capsys.readouterr().err
    assert "CUSTODY_BROKEN: entry 3 (installed): found seals S8" in said
    registry = sqlite3.connect(RegionFolder(house.region.state).machines)
    assert ("ab" * 32,) in registry.execute("SELECT ek_sha256 FROM token_keys").fetchall()
    registry.close()
    assert run([*ask, "SN-9", *where]) == Exit.WRONG_USE
