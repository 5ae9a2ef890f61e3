/* NumPy's .npy files: one tensor, in C order and little-endian. */
#ifndef MVDEPLOY_NPY_H
#define MVDEPLOY_NPY_H

#include <stdbool.h>

#include "engine.h"

/* What is wrong with a file, in half a sentence. */
typedef struct npy_problem {
  char words[160];
} npy_problem;

/* Read a file; false if it cannot be used. The tensor's memory is kept until the process ends. */
bool npy_read(const char *path, const char *name, mvdeploy_tensor *into, npy_problem *problem);

/* Write a file, which is there whole or not at all; false if that fails. */
bool npy_write(const char *path, const mvdeploy_tensor *tensor, npy_problem *problem);

#endif
