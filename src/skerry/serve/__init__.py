"""The inference door: HTTP and gRPC in, ONNX Runtime below, nothing else on the path.

Takes Open Inference Protocol v2 requests and a Triton-layout repository; gives answers.
"""
