#include "batch.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "clock.h"
#include "failure.h"
#include "generation.h"
#include "json_text.h"
#include "requests.h"
#include "session.h"

namespace hydra {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void cannot_write(const std::filesystem::path& file) {
  throw Failure(Exit::kOutput, file.string() + " cannot be written: " + std::strerror(errno) +
                                   ".\nAnswers written so far are kept; the same command goes on.");
}

// Ids that a file of answers holds; cuts off a last line without an end.
std::unordered_set<std::string> answered(const std::filesystem::path& file,
                                         const std::string& program_sha256) {
  std::unordered_set<std::string> ids;
  if (!std::filesystem::is_regular_file(file)) return ids;
  std::ifstream stream(file, std::ios::binary);
  std::string text;
  uintmax_t whole = 0;
  for (int number = 1; std::getline(stream, text) && !stream.eof(); ++number) {
    const std::string where = file.string() + ":" + std::to_string(number) + ": ";
    try {
      const Json line = parse_json<Json>(text, file.string() + ":" + std::to_string(number));
      if (line.contains("id")) ids.insert(line.at("id").get<std::string>());
      if (line.contains("session") && line.at("session").at("program_sha256") != program_sha256) {
        throw Failure(Exit::kInput, where +
                                        "these are answers of another program.\n"
                                        "Name another file, or delete this one.");
      }
    } catch (const Json::exception& error) {
      throw Failure(Exit::kInput, where + "no answer: " + error.what());
    }
    whole += text.size() + 1;
  }
  stream.close();
  std::error_code error;
  if (std::filesystem::file_size(file) != whole) {
    std::filesystem::resize_file(file, whole, error);
    if (error) cannot_write(file);
  }
  return ids;
}

// Appends lines, each on its way to the disk before the next is computed.
class Lines {
 public:
  explicit Lines(std::filesystem::path file)
      : file_(std::move(file)), stream_(std::fopen(file_.c_str(), "ab")) {
    if (stream_ == nullptr) cannot_write(file_);
  }
  ~Lines() { std::fclose(stream_); }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  void add(const Json& value) {
    const std::string line = value.dump() + "\n";
    const bool written = std::fwrite(line.data(), 1, line.size(), stream_) == line.size();
    if (std::fflush(stream_) != 0 || !written) cannot_write(file_);
  }

 private:
  std::filesystem::path file_;
  std::FILE* stream_;
};

void save_logits(const std::filesystem::path& file, const std::vector<float>& logits) {
  std::filesystem::path temporary = file;
  temporary += ".tmp";
  std::ofstream stream(temporary, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(logits.data()),
               static_cast<std::streamsize>(logits.size() * sizeof(float)));
  stream.close();
  std::error_code error;
  if (stream) std::filesystem::rename(temporary, file, error);
  if (!stream || error) cannot_write(file);
}

Json known(const std::optional<double>& seconds) { return seconds ? Json(*seconds) : Json(); }

Json line_of(const Question& question, const Answer& answer) {
  std::vector<float> logits = answer.first_logits;
  std::partial_sort(logits.begin(), logits.begin() + 2, logits.end(), std::greater<>());
  const double rate = answer.decode_seconds > 0 && answer.decode_steps > 0
                          ? static_cast<double>(answer.decode_steps) / answer.decode_seconds
                          : 0;
  return {
      {"id", question.id},
      {"ids", answer.ids},
      {"ended", answer.ended},
      {"margin", logits[0] - logits[1]},
      {"encode_seconds", known(answer.encode_seconds)},
      {"prefill_seconds", answer.prefill_seconds},
      {"prefill_tokens", answer.prefill_tokens},
      {"first_token_seconds", known(answer.first_token_seconds)},
      {"decode_seconds", answer.decode_seconds},
      {"decode_steps", answer.decode_steps},
      {"decode_tokens_per_second", rate > 0 ? Json(rate) : Json()},
      {"peak_memory_bytes", peak_resident_bytes()},
  };
}

}  // namespace

void answer_requests(Program& program, const std::filesystem::path& requests,
                     const std::filesystem::path& answers) {
  const auto questions = read_requests(requests, program.bundle());
  const auto done = answered(answers, program.bundle().program_sha256);
  Lines lines(answers);
  lines.add({{"session", session_facts(program)}});
  Generator generator(program);
  std::size_t skipped = 0;
  for (const Question& question : questions) {
    if (done.contains(question.id)) {
      ++skipped;
      continue;
    }
    const Answer answer = generator.answer(question);
    // First, so that an answer in the file has its logits.
    if (question.logits) save_logits(*question.logits, answer.first_logits);
    lines.add(line_of(question, answer));
  }
  // Whoever reads over a connection that can break learns from this line that nothing is missing.
  lines.add({{"end", {{"answered", questions.size() - skipped}, {"skipped", skipped}}}});
}

}  // namespace hydra
