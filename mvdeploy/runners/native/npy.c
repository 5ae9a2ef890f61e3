#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dtypes.h"
#include "memory.h"
#include "text.h"

static const char MAGIC[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

enum {
  HEADER_LIMIT = 65536,
  RANK_LIMIT = 16,
  ALIGNMENT = 64,
  START = 10,
  LENGTH_DIGITS = 21,
  PATH_LIMIT = 4096
};

static bool wrong(npy_problem *problem, const char *words) {
  snprintf(problem->words, sizeof problem->words, "%s", words);
  return false;
}

/* The header is the text of a Python dictionary; this reads those that NumPy writes. */
typedef struct header {
  char description[8];
  bool described;
  bool fortran_order;
  bool ordered;
  int64_t shape[RANK_LIMIT];
  size_t rank;
  bool shaped;
} header;

static void skip_space(const char **at) {
  *at += strspn(*at, " \n\t");
}

static bool take(const char **at, const char *word) {
  skip_space(at);
  size_t size = strlen(word);
  if (strncmp(*at, word, size) != 0) {
    return false;
  }
  *at += size;
  return true;
}

static bool read_description(const char **at, header *into) {
  skip_space(at);
  char quote = **at;
  if (quote != '\'' && quote != '"') {
    return false;
  }
  const char *end = strchr(++*at, quote);
  if (end == NULL || (size_t)(end - *at) >= sizeof into->description) {
    return false;
  }
  memcpy(into->description, *at, (size_t)(end - *at));
  into->description[end - *at] = '\0';
  *at = end + 1;
  return into->described = true;
}

static bool read_order(const char **at, header *into) {
  into->fortran_order = take(at, "True");
  return into->ordered = into->fortran_order || take(at, "False");
}

static bool read_length(const char **at, int64_t *length) {
  skip_space(at);
  char *end;
  if (**at < '0' || **at > '9') {
    return false;
  }
  errno = 0;
  long long value = strtoll(*at, &end, 10);
  *at = end;
  *length = value;
  return errno == 0;
}

static bool read_shape(const char **at, header *into) {
  if (!take(at, "(")) {
    return false;
  }
  while (!take(at, ")")) {
    if (into->rank == RANK_LIMIT || !read_length(at, &into->shape[into->rank])) {
      return false;
    }
    into->rank++;
    if (!take(at, ",") && **at != ')') {
      return false;
    }
  }
  return into->shaped = true;
}

static bool read_entry(const char **at, header *into) {
  if (take(at, "'descr':")) {
    return !into->described && read_description(at, into);
  }
  if (take(at, "'fortran_order':")) {
    return !into->ordered && read_order(at, into);
  }
  return take(at, "'shape':") && !into->shaped && read_shape(at, into);
}

static bool parse_header(const char *at, header *into) {
  if (!take(&at, "{")) {
    return false;
  }
  while (!take(&at, "}")) {
    if (!read_entry(&at, into) || (!take(&at, ",") && *at != '}')) {
      return false;
    }
  }
  skip_space(&at);
  return *at == '\0' && into->described && into->ordered && into->shaped;
}

static char *read_header_text(FILE *file, npy_problem *problem) {
  unsigned char start[START + 2];
  if (fread(start, 1, START, file) != START || memcmp(start, MAGIC, sizeof MAGIC) != 0) {
    wrong(problem, "it is no NumPy .npy file");
    return NULL;
  }
  size_t size = (size_t)start[8] | (size_t)start[9] << 8;
  if (start[6] == 2 || start[6] == 3) {
    if (fread(start + START, 1, 2, file) != 2) {
      wrong(problem, "it ends too early");
      return NULL;
    }
    size |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
  }
  if (start[6] < 1 || start[6] > 3 || start[7] != 0) {
    wrong(problem, "it is of a version of the .npy format that is not known");
    return NULL;
  }
  if (size > HEADER_LIMIT) {
    wrong(problem, "its header is too long");
    return NULL;
  }
  char *bytes = memory_take(size + 1, 1);
  if (fread(bytes, 1, size, file) != size || strlen(bytes) != size) {
    free(bytes);
    wrong(problem, "its header is not whole");
    return NULL;
  }
  return bytes;
}

static const dtype *type_of(const header *about, npy_problem *problem) {
  const char *description = about->description;
  const dtype *type = *description ? dtype_described(description + 1) : NULL;
  bool native = type != NULL && (*description == '<' || *description == '=' ||
                                 (*description == '|' && type->size == 1));
  if (!native) {
    snprintf(problem->words, sizeof problem->words, "its element type %s cannot be used",
             description);
    return NULL;
  }
  return type;
}

static bool read_data(FILE *file, const header *about, mvdeploy_tensor *into,
                      npy_problem *problem) {
  const dtype *type = type_of(about, problem);
  if (type == NULL) {
    return false;
  }
  if (about->fortran_order && about->rank > 1) {
    return wrong(problem, "it is in Fortran order");
  }
  struct stat status;
  long start = ftell(file);
  if (start < 0 || fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) {
    return wrong(problem, "it is no regular file");
  }
  if (!dtype_bytes(type, about->shape, about->rank, &into->bytes) ||
      into->bytes != (uint64_t)status.st_size - (uint64_t)start) {
    return wrong(problem, "its size is not that of the tensor which it announces");
  }
  int64_t *shape = memory_take(about->rank, sizeof *shape);
  memcpy(shape, about->shape, about->rank * sizeof *shape);
  into->shape = shape;
  into->rank = about->rank;
  into->dtype = type->name;
  into->data = memory_take_aligned(into->bytes);
  return fread(into->data, 1, into->bytes, file) == into->bytes ||
         wrong(problem, "it cannot be read to its end");
}

static bool read_file(FILE *file, mvdeploy_tensor *into, npy_problem *problem) {
  header about = {.rank = 0};
  char *bytes = read_header_text(file, problem);
  if (bytes == NULL) {
    return false;
  }
  bool good = parse_header(bytes, &about);
  free(bytes);
  return good ? read_data(file, &about, into, problem)
              : wrong(problem, "its header is not one that NumPy writes for a tensor");
}

bool npy_read(const char *path, const char *name, mvdeploy_tensor *into, npy_problem *problem) {
  memset(into, 0, sizeof *into);
  into->name = name;
  FILE *file = fopen(path, "rbe");
  if (file == NULL) {
    return wrong(problem, strerror(errno));
  }
  bool good = read_file(file, into, problem);
  fclose(file);
  return good;
}

/* Write the header that NumPy writes, byte for byte. */
static void add_header(const mvdeploy_tensor *tensor, const dtype *type, text *into) {
  text_add(into, "{'descr': '");
  text_add(into, type->size == 1 ? "|" : "<");
  text_add(into, type->description);
  text_add(into, "', 'fortran_order': False, 'shape': (");
  for (size_t i = 0; i < tensor->rank; i++) {
    text_add(into, i ? ", " : "");
    text_integer(into, tensor->shape[i]);
  }
  text_add(into, tensor->rank == 1 ? ",), }" : "), }");
  /* Room for the first length to grow to any number. */
  char digits[32];
  int size = LENGTH_DIGITS;
  if (tensor->rank > 0) {
    size = snprintf(digits, sizeof digits, "%" PRId64, tensor->shape[0]);
  }
  for (; size < LENGTH_DIGITS; size++) {
    text_add(into, " ");
  }
  do {
    text_add(into, " ");
  } while ((START + into->size + 1) % ALIGNMENT != 0);
  text_add(into, "\n");
}

static bool write_file(FILE *file, const mvdeploy_tensor *tensor, const text *about) {
  unsigned char start[START] = {0};
  memcpy(start, MAGIC, sizeof MAGIC);
  start[6] = 1;
  start[8] = (unsigned char)(about->size & 0xff);
  start[9] = (unsigned char)(about->size >> 8);
  return fwrite(start, 1, START, file) == START &&
         fwrite(about->bytes, 1, about->size, file) == about->size &&
         (tensor->bytes == 0 || fwrite(tensor->data, 1, tensor->bytes, file) == tensor->bytes);
}

bool npy_write(const char *path, const mvdeploy_tensor *tensor, npy_problem *problem) {
  const dtype *type = dtype_named(tensor->dtype);
  if (type == NULL) {
    return wrong(problem, "NumPy has no such element type");
  }
  char part[PATH_LIMIT];
  if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part) {
    return wrong(problem, strerror(ENAMETOOLONG));
  }
  FILE *file = fopen(part, "wbe");
  if (file == NULL) {
    return wrong(problem, strerror(errno));
  }
  text about = {0};
  add_header(tensor, type, &about);
  bool written = write_file(file, tensor, &about);
  int failure = errno;
  text_free(&about);
  /* A full disk may only be told of here. */
  if (fclose(file) != 0 && written) {
    written = false;
    failure = errno;
  }
  if (written && rename(part, path) == 0) {
    return true;
  }
  failure = written ? errno : failure;
  remove(part);
  return wrong(problem, strerror(failure));
}
