// What a YAML text may be before its keys are looked at: UTF-8 without control characters, one document, no anchors,
// aliases or tags, not nested more than 32 deep. yaml-cpp 0.7 alone would end the text at a byte 4, repair what is not
// UTF-8, and never return from a text that begins with ',' when it is asked for all documents.
#pragma once

#include <string>

namespace YAML {
class Exception;
}

namespace gta {

struct YamlTextProblem {
  int line = 0, column = 0;  // from 1; 0: the text as a whole
  std::string text;          // empty: the text may be parsed
};

YamlTextProblem check_yaml_text(const std::string& text);

// "is not YAML: ..." and what to do, instead of yaml-cpp's own words.
std::string yaml_problem(const YAML::Exception& error);

}  // namespace gta
