#include "program.h"

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/kernel/operator_registry.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "attention.h"
#include "clock.h"
#include "failure.h"

// The wheel ships this class in its library but not its header. Only these members are used, and
// only through a pointer, so the declaration needs no more; executorch is pinned to one version.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t num_threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace hydra {
namespace {

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::extension::module::Module;
using executorch::extension::threadpool::get_threadpool;
using executorch::runtime::Error;
using executorch::runtime::EValue;

[[noreturn]] void fail(const std::string& what, Error error) {
  // XNNPACK calls a failed allocation an internal error; the C library's word for it is kept.
  const bool memory = errno == ENOMEM || error == Error::MemoryAllocationFailed ||
                      error == Error::DelegateMemoryAllocationFailed;
  throw Failure(memory ? Exit::kMemory : Exit::kProgram,
                what + (memory ? ", no memory left" : "") + ": ExecuTorch says " +
                    executorch::runtime::to_string(error) + ".");
}

std::vector<float> run(Module& module, const char* method, const std::vector<EValue>& inputs) {
  errno = 0;
  auto result = module.execute(method, inputs);
  if (!result.ok()) fail(std::string("`") + method + "` failed", result.error());
  const auto& tensor = result->at(0).toTensor();
  if (tensor.scalar_type() != ScalarType::Float) {
    throw Failure(Exit::kProgram, std::string("`") + method + "` does not give float32.");
  }
  // The tensor lies in memory that the next call writes to.
  const float* data = tensor.const_data_ptr<float>();
  return {data, data + tensor.numel()};
}

// The runtime complains about files of phones on every start on a computer.
void log_errors(et_timestamp_t, et_pal_log_level_t level, const char* file, const char*,
                size_t line, const char* message, size_t) {
  if (level != kError && level != kFatal) return;
  const int reason = errno;
  std::fprintf(stderr, "executorch: %s (%s:%zu)\n", message, file, line);
  errno = reason;
}

// Otherwise the load fails with an error that names nothing.
void require_kernels(const Bundle& bundle) {
  for (const std::string& name : bundle.required_ops) {
    if (executorch::runtime::registry_has_op_function(name.c_str())) continue;
    throw Failure(Exit::kInput, bundle.program.string() + " needs the operator " + name +
                                    ", which this runner does not have.\nExport the bundle with " +
                                    "the version of hydra-mobile that built the runner.");
  }
}

int sizes(int64_t value) { return static_cast<int>(value); }

}  // namespace

Program::Program(Bundle bundle, uint32_t threads) : bundle_(std::move(bundle)) {
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(log_errors, __FILE__));
  executorch::runtime::runtime_init();
#ifdef HYDRA_OWN_ATTENTION
  register_attention();
#endif
  require_kernels(bundle_);
  const Stopwatch watch;
  if (threads > 0 && threads != this->threads()) {
    get_threadpool()->_unsafe_reset_threadpool(threads);
  }
  module_ = std::make_unique<Module>(bundle_.program.string(), Module::LoadMode::Mmap);
  for (const char* method : {"vision_encoder", "token_embedding", "text_decoder"}) {
    errno = 0;
    const Error error = module_->load_method(method);
    if (error == Error::Ok) continue;
    fail(bundle_.program.string() + ": method `" + method + "` does not load", error);
  }
  const std::size_t side = static_cast<std::size_t>(bundle_.image.size);
  encode_image(std::vector<float>(3 * side * side));
  const int64_t first = 0;
  decode(embed({&first, 1}), 0);
  load_seconds_ = watch.seconds();
}

Program::~Program() = default;

std::size_t Program::threads() const { return get_threadpool()->get_thread_count(); }

std::vector<float> Program::encode_image(std::span<const float> pixels) {
  const int side = bundle_.image.size;
  if (pixels.size() != std::size_t{3} * side * side) {
    throw Failure(Exit::kInput, std::to_string(pixels.size()) + " pixel values were given, " +
                                    "expected 3 x " + std::to_string(side) + " x " +
                                    std::to_string(side) + ".");
  }
  auto input = from_blob(const_cast<float*>(pixels.data()), {1, 3, side, side});
  return run(*module_, "vision_encoder", {input});
}

std::vector<float> Program::embed(std::span<const int64_t> ids) {
  for (const int64_t id : ids) {
    // The kernel reads whatever lies outside of the table, or ends the process.
    if (id < 0 || id >= bundle_.vocab_size) {
      throw Failure(Exit::kInput, "Token id " + std::to_string(id) + " lies outside of 0.." +
                                      std::to_string(bundle_.vocab_size - 1) + ".");
    }
  }
  std::vector<float> embeddings;
  embeddings.reserve(ids.size() * bundle_.hidden_size);
  for (std::size_t at = 0; at < ids.size(); at += bundle_.max_prefill) {
    const auto part = ids.subspan(at, std::min<std::size_t>(bundle_.max_prefill, ids.size() - at));
    auto input =
        from_blob(const_cast<int64_t*>(part.data()), {1, sizes(part.size())}, ScalarType::Long);
    const auto found = run(*module_, "token_embedding", {input});
    embeddings.insert(embeddings.end(), found.begin(), found.end());
  }
  return embeddings;
}

std::vector<float> Program::decode(std::span<const float> embeddings, int64_t position) {
  const int64_t hidden = bundle_.hidden_size;
  const int64_t count = static_cast<int64_t>(embeddings.size()) / hidden;
  if (count == 0 || count * hidden != static_cast<int64_t>(embeddings.size())) {
    throw Failure(Exit::kInput, std::to_string(embeddings.size()) +
                                    " embedding values are no whole number of tokens of " +
                                    std::to_string(hidden) + ".");
  }
  if (position < 0 || position + count > bundle_.max_context) {
    throw Failure(Exit::kInput, std::to_string(position) + " tokens are in the cache and " +
                                    std::to_string(count) + " more do not fit: the program holds " +
                                    std::to_string(bundle_.max_context) + ".");
  }
  std::vector<float> logits;
  for (int64_t at = 0; at < count; at += bundle_.max_prefill) {
    const int64_t part = std::min(bundle_.max_prefill, count - at);
    auto input = from_blob(const_cast<float*>(embeddings.data() + at * hidden),
                           {1, sizes(part), sizes(hidden)});
    int64_t start = position + at;
    logits = run(*module_, "text_decoder", {input, from_blob(&start, {1}, ScalarType::Long)});
  }
  return logits;
}

}  // namespace hydra
