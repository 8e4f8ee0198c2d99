// Allocations have pages of their own, whose protection says who may touch them when; one map knows them all, to say
// what a fault was.
#include "tests/host_cuda/memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>

#include "tests/host_cuda/engine.h"
#include "tests/host_cuda/options.h"
#include "tests/host_cuda/sanitizers.h"

namespace host_cuda {
namespace {

constexpr size_t kRegion = size_t{1} << 38, kPage = 4096;

struct Allocation {
  char* pages;
  size_t page_bytes, bytes;
  Kind kind;
};

struct Memory {
  char *region = nullptr, *next = nullptr;
  std::map<char*, Allocation> live, freed;  // by the address given out
  size_t allocated = 0;
  int accesses = 0;
};
Memory& memory() {
  static auto& made = *new Memory;
  return made;
}

const std::pair<char* const, Allocation>* allocation_before(const std::map<char*, Allocation>& all, const void* p) {
  auto found = all.upper_bound(static_cast<char*>(const_cast<void*>(p)));
  return found == all.begin() ? nullptr : &*std::prev(found);
}

void on_fault(int, siginfo_t* info, void*) {
  auto* const at = static_cast<char*>(info->si_addr);
  const Memory& m = memory();
  if (m.region && at >= m.region && at < m.region + kRegion) {
    const auto *before = allocation_before(m.live, at), *gone = allocation_before(m.freed, at);
    const char* why = "outside every allocation";
    if (gone && (!before || gone->first > before->first)) {
      before = gone;
      why = "after it was freed";
    } else if (before) {
      why = at >= before->first + before->second.bytes ? "past the end of an allocation"
            : before->second.kind == Kind::Ordered     ? "before its stream has allocated it"
                                                       : "by the host";
    }
    std::fprintf(stderr, "host_cuda: error: device memory was touched %s: byte %td of %zu\n", why,
                 before ? at - before->first : 0, before ? before->second.bytes : 0);
  } else {
    std::fprintf(stderr, "host_cuda: error: SIGSEGV at %p\n", static_cast<void*>(at));
  }
  say_where();
  _exit(98);
}

void prepare(Memory& m) {
  if (m.region) return;
  m.region = m.next =
      static_cast<char*>(mmap(nullptr, kRegion, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (m.region == MAP_FAILED) fail("there is no address space for the device's memory");
  static char stack[65536];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
}

bool open_now() { return !options().guard || memory().accesses > 0; }

void protect_all(int protection) {
  for (auto& [p, a] : memory().live)
    if (a.kind == Kind::Device) mprotect(a.pages, a.page_bytes, protection);
}

// What lies in an allocation's pages before and behind it is as it was filled.
void expect_margins(const char* p, const Allocation& a) {
  const auto untouched = [&](const char* from, const char* to) {
    for (const char* q = from; q < to; ++q)
      if (static_cast<unsigned char>(*q) != options().fill)
        fail("device memory was written at byte %td of an allocation of %zu bytes", q - p, a.bytes);
  };
  untouched(a.pages, p);
  untouched(p + a.bytes, a.pages + a.page_bytes);
}

}  // namespace

void* allocate_memory(size_t bytes, Kind kind) {
  const IgnoredByTsan ignored;
  Memory& m = memory();
  prepare(m);
  if (kind != Kind::Pinned && m.allocated + bytes > kDeviceBytes) return nullptr;
  const size_t page_bytes = (bytes + kPage - 1) / kPage * kPage;
  char* const pages = m.next;
  if (static_cast<size_t>(pages - m.region) + page_bytes + kPage > kRegion)
    fail("all addresses of the device's memory are used up");
  m.next += page_bytes + kPage;
  mprotect(pages, page_bytes, PROT_READ | PROT_WRITE);
  std::memset(pages, options().fill, page_bytes);
  char* const p = pages + ((page_bytes - bytes) & ~size_t{15});
  poison(pages, page_bytes);
  unpoison(p, bytes);
  m.live[p] = {pages, page_bytes, bytes, kind};
  if (kind != Kind::Pinned) m.allocated += bytes;
  if (kind == Kind::Ordered || (kind == Kind::Device && !open_now())) mprotect(pages, page_bytes, PROT_NONE);
  return p;
}

void make_usable(void* p) {
  const IgnoredByTsan ignored;
  Allocation& a = memory().live.at(static_cast<char*>(p));
  a.kind = Kind::Device;
  if (open_now()) mprotect(a.pages, a.page_bytes, PROT_READ | PROT_WRITE);
}

void free_memory(void* p) {
  const IgnoredByTsan ignored;
  auto found = memory().live.find(static_cast<char*>(p));
  if (found == memory().live.end()) fail("free of %p, which is no live allocation", p);
  const Allocation a = found->second;
  expect_margins(found->first, a);
  memory().freed.insert(memory().live.extract(found));
  if (a.kind != Kind::Pinned) memory().allocated -= a.bytes;
  madvise(a.pages, a.page_bytes, MADV_DONTNEED);
  mprotect(a.pages, a.page_bytes, PROT_NONE);
}

bool is_allocated(const void* p, size_t* bytes_left) {
  const auto* const before = allocation_before(memory().live, p);
  if (!before || p >= before->first + before->second.bytes) return false;
  if (bytes_left) *bytes_left = static_cast<size_t>(before->first + before->second.bytes - static_cast<const char*>(p));
  return true;
}

bool is_of_device(const void* p) {
  const auto* const before = allocation_before(memory().live, p);
  return before && p < before->first + before->second.bytes && before->second.kind != Kind::Pinned;
}

size_t allocated_bytes() { return memory().allocated; }

DeviceAccess::DeviceAccess() {
  if (memory().accesses++ == 0 && options().guard) protect_all(PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
  if (--memory().accesses == 0 && options().guard) protect_all(PROT_NONE);
}

}  // namespace host_cuda
