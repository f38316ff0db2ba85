"""Events in Docker's shape."""

from __future__ import annotations

from ardock.cli.format.template import Template
from ardock.docker.events import event_json, event_line, event_object, event_struct
from ardock.model.events import Cursor, Event, Gap
from ardock.model.records import Timings

DIE = Event(
    epoch="0a1b2c3d",
    seq=42,
    time=1_700_000_000_123_456_789,
    type="container",
    action="die",
    id="f" * 64,
    name="web",
    attributes={"image": "busybox:latest", "exitCode": "3", "b": "label"},
)


def test_a_line_is_dockers() -> None:
    assert event_line(DIE) == (
        f"2023-11-14T22:13:20.123456789Z container die {'f' * 64} (b=label, exitCode=3, image=busybox:latest, name=web)"
    )
    bare = Event(epoch="0a1b2c3d", seq=1, time=1, type="image", action="import", id="sha256:1")
    assert event_line(bare) == "1970-01-01T00:00:00.000000001Z image import sha256:1"


def test_json_is_dockers_with_a_place_in_the_journal() -> None:
    assert event_json(DIE) == {
        "status": "die",
        "id": "f" * 64,
        "from": "busybox:latest",
        "Type": "container",
        "Action": "die",
        "Actor": {
            "ID": "f" * 64,
            "Attributes": {"name": "web", "image": "busybox:latest", "exitCode": "3", "b": "label"},
        },
        "scope": "local",
        "time": 1_700_000_000,
        "timeNano": 1_700_000_000_123_456_789,
        "seq": 42,
        "epoch": "0a1b2c3d",
    }


def test_a_start_has_the_launchs_timings() -> None:
    start = Event(
        epoch="0a1b2c3d", seq=1, time=0, type="container", action="start", id="a", timings=Timings(exec=7, total=900)
    )
    timings = event_json(start)["timings"]
    assert isinstance(timings, dict)
    assert (timings["exec"], timings["total"]) == (7, 900)


def test_a_gap_says_where_it_goes_on() -> None:
    gap = Gap(after=Cursor("0a1b2c3d", 5), epoch="11223344", seq=70)
    assert event_object(gap) == '{"Type":"gap","after":"0a1b2c3d:5","seq":70,"epoch":"11223344"}'
    assert event_line(gap) == ""


def test_templates_see_gos_names() -> None:
    template = Template(
        "{{.Type}} {{.Action}} {{.ID}} {{.Actor.Attributes.exitCode}} {{.Actor.Attributes.none}} {{.Seq}}"
    )
    assert template.render(event_struct(DIE)) == f"container die {'f' * 64} 3 <no value> 42"
