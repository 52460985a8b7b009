/* Loaded into a process (LD_PRELOAD), it shifts the wall clock that the process sees by what stands in the file that E2E_CLOCK
 * names: nanoseconds, eight bytes, signed. The file is mapped, so a change counts at once. Other clocks are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("E2E_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        _exit(127);
    close(file);
    offset = map;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (syscall(SYS_clock_gettime, clock, at))
        return -1;
    if (clock == CLOCK_REALTIME && offset) {
        int64_t shifted = at->tv_sec * SECOND + at->tv_nsec + *offset;
        at->tv_sec = shifted / SECOND;
        at->tv_nsec = shifted % SECOND;
    }
    return 0;
}
