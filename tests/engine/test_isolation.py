# ruff: noqa: ASYNC240 - a test may wait for small local files and programs
"""What a container sees of itself and of the host."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import ardock
from ardock import Mount
from ardock.engine import Engine


async def out(engine: Engine, script: str, rootfs: str, **options: object) -> list[str]:
    result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs, **options)  # type: ignore[arg-type]
    assert result.exit_code == 0, result
    return result.stdout.decode().splitlines()


async def test_it_sees_its_own_processes_name_and_interfaces(engine: Engine, rootfs: str) -> None:
    lines = await out(
        engine, "echo $$; hostname; ls /sys/class/net; ls -d /proc/[0-9]* | wc -l; ip addr show lo", rootfs
    )
    assert lines[0] == "1"
    assert len(lines[1]) == 12
    assert lines[2] == "lo"
    assert int(lines[3]) <= 3
    assert any("UP" in line for line in lines[4:])


async def test_the_hosts_namespaces_where_asked_for(engine: Engine, rootfs: str) -> None:
    script = "for n in net ipc pid uts cgroup mnt; do readlink /proc/self/ns/$n; done"
    own = await out(engine, script, rootfs)
    shared = await out(engine, script, rootfs, network="host", ipc="host", pid="host", uts="host", cgroupns="host")
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "ipc", "pid", "uts", "cgroup", "mnt")]
    assert shared[:5] == host[:5]
    assert shared[5] != host[5]
    assert not set(own) & set(host)


async def test_the_engines_own_folders_are_hidden_from_a_view_of_the_host(engine: Engine) -> None:
    root, run = engine.root, engine.run_dir
    result = await engine.containers.run(["ls", "-A", str(root), str(run.parent)], rootfs="/")
    assert result.exit_code == 0, result
    assert str(engine.id) not in result.stdout.decode()
    assert "lock" not in result.stdout.decode()
    result = await engine.containers.run(
        ["/bin/sh", "-c", f"ls -A {root} {run.parent} | grep -v :"], rootfs="/", privileged=True
    )
    assert result.stdout.split() == []


async def test_a_view_of_the_host_is_copy_on_write(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    result = await engine.containers.run(
        ["/bin/sh", "-c", f"echo after > {tmp_path}/file; cat {tmp_path}/file"], rootfs="/"
    )
    assert result.stdout == b"after\n"
    assert (tmp_path / "file").read_text() == "before"


async def test_binds_are_as_asked(engine: Engine, rootfs: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("a\n")
    (tmp_path / "file").write_text("file\n")
    mounts = [
        Mount(source=str(tmp_path / "folder"), target="/data"),
        Mount(source=str(tmp_path / "folder"), target="/ro", read_only=True),
        Mount(source=str(tmp_path / "file"), target="/etc/some.conf"),
        Mount(source=str(tmp_path / "made"), target="/made", create_source=True),
        Mount(type="tmpfs", target="/scratch", options="size=1m"),
    ]
    script = (
        "cat /data/a /ro/a /etc/some.conf; echo b > /data/b; echo x > /ro/x; echo m > /made/m; df -k /scratch | tail -1"
    )
    result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs, mounts=mounts, tmpfs={"/run": ""})
    assert result.stdout.startswith(b"a\na\nfile\n")
    assert b"Read-only file system" in result.stderr
    assert b" 1024 " in result.stdout
    assert (tmp_path / "folder" / "b").read_text() == "b\n"
    assert not (tmp_path / "folder" / "x").exists()
    assert (tmp_path / "made" / "m").read_text() == "m\n"


async def test_layers_are_stacked_topmost_first(engine: Engine, rootfs: str, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"layer{number}").mkdir()
        (tmp_path / f"layer{number}" / "name").write_text(f"{number}\n")
        (tmp_path / f"layer{number}" / f"only{number}").touch()
    result = await engine.containers.run(
        ["sh", "-c", "cat /name; ls -d /only*"], layers=[str(tmp_path / "layer2"), str(tmp_path / "layer1"), rootfs]
    )
    assert result.stdout == b"2\n/only1\n/only2\n"


async def test_a_read_only_root_refuses_writes(engine: Engine, rootfs: str) -> None:
    result = await engine.containers.run(
        ["sh", "-c", "echo x > /x; echo y > /run/y && cat /run/y"], rootfs=rootfs, read_only=True, tmpfs={"/run": ""}
    )
    assert b"Read-only file system" in result.stderr
    assert result.stdout == b"y\n"


async def test_capabilities_and_seccomp_are_dockers(engine: Engine, rootfs: str) -> None:
    status = dict(line.split(":\t", 1) for line in await out(engine, "cat /proc/self/status", rootfs) if ":\t" in line)
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0xA80425FB
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "0")
    status = dict(
        line.split(":\t", 1)
        for line in await out(
            engine, "cat /proc/self/status", rootfs, user="alice", no_new_privileges=True, seccomp="unconfined"
        )
        if ":\t" in line
    )
    assert int(status["CapEff"], 16) == 0
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("0", "1")


async def test_a_seccomp_profile_of_the_users_applies(engine: Engine, rootfs: str, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    result = await engine.containers.run(["mkdir", "/x"], rootfs=rootfs, seccomp=str(profile))
    assert b"Operation not permitted" in result.stderr
    profile.write_text("{")
    with pytest.raises(ardock.InvalidArgument, match="seccomp"):
        await engine.containers.run(["true"], rootfs=rootfs, seccomp=str(profile))


async def test_a_profile_that_forbids_what_a_start_takes_is_refused_by_name(
    engine: Engine, rootfs: str, tmp_path: Path
) -> None:
    profile = tmp_path / "profile.json"
    rule = {"names": ["capset"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    with pytest.raises(ardock.InvalidArgument, match="capset"):
        await engine.containers.run(["true"], rootfs=rootfs, seccomp=str(profile))
    # With no_new_privileges the policy comes last of all, after the capabilities.
    result = await engine.containers.run(["true"], rootfs=rootfs, seccomp=str(profile), no_new_privileges=True)
    assert result.exit_code == 0


async def test_sysctls_and_shm(engine: Engine, rootfs: str) -> None:
    lines = await out(
        engine,
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax; df -k /dev/shm | tail -1",
        rootfs,
        sysctls={"net.ipv4.ip_forward": "1", "kernel.shmmax": "123456"},
        shm_size="2m",
    )
    assert lines[:2] == ["1", "123456"]
    assert lines[2].split()[1] == "2048"


async def test_host_devices_where_asked_for_and_no_others(engine: Engine, rootfs: str) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun")
    # With the capability to make a node, the device rules are what keeps it shut.
    result = await engine.containers.run(["sh", "-c", "mknod /tmp/tun c 10 200; exec 3<>/tmp/tun"], rootfs=rootfs)
    assert b"Operation not permitted" in result.stderr
    result = await engine.containers.run(
        ["sh", "-c", "exec 3<>/dev/tunnel; echo open"],
        rootfs=rootfs,
        devices=[ardock.Device(source="/dev/net/tun", target="/dev/tunnel", permissions="rw")],
    )
    assert result.stdout == b"open\n", result
