// The program's methods over standard input and output, for a host that drives them itself.
//
// Each message is one line of JSON, followed by the raw little-endian float32 values that its key
// `floats` counts. README.md lists the messages.

#pragma once

#include "program.h"

namespace hydra {

// Answers until standard input ends. A wrong request gets an error and ends nothing.
void serve(Program& program);

}  // namespace hydra
