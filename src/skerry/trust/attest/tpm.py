"""The door to a TPM 2.0: EK, attestation key, quotes, PCRs. The only module with tpm2-pytss.

The library comes with the extra `skerry[tpm]` and is imported when a TPM is opened, never before.
On hardware use `device:/dev/tpmrm0`: the kernel's resource manager, so that handles of a killed
process do not stay. Every handle and session made here is closed, whatever happens.

The attestation key is a primary key of the endorsement hierarchy, made from one template: it is
the same each time, needs no storage, and in that hierarchy the counters in quotes are true.

Units:   bytes; PCR values are of the SHA-256 bank.
Errors:  TpmError.
Source:  TPM 2.0 Library Part 3; TCG EK Credential Profile 2.5, annex B (templates).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from skerry.trust.attest.errors import TpmError
from skerry.trust.attest.quote import pcr_digest

EK_KINDS = ("EK-ECC256", "EK-RSA2048")
"""By preference; the first that the TPM holds a certificate for is taken."""
CHAIN_INDEX, CHAIN_INDEX_END = 0x01C00100, 0x01C001FF
"""NV indices that may hold the certificates between EK and maker root."""
_READ_PCRS_MAX = 8
_TRIES = 5
_AK_TEMPLATE = "ecc:ecdsa-sha256:null"


def _library() -> Any:
    os.environ.setdefault("TSS2_LOG", "all+none")  # it writes each refusal to stderr otherwise
    try:
        import tpm2_pytss
        import tpm2_pytss.utils
    except (ImportError, NotImplementedError, RuntimeError) as error:
        raise TpmError("its library", f"tpm2-pytss cannot be used: {error}") from error
    return tpm2_pytss


class Tpm:
    """One open connection to a TPM. Use it as a context manager, and not for long."""

    def __init__(self, where: str) -> None:
        """`where` is a TCTI, for example `device:/dev/tpmrm0`."""
        self.library = _library()
        self._flush: list[Any] = []
        try:
            self.esapi = self.library.ESAPI(where)
        except (self.library.TSS2_Exception, RuntimeError) as error:
            raise TpmError(f"opening {where}", str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Flush what was made here, and let go."""
        for handle in reversed(self._flush):
            try:
                self.esapi.flush_context(handle)
            except self.library.TSS2_Exception:
                continue  # already gone, after a reset
        self._flush.clear()
        self.esapi.close()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Name what the TPM refuses: every error of the library leaves as a `TpmError`."""
        try:
            yield
        except self.library.TSS2_Exception as error:
            raise TpmError(what, str(error)) from error

    def keep(self, handle: Any) -> Any:
        """Flush this handle when the connection closes."""
        self._flush.append(handle)
        return handle

    # --- endorsement ------------------------------------------------------------------

    def endorsement(self) -> tuple[Any, bytes, list[bytes]]:
        """Return the EK's handle, its TPMT_PUBLIC, and its certificates, its own first."""
        library = self.library
        read = library.utils.NVReadEK(self.esapi)
        with self.doing("reading the EK certificate"):
            for kind in EK_KINDS:
                certificate, template = library.utils.create_ek_template(kind, read)
                if certificate:
                    break
            else:
                raise TpmError("reading the EK certificate", "it holds none")
        with self.doing("making the EK"):
            handle, public, *_ = self.esapi.create_primary(
                library.TPM2B_SENSITIVE_CREATE(), template, library.ESYS_TR.ENDORSEMENT
            )
            self.keep(handle)
        issuers = [each for index in self._chain_indices() for each in split_der(read(index))]
        return handle, public.publicArea.marshal(), [_trimmed(certificate), *issuers]

    def _chain_indices(self) -> list[int]:
        with self.doing("listing NV indices"):
            _, found = self.esapi.get_capability(
                self.library.TPM2_CAP.HANDLES, CHAIN_INDEX, CHAIN_INDEX_END - CHAIN_INDEX + 1
            )
        listed = [int(handle) for handle in found.data.handles]
        return [index for index in listed if CHAIN_INDEX <= index <= CHAIN_INDEX_END]

    def attestation_key(self) -> tuple[Any, bytes]:
        """Return handle and TPMT_PUBLIC of the attestation key."""
        library, attribute = self.library, self.library.TPMA_OBJECT
        template = library.TPM2B_PUBLIC.parse(
            _AK_TEMPLATE,
            objectAttributes=attribute.FIXEDTPM
            | attribute.FIXEDPARENT
            | attribute.SENSITIVEDATAORIGIN
            | attribute.USERWITHAUTH
            | attribute.NODA  # else a few power cuts lock it: they count as guesses
            | attribute.RESTRICTED
            | attribute.SIGN_ENCRYPT,
        )
        with self.doing("making the attestation key"):
            handle, public, *_ = self.esapi.create_primary(
                library.TPM2B_SENSITIVE_CREATE(), template, library.ESYS_TR.ENDORSEMENT
            )
            self.keep(handle)
        return handle, public.publicArea.marshal()

    def activate(self, ak: Any, ek: Any, credential: bytes, secret: bytes) -> bytes:
        """Open a credential: works only if this TPM has the EK it is for, and the AK it names."""
        library = self.library
        with self.doing("activating the credential"), self.session() as session:
            self.esapi.policy_secret(library.ESYS_TR.ENDORSEMENT, session)
            id_object, _ = library.TPM2B_ID_OBJECT.unmarshal(credential)
            encrypted, _ = library.TPM2B_ENCRYPTED_SECRET.unmarshal(secret)
            opened = self.esapi.activate_credential(ak, ek, id_object, encrypted, session2=session)
        return bytes(opened)

    @contextmanager
    def session(self, *, trial: bool = False) -> Iterator[Any]:
        """Yield a policy session (or a trial one), closed at the end."""
        library = self.library
        handle = self.esapi.start_auth_session(
            library.ESYS_TR.NONE,
            library.ESYS_TR.NONE,
            library.TPM2_SE.TRIAL if trial else library.TPM2_SE.POLICY,
            library.TPMT_SYM_DEF(algorithm=library.TPM2_ALG.NULL),
            library.TPM2_ALG.SHA256,
        )
        try:
            yield handle
        finally:
            self.esapi.flush_context(handle)

    # --- PCRs -------------------------------------------------------------------------

    def quote(
        self, ak: Any, pcrs: Sequence[int], extra: bytes
    ) -> tuple[bytes, bytes, dict[int, bytes]]:
        """Return TPMS_ATTEST, TPMT_SIGNATURE and the PCR values that they are over."""
        with self.doing("quoting"):
            for _ in range(_TRIES):  # a PCR may be extended between reading and quoting
                values = self.pcrs(pcrs)
                quoted, signature = self.esapi.quote(ak, _selection(pcrs), extra)
                attested = quoted.attestationData  # TPM2B_ATTEST: the bytes that were signed
                if pcr_digest(values) in bytes(attested):
                    return bytes(attested), signature.marshal(), values
        raise TpmError("quoting", f"the PCRs changed during each of {_TRIES} tries")

    def pcrs(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return PCR values; a TPM gives eight at a time."""
        values: dict[int, bytes] = {}
        with self.doing("reading PCRs"):
            for start in range(0, len(numbers), _READ_PCRS_MAX):
                some = numbers[start : start + _READ_PCRS_MAX]
                _, _, digests = self.esapi.pcr_read(_selection(some))
                values |= dict(zip(sorted(some), map(bytes, digests), strict=True))
        return values

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend a PCR of the SHA-256 bank; there is no way back before the next reset."""
        library = self.library
        with self.doing(f"extending PCR {pcr}"):
            value = library.TPMT_HA(hashAlg=library.TPM2_ALG.SHA256)
            value.digest.sha256 = digest
            self.esapi.pcr_extend(library.ESYS_TR.PCR0 + pcr, library.TPML_DIGEST_VALUES([value]))


def _selection(pcrs: Sequence[int]) -> str:
    return "sha256:" + ",".join(map(str, sorted(pcrs)))


def _trimmed(der: bytes) -> bytes:
    """Cut what an NV index holds beyond the certificate: makers fill it up with zeros or ones."""
    return split_der(der)[0] if der else der


def split_der(data: bytes) -> list[bytes]:
    """Return the DER sequences that lie one after the other; what follows them is padding."""
    found, at = [], 0
    while len(data) - at > 4 and data[at] == 0x30:
        first = data[at + 1]
        octets = first & 0x7F if first & 0x80 else 0
        if octets > 3:
            break
        length = int.from_bytes(data[at + 2 : at + 2 + octets], "big") if octets else first
        end = at + 2 + octets + length
        if end > len(data):
            break
        found.append(data[at:end])
        at = end
    return found


Opener = Callable[[], Tpm]
"""Opens the machine's TPM; called for each use, so that no connection is held."""


def opener(where: str) -> Opener:
    """Return a function that opens the TPM at a TCTI."""
    return lambda: Tpm(where)
