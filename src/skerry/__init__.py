"""Skerry plans, runs and proves fleets of small AI data centers."""

import os

__version__ = "0.1.0"

# ONNX Runtime's own Linux builds send usage data to their maker unless this is set before
# the library loads. Nothing in skerry phones home, so it is set before anything else is.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
