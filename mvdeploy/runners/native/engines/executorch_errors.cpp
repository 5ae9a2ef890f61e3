#include "executorch_errors.h"

#include <mutex>

#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

namespace mvdeploy {

using executorch::runtime::Error;

namespace {

constexpr char EXPORT_AGAIN[] =
    "Export the model again with the installed version of executorch: the file is damaged, or "
    "another version made it.";
constexpr char FREE_MEMORY[] =
    "Free memory, or use a smaller model, batch or image size; if there is enough, the file is "
    "damaged: export the model again.";

struct Meaning {
  Error error;
  const char *words;
  const char *remedy;
};

constexpr Meaning MEANINGS[] = {
    {Error::Internal, "an internal error", ""},
    {Error::InvalidState, "the engine is in a wrong state", ""},
    {Error::NotSupported, "something is not supported", ""},
    {Error::NotImplemented, "something is not implemented", ""},
    {Error::InvalidArgument, "an invalid argument", EXPORT_AGAIN},
    {Error::InvalidType, "a value of the wrong type", ""},
    {Error::OperatorMissing, "an operator that the engine does not have", EXPORT_AGAIN},
    {Error::NotFound, "something that the engine does not have", EXPORT_AGAIN},
    {Error::MemoryAllocationFailed, "it could not get the memory that the program asks for",
     FREE_MEMORY},
    {Error::AccessFailed, "the file could not be read",
     "Check that the file is there and can be read."},
    {Error::InvalidProgram, "the program is invalid", EXPORT_AGAIN},
    {Error::InvalidExternalData, "the program's outer data are invalid", EXPORT_AGAIN},
    {Error::OutOfResources, "resources ran out", ""},
    {Error::DelegateInvalidCompatibility, "a delegate that is damaged or of another version",
     EXPORT_AGAIN},
    {Error::DelegateMemoryAllocationFailed,
     "a delegate could not get the memory that it asks for", FREE_MEMORY},
    {Error::DelegateInvalidHandle, "a delegate's handle is invalid", ""},
};

// The first thing that the engine said since something began: it has the cause, what comes after
// it tells what could not be done for it. Threads of the pool may speak too.
std::string said;
std::mutex said_by_turns;

void hear(et_timestamp_t, et_pal_log_level_t level, const char *, const char *, size_t,
          const char *message, size_t length) {
  if (level != kError && level != kFatal) {
    return;
  }
  const std::lock_guard<std::mutex> alone(said_by_turns);
  std::fprintf(stderr, "[ExecuTorch] %.*s\n", static_cast<int>(length), message);
  if (said.empty()) {
    said.assign(message, length);
  }
}

} // namespace

void listen() {
  if (!executorch::runtime::register_pal(executorch::runtime::PalImpl::create(&hear, __FILE__))) {
    throw Failed{"it does not take a listener", ""};
  }
  executorch::runtime::runtime_init();
}

void forget() { said.clear(); }

void fail_for(Error error) {
  std::string words = "error " + std::to_string(static_cast<int>(error)), remedy;
  for (const Meaning &meaning : MEANINGS) {
    if (meaning.error == error) {
      words = meaning.words;
      remedy = meaning.remedy;
    }
  }
  if (said.find("is not registered") != std::string::npos) {
    remedy = "Run it on a device that has this backend (its manifest says where it runs), or "
             "export the model with --backend xnnpack.";
  }
  throw Failed{said.empty() ? words : words + ": " + said, remedy};
}

} // namespace mvdeploy
