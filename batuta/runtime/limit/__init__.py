"""Limits on what workers hold and take: which parts queues have, and what their limits say."""
