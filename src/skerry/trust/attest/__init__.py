"""Is this the machine that we know, and did it boot what we signed?

Takes what a TPM 2.0 signed and an event log, both from an untrusted machine, with reference
values signed by people; gives a verdict that names its reason. Needs no TPM library.
"""
