"""`_core.Launcher`: the launch core in this very process, without a keeper; for trusted tools."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import structs

from ardock import _core
from ardock.engine import facts
from ardock.engine.containers.plan import plan
from ardock.engine.containers.resolved import Placement, Resolved, User
from ardock.model.launch import LaunchSpec
from ardock.model.spec import ContainerSpec

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers are made with it"),
]


@pytest.fixture
def parent() -> Iterator[tuple[_core.Launcher, str]]:
    """A launcher and a control group of this test's own."""
    launcher = _core.Launcher()
    name = f"ardock-test-{secrets.token_hex(4)}"
    launcher.make_cgroup_parent(name)
    try:
        yield launcher, name
    finally:
        launcher.remove_cgroup_parent(name)
        launcher.close()


def planned(launcher: _core.Launcher, parent: str, rootfs: str, argv: tuple[str, ...]) -> LaunchSpec:
    fd = _core.open_root(rootfs)
    launcher.add_root(1, fd)
    os.close(fd)
    digest, code = _core.seccomp_compile(None, 0xA80425FB, False, False)
    launcher.add_seccomp(digest, code)
    spec = ContainerSpec(argv=argv, rootfs=rootfs, scratch="memory", memory="32m", pids_limit=20)
    resolved = Resolved(roots=(1,), user=User(0, 0, (0,), "/root"), seccomp=digest)
    placement = Placement(keeper=0, cgroup_parent=parent, scratch_dir="/nowhere", capture=0)
    return plan(spec, facts.gather(hidden=(), scratch="memory"), resolved, placement, container_id="a" * 64).spec


def test_a_program_runs_as_our_own_child(parent: tuple[_core.Launcher, str], busybox_root: object) -> None:
    launcher, group = parent
    spec = planned(launcher, group, str(busybox_root), ("sh", "-c", "echo $$ $PPID; exit 6"))
    launched = launcher.launch(msgspec.msgpack.encode(spec), [])
    assert launched.stdout is not None
    assert launched.stderr is not None
    assert launched.stdin is None
    with open(launched.stdout, "rb") as stdout:
        assert stdout.read() == b"1 0\n"
    assert launched.wait() == 6
    assert msgspec.msgpack.decode(launched.timings)["total"] > 0
    os.close(launched.stderr)
    os.close(launched.pidfd)
    launcher.remove_cgroup(group, "a" * 64)


def test_a_failure_is_told_with_its_step_and_leaves_nothing(
    parent: tuple[_core.Launcher, str], busybox_root: object
) -> None:
    launcher, group = parent
    spec = planned(launcher, group, str(busybox_root), ("nonexistent",))
    with pytest.raises(_core.HostError) as caught:
        launcher.launch(msgspec.msgpack.encode(spec), [])
    step, subject, errno, _, exit_code = caught.value.args
    assert (step, errno, exit_code) == ("exec", 2, 127)
    assert "nonexistent" in subject
    assert [name for name in launcher.cgroup_children(group) if len(name) == 64] == []
    with pytest.raises(ValueError, match=r"argv|missing|invalid"):
        launcher.launch(msgspec.msgpack.encode({"process": {}}), [])
    with pytest.raises(_core.HostError):
        launcher.launch(
            msgspec.msgpack.encode(structs.replace(spec, root=structs.replace(spec.root, layers=("/roots/9",)))), []
        )


def test_a_closed_launcher_says_so(parent: tuple[_core.Launcher, str]) -> None:
    launcher = _core.Launcher()
    launcher.close()
    launcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        launcher.cgroup_children("ardock-test")


def test_a_program_can_be_launched_with_one_call(busybox_root: object) -> None:
    spec = ContainerSpec(argv=("sh", "-c", "echo $$; exit 3"), rootfs=str(busybox_root), scratch="memory")
    resolved = Resolved(roots=(1,), user=User(0, 0, (0,), "/root"), seccomp=None)
    placement = Placement(keeper=0, cgroup_parent="none", scratch_dir="/nowhere", capture=0)
    made = plan(spec, facts.gather(hidden=(), scratch="memory"), resolved, placement, container_id="b" * 64).spec
    # No control group is made by the call, and the root comes as a descriptor.
    made = structs.replace(made, cgroup=None, root=structs.replace(made.root, layers=(0,)))
    fd = _core.open_root(str(busybox_root))
    launched = _core.launch(msgspec.msgpack.encode(made), [fd])
    os.close(fd)
    assert launched.stdout is not None
    assert launched.stderr is not None
    with open(launched.stdout, "rb") as stdout:
        assert stdout.read() == b"1\n"
    assert launched.wait() == 3
    os.close(launched.stderr)
    os.close(launched.pidfd)
