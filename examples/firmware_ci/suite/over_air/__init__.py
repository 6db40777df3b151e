"""What a device says of itself, and sending it firmware."""
