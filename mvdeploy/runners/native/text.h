/* Text that grows, and JSON in it. */
#ifndef MVDEPLOY_TEXT_H
#define MVDEPLOY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct text {
  char *bytes; /* ends with a zero that `size` does not count */
  size_t size;
  size_t capacity;
} text;

void text_free(text *into);
void text_bytes(text *into, const char *bytes, size_t size);
void text_add(text *into, const char *string);
void text_integer(text *into, int64_t value);
void text_real(text *into, double value);

/* Add a string in quotation marks; bytes that are no UTF-8 become U+FFFD. */
void text_quoted(text *into, const char *string);

/* Add the key of an object's member, with a comma before it unless it is the first. */
void text_key(text *into, const char *key);

/* Add a list of integers. */
void text_integers(text *into, const int64_t *values, size_t count);

/* Return the length of the UTF-8 character at `bytes`, 0 if there is none. */
size_t utf8_length(const unsigned char *bytes, size_t left);

#endif
