"""The node: an agent that keeps a machine at its desired state, and a worker that answers.

Both run from what is on their own disk; neither needs a network to start.
"""
