#include "launch/as_rank.h"
#include "launch/commands/commands.h"
#include "launch/run_folder.h"
#include "launch/trainer.h"

namespace gta {
namespace {

int train_as_rank(const TrainCommand& command, Communicator& communicator) {
  LoadedRun run;
  communicator.together("configuration", [&] {
    run = load_run_config(command.config, command.overrides, DataFiles::Expand, communicator.ranks());
  });
  TrainOptions options;
  options.run_dir = folder_name(command.run_dir);
  options.use = command.fresh ? FolderUse::Fresh : FolderUse::Resume;
  options.device = command.device;
  options.misfit = command.force ? Misfit::Try : Misfit::Refuse;
  options.profile_steps = command.profile_steps;
  const TrainConfig& keys = run.config.train;
  Watchdog watchdog(communicator, {.timeout = static_cast<double>(keys.hang_timeout_seconds),
                                   .interface = keys.watchdog_interface == "all" ? "" : keys.watchdog_interface});
  TrainResult result;
  watched(watchdog, [&] { result = train(run, options, {communicator, watchdog}); });
  return result.outcome == TrainOutcome::Interrupted ? kExitInterrupted : 0;
}

}  // namespace

int run_train(const TrainCommand& command) {
  return work_as_rank([&](Communicator& communicator) { return train_as_rank(command, communicator); });
}

}  // namespace gta
