#include "serve.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "clock.h"
#include "failure.h"
#include "json_text.h"
#include "session.h"

namespace hydra {
namespace {

using Json = nlohmann::ordered_json;

void send(Json header, const std::vector<float>& values) {
  header["floats"] = values.size();
  std::cout << header.dump() << '\n';
  std::cout.write(reinterpret_cast<const char*>(values.data()),
                  static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!std::cout.flush()) throw Failure(Exit::kOutput, "the reader of standard output has gone.");
}

std::vector<float> received(const Json& header) {
  std::vector<float> values(header.value("floats", std::size_t{0}));
  std::cin.read(reinterpret_cast<char*>(values.data()),
                static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!std::cin) throw Failure(Exit::kInput, "standard input ended within a message.");
  return values;
}

std::vector<float> computed(Program& program, const Json& header, const std::vector<float>& given) {
  const auto operation = header.at("do").get<std::string>();
  if (operation == "encode") return program.encode_image(given);
  if (operation == "embed") return program.embed(header.at("ids").get<std::vector<int64_t>>());
  if (operation == "decode") return program.decode(given, header.at("position").get<int64_t>());
  throw Failure(Exit::kInput, "operation `" + operation +
                                  "` is unknown; expected encode, embed "
                                  "or decode.");
}

}  // namespace

void serve(Program& program) {
  send({{"session", session_facts(program)}}, {});
  std::string line;
  while (std::getline(std::cin, line)) {
    // A header that cannot be read says nothing about what follows it: that ends the run.
    const Json header = parse_json<Json>(line, "a header");
    const auto given = received(header);
    try {
      const Stopwatch watch;
      const auto values = computed(program, header, given);
      send({{"seconds", watch.seconds()}, {"peak_memory_bytes", peak_resident_bytes()}}, values);
    } catch (const Failure& failure) {
      send({{"error", failure.what()}, {"code", static_cast<int>(failure.code())}}, {});
    } catch (const Json::exception& error) {
      send({{"error", error.what()}, {"code", static_cast<int>(Exit::kInput)}}, {});
    }
  }
}

}  // namespace hydra
