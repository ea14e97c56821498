// Matrix products with weights packed into panels of 32 output channels (native/packing.py makes them).
//
// A kernel computes one panel for up to kMaxRows rows of activations, all of whose sums stay in registers. Every sum
// runs over the inputs in one and the same order, whatever the number of rows: a row's result does not depend on which
// other rows are computed with it. Knows nothing of layers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "vectors.h"

namespace trichord {

using Byte = std::uint8_t;

constexpr int kPanel = 32;    // output channels: two vectors of float sums
constexpr int kMaxRows = 12;  // 12 x 2 sums, 2 weights and a broadcast activation fill the 32 registers
constexpr int kInt8MaxRows = 6;  // the same with sums of a group beside the sums of all
constexpr int kGroup = 32;    // inputs that share an int8 scale, in weights as in activations
constexpr int kLine = 64;     // bytes of a cache line
constexpr int kInt8GroupBytes = kPanel * (kGroup + 2);  // 32 bf16 scales, then the weights

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

// tile = rows x panel. `fetch`, unless null, is a panel that will be needed next: it is asked for from memory meanwhile.
using PanelKernel = void (*)(float* tile, const Byte* rows, std::size_t row_bytes, int inputs, const Byte* panel,
                             const Byte* fetch);

template <int kRows>
void bf16_panel(float* tile, const Byte* rows, std::size_t row_bytes, int inputs, const Byte* panel,
                const Byte* fetch) {
  __m512 sum[kRows][2];
  clear(sum);
  accumulate(sum, reinterpret_cast<const Bf16*>(rows), row_bytes / sizeof(Bf16), panel, panel + kLine, 2 * kLine,
             inputs / 2, fetch);
  store(tile, kPanel, sum);
}

// A row of int8 activations: the values, then per group a float scale, then per group what cancels the weights' offset.
struct Int8Row {
  const Byte* values;
  int inputs;

  const std::int32_t* quads() const { return reinterpret_cast<const std::int32_t*>(values); }
  const float* scales() const { return reinterpret_cast<const float*>(values + inputs); }
  const std::int32_t* offsets() const { return reinterpret_cast<const std::int32_t*>(scales() + inputs / kGroup); }
};

// sum[r] += one group's products: exact in int32, then scaled by the group's two scales.
template <int kRows>
inline __attribute__((always_inline)) void accumulate_group(__m512 (&sum)[kRows][2], const Int8Row (&rows)[kRows],
                                                            int group, const Byte* weights) {
  __m512i dot[kRows][2];
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) dot[row][0] = dot[row][1] = _mm512_set1_epi32(rows[row].offsets()[group]);
  const Byte* quads = weights + kLine;
#pragma GCC unroll 8
  for (int quad = 0; quad < kGroup / 4; ++quad) {
    const __m512i low = _mm512_load_si512(quads + quad * 2 * kLine);
    const __m512i high = _mm512_load_si512(quads + quad * 2 * kLine + kLine);
#pragma GCC unroll 6
    for (int row = 0; row < kRows; ++row) {
      const __m512i input = _mm512_set1_epi32(rows[row].quads()[group * (kGroup / 4) + quad]);
      dot[row][0] = _mm512_dpbusd_epi32(dot[row][0], low, input);
      dot[row][1] = _mm512_dpbusd_epi32(dot[row][1], high, input);
    }
  }
  const __m512 low_scale = widen(reinterpret_cast<const Bf16*>(weights));
  const __m512 high_scale = widen(reinterpret_cast<const Bf16*>(weights) + kLanes);
#pragma GCC unroll 6
  for (int row = 0; row < kRows; ++row) {
    const __m512 scale = _mm512_set1_ps(rows[row].scales()[group]);
    sum[row][0] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot[row][0]), low_scale), scale, sum[row][0]);
    sum[row][1] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot[row][1]), high_scale), scale, sum[row][1]);
  }
}

template <int kRows>
void int8_panel(float* tile, const Byte* rows, std::size_t row_bytes, int inputs, const Byte* panel,
                const Byte* fetch) {
  Int8Row row[kRows];
  for (int r = 0; r < kRows; ++r) row[r] = {rows + r * row_bytes, inputs};
  __m512 sum[kRows][2];
  clear(sum);
  for (int group = 0; group < inputs / kGroup; ++group) {
    if (fetch)
      for (int line = 0; line < kInt8GroupBytes; line += kLine)
        _mm_prefetch(fetch + group * kInt8GroupBytes + line, _MM_HINT_T1);
    accumulate_group(sum, row, group, panel + group * kInt8GroupBytes);
  }
  store(tile, kPanel, sum);
}

// bf16 values, a multiple of kGroup of them from index `begin`, to int8 of their groups: |value| <= 127 scales.
inline void quantise(const Bf16* values, Byte* target, int inputs, int begin, int end) {
  const Int8Row row{target, inputs};
  for (int at = begin; at < end; at += kGroup) {
    const __m512 low = widen(values + at), high = widen(values + at + kLanes);
    const float peak = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    const __m512 inverse = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0.0f);
    const __m512i low_units = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
    const __m512i high_units = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + at), _mm512_cvtepi32_epi8(low_units));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + at + kLanes), _mm512_cvtepi32_epi8(high_units));
    const_cast<float*>(row.scales())[at / kGroup] = peak / 127.0f;
    // Weights are stored as unsigned, 128 too large: what that adds is 128 times the sum of the activations.
    const_cast<std::int32_t*>(row.offsets())[at / kGroup] =
        -128 * _mm512_reduce_add_epi32(_mm512_add_epi32(low_units, high_units));
  }
}

// Kernels for 1, 2, ... rows.
template <int... kRows>
constexpr std::array<PanelKernel, sizeof...(kRows)> bf16_kernels(std::integer_sequence<int, kRows...>) {
  return {bf16_panel<kRows + 1>...};
}

template <int... kRows>
constexpr std::array<PanelKernel, sizeof...(kRows)> int8_kernels(std::integer_sequence<int, kRows...>) {
  return {int8_panel<kRows + 1>...};
}

// What differs between the two kinds of weights.
struct Format {
  const PanelKernel* kernels;
  int max_rows;
  int bytes_per_32_inputs;  // of a panel

  std::size_t panel_bytes(int inputs) const { return static_cast<std::size_t>(inputs) / 32 * bytes_per_32_inputs; }
};

inline const Format& format(bool int8) {
  static constexpr auto kBf16 = bf16_kernels(std::make_integer_sequence<int, kMaxRows>{});
  static constexpr auto kInt8 = int8_kernels(std::make_integer_sequence<int, kInt8MaxRows>{});
  static constexpr Format kFormats[] = {{kBf16.data(), kMaxRows, kPanel * 32 * 2},
                                        {kInt8.data(), kInt8MaxRows, kInt8GroupBytes}};
  return kFormats[int8];
}

}  // namespace trichord
