// The two products of few queries with a block of a cache, in tiles of registers: a number of the cache is read and
// widened once for up to four rows of queries, and there is one reduction across lanes for as many scores as a vector
// has lanes. Rows of keys are read from their first number to their last, one after the other, which is what a
// processor fetches ahead by itself into the nearest cache.
//
// Memory that is needed soon is fetched meanwhile: ahead() is called with every step of the cache's numbers.
//
// Rows of queries and of sums lie in the order in which numbers of the cache are widened (Widened<T>::place), with
// zeros up to a whole step. A tile's queries lie together, of each vector's numbers all rows' in turn (query_place):
// one pointer walks over them while another walks over the keys.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/backends/cpu/vectors.h"

namespace gta::cpu {

// Rows of one head: number c of row i is data[i * pitch + c], c < dim.
template <class T>
struct CachedRows {
  const T* data;
  int64_t pitch, dim;
  const T* row(int64_t i) const { return data + i * pitch; }
};

// Rows of queries, of scores or of sums.
template <class C>
struct TileRows {
  C* data;
  int64_t pitch;
  C* row(int64_t i) const { return data + i * pitch; }
};

// Rows of queries that a tile has at most.
template <class C>
inline constexpr int kTileRows = kLanes<C> < 4 ? kLanes<C> : 4;
// Heads of a tile of R rows: with them it has as many sums as a vector has lanes, or nearly.
template <class C, int R>
inline constexpr int kTileHeads = kLanes<C> / R;
// Scores that a tile writes behind those that are wanted, at most.
inline constexpr int64_t kMostTileHeads = 16;

// Whether a tile has numbers behind a head's last one to stay away from. Nothing may be called while sums are in
// registers, so such tiles are others.
enum class Steps { Whole, LastInPart };

// The first `count` numbers of a row with zeros behind them, in `room`: what is behind them in memory is not touched.
template <class T, size_t size>
const T* padded(const T* from, int64_t count, T (&room)[size]) {
  std::fill(std::copy_n(from, count, room), room + size, T{});
  return room;
}

// Where number c of row r is among the queries of a tile of so many rows.
template <class T>
constexpr int64_t query_place(int64_t c, int64_t r, int64_t rows) {
  constexpr int64_t lanes = kLanes<compute_type<T>>;
  const int64_t place = Widened<T>::place(c);
  return (place / lanes * rows + r) * lanes + place % lanes;
}

// A tile's sums, of each row one for each head or key, become scores.
template <int R, class C>
[[gnu::always_inline]] inline void store_scores(const Vector<C> (&sums)[kLanes<C>], const TileRows<C>& scores) {
  const Vector<C> all = sum_lanes<C>(sums);
  constexpr size_t bytes = kTileHeads<C, R> * sizeof(C);
  for (int r = 0; r < R; ++r)
    std::memcpy(scores.row(r), reinterpret_cast<const char*>(&all) + static_cast<size_t>(r) * bytes, bytes);
}

// All heads of rows of a cache in the order in which they lie, and the queries of each.
template <class T, class C>
struct CachedHeads {
  const T* numbers;      // of the head that is next
  const C* queries;      // of that head: a tile's
  int64_t dim, heads;    // of a head, and of a row
  int64_t to_next_row;   // numbers between the last head of a row and the first of the next
  int64_t query_stride;  // between the queries of two heads
  int64_t left;          // heads of all rows that are still to come
  int64_t head = 0;
  void next() {
    if (--left <= 0) return;  // whoever goes on has the last one again
    numbers += dim;
    queries += query_stride;
    if (++head < heads) return;
    head = 0;
    numbers += to_next_row;
    queries -= heads * query_stride;
  }
};

// scores(r, i) = q_r . k_i of R rows, of the next heads, each with its own queries. Where fewer are left the last fills
// the rest.
template <int R, Steps steps, class T, class C, class F>
void score_heads_tile(CachedHeads<T, C>& heads, const TileRows<C>& scores, F& ahead) {
  using Wide = Widened<T>;
  constexpr int parts = Wide::kParts, n = kTileHeads<C, R>;
  Vector<C> sums[kLanes<C>] = {};
  CachedHeads<T, C> at_head = heads;  // in registers, as is what fetches
  F fetch = ahead;
  const int64_t dim = heads.dim, whole = dim / Wide::kStep * Wide::kStep;
  unrolled<n>([&](auto i) {
    const C* q = at_head.queries;
    const auto add_step = [&](const T* from) __attribute__((always_inline)) {
      Vector<C> k[parts];
      Wide::load(from, k);
      fetch();
      unrolled<R * parts>([&](auto j) { sums[j % R * n + i] += load_vector<C>(q + j * kLanes<C>) * k[j / R]; });
      q += R * Wide::kStep;
    };
    const T* const end = at_head.numbers + whole;
    for (const T* k = at_head.numbers; k < end; k += Wide::kStep) add_step(k);
    if constexpr (steps == Steps::LastInPart) {
      T rest[Wide::kStep];
      add_step(padded(end, dim - whole, rest));
    }
    at_head.next();
  });
  heads = at_head;
  ahead = fetch;
  store_scores<R>(sums, scores);
}

// The same of `count` keys of one head, of all of them step by step: their queries are loaded once, which is faster
// where there are more rows than a tile has and all but the first find the keys in the nearest cache.
template <int R, Steps steps, class T, class C, class F>
void score_keys_tile(const C* q, const CachedRows<T>& keys, int64_t count, const TileRows<C>& scores, F& ahead) {
  using Wide = Widened<T>;
  constexpr int parts = Wide::kParts, n = kTileHeads<C, R>;
  Vector<C> sums[kLanes<C>] = {};
  const T* key[n];
  unrolled<n>([&](auto i) { key[i] = keys.row(std::min<int64_t>(i, count - 1)); });
  F fetch = ahead;  // in registers
  const auto add_step = [&](int64_t at, auto&& of_key) __attribute__((always_inline)) {
    Vector<C> left[R * parts];
    unrolled<R * parts>([&](auto i) { left[i] = load_vector<C>(q + at * R + i * kLanes<C>); });
    unrolled<n>([&](auto i) {
      Vector<C> right[parts];
      Wide::load(of_key(i), right);
      fetch();
      unrolled<R * parts>([&](auto j) { sums[j % R * n + i] += left[j] * right[j / R]; });
    });
  };
  const int64_t whole = keys.dim / Wide::kStep * Wide::kStep;
  for (int64_t at = 0; at < whole; at += Wide::kStep) add_step(at, [&](auto i) { return key[i] + at; });
  if constexpr (steps == Steps::LastInPart) {
    T rest[n][Wide::kStep];
    for (int i = 0; i < n; ++i) padded(key[i] + whole, keys.dim - whole, rest[i]);
    add_step(whole, [&](auto i) { return rest[i]; });
  }
  ahead = fetch;
  store_scores<R>(sums, scores);
}

// u_r = factors[r] u_r + sum over keys of p(r, key) v_key, of R rows, and of so many vectors of columns.
template <int R, int vectors, Steps steps, class T, class C, class F>
void value_tile(const TileRows<C>& u, const C* factors, const TileRows<const C>& p, const CachedRows<T>& values,
                int64_t count, F& ahead) {
  using Wide = Widened<T>;
  constexpr int parts = Wide::kParts;
  static_assert(vectors % parts == 0);
  Vector<C> sums[R * vectors];
  unrolled<R * vectors>(
      [&](auto i) { sums[i] = factors[i / vectors] * load_vector<C>(u.row(i / vectors) + i % vectors * kLanes<C>); });
  F fetch = ahead;  // in registers
  const auto add_key = [&](int64_t key, const T* from) __attribute__((always_inline)) {
    unrolled<vectors / parts>([&](auto step) {
      Vector<C> v[parts];
      Wide::load(from + step * Wide::kStep, v);
      fetch();
      unrolled<R * parts>([&](auto j) {
        sums[j / parts * vectors + step * parts + j % parts] += p.row(j / parts)[key] * v[j % parts];
      });
    });
  };
  for (int64_t key = 0; key < count; ++key)
    if constexpr (steps == Steps::Whole) {
      add_key(key, values.row(key));
    } else {
      T rest[vectors / parts * Wide::kStep];
      add_key(key, padded(values.row(key), values.dim, rest));
    }
  ahead = fetch;
  unrolled<R * vectors>([&](auto i) { store_vector(u.row(i / vectors) + i % vectors * kLanes<C>, sums[i]); });
}

// f(std::integral_constant<int, R>, first row) for tiles of `rows`.
template <class C, class F>
void for_row_tiles(int64_t rows, F&& f) {
  constexpr int most = kTileRows<C>;
  int64_t row = 0;
  for (; row + most <= rows; row += most) f(std::integral_constant<int, most>{}, row);
  switch (rows - row) {
    case 3:
      if constexpr (most > 3) f(std::integral_constant<int, 3>{}, row);
      break;
    case 2:
      if constexpr (most > 2) f(std::integral_constant<int, 2>{}, row);
      break;
    case 1:
      f(std::integral_constant<int, 1>{}, row);
      break;
    default:
      break;
  }
}

// Tiles of any number of numbers, and all columns of values.
template <int R, class T, class C, class F>
void score_heads(CachedHeads<T, C>& heads, const TileRows<C>& scores, F& ahead) {
  if (heads.dim % Widened<T>::kStep == 0)
    score_heads_tile<R, Steps::Whole>(heads, scores, ahead);
  else
    score_heads_tile<R, Steps::LastInPart>(heads, scores, ahead);
}
template <int R, class T, class C, class F>
void score_keys(const C* q, const CachedRows<T>& keys, int64_t count, const TileRows<C>& scores, F& ahead) {
  if (keys.dim % Widened<T>::kStep == 0)
    score_keys_tile<R, Steps::Whole>(q, keys, count, scores, ahead);
  else
    score_keys_tile<R, Steps::LastInPart>(q, keys, count, scores, ahead);
}

template <int R, class T, class C, class F>
void add_values(TileRows<C> u, const C* factors, const TileRows<const C>& p, CachedRows<T> values, int64_t count,
                F& ahead) {
  constexpr int parts = Widened<T>::kParts;
  const auto tiles = [&](auto vectors) {
    constexpr int n = decltype(vectors)::value;
    if constexpr (n >= parts)
      for (; values.dim >= n * kLanes<C>;
           u.data += n * kLanes<C>, values.data += n * kLanes<C>, values.dim -= n * kLanes<C>)
        value_tile<R, n, Steps::Whole>(u, factors, p, values, count, ahead);
  };
  // As many sums as three quarters of the registers hold.
  constexpr int most = kVectorRegisters * 3 / 4 / R;
  if constexpr (most >= 8) tiles(std::integral_constant<int, 8>{});
  if constexpr (most >= 4) tiles(std::integral_constant<int, 4>{});
  tiles(std::integral_constant<int, 2>{});
  tiles(std::integral_constant<int, 1>{});
  if (values.dim > 0) value_tile<R, parts, Steps::LastInPart>(u, factors, p, values, count, ahead);
}

}  // namespace gta::cpu
