#include "launch/generation/batch.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <vector>

#include "core/error.h"
#include "launch/sampling.h"

namespace gta {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

class Batch {
 public:
  Batch(const CausalLm& model, const Tokenizer& tokenizer, std::span<const GenerationRequest> requests,
        const BatchOptions& options, const std::function<void(size_t, const Continuation&)>& done)
      : model_(model),
        tokenizer_(tokenizer),
        requests_(requests),
        options_(options),
        done_(done),
        cache_(make_cache()),
        slots_(static_cast<size_t>(cache_.sequences())) {
    report_.prompts = static_cast<int64_t>(requests.size());
    report_.cache_bytes = cache_.bytes();
  }

  BatchReport run() {
    while (next_ < requests_.size() || under_way() > 0) {
      join();
      report_.most_at_once = std::max(report_.most_at_once, under_way());
      prefill();
      decode();
    }
    return report_;
  }

 private:
  struct Slot {
    size_t request;
    Continuation answer;
    // In the cache are as many of the answer's tokens as the slot's length there says; a prompt is in it as a whole
    // once something was picked.
    bool prompt_is_in() const { return static_cast<int64_t>(answer.tokens().size()) > answer.prompted(); }
  };

  // With room in every slot for the request that needs most.
  DecodingCache make_cache() const {
    const int64_t longest = model_.config().max_sequence_length,
                  slots = std::min(options_.batch_size, static_cast<int64_t>(requests_.size()));
    ensure(slots > 0 && options_.cache.prefill_chunk > 0, "generate", "nothing to do for {} slots", slots);
    int64_t capacity = 0;
    for (const GenerationRequest& request : requests_) {
      const auto prompted = static_cast<int64_t>(request.tokens.size());
      capacity = std::max(capacity, prompted + std::min(longest - prompted, request.options.max_tokens));
    }
    require(capacity <= std::numeric_limits<int32_t>::max() / slots, "generate",
            "{} answers of {} tokens are more than a cache can hold at once: lower --batch-size or --max-tokens", slots,
            capacity);
    try {
      return model_.make_cache(slots, capacity, options_.cache.dtype);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::OutOfMemory) throw;
      throw Error(ErrorKind::OutOfMemory, "generate",
                  fmt::format("no room for a cache of {} answers of {} tokens; lower --batch-size or --max-tokens: {}",
                              slots, capacity, error.what()));
    }
  }

  int64_t under_way() const {
    return std::count_if(slots_.begin(), slots_.end(), [](const auto& slot) { return slot.has_value(); });
  }

  void join() {
    for (size_t i = 0; i < slots_.size() && next_ < requests_.size(); ++i) {
      if (slots_[i]) continue;
      const GenerationRequest& request = requests_[next_];
      cache_.clear(static_cast<int64_t>(i));
      slots_[i].emplace(
          Slot{next_++, {tokenizer_, request.tokens, request.options, model_.config().max_sequence_length}});
    }
  }

  // The prompts that joined first come first.
  void prefill() {
    const Clock::time_point begin = Clock::now();
    for (int64_t left = options_.cache.prefill_chunk; left > 0;) {
      std::optional<size_t> oldest;
      for (size_t i = 0; i < slots_.size(); ++i)
        if (slots_[i] && !slots_[i]->prompt_is_in() && (!oldest || slots_[i]->request < slots_[*oldest]->request))
          oldest = i;
      if (!oldest) break;
      const auto slot = static_cast<int64_t>(*oldest);
      Continuation& answer = slots_[*oldest]->answer;
      const int64_t at = cache_.length(slot), count = std::min(options_.cache.prefill_chunk, answer.prompted() - at);
      const std::vector<float> logits =
          append_tokens(model_, std::span(answer.tokens()).subspan(static_cast<size_t>(at), static_cast<size_t>(count)),
                        slot, cache_, count);
      report_.prompt_tokens += count;
      left -= count;
      if (at + count == answer.prompted()) pick(*oldest, logits);
    }
    report_.prompt_seconds += seconds_since(begin);
  }

  void decode() {
    const Clock::time_point begin = Clock::now();
    std::vector<int64_t> sequences;
    std::vector<int32_t> last;
    for (size_t i = 0; i < slots_.size(); ++i)
      if (slots_[i] && slots_[i]->prompt_is_in()) {
        sequences.push_back(static_cast<int64_t>(i));
        last.push_back(slots_[i]->answer.tokens().back());
      }
    if (sequences.empty()) return;
    std::vector<double> logits;
    {
      const Tensor on_device =
          model_.decode(Tensor::from<int32_t>({static_cast<int64_t>(last.size()), 1}, last), sequences, cache_);
      logits = to_doubles(on_device);  // one wait for all of them
    }
    const auto vocab = static_cast<std::ptrdiff_t>(model_.config().vocab_size);
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i) * vocab;
      pick(static_cast<size_t>(sequences[i]), {row, row + vocab});
    }
    report_.generation_seconds += seconds_since(begin);
  }

  void pick(size_t slot, std::vector<float> logits) {
    Continuation& answer = slots_[slot]->answer;
    answer.pick(std::move(logits));
    ++report_.generated_tokens;
    if (!answer.finished()) return;
    done_(slots_[slot]->request, answer);
    slots_[slot].reset();
  }

  const CausalLm& model_;
  const Tokenizer& tokenizer_;
  std::span<const GenerationRequest> requests_;
  BatchOptions options_;
  const std::function<void(size_t, const Continuation&)>& done_;
  DecodingCache cache_;
  std::vector<std::optional<Slot>> slots_;
  size_t next_ = 0;
  BatchReport report_;
};

}  // namespace

BatchReport generate_batch(const CausalLm& model, const Tokenizer& tokenizer,
                           std::span<const GenerationRequest> requests, const BatchOptions& options,
                           const std::function<void(size_t, const Continuation&)>& done) {
  return Batch(model, tokenizer, requests, options, done).run();
}

}  // namespace gta
