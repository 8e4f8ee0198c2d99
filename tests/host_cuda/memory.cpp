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
  bool live;
};

struct Memory {
  char *region = nullptr, *next = nullptr;
  std::map<char*, Allocation> allocations;  // by the address given out; freed ones too, to say whose they were
  std::map<char*, size_t> device_pages;     // of the live ones on the device: a long test has few of them, and very many freed ones
  size_t allocated = 0;
  int accesses = 0;
};
Memory& memory() {
  static auto& made = *new Memory;
  return made;
}

const std::pair<char* const, Allocation>* allocation_before(const void* p) {
  auto& all = memory().allocations;
  auto found = all.upper_bound(static_cast<char*>(const_cast<void*>(p)));
  return found == all.begin() ? nullptr : &*std::prev(found);
}

void on_fault(int, siginfo_t* info, void*) {
  auto* const at = static_cast<char*>(info->si_addr);
  const Memory& m = memory();
  if (m.region && at >= m.region && at < m.region + kRegion) {
    const auto* const before = allocation_before(at);
    const char* why = "outside every allocation";
    if (before && !before->second.live)
      why = "after it was freed";
    else if (before && at < before->first + before->second.bytes)
      why = "by the host";
    else if (before)
      why = "past the end of an allocation";
    std::fprintf(stderr, "host_cuda: error: device memory was touched %s: byte %td of %zu\n", why, before ? at - before->first : 0, before ? before->second.bytes : 0);
  } else {
    std::fprintf(stderr, "host_cuda: error: SIGSEGV at %p\n", static_cast<void*>(at));
  }
  say_where();
  _exit(98);
}

void prepare(Memory& m) {
  if (m.region) return;
  m.region = m.next = static_cast<char*>(mmap(nullptr, kRegion, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
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
  for (const auto& [pages, bytes] : memory().device_pages) mprotect(pages, bytes, protection);
}

}  // namespace

void* allocate_memory(size_t bytes, Kind kind) {
  const IgnoredByTsan ignored;
  Memory& m = memory();
  prepare(m);
  if (kind == Kind::Device && m.allocated + bytes > kDeviceBytes) return nullptr;
  const size_t page_bytes = (bytes + kPage - 1) / kPage * kPage;
  char* const pages = m.next;
  if (static_cast<size_t>(pages - m.region) + page_bytes + kPage > kRegion) fail("all addresses of the device's memory are used up");
  m.next += page_bytes + kPage;
  mprotect(pages, page_bytes, PROT_READ | PROT_WRITE);
  std::memset(pages, options().fill, page_bytes);
  char* const p = pages + ((page_bytes - bytes) & ~size_t{15});
  poison(pages, page_bytes);
  unpoison(p, bytes);
  m.allocations[p] = {pages, page_bytes, bytes, kind, true};
  if (kind == Kind::Device) m.device_pages[pages] = page_bytes;
  if (kind == Kind::Device) m.allocated += bytes;
  if (kind == Kind::Device && !open_now()) mprotect(pages, page_bytes, PROT_NONE);
  return p;
}

void free_memory(void* p) {
  const IgnoredByTsan ignored;
  auto found = memory().allocations.find(static_cast<char*>(p));
  if (found == memory().allocations.end() || !found->second.live) fail("free of %p, which is no live allocation", p);
  Allocation& a = found->second;
  a.live = false;
  memory().device_pages.erase(a.pages);
  if (a.kind == Kind::Device) memory().allocated -= a.bytes;
  madvise(a.pages, a.page_bytes, MADV_DONTNEED);
  mprotect(a.pages, a.page_bytes, PROT_NONE);
}

bool is_allocated(const void* p, size_t* bytes_left) {
  const auto* const before = allocation_before(p);
  if (!before || !before->second.live || p >= before->first + before->second.bytes) return false;
  if (bytes_left) *bytes_left = static_cast<size_t>(before->first + before->second.bytes - static_cast<const char*>(p));
  return true;
}

size_t allocated_bytes() { return memory().allocated; }

DeviceAccess::DeviceAccess() {
  if (memory().accesses++ == 0 && options().guard) protect_all(PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
  if (--memory().accesses == 0 && options().guard) protect_all(PROT_NONE);
}

}  // namespace host_cuda
