/* One job, from its models to its events. */
#ifndef MVDEPLOY_RUNNER_H
#define MVDEPLOY_RUNNER_H

#include "job.h"

/* Do a job and report events; ends the process when it fails.
 *
 * plugins: folder of the engine plug-ins.
 * save_to: folder for the output tensors, or NULL.
 */
void run_job(const job *todo, const char *plugins, const char *save_to);

#endif
