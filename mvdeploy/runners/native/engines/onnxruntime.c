/* ONNX Runtime on the CPU: sessions as mvdeploy.engines.onnxruntime opens them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../dtypes.h"
#include "../engine.h"
#include "onnxruntime_abi.h"

/* Element types by the engine's numbers; NULL for what NumPy lacks. */
static const char *const TYPES[] = {
    NULL,   "float32", "uint8",   "int8",   "uint16", "int16",     "int32",     "int64",
    NULL,   "bool",    "float16", "float64", "uint32", "uint64",   "complex64", "complex128",
};

enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES, RANK_LIMIT = 16 };

struct mvdeploy_session {
  ort_session *session;
  ort_binding *binding;
  ort_memory *memory;
  ort_value **inputs;
  size_t input_count;
  size_t output_count;
  char **output_names;
  mvdeploy_tensor *outputs; /* as last asked for */
  int64_t (*shapes)[RANK_LIMIT];
};

static ort_api api;
static ort_env *environment;
static const char *version_text = "unknown";

static bool wrong(mvdeploy_error *error, const char *reason) {
  snprintf(error->reason, sizeof error->reason, "%s", reason);
  return false;
}

/* Return zeroed memory; NULL if there is none, which is told in words that the runner knows. */
static void *take(size_t count, size_t size, mvdeploy_error *error) {
  void *memory = calloc(count ? count : 1, size);
  if (memory == NULL) {
    wrong(error, "out of memory");
  }
  return memory;
}

/* Whether all went well; if not, keep what the engine says. */
static bool ok(ort_status *status, mvdeploy_error *error) {
  if (status == NULL) {
    return true;
  }
  wrong(error, api.GetErrorMessage(status));
  api.ReleaseStatus(status);
  return false;
}

static int is_library(const struct dirent *entry) {
  static const char name[] = "libonnxruntime.so"; /* and perhaps its version */
  const char *rest = entry->d_name + sizeof name - 1;
  return strncmp(entry->d_name, name, sizeof name - 1) == 0 && (*rest == '\0' || *rest == '.');
}

/* Write the path of the engine's library in the folder of this plug-in. */
static bool find_library(char *path, size_t size, mvdeploy_error *error) {
  Dl_info about = {0};
  struct dirent **found = NULL;
  char folder[4096] = ".";
  const char *slash = dladdr(TYPES, &about) != 0 ? strrchr(about.dli_fname, '/') : NULL;
  if (slash != NULL) {
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - about.dli_fname), about.dli_fname);
  }
  int count = scandir(folder, &found, is_library, alphasort);
  if (count > 0) {
    snprintf(path, size, "%s/%s", folder, found[0]->d_name);
  } else {
    snprintf(error->reason, sizeof error->reason, "%s has no libonnxruntime.so", folder);
  }
  for (int i = 0; i < count; i++) {
    free(found[i]);
  }
  free(found);
  return count > 0;
}

static void fill_api(const ort_function *table) {
#define FILL(place, name, result, arguments) api.name = (result(*) arguments)table[place];
  ORT_FUNCTIONS(FILL)
#undef FILL
}

static bool start(mvdeploy_error *error) {
  const ort_api_base *(*ask)(void);
  char path[4096 + 256];
  if (!find_library(path, sizeof path, error)) {
    return false;
  }
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    return wrong(error, dlerror());
  }
  *(void **)&ask = dlsym(library, "OrtGetApiBase");
  const ort_api_base *base = ask ? ask() : NULL;
  const ort_function *table = base ? base->GetApi(ORT_API) : NULL;
  if (table == NULL) {
    snprintf(error->remedy, sizeof error->remedy, "Use ONNX Runtime 1.%d or newer.", ORT_API);
    return wrong(error, "this version of ONNX Runtime is too old");
  }
  fill_api(table);
  version_text = base->GetVersionString();
  setenv("ORT_DISABLE_TELEMETRY", "1", 0); /* read when the environment is created */
  return ok(api.CreateEnv(ORT_LOG_ERROR, "mvdeploy", &environment), error);
}

static const char *version(void) {
  return version_text;
}

static const mvdeploy_setting SETTINGS[] = {
    {"provider", MVDEPLOY_TEXT, "CPUExecutionProvider"},
    {"intra_op_num_threads", MVDEPLOY_THREADS, NULL},
    {"inter_op_num_threads", MVDEPLOY_INTEGER, "1"},
    {"graph_optimization_level", MVDEPLOY_TEXT, "ORT_ENABLE_ALL"},
    {"execution_mode", MVDEPLOY_TEXT, "ORT_SEQUENTIAL"},
    {"spinning", MVDEPLOY_TEXT, "on"},
    {"placement", MVDEPLOY_TEXT, "free"},
    {NULL, MVDEPLOY_TEXT, NULL},
};

/* The profile times the nodes of the graph that the engine makes, so that is written too. */
static bool set_profile(ort_options *made, const char *folder, mvdeploy_error *error) {
  char prefix[4096], graph[4096];
  snprintf(prefix, sizeof prefix, "%s/ort", folder);
  snprintf(graph, sizeof graph, "%s/optimised.onnx", folder);
  return ok(api.EnableProfiling(made, prefix), error) &&
         ok(api.SetOptimizedModelFilePath(made, graph), error) &&
         ok(api.AddSessionConfigEntry(
                made, "session.optimized_model_external_initializers_file_name", "optimised.data"),
            error);
}

/* Whether the processor adds products of bytes in 32 bits, as far as the system tells. */
static bool has_vnni(void) {
  static const char *const names[] = {" avx512_vnni", " avx_vnni"};
  FILE *told = fopen("/proc/cpuinfo", "r");
  char line[16384];
  bool found = false;
  while (told != NULL && !found && fgets(line, sizeof line, told) != NULL) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
      found = found || (strncmp(line, "flags", 5) == 0 && strstr(line, names[i]) != NULL);
    }
  }
  if (told != NULL) {
    fclose(told);
  }
  return found;
}

/* Whole numbers and floats are computed as the file says; mvdeploy/engines/onnxruntime.py has why. */
static bool take_at_its_word(ort_options *made, const char *unsigned_weights,
                             mvdeploy_error *error) {
  return ok(api.AddSessionConfigEntry(made, "optimization.disable_specified_optimizers",
                                      "WeightBiasQuantization"),
            error) &&
         ok(api.AddSessionConfigEntry(made, "session.x64quantprecision", unsigned_weights), error);
}

static bool set_options(ort_options *made, const mvdeploy_request *request,
                        mvdeploy_error *error) {
  return ok(api.SetIntraOpNumThreads(made, request->threads), error) &&
         ok(api.SetInterOpNumThreads(made, 1), error) &&
         ok(api.SetSessionGraphOptimizationLevel(made, ORT_LEVEL_ALL), error) &&
         ok(api.SetSessionExecutionMode(made, ORT_MODE_SEQUENTIAL), error) &&
         ok(api.AddSessionConfigEntry(made, "session.intra_op.allow_spinning", "1"), error) &&
         ok(api.SetSessionLogSeverityLevel(made, ORT_LOG_ERROR), error) &&
         (request->profile_folder == NULL || set_profile(made, request->profile_folder, error));
}

static bool create_session(mvdeploy_session *made, const mvdeploy_request *request,
                           mvdeploy_error *error) {
  ort_options *chosen = NULL;
  const char *unsigned_weights = has_vnni() ? "0" : "1";
  bool good = ok(api.CreateSessionOptions(&chosen), error) &&
              set_options(chosen, request, error) &&
              take_at_its_word(chosen, unsigned_weights, error);
  if (good && !ok(api.CreateSession(environment, request->path, chosen, &made->session), error)) {
    good = *unsigned_weights == '1' && take_at_its_word(chosen, "0", error) &&
           ok(api.CreateSession(environment, request->path, chosen, &made->session), error);
  }
  if (chosen != NULL) {
    api.ReleaseSessionOptions(chosen);
  }
  return good;
}

static int type_number(const char *name) {
  for (int i = 0; i < TYPE_COUNT; i++) {
    if (TYPES[i] != NULL && strcmp(TYPES[i], name) == 0) {
      return i;
    }
  }
  return 0;
}

static bool bind_inputs(mvdeploy_session *made, const mvdeploy_tensor *inputs, size_t count,
                        mvdeploy_error *error) {
  made->inputs = take(count, sizeof *made->inputs, error);
  if (made->inputs == NULL) {
    return false;
  }
  for (size_t i = 0; i < count; i++, made->input_count++) {
    const mvdeploy_tensor *input = &inputs[i];
    if (!ok(api.CreateTensorWithDataAsOrtValue(made->memory, input->data, input->bytes,
                                               input->shape, input->rank, type_number(input->dtype),
                                               &made->inputs[i]),
            error) ||
        !ok(api.BindInput(made->binding, input->name, made->inputs[i]), error)) {
      return false;
    }
  }
  return true;
}

static bool bind_output(mvdeploy_session *made, size_t index, mvdeploy_error *error) {
  ort_allocator *allocator;
  char *name;
  if (!ok(api.GetAllocatorWithDefaultOptions(&allocator), error) ||
      !ok(api.SessionGetOutputName(made->session, index, allocator, &name), error)) {
    return false;
  }
  made->output_names[index] = strdup(name);
  if (!ok(api.AllocatorFree(allocator, name), error)) {
    return false;
  }
  if (made->output_names[index] == NULL) {
    return wrong(error, "out of memory");
  }
  /* The engine makes the buffer in the first inference, and keeps it. */
  return ok(api.BindOutputToDevice(made->binding, made->output_names[index], made->memory), error);
}

static bool bind_outputs(mvdeploy_session *made, mvdeploy_error *error) {
  size_t count;
  if (!ok(api.SessionGetOutputCount(made->session, &count), error)) {
    return false;
  }
  made->output_names = take(count, sizeof *made->output_names, error);
  made->outputs = take(count, sizeof *made->outputs, error);
  made->shapes = take(count, sizeof *made->shapes, error);
  if (made->output_names == NULL || made->outputs == NULL || made->shapes == NULL) {
    return false;
  }
  made->output_count = count;
  for (size_t i = 0; i < count; i++) {
    if (!bind_output(made, i, error)) {
      return false;
    }
  }
  return true;
}

static void close_session(mvdeploy_session *done) {
  for (size_t i = 0; i < done->input_count; i++) {
    api.ReleaseValue(done->inputs[i]);
  }
  for (size_t i = 0; i < done->output_count; i++) {
    free(done->output_names[i]);
  }
  if (done->binding != NULL) {
    api.ReleaseIoBinding(done->binding);
  }
  if (done->memory != NULL) {
    api.ReleaseMemoryInfo(done->memory);
  }
  if (done->session != NULL) {
    api.ReleaseSession(done->session);
  }
  free(done->inputs);
  free(done->output_names);
  free(done->outputs);
  free(done->shapes);
  free(done);
}

static mvdeploy_session *load(const mvdeploy_request *request, mvdeploy_error *error) {
  mvdeploy_session *made = take(1, sizeof *made, error);
  if (made == NULL) {
    return NULL;
  }
  if (create_session(made, request, error) &&
      ok(api.CreateCpuMemoryInfo(ORT_ALLOCATOR_DEVICE, ORT_MEMORY_DEFAULT, &made->memory), error) &&
      ok(api.CreateIoBinding(made->session, &made->binding), error) &&
      bind_inputs(made, request->inputs, request->input_count, error) &&
      bind_outputs(made, error)) {
    return made;
  }
  close_session(made);
  return NULL;
}

static bool infer(mvdeploy_session *session, mvdeploy_error *error) {
  ort_status *status = api.RunWithBinding(session->session, NULL, session->binding);
  return status == NULL || ok(status, error);
}

static bool read_shape(mvdeploy_session *session, size_t index, ort_shape *shape,
                       mvdeploy_error *error) {
  mvdeploy_tensor *into = &session->outputs[index];
  int type;
  if (!ok(api.GetTensorElementType(shape, &type), error) ||
      !ok(api.GetDimensionsCount(shape, &into->rank), error)) {
    return false;
  }
  if (type < 0 || type >= TYPE_COUNT || TYPES[type] == NULL || into->rank > RANK_LIMIT) {
    return wrong(error, "an output is of a type or a rank that NumPy lacks");
  }
  into->dtype = TYPES[type];
  into->shape = session->shapes[index];
  return ok(api.GetDimensions(shape, session->shapes[index], into->rank), error) &&
         (dtype_bytes(dtype_named(into->dtype), into->shape, into->rank, &into->bytes) ||
          wrong(error, "an output has no size"));
}

static bool read_output(mvdeploy_session *session, size_t index, ort_value *value,
                        mvdeploy_error *error) {
  mvdeploy_tensor *into = &session->outputs[index];
  ort_shape *shape = NULL;
  int is_tensor = 0;
  if (!ok(api.IsTensor(value, &is_tensor), error) || !is_tensor) {
    return is_tensor ? false : wrong(error, "an output is no tensor");
  }
  into->name = session->output_names[index];
  if (!ok(api.GetTensorTypeAndShape(value, &shape), error)) {
    return false;
  }
  bool good = read_shape(session, index, shape, error);
  api.ReleaseTensorTypeAndShapeInfo(shape);
  /* The binding holds on to the memory. */
  return good && ok(api.GetTensorMutableData(value, &into->data), error);
}

static bool outputs(mvdeploy_session *session, const mvdeploy_tensor **tensors, size_t *count,
                    mvdeploy_error *error) {
  ort_allocator *allocator;
  ort_value **values = NULL;
  bool good = true;
  if (!ok(api.GetAllocatorWithDefaultOptions(&allocator), error) ||
      !ok(api.GetBoundOutputValues(session->binding, allocator, &values, count), error)) {
    return false;
  }
  for (size_t i = 0; i < *count; i++) {
    good = good && read_output(session, i, values[i], error);
    api.ReleaseValue(values[i]);
  }
  *tensors = session->outputs;
  return values == NULL || (ok(api.AllocatorFree(allocator, values), error) && good);
}

static bool end_profile(mvdeploy_session *session, char *path, size_t size,
                        mvdeploy_error *error) {
  ort_allocator *allocator;
  char *written;
  if (!ok(api.GetAllocatorWithDefaultOptions(&allocator), error) ||
      !ok(api.SessionEndProfiling(session->session, allocator, &written), error)) {
    return false;
  }
  snprintf(path, size, "%s", written);
  return ok(api.AllocatorFree(allocator, written), error);
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
      .close = close_session,
  };
  return &engine;
}
