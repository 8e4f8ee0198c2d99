#include "launch/plan.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <optional>
#include <set>

#include "checkpoints/manifest.h"
#include "checkpoints/state_pieces.h"
#include "core/comm/communicator.h"
#include "core/gemm.h"
#include "core/parameter_space.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {
namespace {

const char* part_of(const std::string& name) {
  if (name.find("embed_tokens") != std::string::npos) return "embedding";
  if (name.find("lm_head") != std::string::npos) return "head";
  if (name.find("norm") != std::string::npos) return "norms";
  return name.find("self_attn") != std::string::npos ? "attention" : "mlp";
}

}  // namespace

ParameterLayout layout_of(const ModelConfig& config) {
  ParameterSpace space;
  ModelConfig known = config;
  known.max_sequence_length = std::max<int64_t>(known.max_sequence_length, 1);
  const CausalLm model(space, known);
  return space.layout();
}

void arrange_for(ParameterLayout& layout, const TrainConfig& train, int64_t ranks) {
  // In float32, whatever the gradients' dtype: so train.bucket_mib counts.
  layout.arrange((bucket_mib_of(train, ranks) << 20) / static_cast<int64_t>(size_of(DType::F32)), ranks);
}

std::string too_many_ranges(const RunConfig& run, int64_t ranks) {
  constexpr int64_t kParts = 3;  // masters and two moments
  ParameterLayout layout = layout_of(run.model);
  TrainConfig train = run.train;
  const auto parameters = static_cast<int64_t>(layout.parameters().size());
  const auto ranges = [&](int64_t mib) {
    train.bucket_mib = mib;
    arrange_for(layout, train, ranks);
    return kParts * (static_cast<int64_t>(layout.buckets().size()) * ranks + parameters);
  };
  const int64_t mib = bucket_mib_of(run.train, ranks), here = ranges(mib);
  if (here <= kMostRanges) return "";
  int64_t enough = mib;
  while (enough < kLargestBucketMib && ranges(enough) > kMostRanges) enough *= 2;
  if (ranges(enough) > kMostRanges)
    return fmt::format(
        "with {} ranks a checkpoint has {} ranges even in buckets of {} MiB, and it lists at most {}: expected fewer "
        "ranks",
        ranks, ranges(enough), enough, kMostRanges);
  return fmt::format(
      "{} cuts the parameters and moments of {} ranks into {} ranges, of which a checkpoint lists {}: expected {} or "
      "more",
      mib, ranks, here, kMostRanges, enough);
}

Plan plan_model(const ModelConfig& config, int64_t sequence_length) {
  Plan plan;
  const ParameterLayout layout = layout_of(config);
  plan.parts = {{"embedding", 0}, {"attention", 0}, {"mlp", 0}, {"norms", 0}, {"head", 0}};
  for (const Parameter& parameter : layout.parameters()) {
    const std::string part = part_of(parameter.name);
    std::find_if(plan.parts.begin(), plan.parts.end(), [&](const auto& p) { return p.first == part; })->second +=
        parameter.elements();
    // The embedding is looked up; as a tied head it multiplies.
    if (parameter.kind == ParameterKind::Matrix && (part != "embedding" || config.tie_embeddings))
      plan.multiplying += parameter.elements();
  }
  plan.parameters = layout.parameter_count();
  plan.parameters_non_embedding = plan.parameters;
  for (const auto& [name, count] : plan.parts)
    if (name == "embedding" || name == "head") plan.parameters_non_embedding -= count;
  plan.sequence_length = sequence_length;
  plan.map_multiply_adds = map_multiply_adds(config);
  plan.map_multiply_adds_decoding = map_multiply_adds_decoding(config);
  plan.cache_numbers_per_token_and_layer = cache_widths(config).total();
  plan.flops_per_token_forward =
      2.0 * static_cast<double>(plan.multiplying) + 2.0 * static_cast<double>(config.layers * plan.map_multiply_adds) *
                                                        (static_cast<double>(sequence_length) + 1) / 2;
  plan.flops_per_token_training = 3 * plan.flops_per_token_forward;
  return plan;
}

namespace {

// A model on the meta device, on which steps are played: as many as are asked for, since making the model takes longer
// than a step.
class ModelOfMeta {
 public:
  // Of the shape's dtype, device and sequence length.
  ModelOfMeta(const ModelConfig& config, const TrainingShape& shape) : device_(meta_of(shape.device)), shape_(shape) {
    release_pooled_memory(device_);
    ModelConfig known = config;
    known.max_sequence_length = std::max(known.max_sequence_length, shape.sequence_length);
    try {
      model_.emplace(space_, known);
      space_.allocate(shape.dtype, device_, SpaceUse::Training, shape.share);
      optimizer_.emplace(space_, OptimizerConfig{});
      if (shape.share.ranks > 1)
        of_communicator_ = Tensor::empty({scratch_bytes()}, DType::U8, device_, Purpose::Workspace);
      if (shape.device == DeviceType::Cuda)
        of_products_ = Tensor::empty({kCudaGemmWorkspaceBytes}, DType::U8, device_, Purpose::Workspace);
      step(1, 1, Recompute::None);  // what a first step leaves for the others is there
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::OutOfMemory) throw;
      model_.reset();
    }
  }

  // Nothing where the bytes have no number any more.
  std::optional<MemoryPlan> play(int64_t micro_batch, Recompute recompute) const {
    if (!model_) return std::nullopt;
    release_pooled_memory(device_);
    reset_memory_peak(device_);
    try {
      step(micro_batch, shape_.sequence_length, recompute);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::OutOfMemory) throw;
      return std::nullopt;
    }
    const MemoryReport report = memory_report(device_);
    const auto held = [&](Purpose purpose) { return report.at_peak[static_cast<int>(purpose)]; };
    MemoryPlan plan;
    plan.parameters = held(Purpose::Parameters);
    plan.gradients = held(Purpose::Gradients);
    plan.optimizer = held(Purpose::Optimizer);
    plan.activations = held(Purpose::Activations);
    plan.workspace = held(Purpose::Workspace);
    plan.data = held(Purpose::Data);
    plan.kept_for_reuse = report.reserved_peak - report.total_peak;
    // masters and two moments
    plan.checkpoint_staging = shape_.asynchronous_checkpoints ? 3 * bytes_of(space_.owned()) : 0;
    return plan;
  }

 private:
  // In the dtype of gradients and masters.
  int64_t bytes_of(const std::vector<FlatRange>& ranges) const {
    int64_t elements = 0;
    for (const FlatRange& range : ranges) elements += range.count;
    return elements * static_cast<int64_t>(size_of(state_dtype(shape_.dtype)));
  }
  // What the communicator keeps of the device's memory.
  int64_t scratch_bytes() const {
    int64_t most = 0;
    for (const FlatRange& bucket : space_.layout().buckets()) {
      const int64_t bytes = bytes_of({bucket});
      most = std::max(most, bucket.kind == ParameterKind::Matrix
                                ? Communicator::reduce_scatter_scratch(bytes)
                                : Communicator::all_reduce_scratch(bytes, shape_.share.ranks));
    }
    return most;
  }

  void step(int64_t micro_batch, int64_t sequence_length, Recompute recompute) const {
    const auto numbers = [&](const Shape& shape) { return Tensor::empty(shape, DType::I32, device_, Purpose::Data); };
    const Shape shape{micro_batch, sequence_length};
    const Tensor tokens = numbers(shape), labels = numbers(shape),
                 starts = shape_.document_mask ? numbers({shape.elements()}) : Tensor{};
    Tape tape(TapeMode::Recording, recompute);
    const Tensor loss = model_->loss(tape, tokens, labels, 1.0, starts);
    tape.backward(loss);
    optimizer_->step(1.0, optimizer_->sum_of_squares(), loss);
  }

  // The meta device counts for the whole process: one thread plans at a time.
  static std::recursive_mutex& meta_mutex() {
    static std::recursive_mutex mutex;
    return mutex;
  }

  std::unique_lock<std::recursive_mutex> alone_{meta_mutex()};
  Device device_;
  TrainingShape shape_;
  ParameterSpace space_;
  std::optional<CausalLm> model_;
  mutable std::optional<AdamW> optimizer_;
  Tensor of_products_, of_communicator_;
};

// Layers are alike: what more than this many hold follows from what two models of fewer do.
constexpr int64_t kMostLayers = 512;
constexpr int64_t kMostBytes = int64_t{1} << 62;
// What adds up to the peak.
constexpr std::array<int64_t MemoryPlan::*, 7> kParts = {
    &MemoryPlan::parameters, &MemoryPlan::gradients, &MemoryPlan::optimizer,     &MemoryPlan::activations,
    &MemoryPlan::workspace,  &MemoryPlan::data,      &MemoryPlan::kept_for_reuse};

std::optional<int64_t> on_the_line(int64_t x0, int64_t y0, int64_t x1, int64_t y1, int64_t x) {
  int64_t rise = 0, y = 0;
  if (__builtin_mul_overflow((y1 - y0) / (x1 - x0), x - x1, &rise) || __builtin_add_overflow(y1, rise, &y) ||
      y > kMostBytes)
    return std::nullopt;
  return y;
}

// The steps of one model. Nothing where the bytes have no number any more.
class PlayedModel {
 public:
  PlayedModel(const ModelConfig& config, const TrainingShape& shape) : config_(config), shape_(shape) {
    if (config.layers <= kMostLayers) model_.emplace(config, shape);
  }

  std::optional<MemoryPlan> play(int64_t micro_batch, Recompute recompute) const {
    std::optional<MemoryPlan> plan = model_ ? model_->play(micro_batch, recompute) : of_many(micro_batch, recompute);
    if (!plan) return plan;
    double sum = 0;
    plan->peak = 0;
    for (int64_t MemoryPlan::*part : kParts) {
      sum += static_cast<double>((*plan).*part);
      if (sum + static_cast<double>(plan->checkpoint_staging) > static_cast<double>(kMostBytes)) return std::nullopt;
      plan->peak += (*plan).*part;
    }
    const bool gpu = shape_.device == DeviceType::Cuda;
    plan->pinned = gpu ? std::min(plan->checkpoint_staging, PieceOptions{}.most_pinned) : 0;
    plan->total = plan->peak + (gpu ? 0 : plan->checkpoint_staging);
    return plan;
  }
  MemoryPlan play_or_refuse(int64_t micro_batch, Recompute recompute) const {
    const std::optional<MemoryPlan> plan = play(micro_batch, recompute);
    if (!plan)
      bad_input("plan",
                "a micro-batch of {} x {} tokens takes more than 2^62 bytes: lower train.micro_batch_size, "
                "data.sequence_length or the model's sizes",
                micro_batch, shape_.sequence_length);
    return *plan;
  }

 private:
  // Of more than kMostLayers.
  std::optional<MemoryPlan> of_many(int64_t micro_batch, Recompute recompute) const {
    const auto of_layers = [&](int64_t layers) {
      ModelConfig config = config_;
      config.layers = layers;
      return ModelOfMeta(config, shape_).play(micro_batch, recompute);
    };
    const std::optional<MemoryPlan> half = of_layers(kMostLayers / 2), most = of_layers(kMostLayers);
    if (!half || !most) return std::nullopt;
    MemoryPlan plan;
    const auto extend = [&](int64_t MemoryPlan::*number) {
      const std::optional<int64_t> bytes =
          on_the_line(kMostLayers / 2, (*half).*number, kMostLayers, (*most).*number, config_.layers);
      plan.*number = bytes.value_or(0);
      return bytes.has_value();
    };
    if (!std::all_of(kParts.begin(), kParts.end(), extend) || !extend(&MemoryPlan::checkpoint_staging))
      return std::nullopt;
    return plan;
  }

  ModelConfig config_;
  TrainingShape shape_;
  std::optional<ModelOfMeta> model_;
};

// The largest micro-batch whose step fits into `bytes`; 0 when not even one sequence does.
int64_t largest_of(const PlayedModel& model, Recompute recompute, int64_t bytes) {
  constexpr int64_t kMost = int64_t{1} << 20;
  const auto held = [&](int64_t batch) {
    const std::optional<MemoryPlan> plan = model.play(batch, recompute);
    return plan ? plan->total : std::numeric_limits<int64_t>::max();
  };
  // The bytes are nearly a straight line in the batch: secants find its end in a few steps, halving where they do not.
  int64_t fits = 0, fails = kMost + 1, bytes_of_fits = 0, slope = 0;
  for (int64_t guess = 1, tries = 0; fits + 1 < fails; ++tries) {
    const int64_t taken = held(guess);
    if (taken <= bytes) {
      if (fits > 0) slope = (taken - bytes_of_fits) / (guess - fits);
      fits = guess;
      bytes_of_fits = taken;
    } else {
      fails = guess;
    }
    guess = slope > 0 && tries < 12 ? fits + std::max<int64_t>(1, (bytes - bytes_of_fits) / slope)
                                    : fits + (fits < 2 ? 1 : (fails - fits) / 2);
    guess = std::clamp(guess, fits + 1, std::max(fails - 1, fits + 1));
  }
  return fits;
}

int64_t largest_divisor(int64_t whole, int64_t most) {
  int64_t size = std::min(whole, most);
  while (size > 0 && whole % size != 0) --size;
  return size;
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& config, const TrainingShape& shape) {
  return PlayedModel(config, shape).play_or_refuse(shape.micro_batch, shape.recompute);
}

TrainingShape training_shape(const RunConfig& run, DeviceType device, int64_t ranks) {
  return {run.data.sequence_length, run.train.micro_batch_size,        run.train.dtype,
          run.train.recompute,      run.train.checkpoint.asynchronous, device,
          run.data.document_mask,   rank_share(run.train, 0, ranks)};
}

int64_t memory_for_training(int64_t bytes_of_device) { return bytes_of_device / 10 * 9; }

int64_t fitting_micro_batch(const RunConfig& run, DeviceType device, int64_t bytes, int64_t ranks) {
  const int64_t size = largest_divisor(run.train.global_batch_size / ranks,
                                       largest_micro_batch(run.model, training_shape(run, device, ranks), bytes));
  if (size > 0) return size;
  bad_input("train.micro_batch_size",
            "auto: not even one sequence of {} tokens fits into {:.1f} GiB: shorten data.sequence_length, or set "
            "train.recompute to block or train.dtype to bfloat16",
            run.data.sequence_length, static_cast<double>(bytes) / (1 << 30));
}

int64_t largest_micro_batch(const ModelConfig& config, const TrainingShape& shape, int64_t bytes) {
  return largest_of(PlayedModel(config, shape), shape.recompute, bytes);
}

FitTable fit_table(const ModelConfig& config, const TrainingShape& shape, int64_t batch, int64_t bytes) {
  constexpr double kNext = 1.5;  // times as large as the row before, or it is left out
  const PlayedModel model(config, shape);
  FitTable table;
  std::set<int64_t> sizes;
  for (size_t i = 0; i < kRecomputeModes.size(); ++i) {
    const int64_t most = largest_of(model, kRecomputeModes[i], bytes);
    table.largest[i] = batch > 0 ? largest_divisor(batch, most) : most;
    if (table.largest[i] > 0) sizes.insert(table.largest[i]);
  }
  if (sizes.empty()) return table;
  const int64_t most = *sizes.rbegin();
  double next = 1;
  for (int64_t size = 1; size <= most; size = batch > 0 ? size + 1 : 2 * size) {
    if (static_cast<double>(size) < next || (batch > 0 && batch % size != 0)) continue;
    sizes.insert(size);
    next = kNext * static_cast<double>(size);
  }
  for (int64_t size : sizes) {
    FitRow row{size, {}};
    for (size_t i = 0; i < kRecomputeModes.size(); ++i)
      row.total[i] = model.play_or_refuse(size, kRecomputeModes[i]).total;
    table.rows.push_back(row);
  }
  return table;
}

std::string misfit(const RunConfig& run, DeviceType device, int64_t bytes, int64_t ranks) {
  constexpr double gib = 1 << 30;
  const TrainingShape shape = training_shape(run, device, ranks);
  const int64_t total = plan_memory(run.model, shape).total;
  if (total <= bytes) return "";
  const FitTable table = fit_table(run.model, shape, run.train.global_batch_size / ranks, memory_for_training(bytes));
  std::string fitting;
  for (size_t i = 0; i < kRecomputeModes.size(); ++i)
    if (table.largest[i] > 0)
      fitting += fmt::format("{}{} with train.recompute {}", fitting.empty() ? "" : ", ", table.largest[i],
                             name_of(kRecomputeModes[i]));
  return fmt::format(
      "micro-batches of {} x {} tokens in {} with train.recompute {} are planned to take {:.2f} GiB{}, and {} has "
      "{:.2f}; {}",
      shape.micro_batch, shape.sequence_length, name_of(shape.dtype), name_of(shape.recompute),
      static_cast<double>(total) / gib,
      device == DeviceType::Cpu && shape.asynchronous_checkpoints ? " with train.checkpoint.asynchronous" : "",
      ranks == 1 ? "the device" : "a rank", static_cast<double>(bytes) / gib,
      fitting.empty() ? "not even one sequence would fit: shorten data.sequence_length, or take a smaller model"
                      : "train.micro_batch_size would fit up to " + fitting);
}

double recomputed_flops_per_token(const ModelConfig& config, int64_t sequence_length, Recompute mode) {
  const AttentionConfig& a = config.attention;
  if (mode == Recompute::Elementwise && a.type == AttentionType::Gta &&
      a.value_decoder == ValueDecoderType::DirectLearned)
    return 2.0 * static_cast<double>(config.layers * config.heads * config.head_dim * a.latent_dim);  // U P
  if (mode == Recompute::Block)  // all of forward but the head
    return plan_model(config, sequence_length).flops_per_token_forward -
           2.0 * static_cast<double>(config.vocab_size * config.hidden_size);
  return 0;
}

std::vector<RecomputeCost> recompute_costs(const ModelConfig& config, const TrainingShape& shape) {
  std::vector<RecomputeCost> costs;
  const PlayedModel model(config, shape);
  for (Recompute mode : kRecomputeModes)
    costs.push_back({mode, model.play_or_refuse(shape.micro_batch, mode).peak,
                     recomputed_flops_per_token(config, shape.sequence_length, mode)});
  return costs;
}

}  // namespace gta
