// What runs in the bench's containers, as PID 1: static, and nothing in it
// that would hide what the container costs.
//
//   program          exits with 0
//   program TEXT     writes TEXT to standard output, then exits with 0
//   program -        stays until it is killed
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) return 0;
    if (!strcmp(argv[1], "-"))
        for (;;) pause();
    size_t length = strlen(argv[1]);
    return write(STDOUT_FILENO, argv[1], length) == (ssize_t)length ? 0 : 1;
}
