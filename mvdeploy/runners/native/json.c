#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "text.h"

enum { DEPTH_LIMIT = 64 };

typedef struct reader {
  const char *at;
  const char *end;
  int depth;
  const char *problem;
} reader;

static bool read_value(reader *from, json_value *into);

static bool wrong(reader *from, const char *problem) {
  if (from->problem == NULL) {
    from->problem = problem;
  }
  return false;
}

/* The text ends with a zero byte, so looking at `*from->at` is always allowed. */
static void skip_space(reader *from) {
  while (from->at < from->end && strchr(" \t\n\r", *from->at) != NULL && *from->at != '\0') {
    from->at++;
  }
}

static bool take(reader *from, char expected) {
  skip_space(from);
  if (from->at >= from->end || *from->at != expected) {
    return false;
  }
  from->at++;
  return true;
}

static bool read_hex(reader *from, unsigned *code) {
  *code = 0;
  for (int i = 0; i < 4; i++) {
    static const char digits[] = "0123456789abcdefABCDEF";
    char byte = *from->at;
    const char *digit = from->at < from->end && byte != '\0' ? strchr(digits, byte) : NULL;
    if (digit == NULL) {
      return wrong(from, "an escape in a string is no character");
    }
    unsigned value = (unsigned)(digit - digits);
    *code = *code * 16 + (value < 16 ? value : value - 6);
    from->at++;
  }
  return true;
}

static void add_character(text *into, unsigned code) {
  unsigned char bytes[4];
  size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = size; i-- > 1; code >>= 6) {
    bytes[i] = (unsigned char)(0x80 | (code & 0x3f));
  }
  bytes[0] = (unsigned char)(marks[size] | code);
  text_bytes(into, (const char *)bytes, size);
}

static bool read_unicode(reader *from, text *into) {
  unsigned code, low;
  if (!read_hex(from, &code)) {
    return false;
  }
  if (code >= 0xd800 && code < 0xdc00) {
    if (from->end - from->at < 6 || from->at[0] != '\\' || from->at[1] != 'u') {
      return wrong(from, "a string has half a character");
    }
    from->at += 2;
    if (!read_hex(from, &low)) {
      return false;
    }
    if (low < 0xdc00 || low > 0xdfff) {
      return wrong(from, "a string has half a character");
    }
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code < 0xe000) {
    return wrong(from, "a string has half a character");
  } else if (code == 0) {
    return wrong(from, "a string has a zero byte");
  }
  add_character(into, code);
  return true;
}

static bool read_escape(reader *from, text *into) {
  static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  char name = *from->at++;
  if (name == 'u') {
    return read_unicode(from, into);
  }
  const char *found = name == '\0' ? NULL : strchr(names, name);
  if (found == NULL) {
    return wrong(from, "an escape in a string is no character");
  }
  text_bytes(into, meanings + (found - names), 1);
  return true;
}

static bool read_characters(reader *from, text *into) {
  while (from->at < from->end && *from->at != '"') {
    size_t length = utf8_length((const unsigned char *)from->at, (size_t)(from->end - from->at));
    if (length == 0) {
      return wrong(from, "a string is no UTF-8");
    }
    if ((unsigned char)*from->at < 0x20) {
      return wrong(from, "a string has a control character");
    }
    if (*from->at == '\\') {
      from->at++;
      if (!read_escape(from, into)) {
        return false;
      }
      continue;
    }
    text_bytes(into, from->at, length);
    from->at += length;
  }
  return take(from, '"') || wrong(from, "a string does not end");
}

static bool read_string(reader *from, char **into) {
  text found = {0};
  if (!take(from, '"')) {
    return wrong(from, "a key is no string");
  }
  text_add(&found, "");
  if (!read_characters(from, &found)) {
    text_free(&found);
    return false;
  }
  *into = found.bytes ? found.bytes : memory_copy_text("");
  return true;
}

static size_t count_digits(const char *at) {
  return strspn(at, "0123456789");
}

/* Return the length of the number at `at`, 0 if there is none; tell whether it is an integer. */
static size_t number_length(const char *at, bool *integer) {
  const char *start = at;
  at += *at == '-';
  size_t digits = count_digits(at);
  if (digits == 0 || (digits > 1 && *at == '0')) {
    return 0;
  }
  at += digits;
  *integer = true;
  if (*at == '.') {
    *integer = false;
    digits = count_digits(++at);
    if (digits == 0) {
      return 0;
    }
    at += digits;
  }
  if (*at == 'e' || *at == 'E') {
    *integer = false;
    at++;
    at += *at == '+' || *at == '-';
    digits = count_digits(at);
    if (digits == 0) {
      return 0;
    }
    at += digits;
  }
  return (size_t)(at - start);
}

static bool read_number(reader *from, json_value *into) {
  bool integer = false;
  size_t length = number_length(from->at, &integer);
  if (length == 0) {
    return wrong(from, "there is something that is no value");
  }
  errno = 0;
  if (integer) {
    into->kind = JSON_INTEGER;
    into->integer = strtoll(from->at, NULL, 10);
  } else {
    into->kind = JSON_REAL;
    into->real = strtod(from->at, NULL);
  }
  bool too_large = integer ? errno == ERANGE : !isfinite(into->real);
  from->at += length;
  return !too_large || wrong(from, "a number is too large");
}

static bool read_word(reader *from, json_value *into) {
  static const struct {
    const char *word;
    json_kind kind;
    int value;
  } words[] = {{"null", JSON_NULL, 0}, {"true", JSON_BOOLEAN, 1}, {"false", JSON_BOOLEAN, 0}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t length = strlen(words[i].word);
    if (strncmp(from->at, words[i].word, length) == 0) {
      into->kind = words[i].kind;
      into->integer = words[i].value;
      from->at += length;
      return true;
    }
  }
  return read_number(from, into);
}

static bool read_array(reader *from, json_value *into) {
  size_t capacity = 0;
  into->kind = JSON_ARRAY;
  if (take(from, ']')) {
    return true;
  }
  do {
    into->items = memory_grow(into->items, into->count, &capacity, sizeof *into->items);
    memset(&into->items[into->count], 0, sizeof *into->items);
    if (!read_value(from, &into->items[into->count++])) {
      return false;
    }
  } while (take(from, ','));
  return take(from, ']') || wrong(from, "a list does not end");
}

static bool read_member(reader *from, json_value *into, size_t *capacity) {
  char *key = NULL;
  if (!read_string(from, &key)) {
    return false;
  }
  bool twice = json_member_of(into, key) != NULL;
  into->members = memory_grow(into->members, into->count, capacity, sizeof *into->members);
  json_member *member = &into->members[into->count++];
  memset(member, 0, sizeof *member);
  member->key = key;
  if (twice) {
    return wrong(from, "a key comes twice");
  }
  if (!take(from, ':')) {
    return wrong(from, "a key has no value");
  }
  return read_value(from, &member->value);
}

static bool read_object(reader *from, json_value *into) {
  size_t capacity = 0;
  into->kind = JSON_OBJECT;
  if (take(from, '}')) {
    return true;
  }
  do {
    if (!read_member(from, into, &capacity)) {
      return false;
    }
  } while (take(from, ','));
  return take(from, '}') || wrong(from, "an object does not end");
}

static bool read_nested(reader *from, json_value *into) {
  if (++from->depth > DEPTH_LIMIT) {
    return wrong(from, "it is nested too deeply");
  }
  bool good = take(from, '[') ? read_array(from, into)
                              : take(from, '{') && read_object(from, into);
  from->depth--;
  return good;
}

static bool read_value(reader *from, json_value *into) {
  skip_space(from);
  if (from->at >= from->end) {
    return wrong(from, "it ends too early");
  }
  switch (*from->at) {
  case '[':
  case '{':
    return read_nested(from, into);
  case '"':
    into->kind = JSON_STRING;
    return read_string(from, &into->string);
  default:
    return read_word(from, into);
  }
}

const char *json_read(const char *bytes, size_t size, json_value *into) {
  reader from = {.at = bytes, .end = bytes + size};
  memset(into, 0, sizeof *into);
  if (read_value(&from, into)) {
    skip_space(&from);
    if (from.at == from.end) {
      return NULL;
    }
    wrong(&from, "something comes after its end");
  }
  json_free(into);
  return from.problem;
}

void json_free(json_value *value) {
  if (value->kind == JSON_STRING) {
    free(value->string);
  } else if (value->kind == JSON_ARRAY) {
    for (size_t i = 0; i < value->count; i++) {
      json_free(&value->items[i]);
    }
    free(value->items);
  } else if (value->kind == JSON_OBJECT) {
    for (size_t i = 0; i < value->count; i++) {
      free(value->members[i].key);
      json_free(&value->members[i].value);
    }
    free(value->members);
  }
  memset(value, 0, sizeof *value);
}

const json_value *json_member_of(const json_value *object, const char *key) {
  for (size_t i = 0; object->kind == JSON_OBJECT && i < object->count; i++) {
    if (strcmp(object->members[i].key, key) == 0) {
      return &object->members[i].value;
    }
  }
  return NULL;
}
