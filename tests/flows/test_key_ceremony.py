"""Two of three people run a fleet, with commands alone: found, release, rekey, look at the ends."""

import json
from pathlib import Path

import pytest
from tests.flows.test_real_roles import Roles, free_ports, home, rewrite, roles, skerry

from skerry.trust.roles import OfflineKeys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

__all__ = ["home", "roles"]  # fixtures
NAMES = ("alice", "bob", "carol")


def trust(*words: str, folder: Path, status: int = 0) -> str:
    done = skerry("trust", *words, folder=folder)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_two_of_three_found_release_rekey_and_see_every_end(
    home: Path,
    roles: Roles,
) -> None:
    for name in NAMES:  # unsealed: there is no terminal to ask at
        OfflineKeys.create(home / name, holder=name)
    holders = ",".join(f"{name}/holder.json" for name in NAMES)
    wanted = "root=2,targets=2,models=2"
    words = ("--operator", "alice", "--central-address", "127.0.0.1")
    trust("init", *words, "--holders", holders, "--threshold", wanted, folder=home)
    file = "founding/founding.signing.json"
    trust("sign", file, "--keys", "alice", "--yes", folder=home)
    refused = trust("publish", file, "--founding", "founding", folder=home, status=6)
    assert "able to sign: bob, carol" in refused
    trust("sign", file, "--keys", "bob", "--yes", folder=home)
    trust("publish", file, "--founding", "founding", folder=home)

    api, nats, leaf, region_api, region_nats = free_ports(5)
    founding = home / "founding"
    rewrite(founding / "central/central.json", api_port=api, nats_port=nats, leaf_port=leaf)
    rewrite(
        founding / "regions/region-eu/region.json",
        api_port=region_api,
        nats_port=region_nats,
        advertise="127.0.0.1",
        central_url=f"https://127.0.0.1:{api}",
        hub_url=f"tls://127.0.0.1:{leaf}",
    )
    rewrite(
        home / ".skerry/context.json",
        central_url=f"https://127.0.0.1:{api}",
        region_urls={"region-eu": f"https://127.0.0.1:{region_api}"},
        offline=str(home / "alice"),
    )
    roles.start("central", "founding/central")
    roles.start("region", "founding/regions/region-eu")

    waits = skerry("apply", "--yes", "--no-wait", folder=home)
    assert waits.returncode == 6
    assert "1 signed, 2 wanted; by alice" in waits.stderr
    shown = trust("sign", "models-2.signing.json", "--keys", "bob", "--yes", folder=home)
    assert "+ prod/model/double/1.json" in shown
    applied = skerry("apply", "--yes", "--no-wait", folder=home)
    assert applied.returncode == 0, applied.stderr

    before = OfflineKeys.load(home / "bob").public()["root"]
    trust("rotate", "root", "--holder", "bob", "--keys", "bob", "--out", "bob.json", folder=home)
    trust("sign", "bob.json", "--keys", "bob", "--yes", folder=home)
    trust("sign", "bob.json", "--keys", "alice", "--yes", folder=home)
    trust("publish", "bob.json", folder=home)
    assert OfflineKeys.load(home / "bob").public()["root"] != before

    timestamp = (founding / "central/keys/online/timestamp.pem").read_bytes()
    trust("rotate", "online", "--out", "online.json", folder=home)
    for name in ("alice", "bob"):
        trust("sign", "online.json", "--keys", name, "--yes", folder=home)
    trust("publish", "online.json", folder=home)
    assert (founding / "central/keys/online/timestamp.pem").read_bytes() != timestamp

    ends = json.loads(skerry("trust", "status", "--json", folder=home).stdout)
    assert ends["near"] == 0
    assert not ends["silent"]
    texts = {one["name"]: one["text"] for one in ends["expiries"] if one["kind"] == "role"}
    assert texts["root"] == "version 3, 2 of 3 keys"
    assert texts["models"] == "version 2, 2 of 3 keys"
