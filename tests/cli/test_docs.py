"""The pages about the command line are complete, and the tutorial's commands work as typed."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from batuta.cli.exit import ExitCode
from batuta.cli.help.example import examples
from batuta.cli.help.flag import SettingFlag
from batuta.cli.main import cli
from batuta.config import list_settings
from tests.cli.live import ROOT, environment, process

DOCS = ROOT / "docs"
REFERENCE = (DOCS / "reference" / "cli.md").read_text("utf-8")
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")])
TYPED = re.compile(r"^ {4}((?:\.venv/bin/)?batuta .+|curl .+|export .+)$", re.MULTILINE)


def options(command: click.Command, *, is_complete: bool = False) -> set[str]:
    """Give the options that a user is shown; those of a group are its commands'.

    Flags made of settings are on the page of the settings; `is_complete` has them too.
    """
    if isinstance(command, click.Group):
        return set().union(*map(options, command.commands.values()))
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        if is_complete or not isinstance(parameter, SettingFlag)
        for name in parameter.opts
    }


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_and_option_is_in_the_reference_and_no_other(name: str) -> None:
    section = REFERENCE.split(f"## batuta {name}\n")[1].split("\n## ")[0]
    rows = "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))

    assert set(re.findall(r"`(-[\w-]*)`", rows)) == options(cli.commands[name])


@pytest.mark.parametrize(
    "name", sorted(name for name in cli.commands if isinstance(cli.commands[name], click.Group))
)
def test_every_command_of_a_group_is_in_the_reference_and_no_other(name: str) -> None:
    group = cli.commands[name]
    assert isinstance(group, click.Group)
    section = REFERENCE.split(f"## batuta {name}\n")[1].split("\n## ")[0]

    named = re.findall(r"^\| `([a-z][a-z-]*)[^|]*` \|", section, re.MULTILINE)

    assert sorted(named) == sorted(group.commands)


def test_every_setting_has_a_flag_at_the_commands_that_read_it() -> None:
    for setting in list_settings():
        for reader in {"serve", "worker"} & set(setting.of):
            assert setting.flag in options(cli.commands[reader], is_complete=True)


def paths(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for word, inner in command.commands.items() if isinstance(command, click.Group) else ():
        yield from paths(inner, f"{name} {word}".strip())


def test_every_command_shows_examples_in_its_help_and_each_can_be_typed() -> None:
    commands = dict(paths(cli))
    shown = examples()

    assert sorted(shown) == sorted(commands)
    for name, lines in shown.items():
        assert commands[name].epilog
        assert lines, f"{name} has no example"
        for line in lines:
            typed = line[line.index("batuta ") :].removesuffix(')"').split(" > ")[0]
            words = shlex.split(typed)[1:]
            assert " ".join(words).startswith(name), f"{line!r} is no example of {name!r}"
            command, rest = cli, words
            while isinstance(command, click.Group):
                command, rest = command.commands[rest[0]], rest[1:]
            command.make_context(name, rest)  # refuses options and words that there are not


def test_every_exit_code_is_in_the_reference_and_no_other() -> None:
    table = REFERENCE.split("## Exit codes\n")[1]

    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == [str(int(code)) for code in ExitCode]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_batuta_command_on_a_page_has_only_options_that_there_are(page: Path) -> None:
    for line in TYPED.findall(page.read_text("utf-8")):
        if not re.match(r"(?:\.venv/bin/)?batuta [^-]", line):
            continue  # a call of curl may go on over several lines
        words = shlex.split(line.split("#")[0].split("&")[0])
        command = cli.commands.get(words[1])
        assert command is not None, f"{page}: there is no command {words[1]!r}"
        if isinstance(command, click.Group):
            command = command.commands.get(words[2])
            assert command is not None, f"{page}: there is no command {words[2]!r}"
        unknown = {word for word in words if word.startswith("--")}
        unknown -= options(command, is_complete=True)
        assert not unknown, f"{page}: `{line}` has options that there are not: {unknown}"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("tour")
    places = {
        "FIRMWARE_CI_HOME": str(home / "firmware"),
        "FIRMWARE_CI_PACE": "0",
        "MEDIA_HOME": str(home / "media"),
        "MEDIA_PACE": "0",
    }
    options = ("demo", "--port", "18480", "--db", str(home / "demo.db"))
    with process(*options, **places) as running:
        yield running.wait_for(r"^API +http://127\.0\.0\.1:(\d+)/api")[1]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/tutorial/first-run.md", "docs/howto/run-the-examples.md"]
)
def test_the_commands_of_a_tour_work_as_typed(port: str, page: str) -> None:
    server = f"http://127.0.0.1:{port}/api"
    commands = TYPED.findall((ROOT / page).read_text("utf-8"))
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))

    for line in commands:
        done = subprocess.run(
            ["bash", "-c", line.replace("127.0.0.1:8080", f"127.0.0.1:{port}")],
            cwd=ROOT,
            env=environment(CONDUCTOR_SERVER_URL=server, PATH=path),
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        fails = ("simulate=compile_error", "simulate=device_offline")
        expected = ExitCode.RUN_FAILED if any(word in line for word in fails) else ExitCode.DONE
        assert done.returncode == expected, f"{line}: {done.stderr}"
        assert '"status":4' not in done.stdout, done.stdout
    assert len(commands) >= 2
