#include "sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t word, int by) {
  return word >> by | word << (32 - by);
}

static void expand(const unsigned char *block, uint32_t words[64]) {
  for (int i = 0; i < 16; i++, block += 4) {
    words[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
               (uint32_t)block[3];
  }
  for (int i = 16; i < 64; i++) {
    uint32_t near = words[i - 2], far = words[i - 15];
    uint32_t from_near = rotated(near, 17) ^ rotated(near, 19) ^ near >> 10;
    uint32_t from_far = rotated(far, 7) ^ rotated(far, 18) ^ far >> 3;
    words[i] = words[i - 16] + from_far + words[i - 7] + from_near;
  }
}

static void mix(uint32_t state[8], const unsigned char *block) {
  uint32_t words[64], s[8];
  expand(block, words);
  memcpy(s, state, sizeof s);
  for (int i = 0; i < 64; i++) {
    uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
    uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
    uint32_t high = rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25);
    uint32_t low = rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22);
    uint32_t first = s[7] + high + choice + ROUND[i] + words[i];
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += first;
    s[0] = first + low + majority;
  }
  for (int i = 0; i < 8; i++) {
    state[i] += s[i];
  }
}

void sha256_start(sha256 *sum) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(sum->state, start, sizeof start);
  sum->bytes = 0;
}

void sha256_add(sha256 *sum, const void *data, size_t size) {
  const unsigned char *bytes = data;
  while (size > 0) {
    size_t held = sum->bytes % sizeof sum->block;
    size_t taken = sizeof sum->block - held;
    taken = taken < size ? taken : size;
    memcpy(sum->block + held, bytes, taken);
    sum->bytes += taken;
    bytes += taken;
    size -= taken;
    if (held + taken == sizeof sum->block) {
      mix(sum->state, sum->block);
    }
  }
}

void sha256_end(sha256 *sum, char hex[SHA256_HEX]) {
  static const unsigned char padding[64] = {0x80};
  uint64_t bits = sum->bytes * 8;
  size_t held = sum->bytes % 64;
  unsigned char length[8];
  for (int i = 0; i < 8; i++) {
    length[i] = (unsigned char)(bits >> (56 - 8 * i));
  }
  sha256_add(sum, padding, (held < 56 ? 56 : 120) - held);
  sha256_add(sum, length, sizeof length);
  for (int i = 0; i < 8; i++) {
    snprintf(hex + (size_t)8 * i, 9, "%08x", (unsigned)sum->state[i]);
  }
}

static int add_all(sha256 *sum, int file) {
  static unsigned char buffer[1 << 20];
  for (;;) {
    ssize_t size = read(file, buffer, sizeof buffer);
    if (size == 0) {
      return 0;
    }
    if (size > 0) {
      sha256_add(sum, buffer, (size_t)size);
    } else if (errno != EINTR) {
      return errno;
    }
  }
}

int sha256_file(const char *path, char hex[SHA256_HEX]) {
  sha256 sum;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return errno;
  }
  sha256_start(&sum);
  int problem = add_all(&sum, file);
  close(file);
  if (problem == 0) {
    sha256_end(&sum, hex);
  }
  return problem;
}
