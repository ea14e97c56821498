// Matrix products with weights packed into panels of 32 output channels (native/packing.py makes them).
//
// A kernel computes one panel for up to kMaxRows rows of activations, all of whose sums stay in registers. Every sum
// runs over the inputs in one and the same order, whatever the number of rows: a row's result does not depend on which
// other rows are computed with it. Knows nothing of layers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "vectors.h"

namespace trichord {

using Byte = std::uint8_t;

constexpr int kPanel = 32;    // output channels: two vectors of float sums
constexpr int kMaxRows = 12;  // 12 x 2 sums, 2 weights and a broadcast activation fill the 32 registers
constexpr int kGroup = 32;    // inputs that share an int8 scale, in weights as in activations
constexpr int kLine = 64;     // bytes of a cache line
constexpr int kBf16GroupBytes = kPanel * kGroup * 2;
constexpr int kPageBytes = kBf16GroupBytes;
constexpr int kInt8GroupBytes = kPanel * (kGroup + 2);  // 32 bf16 scales, then the weights

inline void prefetch(const Byte* memory, int num_bytes) {
  for (int at = 0; at < num_bytes; at += kLine) _mm_prefetch(memory + at, _MM_HINT_T1);
}

// What a kernel asks for from memory while it computes, piece by piece: one for each group of inputs.
struct Fetch {
  const Byte* panel = nullptr;         // of weights, or
  const Byte* const* pages = nullptr;  // kPageBytes each, wherever they are,
  std::size_t offset = 0;              // so far from there

  const Byte* piece(int group, int bytes_per_group) const {
    if (pages) return pages[group] + offset;
    return panel ? panel + group * bytes_per_group : nullptr;
  }
};

// The tile that a kernel fills: row by row, 32 floats each.
using Tile = float[kMaxRows * kPanel];

// sum[r] += the products of `pairs` pairs of bf16 of row r with two vectors of pairs of weights, `step` bytes apart.
template <int kRows>
inline __attribute__((always_inline)) void accumulate(__m512 (&sum)[kRows][2], const Bf16* rows, std::size_t row_stride,
                                                      const Byte* low, const Byte* high, std::size_t step, int pairs,
                                                      const Byte* fetch = nullptr) {
  for (int pair = 0; pair < pairs; ++pair) {
    const auto low_weights = (__m512bh)_mm512_load_si512(low + pair * step);
    const auto high_weights = (__m512bh)_mm512_load_si512(high + pair * step);
    if (fetch) {
      _mm_prefetch(fetch + pair * 2 * kLine, _MM_HINT_T1);
      _mm_prefetch(fetch + pair * 2 * kLine + kLine, _MM_HINT_T1);
    }
#pragma GCC unroll 12
    for (int row = 0; row < kRows; ++row) {
      const auto* inputs = reinterpret_cast<const std::int32_t*>(rows + row * row_stride);
      const auto input = (__m512bh)_mm512_set1_epi32(inputs[pair]);
      sum[row][0] = _mm512_dpbf16_ps(sum[row][0], input, low_weights);
      sum[row][1] = _mm512_dpbf16_ps(sum[row][1], input, high_weights);
    }
  }
}

template <int kRows>
inline __attribute__((always_inline)) void clear(__m512 (&sum)[kRows][2]) {
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) sum[row][0] = sum[row][1] = _mm512_setzero_ps();
}

template <int kRows>
inline __attribute__((always_inline)) void store(float* tile, std::size_t stride, const __m512 (&sum)[kRows][2]) {
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
    _mm512_storeu_ps(tile + row * stride, sum[row][0]);
    _mm512_storeu_ps(tile + row * stride + kLanes, sum[row][1]);
  }
}

// tile = rows x panel; `fetch` is what will be needed next.
using PanelKernel = void (*)(float* tile, const Byte* rows, std::size_t row_bytes, int inputs, const Byte* panel,
                             const Fetch& fetch);

template <int kRows>
void bf16_panel(float* tile, const Byte* rows, std::size_t row_bytes, int inputs, const Byte* panel,
                const Fetch& fetch) {
  __m512 sum[kRows][2];
  clear(sum);
  for (int group = 0; group < inputs / kGroup; ++group) {
    const Byte* weights = panel + group * kBf16GroupBytes;
    accumulate(sum, reinterpret_cast<const Bf16*>(rows) + group * kGroup, row_bytes / sizeof(Bf16), weights,
               weights + kLine, 2 * kLine, kGroup / 2, fetch.piece(group, kBf16GroupBytes));
  }
  store(tile, kPanel, sum);
}

// What belongs to a group of int8 activations; those of a row follow its values.
struct Int8Group {
  float scale;
  std::int32_t offset;  // what cancels the offset of the weights
};

inline std::size_t int8_row_bytes(int inputs) { return inputs + inputs / kGroup * sizeof(Int8Group); }

// tile += one group's products: exact in int32, then scaled by the group's two scales.
template <int kRows>
inline __attribute__((always_inline)) void accumulate_group(float* tile, const Byte* values, const Byte* groups,
                                                            std::size_t row_bytes, const Byte* weights) {
  const auto group = [=](int row) { return reinterpret_cast<const Int8Group*>(groups + row * row_bytes); };
  __m512i dot[kRows][2];
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) dot[row][0] = dot[row][1] = _mm512_set1_epi32(group(row)->offset);
  const Byte* quads = weights + kLine;
#pragma GCC unroll 8
  for (int quad = 0; quad < kGroup / 4; ++quad) {
    const __m512i low = _mm512_load_si512(quads + quad * 2 * kLine);
    const __m512i high = _mm512_load_si512(quads + quad * 2 * kLine + kLine);
#pragma GCC unroll 12
    for (int row = 0; row < kRows; ++row) {
      const __m512i input = _mm512_set1_epi32(reinterpret_cast<const std::int32_t*>(values + row * row_bytes)[quad]);
      dot[row][0] = _mm512_dpbusd_epi32(dot[row][0], low, input);
      dot[row][1] = _mm512_dpbusd_epi32(dot[row][1], high, input);
    }
  }
  const __m512 low_scale = widen(reinterpret_cast<const Bf16*>(weights));
  const __m512 high_scale = widen(reinterpret_cast<const Bf16*>(weights) + kLanes);
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
    const __m512 scale = _mm512_set1_ps(group(row)->scale);
    float* sums = tile + row * kPanel;
    const __m512 low = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[row][0]), low_scale);
    const __m512 high = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[row][1]), high_scale);
    _mm512_store_ps(sums, _mm512_fmadd_ps(low, scale, _mm512_load_ps(sums)));
    _mm512_store_ps(sums + kLanes, _mm512_fmadd_ps(high, scale, _mm512_load_ps(sums + kLanes)));
  }
}

template <int kRows>
void int8_panel(float* tile, const Byte* rows, std::size_t row_bytes, int inputs, const Byte* panel,
                const Fetch& fetch) {
  std::fill(tile, tile + kRows * kPanel, 0.0f);
  for (int group = 0; group < inputs / kGroup; ++group) {
    if (const Byte* piece = fetch.piece(group, kInt8GroupBytes))
      prefetch(piece, fetch.pages ? kPageBytes : kInt8GroupBytes);
    accumulate_group<kRows>(tile, rows + group * kGroup, rows + inputs + group * sizeof(Int8Group), row_bytes,
                            panel + group * kInt8GroupBytes);
    // The sums rest in the tile: were they kept in registers too, those of a group would no longer fit.
    asm volatile("" ::: "memory");
  }
}

// bf16 values, a multiple of kGroup of them from index `begin`, to int8 of their groups: |value| <= 127 scales.
inline void quantise(const Bf16* values, Byte* target, int inputs, int begin, int end) {
  auto* groups = reinterpret_cast<Int8Group*>(target + inputs);
  for (int at = begin; at < end; at += kGroup) {
    const __m512 low = widen(values + at), high = widen(values + at + kLanes);
    const float peak = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    const __m512 inverse = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0.0f);
    const __m512i low_units = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
    const __m512i high_units = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + at), _mm512_cvtepi32_epi8(low_units));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + at + kLanes), _mm512_cvtepi32_epi8(high_units));
    // Weights are stored as unsigned, 128 too large: what that adds is 128 times the sum of the activations.
    groups[at / kGroup] = {peak / 127.0f, -128 * _mm512_reduce_add_epi32(_mm512_add_epi32(low_units, high_units))};
  }
}

// What differs between the two kinds of weights.
struct Format {
  std::array<PanelKernel, kMaxRows> kernels;  // for 1, 2, ... rows
  int bytes_per_group;                        // of a panel, for a group of inputs

  std::size_t panel_bytes(int inputs) const { return static_cast<std::size_t>(inputs / kGroup) * bytes_per_group; }
};

template <int... kRows>
const Format& format(bool int8, std::integer_sequence<int, kRows...>) {
  static constexpr Format kBf16{{bf16_panel<kRows + 1>...}, kBf16GroupBytes};
  static constexpr Format kInt8{{int8_panel<kRows + 1>...}, kInt8GroupBytes};
  return int8 ? kInt8 : kBf16;
}

inline const Format& format(bool int8) { return format(int8, std::make_integer_sequence<int, kMaxRows>{}); }

}  // namespace trichord
