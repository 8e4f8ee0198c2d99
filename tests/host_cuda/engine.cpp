// Fibers, blocks, shared memory, barriers and copies of the host's execution of CUDA kernels. Compiled without
// sanitizers, whose hooks it calls: what a fiber is they cannot know. One block at a time on each of the host's
// threads.
#include "tests/host_cuda/engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "core/parallel.h"
#include "tests/host_cuda/options.h"
#include "tests/host_cuda/sanitizers.h"

constinit thread_local uint3 threadIdx{}, blockIdx{};
constinit thread_local dim3 blockDim{1, 1, 1}, gridDim{1, 1, 1};

// The C++ runtime's state of a fiber is not switched: a kernel throws nothing.
//
// Saves the callee's registers on this stack, its pointer in *from, and goes on where another stack was left. System V,
// x86-64.
extern "C" void host_cuda_switch(void** from, void* to);
asm(R"(
.text
.globl host_cuda_switch
.type host_cuda_switch,@function
host_cuda_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size host_cuda_switch,.-host_cuda_switch
)");

namespace host_cuda {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kMargin = 4096;  // before and after what a block may touch
constexpr size_t kGap = 256;      // between two static arrays
constexpr size_t kMostStatic = 48 * 1024;
constexpr size_t kArena = 512 * 1024;
constexpr int kArenas = 16;  // blocks take turns, so that a pointer kept from one block is not valid in the next

enum class State { Ready, Waiting, Done };

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  void *asan = nullptr, *tsan = nullptr;
  int thread = 0, warp = 0, lane = 0;
  uint3 index{};
  State state = State::Done;
  const char* waits_in = "";
  Where waits_at{};
  unsigned waits_mask = 0;
  bool at_barrier = false;
  std::deque<std::vector<AsyncCopy>> groups;  // committed
  std::vector<AsyncCopy> open;
};

// An operation for which some lanes of a warp have arrived.
struct Meeting {
  unsigned mask = 0, arrived = 0;
  LaneFunction function = nullptr;
  void* operands[32];
  const char* what = "";
  Where where{};
  void* sync = nullptr;
};

struct Warp {
  unsigned ready = 0;  // lanes
  Meeting meetings[32];
  unsigned pending = 0;  // of the meetings
  char syncs[2][64];
  unsigned next_sync = 0;
  uint32_t priority = 0;
};

struct Barrier {
  int arrived = 0, sum = 0, results[2] = {};
  unsigned generation = 0;
  Reduction reduction = Reduction::None;
  Where where{};
  char syncs[4];
};

struct StaticArray {
  const void* tag;
  char* data;
  size_t bytes;
};

struct Engine {
  Engine();
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  size_t stack_bytes = 0;
  std::vector<std::unique_ptr<Fiber>> pool;
  std::vector<Fiber*> fibers;  // by thread
  unsigned set = 0;            // ThreadSanitizer: two sets of fibers take turns, so that races between blocks show
  std::vector<Warp> warps;
  Barrier barrier;
  Fiber* current = nullptr;
  void *main_stack_pointer = nullptr, *main_asan = nullptr, *main_tsan = nullptr;
  const void* main_stack = nullptr;
  size_t main_stack_bytes = 0;
  char *arenas = nullptr, *arena = nullptr;
  int arena_number = 0;
  size_t dynamic = 0, used = 0, top = 0;
  std::vector<StaticArray> arrays;
  const std::function<void()>* body = nullptr;
  const char* kernel = "";
  int threads = 0;
  Random random{1};
  unsigned current_warp = 0, ready_warps = 0;
  char launched = 0, finished = 0;  // ThreadSanitizer's objects
};
thread_local Engine* engine = nullptr;

char* map_memory(size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    fail("there is no memory for the stacks and the shared memory of a block: expected %zu bytes", bytes);
  return static_cast<char*>(memory);
}

Engine::Engine()
    : stack_bytes(__asan_init || with_tsan() ? 512 << 10 : 128 << 10), arenas(map_memory(kArena * kArenas)) {
  static std::once_flag once;
  std::call_once(once, [] {
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(say_where);
  });
}

// One of the host's threads ends: what it mapped goes with it, and is nobody's poison any more.
Engine::~Engine() {
  if (engine == this) engine = nullptr;
  for (const auto& fiber : pool) {
    if (with_tsan()) __tsan_destroy_fiber(fiber->tsan);
    unpoison(fiber->stack, stack_bytes);
    munmap(fiber->stack - kPage, kPage + stack_bytes);
  }
  unpoison(arenas, kArena * kArenas);
  munmap(arenas, kArena * kArenas);
}

// The runtime's thread of ThreadSanitizer differs by stream; each has fibers and sync objects of its own, so that
// events alone order streams.
Engine& engine_of_this_thread() {
  thread_local std::vector<std::pair<void*, std::unique_ptr<Engine>>> engines;
  void* const thread = with_tsan() ? __tsan_get_current_fiber() : nullptr;
  for (const auto& [key, made] : engines)
    if (key == thread) return *(engine = made.get());
  engines.push_back({thread, std::make_unique<Engine>()});
  return *(engine = engines.back().second.get());
}

void to_fiber(Engine& e, Fiber& fiber) {
  e.current = &fiber;
  threadIdx = fiber.index;
  if (with_asan()) __sanitizer_start_switch_fiber(&e.main_asan, fiber.stack, e.stack_bytes);
  if (with_tsan()) __tsan_switch_to_fiber(fiber.tsan, 1);
  host_cuda_switch(&e.main_stack_pointer, fiber.stack_pointer);
  if (with_asan()) __sanitizer_finish_switch_fiber(e.main_asan, nullptr, nullptr);
  e.current = nullptr;
}

void to_main(Engine& e, Fiber& fiber) {
  if (with_asan()) __sanitizer_start_switch_fiber(&fiber.asan, e.main_stack, e.main_stack_bytes);
  if (with_tsan()) __tsan_switch_to_fiber(e.main_tsan, 1);
  host_cuda_switch(&fiber.stack_pointer, e.main_stack_pointer);
  if (with_asan()) __sanitizer_finish_switch_fiber(fiber.asan, &e.main_stack, &e.main_stack_bytes);
}

void make_ready(Engine& e, Fiber& fiber) {
  fiber.state = State::Ready;
  e.warps[fiber.warp].ready |= 1u << fiber.lane;
  e.ready_warps |= 1u << fiber.warp;
}

void wait(Engine& e, Fiber& fiber, const char* what, Where where, unsigned mask) {
  fiber.state = State::Waiting;
  fiber.waits_in = what;
  fiber.waits_at = where;
  fiber.waits_mask = mask;
  to_main(e, fiber);
}

void expect_no_copies(const Fiber& fiber) {
  for (const auto& group : fiber.groups)
    for (const AsyncCopy& copy : group)
      fail("a thread ends with a copy under way, begun by cp.async at %s:%d: wait for it", copy.where.file,
           copy.where.line);
  if (!fiber.open.empty())
    fail("a thread ends with a copy under way, begun by cp.async at %s:%d: commit it and wait for it",
         fiber.open[0].where.file, fiber.open[0].where.line);
}

// The body of every fiber: one thread of one block after the other.
void fiber_main() {
  Engine& e = *engine;
  Fiber& fiber = *e.current;
  if (with_asan()) __sanitizer_finish_switch_fiber(nullptr, &e.main_stack, &e.main_stack_bytes);
  for (;;) {
    acquire(&e.launched);
    (*e.body)();
    expect_no_copies(fiber);
    release(&e.finished);
    fiber.state = State::Done;
    to_main(e, fiber);
  }
}

void add_fiber(Engine& e) {
  auto fiber = std::make_unique<Fiber>();
  char* const memory = map_memory(kPage + e.stack_bytes);
  mprotect(memory, kPage, PROT_NONE);  // a stack that grows too far ends here
  fiber->stack = memory + kPage;
  void** const top = reinterpret_cast<void**>(fiber->stack + e.stack_bytes);
  top[-1] = nullptr;  // where fiber_main would return to: ends a backtrace
  top[-2] = reinterpret_cast<void*>(&fiber_main);
  for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
  fiber->stack_pointer = &top[-8];
  if (with_tsan()) fiber->tsan = __tsan_create_fiber(0);
  e.pool.push_back(std::move(fiber));
}

bool same_place(Where a, Where b) { return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0); }

[[noreturn]] void fail_stuck(Engine& e) {
  int done = 0;
  for (const Fiber* fiber : e.fibers) done += fiber->state == State::Done;
  std::fprintf(stderr, "host_cuda: %d of %d threads have ended and the others wait for each other:\n", done, e.threads);
  const Fiber* before = nullptr;
  int shown = 0;
  for (const Fiber* fiber : e.fibers) {
    if (fiber->state != State::Waiting || shown == 8) continue;
    if (before && same_place(before->waits_at, fiber->waits_at) && before->waits_mask == fiber->waits_mask &&
        before->warp == fiber->warp)
      continue;
    std::fprintf(stderr, "  thread %d (warp %d, lane %d) in %s, mask %08x, %s:%d\n", fiber->thread, fiber->warp,
                 fiber->lane, fiber->waits_in, fiber->waits_mask, fiber->waits_at.file, fiber->waits_at.line);
    before = fiber;
    ++shown;
  }
  fail("a barrier or an operation of a warp that not all reach");
}

unsigned nth_bit(unsigned bits, uint32_t n) {
  for (; n > 0; --n) bits &= bits - 1;
  return static_cast<unsigned>(std::countr_zero(bits));
}

// The thread that runs next, nullptr when none can.
Fiber* pick(Engine& e) {
  if (!e.ready_warps) return nullptr;
  unsigned warp = e.current_warp;
  const bool goes_on = e.ready_warps >> warp & 1;
  unsigned lane = 0;
  switch (options().order) {
    case Order::Forward:
      if (!goes_on) warp = static_cast<unsigned>(std::countr_zero(e.ready_warps));
      lane = static_cast<unsigned>(std::countr_zero(e.warps[warp].ready));
      break;
    case Order::Reverse:
      if (!goes_on) warp = 31 - static_cast<unsigned>(std::countl_zero(e.ready_warps));
      lane = 31 - static_cast<unsigned>(std::countl_zero(e.warps[warp].ready));
      break;
    case Order::Random: {
      if (e.random.below(256) == 0)
        for (Warp& w : e.warps) w.priority = e.random();
      warp = static_cast<unsigned>(std::countr_zero(e.ready_warps));
      for (unsigned rest = e.ready_warps; rest; rest &= rest - 1)
        if (const auto w = static_cast<unsigned>(std::countr_zero(rest)); e.warps[w].priority > e.warps[warp].priority)
          warp = w;
      lane = nth_bit(e.warps[warp].ready, e.random.below(static_cast<uint32_t>(std::popcount(e.warps[warp].ready))));
      break;
    }
  }
  e.current_warp = warp;
  e.warps[warp].ready &= ~(1u << lane);
  if (!e.warps[warp].ready) e.ready_warps &= ~(1u << warp);
  return e.fibers[warp * 32 + lane];
}

// Not memset, which sanitizers intercept.
void fill_bytes(char* to, int value, size_t bytes) {
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}

// What lies outside the arrays is as it was filled; AddressSanitizer, where it is there, has seen more.
void check_margins(Engine& e) {
  if (__asan_init) return;
  const auto untouched = [&](const char* from, const char* to) {
    for (const char* p = from; p < to; ++p)
      if (static_cast<unsigned char>(*p) != options().fill)
        fail("shared memory was written at offset %td, outside every array (dynamic: %zu bytes)",
             p - (e.arena + kMargin), e.dynamic);
  };
  const char* p = e.arena;
  untouched(p, p + kMargin);
  p += kMargin + e.dynamic;
  for (const StaticArray& array : e.arrays) {
    untouched(p, array.data);
    p = array.data + array.bytes;
  }
  untouched(p, e.arena + e.top);
}

void run_block(Engine& e, uint3 index, dim3 block, size_t shared) {
  blockIdx = index;
  e.arena_number = (e.arena_number + 1) % kArenas;
  if (e.arena_number == 0) {
    acquire(&e.finished);
    release(&e.launched);
  }
  e.arena = e.arenas + static_cast<size_t>(e.arena_number) * kArena;
  e.dynamic = e.used = shared;
  e.top = kMargin + shared + kGap;
  fill_bytes(e.arena, options().fill, e.top);
  e.arrays.clear();
  poison(e.arena, kArena);
  unpoison(e.arena + kMargin, shared);
  if (with_tsan()) e.set ^= 1;
  for (Warp& warp : e.warps) {
    warp.ready = warp.pending = 0;
    warp.priority = e.random();
  }
  e.barrier.arrived = 0;
  e.ready_warps = 0;
  for (int i = 0; i < e.threads; ++i) {
    Fiber& fiber = *(e.fibers[i] = e.pool[e.set * e.threads + i].get());
    fiber.thread = i;
    fiber.warp = i / 32;
    fiber.lane = i % 32;
    const auto n = static_cast<unsigned>(i);
    fiber.index = uint3{n % block.x, n / block.x % block.y, n / (block.x * block.y)};
    fiber.at_barrier = false;
    make_ready(e, fiber);
  }
  for (int left = e.threads; left > 0;) {
    Fiber* const fiber = pick(e);
    if (!fiber) fail_stuck(e);
    to_fiber(e, *fiber);
    left -= fiber->state == State::Done;
  }
  check_margins(e);
}

}  // namespace

void say_where() {
  if (in_kernel())
    std::fprintf(stderr, "host_cuda: in kernel %s, block (%u, %u, %u), thread (%u, %u, %u)\n", engine->kernel,
                 blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  std::fprintf(stderr, "host_cuda: GTA_HOST_CUDA=%s\n", options_text().c_str());
}

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "host_cuda: error: ");
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  va_end(arguments);
  say_where();
  std::_Exit(99);
}

bool in_kernel() { return engine && engine->current; }
int lane() { return engine->current->lane; }

void run_grid(const char* name, dim3 grid, dim3 block, size_t shared, const std::function<void()>& body) {
  const IgnoredByTsan ignored;
  const size_t blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
  const auto threads = static_cast<int>(block.x * block.y * block.z);
  static std::atomic<uint64_t> launches{0};
  const uint64_t seed = options().seed * 0x9e3779b97f4a7c15ull + ++launches * 7919;
  // Blocks may run in any order, so they do.
  std::vector<uint32_t> order(blocks);
  for (size_t i = 0; i < blocks; ++i)
    order[i] = static_cast<uint32_t>(options().order == Order::Reverse ? blocks - 1 - i : i);
  if (options().order == Order::Random) {
    Random random(seed);
    for (size_t i = blocks; i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
  }
  const auto prepared = [&]() -> Engine& {
    Engine& e = engine_of_this_thread();
    e.body = &body;
    e.kernel = name;
    e.threads = threads;
    e.warps.resize((threads + 31) / 32);
    while (e.pool.size() < static_cast<size_t>(threads) * (with_tsan() ? 2 : 1)) add_fiber(e);
    e.fibers.resize(threads);
    blockDim = block;
    gridDim = grid;
    if (with_tsan()) e.main_tsan = __tsan_get_current_fiber();
    return e;
  };
  const auto run = [&](Engine& e, size_t i) {
    const uint32_t b = order[i];
    e.random = Random(seed + b);
    run_block(e, uint3{b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y}, block, shared);
  };
  if (!with_tsan()) {
    gta::parallel_for(static_cast<int64_t>(blocks), [&](int64_t i) { run(prepared(), static_cast<size_t>(i)); });
    return;
  }
  Engine& e = prepared();
  release(&e.launched);
  for (size_t i = 0; i < blocks; ++i) run(e, i);
  acquire(&e.finished);
}

void* dynamic_shared() { return engine->arena + kMargin; }

void* static_shared(const void* tag, size_t bytes, size_t alignment) {
  Engine& e = *engine;
  for (const StaticArray& array : e.arrays)
    if (array.tag == tag) return array.data;
  alignment = std::max<size_t>(alignment, 16);
  const size_t offset = (e.top + alignment - 1) / alignment * alignment;
  e.used += bytes;
  if (e.used - e.dynamic > kMostStatic || e.used > options().shared)
    fail("a block has %zu bytes of static shared memory beside %zu of dynamic: too many", e.used - e.dynamic,
         e.dynamic);
  fill_bytes(e.arena + e.top, options().fill, offset + bytes + kGap - e.top);
  e.top = offset + bytes + kGap;
  e.arrays.push_back({tag, e.arena + offset, bytes});
  unpoison(e.arena + offset, bytes);
  return e.arena + offset;
}

void check_shared(const void* p, int bytes, const char* what, Where where) {
  if (reinterpret_cast<uintptr_t>(p) % static_cast<unsigned>(bytes) != 0)
    fail("%s at %s:%d: its address %p is misaligned: expected a multiple of %d", what, where.file, where.line, p,
         bytes);
  const auto* const first = static_cast<const char*>(p);
  const auto inside = [&](const char* data, size_t size) { return first >= data && first + bytes <= data + size; };
  bool found = inside(engine->arena + kMargin, engine->dynamic);
  for (const StaticArray& array : engine->arrays) found = found || inside(array.data, array.bytes);
  if (!found)
    fail(
        "%s at %s:%d: its address is outside every array of this block's shared memory: offset %td, %zu bytes are "
        "dynamic",
        what, where.file, where.line, first - (engine->arena + kMargin), engine->dynamic);
}

int barrier(Reduction reduction, int predicate, Where where) {
  Engine& e = *engine;
  Fiber& fiber = *e.current;
  Barrier& b = e.barrier;
  if (b.arrived == 0) {
    b.reduction = reduction;
    b.where = where;
    b.sum = reduction == Reduction::And;
  } else if (!same_place(b.where, where) || b.reduction != reduction) {
    fail("a barrier in divergent code: this thread is at %s:%d, others are at %s:%d", where.file, where.line,
         b.where.file, b.where.line);
  }
  if (reduction == Reduction::And) b.sum &= predicate != 0;
  if (reduction == Reduction::Or) b.sum |= predicate != 0;
  if (reduction == Reduction::Add) b.sum += predicate != 0;
  const unsigned generation = b.generation;
  void* const sync = &b.syncs[2 * e.set + (generation & 1)];
  release(sync);
  if (++b.arrived == e.threads) {
    b.arrived = 0;
    b.results[generation & 1] = b.sum;
    ++b.generation;
    for (Fiber* other : e.fibers)
      if (other->at_barrier) {
        other->at_barrier = false;
        make_ready(e, *other);
      }
    for (Warp& warp : e.warps) warp.priority = e.random();
    make_ready(e, fiber);  // the last to come gets no head start
    to_main(e, fiber);
  } else {
    fiber.at_barrier = true;
    wait(e, fiber, "__syncthreads", where, 0);
  }
  acquire(sync);
  return b.results[generation & 1];
}

void warp_operation(unsigned mask, LaneFunction function, void* operand, bool orders_memory, const char* what,
                    Where where) {
  Engine& e = *engine;
  Fiber& fiber = *e.current;
  Warp& warp = e.warps[fiber.warp];
  const int lanes = std::min(32, e.threads - fiber.warp * 32);
  if (lanes < 32) {
    if (mask != ~0u && mask >> lanes)
      fail("%s at %s:%d: the mask %08x names lanes that the block does not have: expected at most %d", what, where.file,
           where.line, mask, lanes);
    mask &= (1u << lanes) - 1;
  }
  if (!(mask >> fiber.lane & 1))
    fail("%s at %s:%d: lane %d is not in its own mask %08x", what, where.file, where.line, fiber.lane, mask);
  Meeting* meeting = nullptr;
  for (unsigned rest = warp.pending; rest && !meeting; rest &= rest - 1) {
    Meeting& m = warp.meetings[std::countr_zero(rest)];
    if (m.mask == mask && !(m.arrived >> fiber.lane & 1)) meeting = &m;
  }
  if (!meeting) {
    const int i = std::countr_one(warp.pending);
    if (i == 32) fail("a warp has more than 32 operations that not all lanes reach");
    warp.pending |= 1u << i;
    meeting = &warp.meetings[i];
    meeting->mask = mask;
    meeting->arrived = 0;
    meeting->function = function;
    meeting->what = what;
    meeting->where = where;
    meeting->sync = &warp.syncs[e.set][warp.next_sync++ % 64];
  } else if (meeting->function != function || !same_place(meeting->where, where)) {
    fail("a warp is divergent: lane %d is in %s at %s:%d, other lanes of the mask %08x are in %s at %s:%d", fiber.lane,
         what, where.file, where.line, mask, meeting->what, meeting->where.file, meeting->where.line);
  }
  meeting->operands[fiber.lane] = operand;
  meeting->arrived |= 1u << fiber.lane;
  void* const sync = meeting->sync;
  if (orders_memory) release(sync);
  if (meeting->arrived == mask) {
    function(meeting->operands, mask);
    warp.pending &= ~(1u << (meeting - warp.meetings));
    for (unsigned rest = mask & ~(1u << fiber.lane); rest; rest &= rest - 1)
      make_ready(e, *e.fibers[fiber.warp * 32 + std::countr_zero(rest)]);
  } else {
    wait(e, fiber, what, where, mask);
  }
  if (orders_memory) acquire(sync);
}

void cp_async_begin(const AsyncCopy& copy) {
  poison(copy.to, static_cast<size_t>(copy.size));
  engine->current->open.push_back(copy);
}

void cp_async_commit() {
  Fiber& fiber = *engine->current;
  fiber.groups.push_back(std::move(fiber.open));
  fiber.open.clear();
}

bool cp_async_next(int left, AsyncCopy& copy) {
  Fiber& fiber = *engine->current;
  while (static_cast<int>(fiber.groups.size()) > left) {
    std::vector<AsyncCopy>& group = fiber.groups.front();
    if (!group.empty()) {
      copy = group.back();
      group.pop_back();
      unpoison(copy.to, static_cast<size_t>(copy.size));
      return true;
    }
    fiber.groups.pop_front();
  }
  return false;
}

}  // namespace host_cuda
