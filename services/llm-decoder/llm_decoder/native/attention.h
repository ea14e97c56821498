// Grouped-query attention over a paged cache, and the cache's inner order.
//
// Softmax goes through a context in partitions of 256 positions, each computed whole and folded into those before it
// (the online softmax of Dao et al., arXiv 2205.14135). What a query does not see adds exact zeros. So a token's
// attention is the same to the bit, whether it is decoded or part of a prompt, and however the prompt is cut.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "batch.h"
#include "panels.h"

namespace trichord {

constexpr int kSpan = 16;         // positions that lie together in the cache: as many as a vector has scores
constexpr int kPartition = 256;   // positions
constexpr int kMaxHeadDim = 256;
constexpr float kUnseen = -1e30f;  // score of what a query does not see; finite, so that its weight is 0 and never NaN

// The cache is [layers, blocks, kv_heads, block_size / 16] spans of 16 positions, each in the order in which dot
// products read weights: keys as [head_dim / 2][16 positions][2], values as [8 pairs of positions][head_dim][2].
class Cache {
 public:
  Cache(const Shape& shape, Bf16* keys, Bf16* values) : shape_(shape), keys_(keys), values_(values) {}

  const Byte* keys(int layer, int block, int head, int offset) const {
    return reinterpret_cast<const Byte*>(keys_ + span(layer, block, head, offset));
  }
  const Byte* values(int layer, int block, int head, int offset) const {
    return reinterpret_cast<const Byte*>(values_ + span(layer, block, head, offset));
  }

  // Writes dimensions dim to dim + 15 of a key.
  void put_key(int layer, int slot, int head, int dim, __m512 key) {
    alignas(32) std::uint32_t pairs[kLanes / 2];
    _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), narrow(key));
    const int offset = slot % shape_.block_size;
    auto* columns = reinterpret_cast<std::uint32_t*>(keys_ + span(layer, slot / shape_.block_size, head, offset));
    for (int pair = 0; pair < kLanes / 2; ++pair) columns[(dim / 2 + pair) * kSpan + offset % kSpan] = pairs[pair];
  }

  // Writes dimensions dim to dim + 15 of a value. The first of two positions clears the second: attention reads both,
  // and what another sequence left there must not matter, not even as 0 x infinity.
  void put_value(int layer, int slot, int head, int dim, __m512 value) {
    const int offset = slot % shape_.block_size;
    auto* rows = reinterpret_cast<std::uint32_t*>(values_ + span(layer, slot / shape_.block_size, head, offset));
    std::uint32_t* pairs = rows + offset % kSpan / 2 * shape_.head_dim + dim;
    __m512i bits = _mm512_cvtepu16_epi32(narrow(value));
    if (offset % 2) {
      const __m512i first = _mm512_and_si512(_mm512_loadu_si512(pairs), _mm512_set1_epi32(0xffff));
      bits = _mm512_or_si512(first, _mm512_slli_epi32(bits, 16));
    }
    _mm512_storeu_si512(pairs, bits);
  }

 private:
  std::size_t span(int layer, int block, int head, int offset) const {
    const std::size_t at_head = (static_cast<std::size_t>(layer) * shape_.num_blocks + block) * shape_.kv_heads + head;
    return (at_head * shape_.block_size + offset / kSpan * kSpan) * shape_.head_dim;
  }

  const Shape shape_;
  Bf16* keys_;
  Bf16* values_;
};

// Consecutive queries of one sequence with all query heads of one key/value head: at most kMaxRows rows.
struct Task {
  int sequence, head;
  int first_query, num_queries;  // tokens of the batch
};

// One partition of a context as a task's rows see it.
struct View {
  const Byte* keys[kPartition / kSpan];
  const Byte* values[kPartition / kSpan];
  int num_positions;      // that any row sees
  int visible[kMaxRows];  // that each row sees; below 1: none
};

// Softmax in progress, row by row: weights are relative to the peak so far, a score in units of log 2.
struct Softmax {
  float peak[kMaxRows];
  float total[kMaxRows];
  alignas(kLine) float output[kMaxRows * kMaxHeadDim];  // rows of head_dim
};

// scores = queries x keys; meanwhile asks for the next keys, and for the values, which come after all keys.
template <int kRows>
void score(float* scores, const Bf16* queries, int head_dim, const View& view) {
  const int num_spans = (view.num_positions + kSpan - 1) / kSpan, span_bytes = kSpan * head_dim * sizeof(Bf16);
  for (int span = 0; span < num_spans; span += 2) {
    const int second = std::min(span + 1, num_spans - 1);
    for (int next = span + 2; next < std::min(span + 4, num_spans); ++next) prefetch(view.keys[next], span_bytes);
    prefetch(view.values[span], span_bytes);
    prefetch(view.values[second], span_bytes);
    __m512 sum[kRows][2];
    clear(sum);
    accumulate(sum, queries, head_dim, view.keys[span], view.keys[second], kLine, head_dim / 2);
    store(scores + span * kSpan, kPartition, sum);
  }
}

// Scales one row's scores, hides those that it does not see, and returns the highest.
inline float mask(float* scores, int num_positions, int visible, float scale) {
  const __m512 unseen = _mm512_set1_ps(kUnseen);
  __m512 highest = unseen;
  for (int at = 0; at < num_positions; at += kLanes) {
    const int num_seen = std::clamp(visible - at, 0, kLanes);
    const auto seen = static_cast<__mmask16>((1u << num_seen) - 1);
    const __m512 scaled = _mm512_mask_mul_ps(unseen, seen, _mm512_load_ps(scores + at), _mm512_set1_ps(scale));
    _mm512_store_ps(scores + at, scaled);
    highest = _mm512_max_ps(highest, scaled);
  }
  return _mm512_reduce_max_ps(highest);
}

// Turns one row's scores into weights, and returns their total.
inline float weigh(const float* scores, Bf16* weights, int num_positions, float peak) {
  __m512 total = _mm512_setzero_ps();
  for (int at = 0; at < num_positions; at += kLanes) {
    const __m512 weight = exp2(_mm512_sub_ps(_mm512_load_ps(scores + at), _mm512_set1_ps(peak)));
    store(weights + at, weight);
    total = _mm512_add_ps(total, weight);
  }
  return _mm512_reduce_add_ps(total);
}

// output = weights x values.
template <int kRows>
void sum_values(float* output, const Bf16* weights, int head_dim, const View& view) {
  const int num_pairs = (view.num_positions + 1) / 2;
  for (int dim = 0; dim < head_dim; dim += kPanel) {
    __m512 sum[kRows][2];
    clear(sum);
    for (int pair = 0; pair < num_pairs; pair += kSpan / 2) {
      const Byte* values = view.values[pair * 2 / kSpan] + dim * 2 * sizeof(Bf16);
      accumulate(sum, weights + pair * 2, kPartition, values, values + kLine, head_dim * 2 * sizeof(Bf16),
                 std::min(kSpan / 2, num_pairs - pair));
    }
    store(output + dim, head_dim, sum);
  }
}

// Attention of kRows rows of queries over one partition.
using AttendKernel = void (*)(const Bf16* queries, int head_dim, float scale, const View& view, Softmax& softmax);

template <int kRows>
void attend_partition(const Bf16* queries, int head_dim, float scale, const View& view, Softmax& softmax) {
  alignas(kLine) float scores[kRows * kPartition];
  alignas(kLine) Bf16 weights[kRows * kPartition];
  score<kRows>(scores, queries, head_dim, view);
  for (int row = 0, at = 0; row < kRows; ++row, at += kPartition) {
    softmax.peak[row] = mask(scores + at, view.num_positions, view.visible[row], scale);
    softmax.total[row] = weigh(scores + at, weights + at, view.num_positions, softmax.peak[row]);
  }
  sum_values<kRows>(softmax.output, weights, head_dim, view);
}

template <int... kRows>
constexpr std::array<AttendKernel, sizeof...(kRows)> attend_kernels(std::integer_sequence<int, kRows...>) {
  return {attend_partition<kRows + 1>...};
}

// Adds the softmax over a later partition to that over all earlier ones.
inline void fold(Softmax& earlier, const Softmax& later, int num_rows, int head_dim) {
  for (int row = 0; row < num_rows; ++row) {
    const float peak = std::max(earlier.peak[row], later.peak[row]);
    const __m512 keep = exp2(_mm512_set1_ps(earlier.peak[row] - peak));
    const __m512 add = exp2(_mm512_set1_ps(later.peak[row] - peak));
    earlier.peak[row] = peak;
    earlier.total[row] = earlier.total[row] * _mm512_cvtss_f32(keep) + later.total[row] * _mm512_cvtss_f32(add);
    for (int at = row * head_dim; at < (row + 1) * head_dim; at += kLanes) {
      const __m512 kept = _mm512_mul_ps(_mm512_load_ps(earlier.output + at), keep);
      _mm512_store_ps(earlier.output + at, _mm512_fmadd_ps(_mm512_load_ps(later.output + at), add, kept));
    }
  }
}

// The attention of one step: its tasks are planned once and run in every layer.
class Attention {
 public:
  Attention(const Shape& shape, const Cache& cache)
      : shape_(shape),
        cache_(cache),
        group_(shape.queries_per_key()),
        scale_(kLog2E / std::sqrt(static_cast<float>(shape.head_dim))) {}

  void plan(const Batch& batch) {
    batch_ = &batch;
    tasks_.clear();
    const int tile = kMaxRows / group_;
    for (int sequence = 0; sequence < batch.num_sequences; ++sequence)
      for (int head = 0; head < shape_.kv_heads; ++head)
        for (int query = batch.query_starts[sequence], end = batch.query_starts[sequence + 1]; query < end;
             query += tile)
          tasks_.push_back({sequence, head, query, std::min(tile, end - query)});
  }

  // Row of a query in [kv_heads, tokens, heads / kv_heads] rows of head_dim: those of a task follow one another.
  std::size_t query_row(int head, int token) const {
    return (static_cast<std::size_t>(head / group_) * batch_->num_tokens + token) * group_ + head % group_;
  }

  int num_tasks() const { return static_cast<int>(tasks_.size()); }
  const Task& task(int index) const { return tasks_[index]; }

  void attend(int layer, const Task& task, const Bf16* queries, Softmax& softmax) const {
    static constexpr auto kKernels = attend_kernels(std::make_integer_sequence<int, kMaxRows>{});
    const int num_rows = task.num_queries * group_, head_dim = shape_.head_dim;
    const Bf16* rows = queries + query_row(task.head * group_, task.first_query) * head_dim;
    kKernels[num_rows - 1](rows, head_dim, scale_, view(layer, task, 0), softmax);
    Softmax later;
    for (int begin = kPartition; begin < num_visible(task, task.num_queries - 1); begin += kPartition) {
      kKernels[num_rows - 1](rows, head_dim, scale_, view(layer, task, begin), later);
      fold(softmax, later, num_rows, head_dim);
    }
  }

 private:
  // Positions that the task's query sees, itself among them.
  int num_visible(const Task& task, int query) const {
    const int num_later = batch_->query_starts[task.sequence + 1] - 1 - (task.first_query + query);
    return batch_->context_lens[task.sequence] - num_later;
  }

  View view(int layer, const Task& task, int begin) const {
    View view;
    for (int row = 0; row < task.num_queries * group_; ++row)
      view.visible[row] = num_visible(task, row / group_) - begin;
    view.num_positions = std::min(kPartition, num_visible(task, task.num_queries - 1) - begin);
    for (int at = 0; at < view.num_positions; at += kSpan) {
      const int block = batch_->blocks(task.sequence)[(begin + at) / shape_.block_size];
      const int offset = (begin + at) % shape_.block_size;
      view.keys[at / kSpan] = cache_.keys(layer, block, task.head, offset);
      view.values[at / kSpan] = cache_.values(layer, block, task.head, offset);
    }
    return view;
  }

  const Shape shape_;
  const Cache& cache_;
  const int group_;    // query heads of a key/value head
  const float scale_;  // of scores, to units of log 2
  const Batch* batch_ = nullptr;
  std::vector<Task> tasks_;
};

}  // namespace trichord
