// Pillow's resize of 8-bit pictures, written from its documented arithmetic.

#pragma once

#include "picture.h"

namespace hydra {

Picture resize(const Picture& picture, int width, int height, Filter filter);

}  // namespace hydra
