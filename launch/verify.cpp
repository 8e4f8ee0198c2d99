#include "launch/verify.h"

#include <algorithm>
#include <optional>

#include "core/io/hdf5.h"
#include "launch/config/config.h"
#include "launch/verify_comparison.h"
#include "layers/transformer/causal_lm.h"
#include "optim/adamw.h"

namespace gta {
namespace {

VerifyRow compare(const char* what, double tolerance, const std::vector<double>& got, const std::vector<double>& want) {
  TensorComparison comparison;
  comparison.add("", got, want);
  return comparison.elements(what, tolerance);
}

struct Fixture {
  explicit Fixture(const std::string& path) : file(path), config(parse_model_config(file.text("config"), path)) {
    steps = file.integer("steps");
    batch = file.integer("batch");
    sequence = file.integer("sequence");
    const std::vector<int64_t> expected = {steps, batch, sequence + 1};
    if (file.dataset("/tokens").shape != expected)
      bad_input(path, "tokens do not have the shape (steps, batch, sequence + 1) of its attributes");
    tokens = file.read_int32("/tokens");
    if (const auto losses = file.dataset("/losses").shape; losses != std::vector<int64_t>{steps})
      bad_input(path, "has {} losses for {} steps", losses.empty() ? 1 : losses[0], steps);
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
    if (fixture.file.dataset(name).shape != shape)
      bad_input(fixture.file.path(), "{} does not have the shape {}", name, to_string(parameter.shape));
    const std::vector<double> values = fixture.file.read_double(name);
    const Tensor to = space.view(space.values(parameter.kind), parameter);
    to.copy_from(from_doubles(parameter.shape, values, to.dtype()));
  }
  space.masters_changed();
  for (const auto& [name, dataset] : fixture.file.datasets())
    if (name.rfind("/init/", 0) == 0) space.find(name.substr(6));  // a parameter that this model lacks
}

std::vector<double> values_of(const ParameterSpace& space, const Parameter& parameter) {
  return to_doubles(space.view(space.values(parameter.kind), parameter));
}
void put(const ParameterSpace& space, const Tensor& flat, const Parameter& parameter,
         const std::vector<double>& values) {
  space.view(flat, parameter).copy_from(from_doubles(parameter.shape, values, flat.dtype()));
}
std::vector<double> gradient_of(const ParameterSpace& space, const Parameter& parameter) {
  return to_doubles(space.view(space.gradients(parameter.kind), parameter));
}

// A model with the fixture's parameters, and the fixture's optimizer.
struct Trained {
  Trained(const Fixture& fixture, DType dtype, Device device) : model(space, fixture.config) {
    space.allocate(dtype, device, SpaceUse::Training);
    load_parameters(fixture, space);
    OptimizerConfig settings;
    settings.learning_rate = fixture.file.real("lr");
    settings.beta1 = fixture.file.real("beta1");
    settings.beta2 = fixture.file.real("beta2");
    settings.eps = fixture.file.real("eps");
    settings.weight_decay = fixture.file.real("weight_decay");
    settings.clip_norm = fixture.file.real("clip");
    learning_rate = settings.learning_rate;
    optimizer.emplace(space, settings);
  }
  // Leaves the gradients in the space.
  Tensor loss_and_gradients(const Fixture& fixture, int64_t step) {
    space.zero_gradients();
    Tape tape(TapeMode::Recording);
    const auto [inputs, labels] = fixture.step(step);
    const Tensor loss = model.loss(tape, inputs, labels, 1.0 / static_cast<double>(labels.elements()));
    tape.backward(loss);
    return loss;
  }
  void update(const Tensor& loss) { optimizer->step(learning_rate, optimizer->sum_of_squares(), loss); }

  ParameterSpace space;
  CausalLm model;
  double learning_rate = 0;
  std::optional<AdamW> optimizer;
};

// The logits of tokens[0] as decoding gives them: half of each sequence at once, the rest token by token.
std::vector<double> decoded_logits(const Fixture& fixture, const Trained& trained) {
  const std::vector<int32_t> tokens = fixture.step(0).first.to_vector<int32_t>();
  std::vector<double> logits;
  for (int64_t b = 0; b < fixture.batch; ++b) {
    constexpr int64_t kOnly[] = {0};
    DecodingCache cache = trained.model.make_cache(1, fixture.sequence, trained.model.dtype());
    for (int64_t at = 0, count = (fixture.sequence + 1) / 2; at < fixture.sequence; at += count, count = 1) {
      const auto from = tokens.begin() + b * fixture.sequence + at;
      const std::vector<double> last =
          to_doubles(trained.model.decode(Tensor::from<int32_t>({1, count}, {from, from + count}), kOnly, cache));
      logits.insert(logits.end(), last.begin(), last.end());
    }
  }
  return logits;
}

// What decoded_logits() should be: the rows of the logits from the middle of each sequence on.
std::vector<double> last_half(const Fixture& fixture, const std::vector<double>& logits) {
  const auto vocab = static_cast<int64_t>(logits.size()) / (fixture.batch * fixture.sequence);
  std::vector<double> rows;
  for (int64_t b = 0; b < fixture.batch; ++b)
    rows.insert(rows.end(), logits.begin() + (b * fixture.sequence + (fixture.sequence + 1) / 2 - 1) * vocab,
                logits.begin() + (b + 1) * fixture.sequence * vocab);
  return rows;
}

// What every dtype owes to the fixture itself.
void compare_model(const Fixture& fixture, const Trained& trained, const VerifyTolerance& tolerance,
                   std::vector<VerifyRow>& rows) {
  const double cache = fixture.file.read_double("/cache_per_token").at(0);
  rows.push_back(
      {"cache per token", "", std::abs(cache - static_cast<double>(cache_widths(fixture.config).total())), 0});
  const std::vector<double> want = fixture.file.read_double("/logits");
  TensorComparison logits;
  logits.add("", to_doubles(trained.model.logits(fixture.step(0).first)), want);
  rows.push_back(logits.elements("logits", tolerance.logits));
  rows.push_back(logits.l2("logits L2", tolerance.logits_l2));
  TensorComparison decoded;
  decoded.add("", decoded_logits(fixture, trained), last_half(fixture, want));
  rows.push_back(decoded.elements("decoded logits", tolerance.logits));
  rows.push_back(decoded.l2("decoded logits L2", tolerance.logits_l2));
}

void compare_gradients(const Fixture& fixture, const Trained& trained, const VerifyTolerance& tolerance,
                       std::vector<VerifyRow>& rows) {
  TensorComparison gradients;
  for (const Parameter& parameter : trained.space.parameters())
    gradients.add(parameter.name, gradient_of(trained.space, parameter),
                  fixture.file.read_double("/grad/" + parameter.name));
  rows.push_back(gradients.elements("gradients", tolerance.gradients));
  rows.push_back(gradients.l2("gradients L2", tolerance.gradients_l2));
  rows.push_back(compare("gradient norm", tolerance.norm, {trained.optimizer->gradient_norm()},
                         fixture.file.read_double("/grad_norm")));
}

// float64 trains on its own: every loss, and the weights at the end.
void compare_training(const Fixture& fixture, std::vector<VerifyRow>& rows) {
  const VerifyTolerance tolerance = verify_tolerance(DType::F64);
  Trained trained(fixture, DType::F64, Device{});
  compare_model(fixture, trained, tolerance, rows);
  std::vector<double> losses;
  for (int64_t step = 0; step < fixture.steps; ++step) {
    const Tensor loss = trained.loss_and_gradients(fixture, step);
    losses.push_back(loss.to_vector<double>()[0]);
    if (step == 0) compare_gradients(fixture, trained, tolerance, rows);
    trained.update(loss);
  }
  rows.push_back(compare("losses", tolerance.losses, losses, fixture.file.read_double("/losses")));
  TensorComparison weights;
  for (const Parameter& parameter : trained.space.parameters())
    weights.add(parameter.name, values_of(trained.space, parameter),
                fixture.file.read_double("/final/" + parameter.name));
  rows.push_back(weights.elements("final weights", tolerance.weights));
}

// The values that products read: a bfloat16 model's matrices are rounded.
std::vector<double> read_by_products(const ParameterSpace& space, const Parameter& parameter) {
  return to_doubles(space.view(space.weights(parameter.kind), parameter));
}

// Beside a float64 model that is given the same weights before each step, and gives its gradients to the update of
// both.
void compare_steps(const Fixture& fixture, DType dtype, Device device, std::vector<VerifyRow>& rows) {
  const VerifyTolerance tolerance = verify_tolerance(dtype);
  Trained trained(fixture, dtype, device), exact(fixture, DType::F64, Device{});
  const std::vector<Parameter>& parameters = trained.space.parameters();
  compare_model(fixture, trained, tolerance, rows);
  TensorComparison gradients, weights, rounded;
  std::vector<double> losses, exact_losses;
  for (int64_t step = 0; step < fixture.steps; ++step) {
    for (const Parameter& parameter : parameters)
      put(exact.space, exact.space.values(parameter.kind), parameter, read_by_products(trained.space, parameter));
    const Tensor loss = trained.loss_and_gradients(fixture, step), exact_loss = exact.loss_and_gradients(fixture, step);
    if (step == 0) compare_gradients(fixture, trained, tolerance, rows);
    losses.push_back(loss.to_vector<double>()[0]);
    exact_losses.push_back(exact_loss.to_vector<double>()[0]);
    for (const Parameter& parameter : parameters) {
      const std::vector<double> want = gradient_of(exact.space, parameter);
      gradients.add(parameter.name, gradient_of(trained.space, parameter), want);
      put(trained.space, trained.space.gradients(parameter.kind), parameter, want);
      put(exact.space, exact.space.values(parameter.kind), parameter, values_of(trained.space, parameter));
    }
    trained.update(loss);
    exact.update(exact_loss);
    for (const Parameter& parameter : parameters) {
      const std::vector<double> values = values_of(trained.space, parameter);
      weights.add(parameter.name, values, values_of(exact.space, parameter));
      if (parameter.kind == ParameterKind::Matrix && dtype == DType::BF16)
        rounded.add(parameter.name, read_by_products(trained.space, parameter),
                    to_doubles(from_doubles(parameter.shape, values, dtype)));
    }
  }
  rows.push_back(compare("step losses", tolerance.losses, losses, exact_losses));
  rows.push_back(gradients.l2("step gradients", tolerance.step_gradients));
  rows.push_back(gradients.scale("their scale", tolerance.step_scale));
  rows.push_back(weights.elements("step weights", tolerance.weights));
  if (dtype == DType::BF16) rows.push_back(rounded.elements("rounded weights", 0));
}

}  // namespace

bool VerifyReport::holds() const {
  return std::all_of(rows.begin(), rows.end(), [](const VerifyRow& row) { return row.holds(); });
}

std::vector<VerifyReport> verify_fixture(const std::string& path, const std::vector<DType>& dtypes, Device device) {
  const Fixture fixture(path);
  ParameterSpace space;
  const CausalLm model(space, fixture.config);
  const VerifyReport empty{path, name_of(fixture.config.attention.type), space.parameter_count(), DType::F64, Device{},
                           {}};
  std::vector<VerifyReport> reports = {empty};
  compare_training(fixture, reports[0].rows);
  for (DType dtype : dtypes) {
    if (dtype == DType::F64) continue;
    VerifyReport& report = reports.emplace_back(empty);
    report.dtype = dtype;
    report.device = device;
    compare_steps(fixture, dtype, device, report.rows);
  }
  return reports;
}

}  // namespace gta
