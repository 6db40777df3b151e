"""What the commands say about themselves: examples, and a flag for every setting."""
