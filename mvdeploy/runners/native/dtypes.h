/* Element types, as NumPy names and describes them. Plug-ins of engines may use them too. */
#ifndef MVDEPLOY_DTYPES_H
#define MVDEPLOY_DTYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dtype {
  const char *name;        /* "float32" */
  const char *description; /* in a .npy file, without the byte order: "f4" */
  size_t size;             /* bytes */
  size_t real_size;        /* of each floating-point number in it; 0 for other types */
} dtype;

/* Return the type of a name, or of a description; NULL if there is none. */
const dtype *dtype_named(const char *name);
const dtype *dtype_described(const char *description);

/* Tell the bytes of a tensor; false if there is no such tensor. */
bool dtype_bytes(const dtype *type, const int64_t *shape, size_t rank, size_t *bytes);

#endif
