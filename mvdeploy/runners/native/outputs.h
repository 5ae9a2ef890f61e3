/* What is told of the outputs of a session. */
#ifndef MVDEPLOY_OUTPUTS_H
#define MVDEPLOY_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine.h"
#include "sha256.h"
#include "text.h"

/* Bring tensors into the order of their names. The result is to be freed. */
const mvdeploy_tensor **outputs_sorted(const mvdeploy_tensor *tensors, size_t count);

/* Write the SHA-256 of the tensors' bytes, one after the other. */
void outputs_sum(const mvdeploy_tensor *const *tensors, size_t count, char hex[SHA256_HEX]);

/* Write their shapes by name, as a JSON object. */
void outputs_shapes(const mvdeploy_tensor *const *tensors, size_t count, text *into);

/* Whether all their floating-point numbers are finite. */
bool outputs_finite(const mvdeploy_tensor *const *tensors, size_t count);

/* Save each as FOLDER/POSITION.npy, and write the files by name, as a JSON object; fails when that
 * cannot be done. Without a folder nothing is saved. */
void outputs_save(const mvdeploy_tensor *const *tensors, size_t count, const char *folder,
                  text *into);

#endif
