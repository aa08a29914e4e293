"""YAML 1.2 read into plain data that remembers the line of every key and value.

Only what a description needs is understood: mappings, lists, text, numbers, true/false, dates, anchors and merges. Tags
that would build objects are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from emsd.errors import Fault, PlantError
from emsd.plant.environment import BadVariable, UnknownVariable, has_variable, substitute
from emsd.plant.source import Finding, Place, Source, Where, path_text

__all__ = ["read_text", "read_yaml"]

_HEXADECIMAL: Final = re.compile(r"0x[0-9A-Fa-f]+")
_TAG: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp"))
_MOST_NODES: Final = 200_000  # some 20,000 meters; aliases of aliases can otherwise fill the memory from one screen
_ABSENT: Final = object()
_QUOTED: Final = re.compile(r"'([^']*)'")


def read_text(path: Path, *, cure: str) -> str:
    """Return the text of a UTF-8 file, with or without byte-order mark.

    Raises:
        PlantError: it cannot be opened, or is not UTF-8; `cure` says how to save it.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PlantError([Fault(str(path), None, "", f"cannot be read: {reason}", "check the path")]) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PlantError([Fault(str(path), line, "", "is not UTF-8 text", cure)]) from None


def read_yaml(path: Path, *, environ: Mapping[str, str] | None = None) -> tuple[Source, list[Finding]]:
    """Read a YAML file; `${NAME}` is replaced from `environ`, or left alone when that is None.

    A value that is empty after replacement is absent from the data. Findings are what is wrong with the text itself:
    duplicate keys, unknown variables, tags.

    Raises:
        PlantError: the file cannot be read, or its syntax is wrong, so that there are no data.
    """
    file = str(path)
    text = read_text(path, cure="save it as UTF-8")
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML 1.2 allows it, and the warning would quote the file
    try:
        root = yaml.compose(text)
        builder = _Builder(yaml, file, environ)
        data = builder.build(root, ()) if root is not None else None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _syntax(file, mark.line + 1 if mark else None, _reason(error)) from None
    except ReaderError as error:
        line = text[: int(error.position)].count("\n") + 1
        raise _syntax(file, line, "a control character stands here") from None
    except RecursionError:
        raise _syntax(file, None, "it is nested too deeply") from None
    except (YAMLError, ValueError) as error:
        raise _syntax(file, None, type(error).__name__) from None
    return Source(file, data, builder.places, builder.written), builder.findings


def _syntax(file: str, line: int | None, problem: str) -> PlantError:
    cure = (
        "check indentation, colons, brackets and quotes here and just above; "
        'put "quotes" around text that begins with * & ! % @, and around ${NAME} between { }'
    )
    return PlantError([Fault(file, line, "", f"is not valid YAML: {problem}", cure)])


def _reason(error: MarkedYAMLError) -> str:
    """Return what the parser says, without the names it quotes.

    Names of anchors and tags are pieces of a password, when that begins with & * or ! and stands without quotes.
    """
    context, begun = error.context, error.context_mark
    if context and begun and error.problem_mark and begun.line != error.problem_mark.line:
        context += f" that begins in line {begun.line + 1}"
    text = ", ".join(part for part in (context, error.problem) if part)
    return _QUOTED.sub(lambda match: match[0] if len(match[1]) <= 2 or match[1][0] == "<" else "...", text)


def _begins_below(node: Node) -> bool:
    """Whether a value's own mark is further down than where a person looks for it: at its key."""
    if isinstance(node, CollectionNode):
        return not node.flow_style
    return not node.value


class _Builder:
    """Turns nodes into plain data, writing down places on the way."""

    def __init__(self, yaml: YAML, file: str, environ: Mapping[str, str] | None) -> None:
        self._yaml = yaml
        self._file = file
        self._environ = environ
        self._nodes = 0
        self._open: set[int] = set()
        self.places: dict[Where, Place] = {}
        self.written: dict[Where, str] = {}
        self.findings: list[Finding] = []

    def build(self, node: Node, where: Where) -> Any:
        """Return the data of `node`, which stands at `where`."""
        self.places.setdefault(where, self._place(node, where))
        self._nodes += 1
        if isinstance(node, ScalarNode):
            return self._scalar(node, where)
        if self._nodes > _MOST_NODES:
            raise _syntax(self._file, node.start_mark.line + 1, "it has too many entries, or aliases that multiply")
        if id(node) in self._open:
            self._find(where, "contains itself", "write it out without aliases")
            return None
        if node.tag not in {_TAG + "map", _TAG + "seq"}:
            return self._tagged(where)
        self._open.add(id(node))
        try:
            return self._mapping(node, where) if isinstance(node, MappingNode) else self._list(node, where)
        finally:
            self._open.discard(id(node))

    def _list(self, node: Node, where: Where) -> list[Any]:
        values = (self.build(child, (*where, index)) for index, child in enumerate(node.value))
        return [None if value is _ABSENT else value for value in values]

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, Any]:
        data: dict[str, Any] = {}
        own: set[str] = set()
        for key_node, value_node, merged in self._members(node, where):
            key = _name(key_node) if isinstance(key_node, ScalarNode) else None
            if key is None:
                self._find(where, "has a key that is not plain text", "write `name: value`", key_node)
                continue
            path = (*where, key)
            if key in own:
                if not merged:
                    line = self.places[path].line
                    self._find(path, f"is given twice, first in line {line}", "remove one of them", key_node)
                continue
            own.add(key)
            if _begins_below(value_node):
                self.places[path] = self._place(key_node, path)
            value = self.build(value_node, path)
            if value is not _ABSENT:
                data[key] = value
        return data

    def _members(self, node: MappingNode, where: Where) -> Iterator[tuple[Node, Node, bool]]:
        """Yield key, value and whether they were merged in by `<<`; a mapping's own members come first."""
        merges: list[Node] = []
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                merges.extend(value.value if isinstance(value, SequenceNode) else [value])
            else:
                yield key, value, False
        for merged in merges:
            if not isinstance(merged, MappingNode) or id(merged) in self._open:
                self._find(where, "merges (<<) something that is not another mapping", "name an anchored mapping")
                continue
            self._open.add(id(merged))
            try:
                yield from ((key, value, True) for key, value, _ in self._members(merged, where))
            finally:
                self._open.discard(id(merged))

    def _scalar(self, node: ScalarNode, where: Where) -> Any:
        text: str = node.value
        if self._environ is not None and has_variable(text):
            return self._replaced(text, where, self._environ)
        if node.tag not in _SCALAR_TAGS:
            return self._tagged(where)
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, YAMLError):
            self._find(where, "is not a number or date that exists", 'correct it, or "quote" it when it is text')
            return None

    def _replaced(self, text: str, where: Where, environ: Mapping[str, str]) -> Any:
        self.written[where] = text
        try:
            return substitute(text, environ) or _ABSENT
        except UnknownVariable as unknown:
            self._find(where, f"needs the environment variable {unknown.name}, which is not set", f"set {unknown.name}")
        except BadVariable:
            self._find(where, "has a ${ without a variable's name and }", "write ${NAME}, or $${ for a literal ${")
        return None

    def _tagged(self, where: Where) -> None:
        self._find(where, "has a tag (!...)", 'remove it, or "quote" text that begins with !')

    def _find(self, where: Where, problem: str, cure: str, node: Node | None = None) -> None:
        place = None if node is None else self._place(node, where)
        self.findings.append(Finding(where, problem, cure, place))

    def _place(self, node: Node, where: Where) -> Place:
        return Place(self._file, node.start_mark.line + 1, path_text(where))


def _name(node: ScalarNode) -> str:
    """Return a key as text; a code written in hexadecimal as manuals do, 0x0200, is the number that it stands for."""
    text: str = node.value
    return str(int(text, 16)) if _HEXADECIMAL.fullmatch(text) and node.style is None else text
