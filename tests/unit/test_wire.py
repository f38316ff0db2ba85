"""The records that both sides know: each goes through Rust and comes back the same."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ardock import _core
from ardock.engine.keepers import mapping
from ardock.model import launch as l
from ardock.model import messages as m
from ardock.model.records import Timings

U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
I32 = st.integers(-(1 << 31), (1 << 31) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BYTES = st.binary(max_size=40)

# Fields whose Rust type is narrower than Python's int.
NARROW: dict[tuple[type, str], st.SearchStrategy[object]] = {
    (l.DeviceRule, "kind"): st.sampled_from("abc"),
    (l.DeviceNode, "kind"): st.sampled_from("bcp"),
    (l.MemoryScratch, "size"): U64,
    (l.Filesystems, "shm_size"): st.none() | U64,
    (l.Tmpfs, "flags"): U64,
    (l.Rlimit, "soft"): U64,
    (l.Rlimit, "hard"): U64,
    (l.Resources, "memory"): st.none() | U64,
    (l.Resources, "memory_swap"): st.none() | I64,
    (l.Resources, "memory_reservation"): st.none() | U64,
    (l.Resources, "memory_high"): st.none() | U64,
    (l.Io, "weight"): st.none() | st.integers(0, 65535),
    (l.DeviceWeight, "weight"): st.integers(0, 65535),
    (l.DeviceRate, "rate"): U64,
    (l.Resources, "cpu_quota"): st.none() | I64,
    (l.Resources, "cpu_period"): st.none() | U64,
    (l.Resources, "cpu_shares"): st.none() | U64,
    (l.Resources, "pids"): st.none() | I64,
    (l.Process, "oom_score_adj"): st.none() | I32,
    (l.Stdio, "terminal"): st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    (l.LaunchError, "step"): st.sampled_from(sorted(mapping.PHRASES)),
    (l.LaunchError, "errno"): I32,
    (l.LaunchError, "exit_code"): st.integers(0, 255),
    (m.Output, "capture"): st.none() | U64,
    (m.Log, "max_size"): U64,
    (m.Resize, "rows"): st.integers(0, 65535),
    (m.Resize, "cols"): st.integers(0, 65535),
    (m.Signal, "signal"): I32,
    (m.Captured, "stream"): st.integers(0, 255),
    (m.Captured, "offset"): U64,
    (m.Attached, "streams"): st.integers(0, 255),
    (m.Exit, "code"): I32,
    (m.Exit, "signal"): st.none() | I32,
    (m.Exit, "finished_at"): I64,
    (m.Exit, "stdout_total"): U64,
    (m.Exit, "stderr_total"): U64,
    (m.Exit, "seq"): U64,
    (m.Exit, "duration_ns"): U64,
    (m.Start, "pid"): I32,
    (m.Start, "start_ticks"): U64,
    (m.Start, "started_at"): I64,
    (m.Start, "started_boot"): I64,
    (m.Welcome, "pid"): I32,
    (m.Oom, "kills"): U64,
    (m.Entry, "oom_kills"): U64,
    (m.Info, "counters"): st.lists(st.tuples(TEXT, U64), max_size=3).map(tuple),
    **{(l.Capabilities, name): U64 for name in ("bounding", "effective", "permitted", "inheritable", "ambient")},
}


def values(kind: object) -> st.SearchStrategy[object]:
    """Values of a field's type."""
    if kind is int:
        return U32
    if kind is str:
        return TEXT
    if kind is bytes:
        return BYTES
    if kind is bool:
        return st.booleans()
    if kind is type(None):
        return st.none()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return records(kind)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(values(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, arguments))
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from(arguments)
    return st.one_of(*map(values, arguments))


def records(kind: type[msgspec.Struct]) -> st.SearchStrategy[object]:
    """Records of a kind, each field any value that both sides can hold."""
    hints = typing.get_type_hints(kind)
    fields = {name: NARROW.get((kind, name), values(hints[name])) for name in kind.__struct_fields__}
    if "req" in fields:
        fields["req"] = U64
    return st.builds(kind, **fields)


def encoded(record: object) -> bytes:
    return msgspec.msgpack.encode(record)


REQUESTS = typing.get_args(m.Request)
REPLIES = typing.get_args(m.Reply)


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_every_request_is_understood_as_it_was_meant(kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=30, deadline=None)
    @given(records(kind))
    def check(record: object) -> None:
        back = msgspec.msgpack.decode(_core.reencode("request", encoded(record)), type=m.Request)
        assert back == record

    check()


@pytest.mark.parametrize("kind", REPLIES, ids=lambda kind: kind.__name__)
def test_every_reply_is_understood_as_it_was_meant(kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=30, deadline=None)
    @given(records(kind))
    def check(record: object) -> None:
        back = msgspec.msgpack.decode(_core.reencode("reply", encoded(record)), type=m.Reply)
        assert back == record

    check()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("launch_spec", l.LaunchSpec), ("exec_spec", l.ExecLaunch), ("launch_error", l.LaunchError), ("timings", Timings)],
)
def test_every_other_record_is_understood_as_it_was_meant(name: str, kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=50, deadline=None)
    @given(records(kind))
    def check(record: object) -> None:
        assert msgspec.msgpack.decode(_core.reencode(name, encoded(record)), type=kind) == record

    check()


def test_both_sides_have_the_same_fields_and_tags() -> None:
    """An unknown field is refused: Python's may not have more; Rust's re-encoding shows that it has not fewer."""
    record = m.Launch(req=1, id="a", spec=example(), output=m.Output(), blob=b"")
    theirs = msgspec.msgpack.decode(_core.reencode("request", encoded(record)))
    ours = msgspec.msgpack.decode(encoded(record))
    assert theirs == ours
    ours["spec"]["more"] = 1
    with pytest.raises(ValueError, match="more"):
        _core.reencode("request", msgspec.msgpack.encode(ours))


def example() -> l.LaunchSpec:
    return l.LaunchSpec(
        process=l.Process(
            argv=(b"true",), env=(b"A=b",), cwd="/", uid=0, gid=0, groups=(), umask=0o022,
            capabilities=l.Capabilities(bounding=1, effective=1, permitted=1, inheritable=0, ambient=0),
            seccomp=None, no_new_privileges=False, apparmor=None,
            rlimits=(l.Rlimit(resource=7, soft=1, hard=l.UNLIMITED),), oom_score_adj=None,
        ),
        stdio=l.Stdio(), namespaces=l.Namespaces(), hostname="box", domainname=None,
        root=l.Root(layers=("/roots/1", 0), scratch=l.DiskScratch(dir="/store/x", volatile=True), readonly=False),
        filesystems=l.Filesystems(), devices=(),
        mounts=(
            l.MountPoint(target="/a", what=l.Bind(source=0, file=True)),
            l.MountPoint(target="/b", what=l.Tmpfs(data="size=1", flags=6)),
        ),
        files=(l.File(target="/etc/hosts", content=b"x"),), masked=("/proc/kcore",), readonly=("/proc/sys",),
        sysctls=(("net.a", "1"),),
        cgroup=l.Cgroup(parent="ardock-0/k1", name="a", resources=l.Resources(memory=1, pids=-1)), deadline_ms=1,
    )  # fmt: skip


# The very bytes of version 1. A keeper of an earlier build speaks them: they may be added to, not changed.
GOLDEN = {
    "hello": (m.Hello(version=1), "82a174a568656c6c6fa776657273696f6e01"),
    "signal": (
        m.Signal(req=7, id="ab", exec=None, signal=9),
        "85a174a67369676e616ca372657107a26964a26162a465786563c0a67369676e616c09",
    ),
    "ack": (m.Ack(ids=(("ab", None), ("cd", "e"))), "82a174a361636ba36964739292a26162c092a26364a165"),
    "root": (m.RootMount(key=3, fds=(0, 1)), "83a174a4726f6f74a36b657903a3666473920001"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name: str) -> None:
    record, golden = GOLDEN[name]
    assert encoded(record).hex() == golden
    assert _core.reencode("request", bytes.fromhex(golden)).hex() == golden


def test_replies_of_a_keeper_without_the_newer_fields_are_understood() -> None:
    welcome = {"t": "welcome", "version": 1, "pid": 2, "window": 3, "capacity": 4, "containers": 5}
    ended = {
        "t": "ended", "req": 1, "id": "a", "exec": None, "fds": (0, 0),
        "started": {"pid": 9, "start_ticks": 8, "started_at": 7, "timings": msgspec.to_builtins(Timings())},
        "exit": {
            "code": 3, "signal": None, "oom": False, "finished_at": 5, "stdout_total": 2, "stderr_total": 0,
            "stdout": b"hi", "stderr": b"", "seq": 1,
        },
    }  # fmt: skip
    entry = {"t": "entry", "req": 1, "id": "a", "blob": b"b", "started": None, "exit": None, "execs": ()}
    replies = [msgspec.msgpack.decode(encoded(reply), type=m.Reply) for reply in (welcome, ended, entry)]
    assert isinstance(replies[0], m.Welcome)
    assert replies[0].next_root == 0
    assert isinstance(replies[1], m.Ended)
    assert replies[1].started is not None
    assert (replies[1].started.started_boot, replies[1].exit.duration_ns) == (0, 0)
    assert isinstance(replies[2], m.Entry)
    assert replies[2].oom_kills == 0


def test_the_phrases_of_the_steps_are_rusts() -> None:
    assert _core.step_phrases() == mapping.PHRASES


def test_the_versions_agree() -> None:
    assert _core.versions()["protocol"] == str(m.VERSION)


def test_what_does_not_decode_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"EOF|invalid|marker|end"):
        _core.reencode("request", b"\x82\xa1t")
    with pytest.raises(ValueError, match="no record is called"):
        _core.reencode("nothing", b"\x80")
