/* What is used of ExecuTorch's thread pool. Its wheels export it, but bring no header for it. */
#ifndef MVDEPLOY_EXECUTORCH_THREADPOOL_H
#define MVDEPLOY_EXECUTORCH_THREADPOOL_H

#if __has_include(<executorch/extension/threadpool/threadpool.h>)
#include <executorch/extension/threadpool/threadpool.h>
#else

#include <cstddef>
#include <cstdint>

namespace executorch::extension::threadpool {

class ThreadPool {
public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t count);
};

ThreadPool *get_threadpool();

} // namespace executorch::extension::threadpool

#endif
#endif
