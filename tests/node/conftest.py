"""Desired states to try, a node's identity from real authorities, and settings."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.node.folder import NodeFolder
from skerry.node.identity import IdentityFiles
from skerry.node.settings import NodeSettings, write_settings
from skerry.schema.desired import Desired, DesiredModel, Gate
from skerry.schema.model import Manifest, Member
from skerry.schema.policy import Policy, Residency, Stays
from skerry.trust.acceptance import AcceptedDesired
from skerry.trust.authority import Authority
from skerry.trust.spiffe import SpiffeId, node_id

DOMAIN = "clinic.example"
HOLD_S = 20.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def content(name: str, version: int) -> bytes:
    return f"{name} {version}".encode()


def _accepted(generation: int, **versions: int) -> AcceptedDesired:
    manifests = {
        name: Manifest(
            name=name,
            version=version,
            members=(
                Member(
                    path="model.onnx",
                    sha256=hashlib.sha256(content(name, version)).hexdigest(),
                    length_bytes=len(content(name, version)),
                ),
            ),
        )
        for name, version in versions.items()
    }
    desired = Desired(
        generation=generation,
        fleet="clinic",
        domain=DOMAIN,
        region="region-eu",
        site="oslo",
        tier="closet",
        jurisdiction="NO",
        models=tuple(
            DesiredModel(name=name, version=version, manifest_sha256=f"{name}-{version}")
            for name, version in versions.items()
        ),
        policy_sha256="p",
        tier_order=("closet",),
        peers=(),
        gate=Gate(hold_s=HOLD_S, latency_ms_p95=50.0, errors_ratio=0.01, requests_min=20),
    )
    policy = Policy(
        fleet="clinic",
        generation=1,
        data_classes={"internal": Residency(stays=Stays.ANYWHERE)},
        model_classes=dict.fromkeys(versions, ("internal",)),
        places={},
    )
    return AcceptedDesired(
        desired=desired, desired_sha256=f"d{generation}", manifests=manifests, policy=policy
    )


@pytest.fixture
def accepted() -> Callable[..., AcceptedDesired]:
    """Build an accepted desired state: `accepted(generation, model=version, ...)`."""
    return _accepted


@pytest.fixture
def model_content() -> Callable[[str, int], bytes]:
    """Return the bytes of a model version of `accepted`."""
    return content


@dataclass
class Fleet:
    """Real authorities of one small fleet, made at the machine's own time."""

    root: Authority
    region: Authority
    site: Authority
    foreign_root: Authority

    def identity(self, files: IdentityFiles, *, now_unix_s: float, by: Authority) -> None:
        """Put a node's identity in place as a region would."""
        name = node_id(DOMAIN, "region-eu", "oslo", 1)
        by.issue_identity(name, now_unix_s=now_unix_s).save(files.identity)
        files.roots.write_bytes(self.root.certificate_pem)
        self.site.save(files.site_authority)


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    now = time.time()
    root = Authority.create_root(DOMAIN, now_unix_s=now)
    region = root.issue_region("region-eu", now_unix_s=now)
    foreign = Authority.create_root("other.example", now_unix_s=now)
    return Fleet(root, region, region.issue_site("oslo", now_unix_s=now), foreign)


@pytest.fixture
def node_settings() -> NodeSettings:
    return NodeSettings(
        fleet="clinic",
        domain=DOMAIN,
        region="region-eu",
        site="oslo",
        number=1,
        tier="closet",
        region_url="https://127.0.0.1:9",
        region_host="region-eu.clinic.example",
    )


@pytest.fixture
def node_folder(tmp_path: Path, node_settings: NodeSettings) -> NodeFolder:
    folder = NodeFolder(tmp_path / "node").make()
    write_settings(folder.settings, node_settings)
    return folder


@pytest.fixture
def operator_id() -> SpiffeId:
    return SpiffeId(DOMAIN, "operator/anna")
