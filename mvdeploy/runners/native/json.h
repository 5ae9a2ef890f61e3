/* Reading JSON, strictly: RFC 8259 and nothing else. */
#ifndef MVDEPLOY_JSON_H
#define MVDEPLOY_JSON_H

#include <stddef.h>
#include <stdint.h>

typedef enum json_kind {
  JSON_NULL,
  JSON_BOOLEAN,
  JSON_INTEGER,
  JSON_REAL,
  JSON_STRING,
  JSON_ARRAY,
  JSON_OBJECT
} json_kind;

typedef struct json_value json_value;
typedef struct json_member json_member;

struct json_value {
  json_kind kind;
  size_t count; /* of items or members */
  union {
    int64_t integer; /* of a boolean, 0 or 1 */
    double real;
    char *string;
    json_value *items;
    json_member *members; /* in the order of the text */
  };
};

struct json_member {
  char *key;
  json_value value;
};

/* Read a text that ends with a zero byte at `size`.
 *
 * Returns NULL, or what is wrong with it; then there is nothing to free. Refused beside what is no
 * JSON: zero bytes and halves of surrogate pairs in strings, a key that comes twice, integers of
 * more than 64 bits, infinite numbers, and depth beyond 64.
 */
const char *json_read(const char *bytes, size_t size, json_value *into);

void json_free(json_value *value);

/* Return the member of an object, NULL if it has none of that key. */
const json_value *json_member_of(const json_value *object, const char *key);

#endif
