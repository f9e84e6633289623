/* Preloaded into the edge: in a thread that has been sent MARK, the clock fails the next time that it is asked. The standard
   library panics then, wherever the code that asks stands. The allocator asks another clock, the coarse one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MARK "X-Clock: fails"

static __thread int fails;

ssize_t recv(int socket, void *bytes, size_t length, int flags) {
  ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
  ssize_t received = real(socket, bytes, length, flags);
  if (received > 0 && memmem(bytes, received, MARK, strlen(MARK)))
    fails = 1;
  return received;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  if (fails && clock == CLOCK_MONOTONIC) {
    fails = 0;
    errno = EINVAL;
    return -1;
  }
  return syscall(SYS_clock_gettime, clock, time);
}
