"""The clients of a running local fleet: at each site, stock ones and the SDK."""

from collections.abc import Sequence
from pathlib import Path

from skerry.client.sync_client import Client
from skerry.local.traffic import (
    REQUEST_S_MAX,
    Answered,
    ClientPlan,
    Sender,
    StockGrpc,
    StockHttp,
)
from skerry.schema.run_file import RunFile


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


def story_clients(
    run: RunFile, sites: Sequence[str], model: str, *, data_class: str, per_s: float
) -> list[ClientPlan]:
    """Return the story's clients: at each site one stock HTTP, one stock gRPC, two SDK.

    Stock clients know one node, the last of their site. `per_s` is the load of a site.
    """
    root = Path(run.folder)
    plans: list[ClientPlan] = []
    for site in sites:
        node = run.at_site(site)[-1]
        share = per_s / 4
        http_url, grpc_url = node.http_url, node.grpc_url

        def stock_http(url: str = http_url) -> Sender:
            return StockHttp(url, model)

        def stock_grpc(url: str = grpc_url) -> Sender:
            return StockGrpc(url, model)

        def sdk(at: str = site) -> Sender:
            return Sdk(root, at, model)

        for name, kind, sender in (
            ("http", "http", stock_http),
            ("grpc", "grpc", stock_grpc),
            ("sdk-1", "sdk", sdk),
            ("sdk-2", "sdk", sdk),
        ):
            plans.append(
                ClientPlan(
                    name=f"{site} {name}",
                    kind=kind,
                    site=site,
                    data_class=data_class,
                    per_s=share,
                    sender=sender,
                )
            )
    return plans
