#include "dtypes.h"

#include <string.h>

static const dtype TYPES[] = {
    {"bool", "b1", 1, 0},     {"int8", "i1", 1, 0},      {"uint8", "u1", 1, 0},
    {"int16", "i2", 2, 0},    {"uint16", "u2", 2, 0},    {"int32", "i4", 4, 0},
    {"uint32", "u4", 4, 0},   {"int64", "i8", 8, 0},     {"uint64", "u8", 8, 0},
    {"float16", "f2", 2, 2},  {"float32", "f4", 4, 4},   {"float64", "f8", 8, 8},
    {"complex64", "c8", 8, 4}, {"complex128", "c16", 16, 8},
};

enum { TYPE_COUNT = sizeof TYPES / sizeof *TYPES };

const dtype *dtype_named(const char *name) {
  for (size_t i = 0; i < TYPE_COUNT; i++) {
    if (strcmp(TYPES[i].name, name) == 0) {
      return &TYPES[i];
    }
  }
  return NULL;
}

const dtype *dtype_described(const char *description) {
  for (size_t i = 0; i < TYPE_COUNT; i++) {
    if (strcmp(TYPES[i].description, description) == 0) {
      return &TYPES[i];
    }
  }
  return NULL;
}

bool dtype_bytes(const dtype *type, const int64_t *shape, size_t rank, size_t *bytes) {
  *bytes = type->size;
  for (size_t i = 0; i < rank; i++) {
    if (shape[i] < 0 || __builtin_mul_overflow(*bytes, (size_t)shape[i], bytes)) {
      return false;
    }
  }
  return true;
}
