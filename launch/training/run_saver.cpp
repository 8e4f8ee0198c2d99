#include "launch/training/run_saver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/profiler.h"

namespace gta {
namespace {

// Weights whose root mean square is beyond this have diverged: matrices begin near 0.02, norms at 1, and trained ones
// stay near that.
constexpr double kLargestWeights = 10;

double root_mean_square(const ParameterSpace& space, Communicator& ranks) {
  const double own = space.sum_of_squares(space.masters()).to_vector<double>()[0];
  double squares = 0;
  for (double of_rank : ranks.gather("squares of the weights", own)) squares += of_rank;
  return std::sqrt(squares / static_cast<double>(space.parameter_count()));
}

// A save that is waited for is no standstill.
PieceOptions that_moves(Watchdog& watchdog) {
  PieceOptions options;
  options.while_read = [&](int64_t) { watchdog.progress(); };
  return options;
}

}  // namespace

RunSaver::RunSaver(Training& training, RunFolder* folder, const std::shared_ptr<Fence>& fence,
                   const std::string& checkpoints, int64_t saved_step)
    : training_(training),
      folder_(folder),
      checkpoints_(checkpoints),
      saved_step_(saved_step),
      saver_(checkpoints, training.config.train.checkpoint.keep, training.config.train.checkpoint.keep_every_steps,
             training.config.train.checkpoint.asynchronous, that_moves(training.ranks.watchdog),
             &training.ranks.communicator, {fence->number(), [fence] { fence->check(); }}) {}

void RunSaver::save() {
  ProfilerRange range("save");
  TrainingPosition& position = training_.position;
  Communicator& ranks = training_.ranks.communicator;
  training_.ranks.watchdog.at(position.step, "saves");
  saved_step_ = position.step;
  const auto follow = [&] {
    if (folder_ && !folder_->fence()->overtaken() && folder_->follow())
      log::warning("the run's folder was renamed: it is now {}, and what is saved goes there", folder_->path());
  };
  if (const std::optional<Error> error = ranks.attempt("run's folder", follow)) {
    saver_.give_up(position.step, error->what());  // a disk that is away for a moment may be back at the next save
    return;
  }
  const std::string place = ranks.broadcast_text("run's folder", folder_ ? folder_->checkpoints() : "");
  if (place != checkpoints_) saver_.save_to(checkpoints_ = place);
  if (folder_) folder_->flush_metrics();
  const double size = root_mean_square(training_.space, ranks),
               largest = kLargestWeights * std::max(1.0, training_.config.model.initializer_range);
  position.sound = position.consecutive_skipped == 0 && size <= largest;
  if (!(size <= largest))
    log::warning(
        "the weights have diverged: their root mean square is {:.3g} after step {}, beyond {:g}; lower "
        "optimizer.learning_rate",
        size, position.step, largest);
  saver_.save(training_.state());
}

bool RunSaver::finish() {
  const bool good = saver_.finish();
  note_saved();
  return good;
}

void RunSaver::note_saved() {
  const int64_t step = saver_.last_saved_step();
  if (!folder_ || step < 0 || step == std::exchange(noted_step_, step)) return;
  folder_->note_checkpoint(step);
}

}  // namespace gta
