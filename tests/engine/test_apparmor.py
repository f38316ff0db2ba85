# ruff: noqa: ASYNC220, ASYNC221, ASYNC240 - a test may wait for small local files and programs
"""What the AppArmor profile of containers denies, on a kernel that has AppArmor; what it costs on one that has not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

import ardock
from ardock.docker.inspect import container_json
from ardock.engine import Engine, apparmor, own_engine
from ardock.engine import engine as opening
from tests.engine.folders import Folders

SECURITYFS = Path("/sys/kernel/security/apparmor")
HOST = apparmor.support()

needs = pytest.mark.skipif(
    not HOST.enabled or bool(apparmor.missing(HOST)),
    reason=f"AppArmor: {apparmor.missing(HOST) if HOST.enabled else 'this kernel has it not enabled'}",
)
LABEL = ["cat", "/proc/self/attr/current"]
DEFAULT = b"ardock-default (enforce)\n"
UNCONFINED = b"unconfined\n"


def loaded() -> frozenset[str]:
    names = apparmor.support().loaded
    assert names is not None
    return names


def revision() -> int:
    """Of the kernel's whole policy: it grows with every profile that is loaded or removed."""
    descriptor = os.open(SECURITYFS / "revision", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return int(os.read(descriptor, 64))
    finally:
        os.close(descriptor)


@contextmanager
def profile_loaded(name: str, rules: str) -> Iterator[str]:
    text = f"profile {name} flags=(attach_disconnected) {{ file, capability, network, {rules} }}"
    subprocess.run([HOST.parser or "", "-Kr"], input=text, text=True, check=True)
    yield name
    (SECURITYFS / ".remove").write_text(name)


@pytest.fixture
def custom() -> Iterator[str]:
    """A profile of the user's own, which denies one file."""
    with profile_loaded("ardock-test-custom", "signal (receive) peer=unconfined, deny /etc/passwd r,") as name:
        yield name


@pytest.fixture
def deaf() -> Iterator[str]:
    """A profile of the user's own, which says nothing of signals."""
    with profile_loaded("ardock-test-deaf", "") as name:
        yield name


# --- applied ---


@needs
@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, DEFAULT),
        ({"no_new_privileges": True}, DEFAULT),
        ({"user": "1000:1000", "no_new_privileges": True, "tty": True}, DEFAULT.replace(b"\n", b"\r\n")),
        ({"pid": "host", "network": "host", "cap_add": ["ALL"], "seccomp": "unconfined"}, DEFAULT),
        ({"apparmor": ""}, DEFAULT),
        ({"apparmor": "unconfined"}, UNCONFINED),
        ({"privileged": True}, UNCONFINED),
        ({"privileged": True, "apparmor": "ardock-default"}, DEFAULT),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
async def test_a_container_has_dockers_choice_of_profile(
    engine: Engine, rootfs: str, options: dict[str, object], label: bytes
) -> None:
    result = await engine.containers.run(LABEL, rootfs=rootfs, **options)  # type: ignore[arg-type]
    assert (result.exit_code, result.stdout, result.stderr) == (0, label, b"")


@needs
async def test_a_profile_of_the_users_own_is_applied(engine: Engine, rootfs: str, custom: str) -> None:
    result = await engine.containers.run([*LABEL, "/etc/passwd"], rootfs=rootfs, apparmor=custom)
    assert result.stdout.decode() == f"{custom} (enforce)\n"
    assert b"/etc/passwd': Permission denied" in result.stderr
    created = await engine.containers.create(["true"], rootfs=rootfs, apparmor=custom)
    await engine.containers.start(created.id)
    await engine.containers.wait(created.id)
    assert (await engine.containers.inspect(created.id)).apparmor == custom


@needs
async def test_a_profile_that_is_not_loaded_is_refused_before_the_launch(engine: Engine, rootfs: str) -> None:
    with pytest.raises(ardock.NotFound, match="apparmor: the profile 'nosuch' is not loaded; load it with") as caught:
        await engine.containers.run(["true"], rootfs=rootfs, apparmor="nosuch")
    assert caught.value.field == "apparmor"
    # As with Docker it may be loaded between the creation and the start.
    created = await engine.containers.create(["true"], rootfs=rootfs, apparmor="nosuch")
    with pytest.raises(ardock.NotFound, match="'nosuch'"):
        await engine.containers.start(created.id)
    assert (await engine.containers.inspect(created.id)).status == "created"


@needs
async def test_a_container_shows_its_profile_to_inspect_and_to_its_execs(
    folders: Folders, rootfs: str, custom: str
) -> None:
    """Also to the next engine, and to privileged execs, as with Docker."""
    script = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]
    made: dict[str, str] = {}
    async with own_engine(**folders) as engine:
        assert (await engine.info()).apparmor == "ardock-default"
        for profile in ("", custom, "unconfined"):
            created = await engine.containers.create(script, rootfs=rootfs, apparmor=profile or None)
            before = container_json(await engine.containers.inspect(created.id))
            assert before["AppArmorProfile"] == profile
            await engine.containers.start(created.id)
            made[created.id] = profile or "ardock-default"
    async with own_engine(**folders) as engine:
        for ref, profile in made.items():
            assert container_json(await engine.containers.inspect(ref))["AppArmorProfile"] == profile
            label = "unconfined\n" if profile == "unconfined" else f"{profile} (enforce)\n"
            for privileged in (False, True):
                spec = ardock.ExecSpec(argv=tuple(LABEL), privileged=privileged)
                result = await engine.containers.exec_run(ref, spec)
                assert (result.exit_code, result.stdout.decode(), result.stderr) == (0, label, b"")
            await engine.containers.remove(ref, force=True)


# --- loaded ---


@needs
async def test_it_is_loaded_once_for_all_containers_and_engines(
    engine: Engine, folders: Folders, rootfs: str, tmp_path: Path
) -> None:
    before = revision()
    results = [result.stdout async for result in engine.containers.run_many([ardock.ContainerSpec(
        argv=tuple(LABEL), rootfs=rootfs)] * 20)]  # fmt: skip
    assert results == [DEFAULT] * 20
    other = Folders(root=tmp_path / "other", run_dir=folders["run_dir"])
    async with own_engine(**other) as second:
        assert (await second.info()).apparmor == "ardock-default"
    assert revision() == before, "something was loaded"


@needs
async def test_where_it_is_unloaded_the_engine_loads_it_again(engine: Engine, rootfs: str) -> None:
    """By an upgrade of packages, or by `aa-remove-unknown`."""
    created = await engine.containers.create(["sleep", "1000"], rootfs=rootfs)
    await engine.containers.start(created.id)
    (SECURITYFS / ".remove").write_text("ardock-default")
    with trio.fail_after(120):
        while "ardock-default" not in loaded():  # noqa: ASYNC110 - the kernel's list
            await trio.sleep(0.05)
    assert (await engine.containers.run(LABEL, rootfs=rootfs)).stdout == DEFAULT
    assert (await engine.containers.exec_run(created.id, LABEL)).stdout == DEFAULT


@needs
async def test_a_profile_loaded_later_is_known_and_one_unloaded_later_is_not(
    engine: Engine, rootfs: str, custom: str
) -> None:
    assert (await engine.containers.run(["true"], rootfs=rootfs, apparmor=custom)).exit_code == 0
    (SECURITYFS / ".remove").write_text(custom)
    try:
        with trio.fail_after(60):
            while True:
                try:
                    await engine.containers.run(["true"], rootfs=rootfs, apparmor=custom)
                except ardock.NotFound:
                    break
                except ardock.LaunchFailed as error:
                    # The engine was not told of it yet: the kernel's own refusal.
                    assert "no such profile loaded" in str(error)  # noqa: PT017
    finally:
        subprocess.run([HOST.parser or "", "-Kr"], input=f"profile {custom} {{ file, }}", text=True, check=True)
    assert (await engine.containers.run(["true"], rootfs=rootfs, apparmor=custom)).exit_code == 0


# --- denies ---

# What a privileged container may do, and what the profile leaves of it. Opened for writing, nothing is written.
DENIED = {
    "mount": "mount -t tmpfs x /tmp && umount /tmp",
    "bind": "mount -o bind /root /tmp && umount /tmp",
    "remount": "mount -o remount,bind,ro /dev/shm",
    "sysctl": ": >>/proc/sys/kernel/core_pattern",
    "sysctl sysrq": ": >>/proc/sys/kernel/sysrq",
    "sysctl threads": ": >>/proc/sys/kernel/threads-max",
    "sysctl subfolder": ": >>/proc/sys/kernel/keys/maxkeys",
    "sysctl vm": ": >>/proc/sys/vm/swappiness",
    "sysctl net": ": >>/proc/sys/net/ipv4/ip_default_ttl",
    "sysrq-trigger": ": >>/proc/sysrq-trigger",
    "kcore": "head -c 1 /proc/kcore",
    "irq": ": >>/proc/irq/default_smp_affinity",
    "sys": ": >>/sys/kernel/rcu_expedited",
    "sys module": ": >>/sys/module/printk/parameters/time",
    "sys fs": "tee -a /sys/fs/ext4/*/mb_stats </dev/null",
}  # fmt: skip
ALLOWED = {
    "own proc": "echo x >/proc/self/comm",
    "shared memory": ": >>/proc/sys/kernel/shmmax",
    "umount": "umount /dev/mqueue",
    "read sysctl": "cat /proc/sys/kernel/core_pattern",
    "read sys": "cat /sys/kernel/rcu_expedited",
    "cgroup": "cat /sys/fs/cgroup/cgroup.procs || cat /sys/fs/cgroup/*/cgroup.procs",
    "kill": "sleep 100 & kill $! && ! wait $!",
    "child's memory": "sleep 100 & cat /proc/$!/environ; kill $!",
    "socket": "nc -l -p 7 -e true & kill $!",
}


async def outcomes(engine: Engine, rootfs: str, **options: object) -> dict[str, str]:
    """What each of the above says; empty where it works."""
    cases = DENIED | ALLOWED
    script = "".join(f"({command}) >/dev/null 2>/tmp/e; echo $? $(cat /tmp/e)\n" for command in cases.values())
    result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs, **options)  # type: ignore[arg-type]
    lines = [line.partition(" ") for line in result.stdout.decode().splitlines()]
    assert len(lines) == len(cases), result
    return {name: "" if code == "0" else said or code for name, (code, _, said) in zip(cases, lines, strict=True)}


@needs
@pytest.mark.timeout(300)
async def test_what_a_privileged_container_may_not_do_under_the_profile(engine: Engine, rootfs: str) -> None:
    free = await outcomes(engine, rootfs, privileged=True)
    bound = await outcomes(engine, rootfs, privileged=True, apparmor="ardock-default")
    assert {name: said for name, said in free.items() if said} == {}, "works without the profile"
    assert {name: said for name, said in bound.items() if said and name in ALLOWED} == {}
    assert [name for name in DENIED if "ermission denied" not in bound[name]] == [], bound


@needs
@pytest.mark.parametrize("capability", ["SYS_ADMIN", "ALL"])
async def test_a_container_that_was_given_capabilities_cannot_mount(
    engine: Engine, rootfs: str, capability: str
) -> None:
    """Neither anew, nor by taking away the mounts that protect /proc."""
    script = "mount -t tmpfs x /tmp; umount /proc/sysrq-trigger && umount /proc/sys; (: >>/proc/sysrq-trigger); (: >>/proc/sys/kernel/core_pattern)"  # fmt: skip
    argv = ["sh", "-c", script]
    free = await engine.containers.run(argv, rootfs=rootfs, cap_add=[capability], apparmor="unconfined")
    assert (free.exit_code, free.stderr) == (0, b"")
    bound = await engine.containers.run(argv, rootfs=rootfs, cap_add=[capability])
    said = bound.stderr.decode()
    assert [said.count(word) for word in ("mounting x", "sysrq-trigger", "core_pattern")] == [1, 1, 1], said
    assert said.lower().count("permission denied") == 3, said


@needs
async def test_the_hosts_processes_in_view_are_neither_signalled_nor_looked_into(engine: Engine, rootfs: str) -> None:
    with subprocess.Popen(["sleep", "1000"]) as victim:
        pid = victim.pid
        script = f"kill -0 {pid} || exit 9; kill -CONT {pid}; cat /proc/{pid}/environ; kill -CONT $$ && echo self"
        argv = ["sh", "-c", script]
        more: dict[str, object] = {"rootfs": rootfs, "pid": "host", "cap_add": ["SYS_PTRACE"]}
        free = await engine.containers.run(argv, apparmor="unconfined", **more)  # type: ignore[arg-type]
        assert (free.exit_code, free.stderr) == (0, b"")
        assert b"PATH=" in free.stdout
        bound = await engine.containers.run(argv, **more)  # type: ignore[arg-type]
        assert bound.stdout == b"self\n"
        assert bound.stderr.lower().count(b"permission denied") == 2, bound.stderr
        victim.kill()


@needs
async def test_a_container_is_stopped_and_killed_from_the_host(engine: Engine, rootfs: str) -> None:
    containers = engine.containers
    script = "trap 'echo hup' HUP; trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    created = await containers.create(["sh", "-c", script], rootfs=rootfs)
    await containers.start(created.id)
    async with containers.logs(created.id, ardock.LogQuery(follow=True)) as items:
        async for item in items:
            text = getattr(item, "data", b"")
            if b"ready" in text:
                await containers.kill(created.id, "HUP")
            if b"hup" in text:
                break
    await containers.stop(created.id, timeout=60)
    assert (await containers.wait(created.id)).exit_code == 7
    await containers.start(created.id)
    os.kill((await containers.inspect(created.id)).pid, 9)
    assert (await containers.wait(created.id)).exit_code == 137


@needs
@pytest.mark.skipif(not Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="cgroup.kill is of version 2")
@needs
async def test_a_profile_that_keeps_signals_away_does_not_keep_a_container_from_ending(
    engine: Engine, rootfs: str, deaf: str
) -> None:
    """The kernel asks the profile whether even root's signals may come in; a control group is killed without asking."""
    created = await engine.containers.create(["sleep", "1000"], rootfs=rootfs, apparmor=deaf)
    await engine.containers.start(created.id)
    with pytest.raises(ardock.LaunchFailed, match=r"needs the rule `signal \(receive\) peer=unconfined,`"):
        await engine.containers.kill(created.id, "TERM")
    await engine.containers.kill(created.id)
    assert (await engine.containers.wait(created.id)).exit_code == 137
    with trio.move_on_after(5):
        await engine.containers.run(["sleep", "1000"], rootfs=rootfs, apparmor=deaf)
    result = await engine.containers.run(["sleep", "1000"], rootfs=rootfs, apparmor=deaf, timeout=0.2)
    assert (result.exit_code, result.timed_out) == (137, True)


@needs
async def test_programs_inside_are_traced_and_debugged(engine: Engine, rootfs: str) -> None:
    """As strace and gdb do it: a child, and (with the capability) a process that runs already."""
    if not Path("/usr/bin/strace").exists():
        pytest.skip("strace is not installed")
    script = """
        strace -o /tmp/child true; grep -c exit_group /tmp/child
        sleep 1000 & sleep 0.5
        strace -o /tmp/other -p $! & sleep 2; kill $!; wait $!; grep -c 'restart_syscall\\|nanosleep' /tmp/other
    """
    result = await engine.containers.run(
        ["/bin/sh", "-c", script], rootfs="/", tmpfs={"/tmp": ""}, cap_add=["SYS_PTRACE"], user="1000"
    )
    assert result.stdout.split() == [b"1", b"1"], result


# --- without ---


@pytest.mark.skipif(HOST.enabled, reason="this kernel has AppArmor enabled")
async def test_on_a_host_without_it_one_file_is_read_and_nothing_called(
    folders: Folders, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> None:
        raise AssertionError("asked for on a host without it")

    opened: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and "apparmor" in str(arguments[0]):
            opened.append(str(arguments[0]))

    # It stays until the process ends: there is no way to take one away.
    sys.addaudithook(watch)
    monkeypatch.setattr(opening, "Profile", never)
    async with own_engine(**folders) as engine:
        created = await engine.containers.create(["true"], rootfs=rootfs)
        await engine.containers.start(created.id)
        await engine.containers.wait(created.id)
        info = await engine.containers.inspect(created.id)
        await engine.containers.remove(created.id)
        assert (await engine.info()).apparmor == ""
    watching = False
    assert (info.apparmor, container_json(info)["AppArmorProfile"]) == ("", "")
    assert opened == ["/sys/module/apparmor/parameters/enabled"]


@pytest.mark.skipif(HOST.enabled, reason="this kernel has AppArmor enabled")
async def test_on_a_host_without_it_a_profile_by_name_is_refused(engine: Engine, rootfs: str) -> None:
    with pytest.raises(ardock.Unsupported, match="apparmor: this kernel does not have AppArmor enabled"):
        await engine.containers.run(["true"], rootfs=rootfs, apparmor="ardock-default")
    assert (await engine.containers.run(["true"], rootfs=rootfs, apparmor="unconfined")).exit_code == 0
