"""Every document that crosses a process or a file, and nothing that acts.

Files that people write refuse unknown fields; documents between processes carry a
version and tolerate additions, so a fleet can be upgraded in any order.
"""
