// The namespace from which containers are cloned. Each fresh mount namespace
// is a copy of its parent's, so this one has a tmpfs as its root and only
// what a launch needs: /proc, /sys, /c/<hierarchy>, /store, /roots/0, /empty.
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CONTROL "/sys/fs/cgroup/"

// Hierarchies that ardock finds; the first four by the numbers of floor.h.
static const char *hierarchies[] = {"memory", "cpu", "pids", "devices", "cpuset", "blkio", "freezer", "cpuacct"};
enum { FOUND = sizeof hierarchies / sizeof *hierarchies };

int store_folder = -1;
bool has_open_tree_attr;
int group_root[HIERARCHIES] = {-1, -1, -1, -1};

static int tree_of(const char *path) {
    return (int)must(open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), path);
}

static void attach(int tree, const char *where) {
    must(move_mount(tree, "", AT_FDCWD, where, MOVE_MOUNT_F_EMPTY_PATH), where);
    close(tree);
}

static void folder(const char *path, mode_t mode) {
    must(mkdir(path, mode), path);
}

void enter_home(void) {
    struct mount_attr none = {0};
    has_open_tree_attr = syscall(OPEN_TREE_ATTR, -1, "", -1, &none, sizeof none) == -1 && errno != ENOSYS;
    must(unshare(CLONE_NEWNS | CLONE_FS), "unshare");
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    umask(0);
    // Cloned while the host's paths still resolve.
    int proc = tree_of("/proc"), sys = tree_of("/sys"), rootfs = tree_of(options.rootfs);
    int store = options.disk ? tree_of(options.work) : -1, control[FOUND];
    for (int i = 0; i < FOUND; i++) {
        char path[64];
        snprintf(path, sizeof path, CONTROL "%s/tasks", hierarchies[i]);
        int there = access(path, F_OK) == 0;
        snprintf(path, sizeof path, CONTROL "%s", hierarchies[i]);
        control[i] = options.groups && there ? tree_of(path) : -1;
        if (options.groups && i < HIERARCHIES && !there) {
            fprintf(stderr, "floor: no cgroup v1 hierarchy of %s at %s (--no-groups does without)\n", hierarchies[i], path);
            _exit(1);
        }
    }
    // On a folder that is sure to exist; the clone above does not see it.
    must(mount("tmpfs", options.rootfs, "tmpfs", MS_NOSUID, "mode=755"), "the launcher's root");
    must(chdir(options.rootfs), "the launcher's root");
    for (const char *const *name = (const char *const[]){"proc", "sys", "c", "roots", "roots/0", "store", "empty", "stage", NULL}; *name; name++)
        folder(*name, 0755);
    must(mknod("null", S_IFCHR | 0666, makedev(1, 3)), "null");
    attach(proc, "proc");
    attach(sys, "sys");
    attach(rootfs, "roots/0");
    if (store >= 0) attach(store, "store");
    for (int i = 0; i < FOUND; i++) {
        if (control[i] < 0) continue;
        char path[64];
        snprintf(path, sizeof path, "c/%s", hierarchies[i]);
        folder(path, 0755);
        attach(control[i], path);
    }
    must(mount("tmpfs", "empty", "tmpfs", MS_NOSUID, "mode=755,size=4k,nr_inodes=4"), "empty");
    folder("empty/dir", 0555);
    close((int)must(open("empty/file", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444), "empty/file"));
    must(mount(NULL, "empty", NULL, MS_REMOUNT | MS_RDONLY, NULL), "empty");

    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "the host's root");
    must(chdir("/"), "/");
    store_folder = open_folder("/store");
    for (int i = 0; i < HIERARCHIES; i++) {
        char path[64];
        snprintf(path, sizeof path, "/c/%s", hierarchies[i]);
        if (control[i] >= 0) group_root[i] = (int)must(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
    }
}
