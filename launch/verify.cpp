#include "launch/verify.h"

#include <algorithm>
#include <cmath>

#include "core/io/hdf5.h"
#include "launch/config/config.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {
namespace {

// Errors of a tensor are relative to its largest reference element; "all" is the L2 norm of the difference over that of the reference, over every
// parameter or logit.
struct Tolerance {
  double logits, all_logits, gradients, all_gradients, losses, weights, all_weights;
};
Tolerance tolerance_of(DType dtype) {
  switch (dtype) {
    case DType::F64:
      return {1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-7, 1e-9};
    case DType::BF16:
      // One rounding is 2^-8 = 0.004 at most, 0.001 in the mean square. A logit passes some twenty of them (weights, stream and branches of up
      // to three layers), which add like a random walk: 0.01 over all of them; the worst of a thousand is several times that, where a token's
      // stream is small and the norm enlarges it (0.07 seen in 300 runs). Gradients pass as many again on the way back. A single tensor may be worse:
      // the gradient of k's bias is what RoPE leaves of a sum that would cancel, so its error is measured against little. AdamW divides by
      // sqrt(v), so single weights follow the sign of noise; all together they do not.
      return {0.15, 0.03, 0.3, 0.05, 0.03, INFINITY, 0.1};
    default:
      // Rounding of a few hundred sums of products in two or three layers (plain PyTorch in float32 stays within 7e-7 on logits, 5e-6 on
      // gradients and 2e-5 on losses after ten steps). Where a gradient is near zero its sign is noise to AdamW, and a weight moves by up to
      // 2 lr per step either way.
      return {1e-5, 1e-5, 1e-4, 1e-5, 1e-4, 1e-2, 1e-3};
  }
}

double relative_error(const std::vector<double>& got, const std::vector<double>& want) {
  if (got.size() != want.size()) return INFINITY;
  double largest = 0, difference = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) || std::isnan(want[i])) return NAN;
    largest = std::max(largest, std::abs(want[i]));
    difference = std::max(difference, std::abs(got[i] - want[i]));
  }
  return difference / std::max(largest, 1e-300);
}

// The worst of several tensors, and all of them together.
class Errors {
 public:
  Errors(const char* what, double tolerance, double tolerance_of_all) : worst_{what, "", 0, tolerance}, tolerance_of_all_(tolerance_of_all) {}

  void add(const std::string& name, const std::vector<double>& got, const std::vector<double>& want) {
    const double error = relative_error(got, want);
    if (!std::isnan(worst_.error) && (std::isnan(error) || error > worst_.error || worst_.worst.empty())) {
      worst_.error = error;
      worst_.worst = name;
    }
    for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
      difference_ += (got[i] - want[i]) * (got[i] - want[i]);
      reference_ += want[i] * want[i];
    }
  }
  void report(std::vector<VerifyRow>& rows) const {
    if (worst_.tolerance < INFINITY) rows.push_back(worst_);
    rows.push_back({"all " + worst_.what, "", std::sqrt(difference_ / reference_), tolerance_of_all_});
  }

 private:
  VerifyRow worst_;
  double tolerance_of_all_, difference_ = 0, reference_ = 0;
};

struct Fixture {
  explicit Fixture(const std::string& path) : file(path), config(parse_model_config(file.text("config"), path)) {
    steps = file.integer("steps");
    batch = file.integer("batch");
    sequence = file.integer("sequence");
    const std::vector<int64_t> expected = {steps, batch, sequence + 1};
    if (file.dataset("/tokens").shape != expected) bad_input(path, "tokens do not have the shape (steps, batch, sequence + 1) of its attributes");
    tokens = file.read_int32("/tokens");
  }

  // Inputs and labels of one step: tokens[step, :, :-1] and tokens[step, :, 1:].
  std::pair<Tensor, Tensor> step(int64_t index) const {
    std::vector<int32_t> inputs, labels;
    for (int64_t b = 0; b < batch; ++b) {
      const auto row = tokens.begin() + (index * batch + b) * (sequence + 1);
      inputs.insert(inputs.end(), row, row + sequence);
      labels.insert(labels.end(), row + 1, row + sequence + 1);
    }
    return {Tensor::from<int32_t>({batch, sequence}, inputs), Tensor::from<int32_t>({batch, sequence}, labels)};
  }

  hdf5::Reader file;
  ModelConfig config;
  int64_t steps, batch, sequence;
  std::vector<int32_t> tokens;
};

void load_parameters(const Fixture& fixture, ParameterSpace& space) {
  for (const Parameter& parameter : space.parameters()) {
    const std::string name = "/init/" + parameter.name;
    const std::vector<int64_t> shape(parameter.shape.begin(), parameter.shape.end());
    if (fixture.file.dataset(name).shape != shape) bad_input(fixture.file.path(), "{} does not have the shape {}", name, to_string(parameter.shape));
    const std::vector<double> values = fixture.file.read_double(name);
    const Tensor to = space.view(space.values(parameter.kind), parameter);
    to.copy_from(from_doubles(parameter.shape, values, to.dtype()));
  }
  space.masters_changed();
  for (const auto& [name, dataset] : fixture.file.datasets())
    if (name.rfind("/init/", 0) == 0) space.find(name.substr(6));  // a parameter that this model lacks
}

}  // namespace

bool VerifyReport::holds() const {
  return std::all_of(rows.begin(), rows.end(), [](const VerifyRow& row) { return row.holds(); });
}

VerifyReport verify_fixture(const std::string& path, DType dtype, Device device) {
  const Fixture fixture(path);
  const Tolerance tolerance = tolerance_of(dtype);
  ParameterSpace space;
  const CausalLm model(space, fixture.config);
  space.allocate(dtype, device, SpaceUse::Training);
  load_parameters(fixture, space);
  VerifyReport report{path, name_of(fixture.config.attention.type), space.parameter_count(), {}};

  const double cache = fixture.file.read_double("/cache_per_token").at(0);
  report.rows.push_back({"cache per token", "", std::abs(cache - static_cast<double>(cache_widths(fixture.config).total())), 0});
  Errors logits("logits", tolerance.logits, tolerance.all_logits);
  logits.add("", to_doubles(model.logits(fixture.step(0).first)), fixture.file.read_double("/logits"));
  logits.report(report.rows);

  OptimizerConfig settings;
  settings.learning_rate = fixture.file.real("lr");
  settings.beta1 = fixture.file.real("beta1");
  settings.beta2 = fixture.file.real("beta2");
  settings.eps = fixture.file.real("eps");
  settings.weight_decay = fixture.file.real("weight_decay");
  settings.clip_norm = fixture.file.real("clip");
  AdamW optimizer(space, settings);
  const std::vector<double> losses = fixture.file.read_double("/losses");
  if (static_cast<int64_t>(losses.size()) != fixture.steps) bad_input(path, "has {} losses for {} steps", losses.size(), fixture.steps);
  Errors gradients("gradients", tolerance.gradients, tolerance.all_gradients), weights("final weights", tolerance.weights, tolerance.all_weights);
  std::vector<double> got_losses;
  for (int64_t step = 0; step < fixture.steps; ++step) {
    space.zero_gradients();
    Tape tape(TapeMode::Recording);
    const auto [inputs, labels] = fixture.step(step);
    const Tensor loss = model.loss(tape, inputs, labels, 1.0 / static_cast<double>(labels.elements()));
    tape.backward(loss);
    const Tensor squares = optimizer.sum_of_squares();
    if (step == 0) {
      report.rows.push_back({"loss", "", relative_error(loss.to_vector<double>(), fixture.file.read_double("/loss")), tolerance.all_logits});
      report.rows.push_back({"gradient norm", "", relative_error({optimizer.gradient_norm()}, fixture.file.read_double("/grad_norm")), tolerance.all_gradients});
      for (const Parameter& parameter : space.parameters())
        gradients.add(parameter.name, to_doubles(space.view(space.gradients(parameter.kind), parameter)), fixture.file.read_double("/grad/" + parameter.name));
    }
    got_losses.push_back(loss.to_vector<double>()[0]);
    optimizer.step(settings.learning_rate, squares, loss);
  }
  for (const Parameter& parameter : space.parameters())
    weights.add(parameter.name, to_doubles(space.view(space.values(parameter.kind), parameter)), fixture.file.read_double("/final/" + parameter.name));
  gradients.report(report.rows);
  report.rows.push_back({"losses", "", relative_error(got_losses, losses), tolerance.losses});
  weights.report(report.rows);
  return report;
}

}  // namespace gta
