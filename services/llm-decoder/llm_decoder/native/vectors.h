// Sixteen floats at a time: bf16 and back, powers of two, SiLU.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace trichord {

using Bf16 = std::uint16_t;

constexpr int kLanes = 16;
constexpr float kLog2E = 1.44269504f;

inline __m512 widen(const Bf16* source) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// Rounds to nearest, ties to even.
inline __m256i narrow(__m512 values) { return (__m256i)_mm512_cvtneps_pbh(values); }

inline void store(Bf16* target, __m512 values) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), narrow(values));
}

// 2^x to about 2e-7, relative: the whole part goes into the exponent; for the rest, at most a half, seven terms of
// Taylor's series do. Very negative x give 0.
inline __m512 exp2(__m512 x) {
  constexpr float kTerms[] = {1.540353e-4f, 1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f};
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(x, whole);
  __m512 power = _mm512_set1_ps(kTerms[0]);
  for (int term = 1; term < 6; ++term) power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(kTerms[term]));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(power, whole);
}

// x * sigmoid(x).
inline __m512 silu(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_div_ps(x, _mm512_add_ps(one, exp2(_mm512_mul_ps(x, _mm512_set1_ps(-kLog2E)))));
}

}  // namespace trichord
