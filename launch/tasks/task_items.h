// Files of questions, one JSON object a line with the fields that the data sets have, and what lm-evaluation-harness
// 0.4 makes of them (lm_eval/tasks/.../*.yaml):
//
//   hellaswag    ctx_a and ctx_b (or ctx), activity_label, endings, label
//   piqa         goal, sol1, sol2, label
//   arc          question, choices {text, label}, answerKey
//   winogrande   sentence with a _, option1, option2, answer ("1" or "2")
//   boolq        passage, question, label or answer
//   lambada      text: its last word is asked for
//   plain        context, choices, answer (the right one, from 0): as they are, with a space between them
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gta {

enum class TaskFields : uint8_t { HellaSwag, Piqa, Arc, WinoGrande, BoolQ, Lambada, Plain };
enum class TaskType : uint8_t { MultipleChoice, LastWord };
const char* name_of(TaskFields fields);  // "hellaswag", ...
const char* name_of(TaskType type);      // "multiple_choice", "last_word"
TaskType type_of(TaskFields fields);
std::vector<std::string> task_field_names();
std::optional<TaskFields> task_fields_named(const std::string& name);

struct TaskItem {
  struct Pair {
    std::string context, continuation;  // the text of both is one after the other
  };
  std::string place;                 // FILE:LINE
  std::vector<Pair> pairs;           // of each choice; of a last word one
  std::vector<std::string> choices;  // whose lengths accuracies are normalised by
  size_t answer = 0;                 // the right choice
};

struct Task {
  TaskFields fields;
  std::vector<TaskItem> items;
};

// Of which kind a file is, its first line's fields say, unless `fields` does. Error(BadInput) with FILE:LINE for lines
// that are of none, or have no right answer.
Task read_task(const std::string& path, std::optional<TaskFields> fields);

}  // namespace gta
