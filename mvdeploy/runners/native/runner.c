#include "runner.h"

#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "hello.h"
#include "loop.h"
#include "memory.h"
#include "npy.h"
#include "outputs.h"
#include "plugins.h"
#include "process.h"
#include "settings.h"
#include "sha256.h"

/* Seconds of measuring after which samples are reported, so that a runner that dies keeps them. */
static const double FLUSH_NS = 2e9;

/* The same, however little of a job's time is left. */
static const double LEAST_NS = 5e7;

/* Inferences after which samples are reported at the latest. */
static const size_t SEGMENT_LIMIT = 100000;

typedef struct running {
  const job *todo;
  const mvdeploy_engine **engines; /* of each model */
  call *calls;                     /* of each model */
  mvdeploy_error error;
} running;

static bool is_first_of_engine(const job *todo, size_t index) {
  for (size_t i = 0; i < index; i++) {
    if (strcmp(todo->models[i].engine, todo->models[index].engine) == 0) {
      return false;
    }
  }
  return true;
}

static const mvdeploy_engine *engine_of(running *run, const char *plugins, size_t index) {
  const char *name = run->todo->models[index].engine;
  for (size_t i = 0; i < index; i++) {
    if (strcmp(run->todo->models[i].engine, name) == 0) {
      return run->engines[i];
    }
  }
  const mvdeploy_engine *engine = plugin_start(plugins, name, &run->error);
  if (engine == NULL) {
    fail_for_engine("load", &run->error, "The engine %s cannot be used here", name);
  }
  return engine;
}

/* Start every engine before any load is timed: that is no part of loading a model. */
static void start_engines(running *run, const char *plugins) {
  text versions = {0}, options = {0};
  text_add(&versions, "{");
  text_add(&options, "{");
  for (size_t i = 0; i < run->todo->model_count; i++) {
    const job_model *model = &run->todo->models[i];
    run->engines[i] = engine_of(run, plugins, i);
    settings_check(model, run->engines[i]);
    if (is_first_of_engine(run->todo, i)) {
      text_key(&versions, model->engine);
      text_quoted(&versions, run->engines[i]->version());
      text_key(&options, model->engine);
      settings_add(run->todo, i, run->engines[i], &options);
    }
  }
  text_add(&versions, "}");
  text_add(&options, "}");
  hello_print(versions.bytes, options.bytes);
  text_free(&versions);
  text_free(&options);
}

/* This also brings the file into the system's cache, so that load times are of one kind. */
static void check_file(const job_model *model) {
  char found[SHA256_HEX];
  int problem = sha256_file(model->path, found);
  if (problem != 0) {
    fail("input", NULL, "The model %s could not be read (%s).", model->path, strerror(problem));
  }
  if (strcmp(found, model->sha256) != 0) {
    fail("input", "Export the model again.",
         "%s is not the file that the job describes (its SHA-256 is %.12s…, not %.12s…).",
         model->path, found, model->sha256);
  }
}

static mvdeploy_tensor *read_inputs(const job_model *model) {
  npy_problem problem;
  mvdeploy_tensor *inputs = memory_take(model->inputs.count, sizeof *inputs);
  for (size_t i = 0; i < model->inputs.count; i++) {
    const mvdeploy_entry *input = &model->inputs.items[i];
    if (!npy_read(input->value, input->name, &inputs[i], &problem)) {
      fail("input", NULL, "The input '%.200s' could not be read from %s (%s).", input->name,
           input->value, problem.words);
    }
  }
  return inputs;
}

static void load(running *run, size_t index) {
  const job_model *model = &run->todo->models[index];
  const mvdeploy_engine *engine = run->engines[index];
  check_file(model);
  const mvdeploy_request request = {
      .path = model->path,
      .inputs = read_inputs(model),
      .input_count = model->inputs.count,
      .outputs = model->outputs,
      .output_count = model->output_count,
      .threads = run->todo->threads,
      .options = model->options,
      .profile_folder = model->profile_to,
  };
  if (model->profile_to != NULL) {
    process_make_folder(model->profile_to, "load", "the profile");
  }
  int64_t memory_before = process_resident(), start = now_ns();
  mvdeploy_session *session = engine->load(&request, &run->error);
  int64_t load_ns = now_ns() - start;
  if (session == NULL) {
    fail_for_engine("load", &run->error, "%s could not load %s", model->engine, model->path);
  }
  run->calls[index] = (call){engine->infer, session};
  event loaded = event_new("loaded");
  event_integer(&loaded, "model", (int64_t)index);
  event_integer(&loaded, "load_ns", load_ns);
  event_integer(&loaded, "memory_before", memory_before);
  event_integer(&loaded, "memory_after", process_resident());
  event_print(&loaded);
}

static const int64_t NO_TIME = -1;

static void print_samples(const char *kind, const char *key, size_t value, int64_t at_ns,
                          const samples *taken) {
  event line = event_new(kind);
  event_integer(&line, key, (int64_t)value);
  if (at_ns != NO_TIME) {
    event_integer(&line, "at_ns", at_ns);
  }
  event_integers(&line, "wall_ns", taken->wall_ns, taken->count);
  event_integers(&line, "cpu_ns", taken->cpu_ns, taken->count);
  event_print(&line);
}

/* Run the first inference and the warm-up; return nanoseconds of one warm inference. */
static int64_t warm(running *run, size_t index) {
  static const int64_t once[1] = {0};
  const job_model *model = &run->todo->models[index];
  const call *called = &run->calls[index];
  samples first = {0}, warmup = {0};
  if (!time_order(called, once, 1, &first, &run->error)) {
    fail_for_engine("run", &run->error, "%s failed in the first inference of %s", model->engine,
                    model->path);
  }
  print_samples("first", "model", index, NO_TIME, &first);
  if (!warm_up(called, &run->todo->warmup, &warmup, &run->error)) {
    fail_for_engine("run", &run->error, "%s failed in the warm-up of %s", model->engine,
                    model->path);
  }
  print_samples("warmup", "model", index, NO_TIME, &warmup);
  const samples *last = warmup.count ? &warmup : &first;
  int64_t pace_ns = last->wall_ns[last->count - 1];
  samples_free(&first);
  samples_free(&warmup);
  return pace_ns;
}

static int64_t warm_all(running *run) {
  int64_t slowest_ns = 1;
  for (size_t i = 0; i < run->todo->model_count; i++) {
    int64_t pace_ns = warm(run, (size_t)run->todo->warmup_order[i]);
    slowest_ns = pace_ns > slowest_ns ? pace_ns : slowest_ns;
  }
  return slowest_ns;
}

/* Return how many inferences are run before their samples are reported; 0 at the end. */
static size_t segment_length(const job *todo, size_t start, int64_t at_ns, int64_t pace_ns) {
  double time_ns = FLUSH_NS;
  size_t left = SEGMENT_LIMIT;
  if (todo->repeat_s > 0) {
    double left_ns = todo->repeat_s * 1e9 - (double)at_ns;
    if (left_ns <= 0) {
      return 0;
    }
    /* Half of what is left: inferences that get slower are not to go on for long after the end. */
    time_ns = left_ns / 2 > LEAST_NS ? left_ns / 2 : LEAST_NS;
    time_ns = time_ns < FLUSH_NS ? time_ns : FLUSH_NS;
  } else if (todo->order_count - start < left) {
    left = todo->order_count - start;
  }
  if (left == 0) {
    return 0;
  }
  double fitting = time_ns / (double)(pace_ns > 1 ? pace_ns : 1);
  size_t length = fitting >= (double)SEGMENT_LIMIT ? SEGMENT_LIMIT : (size_t)fitting;
  length = length > 1 ? length : 1;
  return length < left ? length : left;
}

static int64_t mean(const samples *taken) {
  int64_t sum = 0;
  for (size_t i = 0; i < taken->count; i++) {
    sum += taken->wall_ns[i];
  }
  return sum / (int64_t)taken->count;
}

static void measure(running *run, int64_t pace_ns) {
  const job *todo = run->todo;
  bool repeats = todo->repeat_s > 0;
  samples taken = {0};
  int64_t began_ns = now_ns(), at_ns = 0;
  int64_t *part = memory_take(SEGMENT_LIMIT, sizeof *part);
  size_t length;
  for (size_t start = 0; (length = segment_length(todo, start, at_ns, pace_ns)) > 0;
       start += length) {
    for (size_t i = 0; i < length; i++) {
      part[i] = todo->order[(start + i) % todo->order_count];
    }
    taken.count = 0;
    at_ns = now_ns() - began_ns;
    if (!time_order(run->calls, part, length, &taken, &run->error)) {
      fail_for_engine("run", &run->error,
                      "The engine failed in the measured inferences from number %zu on", start);
    }
    print_samples("samples", "start", start, repeats ? at_ns : NO_TIME, &taken);
    pace_ns = mean(&taken);
    at_ns = now_ns() - began_ns;
  }
  free(part);
  samples_free(&taken);
}

static void print_usage(usage *before) {
  text counters = {0};
  usage_between(before, usage_now(), &counters);
  event line = event_new("usage");
  event_json(&line, "counters", counters.bytes);
  event_print(&line);
  text_free(&counters);
}

static void print_output(running *run, size_t index) {
  const job_model *model = &run->todo->models[index];
  const mvdeploy_tensor *tensors;
  size_t count;
  char hex[SHA256_HEX];
  text shapes = {0}, files = {0};
  if (!run->engines[index]->outputs(run->calls[index].session, &tensors, &count, &run->error)) {
    fail_for_engine("run", &run->error, "The outputs of %s could not be read", model->path);
  }
  const mvdeploy_tensor **sorted = outputs_sorted(tensors, count);
  outputs_sum(sorted, count, hex);
  outputs_shapes(sorted, count, &shapes);
  outputs_save(sorted, count, model->outputs_to, &files);
  event output = event_new("output");
  event_integer(&output, "model", (int64_t)index);
  event_string(&output, "sha256", hex);
  event_json(&output, "shape", shapes.bytes);
  event_boolean(&output, "finite", outputs_finite(sorted, count));
  event_json(&output, "files", files.bytes);
  event_integer(&output, "memory", process_resident());
  event_print(&output);
  text_free(&shapes);
  text_free(&files);
  free(sorted);
}

static void finish_profile(running *run, size_t index) {
  const job_model *model = &run->todo->models[index];
  char path[4096];
  if (model->profile_to == NULL) {
    return;
  }
  if (!run->engines[index]->end_profile(run->calls[index].session, path, sizeof path,
                                        &run->error)) {
    fail_for_engine("run", &run->error, "%s could not write the profile of %s", model->engine,
                    model->path);
  }
  event profile = event_new("profile");
  event_integer(&profile, "model", (int64_t)index);
  event_string(&profile, "path", path);
  event_print(&profile);
}

static void finish(running *run) {
  size_t count = run->todo->model_count;
  for (size_t i = 0; i < count; i++) {
    print_output(run, i);
  }
  for (size_t i = 0; i < count; i++) {
    finish_profile(run, i);
  }
  event done = event_new("done");
  event_integer(&done, "peak_memory", process_peak_memory());
  event_print(&done);
  for (size_t i = 0; i < count; i++) {
    run->engines[i]->close(run->calls[i].session);
  }
}

void run_job(const job *todo, const char *plugins) {
  running run = {.todo = todo};
  run.engines = memory_take(todo->model_count, sizeof *run.engines);
  run.calls = memory_take(todo->model_count, sizeof *run.calls);
  process_bind(todo->cores, todo->core_count);
  start_engines(&run, plugins);
  for (size_t i = 0; i < todo->model_count; i++) {
    load(&run, i);
  }
  int64_t pace_ns = warm_all(&run);
  usage *before = usage_now();
  measure(&run, pace_ns);
  print_usage(before);
  finish(&run);
  free(run.engines);
  free(run.calls);
}
