// gta export: the folder, what is refused, and what transformers makes of it where it is installed.
#include <filesystem>

#include "launch/commands/commands.h"
#include "tests/launch/small_run.h"

namespace gta {
namespace {

class Export : public SmallRun {
 protected:
  int run(const std::string& command) {
    const int status = std::system((command + " >" + folder_ + "/out.txt 2>" + folder_ + "/err.txt").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string said() const { return read_file(folder_ + "/out.txt") + read_file(folder_ + "/err.txt"); }
  std::string train(const std::string& name, const std::string& keys) {
    EXPECT_EQ(run(kGta + " train " + folder_ + "/run.yaml --device cpu --run-dir " + folder_ + "/" + name +
                  " --set train.steps=3 " + keys),
              0)
        << said();
    return folder_ + "/" + name;
  }
};

TEST_F(Export, EveryVariantIsReadBackToTheSameLogits) {
  for (const char* type : {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"})
    for (const char* keys : {"", " --set model.tie_embeddings=false --set model.attention.qkv_bias=false"}) {
      const std::string name = std::string(type) + (*keys ? "-plain" : "");
      const std::string run_folder = train(name, std::string("--set model.attention.type=") + type + keys),
                        out = run_folder + "-hf";
      ASSERT_EQ(run(kGta + " export " + run_folder + " --out " + out), 0) << name << said();
      EXPECT_NE(said().find("every weight is the checkpoint's, logits differ by 0 of the largest"), std::string::npos)
          << said();
      for (const char* file : {"config.json", "generation_config.json", "model.safetensors", "tokenizer.model",
                               "tokenizer.json", "tokenizer_config.json", "README.md"})
        EXPECT_TRUE(exists(out + "/" + file)) << name << " " << file;
      EXPECT_EQ(exists(out + "/modeling_gta.py"), std::string(type)[0] == 'g' && std::string(type) != "gqa") << name;
    }
}

TEST_F(Export, ShorterNumbersAreRoundedAndSaid) {
  const std::string run_folder = train("r", "");
  for (const char* dtype : {"bfloat16", "float16"}) {
    ASSERT_EQ(run(kGta + " export " + run_folder + " --dtype " + dtype + " --out " + folder_ + "/" + dtype), 0)
        << said();
    EXPECT_NE(said().find("every weight is the checkpoint's, rounded, logits differ by "), std::string::npos) << said();
  }
}

TEST_F(Export, NothingIsWrittenOverAndNothingLeftBehind) {
  const std::string run_folder = train("r", ""), out = folder_ + "/hf";
  make_directories(out);
  EXPECT_EQ(run(kGta + " export " + run_folder + " --out " + out), 2);
  EXPECT_NE(said().find(out + " is there already"), std::string::npos) << said();
  EXPECT_EQ(run(kGta + " export " + run_folder + " --out " + folder_ + "/nowhere/hf"), 2);
  EXPECT_NE(said().find("nowhere does not exist"), std::string::npos) << said();
  EXPECT_EQ(run(kGta + " export " + folder_ + "/absent --out " + folder_ + "/new"), 2);
  EXPECT_EQ(run(kGta + " export " + run_folder + " --dtype int4 --out " + folder_ + "/new"), 2);
  // A full disk ends it, and the half that was written goes.
  EXPECT_EQ(run("bash -c 'ulimit -f 8; trap \"\" XFSZ; exec " + kGta + " export " + run_folder + " --out " + folder_ +
                "/new'"),
            1);
  for (const std::string& name : list_directory(folder_)) EXPECT_FALSE(name.starts_with("new")) << name << said();
  EXPECT_EQ(run("cd " + folder_ + " && " + kGta + " export r --out new/"), 0) << said();
  EXPECT_TRUE(exists(folder_ + "/new/config.json"));
}

// The real reader, where GTA_TRANSFORMERS_PYTHON names a Python that has transformers, torch and sentencepiece.
TEST_F(Export, TransformersComputesGeneratesAndTokenizesAsWeDo) {
  const char* const named = std::getenv("GTA_TRANSFORMERS_PYTHON");
  const std::string python = named ? named : "python3";
  if (run(python + " -c 'import numpy, sentencepiece, torch, transformers'") != 0)
    GTEST_SKIP() << python
                 << " has no transformers, torch, sentencepiece and numpy: name one with GTA_TRANSFORMERS_PYTHON";
  const std::string tokens = folder_ + "/tokens.npy";
  ASSERT_EQ(run(python + " -c 'import numpy as n; n.save(\"" + tokens +
                "\", n.random.default_rng(1).integers(3, 300, (2, 12)).astype(n.int32))'"),
            0)
      << said();
  for (const std::string type : {"gqa", "mla", "gha", "gta"}) {
    // DeepseekV2 norms the latent with an eps of its own.
    const std::string eps = type == "mla" ? "" : " --set model.norm_eps=1e-5",
                      keys = "--set model.rope_theta=50000 --set model.attention.type=" + type + eps,
                      run_folder = train(type, keys), out = run_folder + "-hf", logits = run_folder + ".npy",
                      text = run_folder + ".txt";
    ASSERT_EQ(run(kGta + " export " + run_folder + " --out " + out), 0) << said();
    ASSERT_EQ(run(kGta + " eval " + run_folder + " --device cpu --tokens " + tokens + " --logits-out " + logits), 0)
        << said();
    ASSERT_EQ(run(kGta + " generate " + run_folder + " --device cpu --prompt 'ab cd' --max-tokens 10 --temperature 0"),
              0)
        << said();
    publish_text(text, read_file(folder_ + "/out.txt"));
    EXPECT_EQ(run(python + " " GTA_SOURCE_DIR "/tests/interop/transformers_check.py " + out + " " + tokens + " " +
                  logits + " " + folder_ + "/text.txt " + text + " 'ab cd'"),
              0)
        << type << "\n"
        << said();
  }
}

}  // namespace
}  // namespace gta
