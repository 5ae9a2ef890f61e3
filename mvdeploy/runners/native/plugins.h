/* Engine plug-ins: the files libmvdeploy_NAME.so in one folder. */
#ifndef MVDEPLOY_PLUGINS_H
#define MVDEPLOY_PLUGINS_H

#include "engine.h"

/* Load a plug-in and start its engine; NULL with the reason if that fails. */
const mvdeploy_engine *plugin_start(const char *folder, const char *name, mvdeploy_error *error);

/* Print a line for each plug-in there is: ``engine`` and ``version``, or ``error`` and ``remedy``.
 * Each is loaded in a process of its own, so that one that crashes is told like one that fails. */
void plugins_list(const char *folder);

#endif
