// Files of JSON lines whose objects are read whole: prompts, items of tasks. (Text of corpora: data/json_field.h.) Each
// problem is said with FILE:LINE, before anything is done with any of the lines.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gta {

// The object of a line. Each getter is an Error(BadInput) that names the place where the field is missing, or is not
// what was asked for.
class JsonLine {
 public:
  JsonLine(std::string place, nlohmann::ordered_json object) : place_(std::move(place)), object_(std::move(object)) {}

  const std::string& place() const { return place_; }  // FILE:LINE
  const nlohmann::ordered_json& object() const { return object_; }
  bool has(const std::string& field) const { return object_.contains(field); }
  const nlohmann::ordered_json& at(const std::string& field) const;
  std::string text(const std::string& field) const;
  std::vector<std::string> texts(const std::string& field) const;  // an array of strings
  int64_t integer(const std::string& field, int64_t least, int64_t most) const;
  double number(const std::string& field, double least, double most) const;
  bool boolean(const std::string& field) const;
  // That of an object within, with messages that name both.
  JsonLine within(const std::string& field) const;
  [[noreturn]] void wrong(const std::string& field, const std::string& expected) const;

 private:
  std::string place_;
  nlohmann::ordered_json object_;
};

// use(line) for every line that is not blank. Error(BadInput) for a file without any, a line that is no object, is too
// long or too deep, has a field twice; and for what `use` refuses with such an Error, all lines' together.
void each_json_line(const std::string& path, const std::function<void(const JsonLine&)>& use);

}  // namespace gta
