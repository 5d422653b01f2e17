"""Our update client as a subject of the public TUF conformance suite.

    python -m skerry.testing.tuf_client --metadata-dir DIR init ROOT
    python -m skerry.testing.tuf_client --metadata-dir DIR --metadata-url URL refresh
    python -m skerry.testing.tuf_client --metadata-dir DIR --metadata-url URL \
        --target-name PATH --target-dir DIR --target-base-url URL download

Everything is done by the `UpdateClient` that nodes run, over HTTP. What it trusts lies in the
metadata folder under names without versions (`timestamp.json`); the first root and the floors
lie below it, in `.skerry`. The exit status is 0, or 1 with the reason on stderr.

Source:  theupdateframework/tuf-conformance, CLIENT-CLI.md.
"""

import argparse
import ssl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from skerry.base.clock import SystemClock
from skerry.base.errors import SkerryError
from skerry.base.files import private_folder, write_atomic
from skerry.spine.errors import BlobFetchError, BlobSlowError, BlobTooLongError
from skerry.spine.fetch import fetch_file
from skerry.trust.update_client import Fetch, UpdateClient

NOT_FOUND = (403, 404)
_OWN = ".skerry"
_ROOT = "trusted_root.json"


def over_http(metadata_url: str, target_base_url: str) -> Fetch:
    """Return how the client asks for `metadata/<file>` and `targets/<path>`."""
    bases = {"metadata": metadata_url, "targets": target_base_url}

    def fetch(path: str, length_max: int) -> Iterator[bytes]:
        kind, _, rest = path.partition("/")
        # Names of roles come quoted, paths of targets as they are.
        name = rest if kind == "metadata" else quote(rest, safe="/%")
        url = f"{bases[kind].rstrip('/')}/{name}"
        secure = url.startswith("https:")
        try:
            yield from fetch_file(
                url,
                ssl_context=ssl.create_default_context() if secure else None,
                server_hostname=None,
                length_max=length_max,
            )
        except BlobSlowError as error:
            raise TimeoutError(str(error)) from error
        except BlobTooLongError as error:
            raise OverflowError(str(error)) from error
        except BlobFetchError as error:
            if error.status in NOT_FOUND:
                raise FileNotFoundError(path) from error
            raise

    return fetch


def init(metadata_dir: Path, trusted_root: Path) -> None:
    """Take a root as the one to trust first; nobody is asked."""
    root = trusted_root.read_bytes()
    write_atomic(private_folder(metadata_dir / _OWN) / _ROOT, root)
    write_atomic(metadata_dir / "root.json", root)


def client(metadata_dir: Path, target_dir: Path | None, fetch: Fetch) -> UpdateClient:
    """Return the update client whose state is in these folders."""
    own = private_folder(metadata_dir / _OWN)
    _link(own / "metadata", metadata_dir)
    if target_dir is not None:
        target_dir.mkdir(parents=True, exist_ok=True)
        _link(own / "targets", target_dir)
    return UpdateClient(own, (own / _ROOT).read_bytes(), fetch, SystemClock())


def _link(place: Path, folder: Path) -> None:
    """Have the client find a folder of its own where the suite wants it."""
    if place.is_dir() and not place.is_symlink():
        place.rmdir()  # a refresh made it, before any file was asked for
    place.unlink(missing_ok=True)
    place.symlink_to(folder.resolve())


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one command, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m skerry.testing.tuf_client")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", default="")
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url", default="")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args(arguments)
    try:
        if given.command == "init":
            init(given.metadata_dir, given.trusted_root)
            return 0
        target_dir = given.target_dir if given.command == "download" else None
        updates = client(
            given.metadata_dir, target_dir, over_http(given.metadata_url, given.target_base_url)
        )
        updates.refresh()
        if given.command == "download":
            updates.target_bytes(given.target_name)
    except (SkerryError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
