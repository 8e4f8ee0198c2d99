#include "launch/plan.h"

#include <algorithm>

#include "core/gemm.h"
#include "core/parameter_space.h"
#include "optim/adamw.h"
#include "layers/transformer/causal_lm.h"

namespace gta {
namespace {

const char* part_of(const std::string& name) {
  if (name.find("embed_tokens") != std::string::npos) return "embedding";
  if (name.find("lm_head") != std::string::npos) return "head";
  if (name.find("norm") != std::string::npos) return "norms";
  return name.find("self_attn") != std::string::npos ? "attention" : "mlp";
}

// Only counted, never allocated.
ParameterSpace declare(const ModelConfig& config) {
  ParameterSpace space;
  ModelConfig known = config;
  known.max_sequence_length = std::max<int64_t>(known.max_sequence_length, 1);
  const CausalLm model(space, known);
  return space;
}

}  // namespace

Plan plan_model(const ModelConfig& config, int64_t sequence_length) {
  Plan plan;
  const ParameterSpace space = declare(config);
  plan.parts = {{"embedding", 0}, {"attention", 0}, {"mlp", 0}, {"norms", 0}, {"head", 0}};
  int64_t multiplying = 0;
  for (const Parameter& parameter : space.parameters()) {
    const std::string part = part_of(parameter.name);
    std::find_if(plan.parts.begin(), plan.parts.end(), [&](const auto& p) { return p.first == part; })->second += parameter.elements();
    // The embedding is looked up; as a tied head it multiplies.
    if (parameter.kind == ParameterKind::Matrix && (part != "embedding" || config.tie_embeddings)) multiplying += parameter.elements();
  }
  plan.parameters = space.parameter_count();
  plan.sequence_length = sequence_length;
  plan.map_multiply_adds = map_multiply_adds(config);
  plan.map_multiply_adds_decoding = map_multiply_adds_decoding(config);
  plan.cache_numbers_per_token_and_layer = cache_widths(config).total();
  plan.flops_per_token_forward = 2.0 * static_cast<double>(multiplying) + 2.0 * static_cast<double>(config.layers * plan.map_multiply_adds) *
                                                                              (static_cast<double>(sequence_length) + 1) / 2;
  plan.flops_per_token_training = 3 * plan.flops_per_token_forward;
  return plan;
}

MemoryPlan plan_memory(const ModelConfig& config, const TrainingShape& shape) {
  const Device meta = meta_of(shape.device);
  release_pooled_memory(meta);
  reset_memory_peak(meta);
  ModelConfig known = config;
  known.max_sequence_length = std::max(known.max_sequence_length, shape.sequence_length);
  ParameterSpace space;
  const CausalLm model(space, known);
  space.allocate(shape.dtype, meta, SpaceUse::Training);
  AdamW optimizer(space, OptimizerConfig{});
  Tensor of_products;
  if (shape.device == DeviceType::Cuda) of_products = Tensor::empty({kCudaGemmWorkspaceBytes}, DType::U8, meta, Purpose::Workspace);
  {
    const Tensor tokens = Tensor::empty({shape.micro_batch, shape.sequence_length}, DType::I32, meta, Purpose::Data);
    Tape tape(TapeMode::Recording, shape.recompute);
    const Tensor loss = model.loss(tape, tokens, tokens, 1.0);
    tape.backward(loss);
    optimizer.step(1.0, optimizer.sum_of_squares(), loss);
  }
  const MemoryReport report = memory_report(meta);
  const auto peak = [&](Purpose purpose) { return report.peak[static_cast<int>(purpose)]; };
  MemoryPlan plan;
  plan.parameters = peak(Purpose::Parameters);
  plan.gradients = peak(Purpose::Gradients);
  plan.optimizer = peak(Purpose::Optimizer);
  plan.activations = peak(Purpose::Activations);
  plan.workspace = peak(Purpose::Workspace);
  plan.peak = report.reserved_peak;
  plan.checkpoint_staging = shape.asynchronous_checkpoints ? plan.gradients + plan.optimizer : 0;  // masters are as large as gradients
  plan.total = plan.peak + (shape.device == DeviceType::Cpu ? plan.checkpoint_staging : 0);
  return plan;
}

TrainingShape training_shape(const RunConfig& run, DeviceType device) {
  return {run.data.sequence_length, run.train.micro_batch_size, run.train.dtype, run.train.recompute, run.train.checkpoint.asynchronous, device};
}

int64_t memory_for_training(const Device& device) { return memory_report(device).limit / 10 * 9; }

int64_t fitting_micro_batch(const RunConfig& run, DeviceType device, int64_t bytes) {
  const int64_t global = run.train.global_batch_size, most = largest_micro_batch(run.model, training_shape(run, device), bytes);
  for (int64_t size = std::min(global, most); size > 0; --size)
    if (global % size == 0) return size;
  bad_input("train.micro_batch_size", "auto: not even one sequence of {} tokens fits into {:.1f} GiB: shorten data.sequence_length, or set "
            "train.recompute to block or train.dtype to bfloat16", run.data.sequence_length, static_cast<double>(bytes) / (1 << 30));
}

std::vector<RecomputeCost> recompute_costs(const ModelConfig& config, const TrainingShape& shape) {
  std::vector<RecomputeCost> costs;
  for (Recompute mode : {Recompute::None, Recompute::Elementwise, Recompute::Block}) {
    TrainingShape other = shape;
    other.recompute = mode;
    double flops = 0;
    const AttentionConfig& a = config.attention;
    if (mode == Recompute::Elementwise && a.type == AttentionType::Gta && a.value_decoder == ValueDecoderType::DirectLearned)
      flops = 2.0 * static_cast<double>(config.layers * config.heads * config.head_dim * a.latent_dim);  // U P
    if (mode == Recompute::Block)  // all of forward but the head
      flops = plan_model(config, shape.sequence_length).flops_per_token_forward - 2.0 * static_cast<double>(config.vocab_size * config.hidden_size);
    costs.push_back({mode, plan_memory(config, other).peak, flops});
  }
  return costs;
}

int64_t largest_micro_batch(const ModelConfig& config, TrainingShape shape, int64_t bytes) {
  const auto holds = [&](int64_t batch) {
    shape.micro_batch = batch;
    return plan_memory(config, shape).total <= bytes;
  };
  int64_t fits = 0, step = 1;
  while (step < (int64_t{1} << 20) && holds(step)) step *= 2;
  for (step /= 2; step > 0; step /= 2)
    if (holds(fits + step)) fits += step;
  return fits;
}

}  // namespace gta
