#include "launch/commands_page.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <vector>

namespace gta {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// In a cell of a table.
std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find_first_of("|\n", at)) != std::string::npos; at += 2)
    text[at] == '|' ? text.replace(at, 1, "\\|") : text.replace(at, 1, "  ");
  return text;
}

std::string name_of(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true);
  return option.get_name(false, true);
}

std::string options_table(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (option == app.get_help_ptr()) continue;
    const std::string when_absent = option->get_required()               ? "required"
                                    : !option->get_default_str().empty() ? "`" + option->get_default_str() + "`"
                                                                         : "";
    text += fmt::format("| `{}` | {} | {} |\n", cell(name_of(*option)), cell(option->get_description()), when_absent);
  }
  return text.empty() ? "" : "\n| option | | default |\n|---|---|---|\n" + text;
}

void add_page(std::string& text, const CLI::App& app, const std::string& name) {
  const std::vector<const CLI::App*> below = commands_of(app);
  if (below.empty() || !options_table(app).empty() || !app.get_footer().empty()) {
    text += fmt::format("\n## {}\n\n{}\n{}", name, app.get_description(), options_table(app));
    constexpr const char* kExample = "example: ";
    if (const std::string footer = app.get_footer(); footer.starts_with(kExample))
      text += fmt::format("\n    {}\n", footer.substr(std::string(kExample).size()));
  }
  for (const CLI::App* command : below) add_page(text, *command, name + " " + command->get_name());
}

}  // namespace

std::string commands_markdown(const CLI::App& app) {
  std::string text =
      "# Commands\n\nGenerated from launch/command_line.cpp by `gta docs commands`; a test fails when it is stale.\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage or input (nothing was started, nothing written), 3 a check did not "
      "hold, 75 stopped by a\nsignal and saved: the same command goes on, 130 interrupted twice. Results are on "
      "stdout, "
      "messages on stderr.\n\n"
      "A training that gets Ctrl-C says so at once, ends what it has in hand (a micro-batch, a part of a validation, a "
      "token of a sample), saves, and exits with 75.\nA second Ctrl-C ends it without saving. Within a second of the "
      "first it counts as the same one, which a terminal and what started the program (mpirun,\nmake, a script) may "
      "both deliver. SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU save likewise, however often they come.\n";
  add_page(text, app, app.get_name());
  return text;
}

}  // namespace gta
