"""Papers on their way: an operator adds them at central, a node gets them from its region."""

import hashlib
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry.client.custody import CentralBook
from skerry.client.operator import Operator, OperatorError
from skerry.fleet.desired import policy_of
from skerry.node.identity import IdentityFiles
from skerry.node.papers import FETCHED, Papers, take_papers
from skerry.schema import api
from skerry.schema.policy import policy_target
from skerry.schema.trust import Trust
from skerry.testing.papers import MACHINE, NODE, POLICY, SIGNERS, installed
from skerry.trust.custody import judge


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
    files = IdentityFiles(tmp_path / "identity")
    files.folder.mkdir()
    joined.identity.save(files.identity)
    files.roots.write_bytes(house.roots)
    custody = tmp_path / "custody"
    custody.mkdir()
    take_papers(files, custody, url=house.region_url, host="region-eu.clinic.example")
    assert Papers(custody, NODE).open_window(SIGNERS, now)

    house.central.kill()
    (custody / FETCHED).unlink()
    take_papers(files, custody, url=house.region_url, host="region-eu.clinic.example")
    assert Papers(custody, NODE).open_window(SIGNERS, now)  # from the region's memory
