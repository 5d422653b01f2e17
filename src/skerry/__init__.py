"""Skerry plans, runs and proves fleets of small AI data centers."""

__version__ = "0.1.0"
