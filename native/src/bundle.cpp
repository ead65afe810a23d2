#include "bundle.h"

#include <nlohmann/json.hpp>

#include "failure.h"
#include "hashes.h"
#include "json_text.h"

namespace hydra {
namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& what) { throw Failure(Exit::kInput, what); }

constexpr char kSeal[] = "manifest_sha256";
constexpr std::size_t kDigits = 64;
// Of the side of a picture, as in `hydra_mobile/models/preprocessing.py`, and of other numbers.
constexpr int64_t kMostPixels = 2048;
constexpr int64_t kMostTiles = 64;
constexpr int64_t kMost = 10'000'000;

// The sha256 that the text of a manifest should have in its key `manifest_sha256`: of its own
// bytes, with zeros in that place. `hydra_mobile/bundle/manifest.py` writes it.
std::string seal_of(std::string text) {
  // Within a string of JSON its quotes would have backslashes: the key is found nowhere else.
  const std::string key = std::string("\"") + kSeal + "\": \"";
  const auto place = text.find(key);
  if (place != std::string::npos) {
    const auto start = place + key.size();
    const auto end = text.find_first_not_of("0123456789abcdef", start);
    if (end == start + kDigits) text.replace(start, kDigits, kDigits, '0');
  }
  Sha256 hash;
  hash.add(reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return hash.digest();
}

Json read(const std::filesystem::path& path) {
  const std::string text = read_text(path, "the manifest of a bundle");
  try {
    const Json manifest = parse_json<Json>(text, path.string());
    // Earlier bundles have no seal.
    const auto seal = manifest.is_object() ? manifest.find(kSeal) : manifest.end();
    if (seal != manifest.end() && *seal != seal_of(text)) {
      refuse(path.string() + " was altered: its bytes have another sha256 than its key `" + kSeal +
             "` says; copy it again.");
    }
    return manifest;
  } catch (const Json::exception& error) {
    refuse(path.string() + " is not readable JSON: " + error.what());
  }
}

void refuse_other_programs(const Json& manifest, const std::string& where) {
  const int schema = manifest.at("schema").get<int>();
  if (schema != 1) {
    refuse(where + ": key `schema` is " + std::to_string(schema) + ", expected 1.");
  }
  const auto runtime = manifest.at("runtime").get<std::string>();
  if (runtime != "executorch") {
    refuse(where + ": the bundle is for the runtime `" + runtime + "`, not `executorch`.");
  }
}

// Names are of files below the bundle's own folder, by any system's rules.
void require_inside(const std::string& name, const std::string& where) {
  const auto is_separator = [](char sign) { return sign == '/' || sign == '\\'; };
  bool inside = !name.empty() && !is_separator(name[0]) && name.find(':') == std::string::npos &&
                name.find('\0') == std::string::npos;
  for (std::size_t start = 0; start <= name.size();) {
    auto end = start;
    while (end < name.size() && !is_separator(name[end])) ++end;
    if (name.compare(start, end - start, "..") == 0) inside = false;
    start = end + 1;
  }
  if (!inside) refuse(where + " names the file `" + name + "`, which lies outside of the bundle.");
}

void find_program(Bundle& bundle, const std::filesystem::path& folder, const Json& manifest) {
  for (const auto& [name, entry] : manifest.at("files").items()) {
    if (entry.at("role") != "program") continue;
    require_inside(name, (folder / "manifest.json").string());
    bundle.program = folder / name;
    bundle.program_sha256 = entry.at("sha256").get<std::string>();
    std::error_code missing;
    const auto found = std::filesystem::file_size(bundle.program, missing);
    if (missing) refuse(bundle.program.string() + " is missing; the manifest names it.");
    const auto expected = entry.at("bytes").get<uintmax_t>();
    if (found != expected) {
      refuse(bundle.program.string() + " has " + std::to_string(found) +
             " bytes, the manifest says " + std::to_string(expected) + "; copy it again.");
    }
    const auto digest = remembered_sha256(folder, name);
    if (digest != bundle.program_sha256) {
      refuse(bundle.program.string() + " was altered: it has sha256 " + digest +
             ", the manifest says " + bundle.program_sha256 + "; copy it again.");
    }
    return;
  }
  refuse((folder / "manifest.json").string() + " names no file with role `program`.");
}

// A whole number of the manifest: what is allocated depends on it.
int64_t number(const Json& values, const std::string& key, int64_t least, int64_t most) {
  const Json& value = values.at(key);
  if (value.is_number_integer() && value >= least && value <= most) return value.get<int64_t>();
  refuse("manifest.json: key `" + key + "` is " + value.dump().substr(0, 40) + ", expected " +
         std::to_string(least) + " to " + std::to_string(most) + ".");
}

void take_tiles(ImageRecipe& recipe, const Json& value) {
  recipe.fit = Fit::kTiles;
  recipe.rows = static_cast<int>(number(value, "rows", 1, kMostTiles));
  recipe.columns = static_cast<int>(number(value, "columns", 1, kMostTiles));
  const auto overview = value.at("overview").get<std::string>();
  if (overview != "grid" && overview != "image") {
    refuse("manifest.json: key `overview` is `" + overview + "`; expected grid or image.");
  }
  recipe.overview_of_grid = overview == "grid";
  const auto texts = value.at("texts").get<std::vector<std::string>>().size();
  if (static_cast<int64_t>(texts) != recipe.squares()) {
    refuse("manifest.json: tiles have " + std::to_string(texts) + " `texts`, expected " +
           std::to_string(recipe.squares()) + ", one for each tile and one for the overview.");
  }
}

ImageRecipe image_recipe(const Json& value) {
  ImageRecipe recipe;
  recipe.size = static_cast<int>(number(value, "size", 1, kMostPixels));
  recipe.mean = value.at("mean").get<std::array<double, 3>>();
  recipe.std = value.at("std").get<std::array<double, 3>>();
  for (const double each : recipe.std) {
    if (each <= 0) refuse("manifest.json: key `std` has numbers that are not above 0.");
  }
  const auto fit = value.at("fit").get<std::string>();
  const auto filter = value.at("resample").get<std::string>();
  if (fit == "pad")
    recipe.fit = Fit::kPad;
  else if (fit == "crop")
    recipe.fit = Fit::kCrop;
  else if (fit == "stretch")
    recipe.fit = Fit::kStretch;
  else if (fit == "tiles")
    take_tiles(recipe, value.at("tiles"));
  else
    refuse("image fit `" + fit + "` is unknown; expected pad, crop, stretch or tiles.");
  if (fit != "tiles" && value.contains("tiles")) {
    refuse("manifest.json: `tiles` and `fit` \"tiles\" belong together.");
  }
  if (filter == "bicubic")
    recipe.filter = Filter::kBicubic;
  else if (filter == "bilinear")
    recipe.filter = Filter::kBilinear;
  else if (filter == "lanczos")
    recipe.filter = Filter::kLanczos;
  else
    refuse("image resample `" + filter + "` is unknown; expected bicubic, bilinear or lanczos.");
  return recipe;
}

}  // namespace

Bundle Bundle::open(const std::filesystem::path& folder) {
  const auto path = folder / "manifest.json";
  const Json manifest = read(path);
  Bundle bundle;
  try {
    refuse_other_programs(manifest, path.string());
    find_program(bundle, folder, manifest);
    bundle.required_ops = manifest.at("details").at("required_ops").get<std::vector<std::string>>();
    bundle.preset = manifest.at("preset").at("name").get<std::string>();
    bundle.max_context = number(manifest.at("limits"), "max_context", 1, kMost);
    bundle.max_prefill = number(manifest.at("limits"), "max_prefill", 1, kMost);
    const Json& shapes = manifest.at("shapes");
    bundle.vocab_size = number(shapes, "vocab_size", 1, kMost);
    bundle.hidden_size = number(shapes, "hidden_size", 1, kMost);
    bundle.num_image_tokens = number(shapes, "num_image_tokens", 0, kMost);
    bundle.stop_ids = manifest.at("stop_ids").get<std::vector<int64_t>>();
    bundle.image = image_recipe(manifest.at("image"));
    // Earlier bundles do not say.
    if (manifest.contains("pictures")) bundle.turn = manifest.at("pictures").value("turn", true);
  } catch (const Json::exception& error) {
    refuse(path.string() + ": " + error.what() + "\nExport the bundle again.");
  }
  return bundle;
}

}  // namespace hydra
