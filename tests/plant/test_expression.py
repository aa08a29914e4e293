"""Expressions of virtual meters: linear combinations of keys that may hold hyphens."""

from __future__ import annotations

import pytest

from emsd.plant.expression import ExpressionFault, factors_of


@pytest.mark.parametrize(
    ("expression", "factors"),
    [
        ("incomer", {"incomer": 1}),
        ("incomer + pv-1 - 0.98 * (a + b)", {"incomer": 1, "pv-1": 1, "a": -0.98, "b": -0.98}),
        ("a+b", {"a": 1, "b": 1}),
        ("a-b", {"a-b": 1}),
        ("a - b - c", {"a": 1, "b": -1, "c": -1}),
        ("a - (b - c)", {"a": 1, "b": -1, "c": 1}),
        ("- a + 2 * b", {"a": -1, "b": 2}),
        ("(a + b) / 2 + a*3", {"a": 3.5, "b": 0.5}),
        ("2 * 3 * (1 + 1) * a", {"a": 12}),
        ("-0.5 * 2-feeder", {"2-feeder": -0.5}),
        (".5 * a + 1. * b", {"a": 0.5, "b": 1}),
        ("5 * (a + 1) - 5", {"a": 5}),
    ],
)
def test_an_expression_is_multiplied_out(expression: str, factors: dict[str, float]) -> None:
    assert dict(factors_of(expression)) == pytest.approx(factors)


@pytest.mark.parametrize(
    ("expression", "problem", "cure"),
    [
        ("", "ends where a meter", "complete"),
        ("a -b", "'-b' where an operator", "blanks around a minus"),
        ("a b", "'b' where an operator", r"write \+"),
        ("a + ", "ends where a meter", "complete"),
        ("a + * b", r"'\*' where a meter", "combine"),
        ("a + -b", "'-b' where a meter", "blanks around a minus"),
        ("(a", "not closed", "close it"),
        ("a)", r"'\)' where an operator", "between"),
        ("a * b", "multiplies a by b", "number only"),
        ("(a + 1) * (b + 1)", "multiplies a by b", "number only"),
        ("1 / a", "divides by a", "number only"),
        ("a / 0", "divides by 0", "another number"),
        ("a / (2 - 2)", "divides by 0", "another number"),
        ("a + 5", "adds the number 5", "multiply"),
        ("7 - 7", "names no meter", "combine"),
        ("a - a + b", "multiplies a by 0", "leave that meter out"),
        ("A + b", "'A' where a meter", "combine"),
        ("a; DROP TABLE meter", "'a;' where a meter", "combine"),
        ("1e9 * a", "multiplies 1e9 by a", "number only"),
        ("b + 0.1 * a + 0.2 * a - 0.3 * a", "multiplies a by 0", "leave that meter out"),
        ("(" * 60 + "a" + ")" * 60, "more than 20 levels", "flatter"),
    ],
)
def test_what_is_no_linear_combination_is_refused_with_its_cure(expression: str, problem: str, cure: str) -> None:
    with pytest.raises(ExpressionFault, match=problem) as caught:
        factors_of(expression)
    assert cure.replace("\\", "") in caught.value.cure
