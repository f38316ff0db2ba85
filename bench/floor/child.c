#include "floor.h"
#include <unistd.h>
_Noreturn void child(struct launch *l) { (void)l; _exit(1); }
