// The files of weights of a folder from elsewhere: what the index may name, and which tensors a model takes.
#include "checkpoints/exports/hf_weights.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>

#include "checkpoints/exports/masters.h"
#include "core/error.h"
#include "core/io/file.h"
#include "layers/transformer/causal_lm.h"
#include "tests/checkpoints/test_state.h"
#include "tests/small_model.h"

namespace gta {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

class HfWeightsTest : public ::testing::Test {
 protected:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
    NumberFormat format = NumberFormat::F32;
  };

  // Every tensor of a class, each with numbers of its own, exact in every format.
  static std::vector<Tensor> tensors_of(const ModelConfig& config, HfClass type) {
    std::vector<Tensor> tensors;
    for (const HfTensor& tensor : hf_tensors(config, type)) {
      Tensor one{tensor.name, tensor.shape, {}, NumberFormat::F32};
      for (int64_t i = 0; i < elements_of(tensor.shape); ++i)
        one.values.push_back(tensor.parameter.empty()
                                 ? 0
                                 : static_cast<float>(static_cast<int64_t>(7 * tensors.size()) + i % 61 - 30) / 64);
      tensors.push_back(one);
    }
    return tensors;
  }
  void write(const std::string& name, const std::vector<Tensor>& tensors) const {
    std::vector<SafeTensor> headers;
    for (const Tensor& tensor : tensors) headers.push_back({tensor.name, tensor.format, tensor.shape, 0, 0});
    write_safetensors(path(name), headers, [&](size_t i) { return tensors[i].values; });
  }
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  // Of loading the folder's weights; "" where they are taken.
  std::string refusal(const ModelConfig& config, HfClass type) {
    try {
      space_ = std::make_unique<ParameterSpace>();
      const CausalLm model(*space_, config);
      space_->allocate(DType::F32, Device{}, SpaceUse::Inference);
      HfWeights::open(folder_.path()).load(config, type, *space_);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
      return error.what();
    }
  }
  std::vector<float> master(const std::string& name) const { return Masters(*space_).values(name); }

  test::TemporaryFolder folder_;
  std::unique_ptr<ParameterSpace> space_;
  ModelConfig config_ = testing::small_model(AttentionType::Gqa);
};

TEST_F(HfWeightsTest, EveryFormatIsReadExactlyAndMayBeMixed) {
  std::vector<Tensor> tensors = tensors_of(config_, HfClass::Llama);
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].format = kNumberFormats[i % 3];
  write("model.safetensors", tensors);
  ASSERT_EQ(refusal(config_, HfClass::Llama), "");
  for (const Tensor& tensor : tensors)
    if (!tensor.name.ends_with("o_proj.bias")) {
      EXPECT_EQ(master(tensor.name), tensor.values) << tensor.name;
    }
  EXPECT_EQ(HfWeights::open(folder_.path()).formats(),
            (std::vector{NumberFormat::F32, NumberFormat::BF16, NumberFormat::F16}));
}

TEST_F(HfWeightsTest, BuffersOfRopeArePassedOverAndAHeadThatIsTheEmbeddingIsTaken) {
  std::vector<Tensor> tensors = tensors_of(config_, HfClass::Llama);
  const Tensor embedding = tensors[0];
  ASSERT_EQ(embedding.name, "model.embed_tokens.weight");
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {2}, {1, 0.01F}});
  tensors.push_back({"lm_head.weight", embedding.shape, embedding.values});
  write("model.safetensors", tensors);
  EXPECT_EQ(refusal(config_, HfClass::Llama), "");
  tensors.back().values[17] += 1;
  write("model.safetensors", tensors);
  EXPECT_NE(refusal(config_, HfClass::Llama).find("a lm_head.weight that is not model.embed_tokens.weight"),
            std::string::npos);
  tensors.back() = {"lm_head.weight", {1}, {1}};
  write("model.safetensors", tensors);
  EXPECT_NE(refusal(config_, HfClass::Llama).find("has lm_head.weight as (1), expected (50, 24)"), std::string::npos);
  // Of a model that is not tied it is a weight.
  config_.tie_embeddings = false;
  tensors.pop_back();
  write("model.safetensors", tensors);
  EXPECT_NE(refusal(config_, HfClass::Llama).find("lacks 1 of the 29 tensors"), std::string::npos)
      << refusal(config_, HfClass::Llama);
}

TEST_F(HfWeightsTest, TensorsThatTheModelHasNotAreRefused) {
  const std::vector<Tensor> good = tensors_of(config_, HfClass::Llama);
  std::vector<Tensor> tensors = good;
  tensors.push_back({"model.layers.0.self_attn.q_norm.weight", {4}, {1, 1, 1, 1}});
  write("model.safetensors", tensors);
  EXPECT_NE(refusal(config_, HfClass::Llama).find("has model.layers.0.self_attn.q_norm.weight, which LlamaForCausalLM"),
            std::string::npos);
  tensors = good;
  tensors[1].shape.push_back(1);
  write("model.safetensors", tensors);
  EXPECT_NE(refusal(config_, HfClass::Llama).find("as (24, 1), expected (24)"), std::string::npos)
      << refusal(config_, HfClass::Llama);
  tensors = good;
  for (Tensor& tensor : tensors)
    if (tensor.name.ends_with("layers.1.self_attn.o_proj.bias")) tensor.values[3] = 0.25F;
  write("model.safetensors", tensors);
  EXPECT_NE(refusal(config_, HfClass::Llama).find("has numbers in model.layers.1.self_attn.o_proj.bias"),
            std::string::npos);
  // Qwen2 has none there.
  EXPECT_NE(refusal(config_, HfClass::Qwen2).find("o_proj.bias, which Qwen2ForCausalLM"), std::string::npos);
  write("model.safetensors", tensors_of(config_, HfClass::Qwen2));
  EXPECT_EQ(refusal(config_, HfClass::Qwen2), "");
  EXPECT_NE(refusal(config_, HfClass::Llama).find("lacks 2 of the"), std::string::npos);
}

// Nothing is taken for more than the files hold: the model of a hostile config.json gets no memory.
TEST_F(HfWeightsTest, ALargerModelIsRefusedBeforeItHasMemory) {
  write("model.safetensors", tensors_of(config_, HfClass::Llama));
  config_.vocab_size = 1 << 24;
  config_.layers = 300;
  config_.intermediate_size = 1 << 22;
  EXPECT_THROW(HfWeights::open(folder_.path()).check_fits(config_, HfClass::Llama), Error);
}

TEST_F(HfWeightsTest, TheIndexNamesFilesOfTheFolderAndSaysWhatIsInThem) {
  const std::vector<Tensor> all = tensors_of(config_, HfClass::Llama);
  const std::vector<Tensor> first(all.begin(), all.begin() + 5), second(all.begin() + 5, all.end());
  const std::string a = "model-00001-of-00002.safetensors", b = "model-00002-of-00002.safetensors";
  write(a, first);
  write(b, second);
  const auto index = [&](const std::string& file_of_first, const std::string& extra = "") {
    std::string map;
    for (size_t i = 0; i < all.size(); ++i)
      map += (i ? ",\"" : "\"") + all[i].name + "\":\"" + (i < 5 ? file_of_first : b) + "\"";
    publish_text(path(kIndex), R"({"metadata":{"total_size":1},"weight_map":{)" + map + extra + "}}");
    return refusal(config_, HfClass::Llama);
  };
  EXPECT_EQ(index(a), "");
  EXPECT_EQ(master(all[0].name), all[0].values);
  EXPECT_EQ(master(all[7].name), all[7].values);

  write("elsewhere.safetensors", first);
  make_directories(path("sub"));
  std::filesystem::copy(path(a), path("sub/" + a));
  for (const std::string& hostile :
       {"../" + a, path(a), "sub/" + a, "./" + a, std::string("..\\\\") + ".safetensors", std::string(".safetensors"),
        std::string(), std::string("config.json"), std::string("/dev/zero"), a + "\\u0000"}) {
    const std::string said = index(hostile);
    EXPECT_NE(said.find("for a file of weights: expected a .safetensors file in the same folder"), std::string::npos)
        << hostile << "\n"
        << said;
  }
  EXPECT_NE(index("absent.safetensors").find("names absent.safetensors, which is not there"), std::string::npos);
  EXPECT_NE(index(b).find("is in model-00002-of-00002.safetensors, which is not so"), std::string::npos) << index(b);
  EXPECT_NE(index(a, ",\"x\":\"" + a + "\"").find("says that x is in"), std::string::npos);
  EXPECT_NE(index(a, ",\"x\":\"elsewhere.safetensors\"").find("has model.embed_tokens.weight twice, in "),
            std::string::npos)
      << index(a, ",\"x\":\"elsewhere.safetensors\"");
  EXPECT_NE(index(a, ",\"" + all[0].name + "\":\"" + a + "\"").find("twice in one object"), std::string::npos);
  EXPECT_NE(index(a, ",\"x\":7").find("weight_map.x: expected a text"), std::string::npos);
  for (const auto& [text, said] : {std::pair{"{}", "weight_map: expected an object, got nothing"},
                                   {R"({"weight_map":[]})", "weight_map: expected an object"},
                                   {R"({"weight_map":{}})", "names no tensor"},
                                   {"[[[[[[[[[[[[[[[[", "nests deeper than"},
                                   {"x", "it is no JSON"}}) {
    publish_text(path(kIndex), text);
    EXPECT_NE(refusal(config_, HfClass::Llama).find(said), std::string::npos) << refusal(config_, HfClass::Llama);
  }
  // One file, and an index beside it: transformers takes the file.
  write("model.safetensors", all);
  EXPECT_EQ(refusal(config_, HfClass::Llama), "");
}

// snapshots/REVISION/NAME -> ../../blobs/HASH
TEST_F(HfWeightsTest, LinksOfACacheAreFollowed) {
  write("blob", tensors_of(config_, HfClass::Llama));
  make_directories(path("snapshots/1"));
  std::filesystem::create_symlink("../../blob", path("snapshots/1/model.safetensors"));
  EXPECT_NO_THROW(HfWeights::open(path("snapshots/1")).check_fits(config_, HfClass::Llama));
}

TEST_F(HfWeightsTest, WithoutSafetensorsItIsSaidWhatIsMissing) {
  EXPECT_NE(refusal(config_, HfClass::Llama).find("has no model.safetensors and no model.safetensors.index.json"),
            std::string::npos);
  publish_text(path("pytorch_model.bin"), "");
  EXPECT_NE(refusal(config_, HfClass::Llama).find("pytorch_model.bin is not read"), std::string::npos);
  ASSERT_EQ(::mkfifo(path("model.safetensors").c_str(), 0600), 0);
  EXPECT_NE(refusal(config_, HfClass::Llama).find("is not a regular file, but a pipe"), std::string::npos);
}

}  // namespace
}  // namespace gta
