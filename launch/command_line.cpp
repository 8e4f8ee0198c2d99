#include "launch/command_line.h"

#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <new>
#include <sstream>
#include <system_error>

#include "core/error.h"
#include "core/io/open_files.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/processors.h"
#include "core/thread.h"
#include "launch/ablate/cost.h"
#include "launch/arguments.h"
#include "launch/as_rank.h"
#include "launch/commands/commands.h"
#include "launch/commands_page.h"
#include "launch/config/config.h"
#include "launch/config/schema.h"
#include "launch/environment.h"
#include "launch/generation/limits.h"
#include "launch/loaded_model.h"
#include "launch/metrics.h"
#include "launch/signals.h"
#include "launch/standard_output.h"
#include "launch/tasks/task_items.h"

namespace gta {
namespace {

// The most that numbers of the command line may be; of those that configurations have too, as there.
constexpr int64_t kMany = 1'000'000'000'000'000, kLongestSequence = 1 << 24, kLargestBatch = 1 << 20,
                  kMostExamples = 1000;

// Everything the command line can fill in; `run` is what the chosen command does.
struct Choices {
  std::string log_level = "info";
  int threads = 0;
  bool saves_when_signalled = false;
  bool trains = false;  // or takes the steps of a training
  TrainCommand train;
  EvalCommand eval;
  GenerateCommand generate;
  ExportCommand to_format;
  ImportCommand from_format;
  DataCommand data;
  PlanCommand plan;
  AblateCommand ablate;
  CompareCommand compare;
  InspectCommand inspect;
  DevicesCommand devices;
  BenchCommand bench;
  DecodeBenchCommand bench_decode;
  VerifyCommand verify;
  VerifyResumeCommand verify_resume;
  bool json = false;
  std::function<int()> run;
};

void add_overrides(CLI::App* app, std::vector<std::string>& overrides) {
  app->add_option("--set", overrides, "key.path=value, over the file (repeatable)")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

void add_model_overrides(CLI::App* app, std::vector<std::string>& overrides) {
  app->add_option("--set", overrides,
                  "key.path=value, over the checkpoint's configuration (repeatable): " + loaded_model_keys())
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

CLI::Option* add_device(CLI::App* app, std::string& device) {
  return app->add_option("--device", device, "cpu, cuda, cuda:N or auto")->capture_default_str()->check(some_text());
}

// A file or a folder.
CLI::Option* add_path(CLI::App* app, const char* name, std::string& path, const char* help) {
  return app->add_option(name, path, help)->check(some_text());
}

void add_train(CLI::App& app, Choices& c) {
  CLI::App* train =
      app.add_subcommand("train", "pretrain; goes on from the newest good checkpoint of the run's folder");
  add_path(train, "config", c.train.config, "YAML, docs/configuration.md")->required();
  add_path(train, "--run-dir", c.train.run_dir, "instead of runs/NAME");
  train->add_flag("--fresh", c.train.fresh, "begin anew; an existing folder is moved aside, not deleted");
  train->add_flag("--force", c.train.force, "start also what is planned not to fit into the device's memory");
  train
      ->add_option("--profile", c.train.profile_steps, "write RUN/profile.json (Chrome trace) of the first STEPS steps")
      ->check(integer_value(1, kMany));
  add_overrides(train, c.train.overrides);
  add_device(train, c.train.device);
  train->footer(
      "example: gta train configs/runs/quickstart.yaml --set model.attention.type=gqa --run-dir runs/kjv-gqa");
  train->final_callback([&c] {
    c.saves_when_signalled = c.trains = true;
    c.run = [&c] { return run_train(c.train); };
  });
}

void add_eval(CLI::App& app, Choices& c) {
  CLI::App* eval = app.add_subcommand(
      "eval", "loss, perplexity and bits per byte of a checkpoint; its accuracy at a task; its logits");
  add_path(eval, "checkpoint", c.eval.checkpoint, "a run's folder or a checkpoint")->required();
  add_path(eval, "--text", c.eval.text, "score this text as one document; JSON lines: each as one");
  eval->add_option("--data", c.eval.data, "score these token shards; without it the run's own validation set, whole")
      ->check(some_text());
  add_path(eval, "--tokens", c.eval.tokens, "int32 .npy (batch, sequence), for --logits-out");
  add_path(eval, "--logits-out", c.eval.logits_out, "float32 .npy (batch, sequence, vocab)");
  const CLI::Option* most = eval->add_option("--max-tokens", c.eval.most_tokens,
                                             "score at most so many tokens, in windows all over the shards; 0: all")
                                ->check(integer_value(0, kMany));
  eval->add_option("--window", c.eval.window,
                   "tokens that are scored with one context; default: data.sequence_length of the training")
      ->check(integer_value(1, kLongestSequence));
  eval->add_option("--stride", c.eval.stride,
                   "tokens between the beginnings of windows, each scored once, with window - stride before it at "
                   "least; default: the window")
      ->check(integer_value(1, kLongestSequence));
  eval->add_flag("--by-position", c.eval.by_position,
                 "the loss by how many tokens were before one, and by how many its document has (docs/metrics.md)");
  add_path(eval, "--task", c.eval.task,
           "JSON lines with the fields of hellaswag, piqa, arc, winogrande, boolq or lambada, or of your own "
           "(docs/inference.md): accuracies as lm-evaluation-harness counts them");
  eval->add_option("--task-fields", c.eval.task_fields, "of --task, where its first line could be of several")
      ->check(one_of(task_field_names()));
  eval->add_option("--task-type", c.eval.task_type, "of --task: refuses a file of another type")
      ->check(one_of({"multiple_choice", "last_word"}));
  eval->add_option("--few-shot", c.eval.few_shot,
                   "of --task: solved examples before each question, drawn as lm-evaluation-harness does")
      ->check(integer_value(1, kMostExamples));
  add_path(eval, "--few-shot-from", c.eval.few_shot_from, "of --few-shot: JSON lines as those of --task");
  eval->add_flag("--json", c.json, "for programs");
  add_model_overrides(eval, c.eval.overrides);
  add_device(eval, c.eval.device);
  eval->footer("example: gta eval runs/kjv-gta --text psalm.txt --json");
  eval->final_callback([&c, most] {
    c.eval.has_most_tokens = most->count() > 0;
    c.eval.output = c.json ? Output::Json : Output::Text;
    c.run = [&c] { return run_eval(c.eval); };
  });
}

// How the next token is picked; of --batch, where a prompt does not say so itself.
void add_token_choice(CLI::App* generate, GenerateCommand& command) {
  generate->add_option("--temperature", command.temperature, "0: always the most probable token")
      ->capture_default_str()
      ->check(number_value(0, LeastValue::Included, kHighestTemperature));
  generate->add_option("--top-k", command.top_k, "0: all")->capture_default_str()->check(integer_value(0, kMostTokens));
  generate->add_option("--top-p", command.top_p, "the smallest set of tokens with this much probability")
      ->capture_default_str()
      ->check(number_value(0, LeastValue::Included, 1));
  generate->add_option("--min-p", command.min_p, "tokens with this part of the most probable one's probability; 0: all")
      ->capture_default_str()
      ->check(number_value(0, LeastValue::Included, 1));
  generate
      ->add_option("--repetition-penalty", command.repetition_penalty,
                   "logits of tokens that were there are divided by it, negative ones multiplied; 1: none")
      ->capture_default_str()
      ->check(number_value(kLeastPenalty, LeastValue::Included, kMostPenalty));
  generate->add_option("--stop", command.stop, "end where the text has this string, which is not printed (repeatable)")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false)
      ->check(some_text());
  generate->add_option("--seed", command.seed)->capture_default_str()->check(integer_value(0, kLargestSeed));
}

void add_weights(CLI::App* app, std::string& weights) {
  app->add_option("--weights", weights,
                  "dtype: as computed with; int8: matrices in bytes, on a CPU (docs/inference.md)")
      ->capture_default_str()
      ->check(one_of({"dtype", "int8"}));
}

void add_cache(CLI::App* app, std::string& cache) {
  app->add_option("--cache", cache,
                  "of keys, values and latents; dtype: as computed with, which float32 and bfloat16 may differ from "
                  "(docs/inference.md)")
      ->capture_default_str()
      ->check(one_of({"dtype", "float32", "bfloat16"}));
}

void add_generate(CLI::App& app, Choices& c) {
  CLI::App* generate = app.add_subcommand("generate", "continue a text, streamed to the terminal, or many at once");
  add_path(generate, "checkpoint", c.generate.checkpoint, "a run's folder or a checkpoint")->required();
  generate->add_option("--prompt", c.generate.prompt, "text to continue");
  add_path(generate, "--batch", c.generate.batch,
           "JSON lines with the field prompt (docs/inference.md), answered many at once: JSON lines in their order");
  generate->add_flag("--interactive", c.generate.interactive,
                     "lines of a text, each continued; Ctrl-C stops an answer, Ctrl-D ends");
  generate->add_option("--max-tokens", c.generate.max_tokens, "fewer where the text or the model's context ends")
      ->capture_default_str()
      ->check(integer_value(1, kMostTokens));
  add_token_choice(generate, c.generate);
  generate->add_option("--samples", c.generate.samples, "continuations of the prompt, with the seeds from --seed on")
      ->capture_default_str()
      ->check(integer_value(1, kLargestBatch));
  generate->add_option("--prefill-chunk", c.generate.prefill_chunk, "tokens of a prompt that are computed at once")
      ->capture_default_str()
      ->check(integer_value(1, kLongestSequence));
  generate->add_option("--batch-size", c.generate.batch_size, "of --batch: answers under way at most; default: 8")
      ->check(integer_value(1, kLargestBatch));
  add_path(generate, "--out", c.generate.out, "of --batch: a file for the answers, instead of stdout");
  generate->add_flag("--logprobs", c.generate.log_probabilities,
                     "of the picked tokens, as the model gives them; with --json or --batch");
  generate->add_flag("--json", c.json, "the answer to --prompt as --batch gives it, a line for each sample");
  add_weights(generate, c.generate.weights);
  add_cache(generate, c.generate.cache);
  add_model_overrides(generate, c.generate.overrides);
  add_device(generate, c.generate.device);
  generate->footer("example: gta generate runs/kjv-gta --prompt 'In the beginning' --max-tokens 100");
  generate->final_callback([&c] {
    c.generate.output = c.json ? Output::Json : Output::Text;
    c.run = [&c] { return run_generate(c.generate); };
  });
}

void add_export(CLI::App& app, Choices& c) {
  CLI::App* to =
      app.add_subcommand("export", "a checkpoint for transformers, vLLM or llama.cpp, read back and compared");
  add_path(to, "checkpoint", c.to_format.checkpoint, "a run's folder or a checkpoint")->required();
  add_path(to, "--out", c.to_format.out, "a new folder, or of gguf a new file")->required();
  to->add_option("--format", c.to_format.format,
                 "hf: config.json, safetensors, tokenizer.json; gguf: one file for llama.cpp")
      ->capture_default_str()
      ->check(one_of({"hf", "gguf"}));
  to->add_option("--dtype", c.to_format.dtype, "of the weights; q8_0 is gguf's alone")
      ->capture_default_str()
      ->check(one_of({"float32", "bfloat16", "float16", "q8_0"}));
  to->add_option("--verify-with", c.to_format.verify_with,
                 "has transformers or vllm read the folder, or llama.cpp the file, and compares (docs/exports.md)")
      ->check(one_of({"transformers", "vllm", "llama.cpp"}));
  to->footer("example: gta export runs/kjv-gta --format gguf --dtype q8_0 --out kjv-gta.gguf");
  to->final_callback([&c] { c.run = [&c] { return run_export(c.to_format); }; });
}

void add_import(CLI::App& app, Choices& c) {
  CLI::App* from = app.add_subcommand(
      "import", "a folder of Hugging Face's as a checkpoint, to evaluate, generate, export and train on");
  add_path(from, "folder", c.from_format.folder, "with config.json and model.safetensors")->required();
  add_path(from, "--out", c.from_format.out, "a new folder")->required();
  add_path(from, "--tokenizer", c.from_format.tokenizer, "a sentencepiece model; without it FOLDER/tokenizer.model");
  from->footer("example: gta import TinyLlama-1.1B --out tinyllama");
  from->final_callback([&c] { c.run = [&c] { return run_import(c.from_format); }; });
}

void add_corpus(CLI::App* app, DataCommand& data) {
  app->add_option("--input", data.inputs, "text, or JSON lines (.jsonl, .ndjson, .jsonlines, .json); also .gz, .zst")
      ->check(some_text());
  add_path(app, "--files-from", data.files_from,
           "a file with the names of more inputs, one a line; - for standard input");
  app->add_option("--format", data.format, "text or jsonl, whatever the names of the inputs")
      ->capture_default_str()
      ->check(one_of({"auto", "text", "jsonl"}));
  app->add_option("--field", data.field, "of a JSON line: where its text is [text]")->check(some_text());
  app->add_flag("--skip-bad-lines", data.skip_bad_lines,
                "leave them out, named and counted, where otherwise the first one ends the command");
  app->add_option("--document-separator", data.document_separator,
                  "regular expression: a line that it matches as a whole separates documents ('' an empty line)");
}

void add_data(CLI::App& app, Choices& c) {
  CLI::App* data = app.add_subcommand("data", "tokenizers and token shards");
  data->require_subcommand(1);
  const auto chosen = [&c](CLI::App* sub, int (*action)(const DataCommand&)) {
    sub->final_callback([&c, action] { c.run = [&c, action] { return action(c.data); }; });
  };
  CLI::App* tokenizer = data->add_subcommand("tokenizer", "train a sentencepiece tokenizer");
  add_corpus(tokenizer, c.data);
  tokenizer->add_option("--vocab-size", c.data.vocab_size, "pieces, 256 of them single bytes")
      ->capture_default_str()
      ->check(integer_value(300, 1 << 20));
  tokenizer->add_flag("--split-digits", c.data.split_digits, "every digit is a piece of its own");
  tokenizer
      ->add_option("--user-symbols", c.data.user_symbols,
                   "pieces that are one token wherever a text has them, separated by commas (repeatable)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(some_text());
  tokenizer
      ->add_option("--character-coverage", c.data.character_coverage,
                   "part of the text whose characters get pieces; what is rarer is spelt in bytes")
      ->capture_default_str()
      ->check(number_value(0.98, LeastValue::Included, 1));
  add_path(tokenizer, "--out", c.data.out, "the .model file")->required();
  tokenizer->add_flag("--replace", c.data.replace, "the file of this name that is there already");
  tokenizer->footer("example: gta data tokenizer --input kjv.txt --vocab-size 4096 --out kjv.model");
  chosen(tokenizer, run_data_tokenizer);
  CLI::App* shards = data->add_subcommand("shards", "tokenise text into shards");
  add_corpus(shards, c.data);
  add_path(shards, "--tokenizer", c.data.tokenizer, "the .model file")->required();
  add_path(shards, "--out", c.data.out, "folder")->required();
  shards->add_option("--name", c.data.name, "of the shards: NAME-00000.h5 ...")
      ->capture_default_str()
      ->check(some_text());
  shards->add_option("--shard-tokens", c.data.shard_tokens, "at most, of each")
      ->capture_default_str()
      ->check(integer_value(1, kMany));
  shards
      ->add_option("--hold-out", c.data.hold_out,
                   "part of the documents, by a hash of their text, that goes into shards of the name validation")
      ->capture_default_str()
      ->check(number_value(0, LeastValue::Included, 0.99));
  shards->add_flag("--replace", c.data.replace, "the shards of this name that are there already");
  shards->footer(
      "example: gta data shards --tokenizer kjv.model --input kjv.txt --document-separator '' --hold-out 0.02 --out "
      "shards");
  chosen(shards, run_data_shards);
  CLI::App* inspect = data->add_subcommand("inspect", "look into shards and check every block's hash");
  inspect->add_option("shards", c.data.inputs, "token shards")->required()->check(some_text());
  chosen(inspect, run_data_inspect);
}

// Returns the options that only count beside --gpus.
void add_ablate(CLI::App& app, Choices& c) {
  CLI::App* ablate = app.add_subcommand(
      "ablate", "train the variants of an ablation's file over its seeds, at equal budgets, and compare them");
  add_path(ablate, "file", c.ablate.file, "YAML, docs/ablations.md")->required();
  add_path(ablate, "--run-dir", c.ablate.run_dir, "instead of runs/NAME");
  ablate->add_flag("--dry-run", c.ablate.dry_run, "print the plan, and start nothing");
  ablate->add_flag("--status", c.ablate.status, "say where each cell stands, and start nothing");
  ablate
      ->add_option("--jobs", c.ablate.jobs,
                   "cells that are trained side by side; processors, or GPUs, are divided among them; default: 1, with "
                   "--slurm any number")
      ->check(integer_value(1, 1024));
  ablate->add_flag("--retry-failed", c.ablate.retry_failed, "try failed cells again");
  ablate->add_flag("--slurm", c.ablate.slurm,
                   "hand the cells that are not done to sbatch, as an array with --jobs at once; run again without it "
                   "for the report when they are");
  ablate->add_option("--slurm-option", c.ablate.slurm_options, "of sbatch, like --partition=gpu (repeatable)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false)
      ->needs("--slurm");
  ablate->add_option("--cell", c.ablate.cell, "train this cell alone, as the jobs of --slurm do")->check(some_text());
  ablate->add_option("--price", c.ablate.price, "of an hour of the device, in any currency: adds the cost")
      ->check(number_value(0, LeastValue::Excluded, 1e6));
  add_overrides(ablate, c.ablate.overrides);
  add_device(ablate, c.ablate.device);
  ablate->footer("example: gta ablate configs/ablations/quickstart.yaml --dry-run");
  ablate->final_callback([&c] {
    c.saves_when_signalled = c.trains = !c.ablate.dry_run && !c.ablate.status;
    c.run = [&c] { return run_ablate(c.ablate); };
  });
}

std::vector<CLI::Option*> add_scaling(CLI::App* plan, PlanCommand& command) {
  constexpr double kFast = 1e6;  // GB/s, and microseconds
  const auto rate = number_value(0, LeastValue::Excluded, kFast);
  plan->add_option("--gpus", command.gpus,
                   "that train together (docs/scaling.md); with --device cpu so many ranks of a CPU: adds a step's "
                   "bytes, what of them is waited for, efficiency")
      ->check(integer_value(1, kLargestBatch));
  return {plan->add_option("--network", command.network_gbs,
                           "GB/s that one GPU sends between nodes, and receives meanwhile (400 Gbit/s each: 50)")
              ->check(rate),
          plan->add_option("--gpus-per-node", command.gpus_per_node, "that the rate within a node connects")
              ->capture_default_str()
              ->check(integer_value(1, kLargestBatch)),
          plan->add_option("--node-network", command.node_network_gbs,
                           "the same within a node; without it three quarters of NVLink's data sheet, or, where a GPU "
                           "has none, --network")
              ->check(rate),
          plan->add_option("--latency", command.latency_us,
                           "microseconds that each of the messages takes that a GPU sends to every other")
              ->capture_default_str()
              ->check(number_value(0, LeastValue::Included, kFast)),
          plan->add_option("--storage", command.storage_gbs,
                           "GB/s that all of them together write and read: adds the time of a checkpoint, and of a "
                           "start from one")
              ->check(rate)};
}

void add_match(CLI::App* plan, PlanCommand& command) {
  CLI::Option* match =
      plan->add_option("--match", command.match,
                       "another run's or model's YAML: say what has to change for this one to cost as much")
          ->check(some_text());
  plan->add_option("--equal", command.equal, "of --match: what is made equal")
      ->capture_default_str()
      ->check(one_of({"parameters", "flops", "attention_flops", "cache_bytes"}))
      ->needs(match);
  plan->add_option("--adjust", command.adjust, "of --match: a key that may change (repeatable)")
      ->capture_default_str()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false)
      ->needs(match);
  plan->add_option("--tolerance", command.tolerance, "of --match: how far off it may be")
      ->capture_default_str()
      ->check(number_value(0, LeastValue::Included, 1))
      ->needs(match);
}

void add_plan(CLI::App& app, Choices& c) {
  CLI::App* plan =
      app.add_subcommand("plan", "parameters, FLOPs, memory, time and cost of a run before anything is spent");
  add_path(plan, "config", c.plan.config, "a run's or a model's YAML")->required();
  plan->add_option("--sequence-length", c.plan.sequence_length, "instead of the configuration's")
      ->check(integer_value(1, kLongestSequence));
  plan->add_option("--device", c.plan.device, "cpu, cuda or auto: whose memory is counted; cuda needs no GPU here")
      ->capture_default_str()
      ->check(some_text());
  plan->add_option("--gpu", c.plan.gpu,
                   "what fits into this GPU, which need not be here: a name of configs/gpus.yaml, or "
                   "NAME:GIB:TFLOPS:GBPS")
      ->check(some_text());
  plan->add_option("--mfu", c.plan.mfu,
                   "the run's model FLOPs against the data sheet's products (--gpu), or those measured here, from 0 "
                   "to 1; without it an assumption")
      ->check(number_value(0, LeastValue::Excluded, 1));
  plan->add_flag("--measure", c.plan.measure, "time some steps on this machine, as bench step does, for the hours");
  plan->add_option("--price", c.plan.price, "of an hour of the device, in any currency: adds the run's cost")
      ->check(number_value(0, LeastValue::Excluded, 1e6));
  const std::vector<CLI::Option*> of_several = add_scaling(plan, c.plan);
  add_match(plan, c.plan);
  plan->add_flag("--json", c.json, "for programs");
  add_overrides(plan, c.plan.overrides);
  plan->footer("example: gta plan configs/runs/gta-1b.yaml --gpu h100-80gb --set train.dtype=bfloat16 --price 2.5");
  plan->final_callback([&c, of_several] {
    for (const CLI::Option* option : of_several)
      if (c.plan.gpus == 0 && option->count() > 0)
        bad_input(option->get_name(), "is of a training by several: give --gpus N as well");
    c.plan.output = c.json ? Output::Json : Output::Text;
    c.run = [&c] { return run_plan(c.plan); };
  });
}

void add_compare(CLI::App& app, Choices& c) {
  CLI::App* compare = app.add_subcommand(
      "compare", "runs side by side (docs/comparing.md): where variants ended, and whether that shows a difference");
  compare->add_option("runs", c.compare.runs, "runs' folders")->required()->check(some_text());
  add_path(compare, "--out", c.compare.out, "a new folder for report.json, table.csv and table.tex");
  compare->add_flag("--replace", c.compare.replace, "an earlier report of the name of --out");
  compare->add_option("--name", c.compare.name, "of the comparison")->capture_default_str()->check(some_text());
  compare->add_option("--baseline", c.compare.baseline, "a variant's name, or a run's folder; default: the first run's")
      ->check(some_text());
  compare->add_option("--equal", c.compare.equal, "what has to be the same in all variants")
      ->capture_default_str()
      ->check(one_of(budget_names()));
  compare->add_option("--tolerance", c.compare.tolerance, "by which part of it they may differ")
      ->capture_default_str()
      ->check(number_value(0, LeastValue::Included, 1));
  compare
      ->add_option("--varied", c.compare.varied,
                   "a key that is meant to differ, or a section with its dot (repeatable); default: model., or where "
                   "models are the same whatever differs")
      ->type_name("KEY")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false)
      ->check(some_text());
  compare
      ->add_option("--practical-difference", c.compare.practical_difference,
                   "nats per token below which a difference does not matter")
      ->capture_default_str()
      ->check(number_value(0, LeastValue::Included, 100));
  compare->add_flag("--json", c.json, "report.json on stdout");
  compare->footer("example: gta compare runs/gqa-1 runs/gqa-2 runs/gta-1 runs/gta-2 --equal parameters --out report");
  compare->final_callback([&c] {
    if (c.compare.replace && c.compare.out.empty()) bad_input("--replace", "is of --out: give it as well");
    c.compare.output = c.json ? Output::Json : Output::Text;
    c.run = [&c] { return run_compare(c.compare); };
  });
}

void add_bench_decode(CLI::App* bench, Choices& c) {
  DecodeBenchCommand& command = c.bench_decode;
  CLI::App* decode =
      bench->add_subcommand("decode", "prefill and decoding of models side by side, and what they cache");
  decode->add_option("configs", command.configs, "runs' or models' YAML")->required()->check(some_text());
  decode->add_option("--contexts", command.contexts, "tokens cached, separated by commas")
      ->delimiter(',')
      ->capture_default_str()
      ->check(integer_value(1, kLongestSequence));
  decode->add_option("--sequences", command.sequences, "decoded at once, separated by commas")
      ->delimiter(',')
      ->capture_default_str()
      ->check(integer_value(1, kLargestBatch));
  decode->add_option("--tokens", command.tokens, "timed, of each sequence")
      ->capture_default_str()
      ->check(integer_value(1, kMany));
  decode->add_option("--longest-prefill", command.longest_prefill, "prompts up to so many tokens are read too; 0: none")
      ->capture_default_str()
      ->check(integer_value(0, kLongestSequence));
  decode->add_option("--prefill-chunk", command.prefill_chunk, "tokens of a prompt that are read at once")
      ->capture_default_str()
      ->check(integer_value(1, kLongestSequence));
  decode->add_option("--dtype", command.dtype, "of compute, and of weights and cache where nothing else is said")
      ->capture_default_str()
      ->check(one_of({"float32", "bfloat16"}));
  add_weights(decode, command.weights);
  add_cache(decode, command.cache);
  add_path(decode, "--svg", command.svg, "a picture of it");
  decode->add_flag("--json", c.json, "for programs");
  add_overrides(decode, command.overrides);
  add_device(decode, command.device);
  decode->footer(
      "example: gta bench decode configs/models/gqa-160m.yaml configs/models/gta1-160m.yaml --contexts 512,4096,32768");
  decode->final_callback([&c] {
    c.bench_decode.output = c.json ? Output::Json : Output::Text;
    c.run = [&c] { return run_bench_decode(c.bench_decode); };
  });
}

void add_bench(CLI::App& app, Choices& c) {
  CLI::App* bench = app.add_subcommand("bench", "kernels and whole steps against this machine's measured limit");
  bench->require_subcommand(1);
  const auto add = [&c, bench](const char* name, const char* help, int (*action)(const BenchCommand&)) {
    CLI::App* sub = bench->add_subcommand(name, help);
    add_path(sub, "config", c.bench.config, "a run's or a model's YAML")->required();
    sub->add_option("--micro-batch", c.bench.micro_batch, "sequences computed at once; default: the run's, or 2")
        ->check(integer_value(1, kLargestBatch));
    sub->add_option("--sequence", c.bench.sequence, "tokens of each; default: the run's, or 512")
        ->check(integer_value(1, kLongestSequence));
    sub->add_option("--dtype", c.bench.dtype, "default: the run's, or float32")
        ->check(one_of(find_config_key("train.dtype")->choices));
    sub->add_flag("--json", c.json, "for programs");
    add_overrides(sub, c.bench.overrides);
    add_device(sub, c.bench.device);
    sub->final_callback([&c, action] {
      c.bench.output = c.json ? Output::Json : Output::Text;
      c.trains = true;
      c.run = [&c, action] { return action(c.bench); };
    });
    return sub;
  };
  CLI::App* ops = add("ops", "every op and every product of a training step, alone", run_bench_ops);
  ops->add_option("--repeats", c.bench.repeats, "of each row; the table shows the median")
      ->capture_default_str()
      ->check(integer_value(1, kMany));
  ops->add_option("--only", c.bench.only, "rows whose name contains this");
  ops->footer("example: gta bench ops configs/models/gta1-160m.yaml --only swiglu");
  CLI::App* step = add("step", "whole training steps on random tokens, and where their time goes", run_bench_step);
  step->add_option("--steps", c.bench.steps, "timed")->capture_default_str()->check(integer_value(1, kMany));
  step->add_option("--warmup-steps", c.bench.warmup_steps, "before them, not timed")
      ->capture_default_str()
      ->check(integer_value(0, kMany));
  step->add_option("--recompute", c.bench.recompute, "none, elementwise or block; default: the run's, or none")
      ->check(one_of(find_config_key("train.recompute")->choices));
  step->add_option("--data-sheet-tflops", c.bench.data_sheet_tflops, "the device's for this dtype: adds MFU")
      ->check(number_value(0, LeastValue::Excluded, 1e6));
  step->footer("example: gta bench step configs/models/gta1-160m.yaml --micro-batch 2 --sequence 512 --steps 5 --json");
  add_bench_decode(bench, c);
}

void add_checks(CLI::App& app, Choices& c) {
  CLI::App* inspect = app.add_subcommand(
      "inspect", "names, shapes, dtypes, statistics of a checkpoint, shard, fixture or exported file");
  add_path(inspect, "file", c.inspect.file, "a run's folder, a checkpoint, an HDF5, safetensors or GGUF file")
      ->required();
  inspect->footer("example: gta inspect runs/kjv-gta");
  inspect->final_callback([&c] { c.run = [&c] { return run_inspect(c.inspect); }; });

  CLI::App* devices =
      app.add_subcommand("devices", "what --device may name on this machine: one line each, name and description");
  devices->add_flag("--ranks", c.devices.ranks,
                    "as one rank of several (mpirun -n 4 gta devices --ranks): tries every collective between them, "
                    "for right sums and speed");
  CLI::Option* const device = add_device(devices, c.devices.device);
  devices->footer("example: mpirun -n 2 gta devices --ranks");
  devices->final_callback([&c, device] {
    if (!c.devices.ranks && device->count() > 0)
      bad_input("--device", "says between which devices --ranks tries; without it all devices are listed");
    c.run = [&c] { return c.devices.ranks ? run_rank_devices(c.devices) : run_devices(); };
  });

  CLI::App* verify = app.add_subcommand("verify", "this build, on this machine, against an independent reference");
  verify->add_option("fixtures", c.verify.fixtures, "HDF5 fixtures, tests/fixtures")->required()->check(some_text());
  verify->add_option("--dtype", c.verify.dtypes, "float64 (always, on the CPU), float32, bfloat16")
      ->capture_default_str()
      ->check(one_of(find_config_key("train.dtype")->choices));
  add_device(verify, c.verify.device);
  verify->footer("example: gta verify tests/fixtures/gta-tiny.h5");
  verify->final_callback([&c] { c.run = [&c] { return run_verify(c.verify); }; });

  CLI::App* resume =
      app.add_subcommand("verify-resume", "proves that an interrupted run equals an uninterrupted one, bit for bit");
  add_path(resume, "config", c.verify_resume.config, "YAML, docs/configuration.md")->required();
  add_path(resume, "--run-dir", c.verify_resume.run_dir,
           "instead of runs/NAME.verify-resume; new, empty, or an earlier one of this command, whose runs go");
  resume->add_option("--kills", c.verify_resume.kills, "how often to kill (SIGKILL)")
      ->capture_default_str()
      ->check(integer_value(0, kMany));
  resume
      ->add_option("--stops", c.verify_resume.stops,
                   "how often to stop by SIGTERM, SIGINT, SIGUSR1 and SIGHUP in turn, each of which has to end with a "
                   "save and 75")
      ->capture_default_str()
      ->check(integer_value(0, kMany));
  resume
      ->add_option("--ranks", c.verify_resume.ranks,
                   "so many of mpirun's (Open MPI); a kill or a signal then comes to one of them")
      ->capture_default_str()
      ->check(integer_value(1, 9999));
  resume->add_option("--seed", c.verify_resume.seed, "of the moments; 0: the clock")
      ->check(integer_value(0, kLargestSeed));
  add_overrides(resume, c.verify_resume.overrides);
  add_device(resume, c.verify_resume.device);
  resume->footer(
      "example: gta verify-resume configs/runs/quickstart.yaml --set train.steps=60 --set "
      "train.checkpoint.every_steps=5");
  resume->final_callback([&c] { c.run = [&c] { return run_verify_resume(c.verify_resume); }; });

  CLI::App* docs = app.add_subcommand("docs", "pages that are made from the program");
  docs->require_subcommand(1);
  const auto add_page = [&](const char* name, const char* file, std::string (*page)()) {
    docs->add_subcommand(name, file)->final_callback([&c, page] {
      c.run = [page] {
        fmt::print("{}", page());
        return 0;
      };
    });
  };
  add_page("configuration", "docs/configuration.md", configuration_markdown);
  add_page("metrics", "docs/metrics.md", metrics_markdown);
  add_page("commands", "docs/commands.md", commands_markdown);
}

// Which keys take memory in a training, in the order in which lowering them costs least; and what else helps.
constexpr const char* kTrainingMemoryAdvice =
    "lower train.micro_batch_size first (same result of training up to rounding), then data.sequence_length or "
    "model.*; "
    "train.checkpoint.asynchronous: false saves a copy of weights and optimizer; 'gta plan' shows what each takes";
constexpr const char* kMemoryAdvice =
    "free some memory, raise the limit on it (ulimit -v, a container's or a batch job's), or give fewer --threads";

}  // namespace

int exit_code(ErrorKind kind) {
  if (kind == ErrorKind::BadInput) return 2;
  return kind == ErrorKind::CheckFailed ? kExitCheckFailed : 1;
}

int report(const Error& error) {
  // Several problems come as several lines, each with its own place.
  std::string text = error.what();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    log::write(log::Level::Error, text.substr(begin, end - begin));
    begin = end + 1;
  }
  if (error.kind() == ErrorKind::Internal)
    log::write(log::Level::Error,
               "this is a mistake in gta itself, not in what it was given: please report it with the command and the "
               "lines above");
  return exit_code(error.kind());
}

namespace {

// The command that was chosen, its errors as messages and exit codes. advice: what is said when memory is out.
int run_command(const std::function<int()>& command, const char* advice = kMemoryAdvice) {
  const auto report_with_advice = [&](const Error& error) {
    const int code = report(error);
    if (error.kind() == ErrorKind::OutOfMemory) log::write(log::Level::Error, advice);
    return code;
  };
  try {
    return command();
  } catch (const Error& error) {
    return report_with_advice(error);
  } catch (const std::bad_alloc&) {
    return report_with_advice(Error(ErrorKind::OutOfMemory, "memory", "the system has no memory left"));
  } catch (const std::system_error& error) {
    if (std::ferror(stdout)) return 1;  // flush_stdout() will say so
    if (error.code() == std::errc::resource_unavailable_try_again)
      return run_command([&]() -> int { fail_to_start_thread("a library wanted", error.code()); });
    return report(Error(ErrorKind::Failed, "", error.what()));
  } catch (const std::exception& error) {
    return report(Error(ErrorKind::Internal, "", error.what()));
  }
}

void add_commands(CLI::App& app, Choices& choices) {
  app.set_version_flag("--version", version_text());
  app.add_option("--log-level", choices.log_level, "of the messages on stderr")
      ->check(one_of({"debug", "info", "warning", "error"}));
  app.add_option("--threads", choices.threads, "of the CPU backend; results do not depend on it")
      ->check(integer_value(1, 1024));
  app.fallthrough();
  for (const auto add : {add_train, add_eval, add_generate, add_export, add_import, add_data, add_plan, add_ablate,
                         add_compare, add_bench, add_checks})
    add(app, choices);
}

constexpr const char* kProgram =
    "gta: pretrain language models with grouped-head latent attention, and compare it with others";

int parse_and_run(int argc, char** argv) {
  CLI::App app(kProgram, "gta");
  Choices choices;
  add_commands(app, choices);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    std::ostringstream out;
    const int code = app.exit(done, out, out);
    fmt::print("{}", out.str());
    return code;
  } catch (const CLI::ParseError& error) {
    return report_after_lead(Error(ErrorKind::BadInput, "", usage_problem(app, error)));
  }
  if (!choices.run) {
    fmt::print("{}", app.help());
    return 0;
  }
  const std::string& level = choices.log_level;
  log::set_level(level == "debug"     ? log::Level::Debug
                 : level == "warning" ? log::Level::Warning
                 : level == "error"   ? log::Level::Error
                                      : log::Level::Info);
  // before anyone takes signals: none that comes early ends the program
  if (choices.saves_when_signalled)
    install_signal_handlers();
  else
    install_removal_of_unfinished();
  take_signals_aside();
  run_on_available_processors();
  if (choices.threads > 0) set_threads(choices.threads);
  return run_command(choices.run, choices.trains ? kTrainingMemoryAdvice : kMemoryAdvice);
}

// What a thread of a library throws reaches no one who could catch it (sentencepiece trains on such), nor what leaves a
// function that says it throws nothing. Where it is memory, that is no mistake of the program. Makes no text: there is
// no memory for it.
std::terminate_handler end_for_others = nullptr;

[[noreturn]] void end_for_uncaught() {
  try {
    if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    for (const char* text : {"gta: error: [memory] the system has no memory left\ngta: error: ", kMemoryAdvice, "\n"})
      (void)!::write(STDERR_FILENO, text, std::strlen(text));
    _exit(1);
  } catch (...) {
  }
  end_for_others();  // says what it was
  std::abort();
}

}  // namespace

int report_thrown() {
  return run_command([]() -> int { throw; }, kTrainingMemoryAdvice);
}

std::string commands_markdown() {
  CLI::App app(kProgram, "gta");
  Choices choices;
  add_commands(app, choices);
  return commands_markdown(app);
}

int run_command_line(int argc, char** argv) {
  end_for_others = std::set_terminate(end_for_uncaught);
  raise_descriptor_limit();
  keep_standard_streams();
  const int code = run_command([&] { return parse_and_run(argc, argv); });
  const int written = run_command([] {
    flush_stdout();
    return 0;
  });
  return code != 0 ? code : written;
}

}  // namespace gta
