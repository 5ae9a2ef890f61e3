/* What an engine plug-in is to the runner.
 *
 * An engine is one file in engines/. It is built into libmvdeploy_NAME.so, which exports
 * `mvdeploy_engine_interface`; the runner finds it beside itself and knows nothing else of it.
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
#define MVDEPLOY_ENGINE_VERSION 1

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

typedef struct mvdeploy_session mvdeploy_session;

/* What returns bool is false, and what returns a pointer is NULL, when it failed and said why. */
typedef struct mvdeploy_engine {
  int interface_version; /* MVDEPLOY_ENGINE_VERSION */

  /* Load the engine's own libraries; everything else comes after. */
  bool (*start)(mvdeploy_error *error);

  const char *(*version)(void);

  /* Write what sessions are opened with, as the text of a JSON object. */
  void (*options)(int threads, char *text, size_t size);

  /* Open a session. The inputs stay where they are for as long as it lives. A profile is written
   * to an existing folder, or not at all if that is NULL. */
  mvdeploy_session *(*load)(const char *path, const mvdeploy_tensor *inputs, size_t count,
                            int threads, const char *profile_folder, mvdeploy_error *error);

  /* Run one inference. */
  bool (*infer)(mvdeploy_session *session, mvdeploy_error *error);

  /* Give the output tensors of the last inference; they are the session's. */
  bool (*outputs)(mvdeploy_session *session, const mvdeploy_tensor **tensors, size_t *count,
                  mvdeploy_error *error);

  /* Write the profile, and give its path. */
  bool (*end_profile)(mvdeploy_session *session, char *path, size_t size, mvdeploy_error *error);

  void (*close)(mvdeploy_session *session);
} mvdeploy_engine;

#define MVDEPLOY_ENGINE_SYMBOL "mvdeploy_engine_interface"

__attribute__((visibility("default"))) const mvdeploy_engine *mvdeploy_engine_interface(void);

#ifdef __cplusplus
}
#endif

#endif
