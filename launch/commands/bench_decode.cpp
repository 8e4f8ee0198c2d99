// gta bench decode: prefill and decoding of models side by side, over lengths of what is cached.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "bench/decode.h"
#include "core/gemm.h"
#include "core/io/file.h"
#include "core/measure/peak.h"
#include "core/parallel.h"
#include "launch/chart/chart.h"
#include "launch/commands/commands.h"
#include "launch/config/config.h"
#include "launch/generation/cache_options.h"
#include "launch/plan.h"

namespace gta {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMib = 1 << 20;

struct Measured {
  std::string name;
  ModelConfig model;
  int64_t weight_bytes = 0;
  double copy_bandwidth = 0;
  std::vector<DecodeMeasurement> points;
};

std::string name_of_file(const std::string& path) {
  const std::string file = path.substr(path.find_last_of('/') + 1);
  return file.substr(0, file.find_last_of('.'));
}

ModelConfig load_subject(const DecodeBenchCommand& command, const std::string& path) {
  ModelConfig model = load_model_config(path, command.overrides);
  require(model.vocab_size > 0, "bench", "{}: model.vocab_size is missing: give it with --set model.vocab_size=N",
          path);
  const int64_t longest = *std::max_element(command.contexts.begin(), command.contexts.end());
  const int64_t with_decoded = longest + DecodeBenchmark::decoded(command.tokens);
  const int64_t most = *std::max_element(command.sequences.begin(), command.sequences.end());
  require(
      with_decoded <= std::numeric_limits<int32_t>::max() / most, "bench",
      "{} sequences of {} tokens are more than the {} that a cache counts: expected smaller --contexts, --sequences "
      "or --tokens",
      most, with_decoded, std::numeric_limits<int32_t>::max());
  // A longer table of positions changes no weight and no time.
  model.max_sequence_length = std::max(model.max_sequence_length, with_decoded);
  return model;
}

DecodeFormats formats_of(const DecodeBenchCommand& command) {
  const DType compute = dtype_from_name(command.dtype);
  return {compute, cache_dtype(command.cache, compute),
          command.weights == "int8" ? WeightFormat::Int8 : WeightFormat::AsComputed};
}

Measured measure(const DecodeBenchCommand& command, const std::string& path) {
  const Device device = device_from_name(command.device);
  Measured measured{name_of_file(path), load_subject(command, path), 0, measure_copy_bandwidth(device), {}};
  const DecodeBenchmark benchmark(measured.model, formats_of(command), device);
  measured.weight_bytes = benchmark.weight_bytes();
  for (int64_t context : command.contexts)
    for (int64_t sequences : command.sequences) {
      DecodeMeasurement point = benchmark.measure({context, sequences}, command.tokens, MemoryLimits::Measured);
      if (context <= command.longest_prefill && sequences == command.sequences.front())
        point.prefill_seconds = benchmark.measure_prefill(context, command.prefill_chunk);
      measured.points.push_back(point);
    }
  measured.copy_bandwidth = std::max(measured.copy_bandwidth, measure_copy_bandwidth(device));
  return measured;
}

void print_table(const DecodeBenchCommand& command, const std::vector<Measured>& all) {
  const DecodeFormats formats = formats_of(command);
  fmt::print("{}{}, cache {}, on {}, {} threads; medians of {} tokens, random weights\n\n", command.dtype,
             formats.weights == WeightFormat::Int8 ? " with int8 weights" : "", name_of(formats.cache),
             name_of(device_from_name(command.device)), threads(), command.tokens);
  constexpr const char* line = "{:<20} {:>8} {:>5} {:>9} {:>9} {:>8} {:>7} {:>7} {:>10} {:>10} {:>12}\n";
  fmt::print(line, "model", "context", "seqs", "ms/token", "tokens/s", "GB/s", "copy", "read", "cache MiB", "MFLOP",
             "prefill t/s");
  for (const Measured& m : all)
    for (const DecodeMeasurement& p : m.points) {
      const double rate = p.bytes / p.step.median;
      fmt::print(
          line, m.name, p.at.context, p.at.sequences, fmt::format("{:.2f}", 1e3 * p.step.median),
          fmt::format("{:.1f}", p.tokens_per_second()), fmt::format("{:.1f}", rate / 1e9),
          fmt::format("{:.0f}%", 100 * p.of_copy), fmt::format("{:.0f}%", 100 * p.of_read),
          fmt::format("{:.2f}", static_cast<double>(p.cache_bytes) / kMib), fmt::format("{:.0f}", p.flops / 1e6),
          p.prefill_seconds > 0 ? fmt::format("{:.0f}", static_cast<double>(p.at.context) / p.prefill_seconds) : "");
    }
}

Json json_of(const DecodeBenchCommand& command, const std::vector<Measured>& all) {
  Json json = {{"dtype", command.dtype},
               {"weights", command.weights},
               {"cache", name_of(formats_of(command).cache)},
               {"device", command.device},
               {"threads", threads()},
               {"tokens", command.tokens},
               {"prefill_chunk", command.prefill_chunk},
               {"models", Json::array()}};
  for (const Measured& m : all) {
    Json points = Json::array();
    for (const DecodeMeasurement& p : m.points) {
      Json point = {{"context", p.at.context},
                    {"sequences", p.at.sequences},
                    {"seconds_median", p.step.median},
                    {"seconds_min", p.step.least},
                    {"tokens_per_second", p.tokens_per_second()},
                    {"cache_bytes", p.cache_bytes},
                    {"bytes", p.bytes},
                    {"bytes_per_second", p.bytes / p.step.median},
                    {"of_copy", p.of_copy},
                    {"of_read", p.of_read},
                    {"flops", p.flops}};
      if (p.prefill_seconds > 0) point["prefill_seconds"] = p.prefill_seconds;
      points.push_back(point);
    }
    json["models"].push_back({{"name", m.name},
                              {"attention", name_of(m.model.attention.type)},
                              {"parameters", plan_model(m.model, 1).parameters},
                              {"weight_bytes", m.weight_bytes},
                              {"copy_bytes_per_second", m.copy_bandwidth},
                              {"points", points}});
  }
  return json;
}

// Of the first number of sequences: milliseconds a token, and seconds until the first.
std::vector<Chart> charts_of(const DecodeBenchCommand& command, const std::vector<Measured>& all) {
  Chart decode{"Decoding", "tokens cached", "ms per token", {}, Scale::Logarithmic},
      prefill{"Prefill", "tokens of the prompt", "seconds", {}, Scale::Logarithmic},
      cache{"Cache", "tokens cached", "MiB", {}, Scale::Logarithmic};
  for (const Measured& m : all) {
    const size_t style = 1 + static_cast<size_t>(&m - all.data());
    ChartLine token{m.name, {}, style}, prompt{m.name, {}, style}, bytes{m.name, {}, style};
    for (const DecodeMeasurement& p : m.points) {
      if (p.at.sequences != command.sequences.front()) continue;
      const auto x = static_cast<double>(p.at.context);
      token.points.push_back({x, 1e3 * p.step.median});
      bytes.points.push_back({x, static_cast<double>(p.cache_bytes) / kMib});
      if (p.prefill_seconds > 0) prompt.points.push_back({x, p.prefill_seconds});
    }
    decode.lines.push_back(token);
    cache.lines.push_back(bytes);
    if (!prompt.points.empty()) prefill.lines.push_back(prompt);
  }
  std::vector<Chart> charts = {decode, cache};
  if (!prefill.lines.empty()) charts.insert(charts.begin(), prefill);
  return charts;
}

std::string description_of(const std::vector<Measured>& all) {
  std::string text = "Milliseconds a decoded token takes, by tokens cached.";
  for (const Measured& m : all) {
    text += fmt::format(" {}:", m.name);
    for (const DecodeMeasurement& p : m.points) text += fmt::format(" {:.2f} at {}", 1e3 * p.step.median, p.at.context);
    text += ".";
  }
  return text;
}

}  // namespace

int run_bench_decode(const DecodeBenchCommand& command) {
  cpu::check_products();
  if (!command.svg.empty()) output_file(command.svg);
  for (const std::string& path : command.configs)
    load_subject(command, path);  // all are seen to be good before the first
  std::vector<Measured> all;
  for (const std::string& path : command.configs) all.push_back(measure(command, path));
  if (!command.svg.empty()) publish_text(command.svg, svg_of(charts_of(command, all), description_of(all)));
  if (command.output == Output::Json)
    fmt::print("{}\n", json_of(command, all).dump(2));
  else
    print_table(command, all);
  return 0;
}

}  // namespace gta
