"""Numbers about the fleet: sketches, summaries, and the filters that decide what travels.

Takes request records; gives summaries that can be merged.
"""
