// Control groups (v1): one folder a container in each hierarchy that limits
// it, and one devices group for all of them, since their rules are the same.
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// In the order in which a child enters them: memory first, so that what the
// launch allocates is the container's; cpu last, since a small quota
// throttles all that follows.
static const int order[] = {MEMORY, PIDS, DEVICES, CPU};

static const struct { const char *file, *value; } limits[HIERARCHIES][2] = {
    [MEMORY] = {{"memory.limit_in_bytes", "67108864"}, {"memory.memsw.limit_in_bytes", "134217728"}},
    [PIDS] = {{"pids.max", "128"}},
    [CPU] = {{"cpu.cfs_period_us", "100000"}, {"cpu.cfs_quota_us", "100000"}},
};

// Docker's device rules.
static const char *const allowed[] = {
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
    "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm",
};

static bool wanted(int hierarchy) {
    return options.groups && (hierarchy != MEMORY || options.memory_group) && (hierarchy != DEVICES || options.devices);
}

static void path_of(char *path, size_t size, const char *name, const char *file) {
    int n = snprintf(path, size, "%s/k1%s%s%s%s", options.group, *name ? "/" : "", name, *file ? "/" : "", file);
    if (n >= (int)size) die("name of a control group");
}

void make_parent_groups(void) {
    if (!options.groups) return;
    for (int i = 0; i < HIERARCHIES; i++) {
        char path[256];
        if (mkdirat(group_root[i], options.group, 0755) < 0 && errno != EEXIST) die(options.group);
        path_of(path, sizeof path, "", "");
        if (mkdirat(group_root[i], path, 0755) < 0 && errno != EEXIST) die(path);
        if (options.bare) continue;
        // As a keeper: out of its starter's groups. What a launch allocates in
        // the kernel is charged there, and beside other work on the machine
        // the processors are shared out by group.
        snprintf(path, sizeof path, "%s/own", options.group);
        if (mkdirat(group_root[i], path, 0755) < 0 && errno != EEXIST) die(path);
        snprintf(path, sizeof path, "%s/own/tasks", options.group);
        put(group_root[i], path, "0");
    }
    if (!options.devices) return;
    char path[256];
    path_of(path, sizeof path, "devices", "");
    must(mkdirat(group_root[DEVICES], path, 0755), path);
    path_of(path, sizeof path, "devices", "devices.deny");
    put(group_root[DEVICES], path, "a");
    path_of(path, sizeof path, "devices", "devices.allow");
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) put(group_root[DEVICES], path, allowed[i]);
}

void remove_parent_groups(void) {
    if (!options.groups) return;
    for (int i = 0; i < HIERARCHIES; i++) {
        char path[256];
        if (i == DEVICES && options.devices) {
            path_of(path, sizeof path, "devices", "");
            unlinkat(group_root[i], path, AT_REMOVEDIR);
        }
        if (!options.bare) {
            put(group_root[i], "tasks", "0");
            snprintf(path, sizeof path, "%s/own", options.group);
            unlinkat(group_root[i], path, AT_REMOVEDIR);
        }
        path_of(path, sizeof path, "", "");
        unlinkat(group_root[i], path, AT_REMOVEDIR);
        unlinkat(group_root[i], options.group, AT_REMOVEDIR);
    }
}

void make_groups(struct launch *l) {
    l->tasks = 0;
    for (int o = 0; o < HIERARCHIES; o++) {
        int i = order[o];
        char path[256];
        if (!wanted(i)) continue;
        if (i == DEVICES) {
            path_of(path, sizeof path, "devices", "tasks");
        } else {
            path_of(path, sizeof path, l->name, "");
            must(mkdirat(group_root[i], path, 0755), path);
            for (int f = 0; f < 2 && limits[i][f].file; f++) {
                if (options.bare && f) break;
                path_of(path, sizeof path, l->name, limits[i][f].file);
                put(group_root[i], path, limits[i][f].value);
            }
            path_of(path, sizeof path, l->name, "tasks");
        }
        l->task_file[l->tasks++] = (int)must(openat(group_root[i], path, O_WRONLY | O_CLOEXEC), path);
    }
}

void remove_groups(struct launch *l) {
    for (int i = 0; i < HIERARCHIES; i++) {
        char path[256];
        if (i == DEVICES || !wanted(i)) continue;
        path_of(path, sizeof path, l->name, "");
        must(unlinkat(group_root[i], path, AT_REMOVEDIR), path);
    }
}
