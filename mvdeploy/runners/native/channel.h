/* Where events go: what was standard output when the runner started. */
#ifndef MVDEPLOY_CHANNEL_H
#define MVDEPLOY_CHANNEL_H

#include <stddef.h>

/* Exit status after an ``error`` event. */
enum { EXIT_FAILED = 4 };

/* Take standard output for events alone: what else is printed goes to standard error. */
void channel_claim_stdout(void);

/* Write all of some bytes; ends the process when nobody reads them. */
void channel_write(const char *bytes, size_t size);

#endif
