#include "session.h"

#include <sys/utsname.h>

#include "clock.h"

namespace hydra {

nlohmann::ordered_json session_facts(const Program& program) {
  utsname system{};
  uname(&system);
  return {
      {"protocol", 1},
      {"program_sha256", program.bundle().program_sha256},
      {"preset", program.bundle().preset},
      {"executorch", HYDRA_EXECUTORCH_VERSION},
      {"machine", system.machine},
      {"threads", program.threads()},
      {"load_seconds", program.load_seconds()},
      {"peak_memory_bytes", peak_resident_bytes()},
  };
}

}  // namespace hydra
