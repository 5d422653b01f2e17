"""The central process: the system of record, the signer of desired state, the rollout."""
