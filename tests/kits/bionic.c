/* Android's C library for programs that were built for it, made of glibc: what bionic calls otherwise.
 *
 * It is needed by the name libc.so, and needs glibc, which has the rest. */
#include <errno.h>
#include <stdlib.h>

int *__errno(void) { return &errno; }

void __libc_init(void *raw_arguments, void (*at_exit)(void), int (*run)(int, char **, char **),
                 const void *structors) {
  long *words = raw_arguments;
  char **arguments = (char **)(words + 1);
  (void)at_exit;
  /* bionic reads three arrays of functions here, all of them absent. */
  if (((void *const *)structors)[0] || ((void *const *)structors)[1] ||
      ((void *const *)structors)[2] || ((unsigned long)raw_arguments & 15) != 0) {
    abort();
  }
  exit(run((int)words[0], arguments, arguments + words[0] + 1));
}
