"""Serves models: Open Inference Protocol v2 over HTTP and gRPC, on ONNX Runtime.

Takes a model repository on disk (`<repository>/<model>/<version>/model.onnx`) and
requests from any client of the protocol; gives answers that say who served them,
refusals that say why at once, and counts. `skerry.serve.server` composes the parts.
"""
