#include "generation.h"

#include <algorithm>

#include "clock.h"
#include "picture.h"

namespace hydra {
namespace {

int64_t best(const std::vector<float>& logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

}  // namespace

Answer Generator::answer(const Question& question) {
  const Stopwatch from_question;
  const Bundle& bundle = program_.bundle();
  Answer answer;
  std::vector<int64_t> ids = question.before;
  int64_t length = 0;
  double prefix_seconds = 0;
  std::vector<float> pixels;
  const bool new_picture = question.image && prefix_key_ != question.image_key;
  if (new_picture) pixels = read_pixels(*question.image, bundle.image, question.turn);
  if (question.image) {
    if (new_picture) {
      prefix_key_.reset();
      const Stopwatch encoding;
      const std::vector<float> features = encode(pixels);
      answer.encode_seconds = encoding.seconds();
      prefix_seconds = take_picture(question, features);
      prefix_key_ = question.image_key;
      answer.prefill_tokens = prefix_length_;
    }
    length = prefix_length_;
    ids = question.after;
  } else {
    prefix_key_.reset();
  }
  const Stopwatch prefill;
  // A caption's template has nothing behind the picture.
  std::vector<float> logits = prefix_logits_;
  if (!ids.empty()) logits = program_.decode(program_.embed(ids), length);
  length += static_cast<int64_t>(ids.size());
  int64_t token = best(logits);
  answer.prefill_seconds = prefix_seconds + prefill.seconds();
  answer.prefill_tokens += static_cast<int64_t>(ids.size());
  if (answer.encode_seconds) answer.first_token_seconds = from_question.seconds();
  answer.first_logits = logits;
  const Stopwatch decoding;
  const auto& stops = bundle.stop_ids;
  while (!question.stop || std::find(stops.begin(), stops.end(), token) == stops.end()) {
    answer.ids.push_back(token);
    const auto count = static_cast<int64_t>(answer.ids.size());
    if (count == question.max_new_tokens) {
      answer.ended = "length";
      break;
    }
    if (length >= bundle.max_context) {
      answer.ended = "context";
      break;
    }
    logits = program_.decode(program_.embed({&token, 1}), length++);
    token = best(logits);
    ++answer.decode_steps;
  }
  answer.decode_seconds = decoding.seconds();
  return answer;
}

// Rows of all squares of a picture, one behind the other; the program sees one square at a time.
std::vector<float> Generator::encode(const std::vector<float>& pixels) {
  const std::size_t count = pixels.size() / program_.bundle().image.squares();
  std::vector<float> features;
  for (std::size_t at = 0; at < pixels.size(); at += count) {
    const auto rows = program_.encode_image(std::span(pixels).subspan(at, count));
    features.insert(features.end(), rows.begin(), rows.end());
  }
  return features;
}

double Generator::take_picture(const Question& question, const std::vector<float>& features) {
  const Stopwatch watch;
  std::vector<float> embeddings = program_.embed(question.before);
  const auto squares = program_.bundle().image.squares();
  const auto count = static_cast<std::ptrdiff_t>(features.size()) / squares;
  for (int64_t square = 0; square < squares; ++square) {
    if (!question.tiles.empty()) {
      const auto text = program_.embed(question.tiles[square]);
      embeddings.insert(embeddings.end(), text.begin(), text.end());
    }
    const auto rows = features.begin() + square * count;
    embeddings.insert(embeddings.end(), rows, rows + count);
  }
  prefix_logits_ = program_.decode(embeddings, 0);
  prefix_length_ = static_cast<int64_t>(embeddings.size()) / program_.bundle().hidden_size;
  return watch.seconds();
}

}  // namespace hydra
