// A corpus file under each of its names: the name says what is in it, the bytes need not agree.
#include "core/error.h"
#include "data/corpus.h"
#include "data/utf8.h"
#include "tests/fuzz/target.h"

namespace gta::fuzz {

bool read_text(const std::string& bytes) {
  bool any = false;
  for (const char* name :
       {"corpus.txt", "corpus.jsonl", "corpus.txt.gz", "corpus.jsonl.gz", "corpus.txt.zst", "corpus.jsonl.zst"}) {
    const std::string path = scratch_file(name, bytes);
    CorpusOptions options;
    options.largest_document = 1 << 14;
    // JSON lines have no separator, and what begins as JSON is no text unless it is said to be.
    const bool json = path.find(".jsonl") != std::string::npos;
    options.format = json || bytes.size() % 4 == 0 ? TextFormat::Auto : TextFormat::Text;
    if (bytes.size() % 2 && !json) options.document_separator = "";
    any |= taken([&] {
      read_documents({path}, options, [](std::string&& document) {
        expect(!document.empty(), "a document is empty");
        expect(find_bad_utf8(document) < 0, "a document is not UTF-8");
      });
    });
  }
  return any;
}

}  // namespace gta::fuzz
