"""Profiles as a person reads them in a terminal: the list, and one with everything that a commissioner needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from emsd.cli.profile_facts import POLL_INTERVAL_S, Facts, protocol_of, summary_of
from emsd.plant.modbus_map import Choice, ModbusMap, ModbusPoint
from emsd.plant.mqtt_map import MqttMap
from emsd.plant.profile import Profile
from emsd.plant.sparkplug_map import SparkplugMap
from emsd.quantities import quantity

__all__ = ["list_table", "plan_table", "profile_view"]

_SHOWN_ELSEWHERE = frozenset({"points", "sunspec", "parameters", "identity", "values", "messages"})


def list_table(entries: Iterable[Facts]) -> Table:
    """Return profiles as a table, one a row."""
    table = Table("Profile", "Kind", "Manufacturer", "Model", "Protocol")
    for heading in ("Quantities", "Counters", "Unproven"):
        table.add_column(heading, justify="right")
    for each in entries:
        summary = summary_of(each.profile, each.file)
        texts = (summary[name] for name in ("profile", "kind", "manufacturer", "model", "protocol"))
        counts = (len(summary["quantities"]), len(summary["counters"]), summary["unproven"] or "")
        table.add_row(*(escape(text) for text in texts), *(str(count) for count in counts))
    return table


def plan_table(entries: Iterable[Facts]) -> Table:
    """Return what each profile costs to read, one a row."""
    table = Table("Profile", "Protocol")
    for heading in ("Quantities", "Requests", "Requests/s", "Registers", "Wanted", "Unproven"):
        table.add_column(heading, justify="right")
    for each in entries:
        profile = each.profile
        read = each.registers_read
        plan = (
            (str(len(each.requests)), f"{each.requests_per_s:.2g}", str(read), f"{each.registers_wanted / read:.0%}")
            if read
            else ("-", "-", "-", "-")
        )
        unproven = str(len(profile.unproven) or "")
        table.add_row(profile.profile, protocol_of(profile), str(len(profile.quantities)), *plan, unproven)
    return table


def profile_view(facts: Facts) -> Group:
    """Return everything about one profile."""
    profile = facts.profile
    title = f"[bold]{escape(profile.profile)}[/bold]  {escape(profile.manufacturer)} {escape(profile.model)}"
    parts: list[RenderableType] = [
        title,
        f"[dim]{profile.kind}, {protocol_of(profile)}, {escape(str(facts.file))}[/dim]",
    ]
    if profile.modbus:
        parts += [*_registers(profile.modbus), *_blocks(facts)]
    elif profile.mqtt:
        parts += _messages(profile.mqtt)
    elif profile.sparkplug:
        parts += _metrics(profile.sparkplug)
    parts += _settings(profile)
    for heading, lines in (
        ("Unproven: check it when commissioning", profile.unproven),
        ("Notes", profile.notes),
        ("Sources", profile.source),
    ):
        if lines:
            text = "\n".join(f"- {escape(line)}" for line in lines)
            parts.append(_below(f"[bold]{heading}[/bold]\n{text}"))
    return Group(*parts)


def _registers(registers: ModbusMap) -> Iterator[Padding]:
    if registers.points:
        table = Table("Quantity", "Unit", "Table", title="Quantities", title_justify="left")
        table.add_column("Address", justify="right")
        for heading in ("Type", "Raw to unit", "Every", "Further"):
            table.add_column(heading)
        for point in registers.points:
            unit = quantity(point.quantity).unit
            place = f"{point.address}" if point.address is not None else f"model {point.model} + {point.offset}"
            every = "poll" if point.interval_s is None else f"{point.interval_s:g} s"
            row = (point.quantity, unit, point.table, place, point.type, _arithmetic(point), every, _further(point))
            table.add_row(*(escape(cell) for cell in row))
        yield _below(table)
    if registers.sunspec:
        table = Table("Quantity", "Unit", "Point in each SunSpec model", title="By discovery", title_justify="left")
        for each in registers.sunspec:
            names = ", ".join(f"{model}: {name}" for model, name in each.names.items())
            table.add_row(each.quantity, quantity(each.quantity).unit, escape(names))
        yield _below(table)
    yield from _device(registers)


def _device(registers: ModbusMap) -> Iterator[Padding]:
    """Show the device's own settings, and where it says who it is."""
    if registers.parameters:
        table = Table("Parameter", "Table", "Address", "Type", "Believed", "Every", title="Read from the device")
        for each in registers.parameters:
            bits = f" bits {each.bits[0]}..{each.bits[1]}" if each.bits else ""
            low = "" if each.minimum is None else f"{each.minimum:g}"
            high = "" if each.maximum is None else f"{each.maximum:g}"
            believed = f"{low}..{high}" if low or high else "any"
            every = f"{each.interval_s:g} s"
            table.add_row(each.name, each.table, str(each.address), f"{each.type}{bits}", believed, every)
        yield _below(table)
    if registers.identity:
        table = Table("Identity", "Table", "Address", "Type", "Expected", title="Who the device is")
        for register in registers.identity:
            kind = f"text of {register.length} registers" if register.type == "text" else str(register.type)
            expected = escape(register.expect) if register.expect is not None else ""
            table.add_row(register.what, register.table, str(register.address), kind, expected)
        yield _below(table)


def _blocks(facts: Facts) -> Iterator[Padding]:
    share = f", {facts.registers_wanted / facts.registers_read:.0%} wanted" if facts.registers_read else ""
    title = (
        f"Reads with everything due: {_counted(len(facts.requests))}, {facts.registers_read} registers{share}; "
        f"{_counted(facts.requests_per_s)} a second at a poll every {POLL_INTERVAL_S:g} s"
    )
    if facts.walks:
        title += "; places are found in the device"
    table = Table("Table", title=title, title_justify="left")
    table.add_column("Registers", justify="right")
    table.add_column("Count", justify="right")
    table.add_column("Quantities")
    for request in facts.requests:
        block = request.block
        place = "" if facts.walks else f"{block.address}..{block.address + block.count - 1}"
        table.add_row(block.table, place, str(block.count), ", ".join(sorted(request.names)))
    yield _below(table)


def _messages(mapping: MqttMap) -> Iterator[Padding]:
    for kind in mapping.kinds:
        time = f"own time at {kind.time.path} ({kind.time.format})" if kind.time else "time of arrival"
        table = Table("Quantity", "Unit", "Path", "Payload to unit", "Required")
        table.title, table.title_justify = f"Topic {escape(kind.topic)}, {escape(time)}", "left"
        for value in kind.values:
            path = "the payload itself" if value.path is None else value.path
            arithmetic = _linear(value.scale, value.add)
            cells = (value.quantity, quantity(value.quantity).unit, path, arithmetic, "yes" if value.required else "")
            table.add_row(*(escape(cell) for cell in cells))
        yield _below(table)


def _metrics(mapping: SparkplugMap) -> Iterator[Padding]:
    table = Table("Quantity", "Unit", "Metric", "Metric to unit", title="Metrics", title_justify="left")
    for value in mapping.values:
        cells = (value.quantity, quantity(value.quantity).unit, value.metric, _linear(value.scale, value.add))
        table.add_row(*(escape(cell) for cell in cells))
    yield _below(table)


def _settings(profile: Profile) -> Iterator[Padding]:
    """Show what else the map says, with the words of its file."""
    section = profile.modbus or profile.mqtt or profile.sparkplug
    if section is None:
        return
    written: dict[str, Any] = section.model_dump(mode="json", exclude_unset=True)
    lines = [f"{name}: {_plain(value)}" for name, value in written.items() if name not in _SHOWN_ELSEWHERE]
    if lines:
        yield _below("[bold]Settings[/bold]\n" + "\n".join(escape(line) for line in lines))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return "; ".join(_plain(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _arithmetic(point: ModbusPoint) -> str:
    text = _linear(point.scale, 0.0)
    if point.scale_register is not None:
        register = point.scale_register
        place = register.address if register.address is not None else f"model + {register.offset}"
        text += f" {'/' if register.divide else 'x'} 10^[{place}]"
    text += "".join(f" x {name}" for name in point.times)
    text += f" / {point.divided_by}" if point.divided_by else ""
    return text + (f" + {point.add:g}" if point.add > 0 else f" - {-point.add:g}" if point.add < 0 else "")


def _linear(scale: float, add: float) -> str:
    return f"x {scale:g}" + (f" + {add:g}" if add > 0 else f" - {-add:g}" if add < 0 else "")


def _further(point: ModbusPoint) -> str:
    facts = []
    if point.bits:
        facts.append(f"bits {point.bits[0]}..{point.bits[1]}")
    codes = point.states or point.flags
    if codes:
        facts.append(", ".join(f"{code} {state}" for code, state in codes.items()))
    if point.otherwise:
        facts.append(f"else {point.otherwise}")
    if point.plus:
        facts.append(f"plus {', '.join(map(str, point.plus))}")
    if point.choice:
        facts.append(_choice(point.choice))
    if point.encoding != "plain":
        facts.append(point.encoding.replace("_", " "))
    if point.counter_modulus is not None:
        facts.append(f"starts again at {point.counter_modulus:,.12g}")
    return "; ".join(facts)


def _choice(choice: Choice) -> str:
    cases = [f"{value}: {_plain(case.model_dump(exclude_none=True))}" for value, case in choice.cases.items()]
    if choice.otherwise is not None:
        cases.append(f"else {_plain(choice.otherwise.model_dump(exclude_none=True)) or 'as it stands'}")
    return f"by {choice.parameter} {{{', '.join(cases)}}}"


def _counted(requests: float) -> str:
    return f"{requests:.2g} request{'' if requests == 1 else 's'}"


def _below(what: RenderableType) -> Padding:
    return Padding(what, (1, 0, 0, 0), expand=False)
