#include "launch/tasks/task_items.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "launch/json_lines.h"
#include "launch/tasks/python_text.h"

namespace gta {
namespace {

constexpr size_t kMostChoices = 1000;
constexpr size_t kMostBytes = size_t{64} << 20;  // of a question's contexts, one of each choice

struct Kind {
  TaskFields fields;
  const char* name;
  std::vector<std::string> told_by;  // what its lines have
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {TaskFields::HellaSwag, "hellaswag", {"activity_label", "endings", "label"}},
      {TaskFields::Piqa, "piqa", {"goal", "sol1", "sol2", "label"}},
      {TaskFields::Arc, "arc", {"question", "choices", "answerKey"}},
      {TaskFields::WinoGrande, "winogrande", {"sentence", "option1", "option2", "answer"}},
      {TaskFields::BoolQ, "boolq", {"question", "passage"}},
      {TaskFields::Plain, "plain", {"context", "choices", "answer"}},
      {TaskFields::Lambada, "lambada", {"text"}},
  };
  return all;
}

// Many a line has a text beside other fields: lambada is what nothing else is.
TaskFields fields_of(const JsonLine& line) {
  std::vector<const Kind*> fitting;
  for (const Kind& kind : kinds())
    if (std::all_of(kind.told_by.begin(), kind.told_by.end(), [&](const auto& field) { return line.has(field); }) &&
        (kind.fields != TaskFields::Lambada || fitting.empty()))
      fitting.push_back(&kind);
  if (fitting.size() == 1) return fitting[0]->fields;
  std::string known;
  for (const Kind& kind : kinds())
    if (fitting.empty() || std::find(fitting.begin(), fitting.end(), &kind) != fitting.end())
      known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", kind.name, fmt::join(kind.told_by, ", "));
  std::vector<std::string> has;
  for (const auto& [name, value] : line.object().items())
    if (has.size() < 12) has.push_back(name);
  if (fitting.empty())
    bad_input(line.place(), "has the fields {}: expected those of one of {}", fmt::join(has, ", "), known);
  bad_input(line.place(), "may be of {}: say which with --task-fields", known);
}

// The right one of `count`, which a data set may write as a number or as its digits.
size_t index_of(const JsonLine& line, const std::string& field, size_t count, int64_t first) {
  const auto& value = line.at(field);
  const int64_t most = first + static_cast<int64_t>(count) - 1;
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    for (int64_t i = first; i <= most; ++i)
      if (text == std::to_string(i)) return static_cast<size_t>(i - first);
    bad_input(line.place(), "'{}' is '{}': expected the right one, from {} to {}", field, text.substr(0, 40), first,
              most);
  }
  return static_cast<size_t>(line.integer(field, first, most) - first);
}

// Continuations are separated from their context by a space, as by lm-evaluation-harness's target_delimiter.
void add_choices(const JsonLine& line, TaskItem& item, const std::string& context, std::vector<std::string> choices) {
  require(choices.size() >= 2 && choices.size() <= kMostChoices, line.place().c_str(),
          "has {} choices: expected from 2 to {}", choices.size(), kMostChoices);
  require(context.size() <= kMostBytes / choices.size(), line.place().c_str(),
          "has a context of {} bytes for each of {} choices: at most {} MiB of them all can be asked", context.size(),
          choices.size(), kMostBytes >> 20);
  for (size_t i = 0; i < choices.size(); ++i) {
    require(!choices[i].empty(), line.place().c_str(), "has nothing in choice {}", i + 1);
    item.pairs.push_back({context, " " + choices[i]});
  }
  item.choices = std::move(choices);
}

std::string preprocessed(const std::string& text) {
  return python::replace(python::without_brackets(python::replace(python::strip(text), " [title]", ". ")), "  ", " ");
}

void read_hellaswag(const JsonLine& line, TaskItem& item) {
  const std::string context = line.has("ctx_a") && line.has("ctx_b")
                                  ? line.text("ctx_a") + " " + python::capitalize(line.text("ctx_b"))
                                  : line.text("ctx");
  std::vector<std::string> endings = line.texts("endings");
  for (std::string& ending : endings) ending = preprocessed(ending);
  add_choices(line, item, preprocessed(line.text("activity_label") + ": " + context), std::move(endings));
  item.answer = index_of(line, "label", item.choices.size(), 0);
}

void read_piqa(const JsonLine& line, TaskItem& item) {
  const std::string context = "Question: " + line.text("goal") + "\nAnswer:";
  const std::string first = line.text("sol1"), second = line.text("sol2");
  add_choices(line, item, context, {first, second});
  item.answer = index_of(line, "label", 2, 0);
}

void read_arc(const JsonLine& line, TaskItem& item) {
  const JsonLine choices = line.within("choices");
  const std::vector<std::string> labels = choices.texts("label");
  const std::string context = "Question: " + line.text("question") + "\nAnswer:";
  add_choices(line, item, context, choices.texts("text"));
  require(labels.size() == item.choices.size(), line.place().c_str(), "has {} choices and {} labels of them",
          item.choices.size(), labels.size());
  const std::string key = line.text("answerKey");
  const auto found = std::find(labels.begin(), labels.end(), key);
  require(found != labels.end(), line.place().c_str(), "'answerKey' is '{}': expected one of {}", key.substr(0, 40),
          fmt::join(labels, ", "));
  item.answer = static_cast<size_t>(found - labels.begin());
}

// What is scored is the rest of the sentence, behind the one word or the other.
void read_winogrande(const JsonLine& line, TaskItem& item) {
  const std::string sentence = line.text("sentence");
  const size_t gap = sentence.find('_');
  require(gap != std::string::npos, line.place().c_str(), "'sentence' has no _ where the word belongs");
  const std::string rest = python::strip(std::string_view(sentence).substr(gap + 1));
  require(!rest.empty(), line.place().c_str(), "'sentence' has nothing behind its _");
  for (const char* option : {"option1", "option2"}) {
    item.pairs.push_back({sentence.substr(0, gap) + line.text(option), " " + rest});
    item.choices.push_back(item.pairs.back().context);  // as the harness has it: the continuation is the same of both
  }
  item.answer = index_of(line, "answer", 2, 1);
}

void read_boolq(const JsonLine& line, TaskItem& item) {
  const std::string passage = line.text("passage");
  add_choices(line, item, passage + "\nQuestion: " + line.text("question") + "?\nAnswer:", {"no", "yes"});
  const std::string field = line.has("label") ? "label" : "answer";
  item.answer = line.at(field).is_boolean() ? (line.boolean(field) ? 1 : 0) : index_of(line, field, 2, 0);
}

void read_lambada(const JsonLine& line, TaskItem& item) {
  const std::string text = line.text("text");
  const size_t space = text.rfind(' ');
  const std::string word = space == std::string::npos ? text : text.substr(space + 1);
  item.pairs.push_back({space == std::string::npos ? "" : text.substr(0, space), " " + word});
  item.choices.push_back(word);
  require(!item.choices[0].empty(), line.place().c_str(), "'text' has no last word: it ends with a space, or is empty");
}

void read_plain(const JsonLine& line, TaskItem& item) {
  const std::string context = line.text("context");
  add_choices(line, item, context, line.texts("choices"));
  item.answer = index_of(line, "answer", item.choices.size(), 0);
}

}  // namespace

const char* name_of(TaskFields fields) {
  for (const Kind& kind : kinds())
    if (kind.fields == fields) return kind.name;
  internal_error("task", "fields {} are none", static_cast<int>(fields));
}

const char* name_of(TaskType type) { return type == TaskType::LastWord ? "last_word" : "multiple_choice"; }

TaskType type_of(TaskFields fields) {
  return fields == TaskFields::Lambada ? TaskType::LastWord : TaskType::MultipleChoice;
}

std::vector<std::string> task_field_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kinds()) names.emplace_back(kind.name);
  return names;
}

std::optional<TaskFields> task_fields_named(const std::string& name) {
  for (const Kind& kind : kinds())
    if (name == kind.name) return kind.fields;
  return std::nullopt;
}

Task read_task(const std::string& path, std::optional<TaskFields> fields) {
  std::vector<TaskItem> items;
  each_json_line(path, [&](const JsonLine& line) {
    if (!fields) fields = fields_of(line);
    TaskItem item;
    item.place = line.place();
    switch (*fields) {
      case TaskFields::HellaSwag:
        read_hellaswag(line, item);
        break;
      case TaskFields::Piqa:
        read_piqa(line, item);
        break;
      case TaskFields::Arc:
        read_arc(line, item);
        break;
      case TaskFields::WinoGrande:
        read_winogrande(line, item);
        break;
      case TaskFields::BoolQ:
        read_boolq(line, item);
        break;
      case TaskFields::Lambada:
        read_lambada(line, item);
        break;
      case TaskFields::Plain:
        read_plain(line, item);
        break;
    }
    items.push_back(std::move(item));
  });
  return {*fields, std::move(items)};
}

}  // namespace gta
