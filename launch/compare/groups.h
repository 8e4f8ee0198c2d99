// Runs by what their files say of one thing, for whoever has to name those that differ.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/compare/run_record.h"

namespace gta {

class Groups {
 public:
  // value(run): nothing where its files do not say it.
  Groups(const std::vector<const RunRecord*>& runs,
         const std::function<std::optional<std::string>(const RunRecord&)>& value);

  size_t values() const { return by_value_.size(); }
  bool has(const std::string& value) const { return by_value_.count(value) > 0; }
  std::string text() const;    // "AVX2 (gqa-1, gqa-2 and 3 more), AVX-512 (gta-1)"
  std::string silent() const;  // "gqa-1, gqa-2": the runs that do not say it; "" where all do

 private:
  std::map<std::string, std::vector<std::string>> by_value_;  // labels
  std::vector<std::string> silent_;
};

std::string shortened(const std::vector<std::string>& names);  // "a, b, c and 5 more"
std::string listed(const std::map<std::string, std::vector<std::string>>& by_value);
// A value of a configuration as YAML, printable and without folders.
std::string shown(const std::string& value);

std::optional<std::string> tokenizer_of(const RunRecord& run);      // hash
std::optional<std::string> data_of(const RunRecord& run);           // hash
std::optional<std::string> validation_files(const RunRecord& run);  // names
// Of the text that was scored at the end: what loss and bits per byte say together, whatever the model.
std::optional<double> bytes_per_token(const RunRecord& run);

}  // namespace gta
