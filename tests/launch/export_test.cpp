// gta export: the folder, what is refused, and what transformers makes of it where it is installed.
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "checkpoints/exports/hf_model.h"
#include "checkpoints/exports/safetensors.h"
#include "checkpoints/model_state.h"
#include "launch/commands/commands.h"
#include "launch/loaded_model.h"
#include "launch/npy.h"
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

// A reader that does not end leaves an export that is written and has no name yet.
TEST_F(Export, ASignalLeavesNothingUnfinished) {
  const std::string run_folder = train("r", ""), python = folder_ + "/python", begun = folder_ + "/begun",
                    asked = folder_ + "/asked";
  publish_text(python, "#!/bin/sh\n[ -e " + asked + " ] || { : > " + asked + "; exit 0; }\n: > " + begun +
                           "\nwhile [ -e " + begun + " ]; do sleep 0.05; done\n");
  ASSERT_EQ(::chmod(python.c_str(), 0755), 0);
  const auto unfinished = [&] {
    int64_t count = 0;
    for (const std::string& name : list_directory(folder_)) count += name.find(".tmp-") != std::string::npos ? 1 : 0;
    return count;
  };
  for (const std::string format : {"hf --verify-with transformers", "gguf --verify-with llama.cpp"})
    for (int signal : {SIGTERM, SIGINT, SIGHUP, SIGXCPU}) {
      ::unlink(asked.c_str());
      const pid_t child = ::fork();
      if (child == 0) {
        for (int each : {SIGINT, SIGHUP}) ::signal(each, SIG_DFL);
        const std::string text = "ulimit -c 0; exec env GTA_TRANSFORMERS_PYTHON=" + python +
                                 " GTA_LLAMA_CPP_PYTHON=" + python + " " + kGta + " export " + run_folder + " --out " +
                                 folder_ + "/out --format " + format + " >/dev/null 2>" + folder_ + "/err.txt";
        ::execl("/bin/sh", "sh", "-c", text.c_str(), nullptr);
        ::_exit(127);
      }
      for (int status = 0; !exists(begun);) {
        ASSERT_EQ(::waitpid(child, &status, WNOHANG), 0) << said();
        ::usleep(5000);
      }
      EXPECT_GE(unfinished(), 1);
      ::kill(child, signal);
      int status = 0;
      ::waitpid(child, &status, 0);
      EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << format << " " << status;
      EXPECT_EQ(unfinished(), 0) << format;
      EXPECT_FALSE(exists(folder_ + "/out")) << format;
      ::unlink(begun.c_str());
    }
}

// Of the mean loss of tokens[:, 1:] given those before, under the names and in the shapes that the export has.
void write_gradients(const std::string& run_folder, const std::string& tokens_file, const std::string& path) {
  const LoadedModel loaded = load_model(run_folder, "cpu");
  const NpyArray<int32_t> tokens = read_npy_int32(tokens_file);
  const int64_t batch = tokens.shape[0], length = tokens.shape[1] - 1;
  std::vector<int32_t> given, wanted;
  for (size_t i = 0; i < tokens.values.size(); ++i) {
    const auto at = static_cast<int64_t>(i) % (length + 1);
    if (at != length) given.push_back(tokens.values[i]);
    if (at != 0) wanted.push_back(tokens.values[i]);
  }
  ParameterSpace space;
  const CausalLm model(space, loaded.config.model);
  space.allocate(DType::F32, Device{}, SpaceUse::Training);
  load_weights(Checkpoint::open(loaded.checkpoint), space);
  space.zero_gradients();
  Tape tape(TapeMode::Recording);
  tape.backward(model.loss(tape, Tensor::from<int32_t>({batch, length}, given),
                           Tensor::from<int32_t>({batch, length}, wanted), 1.0 / static_cast<double>(batch * length)));
  const std::vector<HfTensor> theirs = hf_tensors(loaded.config.model);
  std::vector<SafeTensor> tensors;
  std::vector<std::vector<float>> values;
  for (const HfTensor& tensor : theirs)
    for (const Parameter& p : space.parameters())
      if (p.name == tensor.parameter) {
        tensors.push_back({tensor.name, NumberFormat::F32, tensor.shape, 0, 0});
        values.push_back(to_hf(tensor, space.view(space.gradients(p.kind), p).to_vector<float>()));
      }
  write_safetensors(path, tensors, [&](size_t i) { return values[i]; });
}

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
      ASSERT_EQ(run(kGta + " inspect " + out + "/model.safetensors"), 0) << said();
      EXPECT_NE(said().find("\nmodel.layers.1.self_attn.o_proj.weight "), std::string::npos) << said();
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

TEST_F(Export, GgufOfEveryVariantComputesTheSameLogits) {
  for (const std::string type : {"mha", "mqa", "gqa", "mla", "gva", "gha", "gta"})
    for (const std::string keys : {"", " --set model.tie_embeddings=false --set model.attention.qkv_bias=false"}) {
      const std::string latent = type == "gta" && keys.empty() ? " --set model.attention.latent_dim=16" : "",
                        run_folder = train(type + (keys.empty() ? "" : "-plain"),
                                           "--set model.attention.type=" + type + keys + latent),
                        architecture = type == "gta"   ? "qwen35"
                                       : type == "mla" ? "deepseek2"
                                       : keys.empty()  ? "qwen2"
                                                       : "llama";
      for (const std::string dtype : {"float32", "q8_0"}) {
        const std::string out = run_folder + "-" + dtype + ".gguf";
        ASSERT_EQ(run(kGta + " export " + run_folder + " --format gguf --dtype " + dtype + " --out " + out), 0)
            << type << keys << said();
        EXPECT_NE(said().find(": " + architecture + " in " + dtype), std::string::npos) << said();
        EXPECT_NE(said().find("read back, every tensor is the checkpoint's"), std::string::npos) << said();
        ASSERT_EQ(run(kGta + " inspect " + out), 0) << said();
        EXPECT_NE(said().find("\nblk.1.attn_output.weight "), std::string::npos) << said();
      }
    }
}

TEST_F(Export, WhatLlamaCppCannotComputeIsRefusedAndNothingIsWrittenOver) {
  const auto refusal = [&](const std::string& name, const std::string& keys) {
    const std::string run_folder = train(name, keys);
    EXPECT_EQ(run(kGta + " export " + run_folder + " --format gguf --out " + run_folder + ".gguf"), 2) << said();
    EXPECT_FALSE(exists(run_folder + ".gguf"));
    return said();
  };
  EXPECT_NE(refusal("silu", "--set model.attention.gate=silu").find("model.attention.gate is silu"), std::string::npos);
  EXPECT_NE(refusal("narrow", "--set model.attention.query_heads=4").find("a group of heads has 8"), std::string::npos);
  EXPECT_NE(refusal("deep", "--set model.attention.type=mla --set model.layers=28").find("this has 28"),
            std::string::npos);
  const std::string run_folder = train("r", "");
  EXPECT_EQ(run(kGta + " export " + run_folder + " --dtype q8_0 --out " + folder_ + "/hf"), 2);
  EXPECT_NE(said().find("q8_0 is a type of gguf"), std::string::npos) << said();
  EXPECT_EQ(run(kGta + " export " + run_folder + " --verify-with llama.cpp --out " + folder_ + "/hf"), 2);
  EXPECT_NE(said().find("llama.cpp does not read --format hf: expected transformers or vllm"), std::string::npos)
      << said();
  EXPECT_EQ(
      run("GTA_VLLM_PYTHON=false " + kGta + " export " + run_folder + " --verify-with vllm --out " + folder_ + "/hf"),
      2);
  EXPECT_NE(said().find("false cannot import vllm: name a Python that can in GTA_VLLM_PYTHON"), std::string::npos)
      << said();
  EXPECT_EQ(run("GTA_TRANSFORMERS_PYTHON=false " + kGta + " export " + run_folder +
                " --verify-with transformers --out " + folder_ + "/hf"),
            2);
  EXPECT_NE(said().find("false cannot import torch, transformers"), std::string::npos) << said();
  EXPECT_FALSE(exists(folder_ + "/hf"));
  publish_text(folder_ + "/there.gguf", "mine");
  EXPECT_EQ(run(kGta + " export " + run_folder + " --format gguf --out " + folder_ + "/there.gguf"), 2);
  EXPECT_EQ(read_file(folder_ + "/there.gguf"), "mine");
  EXPECT_EQ(run("bash -c 'ulimit -f 8; trap \"\" XFSZ; exec " + kGta + " export " + run_folder +
                " --format gguf --out " + folder_ + "/new.gguf'"),
            1);
  for (const std::string& name : list_directory(folder_)) EXPECT_FALSE(name.starts_with("new")) << name << said();
}

// The real reader, where GTA_LLAMA_CPP_PYTHON names a Python that has xllamacpp, gguf and sentencepiece.
TEST_F(Export, LlamaCppComputesGeneratesAndTokenizesAsWeDo) {
  const char* const named = std::getenv("GTA_LLAMA_CPP_PYTHON");
  const std::string python = named ? named : "python3";
  if (run(python + " -c 'import gguf, numpy, sentencepiece, xllamacpp'") != 0)
    GTEST_SKIP() << python << " has no xllamacpp, gguf, sentencepiece and numpy: name one with GTA_LLAMA_CPP_PYTHON";
  const std::string tokens = folder_ + "/tokens.npy";
  ASSERT_EQ(run(python + " -c 'import numpy as n; n.save(\"" + tokens +
                "\", n.random.default_rng(1).integers(3, 300, (2, 12)).astype(n.int32))'"),
            0)
      << said();
  // Rows of whole blocks, and a width for heads that have a column to spare.
  const std::string wide =
      " --set model.rope_theta=50000 --set model.norm_eps=1e-5 --set model.hidden_size=64 --set model.heads=8 --set "
      "model.intermediate_size=96 --set model.attention.latent_dim=16 --set model.attention.kv_lora_rank=32";
  for (const auto& [name, keys] :
       {std::pair{"gqa", "--set model.attention.type=gqa"},
        {"gqa-plain", "--set model.attention.type=gqa --set model.attention.qkv_bias=false"},
        {"mla", "--set model.attention.type=mla --set model.tie_embeddings=false"},
        {"gha", "--set model.attention.type=gha --set model.attention.value_heads=4"},
        {"gta", "--set model.attention.type=gta"},
        {"gta-direct", "--set model.attention.value_decoder=direct --set model.attention.qkv_bias=false"}}) {
    const std::string run_folder = train(name, keys + wide), logits = run_folder + ".npy", text = run_folder + ".txt";
    for (const std::string dtype : {"float32", "q8_0"}) {
      ASSERT_EQ(
          run("GTA_LLAMA_CPP_PYTHON=" + python + " " + kGta + " export " + run_folder + " --format gguf --dtype " +
              dtype + " --verify-with llama.cpp --out " + run_folder + "-" + dtype + ".gguf"),
          0)
          << said();
      EXPECT_NE(said().find("xllamacpp "), std::string::npos) << said();
    }
    ASSERT_EQ(run(kGta + " eval " + run_folder + " --device cpu --tokens " + tokens + " --logits-out " + logits), 0)
        << said();
    ASSERT_EQ(run(kGta + " generate " + run_folder + " --device cpu --prompt 'ab cd' --max-tokens 10 --temperature 0"),
              0)
        << said();
    publish_text(text, read_file(folder_ + "/out.txt"));
    EXPECT_EQ(run(python + " " GTA_SOURCE_DIR "/tests/interop/llama_cpp_check.py " + run_folder + "-float32.gguf " +
                  tokens + " " + logits + " " + folder_ + "/text.txt " + text + " 'ab cd' " + folder_ + "/t.model " +
                  run_folder + "-q8_0.gguf"),
              0)
        << name << "\n"
        << said();
  }
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
  // The environment's own version, and a newer one for PYTHONPATH where GTA_TRANSFORMERS_5 names its folder.
  std::vector<std::string> versions = {python};
  if (const char* const newer = std::getenv("GTA_TRANSFORMERS_5"))
    versions.push_back(std::string("PYTHONPATH=") + newer + " " + python);
  for (const std::string type : {"gqa", "mla", "gha", "gta"}) {
    // DeepseekV2 norms the latent with an eps of its own.
    const std::string eps = type == "mla" ? "" : " --set model.norm_eps=1e-5",
                      keys = "--set model.rope_theta=50000 --set model.attention.type=" + type + eps,
                      run_folder = train(type, keys), out = run_folder + "-hf", logits = run_folder + ".npy",
                      text = run_folder + ".txt";
    ASSERT_EQ(run("GTA_TRANSFORMERS_PYTHON=" + python + " " + kGta + " export " + run_folder +
                  " --verify-with transformers --out " + out),
              0)
        << said();
    EXPECT_NE(said().find("transformers "), std::string::npos) << said();
    ASSERT_EQ(run(kGta + " eval " + run_folder + " --device cpu --tokens " + tokens + " --logits-out " + logits), 0)
        << said();
    ASSERT_EQ(run(kGta + " generate " + run_folder + " --device cpu --prompt 'ab cd' --max-tokens 10 --temperature 0"),
              0)
        << said();
    publish_text(text, read_file(folder_ + "/out.txt"));
    write_gradients(run_folder, tokens, run_folder + ".safetensors");
    for (const std::string& version : versions)
      EXPECT_EQ(run(version + " " GTA_SOURCE_DIR "/tests/interop/transformers_check.py " + out + " " + tokens + " " +
                    logits + " " + folder_ + "/text.txt " + text + " 'ab cd' " + run_folder + ".safetensors"),
                0)
          << type << "\n"
          << said();
  }
}

// The real reader, where GTA_VLLM_PYTHON names a Python that has vllm and numpy.
TEST_F(Export, VllmComputesAndGeneratesAsWeDo) {
  const char* const named = std::getenv("GTA_VLLM_PYTHON");
  const std::string python = named ? named : "python3";
  if (run(python + " -c 'import numpy, vllm'") != 0)
    GTEST_SKIP() << python << " has no vllm and numpy: name one with GTA_VLLM_PYTHON";
  const std::string tokens = folder_ + "/tokens.npy";
  ASSERT_EQ(run(python + " -c 'import numpy as n; n.save(\"" + tokens +
                "\", n.random.default_rng(1).integers(3, 300, (2, 12)).astype(n.int32))'"),
            0)
      << said();
  // Its attention on a CPU knows heads of 32 columns, and none of 8.
  for (const std::string keys :
       {"gqa", "gha --set model.tie_embeddings=false", "gta --set model.attention.latent_dim=32"}) {
    const std::string run_folder = train(keys.substr(0, 3),
                                         "--set model.rope_theta=50000 --set model.norm_eps=1e-5 --set "
                                         "model.head_dim=32 --set model.attention.type=" +
                                             keys),
                      out = run_folder + "-hf", logits = run_folder + ".npy", text = run_folder + ".txt";
    ASSERT_EQ(
        run("GTA_VLLM_PYTHON=" + python + " " + kGta + " export " + run_folder + " --verify-with vllm --out " + out), 0)
        << said();
    EXPECT_NE(said().find("vllm "), std::string::npos) << said();
    ASSERT_EQ(run(kGta + " eval " + run_folder + " --device cpu --tokens " + tokens + " --logits-out " + logits), 0)
        << said();
    ASSERT_EQ(run(kGta + " generate " + run_folder + " --device cpu --prompt 'ab' --max-tokens 10 --temperature 0"), 0)
        << said();
    publish_text(text, read_file(folder_ + "/out.txt"));
    EXPECT_EQ(run(python + " " GTA_SOURCE_DIR "/tests/interop/vllm_check.py " + out + " " + tokens + " " + logits +
                  " " + text + " ab"),
              0)
        << keys << "\n"
        << said();
  }
}

}  // namespace
}  // namespace gta
