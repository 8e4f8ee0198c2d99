#include "launch/config/yaml_reader.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <set>

#include "core/io/file.h"
#include "launch/config/yaml_text.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

constexpr int64_t kLargestFile = 1 << 24;  // a resolved file names every shard: some 100,000 of them
constexpr int kDeepestInclude = 8;
constexpr int kDeepestMapping = 16;
constexpr double kLargestWeight = 1e15;

// 1.5e9, 220B, 16.1k, 20K: counts that are too long to write out, in decimals, so that 16.1k is 16100. Nothing for what
// is no whole number of at most 18 digits.
std::optional<int64_t> parse_count(std::string text) {
  constexpr int kMostDigits = 18;
  int exponent = 0;
  for (const auto& [suffix, zeros] : {std::pair{'k', 3}, {'m', 6}, {'b', 9}, {'t', 12}})
    if (!text.empty() && std::tolower(static_cast<unsigned char>(text.back())) == suffix) exponent = zeros;
  if (exponent > 0) text.pop_back();
  if (const size_t e = text.find_first_of("eE"); e != std::string::npos) {
    const char *begin = text.data() + e + 1, *const end = text.data() + text.size();
    if (begin != end && *begin == '+') ++begin;
    int written = 0;
    const auto [rest, status] = std::from_chars(begin, end, written);
    if (status != std::errc() || rest != end || std::abs(written) > kMostDigits) return std::nullopt;
    exponent += written;
    text.resize(e);
  }
  if (text.starts_with('+')) text.erase(0, 1);
  if (const size_t point = text.find('.'); point != std::string::npos) {
    exponent -= static_cast<int>(text.size() - point - 1);
    text.erase(point, 1);
  }
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  text.erase(0, std::min(text.find_first_not_of('0'), text.size()));
  for (; exponent < 0 && text.ends_with('0'); ++exponent) text.pop_back();
  if (text.empty()) return 0;
  if (exponent < 0 || text.size() + static_cast<size_t>(exponent) > kMostDigits) return std::nullopt;
  text.append(static_cast<size_t>(exponent), '0');
  int64_t count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

std::string last_word(const std::string& path) { return path.substr(path.rfind('.') + 1); }

// lr of learning_rate.
std::string initials_of(const std::string& word) {
  std::string initials(1, word[0]);
  for (size_t i = 1; i < word.size(); ++i)
    if (word[i - 1] == '_') initials += word[i];
  return initials;
}

// How far a key is from what was written: as a whole, or without sections that were left out above it, or by its last
// word in another section, which may be a part of the key's.
size_t distance_to(const std::string& path, const std::string& key) {
  size_t least = edit_distance(path, key);
  for (size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.', dot + 1))
    least = std::min(least, 1 + edit_distance(path, key.substr(dot + 1)));
  const std::string word = last_word(path), key_word = last_word(key);
  least = std::min(least, 2 + 2 * edit_distance(word, key_word));
  if (word == initials_of(key_word)) least = std::min<size_t>(least, 2);
  const bool same_section = path.substr(0, path.size() - word.size()) == key.substr(0, key.size() - key_word.size());
  if (word.size() >= 3 && key_word.find(word) != std::string::npos)
    least = std::min<size_t>(least, (key_word.starts_with(word) ? 3 : 4) - (same_section ? 2 : 0));
  return least;
}

// All that are as near as the nearest one; none where none is near.
std::vector<std::string> nearest_keys(const std::string& path) {
  constexpr size_t kLongest = 100;  // as twice the longest key; of what is longer none is near, and looking takes time
  std::vector<std::string> best;
  if (path.size() > kLongest) return best;
  // Of a short word nothing is left when as many letters are others.
  size_t least = std::min(std::max<size_t>(5, path.size() / 2 + 1), path.size() + 1);
  for (const ConfigKey& key : config_keys()) {
    const size_t distance = distance_to(path, key.path);
    if (distance > least || (distance == least && best.empty())) continue;
    if (distance < least) best.clear();
    least = distance;
    best.push_back(key.path);
  }
  // Of another section only where none is of its own.
  const std::string section = path.substr(0, path.find('.') + 1);
  const auto elsewhere = [&](const std::string& key) { return !key.starts_with(section); };
  if (!std::all_of(best.begin(), best.end(), elsewhere)) std::erase_if(best, elsewhere);
  return best;
}

// What is said of a key that there is not, and the key that is not known for it: the one that was meant, or the section
// of those that may have been.
std::pair<std::string, std::string> no_key(const std::string& path) {
  constexpr size_t kMostNamed = 3;
  const std::vector<std::string> nearest = nearest_keys(path);
  if (nearest.empty() || nearest.size() > kMostNamed)
    return {fmt::format("{}: is no key; docs/configuration.md (gta docs configuration) has them all", path), path};
  const std::string& first = nearest.front();
  return {fmt::format("{}: is no key{}", path, did_you_mean(fmt::format("{}", fmt::join(nearest, " or ")))),
          nearest.size() == 1 ? first : first.substr(0, first.rfind('.') + 1)};
}

class Reader {
 public:
  Reader(PlacedValues& values, std::vector<ConfigProblem>& problems) : values_(values), problems_(problems) {}

  void read_file(const std::string& path, const std::string& prefix, int depth) {
    if (const std::optional<std::string> text = text_of(path, prefix)) read_text(*text, path, prefix, depth);
  }

  // The mapping of a file, or null.
  YAML::Node load_file(const std::string& path) {
    file_ = path;
    const std::optional<std::string> text = text_of(path, "");
    return text ? load(*text, "") : YAML::Node();
  }

  void read_text(const std::string& text, const std::string& name, const std::string& prefix, int depth) {
    file_ = name;
    const YAML::Node root = load(text, prefix);
    if (!root.IsMap()) return;
    if (prefix.empty()) follow_include(root, depth);
    file_ = name;
    read_mapping(root, prefix, depth, 0);
  }

  void read_part(const YAML::Node& map, const std::string& file) {
    file_ = file;
    if (!map.IsMap()) return problem("", map.Mark(), "expected a mapping of keys, like {train.steps: 100}");
    read_mapping(map, "", 0, 0);
  }

  void read_value(const ConfigKey& key, const YAML::Node& node, const std::string& file) {
    file_ = file;
    ConfigValue value;
    if (convert(key, node, value))
      values_[key.path] = {std::move(value), file, line_of(node.Mark()), column_of(node.Mark())};
  }

 private:
  std::optional<std::string> text_of(const std::string& path, const std::string& prefix) {
    try {
      return gta::read_file(path, kLargestFile);
    } catch (const Error& error) {
      problems_.push_back({path, 0, 0, std::string("cannot be read: ") + error.what(), prefix});
      return std::nullopt;
    }
  }

  // A mapping, or null where there is none.
  YAML::Node load(const std::string& text, const std::string& prefix) {
    if (const YamlTextProblem found = check_yaml_text(text); !found.text.empty()) {
      problems_.push_back({file_, found.line, found.column, found.text, prefix});
      return {};
    }
    try {
      YAML::Node root = YAML::Load(text);
      if (root.IsMap()) return root;
      problem(prefix, root.Mark(), "expected a mapping of keys");
    } catch (const YAML::Exception& error) {
      problem(prefix, error.mark, yaml_problem(error));
    }
    return {};
  }

  static int line_of(const YAML::Mark& mark) { return mark.is_null() ? 0 : mark.line + 1; }
  static int column_of(const YAML::Mark& mark) { return mark.is_null() ? 0 : mark.column + 1; }
  // A problem of data.train[1].weight leaves data.train unknown.
  void problem(const std::string& place, const YAML::Mark& mark, std::string text) {
    const std::string key = place.substr(0, place.find('['));
    problems_.push_back({file_, line_of(mark), column_of(mark), std::move(text), key});
    values_.erase(key);  // of an included file, which this one was meant to be laid over
  }

  std::string relative(const std::string& path) const {
    return path.starts_with('/') ? path : parent_of(file_) + "/" + path;
  }

  void follow_include(const YAML::Node& root, int depth) {
    for (const auto& pair : root) {
      if (!pair.first.IsScalar() || pair.first.Scalar() != "include") continue;
      if (!pair.second.IsScalar()) return problem("", pair.second.Mark(), "include: expected the name of one file");
      if (depth >= kDeepestInclude)
        return problem("", pair.second.Mark(),
                       fmt::format("include: more than {} files deep: does one include itself?", kDeepestInclude));
      read_file(relative(pair.second.Scalar()), "", depth + 1);
      return;
    }
  }

  void read_mapping(const YAML::Node& map, const std::string& prefix, int depth, int nesting) {
    if (nesting > kDeepestMapping) return problem(prefix, map.Mark(), "is nested too deeply");
    std::set<std::string> seen;
    for (const auto& pair : map) {
      if (!pair.first.IsScalar()) {
        problem(prefix, pair.first.Mark(), "a key is not a word");
        continue;
      }
      const std::string name = pair.first.Scalar(), path = prefix + name;
      const bool section = std::any_of(config_keys().begin(), config_keys().end(),
                                       [&](const ConfigKey& k) { return k.path.starts_with(path + "."); });
      if (!seen.insert(name).second) {
        problem(section ? path + "." : path, pair.first.Mark(), fmt::format("{}: is given twice: remove one", path));
        continue;
      }
      if (path == "include") continue;
      if (path == "model" && pair.second.IsScalar()) {
        const std::string file = file_;
        if (depth >= kDeepestInclude)
          return problem("model.", pair.second.Mark(), "model: files are nested too deeply");
        read_file(relative(pair.second.Scalar()), "model.", depth + 1);
        file_ = file;
        continue;
      }
      const ConfigKey* key = find_config_key(path);
      if (section) {
        if (pair.second.IsMap())
          read_mapping(pair.second, path + ".", depth, nesting + 1);
        else
          problem(path + ".", pair.second.Mark(), fmt::format("{}: expected a mapping of keys", path));
      } else if (!key) {
        // A file that is something else has so many that nothing is meant by them.
        constexpr size_t kMostLookedFor = 100;
        const auto [said, unknown] =
            problems_.size() < kMostLookedFor ? no_key(path) : std::pair(fmt::format("{}: is no key", path), path);
        problem(unknown, pair.first.Mark(), said);
      } else {
        // yaml-cpp puts a missing value at the token after it: the key is the better place.
        if (pair.second.IsNull())
          problem(path, pair.first.Mark(), fmt::format("{}: expected {}, got nothing", path, type_text(*key)));
        else
          read_value(*key, pair.second, file_);
      }
    }
  }

  bool wrong(const ConfigKey& key, const YAML::Node& node, const std::string& got) {
    problem(key.path, node.Mark(),
            fmt::format("{}: expected {}, got {}{}", key.path, type_text(key), got,
                        node.IsScalar() ? did_you_mean(meant_by(key, node.Scalar())) : ""));
    return false;
  }

  // What a wrong value stands for, or "".
  static std::string meant_by(const ConfigKey& key, const std::string& written) {
    if (key.type == KeyType::Choice) return nearest_word(written, key.choices);
    if (key.type == KeyType::Boolean) return nearest_word(written, {"true", "false"});
    if (key.type != KeyType::Integer && key.type != KeyType::Count) return "";
    // 20k, 1e4 and 20_000 where a number is wanted digit by digit.
    std::string digits = written;
    std::erase(digits, '_');
    const std::optional<int64_t> count = parse_count(digits);
    if (count && static_cast<double>(*count) >= key.least && static_cast<double>(*count) <= key.most)
      return std::to_string(*count);
    return key.word.empty() ? "" : nearest_word(written, {key.word});
  }

  // "\\0" between quotes; the system's names would end there.
  bool without_nul(const ConfigKey& key, const YAML::Node& node) {
    return node.Scalar().find('\0') == std::string::npos || wrong(key, node, "one with a NUL character in it");
  }

  bool convert(const ConfigKey& key, const YAML::Node& node, ConfigValue& value) {
    switch (key.type) {
      case KeyType::TextList:
      case KeyType::PathList: {
        std::vector<std::string> items;
        if (!to_list(key, node, items)) return false;
        value = items;
        return true;
      }
      case KeyType::SourceList:
        return convert_sources(key, node, value);
      case KeyType::RealPair: {
        if (!node.IsSequence() || node.size() != 2) return wrong(key, node, "something else");
        std::vector<double> pair;
        for (const auto& item : node) {
          double number = 0;
          if (!item.IsScalar() || !to_real(key, item, number))
            return item.IsScalar() ? false : wrong(key, item, "an entry that is no number");
          pair.push_back(number);
        }
        value = pair;
        return true;
      }
      default:
        break;
    }
    if (!node.IsScalar())
      return wrong(key, node, node.IsNull() ? "nothing" : node.IsSequence() ? "a list" : "a mapping");
    if (!without_nul(key, node)) return false;
    const std::string& text = node.Scalar();
    const bool quoted = node.Tag() == "!";
    if (std::find(key.known.begin(), key.known.end(), text) != key.known.end())
      return wrong(key, node, "'" + text + "', which this build does not have yet");
    switch (key.type) {
      case KeyType::Boolean:
        if (quoted || (text != "true" && text != "false")) return wrong(key, node, "'" + text + "'");
        value = text == "true";
        return true;
      case KeyType::Integer:
      case KeyType::Count: {
        int64_t number = -1;
        if (!quoted && !key.word.empty() && text == key.word) {
          value = number;
          return true;
        }
        if (quoted || !to_integer(key, node, number))
          return quoted ? wrong(key, node, "the text '" + text + "'") : false;
        value = number;
        return true;
      }
      case KeyType::Real: {
        double number = 0;
        if (quoted || !to_real(key, node, number)) return quoted ? wrong(key, node, "the text '" + text + "'") : false;
        value = number;
        return true;
      }
      case KeyType::Choice:
        if (std::find(key.choices.begin(), key.choices.end(), text) == key.choices.end())
          return wrong(key, node, "'" + text + "'");
        value = text;
        return true;
      default:
        if (text.empty()) return wrong(key, node, "nothing");
        value = key.path == "train.init_from" && text == "none" ? "" : text;
        return true;
    }
  }

  bool to_list(const ConfigKey& key, const YAML::Node& node, std::vector<std::string>& items) {
    if (!node.IsSequence()) return wrong(key, node, "no list");
    for (const auto& item : node) {
      if (!item.IsScalar()) return wrong(key, item, "an entry that is no text");
      if (!without_nul(key, item)) return false;
      items.push_back(item.Scalar());
    }
    return true;
  }

  // A list of paths is one source.
  bool convert_sources(const ConfigKey& key, const YAML::Node& node, ConfigValue& value) {
    std::vector<DataSource> sources;
    bool good = true;
    if (!node.IsSequence() || std::none_of(node.begin(), node.end(), [](const auto& item) { return item.IsMap(); })) {
      DataSource source;
      good = to_list(key, node, source.shards);
      if (!source.shards.empty()) sources.push_back(std::move(source));
    } else {
      for (const auto& item : node) {
        const std::string path = fmt::format("{}[{}]", key.path, sources.size());
        sources.emplace_back();
        good = read_source(path, item, sources.back()) && good;
      }
    }
    value = std::move(sources);
    return good;
  }

  bool read_source(const std::string& path, const YAML::Node& node, DataSource& source) {
    const ConfigKey keys[] = {{path + ".shards", KeyType::PathList, ""},
                              {path + ".weight", KeyType::Real, "", OnResume::Fixed, 0, kLargestWeight, true}};
    const size_t before = problems_.size();
    const auto complain = [&](const YAML::Mark& mark, const std::string& text) { problem(path, mark, path + text); };
    if (!node.IsMap()) {
      complain(
          node.Mark(),
          ": expected {shards: path or list of paths, weight: number above 0} like the other sources, got no mapping");
      return false;
    }
    bool given[2] = {};
    for (const auto& pair : node) {
      const std::string name = pair.first.IsScalar() ? pair.first.Scalar() : "";
      const int which = name == "shards" ? 0 : name == "weight" ? 1 : -1;
      if (which < 0) {
        complain(
            pair.first.Mark(),
            fmt::format(".{}: is no key; did you mean {}?", name,
                        edit_distance(name, "shards") < edit_distance(name, "weight") ? keys[0].path : keys[1].path));
      } else if (given[which]) {
        complain(pair.first.Mark(), fmt::format(".{}: is given twice: remove one", name));
      } else if (pair.second.IsNull()) {
        complain(pair.first.Mark(), fmt::format(".{}: expected {}, got nothing", name, type_text(keys[which])));
      } else if (which == 0) {
        read_shards(keys[0], pair.second, source);
      } else if (ConfigValue weight; convert(keys[1], pair.second, weight)) {
        source.weight = std::get<double>(weight);
      }
      if (which >= 0) given[which] = true;
    }
    for (int which : {0, 1})
      if (!given[which])
        complain(node.Mark(),
                 fmt::format(".{}: is missing: expected {}", which ? "weight" : "shards", type_text(keys[which])));
    return problems_.size() == before;
  }

  void read_shards(const ConfigKey& key, const YAML::Node& node, DataSource& source) {
    if (node.IsScalar()) {
      source.shards = {node.Scalar()};
      if (node.Scalar().empty()) wrong(key, node, "nothing");
      without_nul(key, node);
    } else if (to_list(key, node, source.shards) && source.shards.empty()) {
      wrong(key, node, "an empty one");
    }
  }

  bool to_integer(const ConfigKey& key, const YAML::Node& node, int64_t& number) {
    const std::string& text = node.Scalar();
    if (key.type == KeyType::Count && text.find_first_of(".eEkKmMbBtT") != std::string::npos) {
      const std::optional<int64_t> count = parse_count(text);
      if (!count || static_cast<double>(*count) > key.most) return wrong(key, node, "'" + text + "'");
      number = *count;
      return true;
    }
    const size_t digits = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    if (text.size() > digits + 1 && text[digits] == '0' &&
        text.find_first_not_of("0123456789", digits) == std::string::npos)
      return wrong(key, node, "'" + text + "', which YAML 1.1 would read as octal: write it without leading zeros");
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (status != std::errc() || end != text.data() + text.size()) return wrong(key, node, "'" + text + "'");
    if (static_cast<double>(number) < key.least || static_cast<double>(number) > key.most)
      return wrong(key, node, text);
    return true;
  }

  static bool parse(const std::string& text, double& number) {
    if (text.empty() || text.find_first_not_of("0123456789.eE+-") != std::string::npos) return false;
    const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
    const auto [end, status] = std::from_chars(begin, text.data() + text.size(), number);
    return status == std::errc() && end == text.data() + text.size() && std::isfinite(number);
  }

  bool to_real(const ConfigKey& key, const YAML::Node& node, double& number) {
    const std::string& text = node.Scalar();
    if (!parse(text, number)) return wrong(key, node, "'" + text + "'");
    if (number < key.least || number > key.most || (key.above_least && number == key.least))
      return wrong(key, node, text);
    return true;
  }

  PlacedValues& values_;
  std::vector<ConfigProblem>& problems_;
  std::string file_;
};

}  // namespace

void read_yaml_file(const std::string& path, const std::string& prefix, PlacedValues& values,
                    std::vector<ConfigProblem>& problems) {
  Reader(values, problems).read_file(path, prefix, 0);
}

void read_yaml_text(const std::string& text, const std::string& name, const std::string& prefix, PlacedValues& values,
                    std::vector<ConfigProblem>& problems) {
  Reader(values, problems).read_text(text, name, prefix, 0);
}

void read_override(const std::string& text, PlacedValues& values, std::vector<ConfigProblem>& problems) {
  constexpr size_t kLongestShown = 80;
  const std::string shown =
      std::string(kOverride) + (text.size() <= kLongestShown ? text : text.substr(0, kLongestShown) + "...");
  const size_t equals = text.find('=');
  const std::string path = text.substr(0, equals);
  const ConfigKey* key = find_config_key(path);
  if (equals == std::string::npos || !key) {
    const auto [said, unknown] = no_key(path);
    problems.push_back(
        {shown, 0, 0, equals == std::string::npos ? "expected key.path=value, like train.steps=100" : said, unknown});
    return;
  }
  const YamlTextProblem found = check_yaml_text(text.substr(equals + 1));
  if (!found.text.empty()) {
    problems.push_back(
        {shown, 0, 0, fmt::format("{}: expected {}; the value {}", path, type_text(*key), found.text), path});
    return;
  }
  try {
    Reader(values, problems).read_value(*key, YAML::Load(text.substr(equals + 1)), shown);
  } catch (const YAML::Exception& error) {
    problems.push_back({shown, 0, 0, path + ": " + yaml_problem(error), path});
  }
}

void read_yaml_part(const YAML::Node& map, const std::string& file, PlacedValues& values,
                    std::vector<ConfigProblem>& problems) {
  Reader(values, problems).read_part(map, file);
}

bool read_yaml_value(const ConfigKey& key, const YAML::Node& node, const std::string& file, ConfigValue& value,
                     std::vector<ConfigProblem>& problems) {
  PlacedValues values;
  Reader(values, problems).read_value(key, node, file);
  const auto found = values.find(key.path);
  if (found == values.end()) return false;
  value = std::move(found->second.value);
  return true;
}

YAML::Node load_yaml_file(const std::string& path, std::vector<ConfigProblem>& problems) {
  PlacedValues none;
  return Reader(none, problems).load_file(path);
}

ConfigProblem problem_at(const YAML::Node& node, const std::string& file, const std::string& text) {
  const YAML::Mark mark = node.Mark();
  return {file, mark.is_null() ? 0 : mark.line + 1, mark.is_null() ? 0 : mark.column + 1, text, ""};
}

void throw_problems(const std::vector<ConfigProblem>& problems) {
  if (problems.empty()) return;
  std::string text;
  for (const ConfigProblem& p : problems) {
    text += (text.empty() ? "" : "\n") + p.file;
    if (p.file.starts_with(kOverride)) {  // names the key itself
      const size_t begin = std::string(kOverride).size();
      const std::string name = p.file.substr(begin, p.file.find('=') - begin) + ": ";
      text += ": " + (p.text.starts_with(name) ? p.text.substr(name.size()) : p.text);
      continue;
    }
    if (p.line) text += p.column ? fmt::format(":{}:{}", p.line, p.column) : fmt::format(":{}", p.line);
    text += ": " + p.text;
  }
  throw Error(ErrorKind::BadInput, "", text);
}

bool yaml_has_section(const std::string& path) {
  try {
    const std::string text = read_file(path, kLargestFile);
    if (!check_yaml_text(text).text.empty()) return false;  // the reader will say what is wrong, here and below
    const YAML::Node root = YAML::Load(text);
    if (!root.IsMap()) return false;
    for (const char* section : {"model", "include", "data", "optimizer", "train"})
      if (root[section].IsDefined()) return true;
    return false;
  } catch (const YAML::Exception&) {
    return false;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace gta
