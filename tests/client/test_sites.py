"""A client at a site of a local fleet: the run file's nodes, links and policy decide."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from skerry.client import Client
from skerry.client.endpoints import from_run_file
from skerry.client.errors import RunFileError
from skerry.route.errors import NoCandidateError, UnknownDataClassError
from skerry.schema.policy import Place, Policy, Residency, Stays
from skerry.schema.run_file import (
    RUN_FILE,
    RunFile,
    RunLink,
    RunNode,
    read_run_file,
    write_run_file,
)

X = {"x": np.zeros(3, np.float32)}
POLICY = Policy(
    fleet="clinic",
    generation=1,
    data_classes={
        "health": Residency(stays=Stays.SITE),
        "public": Residency(stays=Stays.ANYWHERE),
    },
    model_classes={"echo": ("health", "public")},
    places={
        "oslo": Place(site="oslo", region="region-eu", jurisdiction="NO"),
        "cloud": Place(site="cloud", region="cloud", jurisdiction="US"),
    },
)


@pytest.fixture
def fleet(doors, tmp_path: Path):
    """A fleet folder with one node in oslo and one in the cloud, behind a link."""
    near, far = doors.open("oslo/1"), doors.open("cloud/1", "cloud")
    (tmp_path / ".skerry").mkdir()
    node = {"region": "region-eu", "tier": "closet", "http_url": near.url}
    run = RunFile(
        fleet="clinic",
        domain="clinic.example",
        folder=str(tmp_path),
        started_unix_s=1.0,
        tier_order=("closet", "cloud"),
        policy=POLICY,
        nodes=(
            RunNode(
                node="cloud/1", site="cloud", region="cloud", tier="cloud", http_url="http://x",
                http_url_from={"oslo": far.url},
            ),
            RunNode(node="oslo/1", site="oslo", **node),
        ),
        links=(RunLink(a="cloud", b="oslo", round_trip_ms=60.0),),
    )  # fmt: skip
    write_run_file(tmp_path / RUN_FILE, run)
    return tmp_path, near, far


def test_the_run_file_reads_back_as_written_and_is_private(fleet) -> None:
    path = fleet[0] / RUN_FILE
    run = read_run_file(path)
    assert run.policy == POLICY
    assert run.round_trip_ms("oslo", "cloud") == 60.0
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_own_site_answers_and_the_cloud_stands_behind_it(fleet, doors) -> None:
    folder, near, far = fleet
    with Client.for_site(folder, "oslo", data_class="public") as client:
        assert client.infer("echo", X).served_by == "oslo/1"
        near.behave = 503
        answer = client.infer("echo", X)
    assert (answer.served_by, answer.fallback_reason) == ("cloud/1", "queue-full")
    assert far.seen[0].origin_site is None  # a door believes a peer's certificate, not a client


def test_a_client_at_the_cloud_asks_the_cloud_first(fleet, doors) -> None:
    folder, _, far = fleet
    run = read_run_file(folder / RUN_FILE)
    nodes = tuple(msgspec.structs.replace(n, http_url=far.url) for n in run.nodes)
    write_run_file(folder / RUN_FILE, msgspec.structs.replace(run, nodes=nodes, links=()))
    with Client.for_site(folder, "cloud", data_class="public") as client:
        assert client.infer("echo", X).served_by == "cloud/1"


def test_health_data_never_reaches_the_cloud_even_when_the_site_is_down(fleet, doors) -> None:
    folder, near, far = fleet
    doors.shut(near)
    with Client.for_site(folder, "oslo") as client, pytest.raises(NoCandidateError) as caught:
        client.infer("echo", X, data_class="health")
    assert "health data from oslo" in str(caught.value)
    assert not far.seen


def test_a_class_the_policy_does_not_know_is_not_sent_at_all(fleet) -> None:
    folder, near, _ = fleet
    with Client.for_site(folder, "oslo") as client, pytest.raises(UnknownDataClassError):
        client.infer("echo", X, data_class="secret")
    assert not near.seen


def test_a_far_node_without_a_way_through_its_link_is_left_out(fleet) -> None:
    path = fleet[0] / RUN_FILE
    ends = from_run_file(fleet[0], "cloud")
    assert [peer.node for peer in ends.peers] == ["cloud/1"]
    assert {peer.node for peer in from_run_file(path, "oslo").peers} == {"oslo/1", "cloud/1"}


def test_a_missing_or_broken_run_file_says_what_to_do(fleet, tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="it has cloud, oslo"):
        Client.for_site(fleet[0], "bergen")
    (fleet[0] / RUN_FILE).write_text("{")
    with pytest.raises(RunFileError, match="not a run file"):
        Client.for_site(fleet[0], "oslo")
    with pytest.raises(RunFileError, match="no fleet runs here") as caught:
        Client.for_site(tmp_path / "elsewhere", "oslo")
    assert "skerry up" in caught.value.hint
