// JSON as Python and the app read it: a key twice, values nested too deep and a mark of the byte
// order are refused, and a file is only read up to a bound.

#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

#include "failure.h"

namespace hydra {

// As deep as the other readers go.
inline constexpr int kDeepest = 64;

// Returns what a text says. Throws Failure where a key is there twice or values are nested deeper
// than `kDeepest`, and Json::exception where it is no JSON; `where` names it.
template <typename Json>
Json parse_json(const std::string& text, const std::string& where) {
  if (text.rfind("\xEF\xBB\xBF", 0) == 0) {
    throw Failure(Exit::kInput, where + ": the text begins with U+FEFF, expected JSON.");
  }
  std::vector<std::unordered_set<std::string>> open;
  const auto look = [&](int depth, typename Json::parse_event_t event, Json& value) {
    using Event = typename Json::parse_event_t;
    const bool starts = event == Event::object_start || event == Event::array_start;
    if (starts && depth >= kDeepest) {
      throw Failure(Exit::kInput, where + ": values are nested more than " +
                                      std::to_string(kDeepest) + " levels deep.");
    }
    if (event == Event::object_start) open.emplace_back();
    if (event == Event::object_end) open.pop_back();
    if (event == Event::key && !open.back().insert(value.template get<std::string>()).second) {
      throw Failure(Exit::kInput, where + ": the key `" +
                                      value.template get<std::string>().substr(0, 80) +
                                      "` is there twice in one object.");
    }
    return true;
  };
  return Json::parse(text, look);
}

// Returns the bytes of a file. Throws Failure where it is none, or larger than any manifest.
std::string read_text(const std::filesystem::path& file, const std::string& what);

}  // namespace hydra
