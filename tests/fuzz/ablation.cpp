// An ablation's file: the first line as `--set`, everything as the file. What is accepted must survive being written
// out.
#include "launch/ablate/ablation_file.h"

#include <algorithm>

#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_ablation(const std::string& bytes) {
  const std::string path = scratch_file("ablation.yaml", bytes);
  taken([&] { gta::read_ablation(path, {bytes.substr(0, bytes.find('\n'))}); });
  return taken([&] {
    const AblationFile file = gta::read_ablation(path, {});
    const auto is_baseline = [&](const Variation& variant) { return variant.name == file.baseline; };
    expect(std::count_if(file.variants.begin(), file.variants.end(), is_baseline) == 1, "a baseline is no variant");
    expect(!file.seeds.empty() && (!file.tune || file.tune->values.size() > 1), "there is nothing to compare");
    for (const std::vector<Variation>* named : {&file.variants, &file.sizes})
      for (const Variation& one : *named)
        expect(one.name.find_first_of("/\0\n", 0, 3) == std::string::npos && one.name[0] != '.',
               "a name is no folder's");
    // Of files that are not there to_yaml() writes an empty list, which is no such key's.
    const std::string text = to_yaml(file);
    taken([&] {
      const AblationFile again = gta::read_ablation(scratch_file("again.yaml", text), {});
      expect(to_yaml(again) == text, "an ablation that was written out loads as another one");
    });
  });
}

}  // namespace gta::fuzz
