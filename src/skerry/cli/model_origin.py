"""Where a model comes from, as far as it was checked: for `model add`, `show` and `explain`."""

from pathlib import Path
from typing import TYPE_CHECKING

from skerry.base.errors import UsageError
from skerry.cli.output import say

if TYPE_CHECKING:
    from skerry.schema.model import Origin


def check_origin(model: Path, signature: Path | None, signer: Path | None) -> "Origin | None":
    """Check a model's OpenSSF signature where a signer is named; None where none is wanted.

    A signature that lies there and is not asked for is mentioned: nobody should believe that
    it was looked at.
    """
    from skerry.trust.model_signature import beside, verify_signature

    found = signature or (beside(model) if model.exists() else None)
    if signer is None:
        if found is not None:
            say(f"{found} was not checked: name the public key with --signer")
        return None
    if found is None:
        raise UsageError(
            f"no signature lies beside {model}", "name it with --signature, or leave out --signer"
        )
    from skerry.schema.model import Origin

    fingerprint = verify_signature(model, found, signer)
    say(f"{found} vouches for {model}, signed by key {fingerprint[:16]}")
    return Origin(signed_by=fingerprint)


def origin_lines(folder: Path) -> list[tuple[str, str]]:
    """Return what a version folder says of its origin, to print."""
    import msgspec

    from skerry.learn.store import read_manifest
    from skerry.schema.provenance import PROVENANCE_FILE
    from skerry.trust.provenance import open_statement

    if not (folder / "manifest.json").exists():
        return []
    origin = read_manifest(folder).origin
    lines = []
    if isinstance(origin, msgspec.UnsetType):
        lines.append(("signature", "none was checked when it was added"))
    else:
        lines.append(("signature", f"OpenSSF, checked when it was added: key {origin.signed_by}"))
    path = folder / PROVENANCE_FILE
    if path.exists():
        run = open_statement(str(path), path.read_bytes())[0].predicate.run_details
        when = run.metadata.finished_on
        lines.append(("provenance", f"{run.builder.id}, {when}; signed with its release"))
    else:
        lines.append(("provenance", "none yet: it is stated when the model is first released"))
    return lines
