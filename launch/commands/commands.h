// The commands, one file each. Each returns an exit code and throws Error for what went wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/signals.h"  // kExitInterrupted

namespace gta {

inline constexpr int kExitCheckFailed = 3;

enum class Output : uint8_t { Text, Json };

struct TrainCommand {
  std::string config, run_dir, device = "auto";
  std::vector<std::string> overrides;
  bool fresh = false, force = false;
  int64_t profile_steps = 0;
};
int run_train(const TrainCommand& command);

struct EvalCommand {
  std::string checkpoint, text, tokens, logits_out, device = "auto";
  std::vector<std::string> data, overrides;
  bool has_most_tokens = false;
  int64_t most_tokens = 0;
  int64_t window = 0;  // 0: data.sequence_length
  int64_t stride = 0;  // 0: the window
  bool by_position = false;
  std::string task, task_type, task_fields;
  int64_t few_shot = 0;  // solved examples before each question, of:
  std::string few_shot_from;
  Output output = Output::Text;
};
int run_eval(const EvalCommand& command);

struct GenerateCommand {
  std::string checkpoint, batch, out, device = "auto", weights = "dtype", cache = "dtype";
  std::optional<std::string> prompt;
  std::vector<std::string> overrides, stop;
  bool interactive = false, log_probabilities = false;
  int64_t max_tokens = 128, top_k = 0, seed = 1234, samples = 1, prefill_chunk = 512;
  std::optional<int64_t> batch_size;
  double temperature = 0.8, top_p = 1.0, min_p = 0.0, repetition_penalty = 1.0;
  Output output = Output::Text;
};
int run_generate(const GenerateCommand& command);

struct ExportCommand {
  std::string checkpoint, out, format = "hf", dtype = "float32", verify_with;
};
int run_export(const ExportCommand& command);

struct ImportCommand {
  std::string folder, out, tokenizer;
};
int run_import(const ImportCommand& command);

struct DataCommand {
  std::vector<std::string> inputs;
  std::string files_from, out, tokenizer, name = "train", format = "auto";
  std::optional<std::string> field, document_separator;
  bool skip_bad_lines = false, split_digits = false, replace = false;
  std::vector<std::string> user_symbols;
  double character_coverage = 0.9999, hold_out = 0;
  int64_t vocab_size = 4096, shard_tokens = 100'000'000;
};
int run_data_tokenizer(const DataCommand& command);
int run_data_shards(const DataCommand& command);
int run_data_inspect(const DataCommand& command);

struct PlanCommand {
  std::string config, device = "auto", gpu;
  std::vector<std::string> overrides;
  int64_t sequence_length = 0;
  double mfu = 0, price = 0;  // 0: not given
  bool measure = false;
  // Of a training by several ranks; 0: not given. GB/s are 10^9 bytes a second.
  int64_t gpus = 0, gpus_per_node = 8;
  double network_gbs = 0, node_network_gbs = 0, latency_us = 3, storage_gbs = 0;
  // The configuration whose budget this one is brought to; "": nothing is brought to anything.
  std::string match, equal = "parameters";
  std::vector<std::string> adjust = {"model.intermediate_size"};
  double tolerance = 0.005;
  Output output = Output::Text;
};
int run_plan(const PlanCommand& command);

struct AblateCommand {
  std::string file, run_dir, device = "auto";
  std::vector<std::string> overrides;
  int64_t jobs = 0;  // not given: one here, any number by SLURM
  double price = 0;  // 0: not given
  std::string cell;  // this one alone
  std::vector<std::string> slurm_options;
  bool dry_run = false, status = false, retry_failed = false, slurm = false;
};
int run_ablate(const AblateCommand& command);
struct CompareCommand {
  std::vector<std::string> runs, varied;
  std::string out, name = "comparison", baseline, equal = "none";
  double tolerance = 0.005, practical_difference = 0.005;
  bool replace = false;
  Output output = Output::Text;
};
int run_compare(const CompareCommand& command);

struct InspectCommand {
  std::string file;
};
int run_inspect(const InspectCommand& command);

struct DevicesCommand {
  std::string device = "auto";
  bool ranks = false;
};
int run_devices();
int run_rank_devices(const DevicesCommand& command);  // between the ranks of a launcher

struct BenchCommand {
  std::string config, device = "auto", dtype, recompute, only;
  std::vector<std::string> overrides;
  int64_t micro_batch = 0, sequence = 0;  // 0: the run's, or 2 x 512 for a model alone
  int64_t steps = 5, warmup_steps = 1;    // bench step
  int64_t repeats = 7;                    // bench ops
  double data_sheet_tflops = 0;           // 0: no MFU
  Output output = Output::Text;
};
int run_bench_ops(const BenchCommand& command);
int run_bench_step(const BenchCommand& command);

struct DecodeBenchCommand {
  std::vector<std::string> configs, overrides;
  std::string device = "auto", dtype = "float32", weights = "dtype", cache = "dtype", svg;
  std::vector<int64_t> contexts = {512, 2048, 8192}, sequences = {1};
  int64_t tokens = 16;
  int64_t longest_prefill = 2048, prefill_chunk = 512;
  Output output = Output::Text;
};
int run_bench_decode(const DecodeBenchCommand& command);

struct VerifyCommand {
  std::vector<std::string> fixtures;
  std::string device = "auto";
  std::vector<std::string> dtypes = {"float64", "float32", "bfloat16"};
};
int run_verify(const VerifyCommand& command);

struct VerifyResumeCommand {
  std::string config, run_dir, device = "auto";
  std::vector<std::string> overrides;
  int64_t kills = 3, stops = 3;  // by SIGKILL, and by signals that ask for a save
  int64_t seed = 0;              // of the random moments; 0: the clock
  int64_t ranks = 1;             // under mpirun, where there are several
};
int run_verify_resume(const VerifyResumeCommand& command);

}  // namespace gta
