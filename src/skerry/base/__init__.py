"""What every room may lean on: errors, the clock, ids, units and files that survive a power cut.

Takes nothing from any other room and no outside library.
"""
