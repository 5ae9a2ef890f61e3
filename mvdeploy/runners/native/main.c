/* mvdeploy-runner: reads one job (JSON) from standard input, does it, and prints events.
 *
 * The contract is in mvdeploy/records/job.py. Exit status: 0 after ``done``, 4 after ``error``,
 * 2 when it was called wrongly.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "hello.h"
#include "job.h"
#include "plugins.h"
#include "process.h"
#include "runner.h"

enum { EXIT_USAGE = 2 };

static const char USAGE[] =
    "usage: mvdeploy-runner [--plugins DIR] <JOB.json\n"
    "       mvdeploy-runner --hello\n"
    "       mvdeploy-runner [--plugins DIR] --engines\n";

typedef struct choices {
  const char *plugins;
  bool hello;
  bool engines;
} choices;

static bool read_choices(int count, char **words, choices *into) {
  for (int i = 1; i < count; i++) {
    if (strcmp(words[i], "--hello") == 0) {
      into->hello = true;
    } else if (strcmp(words[i], "--engines") == 0) {
      into->engines = true;
    } else if (strcmp(words[i], "--plugins") == 0 && i + 1 < count) {
      into->plugins = words[++i];
    } else {
      return false;
    }
  }
  return true;
}

int main(int count, char **words) {
  choices chosen = {0};
  char folder[4096];
  job todo;
  if (!read_choices(count, words, &chosen)) {
    fputs(USAGE, stderr);
    return EXIT_USAGE;
  }
  process_die_with_parent();
  channel_claim_stdout();
  process_own_folder(folder, sizeof folder);
  const char *plugins = chosen.plugins ? chosen.plugins : folder;
  if (chosen.hello) {
    hello_print("{}", "{}");
  } else if (chosen.engines) {
    plugins_list(plugins);
  } else {
    job_read(STDIN_FILENO, &todo);
    run_job(&todo, plugins);
  }
  return 0;
}
