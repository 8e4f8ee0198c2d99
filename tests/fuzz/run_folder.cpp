// A run's folder, as a comparison reads it: config.yaml, metrics.jsonl, environment.json, initial.json and what is
// inside of a checkpoint's manifest, with a zero byte between them. What can be read comes into a report, beside a run
// that is well.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoints/reader.h"
#include "data/utf8.h"
#include "launch/commands/comparison_text.h"
#include "launch/compare/page/page.h"
#include "launch/compare/report_json.h"
#include "launch/compare/tables.h"
#include "launch/compare/words.h"
#include "tests/fuzz/target.h"
#include "tests/launch/compare/made_records.h"

namespace gta::fuzz {
namespace {

void expect_line(const std::string& text) {
  expect(find_bad_utf8(text) < 0 && text.find('\n') == std::string::npos && text.find('\x1b') == std::string::npos,
         "a text of a folder's would disturb who reads it");
}

void expect_sound(const RunRecord& run) {
  for (const std::string& remark : run.remarks) expect_line(remark);
  expect_line(run.reason);
  if (run.state == RunState::Unreadable) return expect(!run.reason.empty(), "it is not said why a run is not readable");
  const int64_t steps = run.config.train.steps;
  expect(run.last_step <= steps && run.training.size() <= kMostPoints && run.validation.size() <= kMostPoints + 1,
         "a run has more points than steps, or more than are kept");
  for (const ValidationPoint& point : run.validation)
    expect(point.step > 0 && point.step <= steps && std::isfinite(point.loss), "a point is none");
  for (const TrainingPoint& point : run.training)
    expect(point.step > 0 && point.step <= steps && std::isfinite(point.loss), "a point is none");
}

void expect_reports(const RunRecord& run) {
  const Comparison comparison = compare({made_record({"gqa"}, 1, 800), run}, {});
  const Supplements supplements{profiles_of(comparison)};
  expect(nlohmann::json::accept(report_text(comparison, supplements)), "a report is no JSON");
  for (const std::string& text : {report_page(comparison, {words_of(comparison)}, supplements), table_csv(comparison),
                                  table_tex(comparison), comparison_text(comparison)})
    expect(!text.empty() && find_bad_utf8(text) < 0 && text.find('\x1b') == std::string::npos, "a report is no text");
}

}  // namespace

bool read_run_folder(const std::string& bytes) {
  const std::string folder = scratch_folder("run"), checkpoint = "checkpoints/" + checkpoint_name(1);
  scratch_folder("run/" + checkpoint);
  size_t at = 0;
  const auto next_part = [&] {
    const size_t begin = at, end = std::min(bytes.find('\0', begin), bytes.size());
    at = std::min(end + 1, bytes.size());
    return bytes.substr(begin, end - begin);
  };
  for (const char* name : {"config.yaml", "metrics.jsonl", "environment.json", "initial.json"})
    scratch_file(std::string("run/") + name, next_part());
  scratch_file("run/" + checkpoint + "/manifest.json", sealed("manifest", next_part()));
  const RunRecord run = read_run(folder);
  expect_sound(run);
  if (run.state == RunState::Unreadable) return false;
  return taken([&] { expect_reports(run); });
}

}  // namespace gta::fuzz
