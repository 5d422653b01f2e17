"""What a node installs: the wheel, and a new environment with the base dependencies only.

    python benchmarks/install.py

Builds the wheel from this checkout, takes the base packages at the versions of the lock,
and checks that base verbs run there and that another verb names its extra. Needs the
package index that pip is set to. Leaves build/bench/slim behind, for a look.
"""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from measured import BUILD, tell
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
DATA = (
    "skerry/fleet/tables/grid.csv",
    "skerry/fleet/templates/clinic/fleet.yaml",
    "skerry/plan/tables/services.csv",
    "skerry/proof/templates/story.html.j2",
    "skerry/py.typed",
)


def base_pins() -> list[str]:
    """Return the base packages and what they need in turn, at the versions installed here.

    `make setup` installs exactly the lock, so these are the lock's versions.
    """
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pins: dict[str, str] = {}
    queue = [Requirement(line) for line in wanted]
    while queue:
        asked = queue.pop()
        extras = [*asked.extras, ""]
        if asked.marker and not any(asked.marker.evaluate({"extra": one}) for one in extras):
            continue
        name = re.sub(r"[-_.]+", "-", asked.name).lower()
        if name in pins:
            continue
        found = distribution(name)
        pins[name] = found.version
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": one}) for one in extras
            ):
                needed.marker = None
                queue.append(needed)
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def disk_mb(folder: Path) -> float:
    """Return what a folder's files take, in MB (10^6 bytes), byte code left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc") / 1e6


def run(*command: str | Path, code: int = 0, folder: Path = ROOT) -> str:
    """Run a command that should end with this exit code; return what it said on stderr."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode != code:
        raise SystemExit(f"{command}: exit {ended.returncode}, wanted {code}\n{ended.stderr}")
    return ended.stderr


def main() -> None:
    """Build, install, look, and say what it takes."""
    dist, slim = BUILD / "dist", BUILD / "slim"
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", dist)
    wheel = next(dist.glob("skerry-*.whl"))
    inside = set(zipfile.ZipFile(wheel).namelist())
    if missing := set(DATA) - inside:
        raise SystemExit(f"{wheel.name} lacks {sorted(missing)}")
    tell("wheel", wheel.stat().st_size / 1e6, "MB")

    run(sys.executable, "-m", "venv", "--clear", "--without-pip", slim)
    site = slim / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    pins = base_pins()
    pip = (sys.executable, "-m", "pip", "--python", slim / "bin" / "python", "install", "-qq")
    run(*pip, "--no-deps", "--no-compile", *pins)
    run(*pip, "--no-deps", "--no-compile", wheel)
    tell("slim-install", disk_mb(site), "MB")
    tell("slim-packages", len(pins), "packages")
    tell("slim-onnxruntime", disk_mb(site / "onnxruntime"), "MB")

    skerry, tried = slim / "bin" / "skerry", slim / "tried"
    tried.mkdir()
    run(skerry, "init", "clinic", folder=tried)
    for verb in (("check",), ("serve", "--help"), ("join", "--help"), ("help", "E1410")):
        run(skerry, *verb, folder=tried / "clinic")
    told = run(skerry, "up", code=2, folder=tried / "clinic")
    if "skerry[central]" not in told or "Traceback" in told:
        raise SystemExit(f"`skerry up` without its extra said: {told}")


if __name__ == "__main__":
    main()
