// When the tape says that a weight's gradient is complete, it is, and buckets come in their order.
#include <map>

#include "layers/transformer/causal_lm.h"
#include "tests/op_case.h"
#include "tests/small_model.h"

namespace gta::testing {
namespace {

struct Heard {
  int64_t group;
  std::vector<char> gradient;  // at that moment
};

void expect_completion(const ModelConfig& config, Recompute recompute) {
  ParameterSpace space;
  const CausalLm model(space, config);
  RankShare share;
  share.bucket_bytes = 4 * 1500;  // several weights each, and several buckets
  space.allocate(DType::F64, {}, SpaceUse::Training, share);
  space.initialize(7);
  std::vector<int32_t> ids(2 * 9);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 50);
  const Tensor tokens = Tensor::from<int32_t>({2, 9}, ids);

  std::vector<Heard> heard;
  std::map<int64_t, const Weight*> weights;
  Tape tape(TapeMode::Recording, recompute, [&](const Weight& weight) {
    heard.push_back({weight.group, to_bytes(weight.gradient)});
    weights[weight.group] = &weight;
  });
  const Tensor loss = model.loss(tape, tokens, tokens, 1.0 / 18);
  EXPECT_TRUE(heard.empty()) << "backward has not begun";
  tape.backward(loss);

  const auto& groups = space.layout().groups();
  EXPECT_EQ(heard.size(), groups.size());
  EXPECT_EQ(weights.size(), groups.size()) << "each once";
  std::vector<int64_t> left(space.layout().buckets().size()), order;
  for (const ParameterGroup& group : groups) ++left[static_cast<size_t>(group.bucket)];
  ASSERT_GT(left.size(), 4u);
  for (const Heard& event : heard) {
    const ParameterGroup& group = groups[static_cast<size_t>(event.group)];
    const std::string& name = space.parameters()[static_cast<size_t>(group.first_parameter)].name;
    EXPECT_TRUE(event.gradient == to_bytes(weights[event.group]->gradient)) << name << " was added to afterwards";
    if (--left[static_cast<size_t>(group.bucket)] == 0 && group.range.kind == ParameterKind::Matrix)
      order.push_back(group.bucket);
  }
  EXPECT_EQ(order.size() + 1, left.size()) << "that of the vectors is not among them";
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end())) << fmt::format("buckets end as {}", fmt::join(order, " "));
}

TEST(GradientCompletion, IsHeardOnceForEachWeightWhenNothingIsAddedAnyMore) {
  for (AttentionType type : kAttentionTypes)
    for (bool tied : {false, true})
      for (Recompute recompute : {Recompute::None, Recompute::Elementwise, Recompute::Block}) {
        SCOPED_TRACE(fmt::format("{} {} {}", name_of(type), tied ? "tied" : "untied", name_of(recompute)));
        ModelConfig config = small_model(type);
        config.tie_embeddings = tied;
        expect_completion(config, recompute);
      }
}

}  // namespace
}  // namespace gta::testing
