// Questions from a file of JSON lines; README.md lists the keys.

#pragma once

#include <filesystem>
#include <vector>

#include "bundle.h"
#include "generation.h"

namespace hydra {

// Reads and checks every question before the first is asked: nobody waits an hour for one that
// cannot be answered. Relative paths lie beside the file. Throws Failure(kInput) naming the line.
std::vector<Question> read_requests(const std::filesystem::path& file, const Bundle& bundle);

}  // namespace hydra
