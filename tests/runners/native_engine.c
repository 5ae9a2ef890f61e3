/* An engine that does what its model file says: the stand-in for engines that misbehave.
 *
 * Its output is twice its first input, of float32. A profile lists the models in the order in
 * which they ran.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

struct mvdeploy_session {
  char behaviour[32];
  const char *name; /* of the model's file */
  char profile[4096];
  mvdeploy_tensor output;
  const mvdeploy_tensor *input;
};

static char calls[1 << 20];
static size_t calls_size;

static bool says(const mvdeploy_session *session, const char *behaviour) {
  return strcmp(session->behaviour, behaviour) == 0;
}

static bool start(mvdeploy_error *error) {
#ifdef CRASHES
  raise(SIGSEGV);
#endif
#ifdef REFUSES
  snprintf(error->reason, sizeof error->reason, "it does not want to.");
  return false;
#endif
  (void)error;
  return true;
}

static const char *version(void) { return "1.2"; }

static const mvdeploy_setting SETTINGS[] = {
    {"threads", MVDEPLOY_THREADS, NULL},
    {"sessions", MVDEPLOY_INTEGER, "1"},
    {"delegate", MVDEPLOY_OPTION, "none"},
    {"precision", MVDEPLOY_OPTION, "float32"},
    {NULL, MVDEPLOY_TEXT, NULL},
};

static mvdeploy_session *load(const mvdeploy_request *request, mvdeploy_error *error) {
  const char *path = request->path;
  const mvdeploy_tensor *inputs = request->inputs;
  mvdeploy_session *made = calloc(1, sizeof *made);
  FILE *file = fopen(path, "r");
  if (file == NULL || fscanf(file, "%31s", made->behaviour) != 1 || request->threads < 1) {
    exit(99);
  }
  fclose(file);
  made->name = strrchr(path, '/') + 1;
  if (request->input_count == 0) {
    snprintf(error->reason, sizeof error->reason, "there are no inputs");
    return NULL;
  }
  if (says(made, "refuses")) {
    snprintf(error->reason, sizeof error->reason, "no such operator: \"Fold\".\nat line 3");
    return NULL;
  }
  for (size_t i = 0; i < request->options.count; i++) {
    if (strcmp(request->options.items[i].value, "unheard of") == 0) {
      snprintf(error->reason, sizeof error->reason, "%s cannot be that",
               request->options.items[i].name);
      return NULL;
    }
  }
  if (request->profile_folder != NULL) {
    snprintf(made->profile, sizeof made->profile, "%s/calls.txt", request->profile_folder);
  }
  made->input = inputs;
  made->output = inputs[0];
  made->output.name = request->output_count ? request->outputs[0] : "doubled";
  made->output.data = calloc(inputs[0].bytes + 1, 1);
  return made;
}

static bool infer(mvdeploy_session *session, mvdeploy_error *error) {
  const float *from = session->input->data;
  float *to = session->output.data;
  for (size_t i = 0; i < session->output.bytes / sizeof *to; i++) {
    to[i] = 2 * from[i];
  }
  if (calls_size + 256 < sizeof calls) {
    calls_size += (size_t)sprintf(calls + calls_size, "%s\n", session->name);
  }
  if (says(session, "fails")) {
    snprintf(error->reason, sizeof error->reason, "shapes do not match");
    snprintf(error->remedy, sizeof error->remedy, "Give other shapes.");
    return false;
  }
  if (says(session, "exhausts")) {
    snprintf(error->reason, sizeof error->reason, "std::bad_alloc");
    return false;
  }
  if (says(session, "prints")) {
    printf("garbage from C\n");
    fflush(stdout);
    return system("echo garbage from a child") == 0;
  }
  if (says(session, "segfaults")) {
    raise(SIGSEGV);
  }
  if (says(session, "hangs")) {
    pause();
  }
  return true;
}

static bool outputs(mvdeploy_session *session, const mvdeploy_tensor **tensors, size_t *count,
                    mvdeploy_error *error) {
  (void)error;
  *tensors = &session->output;
  *count = 1;
  return true;
}

static bool end_profile(mvdeploy_session *session, char *path, size_t size,
                        mvdeploy_error *error) {
  (void)error;
  FILE *file = fopen(session->profile, "w");
  if (file == NULL) {
    exit(99);
  }
  fputs(calls, file);
  fclose(file);
  snprintf(path, size, "%s", session->profile);
  return true;
}

static void end(mvdeploy_session *session) {
  free(session->output.data);
  free(session);
}

const mvdeploy_engine *mvdeploy_engine_interface(void) {
  static const mvdeploy_engine engine = {
      .interface_version = MVDEPLOY_ENGINE_VERSION,
      .start = start,
      .version = version,
      .settings = SETTINGS,
      .load = load,
      .infer = infer,
      .outputs = outputs,
      .end_profile = end_profile,
      .close = end,
  };
#ifdef OLD
  static mvdeploy_engine old;
  old = engine;
  old.interface_version--;
  return &old;
#endif
  return &engine;
}
