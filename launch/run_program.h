// Another program, run to its end.
#pragma once

#include <string>
#include <vector>

namespace gta {

// Looks the first word up in PATH; both its outputs go into the file `log`, which is emptied first. Whether it ended
// with 0.
bool run_program(std::vector<std::string> words, const std::string& log);

// A word as a shell is given it, in single quotes.
std::string in_single_quotes(const std::string& word);

}  // namespace gta
