"""A statement: one spelling, recomputed bit by bit, and every change of it or of what it rests on is seen."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy.ledger import (
    Activity,
    input_changes,
    make_statement,
    read_statement,
    recomputes,
    result_changes,
    sha256_of,
)
from emsd.energy.ledger.exact import canonical_json, decimal_text, exact
from emsd.errors import SettingsError
from emsd.signing import create_key, fingerprint_of, is_signed, load_key
from tests.ledger.parts import YEAR_BEGINS, YEAR_ENDS, factor, instrument, ledger, meter, quarters, retired

YEAR = quarters()
NF3 = Activity(
    reference="NF3-2022", version=1, kind="process_gas", substance="NF3", process="chamber_clean_remote",
    period_from=YEAR_BEGINS, period_to=YEAR_ENDS, amount="1000", unit="kg", abated_share="1", area="fab",
    document="gas store", author="l.wei",
)  # fmt: skip


def inputs_of_a_year(energy_kwh: float = 5.8e6, **facts: Any) -> Any:
    known: dict[str, Any] = {
        "factors": [factor(0.5366), factor(0.5856, "residual")],
        "instruments": [instrument("1000", retired("1000"))],
        "activities": [NF3],
    }
    rng = np.random.default_rng(7)
    shape = rng.random(YEAR)
    return ledger([meter("incomer", "grid", YEAR, shape / shape.sum() * energy_kwh)], **(known | facts))[0]


def statement(inputs: Any, **facts: Any) -> bytes:
    known: dict[str, Any] = {
        "software": "emsd test", "author": "l.wei", "created_at": YEAR_ENDS + timedelta(days=9),
        "previous_sha256": None, "restates": None, "public_key": "a key", "key_fingerprint": "its name",
    }  # fmt: skip
    return make_statement(inputs, **(known | facts))


def test_a_statement_of_a_year_holds_both_methods_scope_1_and_everything_that_made_them() -> None:
    document = statement(inputs_of_a_year())
    content = read_statement(document)
    total = content.results.total
    assert total.location_kg == pytest.approx(Decimal(3112280), rel=Decimal("1e-9"))
    assert total.market_kg == pytest.approx(Decimal(2810880), rel=Decimal("1e-9"))
    assert total.scope1_kg == 21_735  # NF3 remote, abated: IPCC 2019 Tier 2a, 40 CFR 98 Table I-6, AR5
    assert [month.name for month in content.results.months] == [f"2022-{number:02d}" for number in range(1, 13)]
    assert "average factor of CN" in content.methods.location_based
    assert "AR5" in content.methods.gwp
    assert [each.kg_co2e for each in content.results.scope1_by_area] == [21_735]


def test_the_document_has_one_spelling_and_gives_itself_again() -> None:
    document = statement(inputs_of_a_year())
    assert document == canonical_json(json.loads(document))
    assert recomputes(document)
    assert statement(read_statement(document).inputs) == document


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"scope1_kg":"21735"', b'"scope1_kg":"21734"'),
        (b'"kg_per_kwh":"0.5366"', b'"kg_per_kwh":"0.5365"'),
        (b'"energy_kwh":"1000000"', b'"energy_kwh":"1000001"'),
        (b'"gwp":"16100"', b'"gwp":"16101"'),
    ],
)
def test_whatever_is_changed_the_figures_no_longer_follow_from_the_inputs(before: bytes, after: bytes) -> None:
    document = statement(inputs_of_a_year())
    assert before in document
    forged = document.replace(before, after)
    assert sha256_of(forged) != sha256_of(document)
    try:
        assert not recomputes(forged)
    except ValueError as error:
        assert "no statement" in str(error)  # noqa: PT017 - one of the two must happen


def test_a_period_that_is_not_over_is_not_stated() -> None:
    with pytest.raises(ValueError, match="is not past yet"):
        statement(inputs_of_a_year(), created_at=YEAR_ENDS - timedelta(minutes=1))


def test_what_is_no_statement_is_refused() -> None:
    for document in (b"", b"[]", b"{}", b'{"form": "another"}', b"\xff"):
        with pytest.raises(ValueError, match="the document is"):
            read_statement(document)
    broken = json.loads(statement(inputs_of_a_year()))
    del broken["inputs"]["edges"]
    with pytest.raises(ValueError, match=r"no statement.*edges"):
        read_statement(canonical_json(broken))


def test_every_kind_of_change_is_named() -> None:
    before = inputs_of_a_year()
    assert input_changes(before, inputs_of_a_year()) == []
    more_energy = input_changes(before, inputs_of_a_year(5.9e6))
    assert {change.what for change in more_energy} == {
        f"meter incomer (grid) 2022-{number:02d} import_kwh" for number in range(1, 13)
    }
    revised = inputs_of_a_year(factors=[factor(0.54, version=2), factor(0.5856, "residual")])
    assert [change.what for change in input_changes(before, revised)] == [
        f"location-based factor of CN from {YEAR_BEGINS.isoformat()} (period, {factor(1).source}) {field}"
        for field in ("kg_per_kwh", "version")
    ]
    used_more = inputs_of_a_year(instruments=[instrument("1000", retired("400"))], activities=[])
    assert [(change.what, change.after) for change in input_changes(before, used_more)][1:] == [
        ("activity NF3-2022", None)
    ]
    other_gwp = inputs_of_a_year(gwp_set="AR6")
    assert "GWP set" in {change.what for change in input_changes(before, other_gwp)}
    figures = result_changes(read_statement(statement(before)).results, read_statement(statement(other_gwp)).results)
    assert ("total scope1_kg", "21735", "23490") in figures


@settings(max_examples=60, deadline=None)
@given(st.floats(min_value=-1e12, max_value=1e12, allow_nan=False))
def test_a_float_becomes_the_shortest_decimal_that_stands_for_it(value: float) -> None:
    assert float(exact(value)) == value
    assert float(decimal_text(exact(value))) == value
    assert "e" not in decimal_text(exact(value)).lower()


def test_numbers_have_one_spelling_and_floats_none() -> None:
    assert [decimal_text(Decimal(each)) for each in ("1E+3", "-0.0", "0.50", "10")] == ["1000", "0", "0.5", "10"]
    with pytest.raises(ValueError, match="is a float"):
        canonical_json({"a": [1, {"b": 0.5}]})
    for wrong in (float("nan"), float("inf"), "abc", None, True):
        with pytest.raises(ValueError, match="is not a"):
            exact(wrong)


# ------------------------------------------------------------------------------------------- signatures


def test_a_key_is_made_once_for_its_owner_alone_and_signs(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    key = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).public_key == key.public_key
    signature = key.sign(b"document")
    assert is_signed(b"document", signature, key.public_key)
    assert not is_signed(b"documenT", signature, key.public_key)
    assert not is_signed(b"document", signature[:-1], key.public_key)
    assert not is_signed(b"document", signature, create_key(tmp_path / "other.pem").public_key)
    assert not is_signed(b"document", signature, "no key")
    assert fingerprint_of(key.public_key).startswith("SHA256:")
    with pytest.raises(SettingsError, match="exists already"):
        create_key(path)


def test_a_key_that_others_may_read_or_that_is_none_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(SettingsError, match="emsd carbon key create"):
        load_key(path)
    create_key(path)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_key(path)
    path.chmod(0o600)
    path.write_text("not a key")
    with pytest.raises(SettingsError, match="holds no private key"):
        load_key(path)
