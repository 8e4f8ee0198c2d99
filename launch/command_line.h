// The command line: parses, calls one command, turns errors into messages and exit codes.
#pragma once

#include <string>

#include "core/error.h"

namespace gta {

// 0 done; 1 failed; 2 wrong usage, configuration or input; 3 a check did not hold; 75 stopped by a signal after a good
// checkpoint.
int run_command_line(int argc, char** argv);

std::string commands_markdown();  // docs/commands.md

int exit_code(ErrorKind kind);
// Says what went wrong on stderr; the exit code.
int report(const Error& error);
// Within a training's catch: the same of whatever it caught.
int report_thrown();

}  // namespace gta
