// Answers a file of questions into a file of answers that a killed run goes on with.

#pragma once

#include <filesystem>

#include "program.h"

namespace hydra {

// Answers what `answers` does not hold yet; each answer is in the file before the next question is
// asked. A line that a killed run left half-written is cut off. Throws Failure.
void answer_requests(Program& program, const std::filesystem::path& requests,
                     const std::filesystem::path& answers);

}  // namespace hydra
