// hydra-runner: answers questions with a bundle, without Python and without torch.

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <exception>
#include <iostream>
#include <map>
#include <new>
#include <string>

#include "batch.h"
#include "bundle.h"
#include "failure.h"
#include "picture.h"
#include "program.h"
#include "serve.h"

namespace {

using hydra::Exit;
using hydra::Failure;

constexpr const char* kUsage =
    "usage: hydra-runner --bundle DIR --requests FILE --answers FILE [--threads N] [--cold]\n"
    "       hydra-runner --bundle DIR --serve [--threads N] [--cold]\n"
    "       hydra-runner --bundle DIR --pixels PICTURE > FILE.f32\n"
    "       hydra-runner --version";

std::map<std::string, std::string> options(int count, char** values) {
  std::map<std::string, std::string> found;
  for (int at = 1; at < count; ++at) {
    const std::string name = values[at];
    if (name == "--serve" || name == "--version" || name == "--cold") {
      found[name] = "yes";
      continue;
    }
    const bool known = name == "--bundle" || name == "--requests" || name == "--answers" ||
                       name == "--threads" || name == "--pixels";
    if (!known) throw Failure(Exit::kInput, "unknown argument `" + name + "`.\n" + kUsage);
    if (++at == count) throw Failure(Exit::kInput, name + " lacks its value.\n" + kUsage);
    found[name] = values[at];
  }
  return found;
}

uint32_t thread_count(const std::map<std::string, std::string>& given) {
  if (!given.contains("--threads")) return 0;
  const std::string& text = given.at("--threads");
  uint32_t threads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Failure(Exit::kInput, "--threads is `" + text + "`, expected a number.");
  }
  return threads;
}

// Asks the system to drop a file from its page cache, so that loading it is timed as the first
// time; a system that does not heed it makes the load look warm.
void forget(const std::filesystem::path& file) {
  const int descriptor = open(file.c_str(), O_RDONLY);
  if (descriptor < 0) return;  // loading it says what is wrong
  fsync(descriptor);
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  close(descriptor);
}

void write_pixels(const std::string& picture, const hydra::Bundle& bundle) {
  const auto pixels = hydra::read_pixels(picture, bundle.image, bundle.turn);
  std::cout.write(reinterpret_cast<const char*>(pixels.data()),
                  static_cast<std::streamsize>(pixels.size() * sizeof(float)));
  if (!std::cout.flush()) throw Failure(Exit::kOutput, "standard output cannot be written.");
}

void run(int count, char** values) {
  const auto given = options(count, values);
  if (given.contains("--version")) {
    std::cout << "hydra-runner, executorch " << HYDRA_EXECUTORCH_VERSION << "\n";
    return;
  }
  const bool batch = given.contains("--requests") && given.contains("--answers");
  const int modes = int{batch} + int{given.contains("--serve")} + int{given.contains("--pixels")};
  if (!given.contains("--bundle") || modes != 1) throw Failure(Exit::kInput, kUsage);
  const auto bundle = hydra::Bundle::open(given.at("--bundle"));
  if (given.contains("--pixels")) return write_pixels(given.at("--pixels"), bundle);
  if (given.contains("--cold")) forget(bundle.program);
  hydra::Program program(bundle, thread_count(given));
  if (given.contains("--serve")) return hydra::serve(program);
  hydra::answer_requests(program, given.at("--requests"), given.at("--answers"));
}

}  // namespace

int main(int count, char** values) {
  try {
    run(count, values);
    return static_cast<int>(Exit::kDone);
  } catch (const Failure& failure) {
    std::cerr << "error: " << failure.what() << "\n";
    return static_cast<int>(failure.code());
  } catch (const std::bad_alloc&) {
    std::cerr << "error: no memory left.\n";
    return static_cast<int>(Exit::kMemory);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return static_cast<int>(Exit::kInput);
  }
}
