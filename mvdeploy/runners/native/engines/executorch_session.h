// A program that is loaded, with its inputs in place.
#ifndef MVDEPLOY_EXECUTORCH_SESSION_H
#define MVDEPLOY_EXECUTORCH_SESSION_H

#include <memory>
#include <optional>
#include <string>
#include <vector>

#ifdef MVDEPLOY_ETDUMP
#include <executorch/devtools/etdump/etdump_flatcc.h>
#endif
#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include "../engine.h"

namespace mvdeploy {

// The engine's view of an input, which the runner holds.
struct Input {
  std::vector<executorch::aten::SizesType> sizes;
  std::vector<executorch::aten::DimOrderType> order;
  std::vector<executorch::aten::StridesType> strides;
  std::optional<executorch::aten::TensorImpl> tensor;

  Input(const mvdeploy_tensor &given, executorch::aten::ScalarType type);
};

// An output as the runner sees it.
struct Output {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<uint8_t> copy; // in C order, if the engine has it in another
};

// What can throw `Failed` says why it cannot be done.
class Session {
public:
  explicit Session(const mvdeploy_request &request);

  executorch::runtime::Error infer();

  const std::vector<mvdeploy_tensor> &read_outputs();

  // Write the profile and return its path.
  const std::string &end_profile();

private:
  executorch::runtime::EventTracer *start_profile(const char *folder);
  void load_method(executorch::runtime::EventTracer *tracer);
  void take_inputs(const mvdeploy_tensor *inputs, size_t count);
  void name_outputs(const char *const *names, size_t count);
  void give_outputs_memory();
  void read_output(size_t index);

  // In the order in which they are made: each needs those above it.
  std::string profile_;
#ifdef MVDEPLOY_ETDUMP
  std::unique_ptr<executorch::etdump::ETDumpGen> tracer_;
#endif
  std::optional<executorch::extension::MmapDataLoader> loader_;
  std::optional<executorch::runtime::Program> program_;
  executorch::extension::MallocMemoryAllocator for_method_;
  executorch::extension::MallocMemoryAllocator for_operators_;
  std::vector<std::vector<uint8_t>> planned_;
  std::vector<executorch::runtime::Span<uint8_t>> spans_;
  std::optional<executorch::runtime::HierarchicalAllocator> arena_;
  std::optional<executorch::runtime::MemoryManager> memory_;
  std::vector<std::vector<uint8_t>> given_;
  std::optional<executorch::runtime::Method> method_;
  std::vector<std::unique_ptr<Input>> inputs_;
  std::vector<executorch::runtime::EValue> values_;
  std::vector<Output> outputs_;
  std::vector<mvdeploy_tensor> tensors_; // the outputs as last asked for
};

} // namespace mvdeploy

#endif
