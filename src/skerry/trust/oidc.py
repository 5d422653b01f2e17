"""People whom an OIDC provider vouches for: its ID token, verified here, becomes a login.

    discovery -> keys -> signature, issuer, audience, times, nonce -> name and groups -> roles

Only the issuer that central's settings name is asked and believed; what it says of somebody is
taken when they log in, and holds as long as that login.

Units:   unix seconds.
Errors:  OidcError, for any token or provider that is not as it must be.
Source:  OpenID Connect Core 1.0, 3.1.3.7 (what to check); Discovery 1.0, 4.3; RFC 8725.
"""

import json
import math
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from skerry.schema.access import OidcSettings
from skerry.schema.access_api import OidcFacts
from skerry.trust.access_errors import OidcError, PeopleError
from skerry.trust.people import check_name, check_roles

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
"""Public-key signatures only: `none` and shared secrets are not among them."""
TOKEN_CHARS_MAX: Final = 32 * 1024
DOCUMENT_BYTES_MAX: Final = 1 << 20
FETCH_S_MAX: Final = 10.0
KEYS_FRESH_S: Final = 3600.0
KEYS_AGAIN_S: Final = 30.0
"""A key that is not known asks the provider again, but not more often than this."""
LEEWAY_S: Final = 60.0

Fetch = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class OidcPerson:
    """Who the provider says it is."""

    name: str
    roles: tuple[str, ...]


class OidcProvider:
    """One configured provider; any thread may ask it."""

    def __init__(self, settings: OidcSettings, fetch: Fetch | None = None) -> None:
        check_url(settings.issuer)
        try:
            for roles in settings.roles.values():
                check_roles(roles)
        except PeopleError as error:
            raise OidcError(str(error)) from error
        self._settings, self._fetch = settings, fetch or fetch_document
        self._lock = threading.Lock()
        self._keys: Any = None
        self._keys_s = float("-inf")

    @property
    def facts(self) -> OidcFacts:
        """What a person's machine needs to log in; public."""
        settings = self._settings
        return OidcFacts(issuer=settings.issuer, client_id=settings.client_id, scope=settings.scope)

    def person(self, id_token: str, nonce: str, now_unix_s: float) -> OidcPerson:
        """Return whom an ID token names; raises `OidcError`. Blocking: it may fetch keys."""
        claims = self._verified(id_token)
        check_claims(claims, self._settings, nonce, now_unix_s)
        return person_of(claims, self._settings)

    def _verified(self, id_token: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        if len(id_token) > TOKEN_CHARS_MAX:
            raise OidcError(f"it is over {TOKEN_CHARS_MAX} characters long")
        for again in (False, True):
            keys = self._known_keys(again=again)
            try:
                return dict(jwt.decode(id_token, keys, algorithms=list(ALGORITHMS)).claims)
            except InvalidKeyIdError as error:
                if again:
                    raise OidcError("no key of the provider signed it") from error
            except (JoseError, ValueError, TypeError, RecursionError) as error:
                raise OidcError(f"it cannot be verified ({type(error).__name__})") from error
        raise AssertionError  # never reached: the second round raises

    def _known_keys(self, *, again: bool) -> Any:
        """Return the provider's keys, fetched when they are old, or one is missing."""
        from joserfc.jwk import KeySet

        with self._lock:
            age_s = time.monotonic() - self._keys_s
            if self._keys is None or age_s > (KEYS_AGAIN_S if again else KEYS_FRESH_S):
                found = discover(self._settings.issuer, self._fetch)
                try:
                    self._keys = KeySet.import_key_set(self._fetch(_text(found, "jwks_uri")))  # type: ignore[arg-type]
                except OidcError:
                    raise
                except Exception as error:  # the library has no one error for a broken key
                    raise OidcError(f"the provider's keys cannot be read: {error}") from error
                self._keys_s = time.monotonic()
            return self._keys


def check_claims(
    claims: dict[str, Any], settings: OidcSettings, nonce: str, now_unix_s: float
) -> None:
    """Refuse a verified token that is for somebody else, from elsewhere, or of another time."""
    if claims.get("iss") != settings.issuer:
        raise OidcError("another issuer made it")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if settings.client_id not in audiences:
        raise OidcError("it is for another client")
    if len(audiences) > 1 and claims.get("azp") != settings.client_id:
        raise OidcError("it is for several clients, and not given to this one")
    expires, issued = _seconds(claims, "exp"), _seconds(claims, "iat")
    if expires + LEEWAY_S < now_unix_s:
        raise OidcError("it has ended")
    starts = _seconds(claims, "nbf") if "nbf" in claims else issued
    if max(issued, starts) > now_unix_s + LEEWAY_S:
        raise OidcError("it is from the future: compare the clocks")
    if not nonce or claims.get("nonce") != nonce:
        raise OidcError("it answers another login than this one")


def person_of(claims: dict[str, Any], settings: OidcSettings) -> OidcPerson:
    """Return name and roles from the claims that the settings name."""
    name = claims.get(settings.name_claim)
    if settings.name_claim == "email" and claims.get("email_verified") is not True:
        raise OidcError("its address was not verified")
    try:
        check_name(name := str(name or "").lower())
    except PeopleError as error:
        raise OidcError(f"{settings.name_claim} is no usable name") from error
    groups = claims.get(settings.roles_claim, [])
    listed = groups if isinstance(groups, list) else [groups]
    roles = [role for group in listed for role in settings.roles.get(str(group), ())]
    if not roles:
        raise OidcError(f"{name} is in no group that has a role here")
    return OidcPerson(name, tuple(dict.fromkeys(roles)))


def discover(issuer: str, fetch: Fetch) -> dict[str, Any]:
    """Return the provider's description of itself; raises `OidcError` if it is another's."""
    found = fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise OidcError("the provider there calls itself by another name")
    return found


def fetch_document(url: str, form: bytes | None = None) -> dict[str, Any]:
    """Return the JSON object at a URL, or what it answers to a form; raises `OidcError`."""
    check_url(url)
    request = urllib.request.Request(url, data=form, headers={"Accept": "application/json"})  # noqa: S310
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=FETCH_S_MAX) as reply:
            data = reply.read(DOCUMENT_BYTES_MAX + 1)
        if len(data) > DOCUMENT_BYTES_MAX:
            raise OidcError(f"{url} sends more than {DOCUMENT_BYTES_MAX} bytes")
        document = json.loads(data)
    except (OSError, urllib.error.URLError, ValueError, RecursionError) as error:
        raise OidcError(f"{url} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise OidcError(f"{url} sends no JSON object")
    return document


def check_url(url: str) -> None:
    """Refuse a provider that is not reached over TLS; loopback may do without."""
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    safe = parts.scheme == "https" or (parts.scheme == "http" and local)
    if not safe or not parts.hostname:
        raise OidcError(f"{url[:200]!r} is no https URL")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead away from the provider that was configured."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise OidcError(f"the provider does not say its {name}")
    return value


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise OidcError(f"its {name} is no time")
    return float(value)
