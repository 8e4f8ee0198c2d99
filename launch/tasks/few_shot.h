// Solved examples before a question, as lm-evaluation-harness 0.4.13 puts them there with --num_fewshot N:
//
//   CONTEXT CONTINUATION\n\n CONTEXT CONTINUATION\n\n ... context of the question
//
// each with its right continuation. Which, it draws anew for every question, in their order, of another file (its
// fewshot_split): random.Random(1234).sample(examples, N).
#pragma once

#include "launch/tasks/task_items.h"

namespace gta {

// Error(BadInput) that begins with `path` where there are fewer examples.
void add_examples(Task& task, const Task& examples, int64_t count, const std::string& path);

}  // namespace gta
