// sha256 of files (FIPS 180-4), computed once for each state of a file.
//
// What was found is noted in a small file of the folder, beside the size, times and inode that the
// file had: hundreds of megabytes are not read again at each start. Where the note cannot be
// written or read it is done without.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace hydra {

// Receives bytes, gives their digest in hexadecimal.
class Sha256 {
 public:
  void add(const unsigned char* bytes, std::size_t count);
  std::string digest();

 private:
  void take(const unsigned char* block);

  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char rest_[64] = {};
  uint64_t length_ = 0;
};

// The sha256 of `name` in `folder`, from the note where the file has not changed since.
// Throws Failure(kInput) when the file cannot be read.
std::string remembered_sha256(const std::filesystem::path& folder, const std::string& name);

}  // namespace hydra
