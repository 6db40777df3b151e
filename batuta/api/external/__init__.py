"""Payloads that travel by themselves: where to upload one, and a request that names it."""
