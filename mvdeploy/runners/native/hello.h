/* What the runner says of itself and its machine. */
#ifndef MVDEPLOY_HELLO_H
#define MVDEPLOY_HELLO_H

/* Print the ``hello`` event; engines and their options are JSON objects. */
void hello_print(const char *engines, const char *options);

#endif
