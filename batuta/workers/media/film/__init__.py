"""Cutting films and sound with ffmpeg, in a folder of its own for each piece of work."""
