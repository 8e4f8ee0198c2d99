#include "launch/training/step.h"

#include <algorithm>
#include <utility>

#include "core/profiler.h"
#include "launch/diagnose.h"
#include "launch/training/looks.h"
#include "optim/schedule.h"

namespace gta {

TrainingStep::TrainingStep(Training& training, const TrainHooks& hooks)
    : training_(training),
      hooks_(hooks),
      loader_(training.data, training.config.train.micro_batch_size, training.position.next_sample) {}

std::optional<StepLosses> TrainingStep::add_gradients(const std::function<bool()>& stop,
                                                      const std::function<void(const DiagnosisRow&)>& diagnosis) {
  Training& t = training_;
  const TrainConfig& train = t.config.train;
  const int64_t parts = t.micro_batches(), step = t.position.step;
  // A batch of nothing but first tokens has no loss, and no gradient.
  const int64_t labels = std::max<int64_t>(1, t.data.count_labels(t.position.next_sample, train.global_batch_size));
  StepLosses losses{Tensor::empty({parts}, DType::F64, t.device, Purpose::Workspace)};
  t.space.zero_gradients();
  for (int64_t part = 0; part < parts; ++part) {
    if (hooks_.before_micro_batch) hooks_.before_micro_batch(step, part);
    if (part > 0 && stop()) return std::nullopt;
    const Batch batch = [&] {
      ProfilerRange waiting("data");
      return loader_.next();
    }();
    losses.data_wait_seconds += loader_.seconds_waited();
    const Shape shape{train.micro_batch_size, t.config.data.sequence_length};
    const Tensor document_starts =
        batch.document_starts.empty() ? Tensor{} : Tensor::from<int32_t>({shape.elements()}, batch.document_starts);
    Tape tape(TapeMode::Recording, train.recompute);
    const Tensor ids = Tensor::from<int32_t>(shape, batch.tokens);
    const CausalLm::Losses of_part = t.model.losses(tape, ids, Tensor::from<int32_t>(shape, batch.labels),
                                                    {.label_weight = 1.0 / static_cast<double>(labels),
                                                     .z_loss = train.z_loss,
                                                     .document_starts = document_starts});
    losses.cross_entropies.column_slice(part, 1).copy_from(of_part.cross_entropy);
    tape.backward(of_part.total);
    // The last micro-batch stands for the step.
    if (part == parts - 1 && diagnosis_follows(t))
      look("diagnosis", step, [&] { diagnosis(diagnose(t.model, t.space, step + 1, ids, document_starts)); });
  }
  return losses;
}

QueuedStep TrainingStep::update(const StepLosses& losses, CheckpointSaver& saver) {
  Training& t = training_;
  if (hooks_.with_loss) hooks_.with_loss(t.position.step, losses.cross_entropies);
  if (hooks_.before_update) hooks_.before_update(t.position.step, t.space);
  const Tensor squares = t.optimizer->sum_of_squares();
  const double rate = learning_rate(t.config.optimizer, t.position.step, t.config.train.steps);
  saver.before_update();
  t.optimizer->step(rate, squares, losses.cross_entropies);
  ++t.position.step;
  t.position.tokens += t.tokens_per_step();
  const int64_t batch = t.config.train.global_batch_size,
                first_sample = std::exchange(t.position.next_sample, t.position.next_sample + batch);
  return {t.position.step, t.position.tokens, first_sample, rate, losses.data_wait_seconds, t.optimizer->outcome()};
}

}  // namespace gta
