// What an HDF5 file holds, parsed here and not by the library: its parser is no match for hostile files, and every byte
// of this one's is checked before it is used.
//
// Read are the structures that HDF5 writes for contiguous and compact datasets (File Format Specification 3.0):
// superblocks 0 to 3, object headers 1 and 2, groups as symbol tables or as link messages, attributes in the object
// header, texts of variable length in global heaps. Refused, by name: links other than hard ones, chunked and virtual
// layouts, filters, external storage, shared messages, and groups or attributes in fractal heaps (of HDF5's newer form,
// when there are many).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/io/file.h"
#include "core/io/hdf5.h"

namespace gta::hdf5 {

enum class ElementClass : uint8_t { Signed, Unsigned, Real, Text, VariableText, Other };

struct ElementType {
  ElementClass kind = ElementClass::Other;
  uint64_t size = 0;  // bytes of an element
};

struct Attribute {
  ElementType type;
  uint64_t elements = 0;
  std::string bytes;  // of a variable text: u32 length, u64 address of the heap, u32 index in it
};

struct Contents {
  std::map<std::string, Dataset> datasets;
  std::map<std::string, Attribute> attributes;  // of the root
};

// Error(BadInput) when it is no HDF5 file, is damaged, or holds what is refused.
Contents parse(const File& file);
// The bytes of a variable text.
std::string read_variable_text(const File& file, const Attribute& attribute);

}  // namespace gta::hdf5
