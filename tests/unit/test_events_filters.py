"""Docker's event filters: values of one name are alternatives (labels are all required), names are all required."""

from __future__ import annotations

import pytest

from ardock.engine.events.filters import compile_filters
from ardock.model.errors import InvalidArgument
from ardock.model.events import Event, EventType

WEB = "aa11" + "0" * 60
DB = "aa22" + "0" * 60
IMAGE = "sha256:" + "cc33" + "0" * 60


def _event(
    kind: EventType = "container", action: str = "start", key: str = WEB, name: str = "web", **attributes: str
) -> Event:
    return Event(epoch="0" * 8, seq=1, time=1, type=kind, action=action, id=key, name=name, attributes=attributes)


def _resolve(ref: str) -> str | None:
    """One container, which is called `web` now."""
    return WEB if ref in ("web", WEB, "aa1") else None


START = _event(image="host:5000/busybox:1", app="shop", tier="front")
OTHER = _event(key=DB, name="db", image="postgres", app="shop")
RENAMED = _event(name="old-web")
DAEMON = _event("daemon", "refused")
IMPORT = _event("image", "import", IMAGE, "busybox:latest")
MOUNT = _event("volume", "mount", "data", "", container=WEB)

CASES: list[tuple[dict[str, tuple[str, ...]], list[Event]]] = [
    ({}, [START, OTHER, RENAMED, DAEMON, IMPORT, MOUNT]),
    ({"volume": ("data",)}, [MOUNT]),
    ({"volume": ("dat",)}, []),
    ({"type": ("volume",)}, [MOUNT]),
    ({"type": ("image",)}, [IMPORT]),
    ({"type": ("image", "daemon")}, [DAEMON, IMPORT]),
    ({"event": ("start",)}, [START, OTHER, RENAMED]),
    ({"event": ("start", "import")}, [START, OTHER, RENAMED, IMPORT]),
    ({"event": ("Start",)}, []),
    ({"container": (WEB,)}, [START, RENAMED]),
    ({"container": ("web",)}, [START, RENAMED]),  # under every name it had
    ({"container": ("aa1",)}, [START, RENAMED]),
    ({"container": ("aa",)}, [START, OTHER, RENAMED]),  # a prefix that names none now
    ({"container": ("old-web",)}, [RENAMED]),
    ({"container": ("web", "db")}, [START, OTHER, RENAMED]),
    ({"container": ("nobody",)}, []),
    ({"image": ("host:5000/busybox:1",)}, [START]),
    ({"image": ("host:5000/busybox",)}, [START]),
    ({"image": ("host",)}, []),
    ({"image": ("busybox",)}, [IMPORT]),
    ({"image": ("cc33",)}, [IMPORT]),
    ({"image": (IMAGE,)}, [IMPORT]),
    ({"image": ("postgres", "cc33")}, [OTHER, IMPORT]),
    ({"label": ("app",)}, [START, OTHER]),
    ({"label": ("app=shop",)}, [START, OTHER]),
    ({"label": ("app=shop", "tier")}, [START]),
    ({"label": ("app=sh",)}, []),
    ({"label": ("app=",)}, []),
    ({"label": ("app=shop",), "container": ("db",)}, [OTHER]),
    ({"type": ("container",), "event": ("import",)}, []),
]


@pytest.mark.parametrize(("filters", "wanted"), CASES)
def test_what_is_wanted(filters: dict[str, tuple[str, ...]], wanted: list[Event]) -> None:
    match = compile_filters(filters, _resolve)
    found = [event for event in (START, OTHER, RENAMED, DAEMON, IMPORT, MOUNT) if match is None or match(event)]
    assert found == wanted
    assert (match is None) == (filters == {})


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            {"color": ("red",)},
            "there is no filter 'color' for events; there are container, event, image, label, type, volume",
        ),
        ({"type": ("network",)}, "type: 'network' is none of container, daemon, image"),
        ({"label": ()}, "label: a value is missing"),
        ({"container": ("a", "")}, "container: a value is missing"),
    ],
)
def test_what_is_no_filter_is_refused(filters: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_filters(filters, _resolve)
    assert message in caught.value.message
    assert caught.value.field == "filters"
