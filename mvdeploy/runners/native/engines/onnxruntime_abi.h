/* What is used of ONNX Runtime's C interface.
 *
 * Its wheels bring the library without a header. The table of functions that it hands out only
 * ever grows at its end, so a function is known by its place in it. onnxruntime_check.c holds this
 * list against the real header where there is one.
 */
#ifndef MVDEPLOY_ONNXRUNTIME_ABI_H
#define MVDEPLOY_ONNXRUNTIME_ABI_H

#include <stddef.h>
#include <stdint.h>

enum { ORT_API = 21 }; /* version of the table that is asked for: that of ONNX Runtime 1.21 */

typedef struct ort_status ort_status;
typedef struct ort_env ort_env;
typedef struct ort_options ort_options;
typedef struct ort_session ort_session;
typedef struct ort_run_options ort_run_options;
typedef struct ort_value ort_value;
typedef struct ort_shape ort_shape;
typedef struct ort_memory ort_memory;
typedef struct ort_allocator ort_allocator;
typedef struct ort_binding ort_binding;

enum {
  ORT_LOG_ERROR = 3,
  ORT_MODE_SEQUENTIAL = 0,
  ORT_LEVEL_ALL = 99,
  ORT_ALLOCATOR_DEVICE = 0,
  ORT_MEMORY_DEFAULT = 0
};

/* place, name, result, arguments; a result of ort_status * is NULL when all went well */
#define ORT_FUNCTIONS(X)                                                                          \
  X(2, GetErrorMessage, const char *, (const ort_status *))                                       \
  X(3, CreateEnv, ort_status *, (int level, const char *name, ort_env **))                        \
  X(7, CreateSession, ort_status *,                                                               \
    (const ort_env *, const char *path, const ort_options *, ort_session **))                     \
  X(10, CreateSessionOptions, ort_status *, (ort_options **))                                     \
  X(11, SetOptimizedModelFilePath, ort_status *, (ort_options *, const char *path))               \
  X(13, SetSessionExecutionMode, ort_status *, (ort_options *, int mode))                         \
  X(14, EnableProfiling, ort_status *, (ort_options *, const char *prefix))                       \
  X(22, SetSessionLogSeverityLevel, ort_status *, (ort_options *, int level))                     \
  X(23, SetSessionGraphOptimizationLevel, ort_status *, (ort_options *, int level))               \
  X(24, SetIntraOpNumThreads, ort_status *, (ort_options *, int threads))                         \
  X(25, SetInterOpNumThreads, ort_status *, (ort_options *, int threads))                         \
  X(31, SessionGetOutputCount, ort_status *, (const ort_session *, size_t *))                     \
  X(37, SessionGetOutputName, ort_status *,                                                       \
    (const ort_session *, size_t index, ort_allocator *, char **))                                \
  X(49, CreateTensorWithDataAsOrtValue, ort_status *,                                             \
    (const ort_memory *, void *data, size_t bytes, const int64_t *shape, size_t rank, int type,   \
     ort_value **))                                                                               \
  X(50, IsTensor, ort_status *, (const ort_value *, int *))                                       \
  X(51, GetTensorMutableData, ort_status *, (ort_value *, void **))                               \
  X(60, GetTensorElementType, ort_status *, (const ort_shape *, int *))                           \
  X(61, GetDimensionsCount, ort_status *, (const ort_shape *, size_t *))                          \
  X(62, GetDimensions, ort_status *, (const ort_shape *, int64_t *, size_t rank))                 \
  X(65, GetTensorTypeAndShape, ort_status *, (const ort_value *, ort_shape **))                   \
  X(69, CreateCpuMemoryInfo, ort_status *, (int allocator, int kind, ort_memory **))              \
  X(76, AllocatorFree, ort_status *, (ort_allocator *, void *))                                   \
  X(78, GetAllocatorWithDefaultOptions, ort_status *, (ort_allocator **))                         \
  X(93, ReleaseStatus, void, (ort_status *))                                                      \
  X(94, ReleaseMemoryInfo, void, (ort_memory *))                                                  \
  X(95, ReleaseSession, void, (ort_session *))                                                    \
  X(96, ReleaseValue, void, (ort_value *))                                                        \
  X(99, ReleaseTensorTypeAndShapeInfo, void, (ort_shape *))                                       \
  X(100, ReleaseSessionOptions, void, (ort_options *))                                            \
  X(110, SessionEndProfiling, ort_status *, (ort_session *, ort_allocator *, char **))            \
  X(130, AddSessionConfigEntry, ort_status *, (ort_options *, const char *, const char *))        \
  X(133, RunWithBinding, ort_status *,                                                            \
    (ort_session *, const ort_run_options *, const ort_binding *))                                \
  X(134, CreateIoBinding, ort_status *, (ort_session *, ort_binding **))                          \
  X(135, ReleaseIoBinding, void, (ort_binding *))                                                 \
  X(136, BindInput, ort_status *, (ort_binding *, const char *name, const ort_value *))           \
  X(138, BindOutputToDevice, ort_status *, (ort_binding *, const char *name, const ort_memory *)) \
  X(140, GetBoundOutputValues, ort_status *,                                                      \
    (const ort_binding *, ort_allocator *, ort_value ***, size_t *count))

#define ORT_MEMBER(place, name, result, arguments) result(*name) arguments;
typedef struct ort_api {
  ORT_FUNCTIONS(ORT_MEMBER)
} ort_api;
#undef ORT_MEMBER

typedef void (*ort_function)(void);

typedef struct ort_api_base {
  const ort_function *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} ort_api_base;

#endif
