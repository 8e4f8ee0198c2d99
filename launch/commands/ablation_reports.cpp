#include "launch/commands/ablation_reports.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "bench/decode.h"
#include "core/error.h"
#include "core/log.h"
#include "launch/commands/comparison_text.h"
#include "launch/compare/report.h"
#include "launch/compare/text.h"

namespace gta {
namespace {

class ReportWriter {
 public:
  explicit ReportWriter(const AblationReports& ablation) : a_(ablation) {}

  bool write() const {
    std::map<std::string, std::vector<CellPlan>> groups;  // by what the report's folder is called
    for (const CellPlan& cell : a_.cells) {
      const Arm& arm = a_.arms[cell.arm];
      const std::string of_size = arm.size.empty() ? "report" : "report-" + arm.size;
      if (!arm.unmatched) groups[of_size].push_back(cell);
      if (arm.unmatched || arm.is_baseline) groups[of_size + "-unmatched"].push_back(cell);
    }
    bool all = true;
    std::map<std::string, Comparison> comparisons;
    for (const auto& [name, group] : groups) {
      const bool unmatched = name.ends_with("-unmatched");
      if (unmatched && !a_.file.unmatched) continue;
      if (std::none_of(group.begin(), group.end(),
                       [&](const CellPlan& cell) { return a_.folder.status(cell).state == CellState::Done; })) {
        log::warning("{}: no cell is done", name);
        continue;
      }
      if (std::none_of(group.begin(), group.end(), [&](const CellPlan& cell) {
            return a_.arms[cell.arm].is_baseline && a_.folder.status(cell).state == CellState::Done;
          })) {
        log::warning("{} is not written: no cell of the baseline {} is done", name, a_.file.baseline);
        all = false;
        continue;
      }
      try {
        comparisons.emplace(name, compare_cells(group, unmatched ? Budget::None : a_.file.equal));
      } catch (const Error& error) {  // the other reports can be written
        log::warning("{} cannot be written: {}", name, one_line(error.what()));
        all = false;
      }
    }
    std::vector<ScalingPoint> points;
    for (const auto& [name, comparison] : comparisons)
      if (!name.ends_with("-unmatched")) add_points(comparison, name, points);
    for (const auto& [name, comparison] : comparisons) {
      Supplements supplements{profiles_of(comparison), scaling_study(points, a_.file.baseline)};
      supplements.decode_tokens_per_second = decoding_speeds(comparison);
      supplements.search = a_.search;
      supplements.test = test_of(comparison);
      fmt::print("{}", comparison_text(comparison));
      try {
        ReportFolder(a_.folder.path() + "/" + name, Existing::Replace).write(comparison, supplements);
        fmt::print("report: {}/{}/report.html\n\n", a_.folder.path(), name);
      } catch (const Error& error) {
        log::warning("{} cannot be written: {}", name, one_line(error.what()));
        all = false;
      }
    }
    return all;
  }

 private:
  static void add_points(const Comparison& comparison, const std::string& size, std::vector<ScalingPoint>& points) {
    for (const Variant& variant : comparison.variants)
      points.push_back({variant.name, size, variant.cost.training_flops(), static_cast<double>(variant.cost.parameters),
                        variant.validation_loss.values});
  }

  // Tokens a second of one sequence after so many cached tokens, with random weights: the best of rounds in which all
  // variants take their turn. None of models that take long on this device.
  std::map<std::string, double> decoding_speeds(const Comparison& comparison) const {
    constexpr int64_t kTokens = 32, kLeastContext = 1024, kMostBytes = int64_t{1} << 30;
    constexpr int kRounds = 3;
    const Device device = device_from_name(a_.device);
    std::map<std::string, double> speeds;
    for (int round = 0; round < kRounds; ++round)
      for (const Variant& variant : comparison.variants) {
        const DType dtype = variant.config.train.dtype;
        if (device.type == DeviceType::Cpu &&
            variant.cost.parameters * static_cast<int64_t>(size_of(dtype)) > kMostBytes)
          return {};
        ModelConfig model = variant.config.model;
        const int64_t context = std::max(kLeastContext, variant.config.data.sequence_length);
        model.max_sequence_length = std::max(model.max_sequence_length, context + DecodeBenchmark::decoded(kTokens));
        const DecodeMeasurement measured = DecodeBenchmark(model, {.compute = dtype, .cache = dtype}, device)
                                               .measure({context, 1}, kTokens, MemoryLimits::NotMeasured);
        speeds[variant.name] = std::max(speeds[variant.name], measured.tokens_per_second());
      }
    return speeds;
  }

  // What `gta eval` said of each cell.
  std::map<std::string, TestSet> test_of(const Comparison& comparison) const {
    std::map<std::string, TestSet> sets;
    if (a_.file.test.empty()) return sets;
    for (const Variant& variant : comparison.variants) {
      std::map<int64_t, double> losses;
      for (const size_t run : variant.runs) {
        const RunRecord& record = comparison.runs[run];
        const CellPlan* const cell = cell_of(record.folder);
        if (const std::optional<double> loss = cell ? a_.folder.tested_loss(*cell, a_.file.test) : std::nullopt)
          losses[record.config.seed] = *loss;
      }
      if (!losses.empty()) sets[variant.name] = {Estimate(losses), {}};
    }
    const auto baseline = sets.find(comparison.baseline().name);
    for (auto& [name, set] : sets)
      if (baseline != sets.end() && name != baseline->first)
        set.difference = difference_between(set.loss, baseline->second.loss).of_pairs;
    return sets;
  }

  const CellPlan* cell_of(const std::string& folder) const {
    for (const CellPlan& cell : a_.cells)
      if (a_.folder.run(cell.name) == folder) return &cell;
    return nullptr;
  }

  // What the file itself has variants differ in, where that is not the model alone.
  std::vector<std::string> varied() const {
    std::set<std::string> keys;
    for (const Variation& variant : a_.file.variants)
      for (const auto& [key, placed] : variant.keys)
        if (!key.starts_with("model.")) keys.insert(key);
    std::vector<std::string> all(keys.begin(), keys.end());
    if (!all.empty()) all.insert(all.begin(), "model.");
    return all;
  }

  Comparison compare_cells(const std::vector<CellPlan>& cells, Budget equal) const {
    CompareOptions options;
    options.name = a_.file.name;
    options.baseline = a_.file.baseline;
    options.equal = equal;
    options.tolerance = a_.file.tolerance;
    options.practical_difference = a_.file.practical_difference;
    options.varied = varied();
    if (a_.file.tune) options.searched = {a_.file.tune->key};
    std::vector<std::string> runs;
    for (const CellPlan& cell : cells) {
      runs.push_back(a_.folder.run(cell.name));
      options.cells[runs.back()] = {a_.arms[cell.arm].variant, cell.seed, a_.folder.status(cell).reason};
    }
    return compare(read_runs(runs), options);
  }

  const AblationReports& a_;
};

}  // namespace

bool write_reports(const AblationReports& ablation) { return ReportWriter(ablation).write(); }

}  // namespace gta
