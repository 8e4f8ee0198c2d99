#include "launch/tasks/few_shot.h"

#include "core/error.h"
#include "launch/tasks/python_random.h"

namespace gta {
namespace {

constexpr uint32_t kSeed = 1234;  // of the harness, where --seed says no other

std::string solved(const TaskItem& example, TaskFields fields) {
  // Of a last word the space is the continuation's own, before which the harness puts its delimiter all the same.
  const TaskItem::Pair& right = example.pairs[fields == TaskFields::Lambada ? 0 : example.answer];
  return right.context + (fields == TaskFields::Lambada ? " " : "") + right.continuation + "\n\n";
}

}  // namespace

void add_examples(Task& task, const Task& examples, int64_t count, const std::string& path) {
  const auto there = static_cast<int64_t>(examples.items.size());
  require(count <= there, path.c_str(), "has {} examples: expected at least the {} of --few-shot", there, count);
  std::vector<std::string> texts;
  for (const TaskItem& example : examples.items) texts.push_back(solved(example, examples.fields));
  python::Random random(kSeed);
  for (TaskItem& item : task.items) {
    std::string before;
    for (const int64_t drawn : random.sample(there, count)) before += texts[static_cast<size_t>(drawn)];
    for (TaskItem::Pair& pair : item.pairs) pair.context.insert(0, before);
  }
}

}  // namespace gta
