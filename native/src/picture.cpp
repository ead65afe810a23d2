#include "picture.h"

#include <algorithm>
#include <fstream>
#include <memory>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#include <stb/stb_image.h>

#include "failure.h"
#include "orientation.h"
#include "resample.h"

namespace hydra {
namespace {

// How many times longer than wide a picture may be before cropping cuts its ends off first.
constexpr int kLongestStrip = 200;
// The limits of hydra_mobile/models/pictures.py and preprocessing.py.
constexpr int64_t kMostPixels = 128'000'000;
constexpr int kLongestSide = 65'535;
constexpr int kBand = 4'000'000;

std::vector<char> read_bytes(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) throw Failure(Exit::kInput, file.string() + " is missing: expected an image.");
  std::vector<char> bytes(static_cast<std::size_t>(stream.tellg()));
  stream.seekg(0);
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!stream) throw Failure(Exit::kInput, file.string() + " cannot be read.");
  return bytes;
}

// Where the pixel (x, y) of rows of `width` begins: beyond 32 bits for long strips.
std::ptrdiff_t offset(int width, int y, int x) {
  return std::ptrdiff_t{3} * (std::ptrdiff_t{y} * width + x);
}

// Pillow's alpha_composite on white: transparent pixels carry arbitrary colors.
uint8_t on_white(unsigned value, unsigned alpha) {
  const unsigned own = alpha * 128, mixed = value * own + 255 * (255 * 128 - own) + (0x80 << 7);
  return static_cast<uint8_t>((((mixed >> 8) + mixed) >> 8) >> 7);
}

// The part of a picture from (left, top) on.
Picture cut(const Picture& picture, int left, int top, int width, int height) {
  Picture part{width, height, {}};
  part.rgb.reserve(std::size_t{3} * width * height);
  for (int y = 0; y < height; ++y) {
    const auto row = picture.rgb.begin() + offset(picture.width, y + top, left);
    part.rgb.insert(part.rgb.end(), row, row + std::ptrdiff_t{3} * width);
  }
  return part;
}

// A square with the picture in its middle, already as narrow as the recipe wants it. The square
// itself is never held: a strip of 60,000 pixels would make 10 GB of it. Rows are resized before
// columns, so bands of rows give the same numbers.
Picture padded(const Picture& picture, const ImageRecipe& recipe) {
  const int side = std::max(picture.width, picture.height);
  const int left = (side - picture.width) / 2, top = (side - picture.height) / 2;
  const auto filled = [&](int width, int height) {
    Picture filled{width, height, {}};
    filled.rgb.resize(std::size_t{3} * width * height);
    for (std::size_t at = 0; at < filled.rgb.size(); ++at) {
      // LLaVA truncates the mean color to integers.
      filled.rgb[at] = static_cast<uint8_t>(255 * recipe.mean[at % 3]);
    }
    return filled;
  };
  Picture narrow = filled(recipe.size, side);
  const int rows = std::max(1, kBand / side);
  for (int first = 0; first < picture.height; first += rows) {
    const int count = std::min(rows, picture.height - first);
    Picture band = filled(side, count);
    for (int y = 0; y < count; ++y) {
      const auto row = picture.rgb.begin() + offset(picture.width, first + y, 0);
      std::copy(row, row + std::ptrdiff_t{3} * picture.width,
                band.rgb.begin() + offset(side, y, left));
    }
    band = resize(band, recipe.size, count, recipe.filter);
    std::copy(band.rgb.begin(), band.rgb.end(),
              narrow.rgb.begin() + offset(recipe.size, top + first, 0));
  }
  return narrow;
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

// The squares of a picture in tiles.
std::vector<Picture> tiled(const Picture& picture, const ImageRecipe& recipe) {
  const int size = recipe.size;
  const Picture grid = resize(picture, recipe.columns * size, recipe.rows * size, recipe.filter);
  std::vector<Picture> squares;
  for (int y = 0; y < recipe.rows; ++y) {
    for (int x = 0; x < recipe.columns; ++x) {
      squares.push_back(cut(grid, x * size, y * size, size, size));
    }
  }
  squares.push_back(resize(recipe.overview_of_grid ? grid : picture, size, size, recipe.filter));
  return squares;
}

// The one square of a picture without tiles.
Picture square(Picture picture, const ImageRecipe& recipe) {
  if (picture.width != picture.height && recipe.fit == Fit::kPad) {
    picture = padded(picture, recipe);
  } else if (picture.width != picture.height && recipe.fit == Fit::kCrop) {
    picture = cropped(std::move(picture), recipe);
  }
  if (picture.width != recipe.size || picture.height != recipe.size) {
    picture = resize(picture, recipe.size, recipe.size, recipe.filter);
  }
  return picture;
}

// Pixels [3, size, size] of a square.
void normalize(const Picture& square, const ImageRecipe& recipe, float* pixels) {
  const std::size_t area = static_cast<std::size_t>(recipe.size) * recipe.size;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const float mean = static_cast<float>(recipe.mean[channel]);
    const float deviation = static_cast<float>(recipe.std[channel]);
    for (std::size_t at = 0; at < area; ++at) {
      const float value = static_cast<float>(square.rgb[3 * at + channel]) / 255.0F;
      pixels[channel * area + at] = (value - mean) / deviation;
    }
  }
}

}  // namespace

Picture read_picture(const std::filesystem::path& file, bool turn) {
  if (std::filesystem::exists(file) && !std::filesystem::is_regular_file(file)) {
    throw Failure(Exit::kInput, file.string() + " is no regular file: expected an image.");
  }
  const auto bytes = read_bytes(file);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  Picture picture;
  int channels = 0;
  const bool known = stbi_info_from_memory(data, size, &picture.width, &picture.height, &channels);
  if (known && (std::max(picture.width, picture.height) > kLongestSide ||
                int64_t{picture.width} * picture.height > kMostPixels)) {
    throw Failure(Exit::kInput, file.string() + " is too large: " + std::to_string(picture.width) +
                                    " x " + std::to_string(picture.height) + " pixels.");
  }
  const auto reject = [&] {
    throw Failure(Exit::kInput, file.string() + " is no readable PNG or JPEG (" +
                                    stbi_failure_reason() +
                                    ").\nConvert it, or give its pixels as a file *.f32.");
  };
  if (!known) reject();
  const std::size_t count = std::size_t{1} * picture.width * picture.height;
  picture.rgb.resize(3 * count);
  if (channels == 1 && stbi_is_16_bit_from_memory(data, size)) {
    const std::unique_ptr<stbi_us, decltype(&stbi_image_free)> gray(
        stbi_load_16_from_memory(data, size, &picture.width, &picture.height, &channels, 1),
        stbi_image_free);
    if (!gray) reject();
    for (std::size_t at = 0; at < 3 * count; ++at) {
      // The nearest: white is 65,535 = 257 * 255.
      picture.rgb[at] = static_cast<uint8_t>((gray.get()[at / 3] + 128) / 257);
    }
    return turn ? upright(std::move(picture), orientation_of(bytes)) : picture;
  }
  const std::unique_ptr<unsigned char, decltype(&stbi_image_free)> rgba(
      stbi_load_from_memory(data, size, &picture.width, &picture.height, &channels, 4),
      stbi_image_free);
  if (!rgba) reject();
  for (std::size_t at = 0; at < count; ++at) {
    const unsigned char* pixel = rgba.get() + 4 * at;
    for (std::size_t c = 0; c < 3; ++c) {
      picture.rgb[3 * at + c] = turn ? on_white(pixel[c], pixel[3]) : pixel[c];
    }
  }
  return turn ? upright(std::move(picture), orientation_of(bytes)) : picture;
}

std::vector<float> preprocess(Picture picture, const ImageRecipe& recipe) {
  std::vector<Picture> squares;
  if (recipe.fit == Fit::kTiles) {
    squares = tiled(picture, recipe);
  } else {
    squares.push_back(square(std::move(picture), recipe));
  }
  const std::size_t count = std::size_t{3} * recipe.size * recipe.size;
  std::vector<float> pixels(squares.size() * count);
  for (std::size_t at = 0; at < squares.size(); ++at) {
    normalize(squares[at], recipe, pixels.data() + at * count);
  }
  return pixels;
}

std::vector<float> read_pixels(const std::filesystem::path& file, const ImageRecipe& recipe,
                               bool turn) {
  if (file.extension() != ".f32") return preprocess(read_picture(file, turn), recipe);
  const auto bytes = read_bytes(file);
  const std::size_t expected =
      static_cast<std::size_t>(recipe.squares()) * 3 * recipe.size * recipe.size * sizeof(float);
  if (bytes.size() != expected) {
    const std::string side = std::to_string(recipe.size);
    throw Failure(Exit::kInput, file.string() + " has " + std::to_string(bytes.size()) +
                                    " bytes; pixels float32 [" + std::to_string(recipe.squares()) +
                                    ", 3, " + side + ", " + side + "] have " +
                                    std::to_string(expected) + ".");
  }
  std::vector<float> pixels(expected / sizeof(float));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(pixels.data()));
  return pixels;
}

}  // namespace hydra
