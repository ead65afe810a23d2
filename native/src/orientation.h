// How a camera was held: the Exif tag Orientation of a JPEG or PNG, and turning a picture by it.

#pragma once

#include <vector>

#include "picture.h"

namespace hydra {

// 1 to 8 of CIPA DC-008, 4.6.5; 1, upright, where there is none or the metadata are damaged.
int orientation_of(const std::vector<char>& file);

Picture upright(Picture picture, int orientation);

}  // namespace hydra
