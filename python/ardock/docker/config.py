"""Parts of Docker's ``Config`` object that containers and images share (Docker Engine API, ``ContainerConfig``)."""

from __future__ import annotations

from collections.abc import Sequence

from ardock.docker.values import NilList, NilMap, OpenMap, Struct, string_map, strings
from ardock.model.image import HealthCheck, ImageConfig


def driver_name(driver: str) -> str:
    """Docker's name of a storage driver; empty is the default one."""
    return "overlay2" if driver in {"", "overlay"} else driver


def ports(exposed: Sequence[str]) -> OpenMap:
    """A set as Go's JSON has it."""
    return places(sorted(exposed))


def places(names: Sequence[str]) -> OpenMap:
    """The same, in the order given."""
    return OpenMap({name: OpenMap() for name in names})


def health(check: HealthCheck) -> Struct:
    """A health check; what is not given is left out, as Docker does."""
    found: Struct = {}
    if check.test:
        found["Test"] = list(check.test)
    for name, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
        ("Retries", check.retries),
    ):
        if value:
            found[name] = value
    return found


def image_config(config: ImageConfig) -> Struct:
    """An image's ``Config``: it is a container's, where what no image has is empty."""
    found: Struct = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
    }
    # Docker leaves these out where they are empty.
    if config.exposed_ports:
        found["ExposedPorts"] = ports(config.exposed_ports)
    found |= {
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": strings(config.env),
        "Cmd": strings(config.cmd),
    }
    if config.healthcheck is not None:
        found["Healthcheck"] = health(config.healthcheck)
    found |= {
        "Image": "",
        "Volumes": places(config.volumes) if config.volumes else NilMap(),
        "WorkingDir": config.working_dir,
        "Entrypoint": strings(config.entrypoint),
        "OnBuild": strings(config.on_build) if config.on_build else NilList(),
        "Labels": string_map(config.labels) if config.labels else NilMap(),
    }
    if config.stop_signal:
        found["StopSignal"] = config.stop_signal
    if config.shell:
        found["Shell"] = list(config.shell)
    return found
