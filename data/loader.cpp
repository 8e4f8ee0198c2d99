#include "data/loader.h"

#include <algorithm>
#include <chrono>

#include "core/clock.h"
#include "core/error.h"
#include "core/io/hash.h"
#include "core/thread.h"

namespace gta {

uint64_t TrainingData::hash() const {
  Hasher hasher;
  hasher.update(&sequence_length, sizeof sequence_length);
  for (const TokenShard& shard : shards) {
    const uint64_t content = shard.content_hash();
    hasher.update(&content, sizeof content);
  }
  // Nothing for one source: runs on a plain list go on from the checkpoints that they have.
  for (int64_t source = 0; sampler.sources() > 1 && source < sampler.sources(); ++source) {
    const int64_t values[] = {sampler.first_shard(source), sampler.parts(source)};
    hasher.update(values, sizeof values);
  }
  // Nothing for windows within shards, for the same reason.
  for (size_t stream = 0; across_shards && stream < streams.size(); ++stream) {
    const int64_t count = streams[stream].shards();
    hasher.update(&count, sizeof count);
  }
  return hasher.digest();
}

int64_t TrainingData::count_labels(int64_t first_sample, int64_t samples) const {
  if (document_mask == DocumentMask::Off) return samples * sequence_length;
  int64_t labels = 0;
  for (int64_t sample = first_sample; sample < first_sample + samples; ++sample) {
    const Mixture::Position at = sampler.at(sample);
    const int64_t first = at.window * sequence_length;
    labels +=
        gta::count_labels(streams[at.shard].document_starts(first, first + sequence_length), first, sequence_length);
  }
  return labels;
}

namespace {

int64_t windows_of(int64_t tokens, int64_t sequence_length) {
  return std::max<int64_t>(0, (tokens - 1) / sequence_length);
}

}  // namespace

TrainingData::Unsampled TrainingData::unsampled() const {
  Unsampled found;
  for (const TokenStream& stream : streams) {
    const int64_t windows = windows_of(stream.tokens(), sequence_length);
    found.of += stream.tokens();
    found.tokens += stream.tokens() - (windows > 0 ? windows * sequence_length + 1 : 0);
    if (windows > 0) continue;
    found.short_shards += stream.shards();
    found.short_tokens += stream.tokens();
  }
  return found;
}

std::string describe_unsampled(const TrainingData& data) {
  const TrainingData::Unsampled u = data.unsampled();
  if (u.tokens == 0) return "";
  std::string text = fmt::format("{} of {} tokens ({:.2f}%) are in no sample", u.tokens, u.of, 100 * u.share());
  if (u.short_shards > 0)
    text += fmt::format(
        ": {} of {} shards, with {} tokens, are shorter than a sample of {}; the rest are the ends of longer ones",
        u.short_shards, data.shards.size(), u.short_tokens, data.sequence_length + 1);
  else
    text += data.across_shards ? ": the ends of the sources" : ": the ends of the shards";
  if (!data.across_shards && data.shards.size() > static_cast<size_t>(data.sampler.sources()))
    text += "; data.windows_across_shards: true makes samples of them too";
  return text;
}

TrainingData open_training_data(const DataConfig& config, const Tokenizer& tokenizer, uint64_t seed) {
  require(config.sequence_length > 0, "data.sequence_length", "expected a positive length, got {}",
          config.sequence_length);
  const auto files = std::make_shared<OpenFiles>();
  std::vector<TokenShard> shards;
  std::vector<TokenStream> streams;
  std::vector<MixtureSource> sources;
  for (const DataSource& source : config.train) {
    const size_t first = shards.size(), first_stream = streams.size();
    for (const std::string& path : source.shards) {
      shards.emplace_back(path, files);
      shards.back().check_tokenizer(tokenizer);
      if (!config.windows_across_shards) streams.emplace_back(std::vector{shards.back()});
    }
    if (config.windows_across_shards)
      streams.emplace_back(std::vector(shards.begin() + static_cast<std::ptrdiff_t>(first), shards.end()));
    sources.push_back({{}, source.weight});
    for (size_t i = first_stream; i < streams.size(); ++i)
      sources.back().windows_per_shard.push_back(windows_of(streams[i].tokens(), config.sequence_length));
  }
  return {std::move(shards),
          std::move(streams),
          Mixture(sources, seed),
          config.sequence_length,
          config.document_mask ? DocumentMask::On : DocumentMask::Off,
          config.windows_across_shards};
}

Loader::Loader(const TrainingData& data, int64_t samples_per_batch, int64_t first_sample, int64_t stride, int64_t depth)
    : data_(data),
      samples_per_batch_(samples_per_batch),
      next_sample_(first_sample),
      stride_(stride > 0 ? stride : samples_per_batch),
      depth_(static_cast<size_t>(depth)) {
  ensure(samples_per_batch > 0 && stride_ >= samples_per_batch && first_sample >= 0 && depth > 0, "loader",
         "expected positive samples per batch and depth, a stride of a batch at least and a sample to begin with, got "
         "{}, {}, {} and {}",
         samples_per_batch, depth, stride_, first_sample);
  thread_ = start_thread("reads ahead", [this] { read_ahead(); });
}

Loader::~Loader() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Batch Loader::next() {
  const Clock::time_point start = Clock::now();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty() || error_; });
  seconds_waited_ = seconds_since(start);
  if (ready_.empty()) std::rethrow_exception(error_);
  Batch batch = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return batch;
}

void Loader::read_ahead() {
  try {
    for (int64_t sample = next_sample_;; sample += stride_) {
      Batch batch = read(sample);
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || ready_.size() < depth_; });
      if (stop_) return;
      ready_.push_back(std::move(batch));
      lock.unlock();
      changed_.notify_all();
    }
  } catch (...) {
    std::lock_guard lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

Batch Loader::read(int64_t first_sample) const {
  const int64_t length = data_.sequence_length;
  Batch batch;
  batch.first_sample = first_sample;
  batch.tokens.reserve(samples_per_batch_ * length);
  batch.labels.reserve(samples_per_batch_ * length);
  if (data_.document_mask == DocumentMask::On) batch.document_starts.resize(samples_per_batch_ * length);
  std::vector<int32_t> window(length + 1);
  for (int64_t i = 0; i < samples_per_batch_; ++i) {
    const Mixture::Position at = data_.sampler.at(first_sample + i);
    const TokenStream& stream = data_.streams[at.shard];
    const int64_t first = at.window * length;
    stream.read(first, length + 1, window.data());
    batch.tokens.insert(batch.tokens.end(), window.begin(), window.end() - 1);
    batch.labels.insert(batch.labels.end(), window.begin() + 1, window.end());
    batch.label_count += data_.document_mask == DocumentMask::Off
                             ? length
                             : mask_documents(stream.document_starts(first, first + length), first,
                                              std::span(batch.labels).subspan(i * length, length),
                                              std::span(batch.document_starts).subspan(i * length, length));
  }
  return batch;
}

}  // namespace gta
