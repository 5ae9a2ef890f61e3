/* The timed loop. What stands between two clock readings here is in every number. */
#ifndef MVDEPLOY_LOOP_H
#define MVDEPLOY_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "job.h"

/* What is timed. */
typedef struct call {
  bool (*infer)(mvdeploy_session *session, mvdeploy_error *error);
  mvdeploy_session *session;
} call;

/* Nanoseconds of each call, in order. */
typedef struct samples {
  int64_t *wall_ns;
  int64_t *cpu_ns;
  size_t count;
  size_t wall_capacity;
  size_t cpu_capacity;
} samples;

void samples_free(samples *done);

/* Return the monotonic clock. */
int64_t now_ns(void);

/* Time one call for each entry of an order, and add them to the samples.
 *
 * Nothing but the call lies between the two readings of the wall clock; the CPU clock, of the
 * thread that calls, is read outside of them. False when a call failed.
 */
bool time_order(const call *calls, const int64_t *order, size_t count, samples *into,
                mvdeploy_error *error);

/* Call until the rule is satisfied, as `warm_up` of mvdeploy.runners.loop does. */
bool warm_up(const call *called, const warmup_rule *rule, samples *into, mvdeploy_error *error);

#endif
