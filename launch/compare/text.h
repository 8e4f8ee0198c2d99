// Text from a run's folder, which may hold anything, made fit to be shown and passed on.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gta {

// For a terminal or a page: valid UTF-8 without control characters, those that turn the direction of writing among
// them, no longer than `longest` bytes. What is none becomes '?'.
std::string printable(const std::string& text, size_t longest = 200);

// Several lines, as of several errors, as one.
std::string one_line(std::string text);

// With each absolute path as its last name alone: a report says nothing of the machine's folders.
// "/home/me/bin/gta train --set data.train=[/data/a.h5]" -> "gta train --set data.train=[a.h5]"
std::string without_directories(const std::string& text);

// What folders are called in a report: as few of their last names as tell them apart, printable, each another.
std::vector<std::string> short_names(const std::vector<std::string>& folders);

// The names, each another: of equal ones those after the first get " (2)", " (3)".
std::vector<std::string> told_apart(std::vector<std::string> names);

}  // namespace gta
