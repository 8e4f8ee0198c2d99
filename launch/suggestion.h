// For "did you mean": what was meant by a word that is none of those that are known.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gta {

// The least number of letters to insert, remove or replace.
size_t edit_distance(const std::string& a, const std::string& b);

// Whether a word is what is left of another one whose first letter it has: cos of cosine, bf16 of bfloat16.
bool abbreviates(const std::string& word, const std::string& whole);

// The nearest of the words, if one is near: in other letters (GTA), under a name that others use (fp32 for float32),
// shortened (bf16) or mistyped. "" where none is, or two are as near.
std::string nearest_word(const std::string& written, const std::vector<std::string>& words);

// "; did you mean bfloat16?", to be put behind a message; "" for no word.
std::string did_you_mean(const std::string& word);

}  // namespace gta
