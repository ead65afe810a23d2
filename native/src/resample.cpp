#include "resample.h"

#include <algorithm>
#include <cmath>

namespace hydra {
namespace {

// Bits behind the point in a weight: 8 are the result's, 2 are room for overshoot.
constexpr int kFractionBits = 32 - 8 - 2;

// How many source pixels a filter sees to either side where nothing shrinks.
double reach_of(Filter filter) {
  if (filter == Filter::kBilinear) return 1.0;
  return filter == Filter::kBicubic ? 2.0 : 3.0;
}

double sinc(double x) {
  const double angle = x * 3.14159265358979323846;
  return x == 0.0 ? 1.0 : std::sin(angle) / angle;
}

double weight_at(double x, Filter filter) {
  x = std::abs(x);
  if (filter == Filter::kBilinear) return x < 1.0 ? 1.0 - x : 0.0;
  if (filter == Filter::kLanczos) return x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
  constexpr double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// What one pixel of the result is made of: weights of the source pixels from `first` on.
struct Taps {
  int first = 0;
  std::vector<int> weights;
};

std::vector<Taps> taps_of(int from, int to, Filter filter) {
  const double scale = static_cast<double>(from) / to;
  const double stretch = std::max(scale, 1.0);  // shrinking widens the filter
  const double reach = reach_of(filter) * stretch;
  std::vector<Taps> all(static_cast<std::size_t>(to));
  std::vector<double> exact;
  for (int at = 0; at < to; ++at) {
    const double centre = (at + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - reach + 0.5));
    const int end = std::min(from, static_cast<int>(centre + reach + 0.5));
    exact.clear();
    double sum = 0;
    for (int x = first; x < end; ++x) {
      exact.push_back(weight_at((x - centre + 0.5) * (1.0 / stretch), filter));
      sum += exact.back();
    }
    Taps& taps = all[static_cast<std::size_t>(at)];
    taps.first = first;
    for (const double weight : exact) {
      const double share = sum != 0.0 ? weight / sum : weight;
      const double rounding = share < 0 ? -0.5 : 0.5;
      taps.weights.push_back(static_cast<int>(rounding + share * (1 << kFractionBits)));
    }
  }
  return all;
}

// One channel of one pixel: source bytes `step` apart.
uint8_t mixed(const uint8_t* source, std::ptrdiff_t step, const Taps& taps) {
  int sum = 1 << (kFractionBits - 1);
  for (const int weight : taps.weights) {
    sum += *source * weight;
    source += step;
  }
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

Picture across(const Picture& picture, int width, Filter filter) {
  const auto all = taps_of(picture.width, width, filter);
  Picture result{width, picture.height, {}};
  result.rgb.resize(std::size_t{3} * width * picture.height);
  uint8_t* out = result.rgb.data();
  for (int y = 0; y < picture.height; ++y) {
    const uint8_t* row = picture.rgb.data() + std::size_t{3} * y * picture.width;
    for (const Taps& taps : all) {
      for (int c = 0; c < 3; ++c) *out++ = mixed(row + 3 * taps.first + c, 3, taps);
    }
  }
  return result;
}

Picture down(const Picture& picture, int height, Filter filter) {
  const auto all = taps_of(picture.height, height, filter);
  const std::ptrdiff_t stride = std::ptrdiff_t{3} * picture.width;
  Picture result{picture.width, height, {}};
  result.rgb.resize(static_cast<std::size_t>(stride) * height);
  uint8_t* out = result.rgb.data();
  for (const Taps& taps : all) {
    const uint8_t* top = picture.rgb.data() + stride * taps.first;
    for (std::ptrdiff_t x = 0; x < stride; ++x) *out++ = mixed(top + x, stride, taps);
  }
  return result;
}

}  // namespace

Picture resize(const Picture& picture, int width, int height, Filter filter) {
  // Pillow 13 shrinks the height first where that leaves clearly less to do; each pass rounds to
  // 8 bits, so the order shows. (Pillow 12 always began with the width.)
  const int64_t narrower = int64_t{picture.width} - width;
  const int64_t lower = int64_t{picture.height} - height;
  const bool height_first = lower > 0 && lower > 2 * narrower;
  Picture result = picture;
  if (height_first) result = down(result, height, filter);
  if (width != picture.width) result = across(result, width, filter);
  if (height != result.height) result = down(result, height, filter);
  return result;
}

}  // namespace hydra
