#include "launch/json_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "core/error.h"
#include "data/input_file.h"
#include "data/text_stream.h"
#include "data/utf8.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestLine = size_t{1} << 26;  // bytes
constexpr int kDeepest = 16;                      // objects and arrays within each other
constexpr size_t kMostProblems = 20;              // that are said

std::string kind_of(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "a boolean";
  if (value.is_number_float()) return "a number with a fraction";
  if (value.is_number()) return "an integer";
  if (value.is_string()) return "a string";
  return value.is_array() ? "an array" : "an object";
}

Json parse_object(const std::string& place, const std::string& text) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepest) bad_input(place, "has more than {} objects and arrays within each other", kDeepest);
    if (event == Json::parse_event_t::object_start) {
      keys.resize(static_cast<size_t>(depth) + 1);
      keys.back().clear();
    }
    if (event == Json::parse_event_t::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!keys.at(static_cast<size_t>(depth) - 1).insert(name).second) bad_input(place, "has '{}' twice", name);
    }
    return true;
  };
  Json value;
  try {
    value = Json::parse(text, watch);
  } catch (const nlohmann::json::parse_error& error) {
    bad_input(place, "is not JSON at byte {}", error.byte);
  } catch (const nlohmann::json::exception&) {
    bad_input(place, "has a number that is too large");
  }
  if (!value.is_object()) bad_input(place, "is {}: expected an object on each line", kind_of(value));
  return value;
}

}  // namespace

const Json& JsonLine::at(const std::string& field) const {
  const auto found = object_.find(field);
  if (found == object_.end()) {
    std::string keys;
    for (const auto& [key, value] : object_.items())
      if (keys.size() < 200) keys += (keys.empty() ? "" : ", ") + key;
    bad_input(place_, "has no field '{}' (it has: {})", field, keys);
  }
  return *found;
}

void JsonLine::wrong(const std::string& field, const std::string& expected) const {
  const Json& value = at(field);
  const std::string shown = value.is_number() ? fmt::format("is {}", value.dump()) : "is " + kind_of(value);
  bad_input(place_, "'{}' {}: expected {}", field, shown, expected);
}

std::string JsonLine::text(const std::string& field) const {
  const Json& value = at(field);
  if (!value.is_string()) wrong(field, "a string");
  return value.get<std::string>();
}

std::vector<std::string> JsonLine::texts(const std::string& field) const {
  const Json& value = at(field);
  const auto is_text = [](const Json& one) { return one.is_string(); };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_text)) wrong(field, "an array of strings");
  return value.get<std::vector<std::string>>();
}

int64_t JsonLine::integer(const std::string& field, int64_t least, int64_t most) const {
  const Json& value = at(field);
  // An unsigned one may be more than an int64_t holds.
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(most)
                                               : value.is_number_integer() && value.get<int64_t>() <= most;
  if (!fits || value.get<int64_t>() < least) wrong(field, fmt::format("an integer from {} to {}", least, most));
  return value.get<int64_t>();
}

double JsonLine::number(const std::string& field, double least, double most) const {
  const Json& value = at(field);
  if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most))
    wrong(field, fmt::format("a number from {} to {}", least, most));
  return value.get<double>();
}

bool JsonLine::boolean(const std::string& field) const {
  const Json& value = at(field);
  if (!value.is_boolean()) wrong(field, "true or false");
  return value.get<bool>();
}

JsonLine JsonLine::within(const std::string& field) const {
  const Json& value = at(field);
  if (!value.is_object()) wrong(field, "an object");
  return {place_ + ": " + field, value};
}

void each_json_line(const std::string& path, const std::function<void(const JsonLine&)>& use) {
  require_input_file(path);
  TextStream stream(path);
  std::string problems;
  size_t refused = 0;
  int64_t number = 0, used = 0;
  const auto take = [&](const std::string& text) {
    ++number;
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) return;
    ++used;
    const std::string place = fmt::format("{}:{}", path, number);
    try {
      use({place, parse_object(place, text)});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::BadInput) throw;
      if (++refused <= kMostProblems) problems += (problems.empty() ? "" : "\n") + std::string(error.what());
    }
  };
  std::string line;
  for (LinePart part; stream.read(part);) {
    line += part.text;
    if (number == 0 && line.starts_with(kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    if (line.size() > kLongestLine)
      bad_input(fmt::format("{}:{}", path, number + 1), "has more than {} bytes: expected an object on each line",
                kLongestLine);
    if (part.ends) take(std::exchange(line, ""));
  }
  if (!line.empty()) take(line);
  if (refused > kMostProblems)
    problems += fmt::format("\n{} more lines of {} are refused", refused - kMostProblems, path);
  if (refused > 0) throw Error(ErrorKind::BadInput, "", problems);
  require(used > 0, path.c_str(), "has no line: expected a JSON object on each");
}

}  // namespace gta
