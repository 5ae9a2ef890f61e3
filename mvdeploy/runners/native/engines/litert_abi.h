/* What is used of LiteRT's C interface.
 *
 * Its packages bring the library without headers. mvdeploy/engines/litert/library.py declares the
 * same for Python.
 */
#ifndef MVDEPLOY_LITERT_ABI_H
#define MVDEPLOY_LITERT_ABI_H

#include <stddef.h>
#include <stdint.h>

enum { RT_RANK_LIMIT = 8, RT_RANK_BITS = 0x7F };

typedef struct rt_type {
  int32_t element;
  uint32_t rank_bits; /* the bit above those of the rank says whether there are strides */
  int32_t sizes[RT_RANK_LIMIT];
  uint32_t strides[RT_RANK_LIMIT];
} rt_type;

typedef struct rt_event {
  const char *tag;
  int32_t type;
  uint64_t start_us;
  uint64_t elapsed_us;
  size_t memory[6];
  uint64_t index;
  uint64_t more;
  int32_t source;
} rt_event;

typedef struct rt_environment_option {
  int32_t tag;
  struct {
    int32_t type;
    int64_t value;
  } any;
} rt_environment_option;

enum {
  RT_ACCELERATORS = 24, /* options of an environment */
  RT_SEVERITY = 25,
  RT_INTEGER = 2, /* the type of their values */
  RT_CPU = 1,
  RT_SILENT = 4,
  RT_HOST_MEMORY = 1,
  RT_READ = 0,
  RT_WRITE = 1,
  RT_NO_MEMORY = 2, /* what functions return */
  RT_WHOLE = 1,     /* types of events */
  RT_ALONE = 2,
  RT_DELEGATED = 8
};

typedef struct rt_handle *rt_handle;

/* name, arguments; those of this list return 0 when all went well */
#define RT_FUNCTIONS(X)                                                                      \
  X(CreateEnvironment, (int count, const rt_environment_option *, rt_handle *))              \
  X(CreateModelFromBuffer, (rt_handle environment, const void *, size_t, rt_handle *))       \
  X(GetModelSignature, (rt_handle model, size_t index, rt_handle *))                         \
  X(GetNumSignatureInputs, (rt_handle signature, size_t *))                                  \
  X(GetNumSignatureOutputs, (rt_handle signature, size_t *))                                 \
  X(GetSignatureInputName, (rt_handle signature, size_t index, const char **))               \
  X(GetSignatureOutputName, (rt_handle signature, size_t index, const char **))              \
  X(GetSignatureInputTensorByIndex, (rt_handle signature, size_t index, rt_handle *))        \
  X(GetSignatureOutputTensorByIndex, (rt_handle signature, size_t index, rt_handle *))       \
  X(GetRankedTensorType, (rt_handle tensor, rt_type *))                                      \
  X(CreateOptions, (rt_handle *))                                                            \
  X(SetOptionsHardwareAccelerators, (rt_handle options, int))                                \
  X(CreateOpaqueOptions,                                                                     \
    (const char *reader, void *text, void (*release)(void *), rt_handle *))                  \
  X(AddOpaqueOptions, (rt_handle options, rt_handle more))                                   \
  X(CreateCompiledModel, (rt_handle environment, rt_handle model, rt_handle options,         \
                          rt_handle *))                                                      \
  X(CompiledModelGetErrorMessages, (rt_handle compiled, char **))                            \
  X(CompiledModelGetProfiler, (rt_handle compiled, rt_handle *))                             \
  X(StartProfiler, (rt_handle profiler))                                                     \
  X(StopProfiler, (rt_handle profiler))                                                      \
  X(GetNumProfilerEvents, (rt_handle profiler, int *))                                       \
  X(GetProfilerEvents, (rt_handle profiler, int count, rt_event *))                          \
  X(CreateManagedTensorBuffer, (rt_handle environment, int kind, const rt_type *,            \
                                size_t bytes, rt_handle *))                                  \
  X(LockTensorBuffer, (rt_handle buffer, void **, int mode))                                 \
  X(UnlockTensorBuffer, (rt_handle buffer))                                                  \
  X(RunCompiledModel, (rt_handle compiled, size_t signature, size_t input_count,             \
                       rt_handle *inputs, size_t output_count, rt_handle *outputs))

/* name; these return nothing */
#define RT_RELEASES(X) \
  X(DestroyModel)      \
  X(DestroyOptions)    \
  X(DestroyCompiledModel) \
  X(DestroyTensorBuffer)

#define RT_MEMBER(name, arguments) int(*name) arguments;
#define RT_RELEASE(name) void (*name)(rt_handle);
typedef struct rt_api {
  RT_FUNCTIONS(RT_MEMBER)
  RT_RELEASES(RT_RELEASE)
} rt_api;
#undef RT_MEMBER
#undef RT_RELEASE

#endif
