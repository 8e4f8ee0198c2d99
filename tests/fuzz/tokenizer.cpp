// A tokenizer's file: loading, then both directions.
#include "data/tokenizer.h"

#include <algorithm>

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
  });
}

}  // namespace gta::fuzz
