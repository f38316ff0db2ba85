"""`ardock inspect`: all about containers, images and volumes, in Docker's JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED
from ardock.cli.flags import Flag, Refused
from ardock.cli.listed import OBJECT_FORMAT, show_objects
from ardock.cli.several import call_all, check_count, complain, write

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.docker.values import Struct
    from ardock.model.errors import ArdockError


Form = tuple[bool, Callable[[object], str] | None]


def _format(text: str) -> Form:
    """Whether it is ``json``, which is all objects on one line and no template; and what renders one object."""
    return text == "json", OBJECT_FORMAT.parse(text)


def _type(text: str) -> str:
    if text == "network":
        raise ValueError("there are no networks yet")
    if text not in {"", "container", "image", "volume"}:
        raise ValueError("give container, image or volume")
    return text


FORMAT = Flag("format", _format, "Format output: json, or a template", short="f")
TYPE = Flag("type", _type, "Only inspect objects of the given type")
FLAGS = (
    FORMAT,
    TYPE,
    Refused("size", "nobody counts what a container has written", short="s", switch=True),
)


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    check_count("inspect", arguments, 1)
    return show(settings, arguments, values.one(TYPE) or "", values.one(FORMAT))


def show(settings: Settings, refs: Sequence[str], kind: str, form: Form | None) -> int:
    """Print what is found, then complain of what is not; the exit code.

    Args:
        settings: The global options.
        refs: Names or ids.
        kind: ``container``, ``image`` or ``volume``; empty tries all, in this order.
        form: The value of FORMAT.
    """
    from ardock.cli.connection import connected

    with connected(settings) as engine:
        answers = _look(engine, refs, kind)
    found = [answer for answer in answers if isinstance(answer, dict)]
    _print(found, form)
    failures = [answer for answer in answers if not isinstance(answer, dict)]
    for error in failures:
        complain(error.message)
    return FAILED if failures else 0


def _print(found: Sequence[Struct], form: Form | None) -> None:
    from ardock.docker.values import encode, encode_indented

    as_json, render = form or (False, None)
    if as_json:
        write([encode(list(found))])
    elif render is not None:
        show_objects(render, found)
    else:
        write([encode_indented(list(found))])


def _look(engine: Connection, refs: Sequence[str], kind: str) -> list[Struct | ArdockError]:
    from ardock.docker.images import image_json
    from ardock.docker.inspect import container_json
    from ardock.docker.volumes import volume_json
    from ardock.model.errors import ArdockError, NotFound
    from ardock.protocol.image_methods import IMAGE, ImageRef
    from ardock.protocol.methods import INFO, INSPECT, VOLUME, NoParams, Ref, VolumeRef

    about = engine.call(INFO, NoParams())
    answers: list[Struct | ArdockError] = [NotFound(f"no such object: {ref}") for ref in refs]
    if kind in {"", "container"}:
        containers = call_all(engine, [(INSPECT, Ref(ref=ref)) for ref in refs])
        for place, container in enumerate(containers):
            if not isinstance(container, ArdockError):
                answers[place] = container_json(container, root=about.root, driver=about.storage_driver)
            elif kind == "container" or not isinstance(container, NotFound):
                answers[place] = container
    if kind in {"", "image"}:
        open_places = [place for place, answer in enumerate(answers) if isinstance(answer, NotFound)]
        images = call_all(engine, [(IMAGE, ImageRef(ref=refs[place])) for place in open_places])
        for place, image in zip(open_places, images, strict=True):
            if not isinstance(image, ArdockError):
                answers[place] = image_json(image, driver=about.storage_driver)
            elif kind == "image" or not isinstance(image, NotFound):
                answers[place] = image
    if kind in {"", "volume"}:
        open_places = [place for place, answer in enumerate(answers) if isinstance(answer, NotFound)]
        volumes = call_all(engine, [(VOLUME, VolumeRef(name=refs[place])) for place in open_places])
        for place, volume in zip(open_places, volumes, strict=True):
            if not isinstance(volume, ArdockError):
                answers[place] = volume_json(volume)
            elif kind == "volume" or not isinstance(volume, NotFound):
                answers[place] = volume
    return answers


command = FlagCommand(
    "inspect",
    run,
    FLAGS,
    usage="[OPTIONS] NAME|ID [NAME|ID...]",
    help_text="Return low-level information on containers, images and volumes",
    epilog="The JSON has Docker's shape; what Docker has no word for is under Ardock.",
    failure=FAILED,
    interspersed=True,
)
