"""The payload codec against bytes that others have written: by hand, and two independent libraries."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sparkplug.payload import Metric, Payload, decode, encode_rebirth_request, number_of
from emsd.errors import BadPayload
from tests.collectors.sparkplug_support import block, metric, payload, value_field, varint, whole

# Written by Eclipse Tahu's own Python library (tahutils 0.1.11, addMetric and addNullMetric): one metric of each type.
TAHU = bytes.fromhex(
    "08fbd0eab6b73312120a02693810001880d0eab6b7332001509c0112140a0369313610011881d0eab6b733200250c79f0312160a0369333210"
    "021882d0eab6b733200350aefaa7b30b121b0a0369363410031883d0eab6b73320045881808080808080f0ff0112120a02753810041884d0ea"
    "b6b733200550c80112140a0375313610051885d0eab6b733200650ffff0312160a0375333210061886d0eab6b733200750ffffffff0f12190a"
    "0375363410071887d0eab6b733200858ffffffffffffff0f12130a016610081888d0eab6b7332009650000c0bf12170a016410091889d0eab6"
    "b733200a699a9999999901494012100a0162100a188ad0eab6b733200b700112130a0173100b188bd0eab6b733200c7a036b576812160a0264"
    "74100c188cd0eab6b733200d5880d0eab6b73312130a046e756c6c100d188dd0eab6b733200a38011807"
)
# By the same: a DataSet, a Template with a metric inside, and a float by alias alone.
TAHU_STRUCTURES = bytes.fromhex(
    "080112220a057461626c65101418dcfd83c3a03420108a010d0801120161180322040a02080312290a03756474101518dcfd83c3a034201392"
    "0116120d0a05696e6e657218012003500522037265662800121010171880d0eab6b7332009650000204018ff01"
)
# By pysparkplug 0.6.1 (DData.encode without datatypes): Int16 -2, Int8 -3, a historical Int64, a null, a UInt32.
PYSPARKPLUG = bytes.fromhex(
    "0885d0eab6b733120d10041880d0eab6b73350feff03120c10051881d0eab6b73350fd011216100618a0fbe6b6b733280158eccb9b8bb4fcff"
    "ffff01120b10071880d0eab6b7333801120f10081880d0eab6b7335080d0acf30e1803"
)
START_MS = 1_767_225_600_000


def numbers(message: Payload) -> dict[str, float | None]:
    return {each.name or "": number_of(each, each.datatype) for each in message.metrics}


def only(data: bytes) -> Metric:
    (one,) = decode(payload(data, seq=0)).metrics
    return one


def test_every_type_that_eclipse_tahu_writes_is_read_back() -> None:
    message = decode(TAHU)
    assert (message.time_ms, message.sequence) == (START_MS + 123, 7)
    assert numbers(message) == {
        "i8": -100, "i16": -12345, "i32": -1234567890, "i64": -9007199254740991, "u8": 200, "u16": 65535,
        "u32": 4294967295, "u64": 9007199254740991, "f": -1.5, "d": 50.0125, "b": 1.0, "s": None,
        "dt": float(START_MS), "null": None,
    }  # fmt: skip
    assert [each.time_ms for each in message.metrics] == [START_MS + at for at in range(14)]
    assert [each.alias for each in message.metrics] == list(range(14))
    assert [each.name for each in message.metrics if each.is_null] == ["null"]


def test_datasets_and_templates_are_passed_over_and_their_neighbours_read() -> None:
    table, template, by_alias = decode(TAHU_STRUCTURES).metrics
    assert (table.kind, table.raw, template.kind, template.raw) == ("other", None, "other", None)
    assert number_of(table, table.datatype) is None
    assert (by_alias.name, by_alias.alias, number_of(by_alias, by_alias.datatype)) == (None, 23, 2.5)


def test_data_without_datatypes_is_read_with_those_of_the_birth() -> None:
    message = decode(PYSPARKPLUG)
    int16, int8, int64, null, uint32 = message.metrics
    assert all(each.name is None and each.datatype == 0 for each in message.metrics)
    assert (number_of(int16, 2), number_of(int8, 1), number_of(int64, 4)) == (-2, -3, -123456789012)
    assert (int64.is_historical, int64.time_ms) == (True, START_MS - 60_000)
    assert (null.is_null, number_of(null, 10), null.needs_datatype) == (True, None, False)
    assert (number_of(uint32, 7), uint32.needs_datatype) == (4_000_000_000, True)


@pytest.mark.parametrize(
    ("data", "datatype", "expected"),
    [
        # alias 5, int_value FFFFh: Int16 -1 with zeros above it.
        ("10055 0ffff03", 2, -1),
        # alias 5, int_value FFFF8000h: Int16 -32768, sign-extended to the field, as Java encoders do.
        ("10055 080 80feff0f", 2, -32768),
        # alias 5, long_value FFFFFFFFFFFFFFFEh: Int32 -2 in the wide field.
        ("1005 58feffffffffffffffff01", 3, -2),
        # int_value 80000000h: the smallest Int32.
        ("1005 5080 80808008", 3, -2147483648),
        # long_value 8000000000000000h: the smallest Int64.
        ("1005 5880808080808080808001", 4, -(2**63)),
        # double_value -0.125.
        ("1005 69000000000000c0bf", 10, -0.125),
        # int_value 70000 is neither a zero-extended nor a sign-extended Int16.
        ("1005 50f0a204", 2, None),
        # A double although the birth said Int32: it is what it is.
        ("1005 690000000000002440", 3, 10.0),
    ],
)  # fmt: skip
def test_golden_values_by_hand(data: str, datatype: int, expected: float | None) -> None:
    one = only(bytes.fromhex(data.replace(" ", "")))
    assert (one.name, one.alias) == (None, 5)
    assert number_of(one, datatype) == expected


def test_null_historical_and_quality_by_hand() -> None:
    # name "p", time 1, datatype 10, is_historical, is_null
    one = only(bytes.fromhex("0a0170 1801 200a 2801 3801".replace(" ", "")))
    assert (one.name, one.time_ms, one.is_historical, one.is_null) == ("p", 1, True, True)
    # properties {Quality: Int32 500}
    stale = only(bytes.fromhex("0a0170 4a10 0a075175616c697479 1205 0803 18f403".replace(" ", "")))
    assert stale.quality == 500


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([(1, 8), (2, 16), (3, 32), (4, 64)]))
def test_a_signed_integer_is_read_back_however_it_was_widened(number: int, kind: tuple[int, int]) -> None:
    datatype, bits = kind
    value = (number + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
    narrow = only(value_field(datatype, value))
    assert number_of(narrow, datatype) == float(value)  # of 64 bits a double keeps 53
    for field_number, width in ((10, 32), (11, 64)):
        if width >= bits:
            assert number_of(only(whole(field_number, value % (1 << width))), datatype) == float(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_none(value: float) -> None:
    assert number_of(only(metric(value, name="p")), 10) is None


def test_unknown_fields_are_passed_over() -> None:
    extension = whole(200, 7) + block(201, b"anything") + varint(202 << 3 | 5) + b"abcd"
    message = decode(payload(metric(1.5, name="p", more=extension), seq=3) + extension)
    assert (message.sequence, numbers(message)) == (3, {"p": 1.5})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither time nor sequence"),
        (b'{"online": true}', "no Sparkplug B payload"),
        (TAHU[:-3], "no Sparkplug B payload"),
        (payload(block(1, b"\xff\xfe"), seq=1), "no Sparkplug B payload"),
        (payload(metric(1, name="p"), seq=256), "sequence number 256"),
        (payload(seq=1) + block(4, b"SPBV1.0_COMPRESSED"), "compressed"),
        (b"\x12\xff\xff\xff\xff\x0f", "no Sparkplug B payload"),
    ],
)
def test_what_no_host_can_use_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadPayload, match=reason):
        decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except BadPayload:
        return
    for each in message.metrics:
        number_of(each, each.datatype)


@given(st.integers(0, len(TAHU) - 1), st.integers(0, 255))
def test_a_payload_with_one_damaged_byte_is_a_payload_or_refused(at: int, byte: int) -> None:
    with contextlib.suppress(BadPayload):
        decode(TAHU[:at] + bytes([byte]) + TAHU[at + 1 :])


def test_the_request_for_a_birth_is_what_other_libraries_read() -> None:
    # Read back by Eclipse Tahu's library and by pysparkplug as one Boolean metric "Node Control/Rebirth" = true.
    assert encode_rebirth_request(1).hex() == "0801121c0a144e6f646520436f6e74726f6c2f526562697274681801200b7001"
