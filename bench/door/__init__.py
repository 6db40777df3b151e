"""What front doors and event streams cost."""
