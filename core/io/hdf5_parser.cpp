#include "core/io/hdf5_parser.h"

#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "core/io/hdf5_fields.h"

namespace gta::hdf5 {
namespace {

constexpr uint64_t kNowhere = ~uint64_t{0};  // an undefined address
constexpr int64_t kMostObjects = 1 << 20;
constexpr int kMostChunks = 1024;  // of one object header
constexpr int kDeepestGroup = 64;
constexpr int64_t kHighestTree = 8;
constexpr size_t kLongestName = 1024;  // of an object, with its groups'

enum class MessageType : uint16_t {
  Dataspace = 0x01,
  LinkInfo = 0x02,
  Datatype = 0x03,
  Link = 0x06,
  ExternalFiles = 0x07,
  Layout = 0x08,
  Filters = 0x0b,
  Attribute = 0x0c,
  Continuation = 0x10,
  SymbolTable = 0x11,
  AttributeInfo = 0x15,
};

struct Message {
  MessageType type;
  bool shared;
  Fields content;
};

struct Type {
  ElementType element;
  std::optional<DType> dtype;  // that a dataset may have
};

// Class and version, three bytes of flags, size, properties.
Type parse_type(Fields fields) {
  const uint64_t head = fields.number(1), flags = fields.number(3), size = fields.number(4), version = head >> 4,
                 kind = head & 0xf;
  if (version < 1 || version > 3 || size == 0) return {};
  const auto properties = [&](std::initializer_list<std::pair<int, uint64_t>> expected) {
    for (const auto& [bytes, value] : expected)
      if (fields.number(static_cast<uint64_t>(bytes)) != value) return false;
    return true;
  };
  if (kind == 0) {  // integers: little-endian without padding
    if ((flags & ~uint64_t{8}) != 0 || size > 8 || (size & (size - 1)) != 0 || !properties({{2, 0}, {2, 8 * size}}))
      return {};
    if (flags & 8)
      return {{ElementClass::Signed, size},
              size == 4   ? std::optional(DType::I32)
              : size == 8 ? std::optional(DType::U64)
                          : std::nullopt};
    return {{ElementClass::Unsigned, size},
            size == 1   ? DType::U8
            : size == 2 ? DType::U16
            : size == 4 ? DType::U32
                        : DType::U64};
  }
  if (kind == 1) {  // IEEE 754, little-endian
    if (size == 4 && flags == 0x1f20 && properties({{2, 0}, {2, 32}, {1, 23}, {1, 8}, {1, 0}, {1, 23}, {4, 127}}))
      return {{ElementClass::Real, 4}, DType::F32};
    if (size == 8 && flags == 0x3f20 && properties({{2, 0}, {2, 64}, {1, 52}, {1, 11}, {1, 0}, {1, 52}, {4, 1023}}))
      return {{ElementClass::Real, 8}, DType::F64};
    return {};
  }
  if (kind == 3) return {{ElementClass::Text, size}, std::nullopt};
  if (kind == 9 && (flags & 0xf) == 1 && size == 16) return {{ElementClass::VariableText, 16}, std::nullopt};
  return {};
}

// Version, rank, flags, sizes. nullopt: no array of up to 8 dimensions.
std::optional<std::vector<uint64_t>> parse_shape(Fields fields) {
  const uint64_t version = fields.number(1), rank = fields.number(1);
  fields.skip(1);
  if (version == 1)
    fields.skip(5);
  else if (version != 2 || fields.number(1) > 1)  // 0: a scalar, 1: an array, 2: nothing
    return std::nullopt;
  if (rank > 8) return std::nullopt;
  std::vector<uint64_t> shape;
  for (uint64_t i = 0; i < rank; ++i) shape.push_back(fields.number(8));
  return shape;
}

class Parser {
 public:
  explicit Parser(const File& file) : file_(file), size_(static_cast<uint64_t>(file.size())) {}

  Contents parse() {
    parse_group("", find_root(), 0);
    return std::move(contents_);
  }

 private:
  // No honest file makes a reader look at its structures again and again.
  Fields structure(uint64_t at, uint64_t bytes) {
    if ((looked_at_ += bytes) > 8 * size_ + (1 << 20)) refuse("its structures lie over each other");
    return Fields::read(file_, at, bytes);
  }
  [[noreturn]] void refuse(const std::string& why) const { bad_input(file_.path(), "is refused: {}", why); }

  // The address of the root's object header.
  uint64_t find_root() {
    constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
    if (size_ < 48 || structure(0, 8).take(8) != kSignature)
      bad_input(file_.path(), "is not an HDF5 file, or a damaged one");
    Fields fields = structure(8, std::min<uint64_t>(size_ - 8, 100));
    const uint64_t version = fields.number(1);
    if (version > 3) refuse(fmt::format("its superblock has version {}: this build reads 0 to 3", version));
    uint64_t root = 0;
    if (version >= 2) {
      if (fields.number(1) != 8 || fields.number(1) != 8) refuse("its addresses do not have 8 bytes");
      if (fields.number(1) & 1 && version == 3) refuse("it was not closed by the program that wrote it");
      if (fields.number(8) != 0) refuse("it does not begin at its first byte");
      fields.skip(8);
    } else {
      if (fields.number(4) != 0) refuse("its superblock has parts of versions that are not used here");
      if (fields.number(1) != 8 || fields.number(1) != 8) refuse("its addresses do not have 8 bytes");
      fields.skip(version == 1 ? 13 : 9);
      if (fields.number(8) != 0) refuse("it does not begin at its first byte");
      fields.skip(8);
    }
    if (fields.number(8) > size_) refuse("it was not written, or not copied, to its end");
    if (version < 2) fields.skip(16);
    root = fields.number(8);
    return root;
  }

  // The messages of a header, with those of its continuations.
  std::vector<Message> parse_header(uint64_t at) {
    std::vector<Message> messages;
    std::vector<std::pair<uint64_t, uint64_t>> chunks;  // place and length of continuations
    const bool first_version = structure(at, 4).take(4) != "OHDR";
    uint64_t header_flags = 0;
    const auto take_chunk = [&](Fields chunk) {
      const uint64_t head = first_version ? 8 : header_flags & 4 ? 6 : 4;
      // What is shorter than a message is a gap.
      while (chunk.left() >= head) {
        const auto type = static_cast<MessageType>(chunk.number(first_version ? 2 : 1));
        const uint64_t length = chunk.number(2), flags = chunk.number(1);
        chunk.skip(head - (first_version ? 5 : 4));
        Fields content = chunk.part(length);
        if (type == MessageType::Continuation) {
          const uint64_t place = content.number(8);
          chunks.push_back({place, content.number(8)});
        } else if (messages.size() < static_cast<size_t>(kMostObjects)) {
          messages.push_back({type, (flags & 2) != 0, std::move(content)});
        }
      }
    };
    if (first_version) {
      Fields prefix = structure(at, 16);
      if (prefix.number(2) != 1) prefix.damaged("expected an object header of version 1");
      prefix.skip(6);
      take_chunk(structure(at + 16, prefix.number(4)));
    } else {
      Fields prefix = structure(at, std::min<uint64_t>(size_ - at, 64));
      prefix.skip(4);
      if (prefix.number(1) != 2) prefix.damaged("expected an object header of version 2");
      header_flags = prefix.number(1);
      prefix.skip((header_flags & 0x20 ? 16 : 0) + (header_flags & 0x10 ? 4 : 0));
      const uint64_t length = prefix.number(uint64_t{1} << (header_flags & 3));
      take_chunk(structure(prefix.place(), length));
    }
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (i >= kMostChunks) refuse("an object header has too many parts");
      Fields chunk = structure(chunks[i].first, chunks[i].second);
      if (first_version) {
        take_chunk(std::move(chunk));
        continue;
      }
      chunk.expect("OCHK");
      if (chunk.left() < 4) chunk.damaged("a part of an object header is too short");
      take_chunk(chunk.part(chunk.left() - 4));  // a checksum ends it
    }
    return messages;
  }

  void parse_group(const std::string& name, uint64_t at, int depth) {
    if (depth > kDeepestGroup) refuse(fmt::format("{} is nested too deeply", name));
    // A group that is linked from itself, or twice, is read once.
    if (!groups_.insert(at).second) return;
    std::vector<Message> messages = parse_header(at);
    if (name.empty()) parse_attributes(messages);
    if (!is_group(messages)) {
      if (name.empty()) refuse("its root is not a group");
      return;
    }
    for (Message& message : messages) {
      if (message.type == MessageType::SymbolTable) {
        const uint64_t tree = message.content.number(8), heap = message.content.number(8);
        int64_t nodes = 0;
        visit_tree(tree, -1, nodes, read_heap(heap), name, depth);
      } else if (message.type == MessageType::Link) {
        parse_link(std::move(message.content), name, depth);
      } else if (message.type == MessageType::LinkInfo) {
        message.content.skip(1);
        message.content.skip(message.content.number(1) & 1 ? 8 : 0);
        if (message.content.number(8) != kNowhere)
          refuse(fmt::format("{}/ has too many links for HDF5's newer form of groups: write it with libver='earliest'",
                             name));
      }
    }
  }

  static bool is_group(const std::vector<Message>& messages) {
    for (const Message& message : messages)
      if (message.type == MessageType::SymbolTable || message.type == MessageType::LinkInfo ||
          message.type == MessageType::Link)
        return true;
    return false;
  }

  std::string read_heap(uint64_t at) {
    Fields head = structure(at, 32);
    head.expect("HEAP");
    if (head.number(4) != 0) head.damaged("expected a heap of version 0");
    const uint64_t bytes = head.number(8);
    head.skip(8);
    return structure(head.number(8), bytes).take(bytes);
  }

  // B-tree of a symbol table; level -1: the root's, whichever it is.
  void visit_tree(uint64_t at, int64_t level, int64_t& nodes, const std::string& heap, const std::string& group,
                  int depth) {
    if (++nodes > kMostObjects) refuse(fmt::format("{}/ holds too many objects", group));
    Fields head = structure(at, 24);
    head.expect("TREE");
    if (head.number(1) != 0) head.damaged("expected the tree of a group");
    const auto found = static_cast<int64_t>(head.number(1));
    if (level >= 0 ? found != level : found > kHighestTree) head.damaged("a tree's levels do not fit");
    const uint64_t children = head.number(2);
    Fields entries = structure(at + 24, 16 * children + 8);
    for (uint64_t i = 0; i < children; ++i) {
      entries.skip(8);
      const uint64_t child = entries.number(8);
      if (found > 0)
        visit_tree(child, found - 1, nodes, heap, group, depth);
      else
        visit_symbols(child, heap, group, depth);
    }
  }

  void visit_symbols(uint64_t at, const std::string& heap, const std::string& group, int depth) {
    Fields head = structure(at, 8);
    head.expect("SNOD");
    if (head.number(2) != 1) head.damaged("expected symbols of version 1");
    const uint64_t count = head.number(2);
    Fields symbols = structure(at + 8, 40 * count);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t name_at = symbols.number(8), header = symbols.number(8), kind = symbols.number(4);
      symbols.skip(20);
      if (name_at >= heap.size()) symbols.damaged("a name leaves its heap");
      // No further: many symbols may name the same place.
      const std::string_view rest = std::string_view(heap).substr(name_at, kLongestName + 1);
      const size_t end = rest.find('\0');
      if (end == std::string_view::npos) symbols.damaged("a name leaves its heap, or is too long");
      const std::string name = full_name(group, std::string(rest.substr(0, end)));
      if (kind == 2) refuse(name + " is a soft or external link");
      visit_object(name, header, depth);
    }
  }

  void parse_link(Fields link, const std::string& group, int depth) {
    if (link.number(1) != 1) link.damaged("expected a link");
    const uint64_t flags = link.number(1), kind = flags & 8 ? link.number(1) : 0;
    link.skip((flags & 4 ? 8 : 0) + (flags & 16 ? 1 : 0));
    const std::string name = full_name(group, link.take(link.number(uint64_t{1} << (flags & 3))));
    if (kind != 0) refuse(name + " is a soft or external link");
    visit_object(name, link.number(8), depth);
  }

  std::string full_name(const std::string& group, const std::string& name) const {
    for (const char c : name)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '/')
        refuse(group + "/ has a name with control characters");
    if (name.empty()) refuse(group + "/ has an object without a name");
    if (group.size() + 1 + name.size() > kLongestName)
      refuse(fmt::format("a name has more than {} bytes with its groups'", kLongestName));
    return group + "/" + name;
  }

  void visit_object(const std::string& name, uint64_t at, int depth) {
    if (++objects_ > kMostObjects) refuse("it holds too many objects");
    const std::vector<Message> messages = parse_header(at);
    if (is_group(messages))
      parse_group(name, at, depth + 1);
    else
      parse_dataset(name, messages);
  }

  void parse_dataset(const std::string& name, const std::vector<Message>& messages) {
    const auto find = [&](MessageType type) -> const Message* {
      for (const Message& message : messages)
        if (message.type == type) return &message;
      return nullptr;
    };
    const Message *space = find(MessageType::Dataspace), *type = find(MessageType::Datatype),
                  *layout = find(MessageType::Layout);
    if (!layout && !space) return;  // a named type, which nothing here uses
    if (!layout || !space || !type || space->shared || layout->shared) refuse(name + " has a damaged header");
    Fields place = layout->content;
    const uint64_t version = place.number(1), kind = place.number(1);
    if (version < 3 || version > 4)
      refuse(fmt::format("{} has a layout of version {}: this build reads 3 and 4", name, version));
    if (kind > 1) refuse(name + " is chunked or virtual: expected contiguous");
    if (find(MessageType::Filters)) refuse(name + " has filters");
    if (find(MessageType::ExternalFiles)) refuse(name + " keeps its data in another file");
    const Type element = type->shared ? Type{} : parse_type(type->content);
    if (!element.dtype) refuse(name + " has an element type that is not used here");
    const auto shape = parse_shape(space->content);
    if (!shape) refuse(name + " has a shape that is not used here");

    Dataset found{name, {}, *element.dtype, -1};
    found.stored_signed = element.element.kind == ElementClass::Signed;
    uint64_t bytes = element.element.size;
    for (const uint64_t length : *shape) {
      if (length > INT64_MAX || __builtin_mul_overflow(bytes, length, &bytes) || bytes > size_)
        refuse(name + " claims more data than the file has");
      found.shape.push_back(static_cast<int64_t>(length));
    }
    uint64_t at = 0, held = 0;
    if (kind == 1) {
      at = place.number(8);
      held = place.number(8);
      if (at == kNowhere && bytes > 0) refuse(name + " has no data: the file was not written to the end");
      if (at == kNowhere) at = held = 0;
    } else {
      held = place.number(2);
      at = place.place();
      if (held > place.left()) refuse(name + " has a damaged header");
    }
    if (at > size_ || bytes > size_ - at) refuse(name + " lies outside the file");
    if (kind == 1 ? bytes != held : bytes > held) refuse(name + " does not have the data of its shape");
    if (bytes > 0) found.offset = static_cast<int64_t>(at);
    contents_.datasets.emplace(name, std::move(found));
  }

  void parse_attributes(const std::vector<Message>& messages) {
    for (const Message& message : messages) {
      Fields fields = message.content;
      if (message.type == MessageType::AttributeInfo) {
        fields.skip(1);
        fields.skip(fields.number(1) & 1 ? 2 : 0);
        if (fields.number(8) != kNowhere)
          refuse("its attributes are in HDF5's newer form: write it with libver='earliest'");
      }
      if (message.type == MessageType::Attribute) parse_attribute(std::move(fields), message.shared);
    }
  }

  void parse_attribute(Fields fields, bool shared) {
    const uint64_t version = fields.number(1), flags = fields.number(1);
    if (shared || version < 1 || version > 3) fields.damaged("expected an attribute");
    const uint64_t name_bytes = fields.number(2), type_bytes = fields.number(2), space_bytes = fields.number(2);
    if (version == 3) fields.skip(1);
    const auto padded = [&](uint64_t bytes) { return version == 1 ? (bytes + 7) / 8 * 8 : bytes; };
    std::string name = fields.take(padded(name_bytes));
    name.resize(std::min(name_bytes, static_cast<uint64_t>(name.find('\0'))));
    Fields type_fields = fields.part(padded(type_bytes)), space_fields = fields.part(padded(space_bytes));
    Attribute attribute;
    // Of another type it is there, but nobody can read it.
    const auto shape = version > 1 && flags != 0 ? std::nullopt : parse_shape(std::move(space_fields));
    if (shape) {
      attribute.type = parse_type(std::move(type_fields)).element;
      attribute.elements = 1;
      for (const uint64_t length : *shape)
        if (__builtin_mul_overflow(attribute.elements, length, &attribute.elements)) attribute.type = {};
      uint64_t bytes = 0;
      if (__builtin_mul_overflow(attribute.elements, attribute.type.size, &bytes) || bytes > fields.left())
        fields.damaged(fmt::format("attribute {} claims more bytes than it has", name));
      attribute.bytes = fields.take(bytes);
    }
    contents_.attributes.emplace(std::move(name), std::move(attribute));
  }

  const File& file_;
  const uint64_t size_;
  Contents contents_;
  std::set<uint64_t> groups_;
  int64_t objects_ = 0;
  uint64_t looked_at_ = 0;  // bytes
};

}  // namespace

Contents parse(const File& file) { return Parser(file).parse(); }

std::string read_variable_text(const File& file, const Attribute& attribute) {
  Fields reference(attribute.bytes, file.path(), 0);
  const uint64_t length = reference.number(4), heap = reference.number(8), wanted = reference.number(4);
  if (heap == 0 || heap == kNowhere || length == 0) return "";
  Fields head = Fields::read(file, heap, 16);
  head.expect("GCOL");
  if (head.number(4) != 1) head.damaged("expected a heap of version 1");
  const uint64_t bytes = head.number(8);
  // What is within the file adds up without overflow, and so the loop ends.
  if (bytes > static_cast<uint64_t>(file.size()) - heap) head.damaged("a heap leaves the file");
  for (uint64_t at = 16; at <= bytes && bytes - at >= 16;) {
    Fields object = Fields::read(file, heap + at, 16);
    const uint64_t index = object.number(2);
    object.skip(6);
    const uint64_t held = object.number(8);
    if (index == 0) break;  // what is free
    if (index == wanted) {
      if (length > held) object.damaged("a text is longer than its place");
      return Fields::read(file, heap + at + 16, length).take(length);
    }
    if (held > bytes) break;
    at += 16 + (held + 7) / 8 * 8;
  }
  head.damaged(fmt::format("the heap does not hold the text {}", wanted));
}

}  // namespace gta::hdf5
