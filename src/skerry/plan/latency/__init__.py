"""What a round trip between two places takes: a fit to measurements, never below light."""
