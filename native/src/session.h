// What a run tells about itself: program, machine, threads, loading.

#pragma once

#include <nlohmann/json.hpp>

#include "program.h"

namespace hydra {

nlohmann::ordered_json session_facts(const Program& program);

}  // namespace hydra
