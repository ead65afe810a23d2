#include "json_text.h"

#include <fstream>
#include <iterator>

namespace hydra {
namespace {

// A manifest has some kilobytes; memory is asked for after its size is known.
constexpr uintmax_t kMostBytes = 64 << 20;

}  // namespace

std::string read_text(const std::filesystem::path& file, const std::string& what) {
  const auto refuse = [&](const std::string& found) {
    throw Failure(Exit::kInput, file.string() + found + ": expected " + what + ".");
  };
  std::error_code error;
  if (!std::filesystem::exists(file, error)) refuse(" is missing");
  if (!std::filesystem::is_regular_file(file, error)) refuse(" is no file");
  const auto size = std::filesystem::file_size(file, error);
  if (error || size > kMostBytes) refuse(" has " + std::to_string(size) + " bytes");
  std::ifstream stream(file, std::ios::binary);
  if (!stream) refuse(" cannot be opened");
  return std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

}  // namespace hydra
