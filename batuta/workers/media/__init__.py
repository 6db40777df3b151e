"""Nodes that write, draw, film, speak and cut: the AI and media task types, done by the server.

``nodes`` says what they are, ``fan_out`` what a list in a config means, ``worker`` does one task.
Below, ``provider`` asks those that make things, and ``film`` cuts them with ffmpeg.
"""
