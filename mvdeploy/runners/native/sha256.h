/* SHA-256, as FIPS 180-4 has it. */
#ifndef MVDEPLOY_SHA256_H
#define MVDEPLOY_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct sha256 {
  uint32_t state[8];
  uint64_t bytes;
  unsigned char block[64];
} sha256;

enum { SHA256_HEX = 65 }; /* characters of a sum in hexadecimal, with the final zero */

void sha256_start(sha256 *sum);
void sha256_add(sha256 *sum, const void *data, size_t size);
void sha256_end(sha256 *sum, char hex[SHA256_HEX]);

/* Return 0, or the error number if the file cannot be read. */
int sha256_file(const char *path, char hex[SHA256_HEX]);

#endif
