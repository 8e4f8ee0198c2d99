#include "launch/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "launch/config/schema.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

// The whole text, as one number.
template <class T>
bool parse(const std::string& text, T& number) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  return status == std::errc() && end == text.data() + text.size();
}

// `description` is shown in --help, and as what was expected. words: of which one may have been meant.
CLI::Validator value(std::string description, std::function<bool(const std::string&)> good,
                     std::vector<std::string> words = {}) {
  auto check = [description, good = std::move(good), words = std::move(words)](const std::string& text) {
    return good(text)
               ? std::string()
               : fmt::format("expected {}, got '{}'{}", description, text, did_you_mean(nearest_word(text, words)));
  };
  return {std::move(check), description};
}

const CLI::App& chosen(const CLI::App& app) {
  const std::vector<CLI::App*> subcommands = app.get_subcommands();
  return subcommands.empty() ? app : chosen(*subcommands.front());
}

std::string command_of(const CLI::App& app) {
  return (app.get_parent() ? command_of(*app.get_parent()) + " " : "") + app.get_name();
}

std::vector<std::string> commands_below(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

// --set train.steps=VALUE for "steps", where a command takes a configuration; "" where it does not, or has no such key.
std::string key_for(const CLI::App& app, std::string word) {
  if (!app.get_option_no_throw("config") || !app.get_option_no_throw("--set")) return "";
  std::replace(word.begin(), word.end(), '-', '_');
  std::string best;
  for (const ConfigKey& key : config_keys())
    if (key.path == word || (key.path.ends_with("." + word) && (best.empty() || key.path.size() < best.size())))
      best = key.path;
  return best.empty() ? "" : fmt::format("--set {}=VALUE", best);
}

std::string extra_problem(const CLI::App& app, const std::string& word) {
  const bool is_option = word.starts_with("-");
  const std::string name = word.substr(0, word.find('=')),
                    bare = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  std::vector<std::string> known;
  if (is_option) {
    for (const CLI::App* from = &app; from; from = from->get_parent())
      for (const CLI::Option* option : from->get_options())
        if (option->nonpositional()) known.push_back(option->get_name().substr(2));
  } else {
    known = commands_below(app);
  }
  std::string meant = is_option ? key_for(app, bare) : "";
  if (meant.empty()) {
    meant = nearest_word(bare, known);
    if (is_option && !meant.empty()) meant = "--" + meant;
  }
  return fmt::format("'{}' is no {} of '{}'{}", name,
                     is_option       ? "option"
                     : known.empty() ? "argument"
                                     : "command",
                     command_of(app), did_you_mean(meant));
}

// What is missing; nothing if nothing is.
std::string missing(const CLI::App& app) {
  std::vector<std::string> absent;
  for (const CLI::Option* option : app.get_options())
    if (option->get_required() && option->count() == 0)
      absent.push_back(option->get_description().empty()
                           ? option->get_name()
                           : fmt::format("{} ({})", option->get_name(), option->get_description()));
  if (!absent.empty()) return fmt::format("'{}' needs {}", command_of(app), fmt::join(absent, " and "));
  if (app.get_require_subcommand_min() > 0 && app.get_subcommands().empty())
    return fmt::format("'{}' needs one of the commands {}", command_of(app), fmt::join(commands_below(app), ", "));
  return "";
}

std::string problem_of(const CLI::App& app, const CLI::ParseError& error) {
  const std::string said = error.what();
  // Values are checked by the validators above, whose words these are.
  if (dynamic_cast<const CLI::ValidationError*>(&error)) return said;
  if (dynamic_cast<const CLI::ExtrasError*>(&error))
    // What a command does not know falls through to those around it.
    for (const CLI::App* from = &app; from; from = from->get_parent())
      if (const std::vector<std::string> words = from->remaining(); !words.empty())
        return extra_problem(app, words.front());
  if (dynamic_cast<const CLI::RequiredError*>(&error)) {
    // Whoever mistypes an option that is needed has not left it out.
    for (const CLI::App* from = &app; from; from = from->get_parent())
      for (const std::string& word : from->remaining())
        if (word.starts_with("-")) return extra_problem(app, word);
    // Nor has whoever mistypes a command.
    if (app.get_require_subcommand_min() > 0 && app.get_subcommands().empty())
      for (const CLI::App* from = &app; from; from = from->get_parent())
        if (const std::vector<std::string> words = from->remaining(); !words.empty())
          return extra_problem(app, words.front());
    return missing(app);
  }
  // The others speak of one option: of how often it has a value.
  for (const CLI::App* from = &app; from; from = from->get_parent())
    for (const CLI::Option* option : from->get_options()) {
      const std::string name = option->get_name();
      if (name.empty() || said.find(name) == std::string::npos) continue;
      if (option->get_expected_max() == 0) return name + " takes no value";
      return option->results().size() > 1
                 ? fmt::format("{} is given {} times: expected one", name, option->results().size())
                 : name + " needs a value";
    }
  return fmt::format("the arguments of '{}' are not understood", command_of(app));
}

}  // namespace

CLI::Validator integer_value(int64_t least, int64_t most) {
  return value(fmt::format("an integer from {} to {}", least, most), [least, most](const std::string& text) {
    int64_t number = 0;
    return parse(text, number) && number >= least && number <= most;
  });
}

CLI::Validator number_value(double least, LeastValue lower, double most) {
  return value(fmt::format("a number {} {} to {}", lower == LeastValue::Excluded ? "above" : "from", least, most),
               [least, lower, most](const std::string& text) {
                 double number = 0;
                 // In this form a NaN is refused.
                 return parse(text, number) && (lower == LeastValue::Excluded ? number > least : number >= least) &&
                        number <= most;
               });
}

CLI::Validator one_of(std::vector<std::string> words) {
  const std::string description = fmt::format("one of {}", fmt::join(words, ", "));
  const auto known = [words](const std::string& text) {
    return std::find(words.begin(), words.end(), text) != words.end();
  };
  return value(description, known, words);
}

CLI::Validator some_text() {
  CLI::Validator validator = value("a name", [](const std::string& text) { return !text.empty(); });
  return validator.description("");
}

std::string usage_problem(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = chosen(app);
  return fmt::format("{}; see '{} --help'", problem_of(command, error), command_of(command));
}

}  // namespace gta
