"""A CA of the operator's own certifies a region: by a command, and with a root that all trust."""

import sys
import time
from pathlib import Path

import msgspec

from skerry.local.hollow_fleet import DOMAIN, HollowFleet
from skerry.local.rotate_ca import ADD_ROOT
from skerry.region.settings import read_settings, write_settings
from skerry.trust.anchors import issuer_key_ids
from skerry.trust.authority import Authority
from skerry.trust.tls import verify_identity

CERTIFY = """
import sys, time
from pathlib import Path
from skerry.trust.authority import Authority
root = Authority.load(Path(sys.argv[1]))
sys.stdout.buffer.write(root.issue_requested(sys.stdin.buffer.read(), now_unix_s=time.time()))
"""


def test_a_command_of_ones_own_certifies_a_region_and_nodes_join_under_it(
    tmp_path: Path,
) -> None:
    fleet = HollowFleet(tmp_path, regions=("eu",)).start()
    try:
        own = Authority.create_root(DOMAIN, now_unix_s=time.time())
        own.save(tmp_path / "own.pem")
        early = fleet.node("early")
        rotation = fleet.rotation()
        for _ in range(200):
            standing = rotation.go_on(ADD_ROOT, root_pem=own.certificate_pem)
            if standing.step == "done":
                break
            early.hear()
            fleet.loop.run(early.report())
            time.sleep(0.02)
        assert standing.step == "done"
        fleet.processes["eu"].stop()
        settings = tmp_path / "eu" / "region.json"
        command = (sys.executable, "-c", CERTIFY, str(tmp_path / "own.pem"))
        write_settings(
            settings, msgspec.structs.replace(read_settings(settings), authority_command=command)
        )
        fleet.processes["eu"].start()
        end_s = time.monotonic() + 15
        while True:
            early.renew()
            if own.key_id in issuer_key_ids(early.files.load().chain_pem):
                break
            assert time.monotonic() < end_s, "the region still issues under the fleet's own root"
            time.sleep(0.1)
        late = fleet.node("late")
        for node, other in ((early, late), (late, early)):
            verify_identity(node.files.load(), other.files.trusted_pem(), now_unix_s=time.time())
    finally:
        fleet.close()
