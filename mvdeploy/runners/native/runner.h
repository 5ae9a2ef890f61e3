/* One job, from its models to its events. */
#ifndef MVDEPLOY_RUNNER_H
#define MVDEPLOY_RUNNER_H

#include "job.h"

/* Do a job with the engines whose plug-ins are in a folder, and report events; ends the process
 * when it fails. */
void run_job(const job *todo, const char *plugins);

#endif
