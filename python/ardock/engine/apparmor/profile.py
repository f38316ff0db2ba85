"""The text of `ardock-default`: in effect Docker's docker-default (moby/profiles, apparmor), in apparmor.d(5)'s language.

What it adds to seccomp, capabilities, masks and read-only paths is that it holds where those were given away: with
``--cap-add SYS_ADMIN`` nothing can be mounted, with the host's processes in view none of them can be signalled or traced,
and what a container should not write in /proc and /sys it cannot write by another mount of them either.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

NAME: Final = "ardock-default"
"""The profile of a container that asks for none."""
UNCONFINED: Final = "unconfined"
"""The kernel's, and Docker's, name for no profile."""

# Without an ABI a parser from 4.0 on takes that of the kernel it runs on, so that a class of rules which a new kernel
# learns (user namespaces, message queues and io_uring in 4.0, unix sockets again in Linux 6.17) is denied to containers
# for which nobody has written a rule. Pinned, the profile means the same everywhere: what seccomp lets through of these
# is allowed, as with Debian 12. Not every host has the file (it comes with the package's policies), so it is asked for
# where it is.
ABI: Final = "abi/3.0"

# A label that needs no quoting; what else there may be (stacks, spaces) is not worth the rules of quoting.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:-]+")

# On the denials: a pattern has no "all but", so each line leaves the allowed name at one more of its letters.
_RULES: Final = """
  file,
  capability,
  network,
  unix,
  umount,

  # As seccomp does: the kernel's cryptography (CVE-2026-31431), and sockets that lead out of a virtual machine.
  deny network alg,
  deny network vsock,

  # Stopped and killed from the host, and by each other; whether a process is there may be asked.
  signal (receive) peer=unconfined,
{engine}  signal (send, receive) peer=ardock-default,
  signal (send, receive) set=(exists),

  # Debuggers inside; whoever outside is allowed to look in may.
  ptrace (read, trace) peer=ardock-default,
  ptrace (readby, tracedby),

  deny mount,

  # Of /proc: processes' own folders, and the parameters of shared memory.
  deny /proc/* w,
  deny /proc/{{[^1-9s],s[^y],sy[^s],sys[^/]}}*/** w,
  deny /proc/sys/{{[^k],k[^e]}}** w,
  deny /proc/sys/kernel/{{[^s],s[^h],sh[^m]}}** w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # Of /sys: control groups.
  deny /sys/{{[^f],f[^s]}}*/** wklx,
  deny /sys/fs/{{[^c],c[^g],cg[^r]}}*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
  # Energy meters tell of other containers' computations (CVE-2020-8694).
  deny /sys/devices/virtual/powercap/** rwklx,
"""

# attach_disconnected: paths of descriptors that come from outside (standard streams, detached mounts) begin at the root.
# mediate_deleted: a file that was removed is still one.
_TEXT: Final = """{abi}
profile ardock-default flags=(attach_disconnected,mediate_deleted) {{
{rules}
  # Nothing ever runs under this one: its name tells which text of the profile the kernel has.
  profile {version} {{ }}
}}
"""


def version(rules: str) -> str:
    """The name of the empty profile inside that stands for a text."""
    return f"text-{hashlib.sha256(rules.encode()).hexdigest()[:12]}"


def compose(*, label: str, abi: bool) -> tuple[str, str]:
    """The profile's text, and the full name of the profile inside it by which that text is known in the kernel.

    Args:
        label: What the engine itself runs under: its signals must reach the containers.
        abi: The file of `ABI` is there.
    """
    engine = "" if label == UNCONFINED or not _PLAIN.fullmatch(label) else f"  signal (receive) peer={label},\n"
    rules = _RULES.format(engine=engine)
    pinned = f"abi <{ABI}>," if abi else ""
    inner = version(pinned + rules)
    return _TEXT.format(abi=pinned, rules=rules, version=inner), f"{NAME}//{inner}"
