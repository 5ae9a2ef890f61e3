#include "hello.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "events.h"
#include "process.h"

#if defined(__BIONIC__)
#define BUILD "android"
#elif defined(__GLIBC__)
#define BUILD "glibc"
#else
#define BUILD "musl" /* which says nothing of itself */
#endif

#if defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#elif defined(__x86_64__)
#define ARCHITECTURE "x86_64"
#elif defined(__arm__)
#define ARCHITECTURE "armv7"
#elif defined(__riscv)
#define ARCHITECTURE "riscv64"
#else
#error "say here what this architecture is called"
#endif

static void add_clock(text *into, const char *key, const char *name, clockid_t clock) {
  struct timespec resolution = {0, 1};
  clock_getres(clock, &resolution);
  text_key(into, key);
  text_add(into, "{");
  text_key(into, "function");
  text_quoted(into, "clock_gettime");
  text_key(into, "implementation");
  text_quoted(into, name);
  text_key(into, "resolution_s");
  text_real(into, (double)resolution.tv_sec + 1e-9 * (double)resolution.tv_nsec);
  text_add(into, "}");
}

static void add_clocks(text *into) {
  text_add(into, "{");
  add_clock(into, "wall", "clock_gettime(CLOCK_MONOTONIC)", CLOCK_MONOTONIC);
  add_clock(into, "cpu", "clock_gettime(CLOCK_THREAD_CPUTIME_ID)", CLOCK_THREAD_CPUTIME_ID);
  text_add(into, "}");
}

void hello_print(const char *engines, const char *options) {
  text cores = {0}, clocks = {0};
  process_cores(&cores);
  add_clocks(&clocks);
  event hello = event_new("hello");
  event_string(&hello, "runner", "native");
  event_string(&hello, "mvdeploy", MVDEPLOY_VERSION);
  event_string(&hello, "build", BUILD);
  event_string(&hello, "architecture", ARCHITECTURE);
  event_integer(&hello, "pid", getpid());
  event_json(&hello, "cores", cores.bytes);
  event_json(&hello, "clock", clocks.bytes);
  event_json(&hello, "engines", engines);
  event_json(&hello, "engine_options", options);
  event_print(&hello);
  text_free(&cores);
  text_free(&clocks);
}
