#include "job.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "events.h"
#include "json.h"
#include "memory.h"

enum { SCHEMA_VERSION = 2, THREAD_LIMIT = 4096 };

/* Bytes of a job at most: orders of millions of inferences fit into it. */
static const size_t SIZE_LIMIT = (size_t)256 << 20;

/* Where something is in the job: "models[0].sha256". */
typedef struct place {
  char words[160];
} place;

static _Noreturn void mismatch(const char *where, const char *expected) {
  fail("input", "Send a job of the same release of mvdeploy.",
       "The job cannot be read: %s should be %s.", where, expected);
}

static _Noreturn void senseless(const char *reason) {
  fail("input", "Correct the job.", "The job cannot be done: %s.", reason);
}

static place within(const char *where, const char *field) {
  place made;
  snprintf(made.words, sizeof made.words, "%s%s%s", where, *where ? "." : "", field);
  return made;
}

static place item_of(const char *where, size_t index) {
  place made;
  snprintf(made.words, sizeof made.words, "%.120s[%zu]", where, index);
  return made;
}

/* Check that an object has no fields beside the given ones, which end with NULL. */
static void check_fields(const json_value *object, const char *where, ...) {
  if (object->kind != JSON_OBJECT) {
    mismatch(*where ? where : "it", "an object");
  }
  for (size_t i = 0; i < object->count; i++) {
    bool known = false;
    va_list names;
    va_start(names, where);
    for (const char *name; (name = va_arg(names, const char *)) != NULL;) {
      known = known || strcmp(name, object->members[i].key) == 0;
    }
    va_end(names);
    if (!known) {
      fail("input", "Send a job of the same release of mvdeploy.",
           "The job cannot be read: %s%sit has the unknown field '%.60s'.", where,
           *where ? ": " : "", object->members[i].key);
    }
  }
}

/* Return a field of an object; NULL if it is missing and need not be there. */
static const json_value *field_of(const json_value *object, const char *where, const char *name,
                                  bool needed) {
  const json_value *found = json_member_of(object, name);
  if (found == NULL && needed) {
    mismatch(within(where, name).words, "there");
  }
  return found;
}

static char *string_of(const json_value *value, const char *where) {
  if (value->kind != JSON_STRING) {
    mismatch(where, "a string");
  }
  return memory_copy_text(value->string);
}

static char *string_field(const json_value *object, const char *where, const char *name) {
  return string_of(field_of(object, where, name, true), within(where, name).words);
}

static int64_t integer_of(const json_value *value, const char *where) {
  if (value->kind != JSON_INTEGER) {
    mismatch(where, "an integer");
  }
  return value->integer;
}

/* Return a field that is a list; an empty one if it is missing and need not be there. */
static const json_value *list_field(const json_value *object, const char *where, const char *name,
                                    bool needed) {
  static const json_value none = {.kind = JSON_ARRAY};
  const json_value *found = field_of(object, where, name, needed);
  if (found != NULL && found->kind != JSON_ARRAY) {
    mismatch(within(where, name).words, "a list");
  }
  return found ? found : &none;
}

static int64_t *integers_field(const json_value *object, const char *name, bool needed,
                               size_t *count) {
  const json_value *list = list_field(object, "", name, needed);
  int64_t *values = memory_take(list->count, sizeof *values);
  for (size_t i = 0; i < list->count; i++) {
    if (list->items[i].kind != JSON_INTEGER) {
      mismatch(item_of(name, i).words, "an integer");
    }
    values[i] = list->items[i].integer;
  }
  *count = list->count;
  return values;
}

static void real_field(const json_value *object, const char *where, const char *name, double *into) {
  const json_value *found = field_of(object, where, name, false);
  if (found == NULL) {
    return;
  }
  if (found->kind != JSON_REAL && found->kind != JSON_INTEGER) {
    mismatch(within(where, name).words, "a number");
  }
  *into = found->kind == JSON_REAL ? found->real : (double)found->integer;
}

/* Return a field whose values are strings; an empty one if it is missing and need not be there. */
static mvdeploy_entries strings_field(const json_value *object, const char *where,
                                      const char *name, bool needed) {
  const json_value *found = field_of(object, where, name, needed);
  if (found == NULL) {
    return (mvdeploy_entries){NULL, 0};
  }
  place here = within(where, name);
  if (found->kind != JSON_OBJECT) {
    mismatch(here.words, "an object");
  }
  mvdeploy_entry *items = memory_take(found->count, sizeof *items);
  for (size_t i = 0; i < found->count; i++) {
    const json_member *member = &found->members[i];
    items[i].name = memory_copy_text(member->key);
    items[i].value = string_of(&member->value, within(here.words, member->key).words);
  }
  return (mvdeploy_entries){items, found->count};
}

/* Return a field that may be null or missing, which is NULL. */
static char *optional_string_field(const json_value *object, const char *where, const char *name) {
  const json_value *found = field_of(object, where, name, false);
  bool there = found != NULL && found->kind != JSON_NULL;
  return there ? string_of(found, within(where, name).words) : NULL;
}

static void read_outputs(const json_value *object, const char *where, job_model *into) {
  const json_value *list = list_field(object, where, "outputs", false);
  place here = within(where, "outputs");
  into->output_count = list->count;
  into->outputs = memory_take(list->count, sizeof *into->outputs);
  for (size_t i = 0; i < list->count; i++) {
    into->outputs[i] = string_of(&list->items[i], item_of(here.words, i).words);
    for (size_t j = 0; j < i; j++) {
      if (strcmp(into->outputs[i], into->outputs[j]) == 0) {
        senseless("two outputs of a model have one name");
      }
    }
  }
}

static void read_model(const json_value *object, const char *where, job_model *into) {
  check_fields(object, where, "engine", "path", "sha256", "inputs", "profile_to", "options",
               "outputs", "outputs_to", NULL);
  into->engine = string_field(object, where, "engine");
  into->path = string_field(object, where, "path");
  into->sha256 = string_field(object, where, "sha256");
  into->inputs = strings_field(object, where, "inputs", true);
  into->options = strings_field(object, where, "options", false);
  read_outputs(object, where, into);
  into->outputs_to = optional_string_field(object, where, "outputs_to");
  into->profile_to = optional_string_field(object, where, "profile_to");
}

static void read_models(const json_value *object, job *into) {
  const json_value *models = list_field(object, "", "models", true);
  into->model_count = models->count;
  into->models = memory_take(models->count, sizeof *into->models);
  for (size_t i = 0; i < models->count; i++) {
    read_model(&models->items[i], item_of("models", i).words, &into->models[i]);
  }
}

static void read_warmup(const json_value *object, warmup_rule *into) {
  const json_value *rule = field_of(object, "", "warmup", true);
  check_fields(rule, "warmup", "iterations", "min_iterations", "min_seconds", "window_seconds",
               "tolerance", "max_seconds", NULL);
  *into = (warmup_rule){.iterations = -1,
                        .min_iterations = 5,
                        .min_seconds = 0.5,
                        .window_seconds = 0.25,
                        .tolerance = 0.05,
                        .max_seconds = 5.0};
  const json_value *iterations = field_of(rule, "warmup", "iterations", false);
  if (iterations != NULL && iterations->kind != JSON_NULL) {
    int64_t count = integer_of(iterations, "warmup.iterations");
    into->iterations = count > 0 ? count : 0;
  }
  const json_value *least = field_of(rule, "warmup", "min_iterations", false);
  if (least != NULL) {
    into->min_iterations = integer_of(least, "warmup.min_iterations");
  }
  real_field(rule, "warmup", "min_seconds", &into->min_seconds);
  real_field(rule, "warmup", "window_seconds", &into->window_seconds);
  real_field(rule, "warmup", "tolerance", &into->tolerance);
  real_field(rule, "warmup", "max_seconds", &into->max_seconds);
}

static int read_threads(const json_value *object) {
  int64_t threads = integer_of(field_of(object, "", "threads", true), "threads");
  if (threads < 1 || threads > THREAD_LIMIT) {
    senseless(threads < 1 ? "it asks for less than one thread" : "it asks for too many threads");
  }
  return (int)threads;
}

static void check_header(const json_value *object) {
  check_fields(object, "", "schema_version", "record", "models", "order", "threads", "warmup",
               "cores", "warmup_order", "repeat_s", NULL);
  const json_value *version = field_of(object, "", "schema_version", true);
  if (version->kind != JSON_INTEGER || version->integer != SCHEMA_VERSION) {
    mismatch("schema_version", "2");
  }
  const json_value *record = field_of(object, "", "record", true);
  if (record->kind != JSON_STRING || strcmp(record->string, "Job") != 0) {
    mismatch("record", "'Job'");
  }
}

static void check_order(const job *made) {
  for (size_t i = 0; i < made->order_count; i++) {
    if (made->order[i] < 0 || (uint64_t)made->order[i] >= made->model_count) {
      senseless("its order names a model it lacks");
    }
  }
}

static void complete_warmup_order(job *made, size_t count) {
  if (count == 0) {
    free(made->warmup_order);
    made->warmup_order = memory_take(made->model_count, sizeof *made->warmup_order);
    for (size_t i = 0; i < made->model_count; i++) {
      made->warmup_order[i] = (int64_t)i;
    }
    return;
  }
  bool *seen = memory_take(made->model_count, sizeof *seen);
  bool each_once = count == made->model_count;
  for (size_t i = 0; each_once && i < count; i++) {
    int64_t index = made->warmup_order[i];
    each_once = index >= 0 && (uint64_t)index < made->model_count && !seen[index];
    if (each_once) {
      seen[index] = true;
    }
  }
  free(seen);
  if (!each_once) {
    senseless("it does not warm up each model once");
  }
}

static void read_job(const json_value *object, job *into) {
  size_t warmup_count;
  check_header(object);
  read_models(object, into);
  into->order = integers_field(object, "order", true, &into->order_count);
  into->threads = read_threads(object);
  read_warmup(object, &into->warmup);
  into->cores = integers_field(object, "cores", false, &into->core_count);
  into->warmup_order = integers_field(object, "warmup_order", false, &warmup_count);
  real_field(object, "", "repeat_s", &into->repeat_s);
  if (into->model_count == 0) {
    senseless("it has no models");
  }
  if (into->repeat_s > 0 && into->order_count == 0) {
    senseless("there is nothing to repeat in its order");
  }
  check_order(into);
  complete_warmup_order(into, warmup_count);
}

static char *read_all(int fd, size_t *size) {
  size_t capacity = 1 << 16;
  char *bytes = memory_take(capacity, 1);
  *size = 0;
  for (;;) {
    bytes = memory_grow(bytes, *size + 1, &capacity, 1);
    ssize_t got = read(fd, bytes + *size, capacity - *size - 1);
    if (got == 0) {
      bytes[*size] = '\0';
      return bytes;
    }
    if (got < 0 && errno != EINTR) {
      fail("input", NULL, "The job could not be read (%s).", strerror(errno));
    }
    *size += got > 0 ? (size_t)got : 0;
    if (*size > SIZE_LIMIT) {
      fail("input", NULL, "The job could not be read (it is too long).");
    }
  }
}

void job_read(int fd, job *into) {
  size_t size;
  json_value value;
  memset(into, 0, sizeof *into);
  char *bytes = read_all(fd, &size);
  const char *problem = json_read(bytes, size, &value);
  free(bytes);
  if (problem != NULL) {
    fail("input", "It may be truncated: make it again.", "The job is not valid JSON (%s).",
         problem);
  }
  read_job(&value, into);
  json_free(&value);
}
