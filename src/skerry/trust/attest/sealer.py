"""A key at rest, sealed to this TPM and to what this machine booted.

    sealed.json   the sealed object: useless on any other machine, and on this one once it has
                  booted something else or its case was opened (PCR 14)

Opening needs the PCRs as they were at sealing. So a machine seals again, with the key that it
still holds, after each boot change that it passed attestation with (`seal` replaces the file).

Errors:  TpmError; SealLostError where the PCRs are others or the file is gone or foreign.
Source:  TPM 2.0 Library Part 1, section 19.7 (policies over PCRs).
"""

import hashlib
from pathlib import Path

import msgspec

from skerry.base.files import write_private
from skerry.trust.attest.errors import SealLostError, TpmError
from skerry.trust.attest.tpm import Opener, Tpm

SEAL_PCRS = (0, 2, 4, 7, 14)
"""Firmware, its drivers, boot loader, Secure Boot, and tampering."""
TAMPER_PCR = 14
KEY_BYTES_MAX = 128


class _Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in the file."""

    public: bytes
    private: bytes
    pcrs: tuple[int, ...]


class Sealer:
    """Seals one key to the TPM of this machine."""

    def __init__(self, tpm: Opener, path: Path, *, pcrs: tuple[int, ...] = SEAL_PCRS) -> None:
        self._open, self._path, self._pcrs = tpm, path, pcrs

    def seal(self, key: bytes) -> None:
        """Seal a key to the PCRs as they are now; replaces what was sealed before."""
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise TpmError("sealing", f"a key of {len(key)} bytes, wanted 1 to {KEY_BYTES_MAX}")
        with self._open() as tpm:
            library, attribute = tpm.library, tpm.library.TPMA_OBJECT
            with tpm.doing("sealing"):
                with tpm.session(trial=True) as session:
                    tpm.esapi.policy_pcr(session, None, _selection(self._pcrs))
                    policy = tpm.esapi.policy_get_digest(session)
                template = library.TPM2B_PUBLIC.parse(
                    "keyedhash",
                    objectAttributes=attribute.FIXEDTPM | attribute.FIXEDPARENT | attribute.NODA,
                    authPolicy=policy,
                )
                secret = library.TPM2B_SENSITIVE_CREATE(
                    library.TPMS_SENSITIVE_CREATE(data=library.TPM2B_SENSITIVE_DATA(key))
                )
                private, public, *_ = tpm.esapi.create(self._parent(tpm), secret, template)
        sealed = _Sealed(public=public.marshal(), private=private.marshal(), pcrs=self._pcrs)
        write_private(self._path, msgspec.json.encode(sealed))

    def unseal(self) -> bytes:
        """Return the key; raises `SealLostError` where this machine may not have it any more."""
        try:
            sealed = msgspec.json.decode(self._path.read_bytes(), type=_Sealed)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SealLostError("unsealing", f"{self._path} cannot be read") from error
        with self._open() as tpm:
            library = tpm.library
            try:
                public, _ = library.TPM2B_PUBLIC.unmarshal(sealed.public)
                private, _ = library.TPM2B_PRIVATE.unmarshal(sealed.private)
                item = tpm.keep(tpm.esapi.load(self._parent(tpm), private, public))
            except library.TSS2_Exception as error:
                raise SealLostError("unsealing", "it was sealed by another TPM") from error
            try:
                with tpm.session() as session:
                    tpm.esapi.policy_pcr(session, None, _selection(sealed.pcrs))
                    return bytes(tpm.esapi.unseal(item, session1=session))
            except library.TSS2_Exception as error:
                why = "the machine booted something else, or was tampered with"
                raise SealLostError("unsealing", why) from error

    def forget(self, why: str = "tampered with") -> None:
        """Make the sealed key useless: extend PCR 14 with the reason, then remove the file.

        Removing a file leaves bytes on a disk; the PCR makes sure that they open nothing until
        the machine restarts, and the node needs a new approval after that.
        """
        try:
            with self._open() as tpm:
                tpm.extend(TAMPER_PCR, hashlib.sha256(why.encode()).digest())
        finally:
            self._path.unlink(missing_ok=True)

    def _parent(self, tpm: Tpm) -> object:
        """Make the storage key that seals hang under: the same each time, nothing is stored."""
        library, attribute = tpm.library, tpm.library.TPMA_OBJECT
        template = library.TPM2B_PUBLIC.parse(
            "ecc256:aes128cfb",
            objectAttributes=attribute.FIXEDTPM
            | attribute.FIXEDPARENT
            | attribute.SENSITIVEDATAORIGIN
            | attribute.USERWITHAUTH
            | attribute.NODA
            | attribute.RESTRICTED
            | attribute.DECRYPT,
        )
        with tpm.doing("making the storage key"):
            handle, *_ = tpm.esapi.create_primary(
                library.TPM2B_SENSITIVE_CREATE(), template, library.ESYS_TR.OWNER
            )
        return tpm.keep(handle)


def _selection(pcrs: tuple[int, ...]) -> str:
    return "sha256:" + ",".join(map(str, pcrs))
