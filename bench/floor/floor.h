// What the parts of the floor program share. See main.c for what it is.
#ifndef FLOOR_H
#define FLOOR_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MEMORY, CPU, PIDS, DEVICES, HIERARCHIES };

struct options {
    int count;             // containers to start
    int in_flight[16];     // numbers to try, 0 ends the list
    bool threads;          // workers are threads of one process, else processes
    bool keep;             // let the programs run until standard input ends
    bool bare;             // the bare pieces only
    bool disk;             // upper and work on the disk, else on the tmpfs
    bool is_volatile;      // with disk: never synced
    bool capture;          // collect the program's output through a pipe
    bool kcore;            // the host has /proc/kcore
    bool net, cgroup_ns, groups, memory_group, devices, pts, mqueue, sys, files, masks, readonly,
        capabilities, seccomp;
    const char *rootfs;    // directory on the host: the overlay's lower
    const char *work;      // directory on the host for uppers on the disk
    const char *seccomp_file;
    const char *group;     // name of the control groups' parent
};

extern struct options options;

#define PROGRAM "/bin/bench-program"

// What one launch needs, filled in before the clone.
struct launch {
    int number;
    char name[72];         // of its control groups and its folder on the disk
    int tasks;             // how many of
    int task_file[HIERARCHIES]; // the "tasks" files that the child enters, in order
    char overlay[512];     // mount options
    char text[128];        // what the program prints
    char *argv[3];
    char *const *environment;
    char group_path[192];  // of its control groups, beneath each hierarchy's root
    int stream[3];         // what the program gets as 0, 1 and 2
    int output[2];         // where its output and errors are read; -1 where they go to /dev/null
    pid_t pid;
    int mount_namespace;
    volatile int failed_line; // set by the child, which shares this memory
    volatile int failed_errno;
    char *stack;           // lowest address
};

enum { STACK_SIZE = 64 << 10 };

// util.c
double now_us(void);
void die(const char *what) __attribute__((noreturn));
long must(long result, const char *what);
int open_folder(const char *path);
void put(int folder, const char *file, const char *text);

// home.c: a mount namespace with the few mounts that a launch needs.
extern int store_folder;       // the folder for uppers on the disk
extern int own_pidfd;
extern int last_capability;
enum { OPEN_TREE_ATTR = 467 };  // the call's number on every machine
extern bool has_open_tree_attr; // Linux 6.15
void enter_home(void);

// group.c
extern int group_root[HIERARCHIES];  // folder of each hierarchy, -1 where there is none
void make_parent_groups(void);
void remove_parent_groups(void);
void make_groups(struct launch *);
void remove_groups(struct launch *);

// seccomp.c
void load_seccomp_program(void);
long apply_seccomp_program(void);

// child.c, bare.c: between clone and execve; never return.
_Noreturn void child(struct launch *);
_Noreturn void bare_child(struct launch *);

// launch.c
struct timing {
    double exec_us, exit_us;
};
void launch(struct launch *, struct timing *);
void clean_up(struct launch *);  // after the end: control groups and folders

#endif
