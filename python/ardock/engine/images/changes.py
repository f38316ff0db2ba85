"""``--change``: instructions of a Dockerfile that set an image's configuration. Pure.

Source: moby, ``builder/dockerfile`` and ``api/server/backend/build`` (the instructions that ``docker commit --change`` and
``docker import --change`` take), and the Dockerfile reference of each.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from ardock.model.errors import InvalidArgument
from ardock.model.image import HealthCheck, ImageConfig
from ardock.model.sizes import parse_signal

_SHELL: Final = ("/bin/sh", "-c")
_PORT: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII)
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", re.ASCII)
_UNITS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def apply(config: ImageConfig, changes: Sequence[str]) -> ImageConfig:
    """`config` after `changes`, in order.

    Raises:
        InvalidArgument: One is no such instruction, or malformed; it is named.
    """
    for change in changes:
        words = change.strip().split(None, 1)
        name = words[0].upper() if words else ""
        rest = words[1].strip() if len(words) > 1 else ""
        instruction = _INSTRUCTIONS.get(name)
        if instruction is None:
            known = ", ".join(sorted(_INSTRUCTIONS))
            raise InvalidArgument(f"changes: {change!r} does not begin with one of {known}", field="changes")
        if not rest:
            raise InvalidArgument(f"changes: {name} needs a value", field="changes")
        try:
            config = instruction(config, rest)
        except ValueError as error:
            raise InvalidArgument(f"changes: {change!r}: {error}", field="changes") from None
    return config


def _list(text: str) -> tuple[str, ...] | None:
    """The exec form, ``["a", "b"]``; None: it is the shell form."""
    if not text.startswith("["):
        return None
    try:
        words: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(words, list):
        return None
    if not all(isinstance(word, str) for word in words):
        raise ValueError("the list may have strings alone")
    return tuple(words)


def _command(config: ImageConfig, text: str) -> tuple[str, ...]:
    words = _list(text)
    return (*(config.shell or _SHELL), text) if words is None else words


def _cmd(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, cmd=_command(config, text))


def _entrypoint(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, entrypoint=_command(config, text))


def _pairs(text: str, *, what: str) -> list[tuple[str, str]]:
    """``KEY=value ...`` with a shell's quotes, or the old form ``KEY value``."""
    first = text.split(None, 1)
    if "=" not in first[0]:
        if len(first) < 2:
            raise ValueError(f"{what} needs KEY=VALUE")
        return [(first[0], first[1])]
    pairs = []
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"{word!r} is not KEY=VALUE")
        pairs.append((key, value))
    return pairs


def _env(config: ImageConfig, text: str) -> ImageConfig:
    variables = dict(each.partition("=")[::2] for each in config.env)
    variables.update(_pairs(text, what="ENV"))
    return replace(config, env=tuple([f"{key}={value}" for key, value in variables.items()]))


def _label(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, labels={**config.labels, **dict(_pairs(text, what="LABEL"))})


def _expose(config: ImageConfig, text: str) -> ImageConfig:
    ports = list(config.exposed_ports)
    for word in text.split():
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found is not None else (0, 0)
        if found is None or not 0 < first <= last < 1 << 16:
            raise ValueError(f"{word!r} is no port: give 80, 80/udp or 8000-8010/tcp")
        ports += [f"{port}/{found[3] or 'tcp'}" for port in range(first, last + 1)]
    return replace(config, exposed_ports=tuple(dict.fromkeys(ports)))


def _volume(config: ImageConfig, text: str) -> ImageConfig:
    paths = _list(text) or tuple(text.split())
    if any(not path.startswith("/") for path in paths):
        raise ValueError("a volume's path is absolute")
    return replace(config, volumes=tuple(dict.fromkeys((*config.volumes, *paths))))


def _workdir(config: ImageConfig, text: str) -> ImageConfig:
    former = config.working_dir or "/"
    return replace(config, working_dir=text if text.startswith("/") else f"{former.rstrip('/')}/{text}")


def _user(config: ImageConfig, text: str) -> ImageConfig:
    if len(text.split()) != 1:
        raise ValueError("give one user: NAME|UID[:GROUP|GID]")
    return replace(config, user=text)


def _stop_signal(config: ImageConfig, text: str) -> ImageConfig:
    try:
        parse_signal(text, "STOPSIGNAL")
    except InvalidArgument as error:
        raise ValueError(error.message) from None
    return replace(config, stop_signal=text)


def _on_build(config: ImageConfig, text: str) -> ImageConfig:
    if text.split(maxsplit=1)[0].upper() in {"ONBUILD", "FROM", "MAINTAINER"}:
        raise ValueError(f"{text.split(maxsplit=1)[0].upper()} is not allowed as a trigger")
    return replace(config, on_build=(*config.on_build, text))


def _healthcheck(config: ImageConfig, text: str) -> ImageConfig:
    options: dict[str, int] = {}
    rest = text
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        rest = rest.strip()
        name, _, value = option[2:].partition("=")
        if name == "retries":
            if not value.isdecimal():
                raise ValueError(f"--retries={value}: give a number")
            options["retries"] = int(value)
        elif name in {"interval", "timeout", "start-period", "start-interval"}:
            options[name.replace("-", "_")] = _duration(name, value)
        else:
            raise ValueError(f"unknown option --{name}")
    kind, _, command = rest.partition(" ")
    command = command.strip()
    if kind.upper() == "NONE" and not command and not options:
        return replace(config, healthcheck=HealthCheck(test=("NONE",)))
    if kind.upper() != "CMD" or not command:
        raise ValueError("give HEALTHCHECK [OPTIONS] CMD COMMAND, or HEALTHCHECK NONE")
    words = _list(command)
    test = ("CMD-SHELL", command) if words is None else ("CMD", *words)
    return replace(config, healthcheck=HealthCheck(test=test, **options))


def _duration(name: str, text: str) -> int:
    if not _DURATION.fullmatch(text):
        raise ValueError(f"--{name}={text}: give a duration such as 30s or 1m30s")
    return int(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))


_INSTRUCTIONS: Final[dict[str, Callable[[ImageConfig, str], ImageConfig]]] = {
    "CMD": _cmd, "ENTRYPOINT": _entrypoint, "ENV": _env, "EXPOSE": _expose, "HEALTHCHECK": _healthcheck, "LABEL": _label,
    "ONBUILD": _on_build, "STOPSIGNAL": _stop_signal, "USER": _user, "VOLUME": _volume, "WORKDIR": _workdir,
}  # fmt: skip
