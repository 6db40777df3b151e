"""Task types that the server does itself, by workers that poll as everybody's do."""
