// What ExecuTorch says when something fails, in words.
#ifndef MVDEPLOY_EXECUTORCH_ERRORS_H
#define MVDEPLOY_EXECUTORCH_ERRORS_H

#include <cstdio>
#include <exception>
#include <string>
#include <utility>

#include <executorch/runtime/core/error.h>
#include <executorch/runtime/core/result.h>

#include "../engine.h"

namespace mvdeploy {

// Why something cannot be done, in half a sentence, and what to do about it.
struct Failed {
  std::string reason;
  std::string remedy;
};

// Listen to what the engine says. Once, before anything else.
void listen();

// Forget what it has said until now.
void forget();

// Throw what an error means, with what the engine has said.
[[noreturn]] void fail_for(executorch::runtime::Error error);

inline void check(executorch::runtime::Error error) {
  if (error != executorch::runtime::Error::Ok) {
    fail_for(error);
  }
}

template <typename T> T taken(executorch::runtime::Result<T> result) {
  check(result.error());
  return std::move(result.get());
}

// Do something; say why if it fails. No exception may reach the runner, which is C.
template <typename Action> bool guarded(mvdeploy_error *error, Action action) {
  forget();
  try {
    action();
    return true;
  } catch (const Failed &failed) {
    std::snprintf(error->reason, sizeof error->reason, "%s", failed.reason.c_str());
    std::snprintf(error->remedy, sizeof error->remedy, "%s", failed.remedy.c_str());
  } catch (const std::exception &thrown) {
    std::snprintf(error->reason, sizeof error->reason, "%s", thrown.what());
    error->remedy[0] = '\0';
  }
  return false;
}

} // namespace mvdeploy

#endif
