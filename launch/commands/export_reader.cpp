#include "launch/commands/export_reader.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <export_readers.h>
#include "core/io/file.h"
#include "core/io/unfinished.h"
#include "core/log.h"
#include "launch/commands/export_check.h"
#include "launch/run_program.h"

namespace gta {
namespace {

struct Reader {
  const char *name, *format, *variable, *modules, *script;
};
constexpr Reader kReaders[] = {
    {"transformers", "hf", "GTA_TRANSFORMERS_PYTHON", "torch, transformers", kTransformersReader},
    {"vllm", "hf", "GTA_VLLM_PYTHON", "vllm", kVllmReader},
    {"llama.cpp", "gguf", "GTA_LLAMA_CPP_PYTHON", "xllamacpp", kLlamaCppReader}};

// Of one format, or of "" all: "a or b".
std::string readers_of(const std::string& format) {
  std::string names;
  for (const Reader& reader : kReaders)
    if (format.empty() || format == reader.format) names += (names.empty() ? "" : " or ") + std::string(reader.name);
  return names;
}

const Reader& reader_named(const std::string& name) {
  for (const Reader& reader : kReaders)
    if (name == reader.name) return reader;
  bad_input("--verify-with", "expected {}, got '{}'", readers_of(""), name);
}

std::string python_of(const Reader& reader) {
  const char* const named = std::getenv(reader.variable);
  return named && *named ? named : "python3";
}

// A file that goes with this object.
class ScratchFile {
 public:
  explicit ScratchFile(std::string path) : path_(std::move(path)), unfinished_(path_) {}
  ~ScratchFile() { ::unlink(path_.c_str()); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Unfinished unfinished_;
};

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

std::vector<double> log_softmax(std::vector<double> logits, int64_t vocab) {
  for (size_t row = 0; row < logits.size(); row += static_cast<size_t>(vocab)) {
    const auto first = logits.begin() + static_cast<std::ptrdiff_t>(row), last = first + vocab;
    const double largest = *std::max_element(first, last);
    double sum = 0;
    for (auto at = first; at != last; ++at) sum += std::exp(*at - largest);
    for (auto at = first; at != last; ++at) *at -= largest + std::log(sum);
  }
  return logits;
}

struct ReaderResult {
  std::string version;    // what it says of itself
  double difference = 0;  // of log-probabilities, over the largest of our logits
};

ReaderResult compare(const std::string& name, const std::string& path, const LoadedModel& model) {
  const Reader& reader = reader_named(name);
  const ScratchFile log(path + ".log"), out(path + ".logits");
  // llama.cpp answers a prompt with a token more, for which its context has to have room.
  Tensor prompt = reference_prompt(model);
  if (prompt.elements() == model.config.model.max_sequence_length && prompt.elements() > 1)
    prompt = prompt.column_slice(0, prompt.elements() - 1);
  const bool ended = run_program({python_of(reader), "-c", reader.script, path,
                                  fmt::format("{}", fmt::join(prompt.to_vector<int32_t>(), ",")), out.path()},
                                 log.path());
  const std::string said = exists(log.path()) ? read_file(log.path(), 1 << 26) : "";
  if (!ended) fail("--verify-with", "{} could not read it: {}", name, last_line(said));
  const std::string bytes = read_file(out.path());
  const std::vector<double> logits = to_doubles(model.model->logits(prompt));
  if (bytes.size() != logits.size() * sizeof(float))
    fail("--verify-with", "{} gave {} numbers, expected {}", name, bytes.size() / sizeof(float), logits.size());
  std::vector<float> theirs(logits.size());
  std::memcpy(theirs.data(), bytes.data(), bytes.size());
  const std::vector<double> ours = log_softmax(logits, model.config.model.vocab_size);
  double largest = 0, most = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    largest = std::max(largest, std::abs(logits[i]));
    const double difference = std::abs(ours[i] - static_cast<double>(theirs[i]));
    most = difference < INFINITY ? std::max(most, difference) : INFINITY;
  }
  return {last_line(said), largest > 0 ? most / largest : most};
}

}  // namespace

void check_reader(const ExportCommand& command) {
  if (command.verify_with.empty()) return;
  const Reader& reader = reader_named(command.verify_with);
  require(command.format == reader.format, "--verify-with", "{} does not read --format {}: expected {}", reader.name,
          command.format, readers_of(command.format));
  const ScratchFile log(command.out + temporary_name(".log"));
  require(run_program({python_of(reader), "-c", std::string("import ") + reader.modules}, log.path()), "--verify-with",
          "{} cannot import {}: name a Python that can in {} (launch/install_interop makes one)", python_of(reader),
          reader.modules, reader.variable);
}

std::string difference_of_reader(const ExportCommand& command, const std::string& path, const LoadedModel& model,
                                 bool float32) {
  if (command.verify_with.empty()) return "";
  const ReaderResult result = compare(command.verify_with, path, model);
  const std::string seen =
      fmt::format("{} computes logits that differ by {:.2g} of the largest", result.version, result.difference);
  if (!(result.difference <= tolerated_difference(float32))) return seen;
  log::info("{}", seen);
  return "";
}

}  // namespace gta
