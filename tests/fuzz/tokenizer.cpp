// A tokenizer's file: loading, both directions, then what exports make of it.
#include "data/tokenizer.h"

#include <algorithm>

#include "checkpoints/exports/gguf_tokenizer.h"
#include "checkpoints/exports/hf_tokenizer.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_tokenizer(const std::string& bytes) {
  return taken([&] {
    const Tokenizer tokenizer = Tokenizer::from_bytes(bytes, "fuzz.model");
    expect(tokenizer.vocab_size() > 0, "a tokenizer without tokens was accepted");
    for (const char* text : {"In the beginning", " \t\n",
                             "na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 \xef\xac\x81\xe2\x84\xab", ""})
      taken([&] {
        const std::vector<int32_t> ids = tokenizer.encode_document(text);
        for (const int32_t id : ids)
          expect(id >= 0 && id < tokenizer.vocab_size(), "a piece is outside the vocabulary");
        tokenizer.decode(ids);
        StreamDecoder decoder(tokenizer);
        for (const int32_t id : ids) decoder.push(id);
        decoder.finish();
      });
    for (int64_t id = 0; id < std::min<int64_t>(tokenizer.vocab_size(), 1000); ++id)
      tokenizer.token_bytes(static_cast<int32_t>(id));
    if (why_no_tokenizer_json(tokenizer).empty())
      expect(!tokenizer_json(tokenizer).empty() && !tokenizer_config_json(tokenizer, 1).empty(), "a tokenizer is lost");
    GgufKeys keys;
    if (why_no_gguf_tokenizer(tokenizer).empty()) add_tokenizer_keys(keys, tokenizer, tokenizer.vocab_size());
  });
}

}  // namespace gta::fuzz
