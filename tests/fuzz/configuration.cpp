// A configuration: the first line as `--set`, everything as a run's and as a model's file. What is accepted must
// survive being written out.
#include "launch/config/config.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_configuration(const std::string& bytes) {
  const bool run = taken([&] {
    const RunConfig config = parse_run_config(bytes, scratch_folder() + "/run.yaml");
    const RunConfig again = parse_run_config(to_yaml(config), scratch_folder() + "/run.yaml");
    expect(differences(config, again).empty(), "a configuration that was written out loads as another one");
  });
  const bool model = taken([&] { parse_model_config(bytes, scratch_folder() + "/model.yaml"); });
  const std::string path = scratch_file("run.yaml", bytes);
  taken([&] { load_run_config(path, {bytes.substr(0, bytes.find('\n'))}, DataFiles::Ignore); });
  taken([&] { load_model_config(path, {}); });
  return run || model;
}

}  // namespace gta::fuzz
