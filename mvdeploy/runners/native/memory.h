/* Memory that is either there, or the job has failed. */
#ifndef MVDEPLOY_MEMORY_H
#define MVDEPLOY_MEMORY_H

#include <stddef.h>

/* What to do when there is not enough. */
#define MEMORY_REMEDY "Free memory, or use a smaller model, batch or image size."

/* Return `count` times `size` bytes, all zero. */
void *memory_take(size_t count, size_t size);

/* Return `bytes` bytes at an address that suits vector instructions. */
void *memory_take_aligned(size_t bytes);

/* Make room for one element more than `count`, in an array that has room for `*capacity`. */
void *memory_grow(void *array, size_t count, size_t *capacity, size_t size);

char *memory_copy_text(const char *string);

#endif
