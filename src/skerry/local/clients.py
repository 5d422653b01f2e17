"""The clients of a running local fleet: at each site, stock ones and the SDK."""

from collections.abc import Callable
from pathlib import Path

from skerry.client.sync_client import Client
from skerry.local.intake import Intake
from skerry.local.traffic import (
    REQUEST_S_MAX,
    Answered,
    ClientPlan,
    Sender,
    StockGrpc,
    StockHttp,
)
from skerry.schema.run_file import RunFile

FOLDER = "folder"
"""The kind of clients that know only a folder; their latency is that of looking into it."""


class Sdk:
    """`skerry.Client`, standing at one site."""

    def __init__(self, root: Path, site: str, model: str) -> None:
        self._model = model
        self._client = Client.for_site(root, site, timeout_s=REQUEST_S_MAX)

    def ask(self, content: bytes, data_class: str) -> Answered:
        """Send one file."""
        answer = self._client.infer(self._model, file=content, data_class=data_class)
        return Answered(
            label=answer.label or "",
            served_site=answer.site,
            served_node=answer.served_by,
            served_tier=answer.tier,
            model=answer.model,
            version=answer.version,
            reason=answer.fallback_reason or "local",
        )

    def close(self) -> None:
        """Close its connections and thread."""
        self._client.close()


def site_clients(
    run: RunFile, site: str, model: str, *, data_class: str, per_s: float
) -> list[ClientPlan]:
    """Return the clients of a site where people are: stock HTTP and gRPC, two SDK, a folder.

    Stock clients know one node, the last of their site. `per_s` is the load of the site
    without its folder, which gets one file a second.
    """
    node = run.at_site(site)[-1]
    first = run.at_site(site)[0]
    folder = Path(run.folder) / "intake" / site
    senders: dict[str, tuple[str, float, Callable[[], Sender]]] = {
        "http": ("http", per_s / 4, lambda: StockHttp(node.http_url, model)),
        "grpc": ("grpc", per_s / 4, lambda: StockGrpc(node.grpc_url, model)),
        "sdk-1": ("sdk", per_s / 4, lambda: Sdk(Path(run.folder), site, model)),
        "sdk-2": ("sdk", per_s / 4, lambda: Sdk(Path(run.folder), site, model)),
        "folder": (FOLDER, 1.0, lambda: Intake(folder, site, first.node, first.tier)),
    }
    return [
        ClientPlan(
            name=f"{site} {name}",
            kind=kind,
            site=site,
            data_class=data_class,
            per_s=rate,
            sender=sender,
        )
        for name, (kind, rate, sender) in senders.items()
    ]


def office_clients(
    run: RunFile, site: str, model: str, *, data_class: str, per_s: float
) -> list[ClientPlan]:
    """Return the clients of a regional or cloud site: one SDK, which may turn elsewhere."""
    return [
        ClientPlan(
            name=f"{site} sdk-1",
            kind="sdk",
            site=site,
            data_class=data_class,
            per_s=per_s,
            sender=lambda: Sdk(Path(run.folder), site, model),
        )
    ]
