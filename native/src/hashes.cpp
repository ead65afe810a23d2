#include "hashes.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "failure.h"

namespace hydra {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kNote = ".sha256.json";
constexpr std::size_t kRead = std::size_t{1} << 20;
// A file that changed less long ago could change again without its times telling.
constexpr int64_t kSettledSeconds = 2;

constexpr std::array<uint32_t, 64> kRounds = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::string sha256_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> part(kRead);
  Sha256 hash;
  while (file) {
    file.read(part.data(), static_cast<std::streamsize>(part.size()));
    hash.add(reinterpret_cast<const unsigned char*>(part.data()),
             static_cast<std::size_t>(file.gcount()));
  }
  if (!file.eof()) throw Failure(Exit::kInput, path.string() + " cannot be read.");
  return hash.digest();
}

// What changes when a file does; a copy or another file in its place has another inode.
Json state_of(const std::filesystem::path& path) {
  struct stat found{};
  if (stat(path.c_str(), &found) != 0) {
    throw Failure(Exit::kInput, path.string() + " cannot be read.");
  }
  const auto nanoseconds = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return {found.st_size, nanoseconds(found.st_mtim), nanoseconds(found.st_ctim), found.st_ino};
}

void write(const std::filesystem::path& note, const Json& known) {
  auto temporary = note;
  temporary += "." + std::to_string(getpid()) + ".tmp";
  std::ofstream stream(temporary, std::ios::binary);
  stream << known.dump() << "\n";
  stream.close();
  std::error_code error;
  if (stream) std::filesystem::rename(temporary, note, error);
  if (!stream || error) std::filesystem::remove(temporary, error);
}

}  // namespace

void Sha256::take(const unsigned char* block) {
  uint32_t words[64];
  for (int t = 0; t < 16; ++t) {
    words[t] = uint32_t{block[4 * t]} << 24 | uint32_t{block[4 * t + 1]} << 16 |
               uint32_t{block[4 * t + 2]} << 8 | uint32_t{block[4 * t + 3]};
  }
  for (int t = 16; t < 64; ++t) {
    const uint32_t early = words[t - 15], late = words[t - 2];
    words[t] = words[t - 16] + words[t - 7] +
               (std::rotr(early, 7) ^ std::rotr(early, 18) ^ early >> 3) +
               (std::rotr(late, 17) ^ std::rotr(late, 19) ^ late >> 10);
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (int t = 0; t < 64; ++t) {
    const uint32_t first = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                           ((e & f) ^ (~e & g)) + kRounds[t] + words[t];
    const uint32_t second =
        (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
  }
  const uint32_t more[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state_[i] += more[i];
}

void Sha256::add(const unsigned char* bytes, std::size_t count) {
  while (count > 0) {
    const std::size_t held = length_ % 64, part = std::min<std::size_t>(64 - held, count);
    std::memcpy(rest_ + held, bytes, part);
    length_ += part, bytes += part, count -= part;
    if (length_ % 64 == 0) take(rest_);
  }
}

std::string Sha256::digest() {
  const uint64_t bits = length_ * 8;
  const unsigned char mark = 0x80, zero = 0;
  add(&mark, 1);
  while (length_ % 64 != 56) add(&zero, 1);
  unsigned char size[8];
  for (int i = 0; i < 8; ++i) size[i] = static_cast<unsigned char>(bits >> (56 - 8 * i));
  add(size, 8);
  std::string text;
  for (const uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
  }
  return text;
}

std::string remembered_sha256(const std::filesystem::path& folder, const std::string& name) {
  const auto note = folder / kNote;
  const Json state = state_of(folder / name);
  Json known = Json::object();
  if (std::ifstream stream(note); stream) {
    // Without exceptions: a damaged note is none.
    Json read = Json::parse(stream, nullptr, false);
    if (read.is_object()) known = std::move(read);
  }
  if (const auto found = known.find(name); found != known.end() && found->is_object()) {
    const auto digest = found->find("sha256");
    if (found->value("state", Json()) == state && digest != found->end() && digest->is_string()) {
      return digest->get<std::string>();
    }
  }
  const std::string digest = sha256_of(folder / name);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const int64_t age = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count() -
                      std::max(state[1].get<int64_t>(), state[2].get<int64_t>());
  // A file that changed meanwhile is not vouched for.
  if (age > kSettledSeconds * 1'000'000'000 && state_of(folder / name) == state) {
    known[name] = {{"state", state}, {"sha256", digest}};
    write(note, known);
  }
  return digest;
}

}  // namespace hydra
