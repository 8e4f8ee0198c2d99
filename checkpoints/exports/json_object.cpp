#include "checkpoints/exports/json_object.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoints/exports/json_check.h"
#include "core/error.h"

namespace gta {
namespace {

using Json = nlohmann::json;

// As JSON in ASCII, on one line, and not all of what is long.
std::string shown(const Json& value) {
  constexpr size_t kMost = 60;
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

}  // namespace

struct JsonObject::Value {
  Json json;

  const Json* find(const std::string& key) const {
    const auto found = json.find(key);
    return found == json.end() ? nullptr : &*found;
  }
};

JsonObject::JsonObject(std::shared_ptr<const Value> value, std::string path, std::string prefix)
    : value_(std::move(value)), path_(std::move(path)), prefix_(std::move(prefix)) {}

JsonObject JsonObject::parse(const std::string& text, const std::string& path, int deepest) {
  const JsonCheck found = check_json(text, deepest);
  if (found.problem == JsonProblem::NoJson) bad_input(path, "is damaged: it is no JSON");
  if (found.problem == JsonProblem::TooDeep) bad_input(path, "nests deeper than {} levels", deepest);
  if (found.problem == JsonProblem::NameTwice) bad_input(path, "has {} twice in one object", shown(Json(found.name)));
  auto value = std::make_shared<Value>();
  value->json = Json::parse(text);
  if (!value->json.is_object()) bad_input(path, "is {}: expected a JSON object", shown(value->json));
  return {std::move(value), path, ""};
}

std::vector<std::string> JsonObject::keys() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : value_->json.items()) names.push_back(name);
  return names;
}

bool JsonObject::has(const std::string& key) const {
  const Json* const value = value_->find(key);
  return value && !value->is_null();
}

bool JsonObject::is(const std::string& key, double number) const {
  const Json* const value = value_->find(key);
  return value && value->is_number() && value->get<double>() == number;
}

bool JsonObject::is(const std::string& key, bool word) const {
  const Json* const value = value_->find(key);
  return value && value->is_boolean() && value->get<bool>() == word;
}

int64_t JsonObject::integer(const std::string& key, int64_t least, int64_t most) const {
  const Json* const value = value_->find(key);
  const bool fits = value && value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)) &&
                    value->get<int64_t>() >= least && value->get<int64_t>() <= most;
  if (!fits) refuse(key, fmt::format("a whole number from {} to {}", least, most));
  return value->get<int64_t>();
}

double JsonObject::number(const std::string& key, double least, double most) const {
  const Json* const value = value_->find(key);
  if (!value || !value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most))
    refuse(key, fmt::format("a number from {} to {}", least, most));
  return value->get<double>();
}

bool JsonObject::boolean(const std::string& key) const {
  const Json* const value = value_->find(key);
  if (!value || !value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

std::string JsonObject::text(const std::string& key) const {
  const Json* const value = value_->find(key);
  if (!value || !value->is_string()) refuse(key, "a text");
  return value->get<std::string>();
}

std::vector<std::string> JsonObject::texts(const std::string& key) const {
  const Json* const value = value_->find(key);
  std::vector<std::string> found;
  if (!value || !value->is_array()) refuse(key, "a list of texts");
  for (const Json& item : *value) {
    if (!item.is_string()) refuse(key, "a list of texts");
    found.push_back(item.get<std::string>());
  }
  return found;
}

JsonObject JsonObject::object(const std::string& key) const {
  const Json* const value = value_->find(key);
  if (!value || !value->is_object()) refuse(key, "an object");
  auto inner = std::make_shared<Value>();
  inner->json = *value;
  return {std::move(inner), path_, prefix_ + key + "."};
}

void JsonObject::refuse(const std::string& key, const std::string& expected) const {
  const std::string name = shown(Json(prefix_ + key));
  const Json* const value = value_->find(key);
  bad_input(path_, "{}: expected {}, got {}", name.substr(1, name.size() - 2), expected,
            value ? shown(*value) : "nothing");
}

}  // namespace gta
