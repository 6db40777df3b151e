"""A stand-in for PlatformIO, where that is not installed: it compiles nothing and says so.

    python -m examples.firmware_ci.suite.firmware.pio run -e esp32-s3-devkitc-1

It reads the project as PlatformIO does (platformio.ini, src), and leaves a log of the same shape
and a binary of the size that the log says. `#error` in a source fails the build, `#warning` is a
warning. How large a build is stands in platformio.ini, in what PlatformIO leaves to others:
custom_flash_bytes and custom_ram_bytes of the environment.
"""

import argparse
import configparser
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

FLASH_BYTES, RAM_BYTES = 3_145_728, 327_680  # of the chip's partition, and of the chip
FLASH_USED, RAM_USED = 1_434_313, 63_852  # unless the project says otherwise
MARK = b"K1SIG:"  # before the signature in a binary, as src/main.cpp has it
_DIRECTIVE = re.compile(r'^\s*#\s*(error|warning)\s+"?(.*?)"?\s*$')
_SIGNATURE = re.compile(r'-DBUILD_SIGNATURE=\\?"([^"\\]*)')


class CompileError(Exception):
    """The sources do not compile; the message is the compiler's."""


def build(project: Path, environment: str, workspace: Path, flags: str) -> Iterator[str]:
    """Yield the log of a build, and leave `build/<environment>/firmware.bin` in the workspace.

    Raises:
        CompileError: There is no such environment, or a source says `#error`.
    """
    config = configparser.ConfigParser(interpolation=None)
    config.read(project / "platformio.ini", "utf-8")
    section = f"env:{environment}"
    if not config.has_section(section):
        raise CompileError(f"UnknownEnvNamesError: Unknown environment names '{environment}'")
    yield f"Processing {environment} (a stand-in for PlatformIO: nothing is compiled)"
    yield "-" * 80
    faults = []
    for source in sorted((project / "src").rglob("*.cpp")):
        name = source.relative_to(project)
        yield f"Compiling {name}.o"
        for number, line in enumerate(source.read_text("utf-8").splitlines(), 1):
            if found := _DIRECTIVE.match(line):
                kind, text = found.groups()
                yield f"{name}:{number}:2: {kind}: #{kind} {text}"
                faults += [f"{name}:{number}:2: {text}"] if kind == "error" else []
    if faults:
        yield f"*** [{environment}] Error 1"
        raise CompileError(faults[0])
    flash = config.getint(section, "custom_flash_bytes", fallback=FLASH_USED)
    ram = config.getint(section, "custom_ram_bytes", fallback=RAM_USED)
    yield "Linking firmware.elf"
    signature = found[1] if (found := _SIGNATURE.search(flags)) else "none"
    folder = workspace / "build" / environment
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "firmware.bin").write_bytes(_binary(project, signature, flash))
    yield _usage("RAM", ram, RAM_BYTES)
    yield _usage("Flash", flash, FLASH_BYTES)


def _binary(project: Path, signature: str, size_bytes: int) -> bytes:
    digest = hashlib.sha256(signature.encode())
    for source in sorted((project / "src").rglob("*.cpp")):
        digest.update(source.read_bytes())
    head = b"\xe9" + MARK + signature.encode() + b"\0"  # 0xE9 begins each image of the chip
    return head + hashlib.shake_256(digest.digest()).digest(max(size_bytes - len(head), 0))


def _usage(name: str, used: int, total: int) -> str:
    bar = "=" * round(10 * used / total)
    label = f"{name}:"
    percent = 100 * used / total
    return f"{label:6} [{bar:10}] {percent:5.1f}% (used {used} bytes from {total} bytes)"


def main(arguments: list[str] | None = None) -> int:
    """Take what `pio run` takes of it; give the exit code."""
    parser = argparse.ArgumentParser(prog="pio", description="a stand-in for PlatformIO")
    parser.add_argument("command", choices=["run"])
    parser.add_argument("-e", "--environment", required=True)
    parser.add_argument("-d", "--project-dir", type=Path, default=Path())
    options = parser.parse_args(arguments)
    default = options.project_dir / ".pio"
    workspace = Path(os.environ.get("PLATFORMIO_WORKSPACE_DIR") or default)
    flags = os.environ.get("PLATFORMIO_BUILD_FLAGS", "")
    began_s = time.monotonic()
    try:
        for line in build(options.project_dir, options.environment, workspace, flags):
            print(line, flush=True)
    except CompileError as error:
        print(f"Error: {error}", file=sys.stderr)
        print(f"[FAILED] Took {time.monotonic() - began_s:.2f} seconds")
        return 1
    print(f"[SUCCESS] Took {time.monotonic() - began_s:.2f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
