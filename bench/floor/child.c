// Between clone and execve: the system calls of rust/launch/src/child.rs and
// process.rs for a run without flags, in the same order.
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// Memory is shared with the launcher until execve: the line and the reason are
// left there and nothing is printed, allocated or locked.
static _Noreturn void fail(struct launch *l, int line) {
    l->failed_errno = errno;
    l->failed_line = line;
    _exit(127);
}

#define STEP(call)                              \
    ({                                          \
        long result_ = (call);                  \
        if (result_ < 0) fail(l, __LINE__);     \
        (int)result_;                           \
    })

enum { QUIET = MS_NOSUID | MS_NODEV | MS_NOEXEC };
enum { QUIET_ATTR = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

static int beneath(int root, const char *path, int flags) {
    struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static int folder(int root, const char *name) {
    return beneath(root, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

static void enter(struct launch *l, int root, const char *path) {
    int fd = STEP(folder(root, path));
    STEP(fchdir(fd));
    STEP(close(fd));
}

static void attach_and_close(struct launch *l, int tree, int place) {
    STEP(move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
    STEP(close(tree));
    STEP(close(place));
}

static int tree_of(struct launch *l, const char *path) {
    return STEP(open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

// With attributes, in one call where the kernel can.
static int copy_of(struct launch *l, int folder, const char *path, unsigned flags, struct mount_attr *attr) {
    flags |= OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if (has_open_tree_attr) return STEP(syscall(OPEN_TREE_ATTR, folder, path, flags, attr, sizeof *attr));
    int tree = STEP(open_tree(folder, path, flags));
    STEP(mount_setattr(tree, "", AT_EMPTY_PATH | (flags & AT_RECURSIVE), attr, sizeof *attr));
    return tree;
}

static void bind_to(struct launch *l, const char *from, int root, const char *at, unsigned attributes) {
    struct mount_attr attr = {.attr_set = attributes};
    int tree = copy_of(l, AT_FDCWD, from, 0, &attr);
    STEP(move_mount(tree, "", root, at, MOVE_MOUNT_F_EMPTY_PATH));
    STEP(close(tree));
}

static int mount_root(struct launch *l) {
    STEP(mount("tmpfs", "/stage", "tmpfs", MS_NOSUID | MS_STRICTATIME, options.disk ? "mode=755,size=67108864" : "mode=755"));
    STEP(mkdirat(AT_FDCWD, "/stage/m", 0755));
    if (!options.disk) {
        STEP(mkdirat(AT_FDCWD, "/stage/u", 0755));
        STEP(mkdirat(AT_FDCWD, "/stage/w", 0700));
    }
    STEP(mount("overlay", "/stage/m", "overlay", 0, l->overlay));
    return STEP(openat(AT_FDCWD, "/stage/m", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static void show_groups(struct launch *l, int root) {
    static const struct { const char *from, *staged, *at; } shown[] = {
        {"/c/memory", "/stage/c/memory", "sys/fs/cgroup/memory"},
        {"/c/pids", "/stage/c/pids", "sys/fs/cgroup/pids"},
        {"/c/cpu", "/stage/c/cpu", "sys/fs/cgroup/cpu"},
    };
    enum { SHOWN = sizeof shown / sizeof *shown };
    int first = options.groups ? options.memory_group ? 0 : 1 : SHOWN;
    STEP(mkdirat(AT_FDCWD, "/stage/c", 0755));
    for (int i = first; i < SHOWN; i++) STEP(mkdirat(AT_FDCWD, shown[i].staged, 0755));
    bind_to(l, "/stage/c", root, "sys/fs/cgroup", QUIET_ATTR | MOUNT_ATTR_RDONLY);
    for (int i = first; i < SHOWN; i++) {
        char from[256], *end = stpcpy(from, shown[i].from);
        *end++ = '/';
        strcpy(end, l->group_path);
        bind_to(l, from, root, shown[i].at, QUIET_ATTR | MOUNT_ATTR_RDONLY);
    }
}

static void make_dev(struct launch *l, int root) {
    static const struct { const char *name; int major, minor; } nodes[] = {
        {"/stage/d/null", 1, 3}, {"/stage/d/zero", 1, 5}, {"/stage/d/full", 1, 7},
        {"/stage/d/random", 1, 8}, {"/stage/d/urandom", 1, 9}, {"/stage/d/tty", 5, 0}};
    static const struct { const char *to, *name; } links[] = {
        {"/proc/self/fd", "/stage/d/fd"}, {"/proc/self/fd/0", "/stage/d/stdin"}, {"/proc/self/fd/1", "/stage/d/stdout"},
        {"/proc/self/fd/2", "/stage/d/stderr"}, {"/proc/kcore", "/stage/d/core"}, {"pts/ptmx", "/stage/d/ptmx"}};
    STEP(mkdirat(AT_FDCWD, "/stage/d", 0755));
    for (int i = 0; i < 6; i++)
        STEP(mknodat(AT_FDCWD, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    for (int i = 0; i < 6; i++)
        if (i != 4 || options.kcore) STEP(symlinkat(links[i].to, AT_FDCWD, links[i].name));
    STEP(mkdirat(AT_FDCWD, "/stage/d/shm", 01777));
    if (options.pts) STEP(mkdirat(AT_FDCWD, "/stage/d/pts", 0755));
    if (options.mqueue) STEP(mkdirat(AT_FDCWD, "/stage/d/mqueue", 0755));
    int dev = tree_of(l, "/stage/d");
    attach_and_close(l, dev, STEP(folder(root, "dev")));
    bind_to(l, "/stage/d/shm", root, "dev/shm", QUIET_ATTR);
    if (options.pts) {
        enter(l, root, "dev/pts");
        STEP(mount("devpts", ".", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    }
    if (options.mqueue) {
        enter(l, root, "dev/mqueue");
        STEP(mount("mqueue", ".", "mqueue", QUIET, NULL));
    }
}

static void provide_files(struct launch *l, int root) {
    static const struct { const char *staged, *target, *content; } files[] = {
        {"/stage/f0", "etc/hosts",
         "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
         "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"},
        {"/stage/f1", "etc/hostname", "0123456789ab\n"},
        {"/stage/f2", "etc/resolv.conf", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"}};
    for (int i = 0; i < 3; i++) {
        int fd = STEP(openat(AT_FDCWD, files[i].staged, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
        STEP(write(fd, files[i].content, strlen(files[i].content)));
        STEP(close(fd));
        int place = STEP(beneath(root, files[i].target, O_PATH));
        attach_and_close(l, tree_of(l, files[i].staged), place);
    }
}

static void loopback_up(struct launch *l) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = STEP(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    STEP(ioctl(fd, SIOCSIFFLAGS, &request));
    STEP(close(fd));
}

static void make_readonly(struct launch *l, int root) {
    static const char *const paths[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int place = beneath(root, paths[i], O_PATH);
        if (place < 0 && errno == ENOENT) continue;
        STEP(place);
        int tree = copy_of(l, place, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr);
        attach_and_close(l, tree, place);
    }
}

static void mask(struct launch *l, int root) {
    static const char *const paths[] = {
        "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats",
        "proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats",
        "sys/devices/virtual/powercap", "sys/firmware"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct stat stat;
        int place = beneath(root, paths[i], O_PATH);
        if (place < 0 && errno == ENOENT) continue;
        STEP(place);
        STEP(syscall(SYS_fstat, place, &stat));
        attach_and_close(l, tree_of(l, S_ISDIR(stat.st_mode) ? "/empty/dir" : "/empty/file"), place);
    }
}

// Docker's default set.
static const uint64_t kept_capabilities = 0xa80425fb;

static void drop_bounding_set(struct launch *l) {
    for (int capability = 0; capability <= last_capability; capability++)
        if (!(kept_capabilities >> capability & 1)) STEP(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
}

static void set_capabilities(struct launch *l) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = (unsigned)kept_capabilities, .permitted = (unsigned)kept_capabilities}};
    STEP(syscall(SYS_capset, &header, data));
}

_Noreturn void child(struct launch *l) {
    // Of the kernel's size, which is not glibc's.
    uint64_t no_signals = 0, default_action[4] = {0};
    STEP(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, sizeof no_signals));
    STEP(syscall(SYS_rt_sigaction, SIGPIPE, default_action, NULL, sizeof no_signals));
    STEP(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
    for (int i = 0; i < l->tasks; i++) STEP(write(l->task_file[i], "0", 1));
    if (options.cgroup_ns) STEP(unshare(CLONE_NEWCGROUP));

    int root = mount_root(l);
    enter(l, root, "proc");
    STEP(mount("proc", ".", "proc", QUIET, NULL));
    if (options.sys) {
        enter(l, root, "sys");
        STEP(mount("sysfs", ".", "sysfs", QUIET | MS_RDONLY, NULL));
        show_groups(l, root);
    }
    make_dev(l, root);
    STEP(sethostname("0123456789ab", 12));
    if (options.files) provide_files(l, root);
    if (options.net) loopback_up(l);
    if (options.readonly) make_readonly(l, root);
    if (options.masks) mask(l, root);
    STEP(fchdir(root));
    STEP(syscall(SYS_pivot_root, ".", "."));
    STEP(umount2(".", MNT_DETACH));
    STEP(chdir("/"));

    for (int i = 0; i < 3; i++) STEP(dup3(l->stream[i], i, 0));
    STEP(setsid());
    STEP(syscall(SYS_umask, 022));
    if (options.seccomp) STEP(apply_seccomp_program());
    if (options.capabilities) drop_bounding_set(l);
    gid_t groups[1] = {0};
    STEP(syscall(SYS_setgroups, 1, groups));
    STEP(syscall(SYS_setresgid, 0, 0, 0));
    if (options.capabilities) set_capabilities(l);
    STEP(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    struct pollfd parent = {.fd = own_pidfd, .events = POLLIN};
    struct timespec now = {0};
    if (STEP(syscall(SYS_ppoll, &parent, 1, &now, NULL, sizeof no_signals)) != 0) fail(l, __LINE__);
    STEP(syscall(SYS_close_range, 3, ~0U, 0));
    execve(PROGRAM, l->argv, l->environment);
    fail(l, __LINE__);
}
