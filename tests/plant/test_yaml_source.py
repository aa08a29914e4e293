from __future__ import annotations

from pathlib import Path

import pytest

from emsd.errors import PlantError
from emsd.plant.environment import BadVariable, UnknownVariable, substitute
from emsd.plant.yaml_source import read_yaml

ENVIRON = {"HOST": "plc-7", "EMPTY": "", "NUMBER": "502", "NESTED": "${HOST}"}


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("${HOST}", "plc-7"),
        ("tcp-${HOST}:${NUMBER}/x", "tcp-plc-7:502/x"),
        ("${HOST:-other}", "plc-7"),
        ("${MISSING:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${MISSING:-}", ""),
        ("${MISSING:-json://h/x?a=b}", "json://h/x?a=b"),
        ("$${HOST}", "${HOST}"),
        ("${NESTED}", "${HOST}"),
        ("$HOST $ {HOST}", "$HOST $ {HOST}"),
    ],
)
def test_variables_are_replaced_wholly_or_in_part(text: str, replaced: str) -> None:
    assert substitute(text, ENVIRON) == replaced


@pytest.mark.parametrize("text", ["${", "${}", "${HOST", "${1A}", "${a b}", "${:-x}", "${HOST-x}", "x ${HOST:-y"])
def test_a_reference_that_is_no_variable_is_refused(text: str) -> None:
    with pytest.raises(BadVariable):
        substitute(text, ENVIRON)


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(UnknownVariable) as caught:
        substitute("a ${MISSING}", ENVIRON)
    assert caught.value.name == "MISSING"


def test_every_key_and_value_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text("a: 1\nb:\n  - c: x\n    d: [1,\n        2]\n  -\n    e:\nf: >\n  folded\n  text\ng:\n  h\n")
    source, findings = read_yaml(path)
    lines = {".".join(map(str, where)): place.line for where, place in source.places.items()}
    assert not findings
    assert source.data == {"a": 1, "b": [{"c": "x", "d": [1, 2]}, {"e": None}], "f": "folded text\n", "g": "h"}
    assert lines == {
        "": 1, "a": 1, "b": 2, "b.0": 3, "b.0.c": 3, "b.0.d": 4, "b.0.d.0": 4, "b.0.d.1": 5, "b.1": 7, "b.1.e": 7,
        "f": 8, "g": 12,
    }  # fmt: skip


def test_a_missing_value_has_the_line_of_the_entry_that_lacks_it(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text("meters:\n  - key: a\n  - key: b\n")
    place = read_yaml(path)[0].place(("meters", 1, "name"))
    assert (place.line, place.field) == (3, "meters[1].name")


def test_what_is_replaced_stays_text_and_an_empty_value_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text("port: ${NUMBER}\npassword: ${EMPTY}\nlist: ['${EMPTY}']\n")
    source, findings = read_yaml(path, environ=ENVIRON)
    assert (source.data, findings) == ({"port": "502", "list": [None]}, [])


def test_without_an_environment_nothing_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text("note: ${HOST}\n")
    assert read_yaml(path)[0].data == {"note": "${HOST}"}


def test_yes_and_leading_zeros_mean_what_yaml_1_2_says(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text("a: yes\nb: 017\nc: 0o17\nd: true\ne: 12:30\n")
    assert read_yaml(path)[0].data == {"a": "yes", "b": 17, "c": 15, "d": True, "e": "12:30"}


@pytest.mark.parametrize("text", ["[" * 600, "&a [*a]", "a: &a\n  <<: *a\n", "{a: 1, <<: 3}", "? [x]\n: 1\n"])
def test_documents_without_end_or_sense_are_faults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "doc.yaml"
    path.write_text(text)
    faults: list[str] = []
    try:
        source, findings = read_yaml(path)
        faults = [str(source.fault(finding)) for finding in findings]
    except PlantError as error:
        faults = [str(error)]
    assert faults
    assert all(fault.startswith(str(path)) for fault in faults)


def test_aliases_that_multiply_beyond_reason_are_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 9))
    path.write_text("l0: &l0 [x]\n" + levels)
    with pytest.raises(PlantError, match="aliases that multiply"):
        read_yaml(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match=r"nowhere\.yaml: cannot be read: No such file or directory; check the path"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(PlantError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
