"""The conformance subject, over HTTP, against a repository made with python-tuf's own tools.

The cases are a handful of the public suite's, written anew; a case ends with what the client
trusts and what it asked for.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from skerry.testing.tuf_client import main

TOP = ("timestamp", "snapshot", "targets", "root")


class Simulated:
    """A repository in memory: change `signed`, then `publish`; every published version is kept."""

    def __init__(self) -> None:
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        self.signed: dict[str, Any] = {
            "root": Root(expires=ends, consistent_snapshot=True),
            "targets": Targets(expires=ends),
            "snapshot": Snapshot(expires=ends),
            "timestamp": Timestamp(expires=ends),
        }
        self.signers: dict[str, list[CryptoSigner]] = {}
        self.files: dict[str, list[bytes]] = {}
        self.content: dict[str, bytes] = {}
        self.hashes = False
        self.asked: list[str] = []
        for role in TOP:
            self.new_key(role)
        self.publish("targets", "snapshot", "timestamp", "root")

    def new_key(self, role: str, *, instead: bool = False) -> None:
        signer = CryptoSigner.generate_ed25519()
        if instead:
            self.signed["root"].roles[role].keyids.clear()
            self.signers[role].clear()
        if role in TOP:
            self.signed["root"].add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)

    def publish(self, *roles: str, bump: bool = True) -> None:
        for role in roles:
            signed = self.signed[role]
            if bump and role in self.files:
                signed.version += 1
            metadata = Metadata(signed)
            for signer in self.signers[role]:
                metadata.sign(signer, append=True)
            self.files.setdefault(role, []).append(metadata.to_bytes())

    def update(self) -> None:
        """Publish a snapshot of all that is published, and a timestamp of it."""
        for role, versions in self.files.items():
            if role not in ("root", "snapshot", "timestamp"):
                version = Metadata.from_bytes(versions[-1]).signed.version
                self.signed["snapshot"].meta[f"{role}.json"] = self.meta(version, versions[-1])
        self.publish("snapshot")
        self.stamp()

    def stamp(self) -> None:
        version = self.signed["snapshot"].version
        self.signed["timestamp"].snapshot_meta = self.meta(version, self.files["snapshot"][-1])
        self.publish("timestamp")

    def meta(self, version: int, data: bytes) -> MetaFile:
        return MetaFile.from_data(version, data, ["sha256"]) if self.hashes else MetaFile(version)

    def add(self, path: str, content: bytes, role: str = "targets") -> None:
        self.signed[role].targets[path] = TargetFile.from_data(path, content, ["sha256"])
        self.content[path] = content

    def delegate(self, by: str, role: str, *paths: str, terminating: bool = False) -> None:
        signer = self.signers.setdefault(role, [CryptoSigner.generate_ed25519()])[0]
        delegator = self.signed[by]
        delegator.delegations = delegator.delegations or Delegations({}, {})
        delegator.delegations.roles[role] = DelegatedRole(role, [], 1, terminating, list(paths))
        delegator.add_key(signer.public_key, role)
        self.signed.setdefault(role, Targets(expires=self.signed["targets"].expires))

    def fetch(self, path: str) -> bytes | None:
        kind, _, rest = path.partition("/")
        if kind == "targets":
            folder, slash, name = unquote(rest).rpartition("/")
            self.asked.append(f"{folder}{slash}{name.partition('.')[2]}")
            return self.content.get(self.asked[-1])
        name = rest.removesuffix(".json")
        version, _, role = name.partition(".") if name[0].isdigit() else ("", "", name)
        self.asked.append(f"{version}.{role}" if version else role)
        versions = self.files.get(unquote(role), [])
        for data in reversed(versions):
            if not version or Metadata.from_bytes(data).signed.version == int(version):
                return data
        return None


class Case:
    """One client's folders, and the repository that it talks to."""

    def __init__(self, folder: Path) -> None:
        self.repo = repo = Simulated()
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()
        self.root = folder / "initial_root.json"
        self.root.write_bytes(repo.files["root"][0])

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = repo.fetch(self.path.lstrip("/"))
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *unused: Any) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def arguments(self, *command: str) -> list[str]:
        urls = ["--metadata-url", f"{self.url}/metadata/", "--metadata-dir", str(self.metadata)]
        return [*urls, *command]

    def init(self) -> int:
        return main(["--metadata-dir", str(self.metadata), "init", str(self.root)])

    def refresh(self) -> int:
        self.repo.asked.clear()
        return main(self.arguments("refresh"))

    def download(self, path: str) -> int:
        self.repo.asked.clear()
        where = ["--target-dir", str(self.targets), "--target-base-url", f"{self.url}/targets/"]
        return main(self.arguments("--target-name", path, *where, "download"))

    def trusted(self) -> dict[str, int]:
        return {
            file.name.removesuffix(".json"): Metadata.from_file(str(file)).signed.version
            for file in sorted(self.metadata.glob("*.json"))
        }

    def downloaded(self) -> list[bytes]:
        return [file.read_bytes() for file in self.targets.iterdir()]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    assert case.init() == 0
    yield case
    case.server.shutdown()
    case.server.server_close()


def versions(**changed: int) -> dict[str, int]:
    return {role: changed.get(role, 1) for role in sorted((*TOP, *changed))}


def test_a_first_refresh_asks_in_order_and_stores_plain_names(case: Case) -> None:
    assert not case.repo.asked  # init asks nobody
    assert case.refresh() == 0
    assert case.repo.asked == ["2.root", "timestamp", "1.snapshot", "1.targets"]
    assert case.trusted() == versions()


def test_it_runs_as_a_program_with_the_exit_status_of_the_contract(case: Case) -> None:
    program = [sys.executable, "-m", "skerry.testing.tuf_client"]
    assert subprocess.run([*program, *case.arguments("refresh")], check=False).returncode == 0
    case.repo.signed["timestamp"].version = 0
    case.repo.publish("timestamp", bump=False)
    run = subprocess.run([*program, *case.arguments("refresh")], check=False, capture_output=True)
    assert run.returncode == 1
    assert run.stderr


@pytest.mark.parametrize("broken", [b"{}", b"", b'{"signatures": [], "signed": {"_type": "root"}}'])
def test_a_broken_first_root_fails_before_anybody_is_asked(case: Case, broken: bytes) -> None:
    case.root.write_bytes(broken)
    case.init()
    assert case.refresh() == 1
    assert not case.repo.asked


def test_an_older_timestamp_is_refused(case: Case) -> None:
    case.repo.stamp()
    assert case.refresh() == 0
    case.repo.signed["timestamp"].version = 1
    case.repo.publish("timestamp", bump=False)
    assert case.refresh() == 1
    assert case.trusted() == versions(timestamp=2)
    assert case.repo.asked[-1] == "timestamp"


def test_another_timestamp_of_the_same_version_is_left_alone(case: Case) -> None:
    assert case.refresh() == 0
    case.repo.signed["timestamp"].snapshot_meta.version = 100
    case.repo.publish("timestamp", bump=False)
    assert case.refresh() == 0
    held = Metadata.from_file(str(case.metadata / "timestamp.json")).signed
    assert held.snapshot_meta.version == 1


@pytest.mark.parametrize("hashes", [False, True])
def test_an_older_snapshot_is_refused(case: Case, hashes: bool) -> None:
    case.repo.hashes = hashes
    case.repo.update()
    assert case.refresh() == 0
    case.repo.signed["snapshot"].version = 1
    case.repo.stamp()
    assert case.refresh() == 1
    assert case.trusted() == versions(timestamp=2, snapshot=2)


@pytest.mark.parametrize("hashes", [False, True])
def test_an_older_targets_role_is_refused(case: Case, hashes: bool) -> None:
    case.repo.hashes = hashes
    case.repo.publish("targets")
    case.repo.update()
    assert case.refresh() == 0
    case.repo.signed["targets"].version = 1
    case.repo.publish("targets", bump=False)
    case.repo.update()
    assert case.refresh() == 1
    assert case.trusted()["targets"] == 2


def test_a_role_with_another_hash_than_the_snapshot_says_is_refused(case: Case) -> None:
    assert case.refresh() == 0
    case.repo.hashes = True
    case.repo.publish("targets")
    case.repo.update()
    case.repo.signed["targets"].unrecognized_fields["other"] = "bytes"
    case.repo.publish("targets", bump=False)
    assert case.refresh() == 1
    assert case.trusted()["targets"] == 1


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_an_expired_role_stops_what_comes_after_it(case: Case, role: str) -> None:
    assert case.refresh() == 0
    case.repo.signed[role].expires = datetime(2020, 1, 1, tzinfo=UTC)
    case.repo.publish(role)
    if role not in ("root", "timestamp", "snapshot"):
        case.repo.update()
    elif role == "snapshot":
        case.repo.stamp()
    assert case.refresh() == 1
    assert case.trusted()["targets"] == 1
    if role == "root":
        assert case.trusted() == versions(root=2)  # a new root is kept before its end is looked at


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_keys_are_rotated_by_root(case: Case, role: str) -> None:
    assert case.refresh() == 0
    old = list(case.repo.signers[role])
    case.repo.new_key(role, instead=True)
    if role == "root":  # the old keys consent
        case.repo.signers["root"] += old
    case.repo.publish("root")
    if role != "root":
        case.repo.publish(role)
    if role == "targets":
        case.repo.update()
    if role == "snapshot":
        case.repo.stamp()
    assert case.refresh() == 0
    assert case.trusted()["root"] == 2


def test_a_root_without_the_old_roots_consent_is_refused(case: Case) -> None:
    case.repo.new_key("root", instead=True)
    case.repo.publish("root")
    assert case.refresh() == 1
    assert case.trusted() == {"root": 1}


def test_counters_start_again_under_new_keys(case: Case) -> None:
    case.repo.signed["timestamp"].version = 99_999
    case.repo.stamp()
    assert case.refresh() == 0
    case.repo.new_key("timestamp", instead=True)
    case.repo.publish("root")
    case.repo.signed["timestamp"].version = 1
    case.repo.publish("timestamp", bump=False)
    assert case.refresh() == 0
    assert case.trusted()["timestamp"] == 1


def test_a_threshold_is_not_met_by_one_key_twice(case: Case) -> None:
    assert case.refresh() == 0
    case.repo.signed["root"].roles["snapshot"].threshold = 2
    case.repo.publish("root")
    case.repo.signers["snapshot"] *= 2
    case.repo.update()
    assert case.refresh() == 1
    assert case.trusted()["snapshot"] == 1
    case.repo.new_key("snapshot")
    case.repo.publish("root")
    case.repo.update()
    assert case.refresh() == 0
    assert case.trusted()["snapshot"] == 3


def test_unknown_fields_are_signed_content(case: Case) -> None:
    case.repo.signed["root"].unrecognized_fields["custom"] = {"a": 1}
    case.repo.publish("root")
    assert case.refresh() == 0
    assert case.trusted()["root"] == 2


@pytest.mark.parametrize("path", ["file.txt", "a/b/file.txt", "with space and %.txt"])
def test_a_file_arrives_once_and_again_only_when_it_changed(case: Case, path: str) -> None:
    case.repo.add(path, b"one")
    case.repo.publish("targets")
    case.repo.update()
    assert case.download(path) == 0
    assert case.downloaded() == [b"one"]
    assert case.download(path) == 0
    assert path not in case.repo.asked  # held already
    case.repo.add(path, b"two")
    case.repo.publish("targets")
    case.repo.update()
    assert case.download(path) == 0
    assert case.downloaded() == [b"two"]


@pytest.mark.parametrize("bad", [b"twelve bytez", b"too short", b"twelve bytes and more"])
def test_other_bytes_than_signed_are_not_kept(case: Case, bad: bytes) -> None:
    case.repo.add("file", b"twelve bytes")
    case.repo.publish("targets")
    case.repo.update()
    case.repo.content["file"] = bad
    assert case.download("file") == 1
    assert case.downloaded() == []


def test_a_file_that_nobody_lists_is_an_error_after_a_whole_refresh(case: Case) -> None:
    assert case.download("missing") == 1
    assert case.trusted() == versions()


GRAPHS: dict[str, tuple[list[tuple[str, str, bool]], list[str]]] = {
    "one level": ([("targets", "A", False), ("targets", "B", False)], ["A", "B"]),
    "depth first": (
        [("targets", "A", False), ("targets", "B", False), ("A", "C", False), ("A", "D", False)],
        ["A", "C", "D", "B"],
    ),
    "terminating": (
        [("targets", "A", False), ("targets", "B", False), ("A", "C", True), ("A", "D", False)],
        ["A", "C"],
    ),
    "a circle": (
        [("targets", "A", False), ("targets", "B", False), ("B", "C", False), ("C", "B", False)],
        ["A", "B", "C"],
    ),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_delegations_are_walked_in_order(case: Case, graph: str) -> None:
    edges, order = GRAPHS[graph]
    for by, role, terminating in edges:
        case.repo.delegate(by, role, "*", terminating=terminating)
    case.repo.publish(*{role for edge in edges for role in edge[:2]})
    case.repo.update()
    assert case.download("missing") == 1
    assert case.repo.asked[4:] == [f"1.{role}" for role in order]


def test_a_role_signs_only_for_its_own_paths(case: Case) -> None:
    case.repo.delegate("targets", "docs", "docs/*")
    case.repo.add("docs/a", b"a", "docs")
    case.repo.add("code/b", b"b", "docs")
    case.repo.publish("targets", "docs")
    case.repo.update()
    assert case.download("docs/a") == 0
    assert case.download("code/b") == 1
    assert case.downloaded() == [b"a"]


@pytest.mark.parametrize("role", ["?", "#", "/role", "../role"])
def test_odd_names_of_roles_stay_inside_the_folder(case: Case, role: str) -> None:
    case.repo.delegate("targets", role, "*")
    case.repo.publish("targets", role)
    case.repo.update()
    assert case.download("missing") == 1
    assert f"1.{quote(role, '')}" in case.repo.asked
    assert len(case.trusted()) == 5
