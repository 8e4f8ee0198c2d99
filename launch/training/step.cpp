#include "launch/training/step.h"

#include <algorithm>
#include <utility>

#include "core/profiler.h"
#include "launch/training/looks.h"
#include "optim/schedule.h"

namespace gta {

TrainingStep::TrainingStep(Training& training, const TrainHooks& hooks)
    : training_(training),
      hooks_(hooks),
      loader_(
          training.data, training.config.train.micro_batch_size,
          training.position.next_sample + training.ranks.communicator.rank() * training.config.train.micro_batch_size,
          training.micro_batch_of_ranks()) {}

std::optional<StepLosses> TrainingStep::add_gradients(const std::function<bool()>& stop) {
  Training& t = training_;
  const TrainConfig& train = t.config.train;
  const Communicator& ranks = t.ranks.communicator;
  const int64_t parts = t.micro_batches(), step = t.position.step;
  // A batch of nothing but first tokens has no loss, and no gradient.
  const int64_t labels = std::max<int64_t>(1, t.data.count_labels(t.position.next_sample, train.global_batch_size));
  StepLosses losses{Tensor::empty({ranks.ranks(), 1 + parts}, DType::F64, t.device, Purpose::Workspace)};
  const Tensor cross_entropies = losses.totals.row_slice(ranks.rank(), 1).column_slice(1, parts).reshape({parts});
  t.space.zero_gradients();
  for (int64_t part = 0; part < parts; ++part) {
    t.ranks.watchdog.at(step + 1, fmt::format("micro-batch {} of {}", part + 1, parts));
    if (hooks_.before_micro_batch) hooks_.before_micro_batch(step, part);
    if (part > 0 && stop()) return std::nullopt;
    const Batch batch = [&] {
      ProfilerRange waiting("data");
      return loader_.next();
    }();
    losses.data_wait_seconds += loader_.seconds_waited();
    if (hooks_.with_batch) hooks_.with_batch(step, batch.tokens);
    const Shape shape{train.micro_batch_size, t.config.data.sequence_length};
    document_starts_ =
        batch.document_starts.empty() ? Tensor{} : Tensor::from<int32_t>({shape.elements()}, batch.document_starts);
    ids_ = Tensor::from<int32_t>(shape, batch.tokens);
    Tape tape(TapeMode::Recording, train.recompute,
              part == parts - 1 ? t.parallel->gradients_complete() : GradientListener{}, t.parallel->weights_needed());
    const CausalLm::Losses of_part = t.model.losses(tape, ids_, Tensor::from<int32_t>(shape, batch.labels),
                                                    {.label_weight = 1.0 / static_cast<double>(labels),
                                                     .z_loss = train.z_loss,
                                                     .document_starts = document_starts_});
    cross_entropies.column_slice(part, 1).copy_from(of_part.cross_entropy);
    tape.backward(of_part.total);
  }
  return losses;
}

void TrainingStep::finish_gradients() {
  Training& t = training_;
  t.ranks.watchdog.at(t.position.step + 1, "adds up gradients");
  // Where this rank met an error it may not have come to all weights of the update before.
  t.parallel->finish_weights();
  t.parallel->finish_gradients();
}

Diagnosis TrainingStep::diagnose() const {
  return {training_.model, training_.space, training_.ranks.communicator, training_.position.step + 1, ids_,
          document_starts_};
}

QueuedStep TrainingStep::update(const StepLosses& losses, CheckpointSaver& saver, Diagnosis* diagnosis) {
  Training& t = training_;
  Communicator& ranks = t.ranks.communicator;
  const int64_t parts = losses.totals.columns() - 1;
  const Tensor own = losses.totals.row_slice(ranks.rank(), 1);
  t.ranks.watchdog.at(t.position.step + 1, "updates weights");
  if (hooks_.with_loss) hooks_.with_loss(t.position.step, own.column_slice(1, parts).reshape({parts}));
  if (hooks_.before_update) hooks_.before_update(t.position.step, t.space);
  own.column_slice(0, 1).copy_from(t.optimizer->sum_of_squares().reshape({1, 1}));
  ranks.all_gather("norms and losses", losses.totals).wait();
  const double rate = learning_rate(t.config.optimizer, t.position.step, t.config.train.steps);
  saver.before_update();
  const Tensor squares = losses.totals.column_slice(0, 1), of_parts = losses.totals.column_slice(1, parts);
  if (diagnosis)
    diagnosis->update(*t.optimizer, rate, squares, of_parts);
  else
    t.optimizer->step(rate, squares, of_parts);
  t.parallel->begin_weights();
  ++t.position.step;
  t.position.tokens += t.tokens_per_step();
  const int64_t batch = t.config.train.global_batch_size,
                first_sample = std::exchange(t.position.next_sample, t.position.next_sample + batch);
  return {t.position.step, t.position.tokens, first_sample, rate, losses.data_wait_seconds, t.optimizer->outcome(), {}};
}

}  // namespace gta
