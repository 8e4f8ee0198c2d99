#include "launch/ablate/slurm.h"

#include <array_job.h>
#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"
#include "launch/compare/text.h"
#include "launch/run_program.h"

namespace gta {
namespace {

std::string words(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : " ") + in_single_quotes(text);
  return out;
}

}  // namespace

std::string array_script(const ArrayJob& job) {
  // SLURM's own lines have no way to write these, and would be others.
  require(
      job.folder.find_first_of("\"\\%\n\r") == std::string::npos, "--run-dir",
      "{} holds a quote, a backslash, a percent sign or a line's end, which '#SBATCH --output' cannot name: expected "
      "another folder",
      printable(job.folder));
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error);
  return fmt::format(
      "#!/usr/bin/env bash\n"
      "#SBATCH --job-name={}\n"
      "#SBATCH --array=0-{}{}\n"
      "#SBATCH --signal=B:USR1@120\n"
      "#SBATCH --requeue\n"
      "#SBATCH --open-mode=append\n"
      "#SBATCH --output=\"{}/slurm/%A_%a.out\"\n"
      "gta={}\narguments=({})\ncells=({})\n{}",
      job.name, job.cells.size() - 1, job.at_once > 0 ? fmt::format("%{}", job.at_once) : "", job.folder,
      in_single_quotes(program), words(job.arguments), words(job.cells), kArrayJob);
}

std::string submit(const ArrayJob& job) {
  const std::string folder = job.folder + "/slurm", script = folder + "/array.sbatch", log = folder + "/sbatch.txt";
  const std::string text = array_script(job);
  make_directories(folder);
  publish_text(script, text);
  std::vector<std::string> command = {"sbatch"};
  command.insert(command.end(), job.options.begin(), job.options.end());
  command.push_back(script);
  const bool taken = run_program(command, log);
  std::string said = exists(log) ? read_file(log) : "";
  while (said.ends_with('\n')) said.pop_back();
  if (!taken) fail("sbatch", "{}", said.empty() ? "cannot be run: is SLURM here?" : said);
  return said;
}

}  // namespace gta
