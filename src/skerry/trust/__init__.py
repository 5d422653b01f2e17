"""Who may speak, what may be installed, where data may go.

Takes keys, certificates, signed metadata and policies; gives identities, verified
targets and decisions that deny by default.
"""
