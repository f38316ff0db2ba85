"""Containers as `docker inspect` shows them (Docker Engine API, ``ContainerInspect``).

What Docker has no word for is under ``Ardock``. The order of the fields is Docker's.
"""

from __future__ import annotations

from typing import Final

from ardock.docker.config import driver_name, health, places, ports
from ardock.docker.host_config import host_config, mount_points
from ardock.docker.times import rfc3339_nano
from ardock.docker.values import NilList, NilMap, OpenMap, Struct, string_map, strings
from ardock.model.container import ContainerInfo, Status
from ardock.model.records import Timings

# Docker has no state in between: until its program runs a container is created, or exited as before.
_STATUS: Final[dict[Status, str]] = {"starting": "created"}
_RUNNING: Final[frozenset[Status]] = frozenset({"running", "paused", "restarting"})


def docker_status(status: Status, *, ran_before: bool) -> str:
    """Docker's word for a state of ours."""
    if status == "starting" and ran_before:
        return "exited"
    return _STATUS.get(status, status)


def container_json(info: ContainerInfo, *, root: str = "", driver: str = "") -> Struct:
    """A container as `docker inspect` shows it.

    Args:
        info: The container.
        root: The engine's root folder, for the log's path; empty leaves that out.
        driver: The engine's storage driver.
    """
    spec = info.spec
    return {
        "Id": info.id,
        "Created": rfc3339_nano(info.created_at),
        "Path": spec.command[0] if spec.command else "",
        "Args": list(spec.command[1:]),
        "State": _state(info),
        "Image": info.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": f"{root}/{info.log}" if root and info.log else "",
        "Name": f"/{info.name}",
        "RestartCount": info.restarts,
        "Driver": driver_name(driver),
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": info.apparmor or spec.apparmor or "",
        "ExecIDs": strings(info.execs),
        "HostConfig": host_config(info),
        "GraphDriver": {"Data": NilMap(), "Name": driver_name(driver)},
        "Mounts": mount_points(spec, root=root),
        "Config": _config(info),
        "NetworkSettings": _network_settings(spec.network),
        "Ardock": _ardock(info),
    }


def _state(info: ContainerInfo) -> Struct:
    ended = info.exit
    return {
        "Status": docker_status(info.status, ran_before=ended is not None),
        "Running": info.status in _RUNNING,
        "Paused": info.status == "paused",
        "Restarting": info.status == "restarting",
        "OOMKilled": ended is not None and ended.oom_killed,
        "Dead": info.status == "dead",
        "Pid": info.pid,
        "ExitCode": ended.exit_code if ended is not None and info.status not in _RUNNING else 0,
        "Error": info.error,
        "StartedAt": rfc3339_nano(info.started_at),
        "FinishedAt": rfc3339_nano(info.finished_at),
    }


def _config(info: ContainerInfo) -> Struct:
    spec = info.spec
    config: Struct = {
        "Hostname": spec.hostname or info.id[:12],
        "Domainname": spec.domainname or "",
        "User": spec.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        **({"ExposedPorts": ports(spec.exposed_ports)} if spec.exposed_ports else {}),
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": False,
        "Env": strings([f"{name}={value}" for name, value in spec.env.items()]),
        # Docker's is nil where all of the command is the entrypoint.
        "Cmd": strings(spec.argv),
        **({"Healthcheck": health(spec.healthcheck)} if spec.healthcheck is not None else {}),
        "Image": spec.image or spec.rootfs or "",
        "Volumes": _anonymous_volumes(info),
        "WorkingDir": spec.cwd,
        "Entrypoint": strings(spec.entrypoint or ()),
        "OnBuild": NilList(),
        "Labels": string_map(spec.labels),
    }
    # Docker leaves these out where they are the default.
    if spec.stop_signal is not None:
        config["StopSignal"] = str(spec.stop_signal)
    if spec.stop_timeout != 10:
        config["StopTimeout"] = _whole(spec.stop_timeout)
    return config


def _anonymous_volumes(info: ContainerInfo) -> OpenMap:
    """Docker keeps where they are, of the user's ``-v PATH`` as of the image's."""
    anonymous = [mount.target for mount in info.spec.mounts if mount.anonymous and not mount.inherited]
    return places(anonymous) if anonymous else NilMap()


def _whole(number: float) -> int | float:
    return int(number) if number == int(number) else number


_ENDPOINT: Final = {
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
}


def _network_settings(network: str) -> Struct:
    """No endpoint has an address: there is loopback alone, or the host's network."""
    own = {"IPAMConfig": None, "Links": NilList(), "Aliases": NilList(), "NetworkID": "", **_ENDPOINT}
    return {
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": OpenMap(),
        "SandboxKey": "",
        "SecondaryIPAddresses": NilList(),
        "SecondaryIPv6Addresses": NilList(),
        **_ENDPOINT,
        "Networks": OpenMap({network: {**own, "DriverOpts": NilMap()}}),
    }


def _ardock(info: ContainerInfo) -> Struct:
    spec, ended = info.spec, info.exit
    return {
        "Status": info.status,
        "Runs": info.run,
        "Rootfs": spec.rootfs or "",
        "Layers": list(spec.layers),
        "Scratch": spec.scratch or "",
        "Timeout": spec.timeout,
        "Umask": f"{spec.umask:04o}",
        "StartedBoottime": info.started_boot,
        "Signal": ended.signal if ended is not None else None,
        "Reason": ended.reason if ended is not None else "",
        "Timings": None if info.timings is None else _timings(info.timings),
    }


def _timings(timings: Timings) -> Struct:
    """µs of each part of the launch."""
    return {name.capitalize(): getattr(timings, name) for name in timings.__struct_fields__}


def go_architecture(machine: str) -> str:
    """Go's name of an architecture, which Docker uses, for the kernel's."""
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)
