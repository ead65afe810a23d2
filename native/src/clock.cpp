#include "clock.h"

#include <fstream>
#include <string>

namespace hydra {

int64_t peak_resident_bytes() {
  // Not getrusage: its maximum is inherited from the process that started this one.
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    if (key == "VmHWM:") {
      int64_t kilobytes = 0;
      status >> kilobytes;
      return kilobytes * 1024;
    }
    status.ignore(4096, '\n');
  }
  return 0;
}

}  // namespace hydra
