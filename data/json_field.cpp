#include "data/json_field.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace gta {
namespace {

constexpr int kNumberTooLarge = 406;  // the library's number for it
constexpr size_t kMostKeys = 8;

// Looks at the outermost object's fields and builds nothing.
class FieldReader : public nlohmann::json::json_sax_t {
 public:
  explicit FieldReader(const std::string& field) : field_(field) {}

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("a boolean"); }
  bool number_integer(number_integer_t) override { return value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return value("a number"); }
  bool binary(binary_t&) override { return value("binary"); }
  bool string(string_t& string) override {
    if (wanted_) text.swap(string);
    return value("a string");
  }
  bool start_object(std::size_t) override {
    if (depth_ > 0) value("an object");
    object = object || depth_ == 0;
    ++depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    value("an array");
    ++depth_;
    return true;
  }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool key(string_t& name) override {
    if (depth_ > 1) return true;
    wanted_ = name == field_;
    if (count_++ < kMostKeys) keys += (keys.empty() ? "" : ", ") + name;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& last, const nlohmann::json::exception& error) override {
    const std::string_view said = error.what();
    if (error.id == kNumberTooLarge)
      problem = fmt::format("has the number {}, which is too large", last);
    else if (said.find("surrogate") != std::string_view::npos)
      problem = fmt::format("has half of a surrogate pair at byte {}: such text cannot be written as UTF-8", position);
    else
      problem = fmt::format("is not JSON at byte {}", position);
    return false;
  }

  std::string text, found, keys, problem;
  bool object = false;

 private:
  bool value(const char* type) {
    if (depth_ == 0) found = type;
    if (depth_ == 1 && wanted_) found = type;
    if (depth_ == 1) wanted_ = false;
    return true;
  }

  const std::string& field_;
  int depth_ = 0;
  bool wanted_ = false;
  size_t count_ = 0;
};

}  // namespace

std::string read_json_field(std::string_view line, const std::string& field, std::string& text) {
  FieldReader reader(field);
  const bool parsed = nlohmann::json::sax_parse(line, &reader);
  if (!reader.object && !reader.found.empty())
    return fmt::format("is {}: expected an object on each line{}", reader.found,
                       reader.found == "an array" ? " (jq -c '.[]' makes such lines of an array)" : "");
  if (!parsed) return reader.problem;
  if (reader.found.empty())
    return fmt::format("has no field '{}' (it has: {}): name it with --field", field, reader.keys);
  if (reader.found != "a string")
    return fmt::format("has {} in the field '{}': expected a string", reader.found, field);
  text = std::move(reader.text);
  return "";
}

}  // namespace gta
