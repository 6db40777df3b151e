"""What runs publish, as whoever listens reads it."""
