"""Machines that are not at hand, as folders with the files of /proc and /sys that the examination reads."""

from __future__ import annotations

import errno
from pathlib import Path

from ardock.engine.host import Host
from ardock.engine.host.system import Space

ALL_CAPABILITIES = "000001ffffffffff"

MOUNTS_COMMON = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=1g
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=1g
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard
28 27 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
"""

MOUNTS_V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 31 0:30 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""

MOUNTS_V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


class Machine:
    """A machine with cgroup v2 on which containers run; tests take pieces away.

    Attributes:
        root: The folder that is its root.
        refused: errno by number of system call.
        loadable: File systems that are modules not loaded yet.
        may_ask: The kernel tells this process which file systems it has.
        memfd: errno of making an executable memfd.
        features: What its kernel has.
        device_programs: Why it takes no device rules on control groups of version 2; empty where it does.
        room: What its file systems have free.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refused: dict[int, int] = {}
        self.loadable: set[str] = set()
        self.may_ask = True
        self.memfd = 0
        self.device_programs = ""
        self.features = dict.fromkeys(
            ("overlay", "lowerdir+", "open_tree_attr", "mfd_exec", "memfd", "idmap", "proc_pidns"), True
        )
        self.room = Space(free_bytes=100 << 30, free_inodes=1_000_000)
        self.write("/proc/sys/kernel/osrelease", "6.1.0-13-amd64\n")
        self.write(
            "/proc/filesystems",
            "".join(f"nodev\t{name}\n" for name in ("overlay", "tmpfs", "proc", "sysfs", "devpts", "mqueue"))
            + "\text4\n",
        )
        self.set_status()
        self.write(
            "/proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n"
            "Max open files            1024                 20000                files     \n",
        )
        for name in ("pid", "net", "ipc", "mnt", "uts", "cgroup", "user"):
            if name != "user":
                self.write(f"/proc/self/ns/{name}", "")
            self.write(f"/proc/sys/user/max_{name}_namespaces", "60000\n")
        self.set_user_namespace(4026531837)
        self.write("/proc/sys/kernel/seccomp/actions_avail", "kill_process kill_thread trap errno trace log allow\n")
        self.write("/proc/sys/kernel/pid_max", "4194304\n")
        self.write("/proc/sys/kernel/threads-max", "4194304\n")
        self.write("/proc/sys/kernel/pty/max", "4096\n")
        self.write("/proc/sys/kernel/pty/nr", "6\n")
        self.write("/proc/sys/kernel/pty/reserve", "1024\n")
        self.write("/proc/sys/fs/file-max", "9223372036854775807\n")
        self.write("/proc/sys/fs/file-nr", "2000\t0\t9223372036854775807\n")
        self.write("/proc/sys/fs/epoll/max_user_watches", "5491511\n")
        self.write("/proc/sys/kernel/keys/root_maxkeys", "1000000\n")
        self.write("/proc/key-users", "    0:    10 9/9 4/1000000 45/25000000\n 1000:     1 1/1 1/200 9/20000\n")
        self.write("/proc/loadavg", "0.00 0.01 0.05 1/168 4711\n")
        self.write("/proc/meminfo", "MemTotal:  1073741824 kB\nMemFree:  10 kB\nMemAvailable:  1073741824 kB\n")
        self.write("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t35\t1\n")
        self.write("/proc/fs/jbd2/sda1-8/info", "")
        self.mounts(MOUNTS_COMMON + MOUNTS_V2)
        self.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
        self.write("/sys/fs/cgroup/cgroup.subtree_control", "memory pids\n")
        self.write("/sys/fs/cgroup/cgroup.procs", "1\n2\n4711\n")
        self.write("/dev/shm/.keep", "")
        self.write("/run/.keep", "")
        self.write("/var/lib/.keep", "")

    def write(self, path: str, text: str) -> None:
        """Give it a file."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, path: str) -> None:
        """Take a file away."""
        (self.root / path.lstrip("/")).unlink()

    def mounts(self, table: str) -> None:
        """Give it a mount table."""
        self.write("/proc/self/mountinfo", table)

    def set_status(self, *, uid: int = 0, capabilities: str = ALL_CAPABILITIES, seccomp: int = 0, nnp: int = 0) -> None:
        """Say what the examining process is."""
        self.write(
            "/proc/self/status",
            f"Name:\tpython\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{capabilities}\nNoNewPrivs:\t{nnp}\n"
            f"Seccomp:\t{seccomp}\n",
        )

    def set_user_namespace(self, number: int) -> None:
        """Say in which user namespace the examining process is."""
        link = self.root / "proc/self/ns/user"
        link.unlink(missing_ok=True)
        link.symlink_to(f"user:[{number}]")

    def be_in_container(
        self, *, controllers: str, enabled: str = "", processes: str = "1\n", kind: str = "domain"
    ) -> None:
        """See the machine's control groups of version 2 from inside of a cgroup namespace."""
        self.write("/sys/fs/cgroup/cgroup.type", f"{kind}\n")
        self.write("/sys/fs/cgroup/cgroup.controllers", f"{controllers}\n")
        self.write("/sys/fs/cgroup/cgroup.subtree_control", f"{enabled}\n")
        self.write("/sys/fs/cgroup/cgroup.procs", processes)

    def _filesystem(self, name: str) -> int:
        if not self.may_ask:
            return errno.EPERM
        return 0 if name in self.loadable else errno.ENODEV

    def use_cgroup_v1(self) -> None:
        """Mount every controller by version 1."""
        self.mounts(MOUNTS_COMMON + MOUNTS_V1)
        self.write("/sys/fs/cgroup/memory/memory.memsw.usage_in_bytes", "0\n")

    @property
    def host(self) -> Host:
        """The examination's view of it."""
        return Host(
            self.root,
            call=lambda number: self.refused.get(number, errno.EINVAL),
            memfd=lambda flags: self.memfd,
            filesystem=self._filesystem,
            space=lambda path: self.room,
            features=lambda: self.features,
            device_programs=lambda: self.device_programs,
        )
