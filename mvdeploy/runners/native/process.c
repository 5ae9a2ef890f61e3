#define _GNU_SOURCE
#include "process.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "events.h"
#include "memory.h"

void process_die_with_parent(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  /* Whoever started this may ignore them, which is inherited. */
  signal(SIGTERM, SIG_DFL);
  /* That nobody reads the events any more is told by write(). */
  signal(SIGPIPE, SIG_IGN);
}

static void add_number(text *into, int64_t number) {
  if (into->size > 0) {
    text_add(into, ", ");
  }
  text_integer(into, number);
}

static void add_set(text *into, const cpu_set_t *set) {
  for (int core = 0; core < CPU_SETSIZE; core++) {
    if (CPU_ISSET(core, set)) {
      add_number(into, core);
    }
  }
}

static _Noreturn void cannot_bind(const int64_t *cores, size_t count, const cpu_set_t *allowed) {
  text asked = {0}, may = {0};
  char remedy[512];
  for (size_t i = 0; i < count; i++) {
    add_number(&asked, cores[i]);
  }
  add_set(&may, allowed);
  snprintf(remedy, sizeof remedy, "Choose among the cores it may use: %.400s.",
           may.size ? may.bytes : "none");
  fail("cores", remedy, "The runner cannot be bound to the cores %.400s.", asked.bytes);
}

void process_bind(const int64_t *cores, size_t count) {
  cpu_set_t allowed, wanted, now;
  bool possible = true;
  if (count == 0) {
    return;
  }
  CPU_ZERO(&allowed);
  CPU_ZERO(&wanted);
  CPU_ZERO(&now);
  sched_getaffinity(0, sizeof allowed, &allowed);
  for (size_t i = 0; i < count; i++) {
    possible = possible && cores[i] >= 0 && cores[i] < CPU_SETSIZE;
    if (possible) {
      CPU_SET((size_t)cores[i], &wanted);
    }
  }
  if (!possible || sched_setaffinity(0, sizeof wanted, &wanted) != 0 ||
      sched_getaffinity(0, sizeof now, &now) != 0 || !CPU_EQUAL(&now, &wanted)) {
    cannot_bind(cores, count, &allowed);
  }
}

void process_cores(text *into) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) {
    text_add(into, "null");
    return;
  }
  text numbers = {0};
  text_add(&numbers, "");
  add_set(&numbers, &set);
  text_add(into, "[");
  text_bytes(into, numbers.bytes, numbers.size);
  text_add(into, "]");
  text_free(&numbers);
}

/* Return a figure of /proc/self/status, which are in kB, as bytes. */
static int64_t status_bytes(const char *name) {
  char line[256];
  int64_t bytes = 0;
  FILE *file = fopen("/proc/self/status", "re");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    size_t size = strlen(name);
    if (strncmp(line, name, size) == 0 && line[size] == ':') {
      bytes = strtoll(line + size + 1, NULL, 10) * 1024;
    }
  }
  if (file != NULL) {
    fclose(file);
  }
  return bytes;
}

int64_t process_resident(void) {
  return status_bytes("VmRSS");
}

int64_t process_peak_memory(void) {
  int64_t peak = status_bytes("VmHWM");
  if (peak > 0) {
    return peak;
  }
  struct rusage used;
  return getrusage(RUSAGE_SELF, &used) == 0 ? (int64_t)used.ru_maxrss * 1024 : 0;
}

typedef struct run_delay {
  long thread;
  int64_t ns;
} run_delay;

struct usage {
  struct rusage counts;
  run_delay *delays; /* of each thread that could be read */
  size_t delay_count;
  bool delays_told;
};

static bool read_schedstat(long thread, int64_t numbers[3]) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%ld/schedstat", thread);
  FILE *file = fopen(path, "re");
  if (file == NULL) {
    return false; /* it has ended, or the system keeps no such file */
  }
  int found = fscanf(file, "%" SCNd64 " %" SCNd64 " %" SCNd64, &numbers[0], &numbers[1],
                     &numbers[2]);
  fclose(file);
  return found == 3;
}

static void read_run_delays(usage *into) {
  size_t capacity = 0;
  DIR *threads = opendir("/proc/self/task");
  for (struct dirent *entry; threads != NULL && (entry = readdir(threads)) != NULL;) {
    int64_t numbers[3];
    long thread = strtol(entry->d_name, NULL, 10);
    if (thread <= 0 || !read_schedstat(thread, numbers)) {
      continue;
    }
    into->delays = memory_grow(into->delays, into->delay_count, &capacity, sizeof *into->delays);
    into->delays[into->delay_count++] = (run_delay){thread, numbers[1]};
    /* Time on a core, time waiting for one, number of turns: all zeros when no one counts. */
    into->delays_told = into->delays_told || numbers[0] || numbers[1] || numbers[2];
  }
  if (threads != NULL) {
    closedir(threads);
  }
}

usage *usage_now(void) {
  usage *now = memory_take(1, sizeof *now);
  getrusage(RUSAGE_SELF, &now->counts);
  read_run_delays(now);
  return now;
}

static int64_t delay_of(const usage *from, long thread) {
  for (size_t i = 0; i < from->delay_count; i++) {
    if (from->delays[i].thread == thread) {
      return from->delays[i].ns;
    }
  }
  return 0;
}

static void add_count(text *into, const char *name, long before, long after) {
  text_key(into, name);
  text_integer(into, (int64_t)after - before);
}

static void usage_free(usage *done) {
  free(done->delays);
  free(done);
}

void usage_between(usage *before, usage *after, text *into) {
  const struct rusage *was = &before->counts, *is = &after->counts;
  int64_t delay = 0;
  /* Thread by thread, as the delays of a thread that has ended meanwhile are gone. */
  for (size_t i = 0; i < after->delay_count; i++) {
    delay += after->delays[i].ns - delay_of(before, after->delays[i].thread);
  }
  text_add(into, "{");
  text_key(into, "run_delay_ns");
  if (before->delays_told && after->delays_told) {
    text_integer(into, delay);
  } else {
    text_add(into, "\"unavailable\"");
  }
  add_count(into, "switches_voluntary", was->ru_nvcsw, is->ru_nvcsw);
  add_count(into, "switches_involuntary", was->ru_nivcsw, is->ru_nivcsw);
  add_count(into, "faults_minor", was->ru_minflt, is->ru_minflt);
  add_count(into, "faults_major", was->ru_majflt, is->ru_majflt);
  text_add(into, "}");
  usage_free(before);
  usage_free(after);
}

static bool make_folder(const char *path) {
  struct stat status;
  char *part = memory_copy_text(path);
  for (char *slash = part + 1; *part != '\0' && (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = '\0';
    mkdir(part, 0777); /* the last one tells whether all are there */
    *slash = '/';
  }
  bool made = mkdir(part, 0777) == 0;
  free(part);
  if (made || errno != EEXIST) {
    return made;
  }
  made = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
  errno = made ? 0 : ENOTDIR;
  return made;
}

void process_make_folder(const char *path, const char *kind, const char *purpose) {
  if (!make_folder(path)) {
    fail(kind, FOLDER_REMEDY, "The folder %s for %s could not be made (%s).", path, purpose,
         strerror(errno));
  }
}

static bool folder_of(const char *path, char *folder, size_t size) {
  const char *slash = path ? strrchr(path, '/') : NULL;
  if (slash == NULL || (size_t)(slash - path) + 1 >= size) {
    return false;
  }
  snprintf(folder, size, "%.*s", (int)(slash > path ? slash - path : 1), path);
  return true;
}

void process_own_folder(char *folder, size_t size) {
  /* When it is started through a loader, /proc/self/exe is the loader. */
  static const int anything_here = 0;
  Dl_info about = {0};
  char program[4096] = "";
  if (dladdr(&anything_here, &about) != 0 && folder_of(about.dli_fname, folder, size)) {
    return;
  }
  if (readlink("/proc/self/exe", program, sizeof program - 1) > 0 &&
      folder_of(program, folder, size)) {
    return;
  }
  snprintf(folder, size, ".");
}
