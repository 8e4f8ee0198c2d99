// Values of the command line: what they may be, and what is said of a wrong one. CLI11 reads the words; its own
// messages are never shown.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace gta {

// An integer in digits, from least to most.
CLI::Validator integer_value(int64_t least, int64_t most);
// A finite number from least (or above it) to most.
enum class LeastValue : uint8_t { Included, Excluded };
CLI::Validator number_value(double least, LeastValue lower, double most);
CLI::Validator one_of(std::vector<std::string> words);
// Not '': a variable that was not set in a script.
CLI::Validator some_text();

// Why the command line of `app` could not be read, and where help is.
std::string usage_problem(const CLI::App& app, const CLI::ParseError& error);

}  // namespace gta
