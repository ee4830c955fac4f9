/* A wall clock that is wrong by WRONG_CLOCK seconds, for a process that has this in LD_PRELOAD; the clocks of
   elapsed time stay right. (Debian's libfaketime makes Python's time.sleep fail.)

   cc -shared -fPIC -o wrong_clock.so wrong_clock.c */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*right_clock)(clockid_t, struct timespec *);
static time_t wrong_by;

__attribute__((constructor)) static void set(void) {
  const char *text = getenv("WRONG_CLOCK");
  right_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  wrong_by = text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  if (!right_clock) set();
  int result = right_clock(clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += wrong_by;
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *copy) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (copy) *copy = exact.tv_sec;
  return exact.tv_sec;
}
