#include "events.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "memory.h"

event event_new(const char *kind) {
  event made = {{0}};
  text_add(&made.line, "{");
  event_string(&made, "event", kind);
  return made;
}

static text *keyed(event *into, const char *key) {
  text_key(&into->line, key);
  return &into->line;
}

void event_integer(event *into, const char *key, int64_t value) {
  text_integer(keyed(into, key), value);
}

void event_integers(event *into, const char *key, const int64_t *values, size_t count) {
  text_integers(keyed(into, key), values, count);
}

void event_boolean(event *into, const char *key, bool value) {
  text_add(keyed(into, key), value ? "true" : "false");
}

void event_string(event *into, const char *key, const char *value) {
  text_quoted(keyed(into, key), value);
}

void event_json(event *into, const char *key, const char *json) {
  text_add(keyed(into, key), json);
}

void event_print(event *done) {
  text_add(&done->line, "}\n");
  channel_write(done->line.bytes, done->line.size);
  text_free(&done->line);
}

static const char *remedy_of(const char *kind) {
  if (strcmp(kind, "load") == 0) {
    return "Check that this engine and its version run models of this format.";
  }
  if (strcmp(kind, "run") == 0) {
    return "Run it with another engine, or report this to the engine's developers.";
  }
  if (strcmp(kind, "memory") == 0) {
    return MEMORY_REMEDY;
  }
  return "Correct the job's input and run it again.";
}

static _Noreturn void print_failure(const char *kind, const char *remedy, const char *message) {
  event error = event_new("error");
  event_string(&error, "kind", kind);
  event_string(&error, "message", message);
  event_string(&error, "remedy", remedy);
  event_print(&error);
  /* Not exit(): an engine in the middle of something may hang in its own clearing up. */
  _exit(EXIT_FAILED);
}

void fail(const char *kind, const char *remedy, const char *format, ...) {
  static const char cut[] = "….";
  char message[4096];
  va_list values;
  va_start(values, format);
  int size = vsnprintf(message, sizeof message, format, values);
  va_end(values);
  if (size >= (int)sizeof message) {
    memcpy(message + sizeof message - sizeof cut, cut, sizeof cut);
  }
  print_failure(kind, remedy ? remedy : remedy_of(kind), message);
}

/* Engines written in C++ say it in words. */
static bool tells_of_memory(const char *reason) {
  static const char *const words[] = {"bad_alloc", "can't allocate memory", "out of memory",
                                      "failed to allocate"};
  char lower[sizeof((mvdeploy_error *)0)->reason];
  size_t size = 0;
  for (; reason[size] != '\0' && size + 1 < sizeof lower; size++) {
    lower[size] = (char)tolower((unsigned char)reason[size]);
  }
  lower[size] = '\0';
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (strstr(lower, words[i]) != NULL) {
      return true;
    }
  }
  return false;
}

void fail_for_engine(const char *kind, const mvdeploy_error *error, const char *format, ...) {
  char what[2048], message[4096], reason[sizeof error->reason];
  va_list values;
  va_start(values, format);
  vsnprintf(what, sizeof what, format, values);
  va_end(values);
  if (tells_of_memory(error->reason)) {
    fail("memory", NULL, "%s: memory ran out.", what);
  }
  /* One line of it, and no more than can be read. */
  snprintf(reason, sizeof reason, "%.300s", error->reason);
  reason[strcspn(reason, "\r\n")] = '\0';
  for (size_t size = strlen(reason); size > 0 && strchr(". ", reason[size - 1]); size--) {
    reason[size - 1] = '\0';
  }
  snprintf(message, sizeof message, "%s (%s).", what, *reason ? reason : "it gives no reason");
  print_failure(kind, *error->remedy ? error->remedy : remedy_of(kind), message);
}
