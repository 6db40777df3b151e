"""The arguments of a case file's command: a name, a JSON document, options."""

import json
import re

from batuta.model.payload import Payload

# ``{...}``, ``'text'``, ``word``, ``key={...}``, ``key='text'`` or ``key=word``
_ARGUMENT = re.compile(r"(?:(?P<key>[a-z]+)=)?(?P<word>(?P<start>\{)|'[^']*'|[^\s{']\S*)")


def arguments(rest: str) -> tuple[str, Payload | None, dict[str, str]]:
    """Return the name, the JSON document and the options of a command."""
    name, _, rest = rest.partition(" ")
    document: Payload | None = None
    options = {}
    while rest := rest.strip():
        found = _ARGUMENT.match(rest)
        assert found, f"{rest!r} is an argument"
        key = found["key"] or ""
        if found["start"] == "{":
            _, end = json.JSONDecoder().raw_decode(rest[len(key) :].lstrip("="))
            end += found.start("start")
            value = rest[found.start("start") : end]
        else:
            end = found.end()
            value = found["word"].strip("'")
        if found["start"] == "{" and not key:
            document = Payload(value.encode())
        else:
            options[key or "reason"] = value
        rest = rest[end:]
    return name, document, options
