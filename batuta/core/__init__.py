"""What happens next: pure decisions from data to data."""
