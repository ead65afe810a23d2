#include "requests.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "failure.h"
#include "json_text.h"

namespace hydra {
namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Failure(Exit::kInput, where + ": " + what);
}

std::filesystem::path beside(const std::filesystem::path& file, const Json& name) {
  return file.parent_path() / name.get<std::string>();  // an absolute name stays as it is
}

Question question_of(const Json& line, const std::filesystem::path& file, const Bundle& bundle) {
  Question question;
  question.id = line.at("id").get<std::string>();
  question.before = line.at("before").get<std::vector<int64_t>>();
  if (line.contains("image")) {
    question.image = beside(file, line.at("image"));
    question.image_key = line.value("image_key", question.image->string());
    question.after = line.at("after").get<std::vector<int64_t>>();
    question.turn = line.value("turn", bundle.turn);
    if (bundle.image.fit == Fit::kTiles) {
      question.tiles = line.at("tiles").get<std::vector<std::vector<int64_t>>>();
    }
  }
  if (line.contains("logits")) question.logits = beside(file, line.at("logits"));
  question.max_new_tokens = line.value("max_new_tokens", question.max_new_tokens);
  question.stop = line.value("stop", question.stop);
  return question;
}

void check(const Question& question, const Bundle& bundle, const std::string& where) {
  int64_t tokens = question.image ? bundle.image.squares() * bundle.num_image_tokens : 0;
  const auto count = [&](const std::vector<int64_t>& ids) {
    tokens += static_cast<int64_t>(ids.size());
    for (const int64_t id : ids) {
      if (id >= 0 && id < bundle.vocab_size) continue;
      refuse(where, "token id " + std::to_string(id) + " lies outside of 0.." +
                        std::to_string(bundle.vocab_size - 1) + ".");
    }
  };
  count(question.before);
  count(question.after);
  for (const auto& ids : question.tiles) count(ids);
  if (question.image && bundle.image.fit == Fit::kTiles) {
    const auto squares = static_cast<int64_t>(question.tiles.size());
    if (squares != bundle.image.squares()) {
      refuse(where, "key `tiles` has " + std::to_string(squares) + " texts, the bundle reads " +
                        std::to_string(bundle.image.squares()) + " squares.");
    }
  }
  if (tokens == 0) refuse(where, "the prompt is empty.");
  if (tokens >= bundle.max_context) {
    refuse(where, "the prompt has " + std::to_string(tokens) + " tokens; the program holds " +
                      std::to_string(bundle.max_context) + ", answer included.");
  }
  if (question.max_new_tokens < 1) refuse(where, "max_new_tokens is less than 1.");
  if (question.image && !std::filesystem::is_regular_file(*question.image)) {
    refuse(where, question.image->string() + " is missing: expected an image.");
  }
}

}  // namespace

std::vector<Question> read_requests(const std::filesystem::path& file, const Bundle& bundle) {
  std::ifstream stream(file);
  if (!stream) refuse(file.string(), "the file is missing; expected requests, one JSON a line.");
  std::vector<Question> questions;
  std::unordered_set<std::string> ids;
  std::string text;
  for (int number = 1; std::getline(stream, text); ++number) {
    if (text.empty()) continue;
    const std::string where = file.string() + ":" + std::to_string(number);
    try {
      questions.push_back(question_of(parse_json<Json>(text, where), file, bundle));
    } catch (const Json::exception& error) {
      refuse(where, error.what());
    }
    check(questions.back(), bundle, where);
    if (!ids.insert(questions.back().id).second) {
      refuse(where, "the id `" + questions.back().id + "` stands there twice.");
    }
  }
  return questions;
}

}  // namespace hydra
