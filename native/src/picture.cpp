#include "picture.h"

#include <algorithm>
#include <fstream>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#include <stb/stb_image.h>

#include "failure.h"
#include "resample.h"

namespace hydra {
namespace {

// How many times longer than wide a picture may be before cropping cuts its ends off first.
constexpr int kLongestStrip = 200;

std::vector<char> read_bytes(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) throw Failure(Exit::kInput, file.string() + " is missing: expected a picture.");
  std::vector<char> bytes(static_cast<std::size_t>(stream.tellg()));
  stream.seekg(0);
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!stream) throw Failure(Exit::kInput, file.string() + " cannot be read.");
  return bytes;
}

// The part of a picture from (left, top) on.
Picture cut(const Picture& picture, int left, int top, int width, int height) {
  Picture part{width, height, {}};
  part.rgb.reserve(std::size_t{3} * width * height);
  for (int y = 0; y < height; ++y) {
    const auto row = picture.rgb.begin() + std::ptrdiff_t{3} * ((y + top) * picture.width + left);
    part.rgb.insert(part.rgb.end(), row, row + std::ptrdiff_t{3} * width);
  }
  return part;
}

Picture padded(const Picture& picture, const ImageRecipe& recipe) {
  const int side = std::max(picture.width, picture.height);
  Picture square{side, side, {}};
  square.rgb.resize(std::size_t{3} * side * side);
  for (std::size_t at = 0; at < square.rgb.size(); ++at) {
    // LLaVA truncates the mean colour to integers.
    square.rgb[at] = static_cast<uint8_t>(255 * recipe.mean[at % 3]);
  }
  const int left = (side - picture.width) / 2, top = (side - picture.height) / 2;
  for (int y = 0; y < picture.height; ++y) {
    const auto row = picture.rgb.begin() + std::ptrdiff_t{3} * y * picture.width;
    std::copy(row, row + std::ptrdiff_t{3} * picture.width,
              square.rgb.begin() + std::ptrdiff_t{3} * ((y + top) * side + left));
  }
  return square;
}

Picture cropped(Picture picture, const ImageRecipe& recipe) {
  const int shortest = std::min(picture.width, picture.height);
  const int longest = std::max(picture.width, picture.height);
  const int64_t excess = std::max<int64_t>(0, longest - int64_t{kLongestStrip} * shortest) / 2;
  if (excess > 0) {
    const int off = static_cast<int>(excess);
    const int x = picture.width > picture.height ? off : 0, y = off - x;
    picture = cut(picture, x, y, picture.width - 2 * x, picture.height - 2 * y);
  }
  // The long side is truncated to an integer.
  const auto scaled = [&](int side) {
    const double exact = static_cast<double>(int64_t{recipe.size} * side) / shortest;
    return side == shortest ? recipe.size : static_cast<int>(exact);
  };
  const int width = scaled(picture.width), height = scaled(picture.height);
  picture = resize(picture, width, height, recipe.filter);
  return cut(picture, (width - recipe.size) / 2, (height - recipe.size) / 2, recipe.size,
             recipe.size);
}

}  // namespace

Picture read_picture(const std::filesystem::path& file) {
  const auto bytes = read_bytes(file);
  Picture picture;
  int channels = 0;
  unsigned char* rgb = stbi_load_from_memory(reinterpret_cast<const unsigned char*>(bytes.data()),
                                             static_cast<int>(bytes.size()), &picture.width,
                                             &picture.height, &channels, 3);
  if (rgb == nullptr) {
    throw Failure(Exit::kInput, file.string() + " is no readable PNG or JPEG (" +
                                    stbi_failure_reason() +
                                    ").\nConvert it, or give its pixels as a file *.f32.");
  }
  picture.rgb.assign(rgb, rgb + std::size_t{3} * picture.width * picture.height);
  stbi_image_free(rgb);
  return picture;
}

std::vector<float> preprocess(Picture picture, const ImageRecipe& recipe) {
  if (picture.width != picture.height && recipe.fit == Fit::kPad) {
    picture = padded(picture, recipe);
  } else if (picture.width != picture.height && recipe.fit == Fit::kCrop) {
    picture = cropped(std::move(picture), recipe);
  }
  if (picture.width != recipe.size || picture.height != recipe.size) {
    picture = resize(picture, recipe.size, recipe.size, recipe.filter);
  }
  const std::size_t area = static_cast<std::size_t>(recipe.size) * recipe.size;
  std::vector<float> pixels(3 * area);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const float mean = static_cast<float>(recipe.mean[channel]);
    const float deviation = static_cast<float>(recipe.std[channel]);
    for (std::size_t at = 0; at < area; ++at) {
      const float value = static_cast<float>(picture.rgb[3 * at + channel]) / 255.0F;
      pixels[channel * area + at] = (value - mean) / deviation;
    }
  }
  return pixels;
}

std::vector<float> read_pixels(const std::filesystem::path& file, const ImageRecipe& recipe) {
  if (file.extension() != ".f32") return preprocess(read_picture(file), recipe);
  const auto bytes = read_bytes(file);
  const std::size_t expected = std::size_t{3} * recipe.size * recipe.size * sizeof(float);
  if (bytes.size() != expected) {
    throw Failure(Exit::kInput, file.string() + " has " + std::to_string(bytes.size()) +
                                    " bytes; pixels float32 [1, 3, " + std::to_string(recipe.size) +
                                    ", " + std::to_string(recipe.size) + "] have " +
                                    std::to_string(expected) + ".");
  }
  std::vector<float> pixels(expected / sizeof(float));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(pixels.data()));
  return pixels;
}

}  // namespace hydra
