"""A whole fleet as processes on this machine: links between them, faults on purpose, the story.

Labelled *emulated* wherever its numbers are shown.
"""
