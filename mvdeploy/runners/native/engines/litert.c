/* LiteRT on the CPU: sessions as mvdeploy.engines.litert opens them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../dtypes.h"
#include "../engine.h"
#include "litert_abi.h"

#ifndef LITERT_VERSION
#define LITERT_VERSION "unknown"
#endif

/* Element types by the engine's numbers; NULL for what NumPy lacks. */
static const char *const TYPES[] = {
    NULL,      "float32", "int32",   "uint8",      "int64",  NULL,     "bool",
    "int16",   "complex64", "int8",  "float16",    "float64", "complex128", "uint64",
    NULL,      NULL,      "uint32",  "uint16",
};

enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES };

/* Whole numbers of all kinds, as by default, and half precision. */
#define XNNPACK_FLAGS "15"

static const mvdeploy_setting SETTINGS[] = {
    {"num_threads", MVDEPLOY_THREADS, NULL},
    {"kernel_mode", MVDEPLOY_OPTION, "delegate"},
    {"force_fp16", MVDEPLOY_OPTION, "off"},
    {NULL, MVDEPLOY_TEXT, NULL},
};

/* Inputs or outputs of a program. */
typedef struct tensors {
  size_t count;
  rt_type *types;
  rt_handle *buffers;
  mvdeploy_tensor *tensors;
  int64_t (*shapes)[RT_RANK_LIMIT];
} tensors;

struct mvdeploy_session {
  void *file;
  size_t file_size;
  rt_handle model;
  rt_handle compiled;
  rt_handle profiler;
  tensors inputs;
  tensors outputs;
  char profile[4096]; /* its path; empty for none */
};

static rt_api api;
static rt_handle environment;

static bool wrong(mvdeploy_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool wrong(mvdeploy_error *error, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(error->reason, sizeof error->reason, format, values);
  va_end(values);
  return false;
}

static void *take(size_t count, size_t size, mvdeploy_error *error) {
  void *memory = calloc(count ? count : 1, size);
  if (memory == NULL) {
    wrong(error, "out of memory");
  }
  return memory;
}

static const char *meaning(int status) {
  static const struct {
    int status;
    const char *meaning;
  } known[] = {
      {1, "an invalid argument"},
      {RT_NO_MEMORY, "out of memory"},
      {3, "it failed at run time"},
      {4, "an input is missing"},
      {5, "something that it does not support"},
      {6, "something that is not there"},
      {8, "another version made it"},
      {500, "the file cannot be read"},
      {501, "it is damaged, or no LiteRT program"},
      {504, "it could not be compiled"},
      {1000, "a number in it is out of range"},
      {1001, "it has operators or tensors of unknown types"},
      {1002, "its graph is not sound"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (known[i].status == status) {
      return known[i].meaning;
    }
  }
  return NULL;
}

/* Whether all went well; if not, say what the engine's number means. */
static bool ok(int status, mvdeploy_error *error) {
  if (status == 0) {
    return true;
  }
  const char *words = meaning(status);
  return words ? wrong(error, "%s", words) : wrong(error, "error %d", status);
}

static bool fill_api(void *library, mvdeploy_error *error) {
  const char *missing = NULL;
#define FILL(name, arguments)                        \
  *(void **)&api.name = dlsym(library, "LiteRt" #name); \
  missing = api.name ? missing : #name;
#define FILL_RELEASE(name) FILL(name, )
  RT_FUNCTIONS(FILL)
  RT_RELEASES(FILL_RELEASE)
#undef FILL
#undef FILL_RELEASE
  if (missing != NULL) {
    snprintf(error->remedy, sizeof error->remedy, "Use LiteRT 2.3 or newer.");
    return wrong(error, "this version of LiteRT has no LiteRt%s", missing);
  }
  return true;
}

static bool start(mvdeploy_error *error) {
  /* Without these it looks for libraries of graphics processors, and tells of it. */
  static const rt_environment_option options[] = {
      {RT_ACCELERATORS, {RT_INTEGER, RT_CPU}},
      {RT_SEVERITY, {RT_INTEGER, RT_SILENT}},
  };
  Dl_info about = {0};
  char path[4096 + 256] = "./libLiteRt.so";
  const char *slash = dladdr(TYPES, &about) != 0 ? strrchr(about.dli_fname, '/') : NULL;
  if (slash != NULL) {
    snprintf(path, sizeof path, "%.*s/libLiteRt.so", (int)(slash - about.dli_fname),
             about.dli_fname);
  }
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    return wrong(error, "%s", dlerror());
  }
  return fill_api(library, error) &&
         ok(api.CreateEnvironment(sizeof options / sizeof *options, options, &environment), error);
}

static const char *version(void) {
  return LITERT_VERSION;
}

/* Have the file in memory. Only what is read from there is checked before it is followed. */
static bool map_file(mvdeploy_session *made, const char *path, mvdeploy_error *error) {
  struct stat about;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &about) != 0 || about.st_size <= 0) {
    wrong(error, "%s", file < 0 ? strerror(errno) : "it is empty");
  } else {
    made->file_size = (size_t)about.st_size;
    made->file = mmap(NULL, made->file_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (made->file == MAP_FAILED) {
      made->file = NULL;
      wrong(error, "%s", errno == ENOMEM ? "out of memory" : strerror(errno));
    }
  }
  if (file >= 0) {
    close(file);
  }
  return made->file != NULL;
}

static const char *option(const mvdeploy_request *request, const mvdeploy_setting *setting) {
  for (size_t i = 0; i < request->options.count; i++) {
    if (strcmp(request->options.items[i].name, setting->name) == 0) {
      return request->options.items[i].value;
    }
  }
  return setting->value;
}

static bool is_one_of(const char *value, const char *one, const char *other,
                      const mvdeploy_setting *setting, mvdeploy_error *error) {
  if (strcmp(value, one) == 0 || strcmp(value, other) == 0) {
    return true;
  }
  snprintf(error->remedy, sizeof error->remedy, "Choose one of: %s, %s.", one, other);
  return wrong(error, "the option '%s' cannot be '%s'", setting->name, value);
}

/* Give a part of the engine its options, which are lines of text. */
static bool add_options(rt_handle options, const char *reader, const char *text,
                        mvdeploy_error *error) {
  rt_handle made = NULL;
  char *copy = strdup(text);
  return (copy != NULL || wrong(error, "out of memory")) &&
         ok(api.CreateOpaqueOptions(reader, copy, free, &made), error) &&
         ok(api.AddOpaqueOptions(options, made), error);
}

static bool set_options(rt_handle options, const mvdeploy_request *request,
                        mvdeploy_error *error) {
  const char *mode = option(request, &SETTINGS[1]), *halves = option(request, &SETTINGS[2]);
  char kernels[256], runtime[256];
  if (!is_one_of(mode, "delegate", "builtin", &SETTINGS[1], error) ||
      !is_one_of(halves, "on", "off", &SETTINGS[2], error)) {
    return false;
  }
  snprintf(kernels, sizeof kernels, "num_threads = %d\nkernel_mode = \"%s\"\n%s", request->threads,
           mode, strcmp(halves, "on") == 0 ? "flags = " XNNPACK_FLAGS : "");
  /* Errors are kept, and told when they are asked for. */
  snprintf(runtime, sizeof runtime, "error_reporter_mode = 2\nenable_profiling = %s",
           request->profile_folder ? "true" : "false");
  return ok(api.SetOptionsHardwareAccelerators(options, RT_CPU), error) &&
         add_options(options, "xnnpack", kernels, error) &&
         add_options(options, "runtime_options_string", runtime, error);
}

static bool compile(mvdeploy_session *made, const mvdeploy_request *request,
                    mvdeploy_error *error) {
  rt_handle options = NULL;
  bool good = map_file(made, request->path, error) &&
              ok(api.CreateModelFromBuffer(environment, made->file, made->file_size, &made->model),
                 error) &&
              ok(api.CreateOptions(&options), error) && set_options(options, request, error) &&
              ok(api.CreateCompiledModel(environment, made->model, options, &made->compiled),
                 error);
  if (options != NULL) {
    api.DestroyOptions(options);
  }
  return good;
}

/* Describe a tensor, and have memory for it. */
static bool prepare(tensors *side, size_t i, const char *name, rt_handle tensor,
                    mvdeploy_error *error) {
  mvdeploy_tensor *into = &side->tensors[i];
  rt_type *type = &side->types[i];
  if (!ok(api.GetRankedTensorType(tensor, type), error)) {
    return false;
  }
  into->name = name ? name : "";
  into->rank = type->rank_bits & RT_RANK_BITS;
  into->shape = side->shapes[i];
  if (type->element < 0 || type->element >= TYPE_COUNT || TYPES[type->element] == NULL ||
      into->rank > RT_RANK_LIMIT) {
    return wrong(error, "the tensor '%.200s' has no type that NumPy has", into->name);
  }
  into->dtype = TYPES[type->element];
  for (size_t j = 0; j < into->rank; j++) {
    side->shapes[i][j] = type->sizes[j];
  }
  if (!dtype_bytes(dtype_named(into->dtype), into->shape, into->rank, &into->bytes) ||
      into->bytes == 0) {
    return wrong(error, "the tensor '%.200s' has no fixed shape", into->name);
  }
  return ok(api.CreateManagedTensorBuffer(environment, RT_HOST_MEMORY, type, into->bytes,
                                          &side->buffers[i]),
            error);
}

static bool take_side(tensors *side, size_t count, mvdeploy_error *error) {
  side->types = take(count, sizeof *side->types, error);
  side->buffers = take(count, sizeof *side->buffers, error);
  side->tensors = take(count, sizeof *side->tensors, error);
  side->shapes = take(count, sizeof *side->shapes, error);
  side->count = side->buffers ? count : 0;
  return side->types && side->buffers && side->tensors && side->shapes;
}

static bool describe(mvdeploy_session *made, mvdeploy_error *error) {
  rt_handle signature = NULL, tensor = NULL;
  const char *name = NULL;
  size_t inputs = 0, outputs = 0;
  if (!ok(api.GetModelSignature(made->model, 0, &signature), error) ||
      !ok(api.GetNumSignatureInputs(signature, &inputs), error) ||
      !ok(api.GetNumSignatureOutputs(signature, &outputs), error) ||
      !take_side(&made->inputs, inputs, error) || !take_side(&made->outputs, outputs, error)) {
    return false;
  }
  for (size_t i = 0; i < inputs; i++) {
    if (!ok(api.GetSignatureInputName(signature, i, &name), error) ||
        !ok(api.GetSignatureInputTensorByIndex(signature, i, &tensor), error) ||
        !prepare(&made->inputs, i, name, tensor, error)) {
      return false;
    }
  }
  for (size_t i = 0; i < outputs; i++) {
    if (!ok(api.GetSignatureOutputName(signature, i, &name), error) ||
        !ok(api.GetSignatureOutputTensorByIndex(signature, i, &tensor), error) ||
        !prepare(&made->outputs, i, name, tensor, error)) {
      return false;
    }
  }
  return true;
}

static bool same_shape(const mvdeploy_tensor *one, const mvdeploy_tensor *other) {
  return one->rank == other->rank &&
         memcmp(one->shape, other->shape, one->rank * sizeof *one->shape) == 0;
}

static bool feed_one(tensors *side, size_t i, const mvdeploy_request *request,
                     mvdeploy_error *error) {
  const mvdeploy_tensor *wanted = &side->tensors[i], *given = NULL;
  void *memory;
  for (size_t j = 0; j < request->input_count; j++) {
    if (strcmp(request->inputs[j].name, wanted->name) == 0) {
      given = &request->inputs[j];
    }
  }
  if (given == NULL) {
    return wrong(error, "the program takes '%.200s', and it was not given", wanted->name);
  }
  if (strcmp(given->dtype, wanted->dtype) != 0) {
    return wrong(error, "the input '%.200s' is %s, and the program takes %s", wanted->name,
                 given->dtype, wanted->dtype);
  }
  if (!same_shape(given, wanted)) {
    return wrong(error, "the input '%.200s' is of another shape than the program takes",
                 wanted->name);
  }
  if (!ok(api.LockTensorBuffer(side->buffers[i], &memory, RT_WRITE), error)) {
    return false;
  }
  memcpy(memory, given->data, given->bytes);
  return ok(api.UnlockTensorBuffer(side->buffers[i]), error);
}

static bool feed(mvdeploy_session *made, const mvdeploy_request *request, mvdeploy_error *error) {
  if (request->input_count != made->inputs.count) {
    return wrong(error, "the program takes %zu inputs, and %zu were given", made->inputs.count,
                 request->input_count);
  }
  for (size_t i = 0; i < made->inputs.count; i++) {
    if (!feed_one(&made->inputs, i, request, error)) {
      snprintf(error->remedy, sizeof error->remedy,
               "Give inputs as the program's manifest lists them, or export it anew.");
      return false;
    }
  }
  return true;
}

static bool start_profile(mvdeploy_session *made, const char *folder, mvdeploy_error *error) {
  if (folder == NULL) {
    return true;
  }
  snprintf(made->profile, sizeof made->profile, "%s/litert.json", folder);
  return ok(api.CompiledModelGetProfiler(made->compiled, &made->profiler), error) &&
         ok(api.StartProfiler(made->profiler), error);
}

static void free_side(tensors *side) {
  for (size_t i = 0; i < side->count; i++) {
    if (side->buffers[i] != NULL) {
      api.DestroyTensorBuffer(side->buffers[i]);
    }
  }
  free(side->types);
  free(side->buffers);
  free(side->tensors);
  free(side->shapes);
}

static void close_session(mvdeploy_session *done) {
  free_side(&done->inputs);
  free_side(&done->outputs);
  if (done->compiled != NULL) {
    api.DestroyCompiledModel(done->compiled);
  }
  if (done->model != NULL) {
    api.DestroyModel(done->model);
  }
  if (done->file != NULL) {
    munmap(done->file, done->file_size);
  }
  free(done);
}

static mvdeploy_session *load(const mvdeploy_request *request, mvdeploy_error *error) {
  mvdeploy_session *made = take(1, sizeof *made, error);
  if (made == NULL) {
    return NULL;
  }
  if (compile(made, request, error) && describe(made, error) && feed(made, request, error) &&
      start_profile(made, request->profile_folder, error)) {
    return made;
  }
  close_session(made);
  return NULL;
}

static bool explain(mvdeploy_session *session, int status, mvdeploy_error *error) {
  char *said = NULL;
  ok(status, error);
  snprintf(error->remedy, sizeof error->remedy,
           "Free memory if there is little, or use a smaller model, batch or image size; if there "
           "is enough, export the model again.");
  if (api.CompiledModelGetErrorMessages(session->compiled, &said) == 0 && said != NULL) {
    size_t used = strlen(error->reason);
    said[strcspn(said, "\n")] = '\0';
    snprintf(error->reason + used, sizeof error->reason - used, ": %s", said);
    free(said);
  }
  return false;
}

static bool infer(mvdeploy_session *session, mvdeploy_error *error) {
  int status = api.RunCompiledModel(session->compiled, 0, session->inputs.count,
                                    session->inputs.buffers, session->outputs.count,
                                    session->outputs.buffers);
  return status == 0 || explain(session, status, error);
}

static bool outputs(mvdeploy_session *session, const mvdeploy_tensor **made, size_t *count,
                    mvdeploy_error *error) {
  tensors *side = &session->outputs;
  for (size_t i = 0; i < side->count; i++) {
    /* Memory of the host stays where it is when it is let go. */
    if (!ok(api.LockTensorBuffer(side->buffers[i], &side->tensors[i].data, RT_READ), error) ||
        !ok(api.UnlockTensorBuffer(side->buffers[i]), error)) {
      return false;
    }
  }
  *made = side->tensors;
  *count = side->count;
  return true;
}

static bool is_written(const rt_event *event) {
  return event->type == RT_WHOLE || event->type == RT_ALONE || event->type == RT_DELEGATED;
}

/* Write an event; what would end its text is left out of it. */
static bool write_event(FILE *file, const rt_event *event, bool first) {
  char name[256] = "", line[512];
  size_t used = 0;
  for (const char *next = event->tag ? event->tag : ""; *next && used < sizeof name - 1; next++) {
    if (*next >= ' ' && *next < 127 && *next != '"' && *next != '\\') {
      name[used++] = *next;
    }
  }
  int size = snprintf(line, sizeof line, "%s[\"%s\",%d,%llu,%llu,%llu]", first ? "" : ",\n", name,
                      event->type, (unsigned long long)event->index,
                      (unsigned long long)event->start_us,
                      (unsigned long long)event->elapsed_us);
  return fwrite(line, 1, (size_t)size, file) == (size_t)size;
}

static bool write_events(const char *path, const rt_event *events, int count) {
  static const char head[] = "{\"events\": [", tail[] = "]}\n";
  FILE *file = fopen(path, "w");
  bool good = file != NULL && fwrite(head, 1, sizeof head - 1, file) == sizeof head - 1;
  bool first = true;
  for (int i = 0; good && i < count; i++) {
    if (is_written(&events[i])) {
      good = write_event(file, &events[i], first);
      first = false;
    }
  }
  good = good && fwrite(tail, 1, sizeof tail - 1, file) == sizeof tail - 1;
  return (file == NULL || fclose(file) == 0) && good;
}

static bool end_profile(mvdeploy_session *session, char *path, size_t size,
                        mvdeploy_error *error) {
  char part[4096 + 8];
  int count = 0;
  if (!ok(api.StopProfiler(session->profiler), error) ||
      !ok(api.GetNumProfilerEvents(session->profiler, &count), error)) {
    return false;
  }
  rt_event *events = take((size_t)count, sizeof *events, error);
  bool good = events != NULL && ok(api.GetProfilerEvents(session->profiler, count, events), error);
  snprintf(part, sizeof part, "%s.part", session->profile);
  if (good && (!write_events(part, events, count) || rename(part, session->profile) != 0)) {
    good = wrong(error, "%s: %s", session->profile, strerror(errno));
    remove(part);
  }
  free(events);
  snprintf(path, size, "%s", session->profile);
  return good;
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
