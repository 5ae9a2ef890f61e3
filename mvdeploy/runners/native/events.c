#include "events.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int events_fd = STDOUT_FILENO;

static _Noreturn void leave(const char *words) {
  dprintf(STDERR_FILENO, "mvdeploy-runner: %s\n", words);
  _exit(EXIT_FAILED);
}

void events_claim_stdout(void) {
  /* A file that is opened later must not be taken for one of the three. */
  while (fcntl(STDERR_FILENO, F_GETFD) < 0) {
    if (open("/dev/null", O_RDWR) < 0) {
      _exit(EXIT_FAILED);
    }
  }
  events_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (events_fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    leave("standard output cannot be written to");
  }
}

static void write_all(const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(events_fd, bytes, size);
    if (written < 0 && errno != EINTR) {
      leave("nobody reads its events");
    }
    if (written > 0) {
      bytes += written;
      size -= (size_t)written;
    }
  }
}

event event_new(const char *kind) {
  event made = {{0}};
  text_add(&made.line, "{\"event\": ");
  text_quoted(&made.line, kind);
  return made;
}

static text *keyed(event *into, const char *key) {
  text_add(&into->line, ", ");
  text_quoted(&into->line, key);
  text_add(&into->line, ": ");
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
  write_all(done->line.bytes, done->line.size);
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
    return "Free memory, or use a smaller model, batch or image size.";
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
  char message[4096];
  va_list values;
  va_start(values, format);
  vsnprintf(message, sizeof message, format, values);
  va_end(values);
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

void fail_for_memory(void) {
  static const char line[] =
      "{\"event\": \"error\", \"kind\": \"memory\", \"message\": \"The runner's memory ran out.\", "
      "\"remedy\": \"Free memory, or use a smaller model, batch or image size.\"}\n";
  write_all(line, sizeof line - 1);
  _exit(EXIT_FAILED);
}
