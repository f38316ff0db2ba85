"""Platforms: what `--platform` says, and which image of several runs where."""

from __future__ import annotations

import pytest

from ardock.engine.images import platforms
from ardock.model.errors import InvalidArgument
from ardock.model.image import Platform


def of(text: str) -> Platform:
    parts = text.split("/")
    return Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) > 2 else "")


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm", "linux/arm"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/6", "linux/arm/v6"),
        ("Linux/ARM64", "linux/arm64"),
        ("arm64", "linux/arm64"),
        ("riscv64", "linux/riscv64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_platforms_are_read(text: str, platform: str) -> None:
    assert str(platforms.parse(text)) == platform


def test_none_and_an_operating_system_alone_are_this_machines() -> None:
    assert platforms.parse("") == platforms.host()
    assert platforms.parse("linux") == Platform(os="linux", architecture=platforms.host().architecture)


@pytest.mark.parametrize("text", ["/", "a/b/c/d", "linux/", "linux/am d64", "linux//v7", "linux/amd64\n"])
def test_malformed_ones_are_refused_by_value(text: str) -> None:
    with pytest.raises(InvalidArgument, match="platform") as caught:
        platforms.parse(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("offers", "wanted", "best"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/arm64/v8"], "linux/arm64", 0),
        # A machine runs what is made for the variants before its own, the nearest first.
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], "linux/arm/v7", 1),
        (["linux/arm/v7", "linux/arm/v6"], "linux/arm/v6", 1),
        (["linux/amd64/v3"], "linux/amd64", None),
        (["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3", 1),
        (["linux/386"], "linux/amd64", None),
        (["windows/amd64"], "linux/amd64", None),
        (["unknown/unknown"], "linux/amd64", None),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        ([], "linux/amd64", None),
    ],
)
def test_the_best_of_several(offers: list[str], wanted: str, best: int | None) -> None:
    assert platforms.best([(of(offer), index) for index, offer in enumerate(offers)], of(wanted)) == best
