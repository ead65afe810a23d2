#include "attention.h"

#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/core/function_ref.h>
#include <executorch/runtime/kernel/kernel_runtime_context.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "failure.h"

// In ExecuTorch's library of threads; its header declares it for some ways of compiling only.
namespace executorch::extension {
bool parallel_for(int64_t begin, int64_t end, int64_t grain,
                  runtime::FunctionRef<void(int64_t, int64_t)> function);
}

namespace hydra {
namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Kernel;
using executorch::runtime::KernelRuntimeContext;
using executorch::runtime::Span;

constexpr const char* kUpdateCache = "llama::update_cache.out";
constexpr const char* kAttention = "llama::custom_sdpa.out";
// Partial sums that a compiler can keep in one vector, whatever the order of its additions.
constexpr int64_t kLanes = 16;

bool is_float_of_rank_four(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Float && tensor.dim() == 4 && tensor.size(0) == 1;
}

float dot(const float* a, const float* b, int64_t count) {
  float sums[kLanes] = {};
  int64_t at = 0;
  for (; at + kLanes <= count; at += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[at + lane] * b[at + lane];
  }
  float sum = 0;
  for (; at < count; ++at) sum += a[at] * b[at];
  for (const float part : sums) sum += part;
  return sum;
}

// value [1, S, heads, D] to the rows from `start` of cache [1, L, heads, D]; the result is empty.
void update_cache(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor value = stack[0]->toTensor();
  Tensor cache = stack[1]->toTensor();
  const int64_t start = stack[2]->toInt();
  const bool fits = is_float_of_rank_four(value) && is_float_of_rank_four(cache) &&
                    value.size(2) == cache.size(2) && value.size(3) == cache.size(3) &&
                    start >= 0 && start + value.size(1) <= cache.size(1);
  if (!fits) return context.fail(Error::InvalidArgument);
  const int64_t row = cache.size(2) * cache.size(3);
  std::memcpy(cache.mutable_data_ptr<float>() + start * row, value.const_data_ptr<float>(),
              static_cast<std::size_t>(value.numel()) * sizeof(float));
}

// Attention of the queries at positions `start`.. over a cache, softmax(q k / sqrt(D)) v (Vaswani
// et al. 2017, eq. 1): q [1, S, heads, D], keys and values [1, L, kv_heads, D]. Without a mask each
// query sees the positions up to its own; a mask [S, L], added to the scores, says what it sees of
// all L: windows, and pictures that look both ways.
struct Attention {
  const float* query;
  const float* keys;
  const float* values;
  const float* mask;
  float* out;
  int64_t length, heads, kv_heads, size, start, slots;
  float scale;

  void head(int64_t head) const {
    const int64_t group = head / (heads / kv_heads);
    const int64_t stride = kv_heads * size;
    constexpr float kUnseen = -std::numeric_limits<float>::infinity();
    std::vector<float> weights(static_cast<std::size_t>(mask ? slots : start + length));
    for (int64_t at = 0; at < length; ++at) {
      const float* own = query + (at * heads + head) * size;
      const float* added = mask ? mask + at * slots : nullptr;
      const int64_t seen = mask ? slots : start + at + 1;
      float most = kUnseen;
      for (int64_t key = 0; key < seen; ++key) {
        // Masks hold the lowest number where a key is not seen: most of a cache is behind the last
        // token. The token itself is always seen.
        if (added && added[key] <= std::numeric_limits<float>::lowest()) {
          weights[key] = kUnseen;
          continue;
        }
        weights[key] = scale * dot(own, keys + key * stride + group * size, size);
        if (added) weights[key] += added[key];
        most = std::max(most, weights[key]);
      }
      float total = 0;
      for (int64_t key = 0; key < seen; ++key)
        total += weights[key] = std::exp(weights[key] - most);
      float* result = out + (at * heads + head) * size;
      std::fill_n(result, size, 0.0F);
      for (int64_t key = 0; key < seen; ++key) {
        const float weight = weights[key] / total;
        if (weight == 0) continue;
        const float* value = values + key * stride + group * size;
        for (int64_t i = 0; i < size; ++i) result[i] += weight * value[i];
      }
    }
  }
};

// The operator's other arguments (dropout, attention without a mask to what comes later) are
// refused: no program of ours has them.
void custom_sdpa(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor query = stack[0]->toTensor();
  const Tensor keys = stack[1]->toTensor();
  const Tensor values = stack[2]->toTensor();
  const int64_t start = stack[3]->toInt();
  Tensor out = stack[8]->toTensor();
  const bool fits = is_float_of_rank_four(query) && is_float_of_rank_four(keys) &&
                    is_float_of_rank_four(values) && keys.sizes() == values.sizes() &&
                    query.size(3) == keys.size(3) && query.size(2) % keys.size(2) == 0 &&
                    start >= 0 && start + query.size(1) <= keys.size(1);
  if (!fits || stack[5]->toDouble() != 0) return context.fail(Error::InvalidArgument);
  // Either a mask says what is seen, or what comes later is not.
  const bool masked = !stack[4]->isNone(), causal = stack[6]->toBool();
  if (masked == causal) return context.fail(Error::InvalidArgument);
  const float* mask = nullptr;
  if (masked) {
    const Tensor given = stack[4]->toTensor();
    if (given.scalar_type() != ScalarType::Float || given.dim() != 2 ||
        given.size(0) != query.size(1) || given.size(1) != keys.size(1)) {
      return context.fail(Error::InvalidArgument);
    }
    mask = given.const_data_ptr<float>();
  }
  if (executorch::runtime::resize_tensor(out, query.sizes()) != Error::Ok) {
    return context.fail(Error::InvalidArgument);
  }
  Attention attention{};
  attention.query = query.const_data_ptr<float>();
  attention.keys = keys.const_data_ptr<float>();
  attention.values = values.const_data_ptr<float>();
  attention.mask = mask;
  attention.out = out.mutable_data_ptr<float>();
  attention.length = query.size(1);
  attention.heads = query.size(2);
  attention.kv_heads = keys.size(2);
  attention.size = query.size(3);
  attention.start = start;
  attention.slots = keys.size(1);
  attention.scale = stack[7]->isNone() ? 1.0F / std::sqrt(static_cast<float>(attention.size))
                                       : static_cast<float>(stack[7]->toDouble());
  executorch::extension::parallel_for(0, attention.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) attention.head(head);
  });
}

void add(const char* name, executorch::runtime::OpFunction function) {
  if (executorch::runtime::register_kernel(Kernel(name, function)) != Error::Ok) {
    throw Failure(Exit::kProgram, std::string(name) + " cannot be registered.");
  }
}

}  // namespace

void register_attention() {
  static const bool registered = [] {
    add(kUpdateCache, update_cache);
    add(kAttention, custom_sdpa);
    return true;
  }();
  (void)registered;
}

}  // namespace hydra
