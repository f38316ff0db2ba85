// The policy is compiled elsewhere, once, as it is for ardock's launcher.
#include "floor.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter code[4096];
static struct sock_fprog program = {.filter = code};

void load_seccomp_program(void) {
    int fd = (int)must(open(options.seccomp_file, O_RDONLY | O_CLOEXEC), options.seccomp_file);
    program.len = (unsigned short)(must(read(fd, code, sizeof code), options.seccomp_file) / sizeof *code);
    close(fd);
}

long apply_seccomp_program(void) {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}
