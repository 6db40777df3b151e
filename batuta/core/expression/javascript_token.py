"""The words and marks of JavaScript, as far as the simple forms go."""

import re
from typing import NamedTuple

from batuta.core.expression.javascript import SPACE, UNDEFINED

_LINE_END = re.compile("[\n\r\u2028\u2029]")
_BLANK = re.compile(rf"(?:[{SPACE}]|//[^\n\r\u2028\u2029]*|/\*.*?\*/)+", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<number>0[xX][0-9a-fA-F]+(?![\w$.])
        |(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w$.]))
    |(?P<name>[A-Za-z_$][\w$]*)
    |(?P<string>"(?:[^"\\\n\r]|\\[^\n\r])*"|'(?:[^'\\\n\r]|\\[^\n\r])*')
    |(?P<mark><!--|>>>=|\.\.\.|===|!==|\*\*=|<<=|>>=|>>>|&&=|\|\|=|\?\?=|=>|==|!=|<=|>=|&&
        |\|\||\?\?|\?\.(?![0-9])|\+\+|--|[-+*/%&|^]=|<<|>>|\*\*|[{}()\[\];,<>+\-*/%&|^!~?:=.])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(
    r"""\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
        |u\{(?P<point>[0-9a-fA-F]+)\}|u(?P<unit>[0-9a-fA-F]{4})|x(?P<byte>[0-9a-fA-F]{2})
        |(?P<other>.))""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "v": "\v", "f": "\f", "r": "\r", "0": "\0"}
WORDS = {
    "true": True,
    "false": False,
    "null": None,
    "undefined": UNDEFINED,
    "NaN": float("nan"),
    "Infinity": float("inf"),
}
# A function of such a name would hide what the word means here, or is no name at all.
NO_FUNCTION_NAMES = frozenset(
    (
        *WORDS,
        *("$", "arguments", "await", "break", "case", "catch", "class", "const", "continue"),
        *("debugger", "default", "delete", "do", "else", "enum", "eval", "export", "extends"),
        *("finally", "for", "function", "if", "implements", "import", "in", "instanceof"),
        *("interface", "let", "new", "package", "private", "protected", "public", "return"),
        *("static", "super", "switch", "this", "throw", "try", "typeof", "var", "void", "while"),
        *("with", "yield"),
    )
)


class UnknownFormError(Exception):
    """The script is not of the simple forms, or no JavaScript at all."""


class Token(NamedTuple):
    """One word, number, text or mark, and whether a line ended before it."""

    kind: str
    text: str
    follows_line_end: bool


def tokens_of(text: str) -> list[Token]:
    """Cut a script into its tokens, the last of kind "end".

    Raises:
        UnknownFormError: a character starts no token known here.
    """
    tokens: list[Token] = []
    position = 0
    while True:
        follows_line_end = False
        if blank := _BLANK.match(text, position):
            follows_line_end = _LINE_END.search(blank[0]) is not None
            position = blank.end()
        if position == len(text):
            tokens.append(Token("end", "", follows_line_end))
            return tokens
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnknownFormError
        assert match.lastgroup is not None, "each alternative of the pattern is named"
        tokens.append(Token(match.lastgroup, match[0], follows_line_end))
        position = match.end()


def string_of(literal: str) -> str:
    """Give the value of a string literal, quotes included.

    Raises:
        UnknownFormError: an escape is malformed, octal, or half of a surrogate pair.
    """
    body = literal[1:-1]
    return _ESCAPE.sub(_escaped, body) if "\\" in body else body


def _escaped(match: re.Match[str]) -> str:
    high, low, point, unit, byte, other = match.groups()
    if other is None:
        code = int(point or unit or byte or "0", 16)
        if high is not None:
            code = 0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise UnknownFormError  # half of a pair, or no character
        return chr(code)
    follower = match.string[match.end() : match.end() + 1]
    is_octal = other in "123456789" or (other == "0" and follower.isdigit())
    if is_octal or other in "ux\u2028\u2029":
        raise UnknownFormError
    return _ESCAPES.get(other, other)
