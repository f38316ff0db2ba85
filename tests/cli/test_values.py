"""Values of flags: what is taken, what is refused, with what words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ardock.cli import run_flags as f
from ardock.cli.errors import CliError, UsageError
from ardock.cli.flags import AnyFlag, Parser
from ardock.cli.mounts import Bind, DeviceNode, Tmpfs, VolumeMount
from ardock.cli.run_flags import RUN_FLAGS


def value_of(flag: AnyFlag, text: str) -> object:
    return flag.read(text, None)


@pytest.mark.parametrize(
    ("flag", "text", "expected"),
    [
        (f.MEMORY, "512", 512),
        (f.MEMORY, "1k", 1024),
        (f.MEMORY, "64M", 64 << 20),
        (f.MEMORY, "64mb", 64 << 20),
        (f.MEMORY, "64MiB", 64 << 20),
        (f.MEMORY, "1.5g", 3 << 29),
        (f.MEMORY, "1 t", 1 << 40),
        (f.MEMORY_SWAP, "-1", -1),
        (f.CPUS, "1.5", 1.5),
        (f.CPUS, ".5", 0.5),
        (f.CPUS, "1/4", 0.25),
        (f.PIDS_LIMIT, "-1", -1),
        (f.OOM_SCORE_ADJ, "-1000", -1000),
        (f.TIMEOUT, "1.5", 1.5),
        (f.ATTACH, "STDOUT", ["stdout"]),
        (f.ULIMIT, "nofile=1024", [("nofile", 1024, 1024)]),
        (f.ULIMIT, "nofile=1024:2048", [("nofile", 1024, 2048)]),
        (f.ULIMIT, "core=unlimited", [("core", -1, -1)]),
        (f.ULIMIT, "core=0:-1", [("core", 0, -1)]),
        (f.SYSCTL, "net.ipv4.ip_forward=1", [("net.ipv4.ip_forward", "1")]),
        (f.SYSCTL, "kernel.sem=1 2 3 4", [("kernel.sem", "1 2 3 4")]),
        (f.LABEL, "a", [("a", "")]),
        (f.LABEL, " a=b c=d", [("a", "b c=d")]),
        (f.ADD_HOST, "db:10.0.0.1", ["db:10.0.0.1"]),
        (f.ADD_HOST, "db=10.0.0.1", ["db:10.0.0.1"]),
        (f.ADD_HOST, "db:::1", ["db:::1"]),
        (f.ADD_HOST, "db=[::1]", ["db:::1"]),
        (f.DNS, " 1.1.1.1 ", ["1.1.1.1"]),
        (f.STOP_SIGNAL, "term", "term"),
        (f.STOP_SIGNAL, "SIGRTMIN+3", "SIGRTMIN+3"),
        (f.NETWORK, "name=host", "host"),
        (f.IPC, "private", "private"),
        (f.STORAGE_OPT, "size=1g", [1 << 30]),
        (f.SECURITY_OPT, "no-new-privileges", [("no-new-privileges", "")]),
        (f.SECURITY_OPT, "no-new-privileges:true", [("no-new-privileges", "true")]),
        (f.SECURITY_OPT, "seccomp=unconfined", [("seccomp", "unconfined")]),
        (f.SECURITY_OPT, "apparmor=a:b", [("apparmor", "a:b")]),
        (f.SECURITY_OPT, "apparmor:unconfined", [("apparmor", "unconfined")]),
        (f.SECURITY_OPT, "label:disable", [("label", "disable")]),
        (f.DEVICE_RULE, "c 1:* rwm", ["c 1:* rwm"]),
        (f.TMPFS, "/run", [("/run", "")]),
        (f.TMPFS, "/run:size=64m,noexec", [("/run", "size=64m,noexec")]),
        (f.VOLUME, "/a:/b", [Bind("/a", "/b", create_source=True)]),
        (f.VOLUME, "/a:/b:ro", [Bind("/a", "/b", read_only=True, create_source=True)]),
        (f.VOLUME, "/a:/b:rw,rslave", [Bind("/a", "/b", propagation="rslave", create_source=True)]),
        (f.VOLUME, "/a:/b:z", [Bind("/a", "/b", create_source=True)]),
        (f.MOUNT, "type=bind,source=/a,target=/b", [Bind("/a", "/b")]),
        (f.MOUNT, "type=bind,src=/a,dst=/b,ro", [Bind("/a", "/b", read_only=True)]),
        (f.MOUNT, 'type=bind,"src=/a,b",dst=/b,readonly=false', [Bind("/a,b", "/b")]),
        (f.MOUNT, "type=bind,src=/a,dst=/b,bind-propagation=shared", [Bind("/a", "/b", propagation="shared")]),
        (f.MOUNT, "type=bind,src=/a,dst=/b,bind-nonrecursive", [Bind("/a", "/b", recursive=False)]),
        (f.MOUNT, "type=bind,src=/a,dst=/b,bind-recursive=disabled", [Bind("/a", "/b", recursive=False)]),
        (
            f.MOUNT,
            "type=bind,src=/a,dst=/b,ro,bind-recursive=writable",
            [Bind("/a", "/b", read_only=True, read_only_recursive=False)],
        ),
        (
            f.MOUNT,
            "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate",
            [Bind("/a", "/b", read_only=True, read_only_recursive=True)],
        ),
        (f.VOLUME, "/b", [VolumeMount("", "/b", by_v=True)]),
        (f.VOLUME, "name:/b", [VolumeMount("name", "/b", by_v=True)]),
        (f.VOLUME, "name:/b:ro,nocopy", [VolumeMount("name", "/b", read_only=True, no_copy=True, by_v=True)]),
        (f.MOUNT, "dst=/b", [VolumeMount("", "/b")]),
        (
            f.MOUNT,
            "src=name,dst=/b,volume-nocopy,volume-subpath=a/b,ro",
            [VolumeMount("name", "/b", read_only=True, no_copy=True, subpath="a/b")],
        ),
        (
            f.MOUNT,
            'type=volume,dst=/b,volume-driver=local,volume-opt=type=tmpfs,"volume-opt=o=size=1m,mode=700",volume-label=a',
            [
                VolumeMount(
                    "",
                    "/b",
                    driver="local",
                    options=(("type", "tmpfs"), ("o", "size=1m,mode=700")),
                    labels=(("a", ""),),
                )
            ],
        ),
        (f.VOLUMES_FROM, "one:ro", ["one:ro"]),
        (f.MOUNT, "type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=1770", [Tmpfs("/b", "size=1048576,mode=1770")]),
        (f.DEVICE, "/dev/fuse", [[DeviceNode("/dev/fuse", "/dev/fuse")]]),
        (f.DEVICE, "/dev/fuse:r", [[DeviceNode("/dev/fuse", "/dev/fuse", "r")]]),
        (f.DEVICE, "/dev/fuse:/dev/x", [[DeviceNode("/dev/fuse", "/dev/x")]]),
        (f.DEVICE, "/dev/fuse:/dev/x:rw", [[DeviceNode("/dev/fuse", "/dev/x", "rw")]]),
        (f.DEVICE, "/dev/nul*", [[DeviceNode("/dev/null", "/dev/null")]]),
    ],
)
def test_a_value_means_what_it_means_in_docker(flag: AnyFlag, text: str, expected: object) -> None:
    assert value_of(flag, text) == expected


def test_a_relative_volume_is_beneath_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert value_of(f.VOLUME, "./a:/b") == [Bind(f"{tmp_path}/a", "/b", create_source=True)]
    assert value_of(f.VOLUME, ".:/b") == [Bind(str(tmp_path), "/b", create_source=True)]
    assert value_of(f.VOLUME, "../a/../b:/b") == [Bind(f"{tmp_path.parent}/b", "/b", create_source=True)]
    assert value_of(f.MOUNT, "type=bind,src=./a,dst=/b") == [Bind(f"{tmp_path}/a", "/b")]


BAD = [
    ("--memory", "abc", "such as 64m"),
    ("--memory", "", "such as 64m"),
    ("--memory", "-5", "such as 64m"),
    ("--memory", "64q", "such as 64m"),
    ("--memory-swap", "-2", "such as 64m"),
    ("--cpus", "x", "a number of CPUs such as 1.5"),
    ("--cpus", "1/0", "a number of CPUs such as 1.5"),
    ("--cpu-shares", "1.5", "a whole number"),
    ("--cpu-quota", "many", "a whole number"),
    ("--pids-limit", "x", "a whole number"),
    ("--oom-score-adj", "x", "a whole number"),
    ("--attach", "foo", "valid streams are STDIN, STDOUT and STDERR"),
    ("--ulimit", "nofile", "soft[:hard]"),
    ("--ulimit", "foo=1", "invalid ulimit type"),
    ("--ulimit", "nofile=2:1", "less than or equal"),
    ("--ulimit", "nofile=-1:1", "less than or equal"),
    ("--ulimit", "nofile=x", "whole number"),
    ("--sysctl", "a=b", "not one of a container's own"),
    ("--sysctl", "net.ipv4.ip_forward", "name=value"),
    ("--env", "=x", "invalid environment variable"),
    ("--label", "=x", "empty name"),
    ("--label", "a b=x", "whitespace"),
    ("--add-host", "x", "host:address"),
    ("--add-host", "x:y", "IP address"),
    ("--dns", "x", "IP address"),
    ("--mount", "foo", "key=value"),
    ("--mount", "foo=bar", "unexpected key"),
    ("--mount", "type=bind,source=/a,target=/b,tmpfs-size=1m", "cannot mix"),
    ("--mount", "type=bind,source=/a,target=/b,readonly=maybe", "invalid value for readonly"),
    ("--mount", "type=bind,source=/a", "target is required"),
    ("--mount", "type=tmpfs,target=/a,tmpfs-mode=9", "octal"),
    ("--device-cgroup-rule", "x", "a rule such as"),
    ("--blkio-weight", "x", "a whole number"),
    ("--blkio-weight-device", "/dev/sda", "bad format: /dev/sda"),
    ("--blkio-weight-device", "sda:10", "bad format for device path: sda:10"),
    ("--blkio-weight-device", "/dev/sda:9", "invalid weight for device: /dev/sda:9"),
    ("--device-read-bps", "/dev/sda", "bad format: /dev/sda"),
    ("--device-read-bps", "sda:1m", "bad format for device path: sda:1m"),
    ("--device-write-bps", "/dev/sda:x", "invalid rate for device: /dev/sda:x"),
    ("--device-read-iops", "/dev/sda:1m", "invalid rate for device: /dev/sda:1m"),
    ("--device-write-iops", "/dev/sda:-1", "invalid rate for device: /dev/sda:-1"),
]


@pytest.mark.parametrize(("flag", "text", "words"), BAD)
def test_a_bad_value_names_the_flag_the_value_and_what_to_do(flag: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Parser(RUN_FLAGS).parse([flag, text, "cmd"])
    assert f'invalid argument "{text}" for "' in caught.value.message
    assert flag in caught.value.message
    assert words in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command to compare with")
@pytest.mark.parametrize(("flag", "text", "words"), BAD)
def test_docker_refuses_the_same_values(flag: str, text: str, words: str) -> None:
    """Where the client checks it: no daemon is there to answer."""
    completed = subprocess.run(
        ["docker", "-H", "unix:///nonexistent", "run", flag, text, "image"], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 125
    assert "invalid argument" in completed.stderr, completed.stderr


# Taken by Docker's client; whether its daemon takes them is another matter.
STRICTER = [
    ("--memory", "9999999p", "more than the kernel can count"),
    ("--volume", "/a:/b:foo", "invalid mode foo"),
    ("--volume", "/a:/b:ro,rw", "says the same thing twice"),
    ("--volume", "/a:b", "the target must be absolute"),
    ("--volume", "/a:/", "the target cannot be /"),
    ("--volume", "/a:/x/..", "the target cannot be /"),
    ("--volume", "name:/b:shared", "invalid mode shared for the volume name"),
    ("--volume", ":/b", "cannot be empty"),
    ("--volume", "/a:/b:ro:x", "needs --mount"),
    ("--mount", "type=volume,source=/a,target=/b", "/a is no name of a volume"),
    ("--mount", "type=volume,target=/b,volume-driver=nfs", "there is no volume driver nfs"),
    ("--volume-driver", "nfs", "there is no volume driver nfs"),
    ("--volumes-from", "a:b", "CONTAINER[:ro|rw]"),
    ("--mount", "type=bind,source=/a,target=/b,bind-recursive=writable", "requires readonly"),
    ("--mount", "type=bind,source=/a,target=/b,bind-recursive=readonly,ro", "requires bind-propagation=rprivate"),
    ("--mount", "type=npipe,target=/b", "not supported"),
    ("--mount", "type=bind,target=/b", "source is required"),
    ("--tmpfs", "run", "the target must be absolute"),
    ("--network", "bridge", "networks are not supported yet"),
    ("--ipc", "container:x", "no other is supported yet"),
    ("--pid", "container:x", "no other is supported yet"),
    ("--workdir", "etc", "absolute path"),
    ("--hostname", "a/b", "letters, digits"),
    ("--hostname", "a" * 65, "at most 64"),
    ("--stop-signal", "SIGFOO", "such as SIGTERM"),
    ("--security-opt", "foo", "name=value"),
    ("--security-opt", "foo=bar", "the security options are"),
    ("--storage-opt", "foo=1", "size=BYTES"),
    ("--device", "a:b:c:d", "PATH[:PATH-IN-CONTAINER]"),
    ("--device", "null", "not an absolute path"),
    ("--device", "/dev/null:/dev/x:q", "bad mode"),
    ("--oom-score-adj", "1001", "-1000 to 1000"),
    ("--pids-limit", "-2", "-1 or more"),
    ("--timeout", "0", "above 0"),
    ("--scratch", "tape", "disk, memory, none"),
    ("--pull", "foo", "always, missing, never"),
    ("--add-host", "x:host-gateway", "until there are networks"),
]


@pytest.mark.parametrize(("flag", "text", "words"), STRICTER)
def test_what_cannot_work_is_refused_before_anything_is_made(flag: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Parser(RUN_FLAGS).parse([flag, text, "cmd"])
    assert words in caught.value.message
    assert flag in caught.value.message


def test_an_environment_file_is_read_as_docker_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ardock.cli.files import environment

    monkeypatch.setenv("FROM_OUTSIDE", "outside")
    monkeypatch.delenv("UNSET", raising=False)
    file = tmp_path / "env"
    file.write_bytes(
        b"\xef\xbb\xbfA=1\n# comment\n\n   B= two words # kept  \nC=\nFROM_OUTSIDE\nUNSET\nD='quoted'\nE=a=b\r\nA=2"
    )
    assert environment([str(file)], ["C=3", "F", "FROM_OUTSIDE", "G="]) == {
        "A": "2",
        "B": " two words # kept  ",
        "C": "3",
        "FROM_OUTSIDE": "outside",
        "D": "'quoted'",
        "E": "a=b",
        "G": "",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"A B=1\n", 'variable "A B" contains whitespaces'),
        (b"ok=1\n=x\n", "no variable name on line 2"),
        (b"ok=1\n\xff=x\n", "invalid utf8 bytes at line 2"),
    ],
)
def test_a_bad_environment_file_names_file_and_line(tmp_path: Path, content: bytes, words: str) -> None:
    from ardock.cli.files import environment

    file = tmp_path / "env"
    file.write_bytes(content)
    with pytest.raises(CliError) as caught:
        environment([str(file)], [])
    assert caught.value.message.startswith("--env-file: ")
    assert str(file) in caught.value.message
    assert words in caught.value.message


def test_a_missing_environment_file_is_one_clear_sentence(tmp_path: Path) -> None:
    from ardock.cli.files import environment

    with pytest.raises(CliError) as caught:
        environment([str(tmp_path / "none")], [])
    assert caught.value.message == f'--env-file: cannot read "{tmp_path}/none": No such file or directory'


def test_an_id_file_is_never_overwritten_and_goes_where_no_container_came_to_be(tmp_path: Path) -> None:
    from ardock.cli.files import IdFile

    path = tmp_path / "cid"
    first = IdFile(str(path))
    with pytest.raises(CliError, match="container ID file found"):
        IdFile(str(path))
    first.close()
    assert not path.exists()
    second = IdFile(str(path))
    second.write("0123")
    second.close()
    assert path.read_text() == "0123"
