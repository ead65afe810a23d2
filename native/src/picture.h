// A picture to pixels, with the arithmetic of the recipe in the bundle's manifest.
//
// The steps and their rounding are those of hydra_mobile/models/preprocessing.py, which resizes
// with Pillow 13: two passes of 8-bit results with 22 bits of fraction in the weights. PNG files
// give the same pixels; a JPEG decoder may differ by a few levels from another one.

#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "bundle.h"

namespace hydra {

struct Picture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // rows from the top, 3 bytes a pixel
};

// `turn`: what a person sees, turned as Exif says and transparent pixels on white. False: as the
// pixels are stored and opaque, which is how published benchmarks score them.
// Throws Failure(kInput) when the file is missing or is neither PNG nor JPEG.
Picture read_picture(const std::filesystem::path& file, bool turn = true);

// Pixels float32 [squares, 3, size, size].
std::vector<float> preprocess(Picture picture, const ImageRecipe& recipe);

// The same of a file: a picture, or raw little-endian float32 where its name ends in `.f32`.
std::vector<float> read_pixels(const std::filesystem::path& file, const ImageRecipe& recipe,
                               bool turn = true);

}  // namespace hydra
