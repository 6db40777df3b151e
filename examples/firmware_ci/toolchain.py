"""A compiler that pretends: it writes the log and the binary that a real one would.

The log has the form of PlatformIO's, and `read_log` gets its numbers from that text alone, as the
worker of a real pipeline has to.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

FLASH_BYTES = 3_145_728
RAM_BYTES = 327_680
SIGNATURE_BYTES = 64  # the binary begins with its signature, padded

_SIZES = {  # flash and RAM that a build uses, by what is to happen
    "": (1_434_313, 63_852),
    "flash_70_9": (2_230_321, 98_632),
}
_USAGE = re.compile(r"^(RAM|Flash):.*?([\d.]+)% \(used (\d+) bytes from \d+ bytes\)", re.MULTILINE)


class CompileError(Exception):
    """The sources do not compile; the message is the compiler's."""


def build(commit: str, board: str, folder: Path, simulate: str) -> Iterator[str]:
    """Compile: yield the log line by line, and leave `firmware.bin` in the folder.

    Raises:
        CompileError: With `simulate` "compile_error", after the first lines.
    """
    yield f"Processing {board} (platform: espressif32; framework: arduino)"
    yield "Compiling src/main.cpp.o"
    yield "Compiling src/lamp/driver.cpp.o"
    if simulate == "compile_error":
        yield "src/lamp/driver.cpp:41:17: error: 'brightnes' was not declared in this scope"
        yield "*** [src/lamp/driver.cpp.o] Error 1"
        raise CompileError("src/lamp/driver.cpp:41:17: 'brightnes' was not declared in this scope")
    if simulate == "flash_70_9":
        yield "src/main.cpp:10:3: warning: unused variable 'x' [-Wunused-variable]"
    flash, ram = _SIZES.get(simulate, _SIZES[""])
    yield "Linking firmware.elf"
    header = signature(commit).encode().ljust(SIGNATURE_BYTES, b"\0")
    body = hashlib.shake_256(commit.encode()).digest(flash - len(header))
    (folder / "firmware.bin").write_bytes(header + body)
    yield _usage("RAM", ram, RAM_BYTES)
    yield _usage("Flash", flash, FLASH_BYTES)
    yield "[SUCCESS] firmware.bin is ready"


def signature(commit: str) -> str:
    """Give the signature that a device with this build reports."""
    return f"lamp-{commit}"


def read_signature(binary: bytes) -> str:
    """Read the signature that a binary begins with."""
    return binary[:SIGNATURE_BYTES].rstrip(b"\0").decode()


def read_log(log: str) -> dict[str, float | int | str]:
    """Read memory use and warnings from a build's log; percentages keep their decimals.

    Raises:
        ValueError: The log does not say how much memory is used.
    """
    usage = {name: (percent, used) for name, percent, used in _USAGE.findall(log)}
    if not {"RAM", "Flash"} <= usage.keys():
        raise ValueError("the log does not say how much RAM and flash the build uses")
    return {
        "flash_percent": float(usage["Flash"][0]),
        "flash_bytes": int(usage["Flash"][1]),
        "ram_percent": float(usage["RAM"][0]),
        "ram_bytes": int(usage["RAM"][1]),
        "warnings": len(re.findall(r": warning: ", log)),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _usage(name: str, used: int, total: int) -> str:
    bar = "=" * round(10 * used / total)
    percent = 100 * used / total
    return f"{name + ':':6} [{bar:10}]  {percent:.1f}% (used {used} bytes from {total} bytes)"
