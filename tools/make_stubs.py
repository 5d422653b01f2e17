"""Generate the protobuf stubs of the Open Inference Protocol from our own `.proto`.

    python tools/make_stubs.py

The stubs live in a descriptor pool of their own: another library in the same process
(tritonclient, for one) may register the same message names, and protobuf refuses two
files that define one name in one pool.
"""

import tempfile
from pathlib import Path

from grpc_tools import protoc

SCHEMA = Path(__file__).parent.parent / "src" / "skerry" / "schema"
SOURCE = SCHEMA / "open_inference.proto"
SHARED_POOL = "_descriptor_pool.Default()"
OWN_POOL = "_descriptor_pool.DescriptorPool()"


def main() -> None:
    """Write open_inference_pb2.py and .pyi beside the `.proto`."""
    with tempfile.TemporaryDirectory() as folder:
        code = protoc.main(
            ["protoc", f"-I{SCHEMA}", f"--python_out={folder}", f"--pyi_out={folder}", str(SOURCE)]
        )
        if code:
            raise SystemExit(code)
        for made in sorted(Path(folder).iterdir()):
            text = made.read_text()
            if made.suffix == ".py":
                if text.count(SHARED_POOL) != 1:
                    raise SystemExit("the generated stub no longer names its pool once")
                text = text.replace(SHARED_POOL, OWN_POOL)
            (SCHEMA / made.name).write_text(text)


if __name__ == "__main__":
    main()
