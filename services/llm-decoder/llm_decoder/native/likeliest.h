// The likeliest token of each row of logits, found while they are computed: later they are in the caches of several
// cores, and reading all of them once more takes a hundredth of a step.
#pragma once

#include <algorithm>
#include <limits>

#include "product.h"
#include "rows.h"

namespace trichord {

// Of one step: notes the peak of each panel as it comes, and looks into the highest one at the end.
class Likeliest {
 public:
  explicit Likeliest(int vocab) : vocab_(vocab), num_panels_((vocab + kPanel - 1) / kPanel), peaks_(num_panels_) {}

  // Makes room for so many rows.
  void reserve(int num_rows) { peaks_.reserve(num_rows); }

  // Notes the highest logit of a panel, of which the last may be padded.
  void note(int row, int panel, const Sums& sums) {
    const int width = width_of(panel);
    const __m512 low = keep_first(width, sums.low), high = keep_first(width - kLanes, sums.high);
    peaks_[row][panel] = _mm512_reduce_max_ps(_mm512_max_ps(low, high));
  }

  // The first token with the highest logit of a row all of whose panels were noted.
  int find(int row, const float* logits) const {
    const int panel = index_of_highest(peaks_[row], num_panels_);
    return panel * kPanel + index_of_highest(logits + panel * kPanel, width_of(panel));
  }

 private:
  int width_of(int panel) const { return std::min(kPanel, vocab_ - panel * kPanel); }

  // -inf for all but the first `count`: what pads the vocabulary is 0, and may be higher than any logit.
  static __m512 keep_first(int count, __m512 logits) {
    const auto mask = static_cast<__mmask16>((1u << std::clamp(count, 0, kLanes)) - 1);
    return _mm512_mask_mov_ps(_mm512_set1_ps(-std::numeric_limits<float>::infinity()), mask, logits);
  }

  static int index_of_highest(const float* values, int count) {
    return static_cast<int>(std::max_element(values, values + count) - values);
  }

  const int vocab_, num_panels_;
  Rows<float> peaks_;  // of each panel
};

}  // namespace trichord
