#include "plugins.h"

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"

static const char PREFIX[] = "libmvdeploy_", SUFFIX[] = ".so";

static const mvdeploy_engine *interface_of(void *library, mvdeploy_error *error) {
  const mvdeploy_engine *(*ask)(void);
  *(void **)&ask = dlsym(library, MVDEPLOY_ENGINE_SYMBOL);
  const mvdeploy_engine *engine = ask ? ask() : NULL;
  if (engine == NULL || engine->interface_version != MVDEPLOY_ENGINE_VERSION) {
    snprintf(error->reason, sizeof error->reason, "its plug-in is of another release");
    snprintf(error->remedy, sizeof error->remedy, "Build the kit again.");
    return NULL;
  }
  return engine;
}

static bool is_name(const char *name) {
  return *name != '\0' &&
         strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static const mvdeploy_engine *load_plugin(const char *folder, const char *name,
                                          mvdeploy_error *error) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s%s%s", folder, PREFIX, name, SUFFIX);
  if (!is_name(name) || access(path, F_OK) != 0) {
    snprintf(error->reason, sizeof error->reason, "the kit has no such engine");
    return NULL;
  }
  /* Each engine keeps its symbols to itself: two of them may hold the same library. */
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    snprintf(error->reason, sizeof error->reason, "%s", dlerror());
    return NULL;
  }
  return interface_of(library, error);
}

const mvdeploy_engine *plugin_start(const char *folder, const char *name, mvdeploy_error *error) {
  const mvdeploy_engine *engine = load_plugin(folder, name, error);
  if (engine != NULL && engine->start(error)) {
    return engine;
  }
  if (*error->remedy == '\0') {
    snprintf(error->remedy, sizeof error->remedy,
             "Build a kit with this engine, choose one that has it with --kit, or measure with "
             "another engine.");
  }
  return NULL;
}

static void print_line(const char *name, const char *key, const char *value, const char *remedy) {
  event line = event_new("engine");
  event_string(&line, "engine", name);
  event_string(&line, key, value);
  if (*remedy != '\0') {
    event_string(&line, "remedy", remedy);
  }
  event_print(&line);
}

static _Noreturn void try_one(const char *folder, const char *name) {
  mvdeploy_error error = {{0}, {0}};
  const mvdeploy_engine *engine = plugin_start(folder, name, &error);
  if (engine != NULL) {
    print_line(name, "version", engine->version(), "");
  } else {
    print_line(name, "error", error.reason, error.remedy);
  }
  _exit(0);
}

static void list_one(const char *folder, const char *name) {
  char words[128];
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    try_one(folder, name);
  }
  if (child > 0) {
    waitpid(child, &status, 0);
  }
  if (child < 0) {
    print_line(name, "error", "no process could be started for it", "Free memory, and try again.");
  } else if (WIFSIGNALED(status)) {
    int number = WTERMSIG(status);
    snprintf(words, sizeof words, "it crashes when it is loaded (%s)", strsignal(number));
    print_line(name, "error", words,
               number == SIGILL ? "It was built for a newer processor: build the kit with another "
                                  "version of the engine."
                                : "Build the kit with another version of the engine.");
  }
}

static int is_plugin(const struct dirent *entry) {
  size_t size = strlen(entry->d_name), rest = strlen(PREFIX) + strlen(SUFFIX);
  return size > rest && strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0 &&
         strcmp(entry->d_name + size - strlen(SUFFIX), SUFFIX) == 0;
}

void plugins_list(const char *folder) {
  struct dirent **found = NULL;
  int count = scandir(folder, &found, is_plugin, alphasort);
  for (int i = 0; i < count; i++) {
    char *name = found[i]->d_name + strlen(PREFIX);
    name[strlen(name) - strlen(SUFFIX)] = '\0';
    list_one(folder, name);
    free(found[i]);
  }
  free(found);
}
