// The bare pieces: what a container costs with nothing that makes it safe or
// pleasant (no masks, capabilities, seccomp, device rules, /etc files, cgroup
// namespace or loopback), each kernel file system on a superblock of its own.
#include "floor.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define STEP(call)                       \
    do {                                 \
        if ((call) < 0) {                \
            l->failed_line = __LINE__;   \
            l->failed_errno = errno;     \
            _exit(127);                  \
        }                                \
    } while (0)

_Noreturn void bare_child(struct launch *l) {
    static const struct { const char *name; int major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
        {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    enum { QUIET = MS_NOSUID | MS_NODEV | MS_NOEXEC };
    STEP(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    STEP(mount("overlay", "/stage", "overlay", 0, l->overlay));
    for (int i = 0; i < l->tasks; i++) STEP(write(l->task_file[i], "0", 1));
    STEP(chdir("/stage"));
    STEP(mount("proc", "proc", "proc", QUIET, NULL));
    STEP(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    for (int i = 0; i < 6; i++) STEP(mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    STEP(symlink("/proc/self/fd", "dev/fd"));
    STEP(symlink("pts/ptmx", "dev/ptmx"));
    STEP(mkdir("dev/shm", 01777));
    STEP(mkdir("dev/pts", 0755));
    STEP(mkdir("dev/mqueue", 0755));
    STEP(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"));
    STEP(mount("shm", "dev/shm", "tmpfs", QUIET, "mode=1777,size=65536k"));
    STEP(mount("mqueue", "dev/mqueue", "mqueue", QUIET, NULL));
    STEP(mount("sysfs", "sys", "sysfs", QUIET | MS_RDONLY, NULL));
    STEP(syscall(SYS_pivot_root, ".", "."));
    STEP(umount2(".", MNT_DETACH));
    STEP(chdir("/"));
    STEP(sethostname("floor", 5));
    STEP(dup2(l->stream[1], STDOUT_FILENO));
    execve(PROGRAM, l->argv, l->environment);
    STEP(-1);
    __builtin_unreachable();
}
