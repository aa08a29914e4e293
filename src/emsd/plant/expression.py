"""The expression of a virtual meter: a linear combination of meters' energy.

    expression = ["-"] term {("+" | "-") term}
    term       = factor {("*" | "/") factor}
    factor     = number | key | "(" expression ")"

A key may hold hyphens, so a minus has a blank on either side: `incomer - pv-1` are two meters, `incomer-pv-1` is one.
A word that is a number is a number, whatever the keys are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

__all__ = ["ExpressionFault", "factors_of"]

_TOKEN: Final = re.compile(r"[()*/+]|[^\s()*/+]+")
_NUMBER: Final = re.compile(r"-?\d+(\.\d*)?|-?\.\d+")
_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_ROUNDING: Final = 1e-12
_DEEPEST: Final = 20
"""Levels of parentheses; nobody means more, and each costs a level of the stack."""


class ExpressionFault(ValueError):
    """An expression is not a linear combination; the text continues a sentence that names it, `cure` mends it."""

    def __init__(self, problem: str, cure: str = "") -> None:
        super().__init__(problem)
        self.cure = cure


def factors_of(expression: str) -> Mapping[str, float]:
    """Return the factor of every meter in an expression, by key, in the order in which they first stand there.

    Raises:
        ExpressionFault: it breaks the grammar, is not linear, adds a number to energy, or takes a meter out again.
    """
    parser = _Parser(_TOKEN.findall(expression))
    combination = parser.whole()
    if combination.constant:
        raise ExpressionFault(
            f"adds the number {combination.constant:g} to energy", "multiply by a number, or leave it out"
        )
    if not combination.factors:
        raise ExpressionFault("names no meter", "combine keys of meters, such as incomer - press")
    for key, factor in combination.factors.items():
        if factor == 0 or not math.isfinite(factor):
            raise ExpressionFault(f"multiplies {key} by {factor:g}", "leave that meter out, or mend the factor")
    return MappingProxyType(combination.factors)


@dataclass(frozen=True, slots=True)
class _Combination:
    """A number plus a factor for each key."""

    constant: float = 0.0
    factors: dict[str, float] = field(default_factory=dict)

    def times(self, number: float) -> _Combination:
        return _Combination(self.constant * number, {key: each * number for key, each in self.factors.items()})

    def plus(self, other: _Combination, sign: float) -> _Combination:
        factors = dict(self.factors)
        for key, factor in other.factors.items():
            before, added = factors.get(key, 0.0), sign * factor
            # 0.1 + 0.2 - 0.3 is 5.6e-17 in binary: nothing is left, not so small a share of the meter.
            is_nothing = abs(before + added) <= _ROUNDING * (abs(before) + abs(added))
            factors[key] = 0.0 if is_nothing else before + added
        return _Combination(self.constant + sign * other.constant, factors)


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0

    def whole(self) -> _Combination:
        found = self._expression()
        if (rest := self._next()) is not None:
            cure = "put blanks around a minus: a - b" if rest.startswith("-") else "write +, -, * or / between them"
            raise ExpressionFault(f"has {rest!r} where an operator belongs", cure)
        return found

    def _expression(self) -> _Combination:
        sign = -1.0 if self._takes("-") else 1.0
        found = self._term().times(sign)
        while (operator := self._takes("+", "-")) is not None:
            found = found.plus(self._term(), -1.0 if operator == "-" else 1.0)
        return found

    def _term(self) -> _Combination:
        found = self._factor()
        while (operator := self._takes("*", "/")) is not None:
            other = self._factor()
            if operator == "/":
                found = found.times(1 / _divisor(other))
            elif not found.factors:
                found = other.times(found.constant)
            elif not other.factors:
                found = found.times(other.constant)
            else:
                keys = f"{next(iter(found.factors))} by {next(iter(other.factors))}"
                raise ExpressionFault(f"multiplies {keys}", "multiply a meter by a number only")
        return found

    def _factor(self) -> _Combination:
        token = self._next()
        if token is None:
            raise ExpressionFault("ends where a meter or a number belongs", "complete it")
        self._place += 1
        if token == "(":  # noqa: S105 - a parenthesis, no password
            return self._inside()
        if _NUMBER.fullmatch(token):
            return _Combination(float(token))
        if _KEY.fullmatch(token):
            return _Combination(factors={token: 1.0})
        cure = "put blanks around a minus: a - b" if token.startswith("-") else "combine keys, numbers, + - * / ( )"
        raise ExpressionFault(f"has {token!r} where a meter or a number belongs", cure)

    def _inside(self) -> _Combination:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionFault(f"has more than {_DEEPEST} levels of parentheses", "write it flatter")
        found = self._expression()
        if self._takes(")") is None:
            raise ExpressionFault("has a parenthesis that is not closed", "close it")
        self._depth -= 1
        return found

    def _next(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _takes(self, *operators: str) -> str | None:
        token = self._next()
        if token not in operators:
            return None
        self._place += 1
        return token


def _divisor(combination: _Combination) -> float:
    if combination.factors:
        raise ExpressionFault(f"divides by {next(iter(combination.factors))}", "divide by a number only")
    if combination.constant == 0:
        raise ExpressionFault("divides by 0", "divide by another number")
    return combination.constant
