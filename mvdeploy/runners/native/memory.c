#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"

enum { ALIGNMENT = 64 };

/* Print an ``error`` event that takes no memory, and end the process. */
static _Noreturn void run_out(void) {
  static const char line[] = "{\"event\": \"error\", \"kind\": \"memory\", "
                             "\"message\": \"The runner's memory ran out.\", "
                             "\"remedy\": \"" MEMORY_REMEDY "\"}\n";
  channel_write(line, sizeof line - 1);
  _exit(EXIT_FAILED);
}

static void *given(void *memory) {
  if (memory == NULL) {
    run_out();
  }
  return memory;
}

void *memory_take(size_t count, size_t size) {
  return given(calloc(count ? count : 1, size ? size : 1));
}

void *memory_take_aligned(size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, ALIGNMENT, bytes ? bytes : 1) != 0) {
    run_out();
  }
  return memory;
}

void *memory_grow(void *array, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) {
    return array;
  }
  size_t wanted = *capacity ? 2 * *capacity : 16;
  if (wanted < *capacity || wanted > (size_t)-1 / size) {
    run_out();
  }
  *capacity = wanted;
  return given(realloc(array, wanted * size));
}

char *memory_copy_text(const char *string) {
  return given(strdup(string));
}
