"""Containers as Docker shows them; the fields are those that a dockerd gave (API 1.41 and 1.50)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ardock.docker.inspect import container_json
from ardock.docker.listing import PS_HEADINGS, Moment, PsRow
from ardock.docker.times import SECOND
from ardock.docker.values import encode, encode_indented
from ardock.engine.containers.plan import plan
from ardock.engine.containers.resolved import Placement, Resolved, User
from ardock.engine.facts import Facts
from ardock.model.container import ContainerInfo, ContainerSummary, Status
from ardock.model.records import ExitRecord, Timings
from ardock.model.spec import ContainerSpec, Device, LogOptions, Mount, ThrottleDevice, Ulimit, WeightDevice

ID = "0123456789ab" + "0" * 52
NOW = 1_800_000_000 * SECOND

SPEC = ContainerSpec(
    argv=("sh", "-c", "sleep 1000"),
    image="bench:latest",
    labels={"a": "b", "c": "d=e"},
    memory="64m",
    cpus=0.5,
    mounts=(
        Mount(source="/tmp", target="/m", read_only=True, create_source=True),
        Mount(source="/srv", target="/s", propagation="rslave", recursive=False),
        Mount(type="tmpfs", target="/scratch", options="size=1m"),
    ),
    tmpfs={"/t": "size=1m"},
    env={"X": "y"},
    ulimits=(Ulimit(name="nofile", soft=10, hard=20),),
    cap_add=("NET_ADMIN", "all"),
    cap_drop=("cap_kill",),
    sysctls={"net.ipv4.ip_forward": "1"},
    stop_timeout=3,
    stop_signal="INT",
    no_new_privileges=True,
    pids_limit=50,
    devices=(Device(source="/dev/null", target="/dev/xnull", permissions="rw"),),
    blkio_weight=300,
    blkio_weight_device=(WeightDevice(path="/dev/sda", weight=400),),
    blkio_device_read_bps=(ThrottleDevice(path="/dev/sda", rate="1m"),),
    blkio_device_write_iops=(ThrottleDevice(path="/dev/sda", rate=30),),
    cwd="/tmp",
    user="root",
    log=LogOptions(max_size="1m", max_files=2),
)
EXIT = ExitRecord(id=ID, exit_code=137, signal=9, oom_killed=True, finished_at=NOW)

# What docker 28's client on a dockerd 20.10 printed for the same; KernelMemory went with API 1.42, Container*,
# DockerVersion and VirtualSize of images with 1.44 and later.
STATE = {
    "Status",
    "Running",
    "Paused",
    "Restarting",
    "OOMKilled",
    "Dead",
    "Pid",
    "ExitCode",
    "Error",
    "StartedAt",
    "FinishedAt",
}
CONTAINER = {
    "Id", "Created", "Path", "Args", "State", "Image", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "Name",
    "RestartCount", "Driver", "Platform", "MountLabel", "ProcessLabel", "AppArmorProfile", "ExecIDs", "HostConfig",
    "GraphDriver", "Mounts", "Config", "NetworkSettings",
}  # fmt: skip
HOST_CONFIG = {
    "Binds", "ContainerIDFile", "LogConfig", "NetworkMode", "PortBindings", "RestartPolicy", "AutoRemove", "VolumeDriver",
    "VolumesFrom", "CapAdd", "CapDrop", "CgroupnsMode", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "IpcMode",
    "Cgroup", "Links", "OomScoreAdj", "PidMode", "Privileged", "PublishAllPorts", "ReadonlyRootfs", "SecurityOpt", "UTSMode",
    "UsernsMode", "ShmSize", "Runtime", "ConsoleSize", "Isolation", "CpuShares", "Memory", "NanoCpus", "CgroupParent",
    "BlkioWeight", "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpusetCpus", "CpusetMems",
    "Devices", "DeviceCgroupRules", "DeviceRequests", "MemoryReservation", "MemorySwap", "MemorySwappiness",
    "OomKillDisable", "PidsLimit", "Ulimits", "CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth", "MaskedPaths",
    "ReadonlyPaths",
}  # fmt: skip
CONFIG = {
    "Hostname", "Domainname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "Env",
    "Cmd", "Image", "Volumes", "WorkingDir", "Entrypoint", "OnBuild", "Labels",
}  # fmt: skip


def shown(info: ContainerInfo, root: str = "/root") -> dict[str, Any]:
    parsed = json.loads(encode(container_json(info, root=root)))
    assert isinstance(parsed, dict)
    return parsed


def minimal(**more: object) -> ContainerInfo:
    return ContainerInfo(id=ID, name="x", spec=ContainerSpec(argv=("true",), rootfs="/"), **more)  # type: ignore[arg-type]


def test_a_container_has_dockers_fields_and_ardocks_beside_them() -> None:
    container = shown(minimal())
    assert set(container) == CONTAINER | {"Ardock"}
    assert set(container["State"]) == STATE
    assert set(container["HostConfig"]) == HOST_CONFIG
    assert set(container["Config"]) == CONFIG
    assert container["Config"]["Image"] == "/"
    assert container["Ardock"]["Rootfs"] == "/"


def test_what_docker_leaves_null_is_null() -> None:
    container = shown(minimal())
    assert container["ExecIDs"] is None
    assert container["Config"]["Entrypoint"] is None
    assert container["HostConfig"]["CapAdd"] is None
    assert container["HostConfig"]["PidsLimit"] is None
    assert container["HostConfig"]["Dns"] == []
    assert container["Config"]["Labels"] == {}


def test_a_created_container() -> None:
    container = shown(minimal(created_at=NOW))
    assert container["Created"] == "2027-01-15T08:00:00Z"
    assert container["Name"] == "/x"
    assert (container["Path"], container["Args"]) == ("true", [])
    assert container["State"] == {
        "Status": "created", "Running": False, "Paused": False, "Restarting": False, "OOMKilled": False, "Dead": False,
        "Pid": 0, "ExitCode": 0, "Error": "", "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "ended", "word", "running"),
    [
        ("created", False, "created", False),
        ("starting", False, "created", False),
        ("starting", True, "exited", False),
        ("running", True, "running", True),
        ("paused", False, "paused", True),
        ("restarting", True, "restarting", True),
        ("exited", True, "exited", False),
        ("removing", True, "removing", False),
        ("dead", True, "dead", False),
    ],
)
def test_every_state_has_a_word_of_dockers(status: Status, ended: bool, word: str, running: bool) -> None:
    container = shown(minimal(status=status, exit=EXIT if ended else None))
    assert (container["State"]["Status"], container["State"]["Running"]) == (word, running)
    assert container["Ardock"]["Status"] == status
    summary = ContainerSummary(id=ID, name="x", status=status, exit_code=137 if ended else None)
    assert PsRow(summary, Moment(NOW)).struct()["State"] == word


def test_an_ended_container_tells_how_and_a_running_one_not_of_its_last_end() -> None:
    info = minimal(status="exited", exit=EXIT, started_at=NOW - SECOND, finished_at=NOW, run=2, timings=Timings(exec=7))
    container = shown(info)
    assert (container["State"]["ExitCode"], container["State"]["OOMKilled"]) == (137, True)
    assert container["State"]["FinishedAt"] == "2027-01-15T08:00:00Z"
    ours = container["Ardock"]
    assert (ours["Signal"], ours["Reason"], ours["Runs"], ours["Timings"]["Exec"]) == (9, "exited", 2, 7)
    assert shown(minimal(status="running", exit=EXIT))["State"]["ExitCode"] == 0


def test_everything_that_was_asked_for_is_told() -> None:
    container = shown(ContainerInfo(id=ID, name="one", spec=SPEC, remove=True, log="containers/x/log", execs=("e",)))
    host = container["HostConfig"]
    assert (host["BlkioWeight"], host["BlkioWeightDevice"]) == (300, [{"Path": "/dev/sda", "Weight": 400}])
    assert host["BlkioDeviceReadBps"] == [{"Path": "/dev/sda", "Rate": 1 << 20}]
    assert host["BlkioDeviceWriteIOps"] == [{"Path": "/dev/sda", "Rate": 30}]
    assert host["BlkioDeviceWriteBps"] == host["BlkioDeviceReadIOps"] == []
    assert host["Binds"] == ["/tmp:/m:ro"]
    assert host["Mounts"] == [
        {
            "Type": "bind",
            "Target": "/s",
            "Source": "/srv",
            "BindOptions": {"Propagation": "rslave", "NonRecursive": True},
        },
        {"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": 1 << 20}},
    ]
    assert container["Mounts"] == [
        {"Type": "bind", "Source": "/tmp", "Destination": "/m", "Mode": "ro", "RW": False, "Propagation": "rprivate"},
        {"Type": "bind", "Source": "/srv", "Destination": "/s", "Mode": "", "RW": True, "Propagation": "rslave"},
        {"Type": "tmpfs", "Source": "", "Destination": "/scratch", "Mode": "", "RW": True, "Propagation": ""},
    ]
    assert host["Tmpfs"] == {"/t": "size=1m"}
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 << 20, 128 << 20, 500_000_000)
    assert (host["CapAdd"], host["CapDrop"]) == (["CAP_NET_ADMIN", "ALL"], ["CAP_KILL"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "1m", "max-file": "2"}}
    assert host["Devices"] == [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/xnull", "CgroupPermissions": "rw"}]
    assert host["Ulimits"] == [{"Name": "nofile", "Hard": 20, "Soft": 10}]
    assert host["Sysctls"] == {"net.ipv4.ip_forward": "1"}
    assert (host["AutoRemove"], host["PidsLimit"], host["NetworkMode"]) == (True, 50, "none")
    config = container["Config"]
    assert (config["StopSignal"], config["StopTimeout"]) == ("INT", 3)
    assert (config["Env"], config["Labels"]) == (["X=y"], {"a": "b", "c": "d=e"})
    assert config["Cmd"] == ["sh", "-c", "sleep 1000"]
    assert container["LogPath"] == "/root/containers/x/log"
    assert container["ExecIDs"] == ["e"]
    assert list(container["NetworkSettings"]["Networks"]) == ["none"]


@pytest.mark.parametrize(("swap", "told"), [(None, 128 << 20), (-1, -1), ("-1", -1), ("100m", 100 << 20)])
def test_memory_swap_is_dockers(swap: int | str | None, told: int) -> None:
    spec = ContainerSpec(argv=("true",), rootfs="/", memory="64m", memory_swap=swap)
    assert shown(ContainerInfo(id=ID, name="x", spec=spec))["HostConfig"]["MemorySwap"] == told


def test_a_privileged_container_has_nothing_masked() -> None:
    spec = ContainerSpec(argv=("true",), rootfs="/", privileged=True, log="none")
    host = shown(ContainerInfo(id=ID, name="x", spec=spec))["HostConfig"]
    assert (host["MaskedPaths"], host["ReadonlyPaths"]) == (None, None)
    assert host["LogConfig"] == {"Type": "none", "Config": {}}
    # What is told of any other is what the engine applies.
    host = shown(minimal())["HostConfig"]
    user = User(uid=0, gid=0, groups=(0,), home="/root")
    place = Placement(keeper=1, cgroup_parent="p", scratch_dir="/d")
    applied = plan(minimal().spec, Facts(), Resolved(roots=(1,), user=user), place, container_id=ID).spec
    assert (host["MaskedPaths"], host["ReadonlyPaths"]) == (list(applied.masked), list(applied.readonly))
    assert "/proc/kcore" in applied.masked


def test_indented_json_is_as_docker_indents() -> None:
    text = encode_indented([container_json(minimal())])
    assert text.startswith('[\n    {\n        "Id": "0123')
    assert '\n        "Args": [],\n' in text
    assert '"Labels": {}' in text


# ps.


def summary(**more: object) -> ContainerSummary:
    return ContainerSummary(id=ID, name="one", image="bench", argv=("sh",), created_at=NOW - 90 * SECOND, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "status"),
    [
        (summary(), "Created"),
        (summary(status="starting"), "Created"),
        (summary(status="running", started_at=NOW - 300 * SECOND), "Up 5 minutes"),
        (summary(status="paused", started_at=NOW - 300 * SECOND), "Up 5 minutes (Paused)"),
        (summary(status="exited", exit_code=3, finished_at=NOW - SECOND), "Exited (3) 1 second ago"),
        (summary(status="starting", exit_code=3, finished_at=NOW - SECOND), "Exited (3) 1 second ago"),
        (summary(status="restarting", exit_code=1, finished_at=NOW - 2 * SECOND), "Restarting (1) 2 seconds ago"),
        (summary(status="removing", exit_code=1), "Removal In Progress"),
        (summary(status="dead"), "Dead"),
    ],
)
def test_the_status_is_told_as_docker_tells_it(container: ContainerSummary, status: str) -> None:
    assert PsRow(container, Moment(NOW)).struct()["Status"] == status


def test_up_is_counted_by_the_clock_that_nobody_sets() -> None:
    """The wall clock was set back a year since the start."""
    container = summary(status="running", started_at=NOW + 365 * 86400 * SECOND, started_boot=100 * SECOND)
    assert PsRow(container, Moment(NOW, boottime=160 * SECOND)).struct()["Status"] == "Up About a minute"


@pytest.mark.parametrize(
    ("argv", "shortened", "whole"),
    [
        (("sh",), '"sh"', '"sh"'),
        (("sh", "-c", "exit 3"), "\"sh -c 'exit 3'\"", "\"sh -c 'exit 3'\""),
        (("echo", "a" * 20), f'"echo {"a" * 14}…"', f'"echo {"a" * 20}"'),
        (("a b", '\x1b[2J\n"ä'), '"a b \\x1b[2J\\n\\"ä"', '"a b \\x1b[2J\\n\\"ä"'),
        ((), '""', '""'),
    ],
)
def test_a_command_is_quoted_so_that_it_cannot_reach_the_terminal(
    argv: tuple[str, ...], shortened: str, whole: str
) -> None:
    container = ContainerSummary(id=ID, name="x", argv=argv)
    assert PsRow(container, Moment(NOW)).struct()["Command"] == shortened
    assert PsRow(container, Moment(NOW), truncate=False).struct()["Command"] == whole


def test_a_row_has_dockers_columns() -> None:
    container = summary(
        labels={"z": "1", "a": "b"}, mounts=("/tmp", "/a/very/long/path"), network="host", status="running"
    )
    row = PsRow(container, Moment(NOW)).struct()
    assert set(row) == set(PS_HEADINGS) | {"Label"}
    assert json.loads(encode(row)).keys() == set(PS_HEADINGS)
    assert (row["ID"], row["Image"], row["Names"], row["Networks"]) == (ID[:12], "bench", "one", "host")
    assert (row["Labels"], row["Mounts"], row["RunningFor"]) == (
        "a=b,z=1",
        "/tmp,/a/very/long/p…",
        "About a minute ago",
    )
    label = row["Label"]
    assert callable(label)
    assert (label("a"), label("no")) == ("b", "")
    assert PsRow(container, Moment(NOW), truncate=False).struct()["ID"] == ID
