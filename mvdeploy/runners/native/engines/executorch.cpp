// ExecuTorch on the CPU: programs as mvdeploy.engines.executorch loads them.

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <executorch/devtools/etdump/etdump_flatcc.h>
#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include "../engine.h"
#include "executorch_threadpool.h"

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::etdump::ETDumpGen;
using executorch::extension::MallocMemoryAllocator;
using executorch::extension::MmapDataLoader;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::HierarchicalAllocator;
using executorch::runtime::MemoryManager;
using executorch::runtime::Method;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;
using executorch::runtime::Span;
using executorch::runtime::TensorInfo;

constexpr char METHOD[] = "forward";
constexpr char PROFILE[] = "executorch.etdp";

// Why something cannot be done, in half a sentence, and what to do about it.
struct Failed {
  std::string reason;
  std::string remedy;
};

constexpr char EXPORT_AGAIN[] =
    "Export the model again with the installed version of executorch: the file is damaged, or "
    "another version made it.";
constexpr char FREE_MEMORY[] =
    "Free memory, or use a smaller model, batch or image size; if there is enough, the file is "
    "damaged: export the model again.";
constexpr char UNFIT[] =
    "Give inputs as the program's manifest lists them, or export it anew.";

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

[[noreturn]] void fail_for(Error error) {
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

void check(Error error) {
  if (error != Error::Ok) {
    fail_for(error);
  }
}

template <typename T> T taken(executorch::runtime::Result<T> result) {
  check(result.error());
  return std::move(result.get());
}

// Do something; say why if it fails. No exception may reach the runner, which is C.
template <typename Action> bool guarded(mvdeploy_error *error, Action action) {
  said.clear();
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

// Element types by the engine's numbers; null for what NumPy lacks.
constexpr const char *TYPES[] = {
    "uint8",   "int8",    "int16", "int32",     "int64",      "float16",
    "float32", "float64", nullptr, "complex64", "complex128", "bool",
};

const char *name_of(ScalarType type) {
  auto number = static_cast<size_t>(type);
  const char *name = number < sizeof TYPES / sizeof *TYPES ? TYPES[number] : nullptr;
  return name ? name : "";
}

template <typename Sizes> std::string written(const Sizes &sizes, size_t rank) {
  std::string text = "(";
  for (size_t i = 0; i < rank; i++) {
    text += (i ? ", " : "") + std::to_string(sizes[i]);
  }
  return text + (rank == 1 ? ",)" : ")");
}

void check_input(const mvdeploy_tensor &input, const TensorInfo &expected) {
  const std::string name = std::string("the input '") + input.name + "' is ";
  const char *type = name_of(expected.scalar_type());
  if (std::strcmp(input.dtype, type) != 0) {
    throw Failed{name + input.dtype + ", and the program takes " +
                     (*type ? type : "a type that NumPy lacks"),
                 UNFIT};
  }
  const auto sizes = expected.sizes();
  bool fits = input.rank == sizes.size();
  for (size_t i = 0; fits && i < input.rank; i++) {
    fits = input.shape[i] == sizes[i];
  }
  if (!fits) {
    throw Failed{name + written(input.shape, input.rank) + ", and the program takes " +
                     written(sizes, sizes.size()),
                 UNFIT};
  }
}

void check_identifier(const char *path) {
  char start[8] = {0};
  std::FILE *file = std::fopen(path, "rb");
  size_t size = file ? std::fread(start, 1, sizeof start, file) : 0;
  if (file) {
    std::fclose(file);
  }
  if (size < sizeof start || start[4] != 'E' || start[5] != 'T') {
    throw Failed{"it is no ExecuTorch program",
                 "Give a .pte file; 'mvdeploy export --format executorch' makes one."};
  }
}

void set_threads(int threads) {
  auto *pool = executorch::extension::threadpool::get_threadpool();
  auto wanted = static_cast<uint32_t>(threads);
  // All sessions of a process share the pool, and a job has one number of threads.
  if (pool->get_thread_count() != wanted) {
    pool->_unsafe_reset_threadpool(wanted);
  }
  if (pool->get_thread_count() != wanted) {
    throw Failed{"it has " + std::to_string(pool->get_thread_count()) + " threads, not the " +
                     std::to_string(wanted) + " that it was asked for",
                 "Use another number of threads."};
  }
}

// The engine's view of an input, which the runner holds.
struct Input {
  std::vector<TensorImpl::SizesType> sizes;
  std::vector<TensorImpl::DimOrderType> order;
  std::vector<TensorImpl::StridesType> strides;
  std::optional<TensorImpl> tensor;

  Input(const mvdeploy_tensor &given, ScalarType type)
      : sizes(given.shape, given.shape + given.rank), order(given.rank), strides(given.rank) {
    TensorImpl::StridesType stride = 1;
    for (size_t i = given.rank; i-- > 0;) {
      order[i] = static_cast<TensorImpl::DimOrderType>(i);
      strides[i] = stride;
      stride *= sizes[i];
    }
    tensor.emplace(type, static_cast<ssize_t>(given.rank), sizes.data(), given.data, order.data(),
                   strides.data());
  }
};

// The order of the members is that in which they are made; each needs those above it.
class Session {
public:
  Session(const char *path, const mvdeploy_tensor *inputs, size_t count, int threads,
          const char *profile_folder) {
    check_identifier(path);
    set_threads(threads);
    using Lock = MmapDataLoader::MlockConfig;
    loader_.emplace(taken(MmapDataLoader::from(path, Lock::UseMlockIgnoreErrors)));
    // Without this the engine crashes on a damaged file.
    program_.emplace(taken(Program::load(&*loader_, Program::Verification::InternalConsistency)));
    if (profile_folder) {
      profile_ = std::string(profile_folder) + "/" + PROFILE;
      tracer_ = std::make_unique<ETDumpGen>();
    }
    load_method();
    take_inputs(inputs, count);
    give_outputs_memory();
  }

  bool infer() {
    // The inputs are copied in by every call, as the engine overwrites them.
    for (size_t i = 0; i < values_.size(); i++) {
      last_ = method_->set_input(values_[i], i);
      if (last_ != Error::Ok) {
        return false;
      }
    }
    last_ = method_->execute();
    return last_ == Error::Ok;
  }

  Error last_error() const { return last_; }

  const std::vector<mvdeploy_tensor> &outputs() {
    const size_t count = method_->outputs_size();
    outputs_.assign(count, {});
    names_.assign(count, "logits");
    shapes_.assign(count, {});
    for (size_t i = 0; i < count; i++) {
      if (count > 1) {
        names_[i] = "output_" + std::to_string(i);
      }
      read_output(i);
    }
    return outputs_;
  }

  const std::string &end_profile() {
    if (!tracer_) {
      throw Failed{"it was opened without a profile", ""};
    }
    const auto dump = tracer_->get_etdump_data();
    std::unique_ptr<void, decltype(&std::free)> owned(dump.buf, &std::free);
    std::FILE *file = dump.buf ? std::fopen(profile_.c_str(), "wb") : nullptr;
    bool good = file && std::fwrite(dump.buf, 1, dump.size, file) == dump.size;
    good = file && std::fclose(file) == 0 && good;
    if (!good) {
      throw Failed{dump.buf ? profile_ + " cannot be written" : "this build cannot profile",
                   "Measure without a profile, or free space on the device."};
    }
    return profile_;
  }

private:
  void load_method() {
    const MethodMeta meta = taken(program_->method_meta(METHOD));
    for (size_t i = 0; i < meta.num_memory_planned_buffers(); i++) {
      const int64_t size = taken(meta.memory_planned_buffer_size(i));
      planned_.emplace_back(static_cast<size_t>(size));
      spans_.emplace_back(planned_.back().data(), planned_.back().size());
    }
    arena_.emplace(Span<Span<uint8_t>>(spans_.data(), spans_.size()));
    memory_.emplace(&for_method_, &*arena_, &for_operators_);
    method_.emplace(taken(program_->load_method(METHOD, &*memory_, tracer_.get())));
  }

  void take_inputs(const mvdeploy_tensor *inputs, size_t count) {
    const MethodMeta meta = method_->method_meta();
    if (meta.num_inputs() != count) {
      throw Failed{"the program takes " + std::to_string(meta.num_inputs()) + " inputs, and " +
                       std::to_string(count) + " were given",
                   UNFIT};
    }
    inputs_.reserve(count);
    for (size_t i = 0; i < count; i++) {
      const TensorInfo expected = taken(meta.input_tensor_meta(i));
      check_input(inputs[i], expected);
      inputs_.push_back(std::make_unique<Input>(inputs[i], expected.scalar_type()));
      values_.emplace_back(Tensor(&*inputs_.back()->tensor));
    }
  }

  // An output has a place of its own if the program was made without one for it.
  void give_outputs_memory() {
    const MethodMeta meta = method_->method_meta();
    for (size_t i = 0; i < meta.num_outputs(); i++) {
      const auto about = meta.output_tensor_meta(i);
      if (!about.ok() || about->is_memory_planned()) {
        continue;
      }
      given_.emplace_back(about->nbytes());
      check(method_->set_output_data_ptr(given_.back().data(), given_.back().size(), i));
    }
  }

  void read_output(size_t index) {
    const EValue &value = method_->get_output(index);
    if (!value.isTensor()) {
      throw Failed{"an output is no tensor", ""};
    }
    const Tensor &tensor = value.toTensor();
    const auto sizes = tensor.sizes();
    shapes_[index].assign(sizes.begin(), sizes.end());
    mvdeploy_tensor &into = outputs_[index];
    into.name = names_[index].c_str();
    into.dtype = name_of(tensor.scalar_type());
    into.rank = shapes_[index].size();
    into.shape = shapes_[index].data();
    into.data = tensor.mutable_data_ptr();
    into.bytes = tensor.nbytes();
    if (*into.dtype == '\0') {
      throw Failed{"an output is of a type that NumPy lacks", ""};
    }
  }

  std::string profile_;
  std::unique_ptr<ETDumpGen> tracer_;
  std::optional<MmapDataLoader> loader_;
  std::optional<Program> program_;
  MallocMemoryAllocator for_method_;
  MallocMemoryAllocator for_operators_;
  std::vector<std::vector<uint8_t>> planned_;
  std::vector<Span<uint8_t>> spans_;
  std::optional<HierarchicalAllocator> arena_;
  std::optional<MemoryManager> memory_;
  std::vector<std::vector<uint8_t>> given_;
  std::optional<Method> method_;
  std::vector<std::unique_ptr<Input>> inputs_;
  std::vector<EValue> values_;
  Error last_ = Error::Ok;
  std::vector<mvdeploy_tensor> outputs_;
  std::vector<std::string> names_;
  std::vector<std::vector<int64_t>> shapes_;
};

Session *session_of(mvdeploy_session *session) { return reinterpret_cast<Session *>(session); }

bool start(mvdeploy_error *error) {
  return guarded(error, [] {
    executorch::runtime::PalImpl heard = executorch::runtime::PalImpl::create(&hear, __FILE__);
    if (!executorch::runtime::register_pal(heard)) {
      throw Failed{"it does not take a listener", ""};
    }
    executorch::runtime::runtime_init();
  });
}

const char *version() { return MVDEPLOY_EXECUTORCH_VERSION; }

void options(int threads, char *text, size_t size) {
  std::snprintf(text, size,
                "{\"num_threads\": %d, \"program_verification\": \"InternalConsistency\"}",
                threads);
}

mvdeploy_session *load(const char *path, const mvdeploy_tensor *inputs, size_t count, int threads,
                       const char *profile_folder, mvdeploy_error *error) {
  std::unique_ptr<Session> made;
  guarded(error, [&] {
    made = std::make_unique<Session>(path, inputs, count, threads, profile_folder);
  });
  return reinterpret_cast<mvdeploy_session *>(made.release());
}

bool infer(mvdeploy_session *session, mvdeploy_error *error) {
  Session *running = session_of(session);
  said.clear();
  return running->infer() || guarded(error, [&] { fail_for(running->last_error()); });
}

bool outputs(mvdeploy_session *session, const mvdeploy_tensor **tensors, size_t *count,
             mvdeploy_error *error) {
  return guarded(error, [&] {
    const auto &found = session_of(session)->outputs();
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
      MVDEPLOY_ENGINE_VERSION, start, version, options, load, infer, outputs, end_profile, close,
  };
  return &engine;
}
