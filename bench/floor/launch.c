// One launch as a launcher process makes it, and what its keeper does at the
// exit: prepare, clone, close, collect, clean up.
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT = 100 };

static void prepare_scratch(struct launch *l) {
    if (!options.disk && !options.bare) {
        snprintf(l->overlay, sizeof l->overlay, "lowerdir=/roots/0,upperdir=/stage/u,workdir=/stage/w");
        return;
    }
    char path[64];
    must(mkdirat(store_folder, l->name, 0700), l->name);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", l->name, i ? "w" : "u");
        must(mkdirat(store_folder, path, 0755), path);
    }
    snprintf(l->overlay, sizeof l->overlay, "lowerdir=/roots/0,upperdir=/store/%s/u,workdir=/store/%s/w%s",
             l->name, l->name, options.is_volatile ? ",volatile" : "");
}

static void remove_scratch(struct launch *l) {
    if (!options.disk && !options.bare) return;
    // The kernel leaves w/work behind, and with `volatile` a note in it.
    static const char *const left[] = {"w/work/incompat/volatile/dirty", "w/work/incompat/volatile", "w/work/incompat", "w/work", "w", "u", ""};
    char path[96];
    for (size_t i = options.is_volatile ? 0 : 3; i < sizeof left / sizeof *left; i++) {
        snprintf(path, sizeof path, "%s%s%s", l->name, *left[i] ? "/" : "", left[i]);
        must(unlinkat(store_folder, path, i ? AT_REMOVEDIR : 0), path);
    }
}

// The child's first function; clone(2) calls it on the child's own stack.
static int begin(void *argument) {
    struct launch *l = argument;
    if (options.bare) bare_child(l);
    child(l);
}

static void check_output(struct launch *l) {
    char text[2 * TEXT];
    ssize_t n = must(read(l->output[0], text, sizeof text), "output");
    if (n != TEXT || memcmp(text, l->text, TEXT)) {
        fprintf(stderr, "floor: container %d wrote %zd bytes: %.*s\n", l->number, n, (int)n, text);
        exit(1);
    }
}

void launch(struct launch *l, struct timing *timing) {
    static char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=0123456789ab", NULL};
    double start = now_us();
    snprintf(l->name, sizeof l->name, "c%d-%d", getpid(), l->number);
    l->environment = environment;
    l->argv[0] = PROGRAM;
    if (options.keep) l->argv[1] = "-";
    if (options.capture) {
        memset(l->text, '.', TEXT);
        l->text[snprintf(l->text, TEXT, "container %09d ", l->number)] = '.';
        l->argv[1] = l->text;
    }
    make_groups(l);
    must(pipe2(l->output, O_CLOEXEC), "pipe");
    prepare_scratch(l);
    int flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | (options.net ? CLONE_NEWNET : 0);
    l->pid = clone(begin, l->stack, flags | CLONE_VM | CLONE_VFORK | SIGCHLD, l);
    must(l->pid, "clone");
    if (l->failed_line) {
        fprintf(stderr, "floor: %s:%d: %s\n", options.bare ? "bare.c" : "child.c", l->failed_line, strerror(l->failed_errno));
        exit(1);
    }
    timing->exec_us = now_us() - start;
    close(l->output[1]);
    for (int i = 0; i < l->tasks; i++) close(l->task_file[i]);
    if (options.keep) return;
    int status;
    must(waitpid(l->pid, &status, 0), "waitpid");
    if (status) {
        fprintf(stderr, "floor: container %d: wait status %d\n", l->number, status);
        exit(1);
    }
    if (options.capture) check_output(l);
    timing->exit_us = now_us() - start;
    clean_up(l);
}

void clean_up(struct launch *l) {
    close(l->output[0]);
    snprintf(l->name, sizeof l->name, "c%d-%d", getpid(), l->number);
    remove_groups(l);
    remove_scratch(l);
}
