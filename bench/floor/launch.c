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

// As long as a container's id, which is the name of its folders.
static void name(struct launch *l) {
    snprintf(l->name, sizeof l->name, "%032d%032d", getpid(), l->number);
    snprintf(l->group_path, sizeof l->group_path, "%s/k1/%s", options.group, l->name);
}

static void prepare_scratch(struct launch *l) {
    if (!options.disk && !options.bare) {
        snprintf(l->overlay, sizeof l->overlay, "lowerdir=/roots/0,upperdir=/stage/u,workdir=/stage/w");
        return;
    }
    char path[96];
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
    char path[128];
    for (size_t i = options.is_volatile ? 0 : 3; i < sizeof left / sizeof *left; i++) {
        snprintf(path, sizeof path, "%s%s%s", l->name, *left[i] ? "/" : "", left[i]);
        must(unlinkat(store_folder, path, i ? AT_REMOVEDIR : 0), path);
    }
}

// clone3 with memory shared: the child never returns, on a stack of its own.
// The C library has no such function.
static long clone3(struct clone_args *args, void (*run)(struct launch *), struct launch *l) {
#if defined(__x86_64__)
    long result;
    register struct launch *r8 __asm__("r8") = l;
    register void (*r9)(struct launch *) __asm__("r9") = run;
    __asm__ volatile(
        "syscall\n"
        "test %%rax, %%rax\n"
        "jnz 1f\n"
        "xor %%ebp, %%ebp\n"
        "mov %%r8, %%rdi\n"
        "call *%%r9\n"
        "ud2\n"
        "1:"
        : "=a"(result)
        : "0"((long)SYS_clone3), "D"(args), "S"(sizeof *args), "r"(r8), "r"(r9)
        : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long result __asm__("x0") = (long)args;
    register long size __asm__("x1") = sizeof *args;
    register long number __asm__("x8") = SYS_clone3;
    register void (*x9)(struct launch *) __asm__("x9") = run;
    register struct launch *x10 __asm__("x10") = l;
    __asm__ volatile(
        "svc 0\n"
        "cbnz x0, 1f\n"
        "mov x29, xzr\n"
        "mov x0, x10\n"
        "blr x9\n"
        "brk 1\n"
        "1:"
        : "+r"(result)
        : "r"(size), "r"(number), "r"(x9), "r"(x10)
        : "memory");
#else
#error "clone3 for this machine is missing"
#endif
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static void open_streams(struct launch *l) {
    int null = (int)must(open("/null", O_RDWR | O_CLOEXEC), "null");
    l->stream[0] = null;
    for (int i = 0; i < 2; i++) {
        int ends[2] = {-1, null};
        if (options.capture) must(pipe2(ends, O_CLOEXEC), "pipe");
        l->output[i] = ends[0];
        l->stream[i + 1] = ends[1];
    }
}

static void close_streams(struct launch *l) {
    close(l->stream[0]);
    if (!options.capture) return;
    close(l->stream[1]);
    close(l->stream[2]);
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
    name(l);
    l->environment = environment;
    l->argv[0] = PROGRAM;
    if (options.keep) l->argv[1] = "-";
    if (options.capture) {
        memset(l->text, '.', TEXT);
        l->text[snprintf(l->text, TEXT, "container %09d ", l->number)] = '.';
        l->argv[1] = l->text;
    }
    make_groups(l);
    open_streams(l);
    prepare_scratch(l);
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | (options.net ? CLONE_NEWNET : 0)
               | CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | CLONE_CLEAR_SIGHAND,
        .parent_tid = (uintptr_t)&l->pid,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)l->stack,
        .stack_size = STACK_SIZE,
    };
    must(clone3(&args, options.bare ? bare_child : child, l), "clone3");
    if (l->failed_line) {
        fprintf(stderr, "floor: %s:%d: %s\n", options.bare ? "bare.c" : "child.c", l->failed_line, strerror(l->failed_errno));
        exit(1);
    }
    timing->exec_us = now_us() - start;
    // Held, so that the end is told before the kernel unmounts everything;
    // paid for when it is closed.
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", l->pid);
    l->mount_namespace = options.bare ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    close_streams(l);
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
    for (int i = 0; i < 2; i++)
        if (l->output[i] >= 0) close(l->output[i]);
    if (l->mount_namespace >= 0) close(l->mount_namespace);
    name(l);
    remove_groups(l);
    remove_scratch(l);
}
