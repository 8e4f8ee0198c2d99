#include "checkpoints/exports/json_check.h"

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

namespace gta {
namespace {

using Json = nlohmann::json;

// false ends the reading; nothing is kept but the names of the objects that are open.
class Reader : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(size_t deepest) : deepest_(deepest) {}
  const JsonCheck& found() const { return found_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return begin(); }
  bool start_array(std::size_t) override { return begin(); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(string_t& name) override { return open_.back().insert(name).second || stop({JsonProblem::NameTwice, name}); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return stop({JsonProblem::NoJson, ""});
  }

 private:
  bool begin() {
    if (open_.size() == deepest_) return stop({JsonProblem::TooDeep, ""});
    open_.emplace_back();
    return true;
  }
  bool end() {
    open_.pop_back();
    return true;
  }
  bool stop(JsonCheck found) {
    found_ = std::move(found);
    return false;
  }

  size_t deepest_;
  std::vector<std::unordered_set<std::string>> open_;
  JsonCheck found_;
};

}  // namespace

JsonCheck check_json(const std::string& text, int deepest) {
  Reader reader(static_cast<size_t>(deepest));
  Json::sax_parse(text, &reader);
  return reader.found();
}

}  // namespace gta
