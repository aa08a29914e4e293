"""`${NAME}` in a document, replaced from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["BadVariable", "UnknownVariable", "has_variable", "substitute"]

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}:]*)(?::-(?P<default>[^}]*))?(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class UnknownVariable(LookupError):
    """The variable `name` is not in the environment and has no default."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class BadVariable(ValueError):
    """What stands after `${` is not a variable."""


def has_variable(text: str) -> bool:
    """Whether `text` contains anything for `substitute` to do."""
    return "${" in text


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace every `${NAME}` in `text` by its value in `environ`.

    `${NAME:-default}` takes the default when NAME is unset or empty, as a POSIX shell does (POSIX.1-2017, shell
    command language, 2.6.2); `$${` stands for a literal `${`. Values are taken literally, never replaced again.

    Raises:
        UnknownVariable: a variable without default is not set.
        BadVariable: the reference is not closed or does not hold a variable's name.
    """

    def value(match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if not match["end"] or _NAME.match(name) is None:
            raise BadVariable(match.group())
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise UnknownVariable(name)
        return environ[name]

    return _REFERENCE.sub(value, text)
