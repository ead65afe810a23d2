#include "orientation.h"

#include <cstring>
#include <string_view>

namespace hydra {
namespace {

constexpr unsigned kOrientation = 0x0112;

// Bytes that are never read beyond their end: what is not there is 0.
class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : bytes_(bytes) {}

  std::size_t size() const { return bytes_.size(); }
  bool starts(std::size_t at, std::string_view text) const {
    return at <= size() && bytes_.substr(at, text.size()) == text;
  }
  Bytes from(std::size_t at, std::size_t count) const {
    return Bytes(at <= size() ? bytes_.substr(at, count) : std::string_view());
  }
  std::size_t number(std::size_t at, std::size_t count, bool little) const {
    std::size_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t place = at + (little ? count - 1 - i : i);
      value = value << 8 | (place < size() ? static_cast<unsigned char>(bytes_[place]) : 0);
    }
    return value;
  }

 private:
  std::string_view bytes_;
};

// The TIFF structure in which Exif is written.
int in_tiff(const Bytes& tiff) {
  const bool little = tiff.starts(0, "II");
  if (!little && !tiff.starts(0, "MM")) return 1;
  const std::size_t directory = tiff.number(4, 4, little),
                    entries = tiff.number(directory, 2, little);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) break;
    if (tiff.number(entry, 2, little) != kOrientation) continue;
    const std::size_t value = tiff.number(entry + 8, 2, little);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

int in_jpeg(const Bytes& file) {
  std::size_t at = 2;
  while (at + 4 <= file.size() && file.number(at, 1, false) == 0xFF) {
    const std::size_t marker = file.number(at + 1, 1, false),
                      length = file.number(at + 2, 2, false);
    if (marker == 0xDA || length < 2) break;  // the pixels follow
    constexpr std::string_view kExif("Exif\0\0", 6);
    if (marker == 0xE1 && file.starts(at + 4, kExif))
      return in_tiff(file.from(at + 10, length - 8));
    at += 2 + length;
  }
  return 1;
}

int in_png(const Bytes& file) {
  std::size_t at = 8;
  while (at + 12 <= file.size()) {
    const std::size_t length = file.number(at, 4, false);
    if (file.starts(at + 4, "eXIf")) return in_tiff(file.from(at + 8, length));
    if (file.starts(at + 4, "IEND")) break;
    at += 12 + length;
  }
  return 1;
}

}  // namespace

int orientation_of(const std::vector<char>& file) {
  const Bytes bytes(std::string_view(file.data(), file.size()));
  if (bytes.starts(0, "\xFF\xD8")) return in_jpeg(bytes);
  if (bytes.starts(0, "\x89PNG")) return in_png(bytes);
  return 1;
}

Picture upright(Picture picture, int orientation) {
  if (orientation < 2 || orientation > 8) return picture;
  const int width = picture.width, height = picture.height;
  const bool turned = orientation >= 5;
  Picture seen{turned ? height : width, turned ? width : height, {}};
  seen.rgb.resize(picture.rgb.size());
  uint8_t* out = seen.rgb.data();
  for (int y = 0; y < seen.height; ++y) {
    for (int x = 0; x < seen.width; ++x) {
      // Where the stored picture has what is seen at (x, y).
      const int column = orientation <= 3   ? width - 1 - x
                         : orientation == 4 ? x
                         : orientation <= 6 ? y
                                            : width - 1 - y;
      const int row = orientation == 2                       ? y
                      : orientation == 3 || orientation == 4 ? height - 1 - y
                      : orientation == 5 || orientation == 8 ? x
                                                             : height - 1 - x;
      std::memcpy(out, picture.rgb.data() + 3 * (std::size_t{1} * row * width + column), 3);
      out += 3;
    }
  }
  return seen;
}

}  // namespace hydra
