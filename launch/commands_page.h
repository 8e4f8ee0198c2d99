// docs/commands.md, from the commands as they are parsed.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace gta {

// Every command with its options, their defaults and an example.
std::string commands_markdown(const CLI::App& app);

}  // namespace gta
