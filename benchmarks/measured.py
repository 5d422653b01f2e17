"""What every benchmark here shares: one line per figure, and the state of the machine."""

import datetime
import ipaddress
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from skerry.base.processes import rss_bytes

BUILD = Path(__file__).parent.parent / "build" / "bench"


def tell(name: str, value: float, unit: str) -> None:
    """Print one figure as `name value unit`; run.py reads these lines."""
    print(f"{name} {value:.4g} {unit}" if value < 10_000 else f"{name} {value:.0f} {unit}")
    sys.stdout.flush()


def median_ms(work: Callable[[], object], *, times: int, warm: int = 1) -> float:
    """Return the median duration of some work, in milliseconds."""
    for _ in range(warm):
        work()
    durations_s = []
    for _ in range(times):
        started_s = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - started_s)
    return statistics.median(durations_s) * 1000


def mib_of(pid: int) -> float:
    """Return a process's resident memory in MiB, pages that it shares with others in full."""
    return rss_bytes(pid) / 2**20


def plain_environment() -> dict[str, str]:
    """Return the environment with byte code allowed, as an installed program has it."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def certificates(folder: Path) -> None:
    """Write throwaway certificates for loopback: `roots.pem`, and `server` and `client` with keys.

    Keys are P-256; everything is good for one day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)

    def issue(
        name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
    ) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        by, signer = issuer or (subject, key)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(signer, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
        plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(key.private_bytes(*plain))
        return key

    root = issue("roots", None)
    authority = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "roots")]), root)
    issue("server", authority)
    issue("client", authority)
