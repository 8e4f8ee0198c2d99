#include "tests/host_cuda/options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>

namespace host_cuda {
namespace {

// Not fail(), which says the options too.
[[noreturn]] void refuse(const std::string& word) {
  std::fprintf(stderr,
               "host_cuda: error: GTA_HOST_CUDA: expected order=forward|reverse|random, seed=N, "
               "streams=eager|deferred, fill=ff|7f, "
               "guard=0|1 or shared=%zu to %zu, got '%s'\n",
               kSharedWithoutAsking, kMostShared, word.c_str());
  std::_Exit(99);
}

// Whether the text is a size of shared memory that a device can have.
bool bytes_of(const std::string& text, size_t& bytes) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  return error == std::errc() && end == text.data() + text.size() && bytes >= kSharedWithoutAsking &&
         bytes <= kMostShared;
}

Options parse() {
  Options parsed;
  const char* const given = std::getenv("GTA_HOST_CUDA");
  std::string text = given ? given : "";
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string word = text.substr(0, end), key = word.substr(0, word.find('='));
    const std::string value = word.size() > key.size() ? word.substr(key.size() + 1) : "";
    text.erase(0, end + 1);
    if (key == "order" && (value == "forward" || value == "reverse" || value == "random"))
      parsed.order = value == "forward" ? Order::Forward : value == "reverse" ? Order::Reverse : Order::Random;
    else if (key == "seed" && !value.empty())
      parsed.seed = std::strtoull(value.c_str(), nullptr, 10);
    else if (key == "streams" && (value == "eager" || value == "deferred"))
      parsed.eager = value == "eager";
    else if (key == "fill" && (value == "ff" || value == "7f"))
      parsed.fill = value == "ff" ? 0xff : 0x7f;
    else if (key == "guard" && (value == "0" || value == "1"))
      parsed.guard = value == "1";
    else if (key == "shared" && bytes_of(value, parsed.shared))
      continue;
    else
      refuse(word);
  }
  return parsed;
}

}  // namespace

const Options& options() {
  static const Options parsed = parse();
  return parsed;
}

std::string options_text() {
  const Options& o = options();
  const char* const order = o.order == Order::Forward ? "forward" : o.order == Order::Reverse ? "reverse" : "random";
  return std::string("order=") + order + ",seed=" + std::to_string(o.seed) +
         ",streams=" + (o.eager ? "eager" : "deferred") + ",fill=" + (o.fill == 0xff ? "ff" : "7f") +
         ",guard=" + (o.guard ? "1" : "0") + (o.shared == kMostShared ? "" : ",shared=" + std::to_string(o.shared));
}

}  // namespace host_cuda
