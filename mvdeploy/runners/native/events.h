/* Events: one JSON object on each line of standard output, and nothing else there. */
#ifndef MVDEPLOY_EVENTS_H
#define MVDEPLOY_EVENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine.h"
#include "text.h"

/* Exit status after an ``error`` event. */
enum { EXIT_FAILED = 4 };

/* Take standard output for events alone: what else is printed goes to standard error. */
void events_claim_stdout(void);

typedef struct event {
  text line;
} event;

event event_new(const char *kind);
void event_integer(event *into, const char *key, int64_t value);
void event_integers(event *into, const char *key, const int64_t *values, size_t count);
void event_boolean(event *into, const char *key, bool value);
void event_string(event *into, const char *key, const char *value);
void event_json(event *into, const char *key, const char *json);

/* Print the event and free it. */
void event_print(event *done);

/* Print an ``error`` event and end the process.
 *
 * kind: "input", "load", "run" or "memory".
 * remedy: one sentence on what to do; NULL for that of the kind.
 * format: of one sentence on what happened.
 */
_Noreturn void fail(const char *kind, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for what an engine says: "WHAT (REASON)." */
_Noreturn void fail_for_engine(const char *kind, const mvdeploy_error *error, const char *format,
                               ...) __attribute__((format(printf, 3, 4)));

_Noreturn void fail_for_memory(void);

#endif
