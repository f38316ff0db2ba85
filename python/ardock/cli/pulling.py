"""Pulling and pushing for commands: whose credentials, what is said, and what `run` and `create` do where an image is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.cli.errors import printable
from ardock.cli.progress import PULLING, display
from ardock.cli.streams import write_line
from ardock.cli.transfer import transfer
from ardock.model.errors import InvalidArgument, NotFound
from ardock.model.reference import Reference, parse_reference
from ardock.protocol.image_methods import IMAGE, PULL, ImageRef, Pull

if TYPE_CHECKING:
    from ardock.cli.command import PullWish
    from ardock.cli.connection import Connection
    from ardock.model.image import ImageInfo, Platform
    from ardock.model.registry import Credentials
    from ardock.model.spec import ContainerSpec


def credentials_for(reference: Reference) -> Credentials | None:
    """What the user has for its registry; None is anonymous.

    Raises:
        InvalidArgument: The user's file of credentials is malformed.
        NotPermitted: It cannot be read, or its helper fails.
    """
    from ardock.credentials import CredentialStore
    from ardock.model.registry import Credentials

    found = CredentialStore().get(reference.registry)
    return None if found == Credentials() else found


def pull(engine: Connection, reference: Reference, *, platform: str, quiet: bool, descriptor: int) -> ImageInfo:
    """Pull an image and say on `descriptor` how far it is, in docker's words; quiet, say nothing.

    Raises:
        ArdockError: What the engine answers.
    """
    name = reference.familiar
    params = Pull(ref=str(reference), platform=platform, credentials=credentials_for(reference))
    before = "" if quiet else known(engine, name)
    if not quiet:
        write_line(descriptor, f"{reference.target}: Pulling from {reference.repository}\n")
    with display(PULLING, descriptor=descriptor, quiet=quiet) as shown:
        image = transfer(engine, PULL, params, shown.tell)
    if not quiet:
        digest = next((each for each in image.digests if each.startswith(f"{reference.familiar_name}@")), "")
        if digest:
            write_line(descriptor, f"Digest: {digest.partition('@')[2]}\n")
        news = "Image is up to date" if image.id == before else "Downloaded newer image"
        write_line(descriptor, f"Status: {news} for {name}\n")
    return image


def known(engine: Connection, ref: str) -> str:
    """The id of an image; empty where it is not here."""
    try:
        return engine.call(IMAGE, ImageRef(ref=ref)).info.id
    except NotFound:
        return ""


def provide(engine: Connection, spec: ContainerSpec, wish: PullWish) -> None:
    """Pull the image of a container that is to be made, where it is wished for before anybody has looked.

    Raises:
        ArdockError: What the engine answers.
    """
    if spec.image is None or wish.when == "never":
        return
    if wish.when == "always":
        _fetch(engine, spec.image, wish)
    elif wish.platform:
        # Its name may be that of an image for another platform.
        try:
            there = engine.call(IMAGE, ImageRef(ref=spec.image)).info.platform
        except NotFound:
            return
        if not fits(wish.platform, there):
            _fetch(engine, spec.image, wish)


def missing(engine: Connection, spec: ContainerSpec, wish: PullWish, error: NotFound) -> None:
    """An image was not there: pull it, or raise `error` where that is no remedy."""
    if error.field != "image" or spec.image is None or wish.when == "never":
        raise error
    try:
        reference = parse_reference(spec.image, field="image").tagged()
    except InvalidArgument:
        raise error from None  # an id
    write_line(2, f"Unable to find image '{printable(reference.familiar)}' locally\n")
    pull(engine, reference, platform=wish.platform, quiet=wish.quiet, descriptor=2)


def fits(wanted: str, there: Platform) -> bool:
    """An image's platform is the one that was asked for, as far as that says."""
    words = wanted.split("/")
    if len(words) == 1 and words[0] != there.os:
        return words[0] == there.architecture
    return all(want == have for want, have in zip(words, (there.os, there.architecture, there.variant), strict=False))


def _fetch(engine: Connection, image: str, wish: PullWish) -> None:
    reference = parse_reference(image, field="image").tagged()
    pull(engine, reference, platform=wish.platform, quiet=wish.quiet, descriptor=2)
