#include "launch/generation/requests.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "launch/generation/limits.h"
#include "launch/json_lines.h"
#include "launch/sampling.h"
#include "launch/suggestion.h"

namespace gta {
namespace {

const std::vector<std::string> kFields = {"prompt", "id",    "max_tokens", "temperature",
                                          "top_k",  "top_p", "min_p",      "repetition_penalty",
                                          "seed",   "stop",  "logprobs"};

void check_fields(const JsonLine& line) {
  for (const auto& [name, value] : line.object().items())
    if (std::find(kFields.begin(), kFields.end(), name) == kFields.end())
      bad_input(line.place(), "'{}' is no field of a prompt{}", name, did_you_mean(nearest_word(name, kFields)));
}

std::vector<std::string> stop_strings(const JsonLine& line) {
  const std::vector<std::string> strings =
      line.at("stop").is_string() ? std::vector<std::string>{line.text("stop")} : line.texts("stop");
  if (std::count(strings.begin(), strings.end(), "") > 0)
    bad_input(line.place(), "'stop' has an empty string, which every text begins with");
  return strings;
}

GenerationRequest read_request(const JsonLine& line, const SamplingOptions& otherwise) {
  check_fields(line);
  GenerationRequest request;
  request.prompt = line.text("prompt");
  SamplingOptions& options = request.options = otherwise;
  if (line.has("max_tokens")) options.max_tokens = line.integer("max_tokens", 1, kMostTokens);
  if (line.has("temperature")) options.temperature = line.number("temperature", 0, kHighestTemperature);
  if (line.has("top_k")) options.top_k = line.integer("top_k", 0, kMostTokens);
  if (line.has("top_p")) options.top_p = line.number("top_p", 0, 1);
  if (line.has("min_p")) options.min_p = line.number("min_p", 0, 1);
  if (line.has("repetition_penalty"))
    options.repetition_penalty = line.number("repetition_penalty", kLeastPenalty, kMostPenalty);
  if (line.has("seed")) options.seed = static_cast<uint64_t>(line.integer("seed", 0, kLargestSeed));
  if (line.has("stop")) options.stop = stop_strings(line);
  if (line.has("logprobs"))
    options.log_probabilities = line.boolean("logprobs") ? LogProbabilities::OfPicked : LogProbabilities::None;
  if (line.has("id")) {
    request.id = line.at("id");
    if (!request.id.is_string() && !request.id.is_number_integer()) line.wrong("id", "a string or an integer");
  }
  return request;
}

}  // namespace

std::vector<GenerationRequest> read_requests(const std::string& path, const SamplingOptions& otherwise,
                                             const ModelConfig& config, const Tokenizer& tokenizer) {
  std::vector<GenerationRequest> requests;
  each_json_line(path, [&](const JsonLine& line) {
    GenerationRequest request = read_request(line, otherwise);
    try {
      request.tokens = prompt_tokens(config, tokenizer, request.prompt);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::BadInput) throw;
      bad_input(line.place(), "{}", error.what());
    }
    requests.push_back(std::move(request));
  });
  return requests;
}

nlohmann::ordered_json answer_json(const GenerationRequest& request, const Continuation& answer) {
  nlohmann::ordered_json json;
  if (!request.id.is_null()) json["id"] = request.id;
  json["prompt"] = request.prompt;
  json["text"] = answer.text();
  json["tokens"] = answer.picked();
  json["prompt_tokens"] = answer.prompted();
  json["seed"] = request.options.seed;
  json["finish_reason"] = name_of(answer.reason());
  if (request.options.log_probabilities == LogProbabilities::OfPicked) json["logprobs"] = answer.log_probabilities();
  return json;
}

}  // namespace gta
