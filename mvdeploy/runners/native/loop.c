#include "loop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory.h"

static int64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t now_ns(void) {
  return read_clock(CLOCK_MONOTONIC);
}

void samples_free(samples *done) {
  free(done->wall_ns);
  free(done->cpu_ns);
  memset(done, 0, sizeof *done);
}

static void make_room(samples *into, size_t count) {
  while (into->wall_capacity < into->count + count) {
    into->wall_ns = memory_grow(into->wall_ns, into->wall_capacity, &into->wall_capacity,
                                sizeof *into->wall_ns);
    into->cpu_ns = memory_grow(into->cpu_ns, into->cpu_capacity, &into->cpu_capacity,
                               sizeof *into->cpu_ns);
  }
}

bool time_order(const call *calls, const int64_t *order, size_t count, samples *into,
                mvdeploy_error *error) {
  make_room(into, count);
  int64_t *wall_ns = into->wall_ns + into->count, *cpu_ns = into->cpu_ns + into->count;
  for (size_t i = 0; i < count; i++) {
    const call called = calls[order[i]];
    int64_t cpu_start = read_clock(CLOCK_THREAD_CPUTIME_ID);
    int64_t start = read_clock(CLOCK_MONOTONIC);
    bool good = called.infer(called.session, error);
    int64_t end = read_clock(CLOCK_MONOTONIC);
    cpu_ns[i] = read_clock(CLOCK_THREAD_CPUTIME_ID) - cpu_start;
    wall_ns[i] = end - start;
    if (!good) {
      return false;
    }
  }
  into->count += count;
  return true;
}

static const int64_t ONCE[1] = {0};

static bool time_until(const call *called, double until_ns, samples *into, mvdeploy_error *error) {
  do {
    if (!time_order(called, ONCE, 1, into, error)) {
      return false;
    }
  } while ((double)now_ns() < until_ns);
  return true;
}

static int compare(const void *left, const void *right) {
  int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
  return (a > b) - (a < b);
}

static double median(const int64_t *values, size_t count) {
  int64_t *sorted = memory_take(count, sizeof *sorted);
  memcpy(sorted, values, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, compare);
  double middle = (double)sorted[count / 2];
  if (count % 2 == 0) {
    middle = (middle + (double)sorted[count / 2 - 1]) / 2;
  }
  free(sorted);
  return middle;
}

static bool warm_up_exactly(const call *called, int64_t iterations, samples *into,
                            mvdeploy_error *error) {
  for (int64_t i = 0; i < iterations; i++) {
    if (!time_order(called, ONCE, 1, into, error)) {
      return false;
    }
  }
  return true;
}

bool warm_up(const call *called, const warmup_rule *rule, samples *into, mvdeploy_error *error) {
  if (rule->iterations >= 0) {
    return warm_up_exactly(called, rule->iterations, into, error);
  }
  double began = (double)now_ns(), latest = began, before = -1;
  double end = began + rule->max_seconds * 1e9;
  while (latest < end) {
    size_t start = into->count;
    double until = fmin(latest + rule->window_seconds * 1e9, end);
    if (!time_until(called, until, into, error)) {
      return false;
    }
    double now = median(into->wall_ns + start, into->count - start);
    latest = (double)now_ns();
    bool enough = (int64_t)into->count >= rule->min_iterations &&
                  latest - began >= rule->min_seconds * 1e9 && before >= 0;
    if (enough && fabs(now - before) <= rule->tolerance * before) {
      break;
    }
    before = now;
  }
  return true;
}
