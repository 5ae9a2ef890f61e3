// ExecuTorch on the CPU: programs as mvdeploy.engines.executorch loads them.

#include <cstdio>
#include <memory>

#include "../engine.h"
#include "executorch_errors.h"
#include "executorch_session.h"

namespace {

using mvdeploy::guarded;
using mvdeploy::Session;

Session *session_of(mvdeploy_session *session) { return reinterpret_cast<Session *>(session); }

bool start(mvdeploy_error *error) {
  return guarded(error, [] { mvdeploy::listen(); });
}

const char *version() { return MVDEPLOY_EXECUTORCH_VERSION; }

constexpr mvdeploy_setting SETTINGS[] = {
    {"num_threads", MVDEPLOY_THREADS, nullptr},
    {"program_verification", MVDEPLOY_TEXT, "InternalConsistency"},
    {},
};

mvdeploy_session *load(const mvdeploy_request *request, mvdeploy_error *error) {
  std::unique_ptr<Session> made;
  guarded(error, [&] { made = std::make_unique<Session>(*request); });
  return reinterpret_cast<mvdeploy_session *>(made.release());
}

bool infer(mvdeploy_session *session, mvdeploy_error *error) {
  return guarded(error, [&] { mvdeploy::check(session_of(session)->infer()); });
}

bool outputs(mvdeploy_session *session, const mvdeploy_tensor **tensors, size_t *count,
             mvdeploy_error *error) {
  return guarded(error, [&] {
    const auto &found = session_of(session)->read_outputs();
    *tensors = found.data();
    *count = found.size();
  });
}

bool end_profile(mvdeploy_session *session, char *path, size_t size, mvdeploy_error *error) {
  return guarded(error, [&] {
    std::snprintf(path, size, "%s", session_of(session)->end_profile().c_str());
  });
}

void close(mvdeploy_session *session) { delete session_of(session); }

} // namespace

const mvdeploy_engine *mvdeploy_engine_interface(void) {
  static const mvdeploy_engine engine = {
      MVDEPLOY_ENGINE_VERSION, start, version, SETTINGS, load, infer, outputs, end_profile, close,
  };
  return &engine;
}
