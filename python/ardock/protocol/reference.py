"""The reference part of ``docs/protocol.md``, made from the schema: what ``ardock schema --markdown`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ardock.protocol.schema import Json, schema

# Fields that every call's parameters have; told once.
_COMMON: Final = ("deadline", "request_id")


def markdown() -> str:
    """Methods, notifications, types and errors."""
    return "\n".join(_lines(schema())) + "\n"


def _lines(api: dict[str, Json]) -> Iterator[str]:
    types = _map(api["types"])
    yield "## Methods"
    yield ""
    yield "| method | |"
    yield "|---|---|"
    for method in _maps(api["methods"]):
        yield f"| [`{method['name']}`](#{_anchor(method['name'])}) | {_cell(method['doc'])} |"
    for method in _maps(api["methods"]):
        yield ""
        yield from _method(method, types)
    yield ""
    yield "## Notifications"
    yield ""
    yield "| name | params | sent by | |"
    yield "|---|---|---|---|"
    for one in _maps(api["notifications"]):
        yield f"| `{one['name']}` | `{one['params']}` | {one['from']} | {_cell(one['doc'])} |"
    yield ""
    yield "## Types"
    params = {_name(_map(method["params"])) for method in _maps(api["methods"])}
    for name, component in types.items():
        if name not in params:
            yield ""
            yield from _type(name, _map(component))
    yield ""
    yield "## Errors"
    yield ""
    yield "| code | a command ends with | |"
    yield "|---|---|---|"
    for error in _maps(api["errors"]):
        yield f"| `{error['code']}` | {error['exit_code']} | {_cell(error['doc'])} |"


def _method(method: dict[str, Json], types: dict[str, Json]) -> Iterator[str]:
    yield f"### {method['name']}"
    yield ""
    yield f"{method['doc']}"
    yield ""
    component = _map(types[_name(_map(method["params"]))])
    rows = [row for row in _fields(component) if row[0] not in _COMMON]
    if rows:
        yield from _table(rows)
        yield ""
    for direction, who in (("sends", "The client streams"), ("receives", "The server streams")):
        stream = _map(method[direction])
        kinds = ", ".join(_link(item) for item in _maps(stream.get("items", [])))
        parts = [part for part in ("bytes" if stream["kind"] == "bytes" else "", kinds) if part]
        if parts:
            yield f"{who}: {'; '.join(parts)}."
    result = f"Result: {_link(_map(method['result']))}."
    yield result + (" Takes a request id." if method["request_id"] else "")


def _type(name: str, component: dict[str, Json]) -> Iterator[str]:
    yield f"### type {name}"
    yield ""
    yield f"{component.get('description', '')}"
    if component.get("type") == "array":
        yield ""
        yield f"Travels as {_kind(component)}."
    rows = list(_fields(component))
    if rows:
        yield ""
        yield from _table(rows)


def _table(rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for name, kind, default, text in rows:
        yield f"| `{name}` | {kind} | {default} | {text} |"


def _fields(component: dict[str, Json]) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and description of each field."""
    for name, field in _map(component.get("properties", {})).items():
        described = _map(field)
        default = "" if "default" not in described else f"`{_literal(described['default'])}`"
        if name in _list(component.get("required", [])):
            default = "required"
        yield name, _kind(described), default, _cell(described.get("description", ""))


def _kind(part: dict[str, Json]) -> str:
    """A type in words."""
    if "$ref" in part:
        return _link(part)
    if "anyOf" in part:
        return " or ".join(_kind(choice) for choice in _maps(part["anyOf"]))
    if "enum" in part:
        return ", ".join(f"`{_literal(value)}`" for value in _list(part["enum"]))
    match part.get("type"):
        case "array":
            if "prefixItems" in part:
                return f"array of {', '.join(_kind(each) for each in _maps(part['prefixItems']))}"
            return f"array of {_kind(_map(part['items']))}" if "items" in part else "array"
        case "object":
            extra = part.get("additionalProperties")
            return f"map of {_kind(extra)}" if isinstance(extra, dict) else "map"
        case "string":
            return "bytes" if part.get("format") == "binary" else "string"
        case "null":
            return "nil"
        case kind:
            return str(kind)


def _link(reference: dict[str, Json]) -> str:
    name = _name(reference)
    return f"[{name}](#type-{name.lower()})"


def _name(reference: dict[str, Json]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _anchor(title: Json) -> str:
    """The anchor that GitHub gives to a heading."""
    return str(title).replace(".", "").lower()


def _literal(value: Json) -> str:
    """A value as JSON."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value).replace("'", '"')


def _cell(text: Json) -> str:
    return str(text).replace("|", "\\|").replace("``", "`")


def _map(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict), "the schema has a map here"
    return value


def _list(value: Json) -> list[Json]:
    assert isinstance(value, list), "the schema has a list here"
    return value


def _maps(value: Json) -> Iterator[dict[str, Json]]:
    return (_map(part) for part in _list(value))
