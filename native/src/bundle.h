// What the runner needs of a bundle's manifest: files, limits, shapes, stop ids, image recipe.
//
// The program is compared with its sha256, once for each state of the file: see hashes.h.

#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hydra {

enum class Fit { kPad, kCrop, kStretch, kTiles };
enum class Filter { kBicubic, kBilinear, kLanczos };

// With `Fit::kTiles` a picture is several squares: tiles row by row, then an overview.
struct ImageRecipe {
  int size = 0;                  // side of a square, in pixels
  std::array<double, 3> mean{};  // RGB, in units of [0, 1]
  std::array<double, 3> std{};
  Fit fit = Fit::kPad;
  Filter filter = Filter::kBicubic;
  int rows = 0;  // of tiles
  int columns = 0;
  bool overview_of_grid = false;  // resized from the stretched grid, not from the picture

  int64_t squares() const { return fit == Fit::kTiles ? int64_t{rows} * columns + 1 : 1; }
};

struct Bundle {
  std::filesystem::path program;
  std::string program_sha256;
  std::string preset;
  std::vector<std::string> required_ops;  // kernels outside of delegates, by full name
  int64_t max_context = 0;                // tokens that the cache holds
  int64_t max_prefill = 0;                // most tokens of one call
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_image_tokens = 0;  // of one square
  std::vector<int64_t> stop_ids;
  ImageRecipe image;
  bool turn = true;  // picture files are read as people see them, see read_picture

  // Throws Failure(kInput) when the folder is no whole ExecuTorch bundle.
  static Bundle open(const std::filesystem::path& folder);
};

}  // namespace hydra
