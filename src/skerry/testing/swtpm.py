"""A software TPM for one simulated machine: a `swtpm` process with a folder of its own.

    with SoftwareTpm(folder, TestMaker.create()) as tpm:
        Tpm(tpm.where)

`TestMaker` stands for a maker of TPMs: it signs a certificate for the EK, which is written where
hardware keeps it. Its root is made for one test or one trial and is no maker's: a fleet that lists
only real makers refuses it as EK_UNTRUSTED, because a software TPM can be copied with its folder.

Errors:  SwtpmMissingError, where the program is not installed.
"""

import fcntl
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.base.errors import SkerryError
from skerry.trust.attest.ek_certificate import EK_USE
from skerry.trust.attest.errors import TpmError
from skerry.trust.attest.public_area import parse_public_area
from skerry.trust.attest.tpm import Tpm

WAIT_S = 10.0
CERTIFICATE_INDEX = {"EK-ECC256": 0x01C0000A, "EK-RSA2048": 0x01C00002}
_PORTS = range(21_000, 31_000, 2)
_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)  # simulated clocks may stand anywhere
_NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class SwtpmMissingError(SkerryError):
    """The program `swtpm` is not installed here, or did not start."""

    code = "E0279"

    def __str__(self) -> str:
        return "swtpm is not installed, or does not start"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "install swtpm (Debian: apt install swtpm)"


def installed() -> bool:
    """Tell whether the program is there."""
    return shutil.which("swtpm") is not None


@dataclass(frozen=True, slots=True)
class TestMaker:
    """A maker of TPMs for tests: a root and its key."""

    __test__ = False  # pytest: not a test case, whatever its name

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str = "Test maker, no real TPM") -> Self:
        """Make a root."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def root_pem(self) -> str:
        """The root, as a fleet would list it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def certify(self, ek_public: bytes, *, serial: str = "0") -> bytes:
        """Return the certificate (DER) of an EK, as odd as makers' own are."""
        key = parse_public_area(ek_public, "the EK").public_key()
        device = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial)])
        builder = (
            _builder(x509.Name([]), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(device)]), critical=True)
            .add_extension(x509.ExtendedKeyUsage([EK_USE]), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_NEVER)
    )


class SoftwareTpm:
    """One swtpm process between start and stop. Its state stays in the folder, as in a chip."""

    def __init__(self, folder: Path, maker: TestMaker, *, kind: str = "EK-ECC256") -> None:
        self.folder, self._maker, self._kind = folder, maker, kind
        self._child: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._lock: IO[str] | None = None

    @property
    def where(self) -> str:
        """The TCTI of the running TPM."""
        return f"swtpm:host=127.0.0.1,port={self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def open(self) -> Tpm:
        """Open a connection."""
        return Tpm(self.where)

    def start(self) -> None:
        """Power on; the first time, it also gets its EK certificate."""
        if not installed():
            raise SwtpmMissingError
        fresh = not (self.folder / "tpm2-00.permall").exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._port = self._take_ports()
        here = "bindaddr=127.0.0.1"
        self._child = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}"),
                *("--server", f"type=tcp,port={self._port},{here},disconnect"),
                *("--ctrl", f"type=tcp,port={self._port + 1},{here}"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait_until_it_answers()
        if fresh:
            self._write_certificate()

    def stop(self) -> None:
        """Power off: PCRs are lost, keys and counters stay."""
        if self._child is not None:
            self._child.terminate()
            self._child.wait(WAIT_S)
            self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def restart(self) -> None:
        """Power off and on: PCRs are as after reset, the reset counter is one higher."""
        self.stop()
        self.start()

    def _take_ports(self) -> int:
        """Take two ports in a row, for commands and control, as the TCTI wants them.

        A lock keeps them for this TPM: two would otherwise answer for each other.
        """
        for port in _PORTS:
            lock = (Path(tempfile.gettempdir()) / f"skerry-swtpm-{port}.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for one in (port, port + 1):
                    socket.create_server(("127.0.0.1", one)).close()
            except OSError:
                lock.close()
                continue
            self._lock = lock
            return port
        raise SwtpmMissingError

    def _wait_until_it_answers(self) -> None:
        ends_s = time.monotonic() + WAIT_S
        while time.monotonic() < ends_s and self._child and self._child.poll() is None:
            try:
                self.open().close()
            except TpmError:
                time.sleep(0.005)
            else:
                return
        self.stop()
        raise SwtpmMissingError

    def _write_certificate(self) -> None:
        """Do what a maker does: certify the EK, and keep the certificate in the chip."""
        with self.open() as tpm:
            library, nv = tpm.library, tpm.library.TPMA_NV
            with tpm.doing("making the EK"):
                read = library.utils.NVReadEK(tpm.esapi)
                _, template = library.utils.create_ek_template(self._kind, read)
                handle, public, *_ = tpm.esapi.create_primary(
                    library.TPM2B_SENSITIVE_CREATE(), template, library.ESYS_TR.ENDORSEMENT
                )
                tpm.keep(handle)
                certificate = self._maker.certify(public.publicArea.marshal())
                space = library.TPMS_NV_PUBLIC(
                    nvIndex=CERTIFICATE_INDEX[self._kind],
                    nameAlg=library.TPM2_ALG.SHA256,
                    attributes=nv.OWNERWRITE | nv.OWNERREAD | nv.AUTHREAD | nv.AUTHWRITE | nv.NO_DA,
                    dataSize=len(certificate),
                )
                index = tpm.esapi.nv_define_space(None, library.TPM2B_NV_PUBLIC(nvPublic=space))
                tpm.esapi.nv_write(index, certificate)
