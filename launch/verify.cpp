#include "launch/verify.h"

#include <algorithm>
#include <cmath>

#include "core/io/hdf5.h"
#include "launch/config/config.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {
namespace {

// Errors are relative to the largest element of the reference tensor. float32: rounding of a few hundred sums of products in two or three
// layers (plain PyTorch in float32 stays within 7e-7 on logits, 5e-6 on gradients and 2e-5 on losses after ten steps).
struct Tolerance {
  double logits, gradients, losses, weights;
};
Tolerance tolerance_of(DType dtype) {
  if (dtype == DType::F64) return {1e-9, 1e-9, 1e-9, 1e-7};
  // AdamW divides by sqrt(v): where a gradient is near zero its sign is noise, and a weight moves by up to 2 lr per step either way.
  return {1e-5, 1e-4, 1e-4, 1e-2};
}

std::vector<double> to_double(const Tensor& tensor) {
  if (tensor.dtype() == DType::F64) return tensor.to_vector<double>();
  const std::vector<float> values = tensor.to_vector<float>();
  return {values.begin(), values.end()};
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

// The worst of several tensors.
struct Worst {
  VerifyRow row;
  void add(const std::string& name, double error) {
    if (std::isnan(row.error)) return;
    if (std::isnan(error) || error > row.error || row.worst.empty()) {
      row.error = error;
      row.worst = name;
    }
  }
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
    dispatch_floating(space.dtype(), "verify", [&](auto zero) {
      using T = decltype(zero);
      to.copy_from(Tensor::from<T>(parameter.shape, std::vector<T>(values.begin(), values.end())));
    });
  }
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
  report.rows.push_back({"logits", "", relative_error(to_double(model.logits(fixture.step(0).first)), fixture.file.read_double("/logits")), tolerance.logits});

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
  Worst gradients{{"gradients", "", 0, tolerance.gradients}}, steps{{"losses", "", 0, tolerance.losses}}, weights{{"final weights", "", 0, tolerance.weights}};
  for (int64_t step = 0; step < fixture.steps; ++step) {
    space.zero_gradients();
    Tape tape(TapeMode::Recording);
    const auto [inputs, labels] = fixture.step(step);
    const Tensor loss = model.loss(tape, inputs, labels, 1.0 / static_cast<double>(labels.elements()));
    tape.backward(loss);
    const double norm = optimizer.gradient_norm();
    if (step == 0) {
      report.rows.push_back({"loss", "", relative_error(loss.to_vector<double>(), fixture.file.read_double("/loss")), tolerance.logits});
      report.rows.push_back({"gradient norm", "", relative_error({norm}, fixture.file.read_double("/grad_norm")), tolerance.gradients});
      for (const Parameter& parameter : space.parameters())
        gradients.add(parameter.name, relative_error(to_double(space.view(space.gradients(parameter.kind), parameter)),
                                                     fixture.file.read_double("/grad/" + parameter.name)));
    }
    steps.add(fmt::format("step {}", step), relative_error(loss.to_vector<double>(), {losses[step]}));
    optimizer.step(settings.learning_rate, norm);
  }
  for (const Parameter& parameter : space.parameters())
    weights.add(parameter.name, relative_error(to_double(space.view(space.values(parameter.kind), parameter)), fixture.file.read_double("/final/" + parameter.name)));
  for (const Worst& worst : {gradients, steps, weights}) report.rows.push_back(worst.row);
  return report;
}

}  // namespace gta
