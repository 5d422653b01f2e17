"""What tests of several rooms share: a software token of this test run alone."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


@dataclass(frozen=True)
class Token:
    """A PKCS#11 token."""

    module: str
    label: str
    pin: str


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """Made once: the library reads its settings once per process."""
    if not SOFTHSM.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("needs softhsm2")
    pytest.importorskip("pkcs11", reason="needs python-pkcs11")
    folder = tmp_path_factory.mktemp("tokens")
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(settings))
        made = Token(str(SOFTHSM), f"alice-{secrets.token_hex(3)}", "24680")
        words = ["--init-token", "--free", "--label", made.label, "--pin", made.pin]
        command = ["softhsm2-util", *words, "--so-pin", made.pin]
        subprocess.run(command, check=True, capture_output=True, env=dict(os.environ), timeout=20)
        yield made
