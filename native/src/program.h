// The three methods of a bundle's program, on plain vectors of floats.
//
// Knows ExecuTorch; knows no prompt and no picture file.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bundle.h"

namespace executorch::extension::module {
class Module;
}

namespace hydra {

class Program {
 public:
  // Loads the program and calls each method once, because delegates pack their weights at the
  // first call. `threads` 0 leaves the choice to the runtime. Throws Failure(kProgram), or
  // Failure(kInput) where the runtime lacks an operator of the program.
  Program(Bundle bundle, uint32_t threads);
  ~Program();

  const Bundle& bundle() const { return bundle_; }
  double load_seconds() const { return load_seconds_; }
  std::size_t threads() const;

  // Pixels [3, H, W] to image embeddings [N, hidden].
  std::vector<float> encode_image(std::span<const float> pixels);
  // n ids to embeddings [n, hidden].
  std::vector<float> embed(std::span<const int64_t> ids);
  // Appends embeddings [n, hidden] at `position` of the cache, in calls of at most `max_prefill`;
  // returns the last logits [vocab]. Throws Failure(kInput) when they do not fit.
  std::vector<float> decode(std::span<const float> embeddings, int64_t position);

 private:
  Bundle bundle_;
  std::unique_ptr<executorch::extension::module::Module> module_;
  double load_seconds_ = 0;
};

}  // namespace hydra
