// The failures that a user can mend, each with the exit code that tells a script what happened.

#pragma once

#include <stdexcept>
#include <string>

namespace hydra {

enum class Exit : int {
  kDone = 0,
  kInput = 2,    // arguments, bundle or requests are wrong; nothing was computed
  kProgram = 3,  // the runtime refused or failed to run the program
  kOutput = 4,   // answers cannot be written: full disk, missing folder
  kMemory = 5,   // no memory left
};

class Failure : public std::runtime_error {
 public:
  Failure(Exit code, const std::string& what) : std::runtime_error(what), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

}  // namespace hydra
