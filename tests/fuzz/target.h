// Readers of files from outside, each as a function of bytes that may be anything. libFuzzer drives them (preset
// `fuzz`); the ordinary tests replay the corpora, and changes of them, through the same functions.
#pragma once

#include <functional>
#include <span>
#include <string>

namespace gta::fuzz {

struct Target {
  const char* name;  // of its folder in tests/fuzz/corpus
  // True when the reader took the bytes, false when it refused them with Error(BadInput). Every other end is a defect
  // of the reader: another exception leaves this function, and a broken promise about what was read is a
  // std::logic_error.
  bool (*run)(const std::string& bytes);
};

std::span<const Target> targets();

// Runs a reader; false when it refused its input.
bool taken(const std::function<void()>& reader);
// std::logic_error when `holds` is false.
void expect(bool holds, const char* promise);
// A file of this process with these bytes, overwritten by the next one of the same name.
std::string scratch_file(const std::string& name, const std::string& bytes);
std::string scratch_folder();
// A folder within it, which is made.
std::string scratch_folder(const std::string& name);
// JSON behind its own hash, as a checkpoint has it: "manifest" or "rank_file". Of changed bytes none would be right.
std::string sealed(const std::string& name, const std::string& json);

bool read_configuration(const std::string& bytes);
bool read_shard(const std::string& bytes);
bool read_tokenizer(const std::string& bytes);
bool read_checkpoint(const std::string& bytes);
bool read_npy(const std::string& bytes);
bool read_text(const std::string& bytes);
bool read_safetensors(const std::string& bytes);
bool read_gguf(const std::string& bytes);
bool read_questions(const std::string& bytes);
bool read_hf_config(const std::string& bytes);
bool read_hf_index(const std::string& bytes);
bool read_run_folder(const std::string& bytes);
bool read_ablation(const std::string& bytes);

}  // namespace gta::fuzz
