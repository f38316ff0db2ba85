"""Every flag of `docker run`, and the few of ardock's own: built, or refused by name.

A test compares this table with `docker run --help`. A refusal says what is
missing, so that a script that works with Docker either works here or says at
once why it does not.
"""

from __future__ import annotations

import re

from ardock.cli import detach, files, mounts, values
from ardock.cli.flags import AnyFlag, Flag, Many, Refused, Switch


def _security_option(value: str) -> tuple[str, str]:
    """`name[=value]`; Docker also takes the older `name:value`."""
    name, equals, setting = value.partition("=")
    if not equals and name != "no-new-privileges":
        name, equals, setting = value.partition(":")
        if not equals:
            raise ValueError("give name=value, such as seccomp=unconfined")
    if name not in {"seccomp", "no-new-privileges", "apparmor", "label"}:
        raise ValueError("the security options are seccomp, no-new-privileges and apparmor")
    if name == "label" and setting != "disable":
        raise ValueError("SELinux labels are not supported: label=disable is what happens")
    if name == "no-new-privileges" and setting not in {"", "true", "false"}:
        raise ValueError("give no-new-privileges=true or false")
    return name, setting


def _network(value: str) -> str:
    """`none` or `host`; in Docker's long form, too, where it says no more."""
    name = value.removeprefix("name=")
    if name not in {"none", "host"}:
        raise ValueError("networks are not supported yet: give none or host")
    return name


def _namespace(value: str) -> str:
    """Whose namespace: the container's own or the host's."""
    if value in {"", "private"}:
        return "private"
    if value != "host":
        raise ValueError("give private (the default) or host: no other is supported yet")
    return value


def _health_time(value: str) -> int:
    """A duration of Go's, in ns; moby takes 0 (not given) and at least a millisecond."""
    from ardock.docker.times import parse_duration

    duration = parse_duration(value)
    if duration is None:
        raise ValueError("give a duration such as 30s or 1m30s")
    if duration < 0 or 0 < duration < 1_000_000:
        raise ValueError("give 0 or at least 1ms")
    return duration


def _exposed(value: str) -> tuple[str, ...]:
    """``port[-port][/protocol]``, port by port."""
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", value.lower())
    if not found:
        raise ValueError("give a port or a range of them, such as 80, 80/tcp or 3000-3010/udp")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= 65_535:
        raise ValueError("ports are 1 to 65535, the lower one first")
    return tuple(f"{port}/{found[3] or 'tcp'}" for port in range(first, last + 1))


def _device_rule(value: str) -> str:
    """A rule in the device cgroup's own form."""
    if not re.fullmatch(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", value):
        raise ValueError("give a rule such as 'c 1:3 rwm'")
    return value


def _log_driver(value: str) -> str:
    """The keeper's own log under Docker's names for such, or none."""
    if value not in {"", "local", "json-file", "none"}:
        raise ValueError("give local (json-file is the same here), or none")
    return "none" if value == "none" else "local"


def _log_option(value: str) -> tuple[str, int]:
    """`max-size=SIZE` or `max-file=NUMBER`."""
    name, _, content = value.partition("=")
    if name == "max-size":
        return name, values.size(content)
    if name == "max-file":
        return name, values.integer(low=1)(content)
    raise ValueError("the log options are max-size and max-file")


_COUNT = values.integer(low=0)

# ardock's own.
ROOTFS = Flag("rootfs", values.text, "Directory to be the root file system", metavar="path")
SCRATCH = Flag(
    "scratch",
    values.choice("disk", "memory", "none"),
    "Where writes to the root file system go until the container ends: disk, memory, or none (into --rootfs itself)",
)
TIMEOUT = Flag("timeout", values.seconds, "Stop the container after so many seconds (exit code 137)", metavar="seconds")

# Streams and life.
ATTACH = Many("attach", values.attach, "Attach to STDIN, STDOUT or STDERR", short="a")
INTERACTIVE = Switch("interactive", "Keep STDIN open even if not attached", short="i")
TTY = Switch("tty", "Allocate a pseudo-TTY", short="t")
REMOVE = Switch("rm", "Automatically remove the container when it exits")
DETACH = Switch("detach", "Run container in background and print container ID", short="d")
DETACH_KEYS = Flag("detach-keys", detach.keys, "Override the key sequence for detaching from its terminal")
NAME = Flag("name", values.container_name, "Assign a name to the container")
SIG_PROXY = Switch("sig-proxy", "Proxy received signals to the process (default true)", default=True)
CIDFILE = Flag("cidfile", values.text, "Write the container ID to the file")
STOP_SIGNAL = Flag("stop-signal", values.signal, "Signal to stop the container")
STOP_TIMEOUT = Flag("stop-timeout", _COUNT, "Timeout (in seconds) to stop a container", metavar="int")
LOG_DRIVER = Flag("log-driver", _log_driver, "Logging driver for the container: local, or none")
LOG_OPT = Many("log-opt", _log_option, "Log driver options: max-size, max-file")
LABEL = Many("label", values.label, "Set meta data on a container", short="l")
LABEL_FILE = Many("label-file", values.text, "Read in a line delimited file of labels")

# The program.
ENTRYPOINT = Flag("entrypoint", values.text, "Overwrite the default ENTRYPOINT of the image")
ENV = Many("env", files.env_setting, "Set environment variables", short="e")
ENV_FILE = Many("env-file", values.text, "Read in a file of environment variables")
WORKDIR = Flag("workdir", values.absolute, "Working directory inside the container", short="w")
USER = Flag("user", values.text, "Username or UID (format: <name|uid>[:<group|gid>])", short="u")
GROUP_ADD = Many("group-add", values.text, "Add additional groups to join")
ULIMIT = Many("ulimit", values.ulimit, "Ulimit options", metavar="ulimit")
OOM_SCORE_ADJ = Flag(
    "oom-score-adj", values.integer(-1000, 1000), "Tune host's OOM preferences (-1000 to 1000)", metavar="int"
)

# Limits.
MEMORY = Flag("memory", values.size, "Memory limit", short="m", metavar="bytes")
MEMORY_RESERVATION = Flag("memory-reservation", values.size, "Memory soft limit", metavar="bytes")
MEMORY_HIGH = Flag(
    "memory-high", values.size, "Memory above which it is slowed and taken back (cgroup v2)", metavar="bytes"
)
OOM_GROUP = Switch("oom-group", "End all of the container when one of its programs is killed for memory (cgroup v2)")
MEMORY_SWAP = Flag(
    "memory-swap",
    values.size_or_unlimited,
    "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
    metavar="bytes",
)
CPUS = Flag("cpus", values.cpus, "Number of CPUs", metavar="decimal")
CPU_SHARES = Flag("cpu-shares", _COUNT, "CPU shares (relative weight)", short="c", metavar="int")
CPU_PERIOD = Flag("cpu-period", _COUNT, "Limit CPU CFS (Completely Fair Scheduler) period", metavar="int")
CPU_QUOTA = Flag("cpu-quota", values.integer(), "Limit CPU CFS (Completely Fair Scheduler) quota", metavar="int")
CPUSET_CPUS = Flag("cpuset-cpus", values.text, "CPUs in which to allow execution (0-3, 0,1)")
CPUSET_MEMS = Flag("cpuset-mems", values.text, "MEMs in which to allow execution (0-3, 0,1)")
PIDS_LIMIT = Flag("pids-limit", values.integer(-1), "Tune container pids limit (set -1 for unlimited)", metavar="int")
BLKIO_WEIGHT = Flag(
    "blkio-weight", values.integer(0, 65_535),
    "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)", metavar="uint16",
)  # fmt: skip
BLKIO_WEIGHT_DEVICE = Many("blkio-weight-device", values.weight_device, "Block IO weight (relative device weight)")
DEVICE_READ_BPS = Many("device-read-bps", values.bytes_of_device, "Limit read rate (bytes per second) from a device")
DEVICE_READ_IOPS = Many("device-read-iops", values.requests_of_device, "Limit read rate (IO per second) from a device")
DEVICE_WRITE_BPS = Many("device-write-bps", values.bytes_of_device, "Limit write rate (bytes per second) to a device")
DEVICE_WRITE_IOPS = Many("device-write-iops", values.requests_of_device, "Limit write rate (IO per second) to a device")

# File systems.
READ_ONLY = Switch("read-only", "Mount the container's root filesystem as read only")
VOLUME = Many("volume", mounts.volume, "Bind mount a volume", short="v")
VOLUME_DRIVER = Flag("volume-driver", mounts.volume_driver, "Optional volume driver for the container")
VOLUMES_FROM = Many("volumes-from", mounts.volumes_from, "Mount volumes from the specified container(s)")
MOUNT = Many("mount", mounts.mount, "Attach a filesystem mount to the container", metavar="mount")
TMPFS = Many("tmpfs", mounts.tmpfs, "Mount a tmpfs directory")
DEVICE = Many("device", mounts.device, "Add a host device to the container")
DEVICE_RULE = Many("device-cgroup-rule", _device_rule, "Add a rule to the cgroup allowed devices list")
SHM_SIZE = Flag("shm-size", values.size, "Size of /dev/shm", metavar="bytes")
STORAGE_OPT = Many("storage-opt", values.storage_option, "Storage driver options for the container (size=BYTES)")

# Isolation.
CAP_ADD = Many("cap-add", values.text, "Add Linux capabilities")
CAP_DROP = Many("cap-drop", values.text, "Drop Linux capabilities")
PRIVILEGED = Switch("privileged", "Give extended privileges to this container")
SECURITY_OPT = Many("security-opt", _security_option, "Security Options")
SYSCTL = Many("sysctl", values.sysctl, "Sysctl options", metavar="map")
IPC = Flag("ipc", _namespace, "IPC mode to use")
PID = Flag("pid", _namespace, "PID namespace to use")
UTS = Flag("uts", _namespace, "UTS namespace to use")
CGROUPNS = Flag("cgroupns", _namespace, "Cgroup namespace to use (host|private)")

# The image.
PULL = Flag("pull", values.choice("always", "missing", "never"), "Pull image before running (always, missing, never)")
PLATFORM = Flag("platform", values.text, "Set platform if server is multi-platform capable")
QUIET = Switch("quiet", "Suppress the pull output", short="q")

# Told, and not acted on yet.
EXPOSE = Many("expose", _exposed, "Expose a port or a range of ports")
HEALTH_CMD = Flag("health-cmd", values.text, "Command to run to check health")
HEALTH_INTERVAL = Flag("health-interval", _health_time, "Time between running the check", metavar="duration")
HEALTH_RETRIES = Flag("health-retries", _COUNT, "Consecutive failures needed to report unhealthy", metavar="int")
HEALTH_START_INTERVAL = Flag(
    "health-start-interval", _health_time, "Time between running the check during the start period", metavar="duration"
)
HEALTH_START_PERIOD = Flag(
    "health-start-period", _health_time, "Start period for the container to initialize before health counts",
    metavar="duration",
)  # fmt: skip
HEALTH_TIMEOUT = Flag("health-timeout", _health_time, "Maximum time to allow one check to run", metavar="duration")
NO_HEALTHCHECK = Switch("no-healthcheck", "Disable any container-specified HEALTHCHECK")

# Names and networks.
HOSTNAME = Flag("hostname", values.host_name, "Container host name", short="h")
DOMAINNAME = Flag("domainname", values.host_name, "Container NIS domain name")
NETWORK = Flag(
    "network", _network, "Network of the container: none (the default) or host", metavar="network", aliases=("net",)
)
ADD_HOST = Many("add-host", values.extra_host, "Add a custom host-to-IP mapping (host:ip)")
DNS = Many("dns", values.ip_address, "Set custom DNS servers")
DNS_OPTION = Many("dns-option", values.text, "Set DNS options", aliases=("dns-opt",))
DNS_SEARCH = Many("dns-search", values.text, "Set custom DNS search domains")

# Accepted, since what they ask for is what happens.
_ACCEPTED: tuple[AnyFlag, ...] = (
    Switch("disable-content-trust", "Skip image verification", default=True, hidden=True),
)

_NETWORKS = "there are no networks yet but none and host"
_WINDOWS = "it exists on Windows only"

_REFUSED: tuple[AnyFlag, ...] = (
    Refused("annotation", "there is no OCI runtime to pass it to"),
    Refused("cgroup-parent", "containers are in ardock's own cgroup", harmless=("",)),
    Refused("cpu-count", _WINDOWS, harmless=("0",)),
    Refused("cpu-percent", _WINDOWS, harmless=("0",)),
    Refused("cpu-rt-period", "real-time scheduling limits are not built yet", harmless=("0",)),
    Refused("cpu-rt-runtime", "real-time scheduling limits are not built yet", harmless=("0",)),
    Refused("gpus", "GPUs are not built yet; --device passes a device node"),
    Refused("init", "the built-in init is not built yet; the program itself is PID 1", switch=True),
    Refused("io-maxbandwidth", _WINDOWS, harmless=("0",)),
    Refused("io-maxiops", _WINDOWS, harmless=("0",)),
    Refused("ip", _NETWORKS, harmless=("",)),
    Refused("ip6", _NETWORKS, harmless=("",)),
    Refused("isolation", "Linux has one kind of it", harmless=("", "default")),
    Refused("kernel-memory", "the kernel has no such limit any more; --memory counts its memory, too", harmless=("0",)),
    Refused("link", _NETWORKS),
    Refused("link-local-ip", _NETWORKS),
    Refused("mac-address", _NETWORKS, harmless=("",)),
    Refused("memory-swappiness", "it is not built yet", harmless=("-1",)),
    Refused("network-alias", _NETWORKS, aliases=("net-alias",)),
    Refused("oom-kill-disable", "a container that may not be killed can hang its machine", switch=True),
    Refused("publish", _NETWORKS + ", so no port can be published", short="p"),
    Refused("publish-all", _NETWORKS + ", so no port can be published", short="P", switch=True),
    Refused("restart", "restart policies are not built yet", harmless=("", "no")),
    Refused("runtime", "OCI runtimes as backends are not built yet", harmless=("",)),
    Refused("use-api-socket", "there is no Docker API socket to bind", switch=True),
    Refused("userns", "user namespaces are not built yet", harmless=("", "host")),
)

BUILT: tuple[AnyFlag, ...] = tuple(flag for flag in globals().copy().values() if isinstance(flag, AnyFlag))
RUN_FLAGS: tuple[AnyFlag, ...] = tuple(sorted((*BUILT, *_ACCEPTED, *_REFUSED), key=lambda flag: flag.name))
