/* Holds onnxruntime_abi.h against the real header. Only compiled, when there is one. */
#include "onnxruntime_c_api.h"

#include "onnxruntime_abi.h"

#define CHECK_PLACE(place, name, result, arguments)                    \
  _Static_assert(offsetof(OrtApi, name) == (place) * sizeof(ort_function), \
                 #name " is at another place of the table");
ORT_FUNCTIONS(CHECK_PLACE)

_Static_assert(ORT_API_VERSION >= ORT_API, "the header is older than the table that is asked for");
_Static_assert(offsetof(OrtApiBase, GetVersionString) == sizeof(ort_function),
               "the base has another order");
_Static_assert(ORT_LOGGING_LEVEL_ERROR == ORT_LOG_ERROR, "another number of the log level");
_Static_assert((int)ORT_ENABLE_ALL == ORT_LEVEL_ALL, "another number of the optimisation level");
_Static_assert((int)ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT == 1, "another number of float32");
_Static_assert((int)ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128 == 15, "another number of complex128");
