"""Lint of secrets: passwords and keys that stand in a definition for all to read.

Guessed by the names of keys, by the known beginnings of keys of well-known services, and by how
random a long text looks. A warning never repeats the text.
"""

import re
from collections import Counter
from collections.abc import Iterator
from math import log2
from typing import Any

from batuta.core.definition.warning import Code, Warned

TEXT_MIN = 4  # characters; a shorter text under such a key is a placeholder
RANDOM_MIN = 32  # characters of a text that may be called random
RANDOM_MAX = 512  # longer ones are documents
WORD_MIN = 4  # letters that make a word; a random text is not half made of such
ENTROPY_MIN = 4.2  # bits a character: hexadecimal ids stay below 4, base64 keys are above

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SECRET_WORDS = frozenset(
    {
        *("password", "passwd", "pwd", "passphrase", "secret", "token", "apikey", "authorization"),
        *("credential", "credentials"),
    }
)
_SECRET_PAIRS = frozenset(
    {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("auth", "key")}
)
_KNOWN = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[0-9A-Za-z]{30,}"
    r"|\bxox[abprs]-[0-9A-Za-z-]{10,}|\bsk-[0-9A-Za-z_-]{20,}|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}"
)
_RANDOM = re.compile(r"[0-9A-Za-z+/_=-]+")
_PLACEHOLDER = re.compile(r"(?i)<.*>|\*+|x+|change[_-]?me|none|null|true|false|bearer")


def secret_warnings(value: Any, path: str, key: str = "") -> Iterator[Warned]:
    """Find texts in a decoded JSON value that look like secrets; ``key`` is what names it."""
    match value:
        case str():
            why = _suspicion(key, value)
            if why:
                yield Warned(
                    path,
                    Code.SECRET_IN_CLEAR,
                    f"{why}; keep it out of the definition: ${{workflow.secrets.NAME}}, or the "
                    "worker's own settings",
                )
        case dict():
            for name, item in value.items():
                yield from secret_warnings(item, f"{path}.{name}", name)
        case list():
            for index, item in enumerate(value):
                yield from secret_warnings(item, f"{path}[{index}]", key)
        case _:  # a number or a boolean is no secret
            pass


def _suspicion(key: str, text: str) -> str | None:
    if "${" in text:
        return None
    if _KNOWN.search(text):
        return "looks like a key of a well-known service"
    is_placeholder = len(text) < TEXT_MIN or _PLACEHOLDER.fullmatch(text.strip())
    if _names_secret(key) and not is_placeholder:
        return f"{key!r} stands in clear text"
    if _looks_random(text):
        return "looks like a random key"
    return None


def _names_secret(key: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(key)]
    return bool(words) and (words[-1] in _SECRET_WORDS or tuple(words[-2:]) in _SECRET_PAIRS)


def _looks_random(text: str) -> bool:
    if not RANDOM_MIN <= len(text) <= RANDOM_MAX or not _RANDOM.fullmatch(text):
        return False
    readable = sum(len(word) for word in _WORDS.findall(text) if len(word) >= WORD_MIN)
    if readable * 2 > len(text):
        return False  # a long name, or a path
    has_all = all(re.search(pattern, text) for pattern in ("[0-9]", "[a-z]", "[A-Z]"))
    return has_all and _entropy(text) >= ENTROPY_MIN


def _entropy(text: str) -> float:
    """Return the bits a character, by how often each occurs."""
    size = len(text)
    return -sum(n / size * log2(n / size) for n in Counter(text).values())
