"""The hot path: commands in, one transaction, answers out."""
