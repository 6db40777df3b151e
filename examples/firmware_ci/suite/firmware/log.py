"""The numbers in a build log of PlatformIO.

    RAM:   [==        ]  19.5% (used 63852 bytes from 327680 bytes)
    Flash: [=====     ]  45.6% (used 1434313 bytes from 3145728 bytes)

Percentages keep their decimals: 70.9 is over 70, and 0.9 is not nothing.
"""

import re

_USAGE = re.compile(
    r"^(RAM|Flash):\s*\[[=\s]*\]\s*(\d+(?:\.\d+)?)% \(used (\d+) bytes from (\d+) bytes\)",
    re.MULTILINE,
)
_WARNING = re.compile("warning:", re.IGNORECASE)


def read_log(text: str) -> dict[str, float | int]:
    """Give flash and RAM in bytes and percent, and how many warnings there are.

    Raises:
        ValueError: The log does not say both.
    """
    usage = {name: (percent, used) for name, percent, used, _ in _USAGE.findall(text)}
    if usage.keys() < {"RAM", "Flash"}:
        raise ValueError("the log does not say how much RAM and flash the build uses")
    return {
        "flash_usage_bytes": int(usage["Flash"][1]),
        "flash_usage_percent": float(usage["Flash"][0]),
        "ram_usage_bytes": int(usage["RAM"][1]),
        "ram_usage_percent": float(usage["RAM"][0]),
        "warning_count": len(_WARNING.findall(text)),
    }
