#include "outputs.h"

#include <stdlib.h>
#include <string.h>

#include "dtypes.h"
#include "events.h"
#include "memory.h"
#include "npy.h"
#include "process.h"

static int compare(const void *left, const void *right) {
  const mvdeploy_tensor *a = *(const mvdeploy_tensor *const *)left;
  const mvdeploy_tensor *b = *(const mvdeploy_tensor *const *)right;
  return strcmp(a->name, b->name);
}

const mvdeploy_tensor **outputs_sorted(const mvdeploy_tensor *tensors, size_t count) {
  const mvdeploy_tensor **sorted = memory_take(count, sizeof *sorted);
  for (size_t i = 0; i < count; i++) {
    sorted[i] = &tensors[i];
  }
  qsort(sorted, count, sizeof *sorted, compare);
  return sorted;
}

void outputs_sum(const mvdeploy_tensor *const *tensors, size_t count, char hex[SHA256_HEX]) {
  sha256 sum;
  sha256_start(&sum);
  for (size_t i = 0; i < count; i++) {
    sha256_add(&sum, tensors[i]->data, tensors[i]->bytes);
  }
  sha256_end(&sum, hex);
}

void outputs_shapes(const mvdeploy_tensor *const *tensors, size_t count, text *into) {
  text_add(into, "{");
  for (size_t i = 0; i < count; i++) {
    text_key(into, tensors[i]->name);
    text_integers(into, tensors[i]->shape, tensors[i]->rank);
  }
  text_add(into, "}");
}

/* A number is not finite when all bits of its exponent are set. */
static bool is_finite(const unsigned char *number, size_t size) {
  static const uint64_t masks[] = {[2] = 0x7c00, [4] = 0x7f800000, [8] = 0x7ff0000000000000};
  uint64_t bits = 0;
  for (size_t i = 0; i < size; i++) {
    bits |= (uint64_t)number[i] << (8 * i);
  }
  return (bits & masks[size]) != masks[size];
}

static bool tensor_finite(const mvdeploy_tensor *tensor) {
  const dtype *type = dtype_named(tensor->dtype);
  size_t size = type ? type->real_size : 0;
  for (size_t at = 0; size > 0 && at + size <= tensor->bytes; at += size) {
    if (!is_finite((const unsigned char *)tensor->data + at, size)) {
      return false;
    }
  }
  return true;
}

bool outputs_finite(const mvdeploy_tensor *const *tensors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!tensor_finite(tensors[i])) {
      return false;
    }
  }
  return true;
}

static void save_one(const mvdeploy_tensor *tensor, const char *path) {
  npy_problem problem;
  if (!npy_write(path, tensor, &problem)) {
    fail("run", FOLDER_REMEDY, "The output '%.200s' could not be saved to %s (%s).", tensor->name,
         path, problem.words);
  }
}

void outputs_save(const mvdeploy_tensor *const *tensors, size_t count, const char *folder,
                  text *into) {
  text_add(into, "{");
  if (folder != NULL) {
    process_make_folder(folder, "run", "the outputs");
  }
  for (size_t i = 0; folder != NULL && i < count; i++) {
    text path = {0};
    text_add(&path, folder);
    text_add(&path, "/");
    text_integer(&path, (int64_t)i);
    text_add(&path, ".npy");
    save_one(tensors[i], path.bytes);
    text_key(into, tensors[i]->name);
    text_quoted(into, path.bytes);
    text_free(&path);
  }
  text_add(into, "}");
}
