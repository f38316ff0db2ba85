// What the kernel alone charges for starting a container.
//
// The system calls that ardock's launch core makes for a run without flags,
// in their order and number, with nothing around them: no messages, no log, no
// state, no second process. What ardock needs beyond this is its own cost, so
// both are measured side by side in one run (bench/launch.py). A test compares
// the two by strace, so that neither drifts (tests/bench).
//
//   floor --rootfs DIR --seccomp FILE [-n N] [-j 1,2,4,8,16,32]
//
// -n N            containers to start for each number in flight (default 500)
// -j LIST         numbers in flight; a start waits in the kernel as much as
//                 it computes, so the floor is the best of them
// --threads       workers are threads, not processes as ardock's launchers are
// --scratch KIND  memory (upper on the container's own tmpfs) or disk
// --work DIR      for disk: where uppers live
// --volatile      for disk: overlays are never synced
// --capture       each program writes 100 bytes, which are read and compared
// --keep          start N, say so, and let them run until standard input ends
// --seccomp FILE  the compiled policy, an array of struct sock_filter
// --group NAME    parent of the control groups (default ardock-bench-PID)
// --bare          only these pieces: mnt, uts, ipc, pid and net namespaces,
//                 overlay, proc, /dev, pts, shm, mqueue and sysfs each on its
//                 own file system, pivot_root, memory, cpu and pids groups
// --no-X          leave a piece out: net, cgroup-ns, groups, memory-group,
//                 devices, pts, mqueue, sys, files, masks, readonly,
//                 capabilities, seccomp
//
// Prints a JSON object a line for each number in flight: starts per second of
// wall time, and p50 and p99 from before the first call for a container to the
// return of the clone call (that is: to its execve) and to its collected exit.
#include "floor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct options options = {
    .count = 500, .in_flight = {1, 2, 4, 8, 16, 32}, .net = true, .cgroup_ns = true, .groups = true,
    .memory_group = true, .devices = true, .pts = true, .mqueue = true, .sys = true, .files = true,
    .masks = true, .readonly = true, .capabilities = true, .seccomp = true,
};

int own_pidfd, last_capability = -1;

// Shared by all workers, processes or threads.
static struct shared {
    atomic_int ready, go, next;
    struct timing timing[];
} *shared;

static const struct { const char *name; bool *value; } pieces[] = {
    {"net", &options.net}, {"cgroup-ns", &options.cgroup_ns}, {"groups", &options.groups},
    {"memory-group", &options.memory_group}, {"devices", &options.devices}, {"pts", &options.pts},
    {"mqueue", &options.mqueue}, {"sys", &options.sys}, {"files", &options.files},
    {"masks", &options.masks}, {"readonly", &options.readonly},
    {"capabilities", &options.capabilities}, {"seccomp", &options.seccomp},
};

static void usage(const char *problem, const char *word) {
    fprintf(stderr, "floor: %s: %s\n", problem, word);
    exit(2);
}

static void read_options(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (!strcmp(word, "--threads")) { options.threads = true; continue; }
        if (!strcmp(word, "--volatile")) { options.is_volatile = true; continue; }
        if (!strcmp(word, "--capture")) { options.capture = true; continue; }
        if (!strcmp(word, "--keep")) { options.keep = true; continue; }
        if (!strcmp(word, "--bare")) { options.bare = true; continue; }
        if (!strncmp(word, "--no-", 5)) {
            size_t p = 0;
            while (p < sizeof pieces / sizeof *pieces && strcmp(word + 5, pieces[p].name)) p++;
            if (p == sizeof pieces / sizeof *pieces) usage("unknown option", word);
            *pieces[p].value = false;
            continue;
        }
        if (i + 1 == argc) usage("unknown option, or its value is missing", word);
        char *value = argv[++i];
        if (!strcmp(word, "-n")) options.count = atoi(value);
        else if (!strcmp(word, "--rootfs")) options.rootfs = value;
        else if (!strcmp(word, "--work")) options.work = value;
        else if (!strcmp(word, "--seccomp")) options.seccomp_file = value;
        else if (!strcmp(word, "--group")) options.group = value;
        else if (!strcmp(word, "--scratch")) {
            if (strcmp(value, "memory") && strcmp(value, "disk")) usage("not memory or disk", value);
            options.disk = !strcmp(value, "disk");
        } else if (!strcmp(word, "-j")) {
            int n = 0;
            memset(options.in_flight, 0, sizeof options.in_flight);
            for (char *w = strtok(value, ","); w && n < 15; w = strtok(NULL, ",")) options.in_flight[n++] = atoi(w);
        } else usage("unknown option", word);
    }
    if (options.count < 1) usage("-n", "must be 1 or more");
    for (int i = 0; options.in_flight[i]; i++)
        if (options.in_flight[i] < 1 || options.in_flight[i] > 256) usage("-j", "numbers from 1 to 256");
    if (!options.in_flight[0]) usage("-j", "numbers from 1 to 256");
    if (!options.rootfs) usage("missing", "--rootfs DIR");
    if (options.disk && !options.work) usage("--scratch disk needs", "--work DIR");
    if (options.bare) options.seccomp = options.devices = options.cgroup_ns = false;
    if (options.seccomp && !options.seccomp_file) usage("missing", "--seccomp FILE (or --no-seccomp)");
    if (!options.group) {
        static char name[64];
        snprintf(name, sizeof name, "ardock-bench-%d", getpid());
        options.group = name;
    }
}

static struct launch *new_launch(void) {
    struct launch *l = calloc(1, sizeof *l);
    void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (!l || stack == MAP_FAILED) die("memory");
    l->stack = stack;
    return l;
}

static void *work(void *unused) {
    (void)unused;
    struct launch *l = new_launch();
    atomic_fetch_add(&shared->ready, 1);
    while (!atomic_load(&shared->go)) usleep(100);
    while ((l->number = atomic_fetch_add(&shared->next, 1)) < options.count) launch(l, &shared->timing[l->number]);
    return NULL;
}

// Starts `count` containers, `workers` at a time; the wall time in µs.
static double run(int workers) {
    atomic_store(&shared->ready, 0);
    atomic_store(&shared->go, 0);
    atomic_store(&shared->next, 0);
    pthread_t thread[256];
    pid_t process[256];
    for (int i = 0; i < workers; i++) {
        if (options.threads) {
            errno = pthread_create(&thread[i], NULL, work, NULL);
            if (errno) die("pthread_create");
        } else if ((process[i] = (pid_t)must(fork(), "fork")) == 0) {
            work(NULL);
            _exit(0);
        }
    }
    while (atomic_load(&shared->ready) < workers) usleep(100);
    double start = now_us();
    atomic_store(&shared->go, 1);
    int failed = 0;
    for (int i = 0; i < workers; i++) {
        int status = 0;
        if (options.threads) pthread_join(thread[i], NULL);
        else must(waitpid(process[i], &status, 0), "waitpid");
        failed |= status;
    }
    double wall = now_us() - start;
    if (failed) exit(1);
    return wall;
}

static int by_exec(const void *a, const void *b) {
    double x = ((const struct timing *)a)->exec_us, y = ((const struct timing *)b)->exec_us;
    return x < y ? -1 : x > y;
}

static int by_exit(const void *a, const void *b) {
    double x = ((const struct timing *)a)->exit_us, y = ((const struct timing *)b)->exit_us;
    return x < y ? -1 : x > y;
}

static void print(int workers, double wall) {
    struct timing *t = shared->timing;
    int middle = (options.count - 1) / 2, high = (int)(0.99 * (options.count - 1));
    qsort(t, options.count, sizeof *t, by_exec);
    double exec50 = t[middle].exec_us, exec99 = t[high].exec_us;
    qsort(t, options.count, sizeof *t, by_exit);
    printf("{\"in_flight\": %d, \"n\": %d, \"per_s\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"exec_p50_ms\": %.3f, \"exec_p99_ms\": %.3f}\n",
           workers, options.count, options.count / (wall / 1e6), t[middle].exit_us / 1e3,
           t[high].exit_us / 1e3, exec50 / 1e3, exec99 / 1e3);
    fflush(stdout);
}

// Starts `count` containers that stay, and ends them with standard input.
static void keep(void) {
    struct launch *l = new_launch(), *kept = calloc(options.count, sizeof *kept);
    for (l->number = 0; l->number < options.count; l->number++) {
        launch(l, &shared->timing[l->number]);
        kept[l->number] = *l;
    }
    printf("{\"kept\": %d}\n", options.count);
    fflush(stdout);
    char ignored[64];
    while (read(STDIN_FILENO, ignored, sizeof ignored) > 0) {}
    for (int i = 0; i < options.count; i++) {
        kill(kept[i].pid, SIGKILL);
        must(waitpid(kept[i].pid, NULL, 0), "waitpid");
        clean_up(&kept[i]);
    }
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    options.kcore = access("/proc/kcore", F_OK) == 0;
    size_t size = sizeof *shared + options.count * sizeof(struct timing);
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) die("memory");
    if (options.seccomp) load_seccomp_program();
    own_pidfd = (int)must(syscall(SYS_pidfd_open, getpid(), 0), "pidfd_open");
    while (prctl(PR_CAPBSET_READ, last_capability + 1, 0, 0, 0) >= 0) last_capability++;
    signal(SIGPIPE, SIG_IGN);  // as in every Rust program; the child sets it back
    enter_home();
    make_parent_groups();
    atexit(remove_parent_groups);
    if (options.keep) keep();
    else for (int i = 0; options.in_flight[i]; i++) print(options.in_flight[i], run(options.in_flight[i]));
    return 0;
}
