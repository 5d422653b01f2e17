"""What a container engine is told: argument lists and Kubernetes manifests, as plain functions.

A model's runtime gets no more than it needs: no privileges, no host network, one port on
loopback, its model's folder read-only, bounded processors, memory and processes. Its labels
tell whose it is, so an agent that starts again finds its own. What servers of this kind send
home when nobody asks them to is switched off.

Units:   bytes, cores, seconds.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skerry.schema.upstream import Container, Upstream, base_of

LABEL = "skerry"
PROCESSES_MAX = 4096
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Set unless the file says otherwise: no usage figures, no downloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One version's container on one node."""

    node: str
    model: str
    version: int
    folder: Path
    """The version's folder, absolute."""
    settings: Upstream
    container: Container

    @property
    def key(self) -> str:
        """Return `<model>/<version>`."""
        return f"{self.model}/{self.version}"

    @property
    def name(self) -> str:
        """Return the container's name, the same each time."""
        return f"skerry-{_plain(self.node)}-{_plain(self.model)}-{self.version}"

    @property
    def digest(self) -> str:
        """Return what tells two ways to run it apart."""
        return hashlib.sha256(msgspec.json.encode(self.container)).hexdigest()[:16]

    def labels(self) -> dict[str, str]:
        """Return what the container is known by."""
        return {
            f"{LABEL}.node": self.node,
            f"{LABEL}.model": self.model,
            f"{LABEL}.version": str(self.version),
            f"{LABEL}.spec": self.digest,
        }


def run_arguments(runtime: Runtime, port: int, *, engine: str, user: str) -> list[str]:
    """Return the arguments that start it, published at a port on loopback.

    `engine` is `podman` or `docker`: they differ in how a GPU is given, and in who `root` is.
    Podman's is whoever runs the agent; docker's must be told (`user`, as `uid:gid`), as it may
    not read the model's folder otherwise.
    """
    spec = runtime.container
    arguments = [
        "run",
        "--detach",
        f"--name={runtime.name}",
        *(f"--label={name}={value}" for name, value in runtime.labels().items()),
        "--pull=missing",
        "--restart=no",
        "--init",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        f"--pids-limit={PROCESSES_MAX}",
        f"--publish=127.0.0.1:{port}:{spec.port}/tcp",
        f"--mount=type=bind,source={runtime.folder},target={spec.mount},readonly",
        f"--cpus={spec.cpus:g}",
        f"--memory={spec.memory_bytes}b",
        f"--shm-size={spec.shm_bytes}b",
        f"--stop-timeout={spec.stop_s}",
        "--tmpfs=/tmp",
    ]
    if engine != "podman":
        arguments.append(f"--user={user}")
    if not spec.writable:
        arguments.append("--read-only")
    if spec.gpus:
        arguments += _gpus(spec.gpus, engine)
    arguments += [f"--env={name}={value}" for name, value in _environment(spec).items()]
    return [*arguments, spec.image, *spec.args]


def list_arguments(node: str) -> list[str]:
    """Return the arguments that list the ids of a node's containers, running or not."""
    return ["ps", "--all", "--quiet", "--no-trunc", f"--filter=label={LABEL}.node={node}"]


def inspect_arguments(ids: list[str]) -> list[str]:
    """Return the arguments that print each one's id, state and labels, one per line."""
    line = "{{.Id}} {{.State.Status}} {{json .Config.Labels}}"
    return ["inspect", f"--format={line}", *ids]


def stop_arguments(container_id: str) -> list[str]:
    """Return the arguments that let one end what it has begun, in the time that it has."""
    return ["stop", container_id]


def remove_arguments(container_id: str) -> list[str]:
    """Return the arguments that remove one and what it wrote."""
    return ["rm", "--force", "--volumes", container_id]


def manifests(runtime: Runtime, *, namespace: str = "default") -> dict[str, Any]:
    """Return a Kubernetes List: a Deployment and a Service, for a cluster that runs it.

    The model's folder must be on a volume claim of the deployment's own name.
    """
    spec, settings = runtime.container, runtime.settings
    name = f"skerry-{_plain(runtime.model)}-{runtime.version}"
    labels = {
        "app.kubernetes.io/name": _plain(runtime.model),
        "app.kubernetes.io/version": str(runtime.version),
        "app.kubernetes.io/managed-by": "skerry",
    }
    meta = {"name": name, "namespace": namespace, "labels": labels}
    tls = base_of(settings.url)[2]
    probe = {
        "httpGet": {
            "path": settings.ready_at(runtime.model),
            "port": "http",
            "scheme": "HTTPS" if tls else "HTTP",
        },
        "periodSeconds": max(1, round(settings.ready_every_s)),
    }
    limits: dict[str, Any] = {"cpu": f"{spec.cpus:g}", "memory": str(spec.memory_bytes)}
    if spec.gpus:
        # A cluster hands GPUs out by number; which ones is its own affair.
        limits["nvidia.com/gpu"] = "1" if spec.gpus == "all" else str(spec.gpus.count(",") + 1)
    container = {
        "name": "runtime",
        "image": spec.image,
        "args": list(spec.args),
        "env": [{"name": key, "value": value} for key, value in _environment(spec).items()],
        "ports": [{"name": "http", "containerPort": spec.port}],
        "readinessProbe": {**probe, "failureThreshold": settings.failures_max},
        "startupProbe": {
            **probe,
            "failureThreshold": max(1, round(settings.ready_within_s / probe["periodSeconds"])),  # type: ignore[operator]
        },
        "resources": {"limits": limits, "requests": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": not spec.writable,
        },
        "volumeMounts": [
            {"name": "model", "mountPath": spec.mount, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - inside the container
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": spec.stop_s,
        "containers": [container],
        "volumes": [
            {"name": "model", "persistentVolumeClaim": {"claimName": name, "readOnly": True}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(spec.shm_bytes)}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": 1,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}


def _environment(spec: Container) -> dict[str, str]:
    return {**QUIET, "HOME": "/tmp", **spec.env}  # noqa: S108 - inside the container


def _gpus(gpus: str, engine: str) -> list[str]:
    if engine == "podman":  # by the container device interface
        return [f"--device=nvidia.com/gpu={index}" for index in gpus.split(",")]
    return ["--gpus=all" if gpus == "all" else f'--gpus="device={gpus}"']


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
