"""A small picture, written as a PNG file without any library."""

import struct
import zlib
from collections.abc import Sequence

Colour = tuple[int, int, int]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int, palette: Sequence[Colour]) -> bytes:
    """Draw bands of colour that run into each other, as an RGB PNG.

    Source: the PNG specification, https://www.w3.org/TR/png-3/.
    """
    rows = bytearray()
    for y in range(height):
        rows.append(0)  # this row has no filter
        place = y / height * (len(palette) - 1)
        upper, share = int(place), place % 1
        lower = min(upper + 1, len(palette) - 1)
        colour = bytes(
            round(a + (b - a) * share) for a, b in zip(palette[upper], palette[lower], strict=True)
        )
        rows += colour * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(rows)))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
