"""Desired and observed state to actions, as plain functions."""
