"""The API in a form for machines, made from `ardock.protocol.catalogue`: what ``ardock schema`` prints.

Types are JSON Schemas (draft 2020-12) of what the MessagePack values would be as JSON; bytes, which JSON has not, are
``{"type": "string", "format": "binary"}`` and travel as MessagePack's `bin`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final, cast

import msgspec

from ardock.model.errors import ArdockError
from ardock.protocol.catalogue import METHODS
from ardock.protocol.errors import CLASSES
from ardock.protocol.frames import MAX_DEPTH, MAX_FRAME
from ardock.protocol.image_methods import IMPORT
from ardock.protocol.methods import PROTOCOL, ErrorInfo, Method
from ardock.protocol.session import CHUNK, WINDOW

# Whatever a JSON document is made of.
Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

NOTIFICATIONS: Final = (
    ("bytes", "[id, channel, data]", "both", "Bytes of a channel: 0 standard input, 1 standard output or terminal, 2 standard error."),
    ("end", "[id, channel]", "both", "A channel has ended."),
    ("items", "[id, [record, ...]]", "both", "Records; an empty batch says that the call was accepted."),
    ("items_end", "[id]", "both", "The records have ended."),
    ("credit", "[id, size]", "both", "So many bytes of the call's streams have been consumed: as many more may be sent."),
    ("cancel", "[id]", "client", "The call is not wanted any more; it is answered all the same, soon."),
    ("error", "[ErrorInfo]", "server", "The connection itself failed, and is closed after this."),
)  # fmt: skip

_ATTRIBUTE: Final = re.compile(r"^( {4,8})(\w+): (.*)$")


def schema() -> dict[str, Json]:
    """The whole description, as plain values."""
    types, components = msgspec.json.schema_components(_types(), ref_template="#/types/{name}")
    del types  # each is a reference to a component, by its class's name
    described = {name: _described(name, _plain(component)) for name, component in sorted(components.items())}
    return {
        "protocol": PROTOCOL,
        "transport": {
            "framing": "MessagePack-RPC on a stream socket, without a length before a message",
            "max_frame": MAX_FRAME,
            "max_depth": MAX_DEPTH,
            "window": WINDOW,
            "max_chunk": CHUNK,
        },
        "messages": {
            "call": "[0, id, method, params]",
            "answer": "[1, id, error or nil, result or nil]",
            "notification": "[2, name, params]",
        },
        "notifications": [
            {"name": name, "params": params, "from": sender, "doc": doc} for name, params, sender, doc in NOTIFICATIONS
        ],
        "methods": [_method(cast("Method[object]", method)) for method in METHODS.values()],
        "errors": [_error(kind) for kind in CLASSES.values()],
        "types": described,
    }


def takes_request_id(method: Method[object]) -> bool:
    """Whether a repeated call with the same request id gets the first one's result."""
    if not method.mutates:
        return False
    # What was streamed to the first caller cannot be told again; of an import that is so for a tar that comes as bytes.
    return method.receives != "records" and (method.sends == "none" or method.name == IMPORT.name)


def _types() -> list[type]:
    found: list[type] = [ErrorInfo]
    for method in METHODS.values():
        found += [method.params, method.result, *method.items]
        if method.item_in is not None:
            found.append(method.item_in)
    return list(dict.fromkeys(found))


def _method(method: Method[object]) -> dict[str, Json]:
    sends: dict[str, Json] = {"kind": method.sends}
    if method.item_in is not None:
        sends["items"] = [_reference(method.item_in)]
    receives: dict[str, Json] = {"kind": method.receives}
    if method.items:
        receives["items"] = [_reference(item) for item in method.items]
    return {
        "name": method.name,
        "doc": method.doc,
        "params": _reference(method.params),
        "result": _reference(method.result),
        "mutates": method.mutates,
        "request_id": takes_request_id(method),
        "sends": sends,
        "receives": receives,
    }


def _reference(kind: type) -> dict[str, Json]:
    return {"$ref": f"#/types/{kind.__name__}"}


def _error(kind: type[ArdockError]) -> dict[str, Json]:
    return {
        "code": kind.code,
        "http_status": kind.http_status,
        "exit_code": kind.exit_code,
        "doc": _first_paragraph(inspect.getdoc(kind) or ""),
    }


def _plain(value: object) -> Json:
    """A part of msgspec's schema, with bytes as what they are on this wire."""
    if isinstance(value, dict):
        if value.get("contentEncoding") == "base64":
            value = {key: part for key, part in value.items() if key != "contentEncoding"} | {"format": "binary"}
            if value.get("default") is not None:
                value["default"] = ""
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    assert value is None or isinstance(value, str | int | float | bool), "JSON Schema is JSON"
    return value


def _described(name: str, component: Json) -> Json:
    """A type with its fields' descriptions, which stand in its docstring."""
    assert isinstance(component, dict), "a component is a map"
    doc = component.get("description")
    properties = component.get("properties")
    if not isinstance(doc, str):
        return component
    component["description"] = _first_paragraph(doc)
    if isinstance(properties, dict):
        for field, text in (_inherited(name) | dict(_attributes(doc))).items():
            described = properties.get(field)
            if isinstance(described, dict):
                described["description"] = text
    return component


def _inherited(name: str) -> dict[str, str]:
    """Descriptions of the fields that the type's bases document."""
    found: dict[str, str] = {}
    for kind in _types():
        if kind.__name__ == name:
            for base in reversed(kind.__mro__[1:]):
                if issubclass(base, msgspec.Struct):
                    found |= dict(_attributes(inspect.cleandoc(base.__doc__ or "")))
    return found


def _attributes(doc: str) -> Iterator[tuple[str, str]]:
    """Fields and what the docstring's section ``Attributes:`` says of them."""
    _, _, section = inspect.cleandoc(doc).partition("Attributes:\n")
    name, words = "", [""]
    for line in section.splitlines():
        found = _ATTRIBUTE.match(line)
        if found and len(found[1]) == 4:
            if name:
                yield name, " ".join(words)
            name, words = found[2], [found[3]]
        elif line.startswith("     ") and name:
            words.append(line.strip())
        elif line.strip():
            break
    if name:
        yield name, " ".join(words)


def _first_paragraph(doc: str) -> str:
    return " ".join(inspect.cleandoc(doc).partition("\n\n")[0].split())
