"""The best server that grpcio allows: four threads, raw bytes in and out, one model run.

Stands for what a good engineer writes by hand. The peers' harness starts it with the
ports in GRPC_PORT and the models in BENCH_DIR.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from common import MODELS, session  # the harness's own session settings, as for every peer
from tritonclient.grpc import service_pb2

SESSIONS = {name: session(name) for name in MODELS}
OUTPUTS = {name: [one.name for one in made.get_outputs()] for name, made in SESSIONS.items()}


def infer(message: bytes, _: grpc.ServicerContext) -> bytes:
    """Answer one ModelInfer."""
    request = service_pb2.ModelInferRequest.FromString(message)
    feeds = {
        tensor.name: np.frombuffer(raw, np.float32).reshape(tuple(tensor.shape))
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }
    names = OUTPUTS[request.model_name]
    reply = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
    for name, array in zip(names, SESSIONS[request.model_name].run(names, feeds), strict=True):
        reply.outputs.add(name=name, datatype="FP32", shape=array.shape)
        reply.raw_output_contents.append(array.tobytes())
    return reply.SerializeToString()


def main() -> None:
    """Serve until killed."""
    server = grpc.server(
        ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 64 << 20)]
    )
    handler = grpc.unary_unary_rpc_method_handler(infer)  # no serializers: raw bytes both ways
    service = grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {"ModelInfer": handler}
    )
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{os.environ['GRPC_PORT']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
