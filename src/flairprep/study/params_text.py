"""Edit the text of params.yaml: only the lines of the keys that change, so that all else stays as its user wrote it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flairprep.core import params
from flairprep.core.errors import FlairprepError

SCALAR = re.compile(r"(?P<key>\s*[\w.-]+:)(?P<gap>\s*)(?P<value>.*?)(?P<comment>\s+#.*)?")


class Place(NamedTuple):
    """The lines of a key, from 0: its own, and the first after its value. indent: of the key."""

    start: int
    end: int
    indent: int


class Change(NamedTuple):
    """What `upgraded` did. added: keys with their defaults; removed: keys with the values they had."""

    text: str
    added: dict[str, Any]
    removed: dict[str, Any]


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """Return the text with other values: `section.key` -> a text, number, boolean or None; comments stay in place.

    Raises:
        FlairprepError: a key is missing, or its value has several lines.
    """
    lines = text.splitlines()
    places = _places(text)
    for key, value in values.items():
        place = places.get(key)
        match = SCALAR.fullmatch(lines[place.start]) if place and place.end == place.start + 1 else None
        if place is None or match is None:
            raise FlairprepError(f"params.yaml: {key}: not one line; write {key}: {value!r} there by hand")
        start = f"{match['key']}{match['gap'] or ' '}{_written(value)}"
        comment = (match["comment"] or "").strip()
        width = len(match[0]) - len(comment)
        lines[place.start] = f"{start:<{width}}{' ' * (len(start) >= width)}{comment}".rstrip()
    return _checked("\n".join(lines) + "\n", {**params.flatten(_load(text)), **values})


def with_entries(text: str, key: str, entries: Mapping[str, str]) -> str:
    """Return the text with more entries in the mapping `key`, `section.name`, one per line after those that it has.

    Entries in braces, as in {"00109": dark}, are put on lines of their own; a comment behind the key stays there.

    Raises:
        FlairprepError: the key is missing, or its entries cannot be told apart from comments.
    """
    lines, place = text.splitlines(), _places(text).get(key)
    section, _, name = key.rpartition(".")
    if place is None:
        raise FlairprepError(f"params.yaml: {key}: missing; add {name}: {{}} to section {section}")
    old = _load(text)[section][name] or {}
    node = YAML().load(text)[section][name]
    block = bool(old) and not node.fa.flow_style()
    column = node.lc.col if block else place.indent + 2
    new = [
        f"{' ' * column}{json.dumps(one, ensure_ascii=False)}: {json.dumps(why, ensure_ascii=False)}"
        for one, why in (entries if block else {**old, **entries}).items()
    ]
    if block:
        lines[place.end : place.end] = new
    else:
        match = re.fullmatch(r"(\s*[\w.-]+:).*?(\s+#.*)?", lines[place.start])
        if match is None or place.end > place.start + 1:
            raise FlairprepError(
                f"params.yaml: {key}: braces over several lines; write one entry per line, without them"
            )
        lines[place.start : place.end] = [f"{match[1]}{match[2] or ''}", *new]
    merged = {**params.flatten(_load(text)), **{f"{key}.{one}": why for one, why in {**old, **entries}.items()}}
    merged.pop(key, None)
    return _checked("\n".join(lines) + "\n", merged)


def _written(value: Any) -> str:
    """Return a value as YAML: a text plain where that reads back as the same text, else in double quotes."""
    if not isinstance(value, str):
        return params.value_of(value)
    plain = re.fullmatch(r"[\w./][\w./ -]*", value) and value == value.strip() and params.parsed(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)


def upgraded(text: str, template: str) -> Change:
    """Return the text with the keys of `template`: new ones with their defaults and comments, the others as they are.

    A new key follows the one that it follows in the template; a key that the template lacks goes, with its comments.

    Raises:
        FlairprepError: the text is not valid YAML, or a section is not written with one key per line.
    """
    old, new = _load(text), _load(template)
    kept = _known(old, new)
    removed = {key: value for key, value in params.flatten(old).items() if not _inside(key, _keys(new))}
    lines = _without(text, [key for key in _keys(old) if key not in _keys(new)])
    donor, given = template.splitlines(), _places(template)
    added: dict[str, Any] = {}
    for key in _keys(new):
        if key in _keys(kept):
            continue
        section = key.rpartition(".")[0]
        if section not in _keys(kept) and section:
            continue  # it comes with its section
        places = _places("\n".join(lines) + "\n")
        before = _before(key, _keys(new), places)
        at = places[before].end if before else (places[section].start + 1 if section else _head(lines))
        top = given[key].start if given[key].start == _head(donor) else _top(donor, given[key].start)
        block = donor[top : given[key].end]
        lines[at:at] = block
        value = new[section][key.rpartition(".")[2]] if section else new[key]
        added |= params.flatten({key: value})
        _set(kept, key, value)
    return Change(_checked("\n".join(lines) + "\n", params.flatten(kept)), added, removed)


def _load(text: str) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise FlairprepError(f"params.yaml: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise FlairprepError("params.yaml: must map keys to values")
    return values


def _keys(values: Mapping[str, Any]) -> list[str]:
    """Return the keys of both levels, in order: a section before its own."""
    keys: list[str] = []
    for name, value in values.items():
        keys.append(name)
        if isinstance(value, Mapping) and name in params.SECTIONS:
            keys += [f"{name}.{key}" for key in value]
    return keys


def _inside(key: str, known: list[str]) -> bool:
    return key in known or any(key.startswith(f"{one}.") for one in known if "." in one)


def _known(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the old values of keys that the new ones have; a section without keys is null in YAML."""
    return {
        name: {key: one for key, one in (value or {}).items() if key in new[name]}
        if name in params.SECTIONS and isinstance(value, Mapping | None)
        else value
        for name, value in old.items()
        if name in new
    }


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.rpartition(".")
    (values[section] if section else values)[name] = value


def _places(text: str) -> dict[str, Place]:
    """Return the lines of each key of both levels."""
    nodes = YAML().load(text)
    lines = text.splitlines()
    return {key: Place(line, _end(lines, line, column), column) for key, line, column in _positions(nodes)}


def _positions(nodes: Any) -> Iterator[tuple[str, int, int]]:
    for name in nodes:
        line, column = nodes.lc.key(name)
        yield name, line, column
        if name in params.SECTIONS and isinstance(nodes[name], Mapping):
            for key in nodes[name]:
                inner, inner_column = nodes[name].lc.key(key)
                if inner == line:
                    raise FlairprepError(
                        f"params.yaml: line {line + 1}: {name} is written on one line; give each of its keys its own"
                    )
                yield f"{name}.{key}", inner, inner_column


def _end(lines: list[str], start: int, indent: int) -> int:
    """Return the first line after the value of a key: lines that are indented more belong to it."""
    end = start + 1
    for number in range(start + 1, len(lines)):
        stripped = lines[number].strip()
        if not stripped:
            continue
        if len(lines[number]) - len(lines[number].lstrip()) <= indent and not stripped.startswith("- "):
            break
        end = number + 1
    return end


def _top(lines: list[str], start: int) -> int:
    """Return the first line of a key: comments right above it at its own column, and a blank line before, are its."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    while start and lines[start - 1].strip().startswith("#") and lines[start - 1].index("#") == indent:
        start -= 1
    return start - 1 if start and not lines[start - 1].strip() else start


def _before(key: str, order: list[str], places: Mapping[str, Place]) -> str | None:
    """Return the key of the same level that a new key follows, None where it becomes the first one."""
    section = key.rpartition(".")[0]
    level = [one for one in order[: order.index(key)] if one.rpartition(".")[0] == section]
    return next((one for one in reversed(level) if one in places), None)


def _head(lines: list[str]) -> int:
    return next((number for number, line in enumerate(lines) if line.strip() and line[0] != "#"), len(lines))


def _without(text: str, keys: list[str]) -> list[str]:
    """Return the lines without those of `keys`."""
    lines, places = text.splitlines(), _places(text)
    gone = {number for key in keys for number in range(_top(lines, places[key].start), places[key].end)}
    return [line for number, line in enumerate(lines) if number not in gone]


def _checked(text: str, expected: Mapping[str, Any]) -> str:
    """Return the text, once it is proven to hold the expected values."""
    if (found := params.flatten(_load(text))) != expected:
        keys = [key for key in {**found, **expected} if found.get(key, ...) != expected.get(key, ...)]
        raise FlairprepError(f"params.yaml: {', '.join(keys)}: cannot be edited in place; write one key per line")
    return text
