"""Joining and renewing: one-time tokens, and the lasting key that proves a node afterwards.

A token (128 bit, 15 minutes, one node) lets a machine register its enrolment key once. From then
on a signature by that key, not banned, is enough for the next certificate: a node comes back from
any absence with no human. The registry is the region's, so none of this needs central.

A request repeated by an eavesdropper yields a certificate for a key that he does not hold; the
age limit keeps him from refreshing the certificate of an old key that he stole.

Units:   unix seconds.
Errors:  TokenUnknownError, TokenUsedError, TokenExpiredError, TokenBoundError,
         ProofError, NotEnrolledError, BannedError.
"""

import hashlib
import hmac
import secrets
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey

from skerry.base.files import write_private
from skerry.trust.errors import KeyFileError, TrustError
from skerry.trust.identity import (
    key_from_pem,
    key_to_pem,
    new_key,
    public_key_from_pem,
    public_key_to_pem,
    verify_csr,
)
from skerry.trust.registry import Registry, TokenRow
from skerry.trust.spiffe import Role, SpiffeId

TOKEN_LIFE_S = 15 * 60
PROOF_AGE_S_MAX = 600
TOKEN_BYTES = 16
_TOKEN_CHARS_MAX = 64
_PEM_BYTES_MAX = 1024
_PROOF_BYTES_MAX = 128


class EnrolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a node sends to `/v1/join` (with a token) and to `/v1/renew` (without one), as JSON.

    `proof` is the enrolment key's signature over everything else.
    """

    spiffe_id: str
    csr_pem: bytes
    enrolment_public_pem: bytes
    at_unix_s: float
    proof: bytes
    token: str = ""


class EnrolError(TrustError):
    """A machine was not admitted to the fleet."""

    code = "E0210"
    reason = "NOT_ADMITTED"

    def __init__(self, spiffe_id: str, detail: str = "") -> None:
        super().__init__(spiffe_id, detail)
        self.spiffe_id, self.detail = spiffe_id, detail


class TokenUnknownError(EnrolError):
    """The join token is not one that this region gave out.

    Tokens are known only to the region that made them, and a region that lost its registry
    forgot them. Copy the token whole, or make a new one.
    """

    code = "E0211"
    reason = "TOKEN_UNKNOWN"

    def __str__(self) -> str:
        return f"{self.spiffe_id} offered a join token that this region did not give out"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "copy the token whole, or make a new one for this node"


class TokenUsedError(EnrolError):
    """The join token was used before, by another machine.

    If that was not you, somebody else joined in this node's name: ban the node and look.
    """

    code = "E0212"
    reason = "TOKEN_USED"

    def __str__(self) -> str:
        return f"the join token of {self.spiffe_id} was used before by another machine"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "if that was not you, ban the node first; then make a new token"


class TokenExpiredError(EnrolError):
    """The join token is older than its 15 minutes."""

    code = "E0213"
    reason = "TOKEN_EXPIRED"

    def __str__(self) -> str:
        return f"the join token of {self.spiffe_id} expired {self.detail} ago"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "make a new token and use it within 15 minutes"


class TokenBoundError(EnrolError):
    """The join token is for another site or node number than the machine claims."""

    code = "E0214"
    reason = "TOKEN_BOUND"

    def __str__(self) -> str:
        return f"{self.spiffe_id} offered a join token that is bound to {self.detail}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "join as the node the token was made for, or make a token for this one"


class ProofError(EnrolError):
    """A join or renewal request is not signed by the enrolment key, is torn, or is too old.

    A machine whose clock is more than ten minutes off is refused here too.
    """

    code = "E0215"
    reason = "PROOF"

    def __str__(self) -> str:
        return f"the request of {self.spiffe_id[:80]} {self.detail}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "check that machine's clock; if its enrolment key was lost, join again"


class NotEnrolledError(EnrolError):
    """A node asks for a certificate and this region has never admitted it."""

    code = "E0216"
    reason = "NOT_ENROLLED"

    def __str__(self) -> str:
        return f"{self.spiffe_id} never joined in this region"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "make a token for it and join"


class BannedError(EnrolError):
    """A node was banned and gets no certificate until the ban is lifted."""

    code = "E0217"
    reason = "BANNED"

    def __str__(self) -> str:
        return f"{self.spiffe_id} is banned: {self.detail}"

    @property
    def hint(self) -> str:
        """Name the way out."""
        return "lift the ban if the node is known to be good"


def new_token(
    registry: Registry, spiffe_id: SpiffeId, *, now_unix_s: float, life_s: float = TOKEN_LIFE_S
) -> str:
    """Make a one-time token for one node; only its hash is kept."""
    token = secrets.token_hex(TOKEN_BYTES)
    registry.add_token(
        TokenRow(
            sha256=_sha256(token.encode()),
            spiffe_id=str(spiffe_id),
            ends_unix_s=now_unix_s + life_s,
        )
    )
    return token


def load_or_create_enrolment_key(path: Path) -> EllipticCurvePrivateKey:
    """Read the node's enrolment key, or make it: a private file that outlives every certificate."""
    try:
        return key_from_pem(path.read_bytes(), None, str(path))
    except FileNotFoundError:
        key = new_key()
        write_private(path, key_to_pem(key))
        return key
    except OSError as error:
        raise KeyFileError(str(path), f"cannot be read: {error.strerror}") from error


def enrol_request(
    key: EllipticCurvePrivateKey,
    spiffe_id: SpiffeId,
    csr_pem: bytes,
    *,
    now_unix_s: float,
    token: str = "",
) -> EnrolRequest:
    """Make the request to join (with a token) or to renew, signed by the enrolment key."""
    unsigned = EnrolRequest(
        spiffe_id=str(spiffe_id),
        csr_pem=csr_pem,
        enrolment_public_pem=public_key_to_pem(key.public_key()),
        at_unix_s=now_unix_s,
        proof=b"",
        token=token.strip(),
    )
    proof = key.sign(_signed_bytes(unsigned), ECDSA(hashes.SHA256()))
    return msgspec.structs.replace(unsigned, proof=proof)


def admit_join(registry: Registry, request: EnrolRequest, *, now_unix_s: float) -> SpiffeId:
    """Check a join request, burn its token and register its key; returns whom to issue to.

    The same key may repeat it after a crash, with the same token. A new token for a node that
    joined before replaces its key: a blank machine takes a dead one's place. Issue with
    `Authority.issue_leaf(request.csr_pem, <returned id>, ...)`.
    """
    spiffe_id = _checked(registry, request, request.enrolment_public_pem, now_unix_s)
    wanted = _sha256(request.token.encode())
    row = registry.token(wanted)
    if row is None or not hmac.compare_digest(row.sha256, wanted):
        raise TokenUnknownError(request.spiffe_id)
    check_token(row, request.spiffe_id, now_unix_s)
    if not registry.enrol(wanted, request.spiffe_id, request.enrolment_public_pem, now_unix_s):
        raise TokenUsedError(request.spiffe_id)
    return spiffe_id


def check_token(row: TokenRow, spiffe_id: str, now_unix_s: float) -> None:
    """Refuse a token that is bound to another node, or is too old to be used for the first time."""
    if row.spiffe_id != spiffe_id:
        raise TokenBoundError(spiffe_id, row.spiffe_id)
    late_s = now_unix_s - row.ends_unix_s
    if late_s > 0 and not row.used_by:
        raise TokenExpiredError(spiffe_id, f"{late_s:.0f} s")


def admit_renewal(registry: Registry, request: EnrolRequest, *, now_unix_s: float) -> SpiffeId:
    """Check a renewal request against the registered key and the bans; returns whom to issue to."""
    registered = registry.enrolment_key(request.spiffe_id)
    if registered is None:
        raise NotEnrolledError(request.spiffe_id)
    return _checked(registry, request, registered, now_unix_s)


def _checked(
    registry: Registry, request: EnrolRequest, public_pem: bytes, now_unix_s: float
) -> SpiffeId:
    """Check bounds, ban, age, signature and request; what joining and renewing share."""
    spiffe_id = SpiffeId.parse(request.spiffe_id)
    if spiffe_id.role is not Role.NODE:
        raise ProofError(request.spiffe_id, "is not for a node, and only nodes join")
    if (
        len(request.token) > _TOKEN_CHARS_MAX
        or len(request.proof) > _PROOF_BYTES_MAX
        or len(request.enrolment_public_pem) > _PEM_BYTES_MAX
    ):
        raise ProofError(request.spiffe_id, "is larger than any real one")
    why = registry.banned(request.spiffe_id)
    if why is not None:
        raise BannedError(request.spiffe_id, why)
    off_s = now_unix_s - request.at_unix_s
    if not abs(off_s) <= PROOF_AGE_S_MAX:  # NaN fails too
        side = "behind" if off_s > 0 else "ahead"
        what = f"carries a time {abs(off_s):.0f} s {side}, wanted at most {PROOF_AGE_S_MAX} s"
        raise ProofError(request.spiffe_id, what)
    try:
        public_key_from_pem(public_pem).verify(
            request.proof, _signed_bytes(request), ECDSA(hashes.SHA256())
        )
    except InvalidSignature as error:
        what = "is not signed by the enrolment key registered for it"
        raise ProofError(request.spiffe_id, what) from error
    _, asked = verify_csr(request.csr_pem)
    if asked != spiffe_id:
        raise ProofError(request.spiffe_id, f"asks for a certificate of {asked}")
    return spiffe_id


def _signed_bytes(request: EnrolRequest) -> bytes:
    """Everything but the proof, in one unambiguous form."""
    return b"skerry.enrol/1" + msgspec.json.encode(msgspec.structs.replace(request, proof=b""))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
