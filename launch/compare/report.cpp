#include "launch/compare/report.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "core/error.h"
#include "core/io/file.h"
#include "launch/compare/page/page.h"
#include "launch/compare/report_json.h"
#include "launch/compare/tables.h"
#include "launch/compare/words.h"

namespace gta {
namespace {

std::vector<std::string> paragraphs_of(const Comparison& comparison, const Supplements& supplements) {
  std::vector<std::string> paragraphs = {words_of(comparison)};
  if (!supplements.test.empty()) paragraphs.push_back(words_of(supplements.test));
  if (supplements.search) paragraphs.push_back(words_of(*supplements.search));
  return paragraphs;
}

struct ReportFile {
  const char* name;
  std::string (*text)(const Comparison&, const Supplements&);
};
constexpr ReportFile kFiles[] = {
    {"report.html", [](const Comparison& c, const Supplements& s) { return report_page(c, paragraphs_of(c, s), s); }},
    {"report.json", [](const Comparison& c, const Supplements& s) { return report_text(c, s); }},
    {"table.csv", [](const Comparison& c, const Supplements&) { return table_csv(c); }},
    {"table.tex", [](const Comparison& c, const Supplements&) { return table_tex(c); }}};
constexpr int64_t kLargestReport = int64_t{1} << 32;

void require_report(const std::string& folder) {
  require(!std::filesystem::is_symlink(folder), "--out", "{} is a symbolic link: give the folder that it leads to",
          folder);
  require(is_directory(folder), "--out", "{} is no folder: expected a new one, or an earlier report's", folder);
  const std::string json = folder + "/report.json";
  require(exists(json) && is_report(read_file(json, kLargestReport)), "--out",
          "{} is no report of 'gta compare', and stays: give the name of a new folder", folder);
  for (const std::string& name : list_directory(folder))
    require(
        std::any_of(std::begin(kFiles), std::end(kFiles), [&](const ReportFile& file) { return name == file.name; }),
        "--out", "{} holds {} too, which 'gta compare' did not write, and stays: give the name of a new folder", folder,
        name);
}

}  // namespace

ReportFolder::ReportFolder(const std::string& path, Existing existing)
    : output_("--out", path, NewOutput::Kind::Folder,
              existing == Existing::Replace ? require_report : std::function<void(const std::string&)>()) {}

void ReportFolder::write(const Comparison& comparison, const Supplements& supplements) {
  const std::string folder = output_.begin();
  for (const ReportFile& file : kFiles) write_synced(folder + "/" + file.name, file.text(comparison, supplements));
  output_.publish();
}

}  // namespace gta
