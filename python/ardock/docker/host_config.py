"""`HostConfig` of Docker's container object: limits, mounts, isolation (Docker Engine API, ``ContainerInspect``)."""

from __future__ import annotations

from ardock.docker.values import NilList, OpenMap, Struct, string_map, strings
from ardock.model.container import ContainerInfo
from ardock.model.paths import MASKED_PATHS, READONLY_PATHS
from ardock.model.sizes import parse_size
from ardock.model.spec import ContainerSpec, LogOptions, Mount, ThrottleDevice


def host_config(info: ContainerInfo) -> Struct:
    """Everything that Docker counts as the host's side of a container."""
    spec = info.spec
    memory = _bytes(spec.memory)
    config: Struct = {
        "Binds": strings([_bind(mount) for mount in spec.mounts if _by_v(mount)]),
        "ContainerIDFile": "",
        "LogConfig": _log_config(spec),
        "NetworkMode": spec.network,
        "PortBindings": OpenMap(),
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": info.remove,
        "VolumeDriver": "",
        "VolumesFrom": strings(spec.volumes_from),
        "ConsoleSize": list(spec.tty_size),
        "CapAdd": strings([_capability(name) for name in spec.cap_add]),
        "CapDrop": strings([_capability(name) for name in spec.cap_drop]),
        "CgroupnsMode": spec.cgroupns,
        "Dns": list(spec.dns),
        "DnsOptions": list(spec.dns_options),
        "DnsSearch": list(spec.dns_search),
        "ExtraHosts": strings(spec.add_hosts),
        "GroupAdd": strings(spec.group_add),
        "IpcMode": spec.ipc,
        "Cgroup": "",
        "Links": NilList(),
        "OomScoreAdj": spec.oom_score_adj or 0,
        "PidMode": _host_or_nothing(spec.pid),
        "Privileged": spec.privileged,
        "PublishAllPorts": False,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": strings(_security_options(spec)),
        "UTSMode": _host_or_nothing(spec.uts),
        "UsernsMode": "",
        "ShmSize": _bytes(spec.shm_size),
        "Runtime": "ardock",
        "Isolation": "",
        "CpuShares": spec.cpu_shares or 0,
        "Memory": memory,
        "NanoCpus": round(float(spec.cpus or 0) * 1_000_000_000),
        "CgroupParent": "",
        "BlkioWeight": spec.blkio_weight or 0,
        "BlkioWeightDevice": [{"Path": disk.path, "Weight": disk.weight} for disk in spec.blkio_weight_device],
        "BlkioDeviceReadBps": _rates(spec.blkio_device_read_bps),
        "BlkioDeviceWriteBps": _rates(spec.blkio_device_write_bps),
        "BlkioDeviceReadIOps": _rates(spec.blkio_device_read_iops),
        "BlkioDeviceWriteIOps": _rates(spec.blkio_device_write_iops),
        "CpuPeriod": spec.cpu_period or 0,
        "CpuQuota": spec.cpu_quota or 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": spec.cpuset_cpus or "",
        "CpusetMems": spec.cpuset_mems or "",
        "Devices": [
            {
                "PathOnHost": device.source,
                "PathInContainer": device.target or device.source,
                "CgroupPermissions": device.permissions,
            }
            for device in spec.devices
        ],
        "DeviceCgroupRules": strings(spec.device_cgroup_rules),
        "DeviceRequests": NilList(),
        "MemoryReservation": _bytes(spec.memory_reservation),
        # Docker's default, which ardock has as well: as much swap as memory.
        "MemorySwap": 2 * memory if spec.memory_swap is None else _bytes(spec.memory_swap),
        "MemorySwappiness": None,
        "OomKillDisable": False,
        "PidsLimit": spec.pids_limit,
        "Ulimits": [{"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft} for limit in spec.ulimits],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": NilList() if spec.privileged else list(MASKED_PATHS),
        "ReadonlyPaths": NilList() if spec.privileged else list(READONLY_PATHS),
    }
    # Those that Docker leaves out where they are empty.
    if mounts := [_mount(mount) for mount in spec.mounts if not (_by_v(mount) or mount.anonymous or mount.inherited)]:
        config["Mounts"] = mounts
    if spec.tmpfs:
        config["Tmpfs"] = string_map(spec.tmpfs)
    if spec.sysctls:
        config["Sysctls"] = string_map(spec.sysctls)
    if spec.scratch_size is not None:
        config["StorageOpt"] = OpenMap(size=str(spec.scratch_size))
    return config


def mount_points(spec: ContainerSpec, *, root: str = "") -> list[object]:
    """`Mounts` of the container object: what is mounted, but for what ``--tmpfs`` asks for, as in Docker.

    Args:
        spec: The container's.
        root: The engine's root folder, for the volumes' directories; empty leaves those out.
    """
    return [_point(mount, root) for mount in spec.mounts]


def _point(mount: Mount, root: str) -> Struct:
    point: Struct = {"Type": mount.type}
    if mount.type == "volume":
        point |= {
            "Name": mount.source,
            "Source": f"{root}/volumes/{mount.source}/_data" if root else "",
            "Destination": mount.target,
            "Driver": "local",
            "Mode": _volume_mode(mount),
        }
    else:
        point |= {
            "Source": mount.source,
            "Destination": mount.target,
            "Mode": ",".join(_bind_modes(mount)) if mount.create_source else "",
        }
    return point | {
        "RW": not mount.read_only,
        "Propagation": mount.propagation if mount.type == "bind" else "",
    }


def _volume_mode(mount: Mount) -> str:
    """What ``-v`` said; else SELinux' shared label, Docker's default for volumes of its local driver that have a name."""
    if mount.anonymous or mount.inherited:
        return ""
    return (",".join(_bind_modes(mount)) if _by_v(mount) else "") or "z"


def _bytes(size: int | str | None) -> int:
    """The spec was checked when the container was made; -1 (unlimited) is no size to `parse_size`."""
    if size is None:
        return 0
    return -1 if size in (-1, "-1") else parse_size(size, "size")


def _rates(disks: tuple[ThrottleDevice, ...]) -> list[object]:
    return [{"Path": disk.path, "Rate": _bytes(disk.rate)} for disk in disks]


def _host_or_nothing(mode: str) -> str:
    return "host" if mode == "host" else ""


def _capability(name: str) -> str:
    """Docker's normal form: with ``CAP_``, but for ``ALL``."""
    upper = name.upper()
    return upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}"


def _by_v(mount: Mount) -> bool:
    """It was given in ``-v``'s form; see `Mount.create_source`. An anonymous volume is in Docker's `Config.Volumes` instead."""
    return mount.create_source and not mount.anonymous


def _bind_modes(mount: Mount) -> list[str]:
    modes = ["ro"] if mount.read_only else []
    if mount.propagation != "rprivate":
        modes.append(mount.propagation)
    if mount.no_copy:
        modes.append("nocopy")
    return modes


def _bind(mount: Mount) -> str:
    """``-v``'s form."""
    return ":".join([mount.source, mount.target, *filter(None, [",".join(_bind_modes(mount))])])


def _mount(mount: Mount) -> Struct:
    """``--mount``'s form."""
    shown: Struct = {"Type": mount.type}
    if mount.source:
        shown["Source"] = mount.source
    shown["Target"] = mount.target
    if mount.read_only:
        shown["ReadOnly"] = True
    if mount.type == "bind" and (
        mount.propagation != "rprivate" or not mount.recursive or mount.read_only_recursive is not None
    ):
        bind: Struct = {"Propagation": mount.propagation, "NonRecursive": not mount.recursive}
        if mount.read_only_recursive is not None:
            bind["ReadOnlyForceRecursive" if mount.read_only_recursive else "ReadOnlyNonRecursive"] = True
        shown["BindOptions"] = bind
    if options := _volume_options(mount):
        shown["VolumeOptions"] = options
    if mount.options:
        shown["TmpfsOptions"] = _tmpfs_options(mount.options)
    return shown


def _tmpfs_options(text: str) -> Struct:
    """What ``--mount`` can say of a tmpfs, as numbers; all else as it is."""
    given = dict(word.partition("=")[::2] for word in text.split(","))
    if not given.keys() <= {"size", "mode"} or given.get("size", "").endswith("%"):
        return {"Options": text}
    options: Struct = {}
    if "size" in given:
        options["SizeBytes"] = parse_size(given["size"], "size")
    if "mode" in given:
        options["Mode"] = int(given["mode"], 8)
    return options


def _volume_options(mount: Mount) -> Struct:
    options: Struct = {}
    if mount.no_copy:
        options["NoCopy"] = True
    if mount.labels:
        options["Labels"] = string_map(mount.labels)
    if mount.subpath:
        options["Subpath"] = mount.subpath
    if mount.driver or mount.driver_options:
        named: Struct = {"Name": mount.driver} if mount.driver else {}
        options["DriverConfig"] = named | {"Options": string_map(mount.driver_options)}
    return options


def _log_config(spec: ContainerSpec) -> Struct:
    """Docker's `local` driver is the one that is like ours: binary records, rotated."""
    if spec.log == "none":
        return {"Type": "none", "Config": OpenMap()}
    config = OpenMap()
    if isinstance(spec.log, LogOptions):
        config.update({"max-size": str(spec.log.max_size), "max-file": str(spec.log.max_files)})
    return {"Type": "local", "Config": config}


def _security_options(spec: ContainerSpec) -> list[str]:
    options = ["no-new-privileges"] if spec.no_new_privileges else []
    if spec.seccomp is not None:
        options.append(f"seccomp={spec.seccomp}")
    if spec.apparmor is not None:
        options.append(f"apparmor={spec.apparmor}")
    return options
