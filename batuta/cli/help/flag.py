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
    metavar = "A,B,..." if typing.get_origin(kind) is tuple else _METAVARS.get(kind, "WORD")
    text = f"{setting.help}  [{_plain(setting.default)}]" if setting.default else setting.help
    return SettingFlag([setting.flag, setting.name], metavar=metavar, help=text)


def _plain(default: Any) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)
