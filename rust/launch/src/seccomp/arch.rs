//! The architectures that a filter can have a section for.

use super::table;

/// One system call interface. A filter for a host holds its native one and
/// those that the same kernel also serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// i386, as served by an x86-64 kernel.
    X86,
    /// x32: x86-64's numbers with bit 30 set, pointers of 32 bits.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM (EABI), as served by an aarch64 kernel.
    Arm,
}

/// The bit that marks an x32 call (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// All of them, in the order of the columns of the table of names.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// The one this program was built for.
    #[must_use]
    pub const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// What the kernel puts into `seccomp_data.arch` (`AUDIT_ARCH_*`). x32
    /// has no value of its own there.
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xC000_003E,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xC000_00B7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments are compared in all 64 bits. Where not, libseccomp
    /// looks at the lower half of argument and value only, and so do we.
    #[must_use]
    pub const fn is_64_bit(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    /// Whether one kernel serves both.
    #[must_use]
    pub const fn same_kernel(self, other: Self) -> bool {
        matches!(self, Self::Aarch64 | Self::Arm) == matches!(other, Self::Aarch64 | Self::Arm)
    }

    /// The name in `includes.arches` and `excludes.arches`, which Docker
    /// compares with the host's architecture only.
    #[must_use]
    pub const fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// libseccomp's and OCI's name.
    #[must_use]
    pub const fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The number of a call, with the x32 bit where it applies.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u32> {
        table::number(name, self)
    }

    /// The multiplexer through which i386 programs also reach a call, and the
    /// value of its first argument for it: `socketcall` and `ipc` (the codes
    /// are `SYS_*` of linux/net.h and the constants of linux/ipc.h).
    /// libseccomp adds a rule for it beside the direct call's.
    pub(super) fn multiplexed(self, name: &str) -> Option<(u32, u32)> {
        if self != Self::X86 {
            return None;
        }
        let code = match name {
            "socket" => 1,
            "bind" => 2,
            "connect" => 3,
            "listen" => 4,
            "accept" => 5,
            "getsockname" => 6,
            "getpeername" => 7,
            "socketpair" => 8,
            "send" => 9,
            "recv" => 10,
            "sendto" => 11,
            "recvfrom" => 12,
            "shutdown" => 13,
            "setsockopt" => 14,
            "getsockopt" => 15,
            "sendmsg" => 16,
            "recvmsg" => 17,
            "accept4" => 18,
            "recvmmsg" => 19,
            "sendmmsg" => 20,
            _ => 0,
        };
        if code != 0 {
            return Some((102, code));
        }
        let code = match name {
            "semop" => 1,
            "semget" => 2,
            "semctl" => 3,
            "semtimedop" => 4,
            "msgsnd" => 11,
            "msgrcv" => 12,
            "msgget" => 13,
            "msgctl" => 14,
            "shmat" => 21,
            "shmdt" => 22,
            "shmget" => 23,
            "shmctl" => 24,
            _ => return None,
        };
        Some((117, code))
    }
}
