#include "launch/compare/report.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "core/error.h"
#include "core/io/file.h"
#include "launch/compare/report_json.h"
#include "launch/compare/tables.h"

namespace gta {
namespace {

struct ReportFile {
  const char* name;
  std::string (*text)(const Comparison&);
};
constexpr ReportFile kFiles[] = {{"report.json", report_text}, {"table.csv", table_csv}, {"table.tex", table_tex}};
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

void ReportFolder::write(const Comparison& comparison) {
  const std::string folder = output_.begin();
  for (const ReportFile& file : kFiles) write_synced(folder + "/" + file.name, file.text(comparison));
  output_.publish();
}

}  // namespace gta
