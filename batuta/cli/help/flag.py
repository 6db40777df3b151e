"""A flag for every setting that a command reads, made from its description."""

import typing
from typing import Any

import click

from batuta.config import Setting, list_settings

_METAVARS = {int: "NUMBER", str: "TEXT"}


class SettingFlag(click.Option):
    """A flag that was made from a setting; docs/reference/configuration.md explains it."""


def add_setting_flags(command: click.Command, reader: str) -> None:
    """Give a command a flag for each setting that it reads and has no option of its own for.

    Args:
        reader: `serve` or `worker`.
    """
    named = {name for parameter in command.params for name in parameter.opts}
    command.params += [
        _flag(setting)
        for setting in list_settings()
        if reader in setting.of and setting.flag not in named
    ]


def _flag(setting: Setting) -> SettingFlag:
    kind = typing.get_args(setting.kind)[0]
    if kind is bool:
        names = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return SettingFlag([names, setting.name], default=None, help=setting.help)
    text = f"{setting.help}  [{_plain(setting.default)}]" if setting.default else setting.help
    declared = [setting.flag, setting.name]
    if typing.get_origin(kind) is tuple:
        text = f"{text}  (repeatable)"
        return SettingFlag(
            declared, metavar="A,B,...", help=text, multiple=True, callback=_together
        )
    return SettingFlag(declared, metavar=_METAVARS.get(kind, "WORD"), help=text)


def _together(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> str | None:
    """Make one list of a flag that was given several times; None where it was not given."""
    return ",".join(given) if given else None


def _plain(default: Any) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)
