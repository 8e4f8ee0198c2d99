// Training batches, read ahead by a thread so that the step does not wait.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "data/data_config.h"
#include "data/document_mask.h"
#include "data/mixture.h"
#include "data/shards.h"
#include "data/token_stream.h"

namespace gta {

// What a run trains on. Window w of a stream is its tokens [w L, w L + L], L = sequence_length: inputs, and the labels
// one further. A stream is a shard, or with data.windows_across_shards all shards of a source one after the other.
struct TrainingData {
  std::vector<TokenShard> shards;    // source after source
  std::vector<TokenStream> streams;  // the same tokens; the sampler's "shards"
  Mixture sampler;
  int64_t sequence_length;
  DocumentMask document_mask = DocumentMask::Off;
  bool across_shards = false;
  // Of the shards' content in order, the sequence length, of a mixture which shards make a source and how often it
  // comes, and whether windows go across shards: a run may only go on with the same.
  uint64_t hash() const;
  // Labels of samples [first_sample, first_sample + samples), read from the documents' offsets alone: a loss is a mean
  // over the labels of its whole global batch, and every rank has to know their number before its first micro-batch.
  int64_t count_labels(int64_t first_sample, int64_t samples) const;
  // Tokens that no sample holds: of shards shorter than a sample (sequence_length + 1 tokens), and at the ends of
  // streams.
  struct Unsampled {
    int64_t tokens = 0, of = 0;                  // of all tokens
    int64_t short_shards = 0, short_tokens = 0;  // shards that give no sample at all, and their tokens
    double share() const { return static_cast<double>(tokens) / static_cast<double>(of); }
  };
  Unsampled unsampled() const;
};

// One line that says how much it is, why, and what uses it; empty when it is nothing.
std::string describe_unsampled(const TrainingData& data);

// Error(BadInput) when a shard is damaged or was made with another tokenizer.
TrainingData open_training_data(const DataConfig& config, const Tokenizer& tokenizer, uint64_t seed);

struct Batch {
  int64_t first_sample = 0;
  std::vector<int32_t> tokens, labels;   // (samples, sequence_length); label kNoLabel: none
  std::vector<int32_t> document_starts;  // the same (document_mask.h); empty without a mask
  int64_t label_count = 0;
};

class Loader {
 public:
  // stride: samples from the beginning of one batch to that of the next, of several ranks what all of them take at
  // once; 0: one batch follows the other. depth: batches that are read ahead.
  Loader(const TrainingData& data, int64_t samples_per_batch, int64_t first_sample, int64_t stride = 0,
         int64_t depth = 4);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch in order; an error of the reading thread is thrown here.
  Batch next();
  double seconds_waited() const { return seconds_waited_; }  // by the last next()

 private:
  void read_ahead();
  Batch read(int64_t first_sample) const;

  TrainingData data_;
  int64_t samples_per_batch_, next_sample_, stride_;
  size_t depth_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  std::exception_ptr error_;
  bool stop_ = false;
  double seconds_waited_ = 0;
  std::thread thread_;
};

}  // namespace gta
