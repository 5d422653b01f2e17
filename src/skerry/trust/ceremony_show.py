"""What a signing file would change, in lines that a person reads before signing.

Roles, keys with their holders, thresholds, ends, and every file that comes, changes or goes.
All of it is computed from the bytes that will be signed; names that others wrote are escaped.
"""

from collections.abc import Iterator
from typing import Any

from skerry.trust._tuf import Metadata
from skerry.trust.ceremony import SigningFile
from skerry.trust.ceremony_keys import KEY_ID_SHOWN, holder_of
from skerry.trust.roles import PATHS, TOP, read_metadata


def changes(file: SigningFile) -> list[str]:
    """Return the lines; root first."""
    lines: list[str] = []
    for role in ("root", "targets", *PATHS):
        if role in file.offered:
            after = read_metadata(role, file.offered[role])
            lines.append(_head(role, after, _before(file, role)))
            lines += (f"  {line}" for line in _body(role, after, _before(file, role)))
    return [plain(line) for line in lines]


def _before(file: SigningFile, role: str) -> Metadata[Any] | None:
    roots = file.published.roots
    data = (roots[-1] if roots else None) if role == "root" else file.published.roles.get(role)
    return None if data is None else read_metadata(role, data)


def _head(role: str, after: Metadata[Any], before: Metadata[Any] | None) -> str:
    ends = f"ends {after.signed.expires:%Y-%m-%d}"
    if before is None:
        return f"{role}: version {after.signed.version}, new, {ends}"
    was = f"version {before.signed.version} -> {after.signed.version}"
    return f"{role}: {was}, {ends} (was {before.signed.expires:%Y-%m-%d})"


def _body(role: str, after: Metadata[Any], before: Metadata[Any] | None) -> Iterator[str]:
    names = TOP if role == "root" else tuple(PATHS) if role == "targets" else ()
    told = False
    for line in (line for name in names for line in _keys(name, after, before)):
        told = True
        yield line
    for line in _files(after, before):
        told = True
        yield line
    for line in _settings(after, before):
        told = True
        yield line
    if not told:
        yield "nothing but a new version and a later end" if before else "with nothing in it yet"


def _keys(role: str, after: Metadata[Any], before: Metadata[Any] | None) -> Iterator[str]:
    new, old = _named(role, after), _named(role, before)
    for key_id in sorted(set(old) - set(new), key=lambda key: old[key]):
        yield f"- key {key_id[:KEY_ID_SHOWN]} of {old[key_id]} no longer signs {role}"
    for key_id in sorted(set(new) - set(old), key=lambda key: new[key]):
        yield f"+ key {key_id[:KEY_ID_SHOWN]} of {new[key_id]} signs {role}"
    for key_id in sorted(set(new) & set(old)):
        if new[key_id] != old[key_id]:
            yield f"! key {key_id[:KEY_ID_SHOWN]} is renamed from {old[key_id]} to {new[key_id]}"
    now = after.signed.get_delegated_role(role).threshold
    was = before.signed.get_delegated_role(role).threshold if before else None
    if now != was:
        yield f"threshold of {role}: {now} of {len(new)}" + (f", was {was}" if was else "")


def _named(role: str, metadata: Metadata[Any] | None) -> dict[str, str]:
    """Return the ids of a role's keys with their holders."""
    if metadata is None:
        return {}
    named = metadata.signed.get_delegated_role(role)
    return {key_id: holder_of(metadata.signed.get_key(key_id)) for key_id in named.keyids}


def _files(after: Metadata[Any], before: Metadata[Any] | None) -> Iterator[str]:
    new = getattr(after.signed, "targets", {})
    old = getattr(before.signed, "targets", {}) if before else {}
    for path in sorted({*new, *old}):
        if path not in old:
            yield f"+ {path}  {_words(new[path])}"
        elif path not in new:
            yield f"- {path}"
        elif new[path] != old[path]:
            yield f"~ {path}  {_words(new[path])}"


def _settings(after: Metadata[Any], before: Metadata[Any] | None) -> Iterator[str]:
    """Whatever else differs has no line of its own, and must not pass unseen."""
    if before is None:
        return
    ignored = {"version", "expires", "keys", "roles", "targets", "delegations"}
    new, old = after.signed.to_dict(), before.signed.to_dict()
    for name in sorted({*new, *old} - ignored):
        if new.get(name) != old.get(name):
            yield f"! {name}: {old.get(name)} -> {new.get(name)}"


def _words(target: Any) -> str:
    more = "".join(f", {name} {value}" for name, value in (target.custom or {}).items())
    return f"sha256 {str(target.hashes.get('sha256', '?'))[:16]}, {target.length} bytes{more}"


def plain(line: str) -> str:
    """Escape what could move the cursor or hide a line."""
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in line)
