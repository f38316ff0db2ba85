#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

void die(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

long must(long result, const char *what) {
    if (result < 0) die(what);
    return result;
}

int open_folder(const char *path) {
    return (int)must(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), path);
}

void put(int folder, const char *file, const char *text) {
    int fd = (int)must(openat(folder, file, O_WRONLY | O_CLOEXEC), file);
    must(write(fd, text, strlen(text)), file);
    close(fd);
}
