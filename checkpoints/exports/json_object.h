// An object in a JSON file from outside, which is read strictly: no name comes twice in an object, nothing nests deeper
// than was asked for, every number is one (no NaN, no 1e999), nothing stands behind the object. Each value is asked for
// by the type that it has to have. Error(BadInput) names the file and the key, what was expected and what is there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace gta {

class JsonObject {
 public:
  // path: for messages. deepest: 1 where every value is a number, a text or a word.
  static JsonObject parse(const std::string& text, const std::string& path, int deepest);

  std::vector<std::string> keys() const;  // sorted
  // There, and not null: for who writes these files null is "not given".
  bool has(const std::string& key) const;
  // Whether it is this number, this word (0 is not false).
  bool is(const std::string& key, double number) const;
  bool is(const std::string& key, bool word) const;

  int64_t integer(const std::string& key, int64_t least, int64_t most) const;
  double number(const std::string& key, double least, double most) const;
  bool boolean(const std::string& key) const;
  std::string text(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;
  JsonObject object(const std::string& key) const;

  // Error(BadInput): KEY: expected EXPECTED, got what is there.
  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;

 private:
  struct Value;
  JsonObject(std::shared_ptr<const Value> value, std::string path, std::string prefix);

  std::shared_ptr<const Value> value_;
  std::string path_, prefix_;  // the prefix names the object in its file: "rope_parameters."
};

}  // namespace gta
