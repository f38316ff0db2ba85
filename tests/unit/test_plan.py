"""The planner: what Docker's defaults are, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from ardock.engine.containers import defaults, etc
from ardock.engine.containers.plan import plan, plan_exec
from ardock.engine.containers.resolved import Placement, Resolved, User
from ardock.engine.containers.template import ID_MARKER, Template
from ardock.engine.facts import Facts, parse_list
from ardock.model.errors import ArdockError, InvalidArgument, Unsupported
from ardock.model.launch import (
    Bind,
    DeviceNode,
    DeviceRate,
    DeviceWeight,
    DiskScratch,
    Io,
    LaunchSpec,
    MemoryScratch,
    NoScratch,
    Rlimit,
    Tmpfs,
)
from ardock.model.messages import Launch, Log, Output
from ardock.model.spec import (
    ContainerOptions,
    ContainerSpec,
    Device,
    ExecSpec,
    LogOptions,
    Mount,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)

FACTS = Facts(cpus=frozenset({0, 1}), resolv_conf="nameserver 10.0.0.1\nsearch lan\n")
ROOT = User(0, 0, (10,), "/root")
RESOLVED = Resolved(roots=(3,), user=ROOT, seccomp="abc")
PLACEMENT = Placement(
    keeper=1, cgroup_parent="ardock-0123abcd/k1", scratch_dir="/store/scratch/k1", output="capture", capture=100
)
ID = "0123456789ab" + "0" * 52


def planned(
    resolved: Resolved = RESOLVED, facts: Facts = FACTS, placement: Placement = PLACEMENT, **options: object
) -> Launch:
    spec = msgspec.convert({"argv": ("true",), "rootfs": "/r", **options}, ContainerSpec)
    return plan(spec, facts, resolved, placement, container_id=ID)


def spec_of(**options: object) -> LaunchSpec:
    return planned(**options).spec  # type: ignore[arg-type]


def test_a_flagless_container_is_dockers() -> None:
    spec = spec_of()
    assert spec.process.argv == (b"true",)
    assert spec.process.env == (
        b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", b"HOSTNAME=0123456789ab", b"HOME=/root",
    )  # fmt: skip
    assert (spec.process.cwd, spec.process.uid, spec.process.gid, spec.process.groups) == ("/", 0, 0, (10,))
    assert spec.process.umask == 0o022
    assert spec.process.capabilities.bounding == 0xA80425FB
    assert spec.process.capabilities.effective == spec.process.capabilities.permitted == 0xA80425FB
    assert spec.process.capabilities.inheritable == spec.process.capabilities.ambient == 0
    assert spec.process.seccomp == "abc"
    assert not spec.process.no_new_privileges
    assert spec.process.oom_score_adj is None
    assert spec.hostname == "0123456789ab"
    assert structs.asdict(spec.namespaces) == {
        "pid": "new", "net": "new", "ipc": "new", "mnt": "new", "uts": "new", "cgroup": "new", "user": "host", "time": "host",
    }  # fmt: skip
    assert spec.root.layers == ("/roots/3",)
    assert spec.root.scratch == DiskScratch(dir=f"/store/scratch/k1/{ID}", volatile=True)
    assert "/proc/kcore" in spec.masked
    assert "/proc/sys" in spec.readonly
    assert [file.target for file in spec.files] == ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
    assert spec.cgroup is not None
    assert (spec.cgroup.parent, spec.cgroup.name) == ("ardock-0123abcd/k1", ID)
    assert spec.cgroup.resources.devices == defaults.DEVICE_RULES
    assert spec.cgroup.resources.memory is None
    assert (spec.stdio.stdin, spec.stdio.stdout, spec.stdio.terminal) == ("null", "pipe", None)


def test_the_default_capabilities_are_the_fourteen_of_docker() -> None:
    names = {name for number, name in enumerate(defaults.CAPABILITIES) if defaults.DEFAULT_CAPABILITIES >> number & 1}
    assert names == {
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
        "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("add", "drop", "mask"),
    [
        ((), ("ALL",), 0),
        (("NET_ADMIN",), (), 0xA80425FB | 1 << 12),
        (("CAP_net_admin",), ("all",), 1 << 12),
        (("ALL",), (), FACTS.capabilities),
        (("ALL",), ("CHOWN",), FACTS.capabilities & ~1),
        ((), ("CHOWN", "cap_kill"), 0xA80425FB & ~(1 | 1 << 5)),
        (("CHOWN",), ("CHOWN",), 0xA80425FB),
    ],
)
def test_capabilities_are_tweaked_as_by_docker(add: tuple[str, ...], drop: tuple[str, ...], mask: int) -> None:
    assert spec_of(cap_add=add, cap_drop=drop).process.capabilities.bounding == mask


def test_a_capability_that_the_engine_lacks_is_not_given() -> None:
    facts = structs.replace(FACTS, capabilities=FACTS.capabilities & ~(1 << 24) & ~1)
    assert spec_of(facts=facts).process.capabilities.bounding == 0xA80425FB & ~1
    assert spec_of(facts=facts, privileged=True).process.capabilities.bounding == facts.capabilities
    with pytest.raises(InvalidArgument, match="CAP_SYS_RESOURCE"):
        spec_of(facts=facts, cap_add=("SYS_RESOURCE",))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"memory": "64m"}, {"memory": 64 << 20, "memory_swap": 128 << 20}),
        ({"memory": "64m", "memory_swap": "64m"}, {"memory": 64 << 20, "memory_swap": 64 << 20}),
        ({"memory": "64m", "memory_swap": -1}, {"memory": 64 << 20, "memory_swap": -1}),
        ({"memory": "64m", "memory_swap": "-1"}, {"memory": 64 << 20, "memory_swap": -1}),
        ({"memory": "4m"}, {"memory": 4 << 20, "memory_swap": 8 << 20}),
        ({"memory": "64m", "memory_reservation": "32m"}, {"memory_reservation": 32 << 20}),
        ({"memory_reservation": "32m"}, {"memory": None, "memory_reservation": 32 << 20}),
        ({"cpus": 0.5}, {"cpu_quota": 50_000, "cpu_period": 100_000}),
        ({"cpu_quota": 20_000, "cpu_period": 50_000}, {"cpu_quota": 20_000, "cpu_period": 50_000}),
        ({"cpu_shares": 1}, {"cpu_shares": 2}),
        ({"cpu_shares": 512}, {"cpu_shares": 512}),
        ({"cpu_shares": 0}, {"cpu_shares": None}),
        ({"cpuset_cpus": "0-1", "cpuset_mems": "0"}, {"cpuset_cpus": "0-1", "cpuset_mems": "0"}),
        ({"pids_limit": 50}, {"pids": 50}),
        ({"pids_limit": 0}, {"pids": -1}),
        ({"pids_limit": -1}, {"pids": -1}),
        ({"pid": "host"}, {"pids": -1}),
    ],
)
def test_limits_are_the_kernels(options: dict[str, object], wanted: dict[str, object]) -> None:
    cgroup = spec_of(**options).cgroup
    assert cgroup is not None
    found = structs.asdict(cgroup.resources)
    assert {name: found[name] for name in wanted} == wanted


DISKS = structs.replace(RESOLVED, disks=(("/dev/sda", 8, 0), ("/dev/sdb", 8, 16)))


def test_limits_on_block_devices_have_the_kernels_numbers() -> None:
    def rate(path: str, rate: int | str) -> ThrottleDevice:
        return ThrottleDevice(path=path, rate=rate)

    cgroup = planned(
        DISKS,
        blkio_weight=500,
        blkio_weight_device=(WeightDevice(path="/dev/sdb", weight=10), WeightDevice(path="/dev/sda", weight=0)),
        blkio_device_read_bps=(rate("/dev/sda", "1m"), rate("/dev/sdb", 5), rate("/dev/sda", "2m")),
        blkio_device_write_bps=(rate("/dev/sda", 0),),
        blkio_device_write_iops=(rate("/dev/sdb", "30"),),
    ).spec.cgroup
    assert cgroup is not None
    assert cgroup.resources.io == Io(
        weight=500,
        weight_devices=(DeviceWeight(major=8, minor=16, weight=10),),
        read_bps=(DeviceRate(major=8, minor=16, rate=5), DeviceRate(major=8, minor=0, rate=2 << 20)),
        write_iops=(DeviceRate(major=8, minor=16, rate=30),),
    )
    none = planned(DISKS, blkio_weight=0, blkio_device_read_bps=(rate("/dev/sda", 0),)).spec.cgroup
    assert none is not None
    assert none.resources.io is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blkio_weight": 9}, "blkio_weight: Range of blkio weight is from 10 to 1000"),
        ({"blkio_weight": 1001}, "blkio_weight: Range"),
        (
            {"blkio_weight_device": (WeightDevice(path="/dev/sda", weight=5),)},
            "blkio_weight_device: invalid weight for device: /dev/sda:5",
        ),
        (
            {"blkio_device_read_bps": (ThrottleDevice(path="/dev/sda", rate="x"),)},
            "blkio_device_read_bps: invalid size",
        ),
        (
            {"blkio_device_read_iops": (ThrottleDevice(path="/dev/sda", rate="1m"),)},
            "blkio_device_read_iops: invalid rate for device: /dev/sda:1m",
        ),
        ({"blkio_device_write_iops": (ThrottleDevice(path="/dev/sda", rate=-1),)}, "blkio_device_write_iops: -1"),
    ],
)
def test_what_is_wrong_with_limits_on_block_devices_is_refused_by_name(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        planned(DISKS, **options)  # type: ignore[arg-type]


def test_what_only_version_2_has_is_planned_there_and_refused_by_name_elsewhere() -> None:
    facts = structs.replace(FACTS, cgroup_version=2)
    cgroup = spec_of(facts=facts, memory="64m", memory_high="48m", oom_group=True).cgroup
    assert cgroup is not None
    assert (cgroup.resources.memory_high, cgroup.resources.oom_group) == (48 << 20, True)
    with pytest.raises(InvalidArgument, match=r"^memory_high: "):
        spec_of(facts=facts, memory="64m", memory_high="65m")
    for options in ({"memory_high": "48m"}, {"oom_group": True}):
        with pytest.raises(Unsupported, match=f"^{next(iter(options))}: .* version 1"):
            spec_of(facts=structs.replace(FACTS, cgroup_version=1), **options)


def test_without_swap_accounting_memory_alone_is_limited() -> None:
    facts = structs.replace(FACTS, swap_accounting=False)
    cgroup = spec_of(facts=facts, memory="64m").cgroup
    assert cgroup is not None
    assert cgroup.resources.memory_swap is None
    with pytest.raises(Unsupported, match="swapaccount"):
        spec_of(facts=facts, memory="64m", memory_swap="128m")


BAD: list[tuple[dict[str, object], str]] = [
    ({"argv": ()}, "argv: no command"),
    ({"argv": ("",)}, "argv: no command"),
    ({"argv": ("a", "b\0c")}, "argv: .* NUL"),
    ({"env": {"": "x"}}, "env: invalid"),
    ({"env": {"A=B": "x"}}, "env: invalid"),
    ({"env": {"A": "x\0"}}, "env: .* NUL"),
    ({"cwd": "relative"}, "cwd: .* absolute"),
    ({"memory": "lots"}, "memory: invalid size 'lots'"),
    ({"memory": "3m"}, "memory: minimum memory limit allowed is 4m, not 3m"),
    ({"memory_swap": "64m"}, "memory_swap: .* always set the memory limit"),
    ({"memory": "64m", "memory_swap": "32m"}, "memory_swap: .* larger than memory"),
    ({"memory": "64m", "memory_reservation": "65m"}, "memory_reservation: "),
    ({"cpus": 3}, "cpus: range of CPUs is from 0.01 to 2.00"),
    ({"cpus": "many"}, "cpus: invalid"),
    ({"cpus": 1, "cpu_quota": 1000}, "conflicting options: cpus and cpu_quota"),
    ({"cpu_period": 10}, "cpu_period: "),
    ({"cpu_quota": 10}, "cpu_quota: "),
    ({"cpu_shares": -1}, "cpu_shares: "),
    ({"cpuset_cpus": "7"}, "cpuset_cpus: .* not available: the machine has 0,1"),
    ({"cpuset_mems": "3"}, "cpuset_mems: "),
    ({"pids_limit": -2}, "pids_limit: "),
    ({"hostname": "no spaces"}, "hostname: invalid"),
    ({"hostname": "x" * 65}, "hostname: invalid"),
    ({"hostname": "x", "uts": "host"}, "conflicting options: hostname"),
    ({"domainname": "x" * 65}, "domainname: "),
    ({"cap_add": ("NOSUCH",)}, "cap_add: unknown capability: 'NOSUCH'"),
    ({"cap_drop": ("CAP_NOSUCH",)}, "cap_drop: unknown capability"),
    ({"ulimits": (Ulimit(name="nosuch", soft=1, hard=1),)}, "ulimits: invalid ulimit type 'nosuch'"),
    ({"ulimits": (Ulimit(name="nofile", soft=2, hard=1),)}, "ulimits: nofile: soft limit"),
    ({"sysctls": {"kernel.panic": "1"}}, "sysctls: kernel.panic is not in a separate kernel namespace"),
    ({"sysctls": {"net.ipv4.ip_forward": "1"}, "network": "host"}, "sysctls: .* host network namespace"),
    ({"sysctls": {"kernel.shmmax": "1"}, "ipc": "host"}, "sysctls: .* host IPC namespace"),
    ({"sysctls": {"net/../../x": "1"}}, "sysctls: invalid name"),
    ({"tmpfs": {"relative": ""}}, "tmpfs: .* must be absolute"),
    ({"tmpfs": {"/": ""}}, "tmpfs: .* can't be '/'"),
    ({"tmpfs": {"/a/../b": ""}}, r"tmpfs: .* '\.\.'"),
    ({"tmpfs": {"/proc/sys": ""}}, "tmpfs: .* inside /proc"),
    ({"tmpfs": {"/a": "nosuchoption"}}, "tmpfs: invalid tmpfs option 'nosuchoption'"),
    ({"tmpfs": {"/a": "size=lots"}}, "tmpfs size: invalid size"),
    ({"tmpfs": {"/a": f"mpol={'x' * 300}"}}, "tmpfs: .* longer than 255"),
    ({"tmpfs": {"/a": ""}, "mounts": (Mount(type="tmpfs", target="/a/"),)}, "tmpfs: duplicate mount point: /a"),
    ({"scratch": "none", "scratch_size": "1g"}, "scratch_size: "),
    ({"scratch": "none", "layers": ("/a", "/b")}, "scratch: layers need"),
    ({"shm_size": 0}, "shm_size: "),
    ({"oom_score_adj": 1001}, "oom_score_adj: "),
    ({"umask": 0o1000}, "umask: "),
    ({"stop_signal": "NOSUCH"}, "stop_signal: no such signal"),
    ({"timeout": 0}, "timeout: "),
    ({"stop_timeout": -1}, "stop_timeout: "),
    ({"tty": True, "tty_size": (70000, 1)}, "tty_size: "),
    ({"add_hosts": ("nocolon",)}, "add_hosts: bad format"),
    ({"add_hosts": ("a:b",)}, "add_hosts: 'b' is not an IP address"),
    ({"dns": ("x",)}, "dns: 'x' is not an IP address"),
    ({"dns_search": ("a b",)}, "dns_search: "),
    ({"dns_options": ("a\nnameserver 6.6.6.6",)}, "dns_options: "),
    ({"log": LogOptions(max_size=1)}, "log: "),
    ({"device_cgroup_rules": ("c 1:3",)}, "device_cgroup_rules: "),
    ({"apparmor": "docker-default"}, "apparmor: "),
]


@pytest.mark.parametrize(
    ("options", "message"), BAD, ids=[message.partition(":")[0] + str(n) for n, (_, message) in enumerate(BAD)]
)
def test_what_is_wrong_is_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArdockError, match=f"^{message}") as caught:
        planned(**options)  # type: ignore[arg-type]
    assert isinstance(caught.value, InvalidArgument | Unsupported)


def test_mounts_come_parents_first_with_their_descriptors() -> None:
    resolved = structs.replace(RESOLVED, binds=(False, True))
    placement = structs.replace(PLACEMENT, input=True)
    mounts = (
        Mount(source="/x", target="/data/deep"),
        Mount(type="tmpfs", target="/data", options="size=1m,mode=1777,exec", read_only=True),
        Mount(source="/y", target="/file"),
    )
    launch = planned(resolved, placement=placement, mounts=mounts, tmpfs={"/run": ""})
    assert [(point.target, point.what) for point in launch.spec.mounts] == [
        ("/data", Tmpfs(data="size=1048576,mode=1777", flags=0x1 | 0x2 | 0x4)),
        ("/file", Bind(source=2, file=True)),
        ("/run", Tmpfs(data="", flags=0x2 | 0x4 | 0x8)),
        ("/data/deep", Bind(source=1, file=False)),
    ]
    assert launch.spec.stdio.stdin == 0
    assert launch.fds == (0, 3)


def test_a_mount_replaces_the_generated_file() -> None:
    resolved = structs.replace(RESOLVED, binds=(True,))
    spec = planned(resolved, mounts=(Mount(source="/x", target="/etc/hosts"),)).spec
    assert [file.target for file in spec.files] == ["/etc/hostname", "/etc/resolv.conf"]


def test_privileged_is_everything_but_the_engines_own_folders() -> None:
    spec = spec_of(resolved=structs.replace(RESOLVED, masks=("/var/lib/ardock",), seccomp=None), privileged=True)
    assert spec.process.capabilities.bounding == FACTS.capabilities
    assert spec.process.seccomp is None
    assert spec.masked == ("/var/lib/ardock",)
    assert spec.readonly == ()
    assert spec.filesystems.writable
    assert spec.cgroup is not None
    assert spec.cgroup.resources.devices == (defaults.ALLOW_ALL_DEVICES,)


def test_devices_are_made_and_allowed() -> None:
    node = DeviceNode(target="/dev/x", kind="c", major=10, minor=229, mode=0o600, uid=0, gid=0)
    resolved = structs.replace(RESOLVED, devices=(node,))
    spec = planned(
        resolved,
        devices=(Device(source="/dev/fuse", target="/dev/x", permissions="rw"),),
        device_cgroup_rules=("b *:* r",),
    ).spec
    assert spec.devices == (node,)
    assert spec.cgroup is not None
    assert spec.cgroup.resources.devices is not None
    rules = spec.cgroup.resources.devices[len(defaults.DEVICE_RULES) :]
    assert [(rule.kind, rule.major, rule.minor, rule.access) for rule in rules] == [
        ("c", 10, 229, "rw"),
        ("b", None, None, "r"),
    ]


@pytest.mark.parametrize(
    ("options", "scratch"),
    [
        ({"scratch": "memory"}, MemoryScratch(size=0)),
        ({"scratch": "memory", "scratch_size": "1g"}, MemoryScratch(size=1 << 30)),
        ({"scratch": "none"}, NoScratch()),
    ],
)
def test_scratch(options: dict[str, object], scratch: object) -> None:
    assert spec_of(**options).root.scratch == scratch


def test_a_terminal_and_the_rest_of_the_process() -> None:
    spec = spec_of(
        tty=True, tty_size=(24, 80), env={"TERM": "vt100", "HOME": "/h"}, ulimits=(Ulimit(name="nofile", soft=10, hard=-1),),
        oom_score_adj=500, no_new_privileges=True, read_only=True, shm_size="1m", sysctls={"net/ipv4/ip_forward": "1"},
    )  # fmt: skip
    assert spec.stdio.terminal == (24, 80)
    assert b"TERM=vt100" in spec.process.env
    assert b"HOME=/h" in spec.process.env
    assert spec.process.rlimits == (Rlimit(resource=7, soft=10, hard=(1 << 64) - 1),)
    assert spec.process.oom_score_adj == 500
    assert spec.process.no_new_privileges
    assert spec.root.readonly
    assert spec.filesystems.shm_size == 1 << 20
    assert spec.sysctls == (("net.ipv4.ip_forward", "1"),)


def test_output_is_captured_or_handed_over_and_logged() -> None:
    assert planned().output == Output(capture=100)
    for kind, output in (("direct", Output(direct=True)), ("tap", Output(attach=True)), ("log", Output())):
        assert planned(placement=structs.replace(PLACEMENT, output=kind, capture=None)).output == output
    assert planned(log={"max_size": "1m"}).output == Output(
        capture=100, log=Log(path=f"logs/{ID}.log", max_size=1 << 20, max_files=3)
    )


def test_a_kept_containers_scratch_and_log_outlive_its_runs() -> None:
    place = Placement(
        keeper=1,
        cgroup_parent="p",
        scratch_dir="/d",
        output="log",
        kept=True,
        scratch="/store/containers/x",
        log="logs/x",
    )
    launch = planned(placement=place, log={"max_size": "1m"})
    assert launch.spec.root.scratch == DiskScratch(dir="/store/containers/x", volatile=False, keep=True)
    assert launch.output.log == Log(path="logs/x", max_size=1 << 20, max_files=3)


def test_hosts_and_resolv_conf_are_dockers() -> None:
    spec = ContainerSpec(argv=("true",), add_hosts=("db:10.0.0.5", "six:[fe80::1]"))
    assert etc.hosts(spec, FACTS).endswith("ff02::2\tip6-allrouters\n10.0.0.5\tdb\nfe80::1\tsix\n")
    assert etc.resolv_conf(spec, FACTS) == "nameserver 10.0.0.1\nsearch lan\n"
    local = structs.replace(FACTS, resolv_conf="# x\nnameserver 127.0.0.53\noptions edns0\n", hosts="127.0.0.1 me")
    assert etc.resolv_conf(spec, local) == "nameserver 8.8.8.8\nnameserver 8.8.4.4\noptions edns0\n"
    host = structs.replace(spec, network="host")
    assert etc.resolv_conf(host, local) == "nameserver 127.0.0.53\noptions edns0\n"
    assert etc.hosts(host, local) == "127.0.0.1 me\n10.0.0.5\tdb\nfe80::1\tsix\n"
    own = structs.replace(spec, dns=("1.1.1.1",), dns_search=(".",), dns_options=("ndots:2",))
    assert etc.resolv_conf(own, FACTS) == "nameserver 1.1.1.1\noptions ndots:2\n"


def test_an_exec_takes_after_its_container() -> None:
    container = ContainerSpec(argv=("sleep",), env={"A": "1"}, cwd="/srv", umask=0o077, cap_drop=("ALL",))
    found = plan_exec(
        ExecSpec(argv=("id",), env={"B": "2"}, stdin_open=True),
        container,
        FACTS,
        user=ROOT,
        seccomp="abc",
        hostname="box",
    )
    assert found.process.cwd == "/srv"
    assert found.process.umask == 0o077
    assert {b"A=1", b"B=2", b"HOSTNAME=box", b"HOME=/root"} <= set(found.process.env)
    assert found.process.capabilities.bounding == 0
    assert found.process.seccomp == "abc"
    assert found.stdio.stdin == "pipe"
    privileged = plan_exec(
        ExecSpec(argv=("id",), privileged=True), container, FACTS, user=ROOT, seccomp="abc", hostname="box"
    )
    assert privileged.process.capabilities.bounding == FACTS.capabilities
    assert privileged.process.seccomp is None


@pytest.mark.parametrize("hostname", [None, "box"])
def test_a_template_renders_what_planning_would_have_given(hostname: str | None) -> None:
    spec = ContainerSpec(
        argv=("echo", "hi"),
        rootfs="/r",
        env={"A": "b"},
        hostname=hostname,
        memory="64m",
        log=LogOptions(),
        labels={"x": "y"},
    )
    shape = structs.replace(spec, argv=(), env={}, labels={})
    template = Template(
        plan(structs.replace(shape, argv=("x",)), FACTS, RESOLVED, PLACEMENT, container_id=ID_MARKER),
        hostname=hostname,
        home="/root",
    )
    whole = plan(spec, FACTS, RESOLVED, PLACEMENT, container_id=ID)
    process = whole.spec.process
    rendered = template.render(77, ID, process.argv, process.env, b"blob")
    assert rendered + b"\0\0" == msgspec.msgpack.encode(structs.replace(whole, req=77, blob=b"blob"))


def test_options_are_the_fields_of_a_spec() -> None:
    assert [*ContainerOptions.__annotations__] == [name for name in ContainerSpec.__struct_fields__ if name != "argv"]


def test_kernel_lists() -> None:
    assert parse_list("0-2,5\n") == {0, 1, 2, 5}
    assert parse_list("") == frozenset()
