"""What every room may lean on: errors, the clock, ids, units, files that survive a power cut,
and how a request is stepped.

Takes nothing from any other room and no outside library.
"""
