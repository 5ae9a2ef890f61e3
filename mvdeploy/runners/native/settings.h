/* What the sessions of an engine are opened with. */
#ifndef MVDEPLOY_SETTINGS_H
#define MVDEPLOY_SETTINGS_H

#include "engine.h"
#include "job.h"
#include "text.h"

/* Fail if a model asks for an option that its engine does not have. */
void settings_check(const job_model *model, const mvdeploy_engine *engine);

/* Write what the sessions of a model's engine are opened with, as a JSON object. */
void settings_add(const job *todo, size_t index, const mvdeploy_engine *engine, text *into);

#endif
