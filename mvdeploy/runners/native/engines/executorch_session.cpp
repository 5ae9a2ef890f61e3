#include "executorch_session.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <executorch/runtime/core/exec_aten/util/dim_order_util.h>

#include "executorch_errors.h"
#include "executorch_threadpool.h"

namespace mvdeploy {

using executorch::aten::DimOrderType;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::StridesType;
using executorch::aten::Tensor;
using executorch::extension::MmapDataLoader;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::EventTracer;
using executorch::runtime::is_contiguous_dim_order;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;
using executorch::runtime::Span;
using executorch::runtime::TensorInfo;

namespace {

constexpr char METHOD[] = "forward";
#ifdef MVDEPLOY_ETDUMP
constexpr char PROFILE[] = "executorch.etdp";
#endif
constexpr char UNFIT[] =
    "Give inputs as the program's manifest lists them, or export it anew.";

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
  const auto order = expected.dim_order();
  if (!is_contiguous_dim_order(order.data(), order.size())) {
    throw Failed{"the program takes the input '" + std::string(input.name) +
                     "' in another order of dimensions, such as channels last",
                 "Export it with inputs that are contiguous."};
  }
}

std::vector<uint8_t> in_c_order(const Tensor &tensor) {
  const auto sizes = tensor.sizes();
  const auto strides = tensor.strides();
  const auto *from = static_cast<const uint8_t *>(tensor.const_data_ptr());
  const auto element = static_cast<size_t>(tensor.element_size());
  std::vector<size_t> place(sizes.size());
  std::vector<uint8_t> copy(tensor.nbytes());
  for (size_t at = 0; at < copy.size(); at += element) {
    size_t offset = 0;
    for (size_t i = 0; i < place.size(); i++) {
      offset += place[i] * static_cast<size_t>(strides[i]);
    }
    std::memcpy(copy.data() + at, from + offset * element, element);
    // The next place: the last dimension is the fastest.
    for (size_t i = place.size(); i-- > 0 && ++place[i] == static_cast<size_t>(sizes[i]);) {
      place[i] = 0;
    }
  }
  return copy;
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

} // namespace

Input::Input(const mvdeploy_tensor &given, ScalarType type)
    : sizes(given.shape, given.shape + given.rank), order(given.rank), strides(given.rank) {
  StridesType stride = 1;
  for (size_t i = given.rank; i-- > 0;) {
    order[i] = static_cast<DimOrderType>(i);
    strides[i] = stride;
    stride *= sizes[i];
  }
  tensor.emplace(type, static_cast<ssize_t>(given.rank), sizes.data(), given.data, order.data(),
                 strides.data());
}

Session::Session(const mvdeploy_request &request) {
  check_identifier(request.path);
  set_threads(request.threads);
  using Lock = MmapDataLoader::MlockConfig;
  loader_.emplace(taken(MmapDataLoader::from(request.path, Lock::UseMlockIgnoreErrors)));
  // Without this the engine crashes on a damaged file.
  program_.emplace(taken(Program::load(&*loader_, Program::Verification::InternalConsistency)));
  load_method(request.profile_folder ? start_profile(request.profile_folder) : nullptr);
  take_inputs(request.inputs, request.input_count);
  name_outputs(request.outputs, request.output_count);
  give_outputs_memory();
}

Error Session::infer() {
  // The inputs are copied in by every call, as the engine overwrites them.
  for (size_t i = 0; i < values_.size(); i++) {
    const Error error = method_->set_input(values_[i], i);
    if (error != Error::Ok) {
      return error;
    }
  }
  return method_->execute();
}

const std::vector<mvdeploy_tensor> &Session::read_outputs() {
  tensors_.assign(outputs_.size(), {});
  for (size_t i = 0; i < outputs_.size(); i++) {
    read_output(i);
  }
  return tensors_;
}

#ifdef MVDEPLOY_ETDUMP

EventTracer *Session::start_profile(const char *folder) {
  profile_ = std::string(folder) + "/" + PROFILE;
  tracer_ = std::make_unique<executorch::etdump::ETDumpGen>();
  return tracer_.get();
}

const std::string &Session::end_profile() {
  // An engine that was built without its tracer calls none.
  if (tracer_->get_num_blocks() == 0) {
    throw Failed{"this build of ExecuTorch records no events",
                 "Build it with EXECUTORCH_ENABLE_EVENT_TRACER=ON, or measure without a profile."};
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

#else

EventTracer *Session::start_profile(const char *) {
  throw Failed{"this build of ExecuTorch has no ETDump and cannot profile",
               "Build it with EXECUTORCH_BUILD_DEVTOOLS=ON and EXECUTORCH_ENABLE_EVENT_TRACER=ON, "
               "or measure without a profile."};
}

const std::string &Session::end_profile() { return profile_; }

#endif

void Session::load_method(EventTracer *tracer) {
  const MethodMeta meta = taken(program_->method_meta(METHOD));
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); i++) {
    const int64_t size = taken(meta.memory_planned_buffer_size(i));
    planned_.emplace_back(static_cast<size_t>(size));
    spans_.emplace_back(planned_.back().data(), planned_.back().size());
  }
  arena_.emplace(Span<Span<uint8_t>>(spans_.data(), spans_.size()));
  memory_.emplace(&for_method_, &*arena_, &for_operators_);
  method_.emplace(taken(program_->load_method(METHOD, &*memory_, tracer)));
}

void Session::take_inputs(const mvdeploy_tensor *inputs, size_t count) {
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

void Session::name_outputs(const char *const *names, size_t count) {
  outputs_.resize(method_->outputs_size());
  if (count != 0 && count != outputs_.size()) {
    throw Failed{"the program has " + std::to_string(outputs_.size()) + " outputs, not the " +
                     std::to_string(count) + " that the job names",
                 "Name the outputs as the program's manifest lists them, or export it anew."};
  }
  for (size_t i = 0; i < outputs_.size(); i++) {
    outputs_[i].name = count ? names[i] : "output_" + std::to_string(i);
  }
}

// An output has a place of its own if the program was made without one for it.
void Session::give_outputs_memory() {
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

void Session::read_output(size_t index) {
  const EValue &value = method_->get_output(index);
  if (!value.isTensor()) {
    throw Failed{"an output is no tensor", ""};
  }
  const Tensor &tensor = value.toTensor();
  const auto sizes = tensor.sizes();
  Output &output = outputs_[index];
  output.shape.assign(sizes.begin(), sizes.end());
  mvdeploy_tensor &into = tensors_[index];
  into.name = output.name.c_str();
  into.dtype = name_of(tensor.scalar_type());
  into.rank = output.shape.size();
  into.shape = output.shape.data();
  into.data = tensor.mutable_data_ptr();
  into.bytes = tensor.nbytes();
  const auto order = tensor.dim_order();
  if (!is_contiguous_dim_order(order.data(), order.size())) {
    output.copy = in_c_order(tensor);
    into.data = output.copy.data();
  }
  if (*into.dtype == '\0') {
    throw Failed{"an output is of a type that NumPy lacks", ""};
  }
}

} // namespace mvdeploy
