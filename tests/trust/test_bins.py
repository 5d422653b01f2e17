"""Hash bins: each document in one of them, and a fleet that grows into them goes on."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import FetcherInterface, Updater

from skerry.testing.signed_fleet import DESIRED, SITE, Mirror, SignedFleet
from skerry.trust import bins
from skerry.trust.bins import UNBINNED_MAX, bin_names, bin_of, bins_for, delegations_to
from skerry.trust.bundle_check import verify
from skerry.trust.bundle_errors import BundleShort
from skerry.trust.errors import (
    PublishError,
    TargetUnsigned,
    UpdateForged,
    UpdateRollback,
    UpdateUnreachable,
)
from skerry.trust.expiries import of_roles
from skerry.trust.publisher import Publisher
from skerry.trust.roles import OnlineKeys, first_roles
from skerry.trust.update_client import Fetch

DAY_S = 86_400
FEW = 3
"""Documents that one role lists in these tests."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bins for very few documents: 2 bins for more than 3, 4 for more than 16."""
    monkeypatch.setattr(bins, "UNBINNED_MAX", FEW)


@pytest.fixture
def grown(repo: SignedFleet, small: None) -> SignedFleet:
    """A fleet with two bins, `s0` and `s1` in one of them each."""
    publish(repo, FEW + 1)
    assert bins_of(repo) == bin_names(2)
    return repo


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Targets:
    """The role that delegates to `desired`."""
    first = SignedFleet.found(tmp_path_factory.mktemp("fleet")).first
    return Metadata[Targets].from_bytes(first["targets"]).signed


def document(n: int) -> str:
    return f"desired/s{n}.json"


def publish(repo: SignedFleet, count: int, content: bytes = b"[1]") -> None:
    repo.publisher.publish(desired={document(n): content for n in range(count)})


def bins_of(repo: SignedFleet) -> tuple[str, ...]:
    meta = json.loads(repo.publisher.role_bytes("snapshot"))["signed"]["meta"]
    return tuple(sorted(filter(bins.is_bin, (name.removesuffix(".json") for name in meta))))


def file_of(repo: SignedFleet, role: str) -> str:
    version = json.loads(repo.publisher.role_bytes(role))["signed"]["version"]
    return f"metadata/{version}.{role}.json"


def apart(path: str) -> tuple[str, str]:
    """Return which of two bins a path is in, and the other."""
    mine = bin_of(path, 2)
    return mine, next(name for name in bin_names(2) if name != mine)


# -- the layout -------------------------------------------------------------------------------


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_bins_are_a_power_of_two_and_never_become_fewer(few: int, many: int) -> None:
    few, many = sorted((few, many))
    before = bins_for(few)
    assert before in (0, 16, 32, 64, 128, 256)
    assert (before == 0) == (few <= UNBINNED_MAX)
    assert bins_for(many, before) == max(before, bins_for(many))
    assert bins_for(few, bins_for(many)) == bins_for(many)
    assert bin_names(bins_for(many))[:before] == bin_names(before), "names are kept"


def test_ten_thousand_documents_take_64_bins() -> None:
    assert bins_for(10_000) == 64


@given(st.text(min_size=1, max_size=20), st.integers(1, 8))
def test_a_path_is_delegated_to_the_bin_it_is_in_and_to_no_other(
    targets: Targets, site: str, power: int
) -> None:
    path, count = f"desired/{site}.json", 2**power
    roles = delegations_to(count, targets).roles or {}
    found = [name for name, role in roles.items() if role.is_delegated_path(path)]
    assert found == [bin_of(path, count)]


# -- growing ----------------------------------------------------------------------------------


def test_a_small_fleet_has_no_bins(repo: SignedFleet, small: None) -> None:
    publish(repo, FEW)
    assert bins_of(repo) == ()
    assert set(json.loads(repo.publisher.role_bytes("desired"))["signed"]["targets"]) == {
        document(n) for n in range(FEW)
    }


def test_a_node_goes_on_while_its_fleet_grows(repo: SignedFleet, small: None) -> None:
    """One role, two bins, four: the same node on the same disk, and a new one each time."""
    node, seen = repo.client(), []
    for count in (1, FEW, FEW + 1, 16, 17, 18):
        content = b"[%d]" % count
        publish(repo, count, content)
        seen.append(len(bins_of(repo)))
        for client in (node, repo.client(), repo.client(f"new-{count}")):
            assert client.refresh().changed or client is not node
            assert {client.target_bytes(document(n)) for n in range(count)} == {content}
    assert seen == [0, 0, 2, 2, 4, 4]


def test_a_fleet_from_before_is_laid_out_afresh_by_itself(
    repo: SignedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(repo, FEW + 1)
    node = repo.client()
    node.refresh()
    assert bins_of(repo) == ()
    monkeypatch.setattr(bins, "UNBINNED_MAX", FEW)
    central = Publisher.open(repo.files, repo.online, repo.clock)
    assert central.refresh()
    assert not central.refresh()
    assert node.refresh().changed
    assert node.target_bytes(document(FEW)) == b"[1]"


def test_fewer_documents_leave_the_bins_as_they_are(grown: SignedFleet, tmp_path: Path) -> None:
    publish(grown, 17)
    assert bins_of(grown) == bin_names(4)
    again = Publisher.open(grown.files, grown.online, grown.clock)
    again.publish(desired={document(0): b"[2]"})
    assert bins.count_in(again._published) == 4


def test_a_client_that_knows_nothing_of_bins_goes_on(repo: SignedFleet, small: None) -> None:
    """A node of before is TUF's own client, and a region of before carries names of letters."""
    folder = repo.folder / "stock"
    folder.mkdir()
    for count in (FEW, FEW + 1, 17):
        publish(repo, count, b"[%d]" % count)
        stock = Updater(
            str(folder),
            "metadata/",
            target_dir=str(folder),
            target_base_url="targets/",
            fetcher=FromFolder(repo.files),
            bootstrap=repo.first["root"],
        )
        stock._trusted_set.reference_time = datetime.fromtimestamp(repo.clock.unix_s(), UTC)
        for n in range(count):
            found = stock.get_targetinfo(document(n))
            assert found is not None
            assert Path(stock.download_target(found)).read_bytes() == b"[%d]" % count
    assert all(name.isalpha() and name.islower() for name in bin_names(bins.BINS_MAX))


class FromFolder(FetcherInterface):
    """What TUF's own client reads through."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield (self._folder / url).read_bytes()
        except FileNotFoundError as error:
            raise DownloadHTTPError(url, 404) from error


# -- what a change costs ----------------------------------------------------------------------


def test_a_node_reads_its_own_bin_and_only_where_that_changed(grown: SignedFleet) -> None:
    mine = document(0)
    other = next(document(n) for n in range(FEW + 1) if bin_of(document(n), 2) != bin_of(mine, 2))
    node = grown.client()
    node.refresh()
    node.target_bytes(mine)
    for changed, read in ((other, ["snapshot"]), (mine, ["snapshot", bin_of(mine, 2)])):
        grown.publisher.publish(desired={changed: b"[2]"})
        grown.mirror.served.clear()
        node.refresh()
        node.target_bytes(mine)
        roles = [path.split(".")[-2] for path in grown.mirror.served if "metadata" in path]
        assert [role for role in roles if role not in ("root", "metadata/timestamp")] == read


def test_publishing_nothing_new_changes_nothing(grown: SignedFleet) -> None:
    before = grown.publisher.role_bytes("timestamp")
    publish(grown, FEW + 1)
    assert not grown.publisher.refresh()
    assert grown.publisher.role_bytes("timestamp") == before


def test_bins_are_signed_again_together_and_never_run_out(grown: SignedFleet) -> None:
    node = grown.client()
    for day in range(30):
        grown.clock.advance(DAY_S / 2)
        if day % 3 == 0:
            grown.publisher.publish(desired={document(0): b"[%d]" % day})
        grown.publisher.refresh()
        node.refresh()
        for n in range(FEW + 1):
            node.target_bytes(document(n))
    ends = {one.name: one for one in of_roles(grown.publisher.role_bytes)}["desired"]
    assert ends.text.endswith("1 of 1 keys, 2 bins")
    assert ends.ends_unix_s - grown.clock.unix_s() > 3 * DAY_S


def test_the_end_that_is_told_is_that_of_the_bin_that_ends_first(grown: SignedFleet) -> None:
    first = {one.name: one for one in of_roles(grown.publisher.role_bytes)}["desired"]
    grown.clock.advance(DAY_S)
    grown.publisher.publish(desired={document(0): b"[2]"})
    now = {one.name: one for one in of_roles(grown.publisher.role_bytes)}["desired"]
    assert now.ends_unix_s == first.ends_unix_s


def test_a_publish_that_dies_while_bins_are_laid_out_is_never_half_seen(
    repo: SignedFleet, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skerry.trust import publisher as publisher_module

    publish(repo, FEW)
    real, deaths = publisher_module.write_atomic, 0
    for death in range(12):
        left = [death]

        def dying(path: Path, data: bytes, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError("killed")
            real(path, data)

        before = repo.copy(f"before-{death}")
        monkeypatch.setattr(publisher_module, "write_atomic", dying)
        central = Publisher.open(repo.files, repo.online, repo.clock)
        try:
            central.publish(desired={document(FEW): b"[1]"})
        except OSError:
            deaths += 1
        monkeypatch.setattr(publisher_module, "write_atomic", real)
        node = repo.client(f"node-{death}")
        node.refresh()
        assert node.target_bytes(document(0)) == b"[1]"
        again = Publisher.open(repo.files, repo.online, repo.clock)
        again.publish(desired={document(FEW): b"[1]"})
        node.refresh()
        assert node.target_bytes(document(FEW)) == b"[1]"
        repo.restore(before.name)
    assert deaths == 6  # a file, desired, two bins, snapshot, timestamp


# -- who may say what -------------------------------------------------------------------------


def test_an_old_bin_under_a_new_snapshot_is_refused(grown: SignedFleet) -> None:
    role = bin_of(document(0), 2)
    old = grown.publisher.role_bytes(role)
    grown.publisher.publish(desired={document(0): b"[2]"})
    grown.mirror.lie(file_of(grown, role), old)
    node = grown.client()
    node.refresh()
    with pytest.raises(UpdateForged, match="does not match expected hash"):
        node.target(document(0))
    grown.mirror.lies.clear()
    assert node.target_bytes(document(0)) == b"[2]"


def test_a_bin_shown_as_another_of_the_same_version_is_refused(grown: SignedFleet) -> None:
    """Both are signed with one key, and neither says which it is."""
    mine, other = apart(document(0))
    grown.mirror.lie(file_of(grown, mine), grown.publisher.role_bytes(other))
    node = grown.client()
    node.refresh()
    with pytest.raises(UpdateForged):
        node.target(document(0))


def test_an_old_bin_and_its_snapshot_are_refused_once_newer_was_seen(grown: SignedFleet) -> None:
    grown.copy("old")
    node = grown.client()
    grown.publisher.publish(desired={document(0): b"[2]"})
    node.refresh()
    node.target(document(0))
    grown.restore("old")
    for again in (node, grown.client()):
        with pytest.raises(UpdateRollback):
            again.refresh()


def test_a_snapshot_from_before_there_were_bins_is_refused(repo: SignedFleet, small: None) -> None:
    publish(repo, FEW)
    repo.copy("old")
    publish(repo, FEW + 1)
    node = repo.client()
    node.refresh()
    repo.restore("old")
    with pytest.raises(UpdateRollback):
        node.refresh()


def test_a_mirror_that_keeps_one_bin_back_is_passed_over(grown: SignedFleet) -> None:
    """And where there is no other, the node says so, and does not go by the bin it has."""
    other = Mirror(grown.files)
    grown.also.append(other)
    node = grown.client()
    node.refresh()
    assert node.target_bytes(document(0)) == b"[1]"
    grown.publisher.publish(desired={document(0): b"[2]"})
    grown.mirror.die(file_of(grown, bin_of(document(0), 2)))
    node.refresh()
    assert node.target_bytes(document(0)) == b"[2]"
    grown.publisher.publish(desired={document(0): b"[3]"})
    for mirror in (grown.mirror, other):
        mirror.die(file_of(grown, bin_of(document(0), 2)))
    node.refresh()
    with pytest.raises(UpdateUnreachable):
        node.target_bytes(document(0))


def test_a_document_in_the_wrong_bin_is_neither_published_nor_found(grown: SignedFleet) -> None:
    mine, other = apart(document(0))
    right: Any = Metadata.from_bytes(grown.publisher.role_bytes(mine)).signed
    wrong: Metadata[Any] = Metadata.from_bytes(grown.publisher.role_bytes(other))
    wrong.signed.targets[document(0)] = right.targets[document(0)]
    forged = grown.online.sign("desired", wrong)
    stolen = Publisher.open(grown.files, grown.online, grown.clock)
    stolen._published[other] = forged
    with pytest.raises(PublishError, match=f"which belongs in {mine}"):
        stolen.publish(desired={document(0): b"[2]"})
    wrong.signed.version += 1
    del right.targets[document(0)]
    right.version += 1
    grown.plant(
        **{
            other: grown.online.sign("desired", wrong),
            mine: grown.online.sign("desired", Metadata(right)),
        }
    )
    node = grown.client()
    node.refresh()
    with pytest.raises(TargetUnsigned):
        node.target_bytes(document(0))


@pytest.mark.parametrize("case", ["own files", "a bin left out", "further on", "other bins"])
def test_desired_delegates_to_its_bins_and_otherwise_nowhere(
    grown: SignedFleet, targets: Targets, case: str
) -> None:
    desired: Metadata[Any] = Metadata.from_bytes(grown.publisher.role_bytes("desired"))
    part: Metadata[Any] = Metadata.from_bytes(grown.publisher.role_bytes("desiredaa"))
    state = Publisher.open(grown.files, grown.online, grown.clock)
    if case == "own files":
        desired.signed.targets = part.signed.targets
    elif case == "a bin left out":
        del state._published["desiredab"]
    elif case == "further on":
        part.signed.delegations = desired.signed.delegations
    else:
        desired.signed.delegations = delegations_to(4, targets)
    state._published["desired"] = grown.online.sign("desired", desired)
    state._published["desiredaa"] = grown.online.sign("desired", part)
    with pytest.raises(PublishError, match=r"bins|only `targets` may|lists documents itself"):
        state._check.whole(state._published, {})


def test_a_replaced_key_signs_all_bins_and_the_old_one_none(grown: SignedFleet) -> None:
    """The delegation of `desired` to its bins follows the one to `desired` itself."""
    thief = OnlineKeys.load(grown.folder / "online")
    public = thief.public() | grown.publisher.make_successors(["desired"])
    targets: Metadata[Any] = Metadata.from_bytes(grown.publisher.role_bytes("targets"))
    holders, now_unix_s = [grown.offline.public_holder()], grown.clock.unix_s()
    first = first_roles(holders, public, {}, now_unix_s=now_unix_s)
    targets.signed.delegations = first["targets"].signed.delegations
    targets.signed.version += 1
    grown.publisher.publish(signed={"targets": grown.offline.sign("targets", targets)})
    node = grown.client()
    node.refresh()
    assert {node.target_bytes(document(n)) for n in range(FEW + 1)} == {b"[1]"}

    stolen: Metadata[Any] = Metadata.from_bytes(grown.publisher.role_bytes("desiredaa"))
    stolen.signed.version += 1
    grown.plant(desiredaa=thief.sign("desired", stolen))
    node.refresh()
    path = next(document(n) for n in range(FEW + 1) if bin_of(document(n), 2) == "desiredaa")
    with pytest.raises(UpdateForged, match="desiredaa"):
        node.target(path)


# -- by stick ---------------------------------------------------------------------------------


def stick(repo: SignedFleet, *without: str) -> Fetch:
    """Return what central signs for a journey, as a source of a bundle, but for some bins."""
    stamped = {f"metadata/{name}": data for name, data in repo.publisher.stamp(DAY_S).items()}

    def fetch(place: str, _: int) -> Iterator[bytes]:
        if any(f".{role}." in place for role in without):
            raise FileNotFoundError(place)
        yield stamped.get(place) or (repo.files / place).read_bytes()

    return fetch


def taken(repo: SignedFleet, source: Fetch) -> dict[str, bytes]:
    root = repo.first["root"]
    found = verify(source, [SITE], name="stick", bootstrap_root=root, clock=repo.clock)
    assert list(found.accepted) == [SITE]
    return found.files


def test_a_stick_brings_all_bins_so_that_other_sites_behind_a_mirror_find_theirs(
    grown: SignedFleet,
) -> None:
    grown.release()
    files = taken(grown, stick(grown))
    for place, data in files.items():
        grown.mirror.lie(place, data)
    node = grown.client()
    node.refresh()
    for n in range(FEW + 1):
        assert node.target(document(n))
    assert set(grown.mirror.served) <= {*files, "metadata/2.root.json"}


def test_a_stick_of_before_brings_one_bin_and_is_taken_too(grown: SignedFleet) -> None:
    grown.release()
    mine, other = apart(DESIRED)
    files = taken(grown, stick(grown, other))
    assert [role for role in (mine, other) if any(f".{role}." in one for one in files)] == [mine]
    with pytest.raises(BundleShort, match=mine):
        taken(grown, stick(grown, mine))


def test_a_stick_with_a_forged_bin_of_another_site_is_refused(grown: SignedFleet) -> None:
    grown.release()
    _, other = apart(DESIRED)
    source = stick(grown)

    def forged(place: str, length_max: int) -> Iterator[bytes]:
        data = b"".join(source(place, length_max))
        yield data.replace(b"signed", b"sinned", 1) if f".{other}." in place else data

    with pytest.raises(UpdateForged):
        taken(grown, forged)
