/* What the runner sets and asks of its own process. */
#ifndef MVDEPLOY_PROCESS_H
#define MVDEPLOY_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* Have the system kill this process when the one that started it dies. */
void process_die_with_parent(void);

/* Bind this process and all threads it will have to some cores; to none means to all. Fails when
 * one of them may not be used. */
void process_bind(const int64_t *cores, size_t count);

/* Write the list of the cores that this process may use, as JSON; null if the system hides it. */
void process_cores(text *into);

/* Return the bytes of memory that this process has now, and the largest number so far. */
int64_t process_resident(void);
int64_t process_peak_memory(void);

/* What this process has used from its start on. */
typedef struct usage usage;

usage *usage_now(void);

/* Write what was used between two moments, as a JSON object, and free both. */
void usage_between(usage *before, usage *after, text *into);

/* What to do when something cannot be written. */
#define FOLDER_REMEDY "Check that the folder can be written to, and has room."

/* Make a folder and those above it, if they are not there; fails with this kind of error, and
 * tells what it is for. */
void process_make_folder(const char *path, const char *kind, const char *purpose);

/* Write the folder that this program is in; "." if it cannot be told. */
void process_own_folder(char *folder, size_t size);

#endif
