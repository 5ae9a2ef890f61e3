/* What an engine plug-in is to the runner.
 *
 * An engine is engines/NAME.c or .cpp; engines/NAME.cmake says what else it is built of. It becomes
 * libmvdeploy_NAME.so, which exports `mvdeploy_engine_interface`; the runner finds that beside
 * itself and knows nothing else of it.
 * Nothing here is called by two threads at a time.
 */
#ifndef MVDEPLOY_ENGINE_H
#define MVDEPLOY_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rises with every change of this file. */
#define MVDEPLOY_ENGINE_VERSION 2

/* A tensor in C order. */
typedef struct mvdeploy_tensor {
  const char *name;
  const char *dtype; /* NumPy's name of the element type: "float32" */
  size_t rank;
  const int64_t *shape;
  void *data;
  size_t bytes;
} mvdeploy_tensor;

/* Why something failed. */
typedef struct mvdeploy_error {
  char reason[1024]; /* half a sentence, without a full stop */
  char remedy[512];  /* one sentence on what to do; empty for the runner's own */
} mvdeploy_error;

/* A name and what it stands for. */
typedef struct mvdeploy_entry {
  const char *name;
  const char *value;
} mvdeploy_entry;

/* Names are not there twice. */
typedef struct mvdeploy_entries {
  const mvdeploy_entry *items;
  size_t count;
} mvdeploy_entries;

typedef enum mvdeploy_kind {
  MVDEPLOY_TEXT,
  MVDEPLOY_INTEGER,
  MVDEPLOY_THREADS, /* the integer is the job's number of threads */
  MVDEPLOY_OPTION,  /* text; a job may choose another */
} mvdeploy_kind;

/* A condition that sessions run under. */
typedef struct mvdeploy_setting {
  const char *name;
  mvdeploy_kind kind;
  const char *value; /* as text; the default of an option */
} mvdeploy_setting;

/* What a session is asked for. The inputs stay where they are for as long as it lives. */
typedef struct mvdeploy_request {
  const char *path;
  const mvdeploy_tensor *inputs; /* in the program's order */
  size_t input_count;
  const char *const *outputs; /* names in the program's order, for files that have none */
  size_t output_count;        /* 0 when they are not known: then output_0, output_1 and so on */
  int threads;
  mvdeploy_entries options;   /* of the settings, those that are chosen */
  const char *profile_folder; /* exists; NULL for no profile */
} mvdeploy_request;

typedef struct mvdeploy_session mvdeploy_session;

/* What returns bool is false, and what returns a pointer is NULL, when it failed and said why. */
typedef struct mvdeploy_engine {
  int interface_version; /* MVDEPLOY_ENGINE_VERSION */

  /* Load the engine's own libraries; everything else comes after. */
  bool (*start)(mvdeploy_error *error);

  const char *(*version)(void);

  /* What sessions are opened with; ends with one that has no name. */
  const mvdeploy_setting *settings;

  mvdeploy_session *(*load)(const mvdeploy_request *request, mvdeploy_error *error);

  /* Run one inference. */
  bool (*infer)(mvdeploy_session *session, mvdeploy_error *error);

  /* Give the output tensors of the last inference; they are the session's. */
  bool (*outputs)(mvdeploy_session *session, const mvdeploy_tensor **tensors, size_t *count,
                  mvdeploy_error *error);

  /* Write the profile of a session that was opened with one, and give its path. */
  bool (*end_profile)(mvdeploy_session *session, char *path, size_t size, mvdeploy_error *error);

  void (*close)(mvdeploy_session *session);
} mvdeploy_engine;

#define MVDEPLOY_ENGINE_SYMBOL "mvdeploy_engine_interface"

__attribute__((visibility("default"))) const mvdeploy_engine *mvdeploy_engine_interface(void);

#ifdef __cplusplus
}
#endif

#endif
