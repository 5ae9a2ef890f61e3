#include "settings.h"

#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "memory.h"

static bool has_option(const mvdeploy_engine *engine, const char *name) {
  for (const mvdeploy_setting *each = engine->settings; each->name != NULL; each++) {
    if (each->kind == MVDEPLOY_OPTION && strcmp(each->name, name) == 0) {
      return true;
    }
  }
  return false;
}

void settings_check(const job_model *model, const mvdeploy_engine *engine) {
  for (size_t i = 0; i < model->options.count; i++) {
    const char *name = model->options.items[i].name;
    if (!has_option(engine, name)) {
      fail("load", "Leave the option out.", "The engine %s has no option '%.200s' on this device.",
           model->engine, name);
    }
  }
}

static const char *value_of(const mvdeploy_setting *setting, const mvdeploy_entries *chosen) {
  for (size_t i = 0; i < chosen->count; i++) {
    if (strcmp(chosen->items[i].name, setting->name) == 0) {
      return chosen->items[i].value;
    }
  }
  return setting->value;
}

/* Add what an option is for the models of an engine: all its values if they do not share one. */
static void add_option(const job *todo, const char *engine, const mvdeploy_setting *option,
                       text *into) {
  const char **values = memory_take(todo->model_count, sizeof *values);
  size_t count = 0;
  text joined = {0};
  for (size_t i = 0; i < todo->model_count; i++) {
    const char *value = value_of(option, &todo->models[i].options);
    bool counts = strcmp(todo->models[i].engine, engine) == 0;
    for (size_t j = 0; counts && j < count; j++) {
      counts = strcmp(values[j], value) != 0;
    }
    if (counts) {
      text_add(&joined, count ? ", " : "");
      text_add(&joined, value);
      values[count++] = value;
    }
  }
  text_quoted(into, joined.bytes ? joined.bytes : "");
  text_free(&joined);
  free(values);
}

void settings_add(const job *todo, size_t index, const mvdeploy_engine *engine, text *into) {
  text_add(into, "{");
  for (const mvdeploy_setting *each = engine->settings; each->name != NULL; each++) {
    text_key(into, each->name);
    if (each->kind == MVDEPLOY_THREADS) {
      text_integer(into, todo->threads);
    } else if (each->kind == MVDEPLOY_INTEGER) {
      text_add(into, each->value);
    } else if (each->kind == MVDEPLOY_OPTION) {
      add_option(todo, todo->models[index].engine, each, into);
    } else {
      text_quoted(into, each->value);
    }
  }
  text_add(into, "}");
}
