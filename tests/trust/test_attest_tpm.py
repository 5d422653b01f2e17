"""A TPM 2.0 (software, one per folder): what it says holds, here and with the stock tools."""

import hashlib
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.schema.attestation import BOOT_PCRS
from skerry.testing.simulated_boot import boot, simulated_boot
from skerry.testing.swtpm import SoftwareTpm, TestMaker, installed
from skerry.trust.attest.credential import make_credential
from skerry.trust.attest.ek_certificate import check_ek
from skerry.trust.attest.errors import AttestationError, SealLostError, TpmError
from skerry.trust.attest.event_log import build_event_log, parse_event_log, replay
from skerry.trust.attest.nv_counter import STEPS_MAX, NvCounter
from skerry.trust.attest.public_area import parse_public_area
from skerry.trust.attest.quote import parse_quote, pcr_digest, signed_by
from skerry.trust.attest.sealer import Sealer
from skerry.trust.attest.tpm import Tpm, split_der

MAKER = TestMaker.create()


def _needs_swtpm() -> None:
    if not installed():
        pytest.skip("needs swtpm")
    pytest.importorskip("tpm2_pytss", reason="needs tpm2-pytss")


@pytest.fixture(scope="module", params=["EK-ECC256", "EK-RSA2048"])
def chip(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SoftwareTpm]:
    _needs_swtpm()
    with SoftwareTpm(tmp_path_factory.mktemp("tpm"), MAKER, kind=request.param) as software:
        yield software


@pytest.fixture
def software(tmp_path: Path) -> Iterator[SoftwareTpm]:
    _needs_swtpm()
    with SoftwareTpm(tmp_path / "tpm", MAKER) as one:
        yield one


@pytest.fixture
def tools() -> None:
    for name in ("tpm2_checkquote", "tpm2_makecredential", "tpm2_eventlog"):
        if shutil.which(name) is None:
            pytest.skip("needs tpm2-tools")


def test_the_ek_certificate_leads_to_its_maker_and_to_no_other(chip: SoftwareTpm) -> None:
    with chip.open() as tpm:
        _, public, chain = tpm.endorsement()
    ek = parse_public_area(public, "the EK")
    now = time.time()
    assert check_ek(chain, ek, MAKER.root_pem, now_unix_s=now) == (
        hashlib.sha256(chain[0]).hexdigest()
    )
    for roots in ("", TestMaker.create().root_pem):
        with pytest.raises(AttestationError, match=r"EK_UNTRUSTED.*not on the list of makers"):
            check_ek(chain, ek, roots, now_unix_s=now)


def test_a_certificate_of_another_key_is_not_the_eks(chip: SoftwareTpm) -> None:
    with chip.open() as tpm:
        _, _, chain = tpm.endorsement()
        _, other = tpm.attestation_key()
    key = parse_public_area(other, "a key")
    with pytest.raises(AttestationError, match=r"EK_UNTRUSTED.*another key"):
        check_ek(chain, key, MAKER.root_pem, now_unix_s=time.time())


def test_the_tpm_opens_a_credential_made_without_one(chip: SoftwareTpm) -> None:
    secret = secrets.token_bytes(32)
    with chip.open() as tpm:
        ek, ek_public, _ = tpm.endorsement()
        ak, ak_public = tpm.attestation_key()
        name = parse_public_area(ak_public, "the AK").name
        made = make_credential(parse_public_area(ek_public, "the EK"), name, secret)
        assert tpm.activate(ak, ek, *made) == secret
        wrong = make_credential(parse_public_area(ek_public, "the EK"), b"\0\x0b" * 17, secret)
        with pytest.raises(TpmError, match="activating the credential"):
            tpm.activate(ak, ek, *wrong)


def test_a_quote_verifies_and_its_counters_are_plain(chip: SoftwareTpm) -> None:
    with chip.open() as tpm:
        ak, public = tpm.attestation_key()
        quoted, signature, pcrs = tpm.quote(ak, BOOT_PCRS, b"x" * 32)
    key, quote = parse_public_area(public, "the AK"), parse_quote(quoted)
    assert key.lacks() == ()
    assert signed_by(key, quoted, signature)
    assert quote.extra == b"x" * 32
    assert quote.pcr_digest == pcr_digest(pcrs)
    assert quote.reset_count < 100  # a hidden count would be a huge number


def test_the_attestation_key_is_the_same_after_a_restart_and_resets_are_counted(
    software: SoftwareTpm,
) -> None:
    def look() -> tuple[bytes, int]:
        with software.open() as tpm:
            ak, public = tpm.attestation_key()
            return public, parse_quote(tpm.quote(ak, (0,), b"")[0]).reset_count

    public, resets = look()
    software.restart()
    assert look() == (public, resets + 1)


def test_power_cuts_do_not_lock_the_attestation_key(software: SoftwareTpm) -> None:
    """A TPM takes a power cut after use of a protected key for a guess at its password."""
    for _ in range(6):
        with software.open() as tpm:
            ak, _ = tpm.attestation_key()
            tpm.quote(ak, (0,), b"")
        software.restart()


def test_replaying_the_log_gives_the_pcrs_of_the_boot(software: SoftwareTpm) -> None:
    events = simulated_boot()
    with software.open() as tpm:
        boot(tpm, events)
        found = tpm.pcrs(BOOT_PCRS)
    replayed = replay(parse_event_log(build_event_log(events)))
    assert {pcr: replayed[pcr] for pcr in BOOT_PCRS} == found


def test_stock_tools_agree_on_quote_and_log(
    software: SoftwareTpm, tools: None, tmp_path: Path
) -> None:
    events = simulated_boot()
    with software.open() as tpm:
        boot(tpm, events)
        ak, public = tpm.attestation_key()
        quoted, signature, pcrs = tpm.quote(ak, BOOT_PCRS, b"nonce")
        pem = tpm.library.TPM2B_PUBLIC(tpm.library.TPMT_PUBLIC.unmarshal(public)[0]).to_pem()
    for name, data in (("k", pem), ("q", quoted), ("s", signature)):
        (tmp_path / name).write_bytes(data)
    check = ["tpm2_checkquote", "-u", "k", "-m", "q", "-s", "s", "-g", "sha256", "-q"]
    for nonce, status in (("nonce", 0), ("other", 1)):
        ended = subprocess.run(
            [*check, nonce.encode().hex()], cwd=tmp_path, capture_output=True, check=False
        )
        assert bool(ended.returncode) == bool(status), ended.stderr
    (tmp_path / "log").write_bytes(build_event_log(events))
    printed = subprocess.run(
        ["tpm2_eventlog", "log"], cwd=tmp_path, capture_output=True, check=True, text=True
    ).stdout
    for pcr in (0, 4, 7, 9):
        assert f"0x{pcrs[pcr].hex()}" in printed


def test_a_credential_made_by_the_stock_tool_and_ours_are_opened_alike(
    software: SoftwareTpm, tools: None, tmp_path: Path
) -> None:
    secret = b"as long as it may be, 32 bytes.."
    with software.open() as tpm:
        ek, ek_public, _ = tpm.endorsement()
        ak, ak_public = tpm.attestation_key()
        name = parse_public_area(ak_public, "the AK").name
        (tmp_path / "secret").write_bytes(secret)
        (tmp_path / "ek").write_bytes(len(ek_public).to_bytes(2, "big") + ek_public)
        subprocess.run(
            [
                *("tpm2_makecredential", "-T", "none", "-u", "ek", "-s", "secret"),
                *("-n", name.hex(), "-o", "made"),
            ],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        made = (tmp_path / "made").read_bytes()[8:]  # after the tool's own magic and version
        split = 2 + int.from_bytes(made[:2], "big")
        assert tpm.activate(ak, ek, made[:split], made[split:]) == secret


def test_certificates_in_one_index_are_split_and_padding_is_dropped() -> None:
    one, two = MAKER.certify(_any_key()), TestMaker.create().certify(_any_key())
    assert split_der(one + two + b"\xff" * 9) == [one, two]
    assert split_der(one[:-1]) == []


def _any_key() -> bytes:
    from skerry.testing.paper_tpm import PaperTpm

    return PaperTpm().ak.encoded


def test_a_counter_rises_never_falls_and_outlives_power(software: SoftwareTpm) -> None:
    counter = NvCounter(software.open)
    assert counter.read() == 0
    assert counter.raise_to(5) == 5
    assert counter.raise_to(3) == 5
    software.restart()
    assert NvCounter(software.open).read() == 5
    with pytest.raises(TpmError, match="more than 1000 steps"):
        counter.raise_to(6 + STEPS_MAX)
    assert counter.read() == 5


def test_a_counter_that_was_half_defined_is_defined_anew(software: SoftwareTpm) -> None:
    counter = NvCounter(software.open)
    counter.raise_to(2)
    with software.open() as tpm:
        tpm.esapi.nv_undefine_space(tpm.esapi.tr_from_tpmpublic(0x01800A21))
    assert counter.read() == 0
    counter.raise_to(1)
    assert counter.read() == 1


def test_a_sealed_key_opens_after_the_same_boot_only(software: SoftwareTpm, tmp_path: Path) -> None:
    sealer = Sealer(software.open, tmp_path / "sealed.json")
    with software.open() as tpm:
        boot(tpm, simulated_boot())
    sealer.seal(b"k" * 32)
    assert sealer.unseal() == b"k" * 32
    software.restart()
    with pytest.raises(SealLostError, match="booted something else"):
        sealer.unseal()
    with software.open() as tpm:
        boot(tpm, simulated_boot())
    assert sealer.unseal() == b"k" * 32


def test_a_forgotten_key_stays_lost_even_from_a_copy_of_its_file(
    software: SoftwareTpm, tmp_path: Path
) -> None:
    path = tmp_path / "sealed.json"
    sealer = Sealer(software.open, path)
    sealer.seal(b"k" * 32)
    copy = path.read_bytes()
    sealer.forget("lid opened")
    assert not path.exists()
    path.write_bytes(copy)
    with pytest.raises(SealLostError, match="tampered"):
        sealer.unseal()


def test_another_tpm_opens_nothing(software: SoftwareTpm, tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    Sealer(software.open, path).seal(b"k" * 32)
    with (
        SoftwareTpm(tmp_path / "other", MAKER) as other,
        pytest.raises(SealLostError, match="another TPM"),
    ):
        Sealer(other.open, path).unseal()


def test_a_tpm_that_is_not_there_is_named() -> None:
    pytest.importorskip("tpm2_pytss", reason="needs tpm2-pytss")
    with pytest.raises(TpmError, match="opening device:/dev/null"):
        Tpm("device:/dev/null")
