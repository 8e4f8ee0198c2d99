#include "launch/commands/commands.h"
#include "launch/run_folder.h"
#include "launch/trainer.h"

namespace gta {

int run_train(const TrainCommand& command) {
  const LoadedRun run = load_run_config(command.config, command.overrides);
  TrainOptions options;
  options.run_dir = folder_name(command.run_dir);
  options.use = command.fresh ? FolderUse::Fresh : FolderUse::Resume;
  options.device = command.device;
  options.misfit = command.force ? Misfit::Try : Misfit::Refuse;
  options.profile_steps = command.profile_steps;
  const TrainResult result = train(run, options);
  return result.outcome == TrainOutcome::Interrupted ? kExitInterrupted : 0;
}

}  // namespace gta
