#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

void text_free(text *into) {
  free(into->bytes);
  memset(into, 0, sizeof *into);
}

static void add_byte(text *into, char byte) {
  into->bytes = memory_grow(into->bytes, into->size + 1, &into->capacity, 1);
  into->bytes[into->size++] = byte;
  into->bytes[into->size] = '\0';
}

void text_bytes(text *into, const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    add_byte(into, bytes[i]);
  }
}

void text_add(text *into, const char *string) {
  text_bytes(into, string, strlen(string));
}

void text_integer(text *into, int64_t value) {
  char digits[32];
  snprintf(digits, sizeof digits, "%" PRId64, value);
  text_add(into, digits);
}

void text_real(text *into, double value) {
  char digits[64];
  snprintf(digits, sizeof digits, "%.12g", value);
  text_add(into, digits);
}

static void add_escaped(text *into, unsigned char byte) {
  char escape[8];
  if (byte == '"' || byte == '\\') {
    snprintf(escape, sizeof escape, "\\%c", byte);
  } else {
    snprintf(escape, sizeof escape, "\\u%04x", byte);
  }
  text_add(into, escape);
}

void text_quoted(text *into, const char *string) {
  const unsigned char *bytes = (const unsigned char *)string;
  size_t left = strlen(string);
  add_byte(into, '"');
  while (left > 0) {
    size_t length = utf8_length(bytes, left);
    if (length == 0) {
      text_add(into, "\\ufffd");
      length = 1;
    } else if (*bytes < 0x20 || *bytes == 0x7f || *bytes == '"' || *bytes == '\\') {
      add_escaped(into, *bytes);
    } else {
      text_bytes(into, (const char *)bytes, length);
    }
    bytes += length;
    left -= length;
  }
  add_byte(into, '"');
}

void text_key(text *into, const char *key) {
  text_add(into, into->size > 0 && into->bytes[into->size - 1] != '{' ? ", " : "");
  text_quoted(into, key);
  text_add(into, ": ");
}

void text_integers(text *into, const int64_t *values, size_t count) {
  add_byte(into, '[');
  for (size_t i = 0; i < count; i++) {
    if (i > 0) {
      text_add(into, ", ");
    }
    text_integer(into, values[i]);
  }
  add_byte(into, ']');
}

static size_t announced_length(unsigned char first) {
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xc2 && first <= 0xdf) {
    return 2;
  }
  if (first >= 0xe0 && first <= 0xef) {
    return 3;
  }
  return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

size_t utf8_length(const unsigned char *bytes, size_t left) {
  size_t length = left ? announced_length(bytes[0]) : 0;
  if (length > left) {
    return 0;
  }
  for (size_t i = 1; i < length; i++) {
    if ((bytes[i] & 0xc0) != 0x80) {
      return 0;
    }
  }
  if (length < 3) {
    return length;
  }
  /* Not in the shortest form, a half of a surrogate pair, or beyond U+10FFFF. */
  unsigned char first = bytes[0], second = bytes[1];
  bool wrong = (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
               (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
  return wrong ? 0 : length;
}
