/* Events: one JSON object on each line. */
#ifndef MVDEPLOY_EVENTS_H
#define MVDEPLOY_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "text.h"

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
 * kind: "input", "cores", "load", "run" or "memory".
 * remedy: one sentence on what to do; NULL for that of the kind.
 * format: of one sentence on what happened.
 */
_Noreturn void fail(const char *kind, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for what an engine says: "WHAT (REASON)." */
_Noreturn void fail_for_engine(const char *kind, const mvdeploy_error *error, const char *format,
                               ...) __attribute__((format(printf, 3, 4)));

#endif
