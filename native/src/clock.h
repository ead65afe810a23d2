// Wall-clock seconds, and the most memory that this process has held.

#pragma once

#include <chrono>
#include <cstdint>

namespace hydra {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

// Peak resident bytes of this process; 0 where the system does not tell. Under an emulator it is
// the emulator's own.
int64_t peak_resident_bytes();

}  // namespace hydra
