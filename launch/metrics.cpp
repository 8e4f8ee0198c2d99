#include "launch/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "core/io/file.h"
#include "layers/attention/probe/probe.h"

namespace gta {
namespace {

using Json = nlohmann::json;

template <class Row>
constexpr const char* kKind = nullptr;
template <>
constexpr const char* kKind<StepRow> = "step";
template <>
constexpr const char* kKind<ValidationRow> = "validation";
template <>
constexpr const char* kKind<DiagnosisRow> = "diagnosis";
template <>
constexpr const char* kKind<BreakdownRow> = "breakdown";

template <class Row>
constexpr const char* kWhen = nullptr;
template <>
constexpr const char* kWhen<StepRow> = "after every step";
template <>
constexpr const char* kWhen<ValidationRow> =
    "every `train.evaluate_every_steps` and at the end, where there is `data.validation`";
template <>
constexpr const char* kWhen<DiagnosisRow> = "every `train.diagnose_every_steps`";
template <>
constexpr const char* kWhen<BreakdownRow> = "with every validation, in the line before it";

// A row whose numbers have names of their own.
template <class Row>
concept HasNamedValues = requires(Row row) {
  row.values;
};

// f(name in the file, field, what it is). Row may be const.
template <class Row, class F>
void each_field(Row& row, F&& f) {
  using Kind = std::remove_const_t<Row>;
  if constexpr (std::is_same_v<Kind, StepRow>) {
    f("tokens", row.tokens, "seen with this step");
    f("loss", row.loss, "mean cross-entropy of the step's labels, nats; before the update");
    f("learning_rate", row.learning_rate, "of the update");
    f("grad_norm", row.gradient_norm, "L2 norm of all gradients, before clipping");
    f("step_seconds", row.step_seconds, "from one step's end to the next");
    f("tokens_per_second", row.tokens_per_second, "of the whole run");
    f("model_flops_per_second", row.flops_per_second,
      "of the mathematics (`gta plan`): what is computed twice counts once");
    f("sol", row.sol, "that as a share of what products reach here, measured at the start");
    f("memory_bytes", row.memory_bytes, "the most that the allocator has held");
    f("data_wait_seconds", row.data_wait_seconds, "waited for data");
    f("communication_seconds", row.communication_seconds,
      "that rank 0, or its GPU, waited for the gradients and weights of others, and computed nothing");
    f("communication_busy_seconds", row.communication_busy_seconds,
      "that rank 0 was at sending and receiving them, or waited for others to come, beside what it computed; of NCCL's "
      "nothing is known");
    f("communication_bytes", row.communication_bytes, "of them that rank 0 sent, and received as many");
    f("slowest_rank", row.slowest_rank, "the one that computed longest");
  } else if constexpr (std::is_same_v<Kind, ValidationRow>) {
    f("tokens", row.tokens, "seen with this step");
    f("validation_loss", row.loss, "nats per scored token");
    f("validation_perplexity", row.perplexity, "its exponential");
    f("validation_bits_per_byte", row.bits_per_byte,
      "all bits over all bytes of the scored text: comparable between tokenizers");
  } else {
    for (auto& [name, value] : row.values) f(name.c_str(), value, "");
  }
}

Json json_of(const MetricsRow& row) {
  return std::visit(
      [](const auto& r) {
        Json json = {{"kind", kKind<std::remove_cvref_t<decltype(r)>>}, {"step", r.step}};
        if (std::isfinite(r.time)) json["time"] = r.time;
        each_field(r, [&](const char* name, const auto& value, const char*) { json[name] = value; });
        return json;
      },
      row);
}

// A line as this program writes it, one object of numbers, null and plain words, needs no tree: a run has one for each
// step. What is anything else is left to the JSON library, which sees the same in all that is taken here.
class PlainLine {
 public:
  static std::optional<PlainLine> of(std::string_view line) {
    PlainLine plain;
    return plain.read(line) ? std::optional(plain) : std::nullopt;
  }

  // nullptr where there is none; of several the last.
  const std::string_view* find(std::string_view name) const {
    for (size_t i = count_; i-- > 0;)
      if (names_[i] == name) return &values_[i];
    return nullptr;
  }
  bool is_word(const std::string_view* value) const {
    return value && words_[static_cast<size_t>(value - values_.data())];
  }

 private:
  bool read(std::string_view line) {
    size_t at = 0;
    const auto next = [&] {
      while (at < line.size() && (line[at] == ' ' || line[at] == '\t' || line[at] == '\r')) ++at;
      return at < line.size() ? line[at] : '\0';
    };
    if (next() != '{') return false;
    do {
      ++at;
      if (count_ == names_.size() || next() != '"' || !word(line, at, names_[count_]) || next() != ':') return false;
      ++at;
      const char first = next();
      if (first == '"' ? !word(line, at, values_[count_]) : !number_or_null(line, at, values_[count_])) return false;
      words_[count_++] = first == '"';
    } while (next() == ',');
    if (next() != '}') return false;
    ++at;
    return next() == '\0' && at == line.size();
  }

  static bool word(std::string_view line, size_t& at, std::string_view& text) {
    const size_t begin = ++at;
    while (at < line.size() && line[at] != '"' && line[at] != '\\' && line[at] >= ' ' && line[at] <= '~') ++at;
    if (at >= line.size() || line[at] != '"') return false;
    text = line.substr(begin, at++ - begin);
    return true;
  }

  // As JSON writes numbers: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
  static bool number_or_null(std::string_view line, size_t& at, std::string_view& text) {
    const size_t begin = at;
    if (line.substr(at, 4) == "null") {
      text = line.substr(at, 4);
      at += 4;
      return true;
    }
    const auto digits = [&] {
      const size_t first = at;
      while (at < line.size() && line[at] >= '0' && line[at] <= '9') ++at;
      return at - first;
    };
    const auto is = [&](char a, char b) { return at < line.size() && (line[at] == a || line[at] == b); };
    if (is('-', '-')) ++at;
    const bool zero = is('0', '0');
    const size_t whole = digits();
    if (whole == 0 || (zero && whole > 1)) return false;
    if (is('.', '.') && (++at, digits() == 0)) return false;
    if (is('e', 'E')) {
      ++at;
      if (is('+', '-')) ++at;
      if (digits() == 0) return false;
    }
    text = line.substr(begin, at - begin);
    if (text == "-0") return false;  // an integer, which has no sign there
    double value = 0;
    return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
  }

  static constexpr size_t kMost = 32;
  std::array<std::string_view, kMost> names_, values_;
  std::array<bool, kMost> words_{};
  size_t count_ = 0;
};

void take_number(const PlainLine& line, const std::string_view* text, double& value) {
  if (text && !line.is_word(text) && *text != "null") std::from_chars(text->data(), text->data() + text->size(), value);
}
// Whether it is an integer that an int64_t holds; one that none holds is a fraction to JSON.
bool take_integer(const PlainLine& line, const std::string_view* text, int64_t& value) {
  if (!text || line.is_word(text)) return false;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() && end == text->data() + text->size();
}
void take_number(const PlainLine& line, const std::string_view* text, int64_t& value) {
  int64_t number = 0;
  if (take_integer(line, text, number)) value = number;
}

template <class Row>
MetricsRow row_of(const PlainLine& line, int64_t step) {
  Row row;
  row.step = step;
  take_number(line, line.find("time"), row.time);
  each_field(row, [&](const char* name, auto& value, const char*) { take_number(line, line.find(name), value); });
  return row;
}

// Of a step or a validation; nothing where the line has to be read by the JSON library.
std::optional<MetricsRow> plain_row(std::string_view text) {
  const std::optional<PlainLine> line = PlainLine::of(text);
  if (!line) return std::nullopt;
  const std::string_view* const kind = line->find("kind");
  int64_t step = 0;
  if (!line->is_word(kind) || !take_integer(*line, line->find("step"), step)) return std::nullopt;
  if (*kind == kKind<StepRow>) return row_of<StepRow>(*line, step);
  if (*kind == kKind<ValidationRow>) return row_of<ValidationRow>(*line, step);
  return std::nullopt;
}

void take_number(const Json& json, double& value) {
  if (json.is_number()) value = json.get<double>();
}
// One that an int64_t holds.
bool is_integer(const Json& json) {
  return json.is_number_integer() &&
         (!json.is_number_unsigned() || json.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
}
void take_number(const Json& json, int64_t& value) {
  if (is_integer(json)) value = json.get<int64_t>();
}

template <class Row>
MetricsRow row_of(const Json& json) {
  Row row;
  row.step = json["step"].get<int64_t>();
  if (json.contains("time")) take_number(json["time"], row.time);
  if constexpr (HasNamedValues<Row>) {
    for (const auto& [name, value] : json.items())
      if (name != "kind" && name != "step" && name != "time")
        row.values[name] = value.is_number() ? value.template get<double>() : kUnknown;
  } else {
    each_field(row, [&](const char* name, auto& value, const char*) {
      if (json.contains(name)) take_number(json[name], value);
    });
  }
  return row;
}

std::string kind_in(const Json& json) {
  if (json.contains("kind")) return json["kind"].is_string() ? json["kind"].get<std::string>() : "";
  return json.contains("validation_loss") ? kKind<ValidationRow>
         : json.contains("loss")          ? kKind<StepRow>
                                          : kKind<DiagnosisRow>;
}

template <class Row>
std::string table_of() {
  std::string text = fmt::format("\n## {}\n\nWritten {}.\n\n| name | |\n|---|---|\n", kKind<Row>, kWhen<Row>);
  const Row row{};
  each_field(row, [&](const char* name, const auto&, const char* help) {
    text += fmt::format("| `{}` | {} |\n", name, help);
  });
  return text;
}

std::string breakdown_markdown() {
  return fmt::format(
      "\n## {}\n\nWritten {}.\n\n| name | |\n|---|---|\n"
      "| `loss/position/1`, `.../2`, `.../3-4`, `.../5-8`, ... | nats per token, of the validation's tokens that were "
      "predicted from so many tokens: those before them in their window, with `data.document_mask` those of their "
      "document in it |\n"
      "| `loss/document/1-32`, `.../33-64`, `.../65-128`, ... | the same by how many tokens their document has in its "
      "shard, whatever a window shows of it |\n"
      "\n"
      "Each is a mean over the tokens of a bucket; buckets without any are not there. Weighted by their tokens, which "
      "`gta eval RUN --by-position --json`\nsays, those of either kind give the validation loss.\n",
      kKind<BreakdownRow>, kWhen<BreakdownRow>);
}

}  // namespace

void set_time(MetricsRow& row) {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
  std::visit([&](auto& r) { r.time = static_cast<double>(milliseconds) / 1000; }, row);
}

int64_t step_of(const MetricsRow& row) {
  return std::visit([](const auto& r) { return r.step; }, row);
}

const char* kind_of(const MetricsRow& row) {
  return std::visit([](const auto& r) { return kKind<std::remove_cvref_t<decltype(r)>>; }, row);
}

void each_number(const MetricsRow& row, const std::function<void(const std::string&, double)>& take) {
  std::visit(
      [&](const auto& r) {
        each_field(r,
                   [&](const char* name, const auto& value, const char*) { take(name, static_cast<double>(value)); });
      },
      row);
}

std::string to_line(const MetricsRow& row) { return json_of(row).dump() + "\n"; }

std::optional<MetricsRow> parse_row(std::string_view line) {
  if (std::optional<MetricsRow> row = plain_row(line)) return row;
  if (line.find('\0') != std::string_view::npos) return std::nullopt;  // where the library would end
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !is_integer(json["step"])) return std::nullopt;
  const std::string kind = kind_in(json);
  if (kind == kKind<StepRow>) return row_of<StepRow>(json);
  if (kind == kKind<ValidationRow>) return row_of<ValidationRow>(json);
  if (kind == kKind<DiagnosisRow>) return row_of<DiagnosisRow>(json);
  if (kind == kKind<BreakdownRow>) return row_of<BreakdownRow>(json);
  return std::nullopt;
}

RowCount each_row(const std::string& path, const std::function<void(const MetricsRow&)>& take) {
  constexpr int64_t kBlock = 1 << 20;
  constexpr size_t kLongestLine = 1 << 20;
  RowCount count;
  if (!exists(path)) return count;
  const File file(path, File::Mode::Read);
  const int64_t size = file.size();
  std::string text;           // what is not taken yet
  bool in_long_line = false;  // whose beginning is gone
  for (int64_t offset = 0; offset < size;) {
    const int64_t bytes = std::min(kBlock, size - offset);
    const size_t before = text.size();
    text.resize(before + static_cast<size_t>(bytes));
    file.read_at(text.data() + before, bytes, offset);
    offset += bytes;
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::optional<MetricsRow> row = in_long_line || end - begin > kLongestLine
                                                ? std::nullopt
                                                : parse_row(std::string_view(text).substr(begin, end - begin));
      in_long_line = false;
      ++(row ? count.rows : count.others);
      if (row) take(*row);
    }
    text.erase(0, begin);
    if (text.size() > kLongestLine) {
      in_long_line = true;
      text.clear();
    }
  }
  count.cut = in_long_line || !text.empty();
  return count;
}

std::vector<MetricsRow> read_metrics(const std::string& path) {
  std::vector<MetricsRow> rows;
  each_row(path, [&](const MetricsRow& row) { rows.push_back(row); });
  return rows;
}

std::string metrics_markdown() {
  return "# Metrics\n\nGenerated from launch/metrics.cpp by `gta docs metrics`; a test fails when it is stale.\n\n"
         "RUN/metrics.jsonl has one JSON object a line. Every row has `kind`, `step` (the number of updates that "
         "were asked for, from 1) and `time`\n(when it was written, seconds since 1970). A number that is not finite "
         "is `null`. Rows come in the order of their steps; a run "
         "that "
         "is resumed removes those after its checkpoint's\nstep first. TensorBoard has the same numbers "
         "(RUN/tensorboard) "
         "under `train/`, `validation/` and `memory/`.\n" +
         table_of<StepRow>() + table_of<ValidationRow>() +
         fmt::format(
             "\n## {}\n\nWritten {}.\n\n| name | |\n|---|---|\n"
             "| `gradient_norm/PART`, `weight_norm/PART` | L2 norm over a part's parameters, before the update; PART "
             "is "
             "`embed_tokens`, `layers.N`, `norm` or `lm_head` |\n"
             "| `update_norm/PART` | L2 norm of what the update added to them; 0 where the step was skipped |\n"
             "| `stream_rms/layers.N` | root mean square of the residual stream after the block |\n"
             "| `largest_score/layers.N` | the largest scaled attention score |\n"
             "| `map_entropy/layers.N` | entropy of the attention maps, nats: mean over maps and queries, of which "
             "query t sees t + 1 keys |\n"
             "| `map_similarity/layers.N` | mean cosine between the rows of two maps for the same query, over all "
             "pairs "
             "of maps and all queries; not there where a layer has one map |\n"
             "| `key_rank/layers.N`, `value_rank/layers.N` | effective rank of the keys after RoPE and of the values, "
             "heads side by side: exp(entropy of the singular values, which add up to 1) |\n"
             "| `latent_rank/layers.N` | the same of GTA's latents, and of MLA's behind their norm |\n"
             "\n"
             "The rest but norms is of a forward pass of rank 0's last micro-batch, before the update, in the model's "
             "dtype: stream and largest score of all of\nit, maps and ranks, in float64, of the queries, keys and "
             "values "
             "of at most {} of its tokens: the first {} of each of the last sequences. Documents\nare apart where "
             "`data.document_mask` is on. Every query counts, also the first, whose entropy is 0. GTA, GVA and GHA "
             "have "
             "a map for each of\n`query_heads`, the others for each of `heads`. GTA's values are what its heads read "
             "before the gate: copies of the latent and what P makes of it. A rank\nis at most the number of tokens.\n",
             kKind<DiagnosisRow>, kWhen<DiagnosisRow>, kProbedTokens, kProbedRows) +
         breakdown_markdown();
}

}  // namespace gta
