"""The regional room's process: certificates and logins, an artifact mirror, the telemetry relay.

Keeps issuing, mirroring and caching while central is away.
"""
