"""The node shows what it is: challenge, credential, quote, event log, verdict.

    join, renew   bound to that very certificate request, and to the token
    report        every few minutes, bound to nothing else

Blocking; the agent runs it in a thread. The TPM is open only meanwhile.

Errors:  TpmError, where the TPM cannot be used; what the call raises, where the region says no.
"""

from pathlib import Path
from typing import Protocol, TypeVar

from skerry.node.settings import NodeSettings
from skerry.schema.attestation import (
    EVENT_LOG_BYTES_MAX,
    Challenge,
    ChallengeRequest,
    Evidence,
    Verdict,
)
from skerry.trust.attest.desk import token_id
from skerry.trust.attest.quote import qualifying_data
from skerry.trust.attest.tpm import Opener, opener

Document = TypeVar("Document")


class Post(Protocol):
    """Calls the region."""

    def __call__(self, path: str, body: object, kind: type[Document]) -> Document:
        """Return the reply as a document of this kind."""
        ...


def attester_of(settings: NodeSettings) -> "Attester | None":
    """Return this machine's attester, or None where its settings name no TPM."""
    if not settings.tpm:
        return None
    return Attester(opener(settings.tpm), Path(settings.event_log))


class Attester:
    """One machine's TPM and event log."""

    def __init__(self, tpm: Opener, event_log: Path) -> None:
        self._open, self._event_log = tpm, event_log

    def show(self, spiffe_id: str, post: Post, *, csr_pem: bytes = b"", token: str = "") -> Verdict:
        """Answer a challenge of the region and return its verdict."""
        with self._open() as tpm:
            ek, ek_public, chain = tpm.endorsement()
            ak, ak_public = tpm.attestation_key()
            asked = ChallengeRequest(
                spiffe_id=spiffe_id, ek_chain_der=chain, ek_public=ek_public, ak_public=ak_public
            )
            challenge = post("/v1/attest/challenge", asked, Challenge)
            secret = tpm.activate(ak, ek, challenge.credential, challenge.secret)
            log = self.event_log()
            token_sha256 = token_id(token) if token else ""
            extra = qualifying_data(challenge.nonce, csr_pem, log, token_sha256)
            quoted, signature, pcrs = tpm.quote(ak, challenge.pcrs, extra)
        evidence = Evidence(
            spiffe_id=spiffe_id,
            nonce=challenge.nonce,
            secret=secret,
            quoted=quoted,
            signature=signature,
            pcrs=pcrs,
            event_log=log,
            csr_pem=csr_pem,
            token_id=token_sha256,
        )
        return post("/v1/attest", evidence, Verdict)

    def event_log(self) -> bytes:
        """Return the firmware's event log; empty where there is none."""
        try:
            with self._event_log.open("rb") as file:
                return file.read(EVENT_LOG_BYTES_MAX + 1)
        except OSError:
            return b""
