#include "launch/compare/initial_parameters.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file.h"
#include "launch/compare/text.h"

namespace gta {
namespace {

constexpr int64_t kLargestFile = 4 << 20;

bool is_hash(const nlohmann::json& value) {
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return text.size() == 16 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_shape(const nlohmann::json& value) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const auto& size) { return size.is_number_unsigned(); });
}

}  // namespace

InitialParameters read_initial_parameters(const std::string& file) {
  const nlohmann::json json = nlohmann::json::parse(read_file(file, kLargestFile), nullptr, false);
  const auto damaged = [&](const std::string& what) { bad_input(file, "is damaged: {}", what); };
  if (!json.is_object() || !json.contains("seed") || !json["seed"].is_number_integer() ||
      !json.contains("parameters") || !json["parameters"].is_object())
    damaged("expected {\"seed\": ..., \"parameters\": {...}}");
  InitialParameters initial{json["seed"].get<int64_t>(), {}};
  for (const auto& [name, parameter] : json["parameters"].items()) {
    if (!parameter.is_object() || !parameter.contains("shape") || !is_shape(parameter["shape"]) ||
        !parameter.contains("hash") || !is_hash(parameter["hash"]))
      damaged(fmt::format("expected a shape and a hash of 16 hexadecimal digits of {}", printable(name)));
    std::string shape = parameter["shape"].dump();
    std::replace(shape.begin(), shape.end(), '[', '(');
    std::replace(shape.begin(), shape.end(), ']', ')');
    initial.hashes[printable(name) + " " + shape] = parameter["hash"].get<std::string>();
  }
  return initial;
}

}  // namespace gta
