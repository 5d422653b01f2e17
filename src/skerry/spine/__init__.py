"""What carries records, nudges and artifacts between tiers, and keeps them when nothing can.

Takes records and bytes; gives them to the other side exactly once, or keeps them on disk.
"""
