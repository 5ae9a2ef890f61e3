/* The job: what `Job` of mvdeploy.records.job says, read from its JSON. */
#ifndef MVDEPLOY_JOB_H
#define MVDEPLOY_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"

typedef struct job_model {
  char *engine;
  char *path;
  char *sha256;
  mvdeploy_entries inputs;  /* files by name, in the order of the text */
  mvdeploy_entries options; /* values by name */
  const char **outputs;     /* names */
  size_t output_count;
  char *outputs_to; /* NULL to keep no outputs */
  char *profile_to; /* NULL for no profile */
} job_model;

typedef struct warmup_rule {
  int64_t iterations; /* -1 for the rule by time */
  int64_t min_iterations;
  double min_seconds;
  double window_seconds;
  double tolerance;
  double max_seconds;
} warmup_rule;

typedef struct job {
  job_model *models;
  size_t model_count;
  int64_t *order;
  size_t order_count;
  int threads;
  warmup_rule warmup;
  int64_t *cores;
  size_t core_count;
  int64_t *warmup_order; /* always one entry for each model */
  double repeat_s;       /* 0 to go through the order once */
} job;

/* Read the job from a file descriptor, and check that it can be done; fails otherwise. */
void job_read(int fd, job *into);

#endif
