"""What this process was told: every setting once, and reading them from their sources."""

from batuta.config.binding import check_binding, is_loopback
from batuta.config.foreign import UNUSED, Unused
from batuta.config.load import Given, Loaded, environment_names, load_settings
from batuta.config.settings import Setting, Settings, list_settings

__all__ = [
    "UNUSED",
    "Given",
    "Loaded",
    "Setting",
    "Settings",
    "Unused",
    "check_binding",
    "environment_names",
    "is_loopback",
    "list_settings",
    "load_settings",
]
