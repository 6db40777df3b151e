"""What is written down, where this is a clone of the repository."""

import subprocess
from pathlib import Path

from batuta.cli.checklist.item import AbsentError, read_items
from batuta.cli.settings import MASK
from batuta.cli.verify.check.worker import _python
from batuta.cli.verify.plant.bench import ROOT, Bench, definitions
from batuta.cli.verify.plant.scene import expect

RUN, TROUBLE = "howto/run-firmware-pipelines.md", "howto/troubleshoot-firmware.md"
WORDS_MIN = 150  # of a page that says something
SCENARIOS = 10
GIT_S = 20.0


def page(_: Bench, name: str) -> str:
    """A page is there and says something."""
    text = _read(name)
    words = len(text.split())
    expect(words >= WORDS_MIN, f"docs/{name} has {words} words")
    return f"docs/{name}, {words} words"


def section(_: Bench, of: str) -> str:
    """A page has a section of a title, with something in it."""
    name, _hash, title = of.partition("#")
    _before, found, after = _read(name).partition(f"\n## {title}\n")
    expect(found, f"docs/{name} has no section {title!r}")
    words = len(after.partition("\n## ")[0].split())
    expect(words > WORDS_MIN // 3, f"the section {title!r} has {words} words")
    return f"docs/{name}, {title!r}"


def workflows(_: Bench, __: str) -> str:
    """Each definition is named on the page."""
    names = [one["name"] for one in definitions()[0]]
    missing = [name for name in names if f"`{name}`" not in _read(RUN)]
    expect(not missing, f"docs/{RUN} does not say {', '.join(missing)}")
    return f"{len(names)} definitions on docs/{RUN}"


def workers(_: Bench, __: str) -> str:
    """Each worker is named on the page."""
    names = [one["name"] for one in definitions()[1]]
    missing = [name for name in names if f"`{name}`" not in _read(RUN)]
    expect(not missing, f"docs/{RUN} does not say {', '.join(missing)}")
    return f"{len(names)} workers on docs/{RUN}"


def scenarios(_: Bench, __: str) -> str:
    """The page has as many sections as there are troubles."""
    count = _read(TROUBLE).count("\n## ")
    expect(count >= SCENARIOS, f"docs/{TROUBLE} has {count} sections")
    return f"{count} scenarios on docs/{TROUBLE}"


def checklist(_: Bench, __: str) -> str:
    """Each item that is for a machine names its check."""
    items = read_items()
    bare = [item.id for item in items if item.kind in {"auto", "sim", "host"} and not item.check]
    expect(not bare, f"{', '.join(bare)} have no check")
    return f"{len(items)} items"


def secrets(bench: Bench, _: str) -> str:
    """A secret is masked by `batuta config`, and no .env is in the repository."""
    told = {**bench.environment, "GITHUB_WEBHOOK_SECRET": bench.secret}
    environment, bench.environment = bench.environment, told
    try:
        done = _python(bench, "-m", "batuta", "config")
    finally:
        bench.environment = environment
    expect(bench.secret not in done.stdout, "`batuta config` shows the webhook's secret")
    expect(MASK in done.stdout, "`batuta config` does not say that there is a secret")
    listed = subprocess.run(
        ["git", "ls-files", "*.env", ".env", "*.key", "*.pem"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=GIT_S,
        check=False,
    )
    expect(not listed.stdout.strip(), f"the repository has {listed.stdout.split()}")
    return "masked; no file of secrets is in the repository"


def _read(name: str) -> str:
    folder: Path = ROOT / "docs"
    if not folder.is_dir():
        raise AbsentError(f"docs/{name} is in the repository, which is not here")
    path = folder / name
    expect(path.is_file(), f"there is no docs/{name}")
    return path.read_text("utf-8")
