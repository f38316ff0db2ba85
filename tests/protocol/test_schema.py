# ruff: noqa: ANN401 - any value of JSON or MessagePack
"""The machine-readable description, and the reference page that is made from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ardock.protocol.catalogue import METHODS
from ardock.protocol.reference import markdown
from ardock.protocol.schema import schema
from ardock.server.bindings import BINDINGS

DOCUMENT = Path(__file__).parents[2] / "docs/protocol.md"
MARK = "<!-- What follows is printed by `ardock schema --markdown`. -->\n"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref":
                yield part
            else:
                yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_the_schema_is_json_and_whole() -> None:
    api: Any = json.loads(json.dumps(schema()))
    assert [method["name"] for method in api["methods"]] == list(METHODS)
    for reference in references(api):
        assert reference.removeprefix("#/types/") in api["types"]
    assert len({error["code"] for error in api["errors"]}) == len(api["errors"])
    assert api["types"]["LogRecord"]["properties"]["data"]["format"] == "binary"
    assert "base64" not in json.dumps(api)


def test_fields_are_described_by_their_docstrings() -> None:
    api: Any = schema()
    assert api["types"]["ContainerSpec"]["properties"]["memory"]["description"] == "Hard memory limit; at least 4 MiB."
    assert api["types"]["Event"]["properties"]["action"]["description"].startswith("Docker's name: ``create``")
    # Inherited ones, too.
    assert api["types"]["Stop"]["properties"]["deadline"]["description"].startswith(
        "Seconds after which the call fails"
    )


def test_request_ids_are_refused_exactly_where_the_schema_says_so() -> None:
    """What the server refuses (tests/server/test_calls.py) is what is documented."""
    api: Any = schema()
    streams = {
        name
        for name, method in METHODS.items()
        if method.mutates and (method.sends != "none" or method.receives == "records")
    }
    refused = {method["name"] for method in api["methods"] if method["mutates"] and not method["request_id"]}
    assert refused == streams - {"images.import"}
    assert not any(method["request_id"] for method in api["methods"] if not method["mutates"])
    assert BINDINGS.keys() == METHODS.keys()


def test_the_reference_page_is_up_to_date() -> None:
    """Mend it: .venv/bin/ardock schema --markdown, below the mark."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count(MARK) == 1
    assert text.partition(MARK)[2].strip() == markdown().strip()


def test_every_link_of_the_page_leads_somewhere() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    linked = set(re.findall(r"\]\(#([^)]*)\)", text))
    assert linked
    assert linked <= anchors


def test_the_command_prints_both() -> None:
    ardock = Path(sys.executable).with_name("ardock")
    said = subprocess.run([ardock, "schema"], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == json.loads(json.dumps(schema()))
    said = subprocess.run([ardock, "schema", "--markdown"], capture_output=True, text=True, check=True).stdout
    assert said == markdown()
