"""Tiers side by side, and which model belongs on which of them."""
