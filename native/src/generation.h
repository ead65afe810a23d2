// The greedy loop of hydra_mobile/runtimes/generation.py.
//
// Keeps the last picture's prefix in the cache: the next question about the same picture costs
// neither an encoding nor a prefill of the image.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "program.h"

namespace hydra {

struct Question {
  std::string id;
  std::optional<std::filesystem::path> image;
  std::string image_key;                    // equal keys mean equal pictures
  bool turn = true;                         // how its file is read, see read_picture
  std::vector<int64_t> before;              // ids before the image, or all of them without one
  std::vector<int64_t> after;               // ids behind the image
  std::vector<std::vector<int64_t>> tiles;  // with tiles: ids before each square of the image
  int64_t max_new_tokens = 16;
  bool stop = true;                             // end at a stop id
  std::optional<std::filesystem::path> logits;  // file for the first logits, float32 [vocab]
};

struct Answer {
  std::vector<int64_t> ids;  // stop id left out
  std::vector<float> first_logits;
  std::optional<double> encode_seconds;  // empty when the prefix was in the cache
  double prefill_seconds = 0;
  int64_t prefill_tokens = 0;
  std::optional<double> first_token_seconds;
  double decode_seconds = 0;
  int64_t decode_steps = 0;
  std::string ended = "stop";  // at a stop id, at the "length" allowed, or a full "context"
};

class Generator {
 public:
  explicit Generator(Program& program) : program_(program) {}

  Answer answer(const Question& question);

 private:
  std::vector<float> encode(const std::vector<float>& pixels);
  double take_picture(const Question& question, const std::vector<float>& features);

  Program& program_;
  std::optional<std::string> prefix_key_;
  int64_t prefix_length_ = 0;
  std::vector<float> prefix_logits_;
};

}  // namespace hydra
