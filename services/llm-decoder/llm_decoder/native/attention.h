// Grouped-query attention over a paged cache, and the cache's inner order.
//
// Softmax runs over partitions of 256 positions, each computed whole and folded into the ones before it (Dao et al.,
// arXiv 2205.14135, the online softmax). The partitions of a sequence that decodes are separate tasks, so that a long
// context occupies all threads; those of a prompt follow one another in one task. Both fold in the same order: a
// token's attention is the same to the bit whether it is decoded or part of a prompt, however that is cut into chunks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "batch.h"
#include "panels.h"
#include "team.h"

namespace trichord {

constexpr int kSpan = 16;         // positions that lie together in the cache: a vector of scores
constexpr int kPartition = 256;   // positions
constexpr int kMaxHeadDim = 256;
constexpr float kUnseen = -1e30f;  // score of a position that a query does not see; finite: its weight must be 0, not NaN

// The cache: [layers, blocks, kv_heads, block_size / 16 spans], each span of 16 positions laid out so that dot products
// read it as a panel of weights: keys as [head_dim / 2][16 positions][2], values as [8 pairs of positions][head_dim][2].
class Cache {
 public:
  Cache(const Shape& shape, Bf16* keys, Bf16* values) : shape_(shape), keys_(keys), values_(values) {}

  const Bf16* keys(int layer, int block, int head, int offset) const {
    return keys_ + span(layer, block, head, offset);
  }
  const Bf16* values(int layer, int block, int head, int offset) const {
    return values_ + span(layer, block, head, offset);
  }

  // Writes dimensions dim to dim + 15 of a key.
  void put_key(int layer, int slot, int head, int dim, __m512 values) {
    alignas(32) std::uint32_t pairs[kLanes / 2];
    _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), narrow(values));
    const int offset = slot % shape_.block_size;
    Bf16* target = keys_ + span(layer, slot / shape_.block_size, head, offset);
    auto* column = reinterpret_cast<std::uint32_t*>(target) + dim / 2 * kSpan + offset % kSpan;
    for (int pair = 0; pair < kLanes / 2; ++pair) column[pair * kSpan] = pairs[pair];
  }

  // Writes dimensions dim to dim + 15 of a value. The first of a pair of positions clears the second: attention reads
  // both, and what was left there by another sequence must not matter, not even as 0 x infinity.
  void put_value(int layer, int slot, int head, int dim, __m512 values) {
    const int offset = slot % shape_.block_size;
    Bf16* target = values_ + span(layer, slot / shape_.block_size, head, offset);
    auto* pairs = reinterpret_cast<std::uint32_t*>(target) + offset % kSpan / 2 * shape_.head_dim + dim;
    __m512i bits = _mm512_cvtepu16_epi32(narrow(values));
    if (offset % 2) {
      const __m512i first = _mm512_and_si512(_mm512_loadu_si512(pairs), _mm512_set1_epi32(0xffff));
      bits = _mm512_or_si512(first, _mm512_slli_epi32(bits, 16));
    }
    _mm512_storeu_si512(pairs, bits);
  }

 private:
  std::size_t span(int layer, int block, int head, int offset) const {
    const std::size_t at_block = static_cast<std::size_t>(layer) * shape_.num_blocks + block;
    const std::size_t at_position = (at_block * shape_.kv_heads + head) * shape_.block_size + offset / kSpan * kSpan;
    return at_position * shape_.head_dim;
  }

  const Shape shape_;
  Bf16* keys_;
  Bf16* values_;
};

// Consecutive queries of one sequence and one key/value head, over some partitions of its context.
struct Task {
  int sequence, head;
  int first_query, num_queries;  // tokens of the batch
  int first_partition, end_partition;
  bool is_part;  // of what its one query sees
};

// Softmax in progress for up to kMaxRows rows (queries x query heads): what was summed, relative to the peak so far.
struct Softmax {
  float peak[kMaxRows];  // of scores in units of log 2
  float total[kMaxRows];
  alignas(kLine) float output[kMaxRows * kMaxHeadDim];  // rows of head_dim
};

// One partition's keys and values as its rows see them.
struct View {
  const Byte* keys[kPartition / kSpan];
  const Byte* values[kPartition / kSpan];
  int num_positions;        // that any row sees
  int visible[kMaxRows];    // that each row sees; below 1: none
};

template <int kRows>
void score(float* scores, const Bf16* queries, int head_dim, const View& view) {
  const int num_spans = (view.num_positions + kSpan - 1) / kSpan;
  for (int span = 0; span < num_spans; span += 2) {
    __m512 sum[kRows][2];
    clear(sum);
    const Byte* second = view.keys[std::min(span + 1, num_spans - 1)];
    accumulate(sum, queries, head_dim, view.keys[span], second, kLine, head_dim / 2);
    store(scores + span * kSpan, kPartition, sum);
  }
}

template <int kRows>
void sum_values(float* output, const Bf16* weights, int head_dim, const View& view) {
  const std::size_t pair_bytes = head_dim * 2 * sizeof(Bf16);
  const int num_pairs = (view.num_positions + 1) / 2;
  for (int dim = 0; dim < head_dim; dim += kPanel) {
    __m512 sum[kRows][2];
    clear(sum);
    for (int span = 0, pair = 0; pair < num_pairs; ++span, pair += kSpan / 2) {
      const Byte* values = view.values[span] + dim * 2 * sizeof(Bf16);
      accumulate(sum, weights + pair * 2, kPartition, values, values + kLine, pair_bytes,
                 std::min(kSpan / 2, num_pairs - pair));
    }
    store(output + dim, head_dim, sum);
  }
}

// Scores of one row to bf16 weights relative to their peak; both in whole vectors of 32 positions.
inline void soften(float* scores, Bf16* weights, int num_positions, int visible, float scale, float* peak,
                   float* total) {
  __m512 highest = _mm512_set1_ps(kUnseen);
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  for (int at = 0; at < num_positions; at += kLanes) {
    const __mmask16 seen = _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(visible - at));
    const __m512 unseen = _mm512_set1_ps(kUnseen);
    const __m512 scaled = _mm512_mask_mul_ps(unseen, seen, _mm512_loadu_ps(scores + at), _mm512_set1_ps(scale));
    _mm512_storeu_ps(scores + at, scaled);
    highest = _mm512_max_ps(highest, scaled);
  }
  *peak = _mm512_reduce_max_ps(highest);
  __m512 sum = _mm512_setzero_ps();
  for (int at = 0; at < num_positions; at += kLanes) {
    const __m512 weight = exp2(_mm512_sub_ps(_mm512_loadu_ps(scores + at), _mm512_set1_ps(*peak)));
    store(weights + at, weight);
    sum = _mm512_add_ps(sum, weight);
  }
  *total = _mm512_reduce_add_ps(sum);
}

// Attention of kRows rows over one partition.
template <int kRows>
void attend_partition(const Bf16* queries, int head_dim, float scale, const View& view, Softmax& softmax) {
  alignas(kLine) float scores[kRows * kPartition];
  alignas(kLine) Bf16 weights[kRows * kPartition];
  score<kRows>(scores, queries, head_dim, view);
  for (int row = 0; row < kRows; ++row)
    soften(scores + row * kPartition, weights + row * kPartition, view.num_positions, view.visible[row], scale,
           &softmax.peak[row], &softmax.total[row]);
  sum_values<kRows>(softmax.output, weights, head_dim, view);
}

using AttendKernel = void (*)(const Bf16*, int, float, const View&, Softmax&);

template <int... kRows>
constexpr std::array<AttendKernel, sizeof...(kRows)> attend_kernels(std::integer_sequence<int, kRows...>) {
  return {attend_partition<kRows + 1>...};
}

// Adds the softmax over further positions to that over earlier ones, row by row.
inline void fold(Softmax& earlier, const Softmax& further, int num_rows, int head_dim) {
  for (int row = 0; row < num_rows; ++row) {
    const float peak = std::max(earlier.peak[row], further.peak[row]);
    const __m512 keep = exp2(_mm512_set1_ps(earlier.peak[row] - peak));
    const __m512 add = exp2(_mm512_set1_ps(further.peak[row] - peak));
    earlier.peak[row] = peak;
    earlier.total[row] = earlier.total[row] * _mm512_cvtss_f32(keep) + further.total[row] * _mm512_cvtss_f32(add);
    for (int dim = row * head_dim; dim < (row + 1) * head_dim; dim += kLanes) {
      const __m512 kept = _mm512_mul_ps(_mm512_load_ps(earlier.output + dim), keep);
      _mm512_store_ps(earlier.output + dim, _mm512_fmadd_ps(_mm512_load_ps(further.output + dim), add, kept));
    }
  }
}

// The attention of one step: its tasks are planned once and run in every layer.
class Attention {
 public:
  Attention(const Shape& shape, const Cache& cache)
      : shape_(shape),
        cache_(cache),
        group_(shape.queries_per_head()),
        scale_(kLog2E / std::sqrt(static_cast<float>(shape.head_dim))),
        next_task_(shape.layers) {}

  void plan(const Batch& batch) {
    batch_ = &batch;
    tasks_.clear();
    joins_.clear();
    for (int sequence = 0; sequence < batch.num_sequences; ++sequence)
      for (int head = 0; head < shape_.kv_heads; ++head) plan_head(sequence, head);
    if (!joins_.empty() && partials_.size() < tasks_.size()) partials_.resize(tasks_.size());
    for (std::atomic<int>& next : next_task_) next.store(0, std::memory_order_relaxed);
  }

  // Takes tasks of a layer until there are none left. Queries are [kv_heads, tokens, heads / kv_heads, head_dim];
  // finish(task, softmax) is called for every task that is not a part of another.
  template <class Finish>
  void run(int layer, const Bf16* queries, Finish finish) {
    const int num_tasks = static_cast<int>(tasks_.size());
    for (int at; (at = next_task_[layer].fetch_add(1, std::memory_order_relaxed)) < num_tasks;) {
      const Task& task = tasks_[at];
      if (task.is_part) {
        attend(layer, task, queries, partials_[at]);
        continue;
      }
      Softmax softmax;
      attend(layer, task, queries, softmax);
      finish(task, softmax);
    }
  }

  // Whether there are parts to join, once all tasks of a layer have run.
  bool has_parts() const { return !joins_.empty(); }

  template <class Finish>
  void join(Range range, Finish finish) {
    for (int at = range.begin; at < range.end; ++at) {
      Softmax& whole = partials_[joins_[at].begin];
      for (int part = joins_[at].begin + 1; part < joins_[at].end; ++part)
        fold(whole, partials_[part], group_, shape_.head_dim);
      finish(tasks_[joins_[at].begin], whole);
    }
  }

  int num_joins() const { return static_cast<int>(joins_.size()); }

 private:
  void plan_head(int sequence, int head) {
    const int first = batch_->query_starts[sequence], end = batch_->query_starts[sequence + 1];
    const int tile = std::max(1, kMaxRows / group_);
    if (end - first == 1 && num_partitions(sequence, end) > 1) return plan_parts(sequence, head);
    for (int query = first; query < end; query += tile) {
      const int num_queries = std::min(tile, end - query);
      tasks_.push_back({sequence, head, query, num_queries, 0, num_partitions(sequence, query + num_queries), false});
    }
  }

  void plan_parts(int sequence, int head) {
    const int query = batch_->query_starts[sequence], first = static_cast<int>(tasks_.size());
    for (int partition = 0; partition < num_partitions(sequence, query + 1); ++partition)
      tasks_.push_back({sequence, head, query, 1, partition, partition + 1, true});
    joins_.push_back({first, static_cast<int>(tasks_.size())});
  }

  // Positions that a token sees, itself among them.
  int num_visible(int sequence, int token) const {
    return batch_->context_lens[sequence] - (batch_->query_starts[sequence + 1] - 1 - token);
  }

  // Partitions that tokens before `end_token` see.
  int num_partitions(int sequence, int end_token) const {
    return (num_visible(sequence, end_token - 1) + kPartition - 1) / kPartition;
  }

  void attend(int layer, const Task& task, const Bf16* queries, Softmax& whole) const {
    static constexpr auto kKernels = attend_kernels(std::make_integer_sequence<int, kMaxRows>{});
    const int num_rows = task.num_queries * group_;
    const std::size_t first_row = (static_cast<std::size_t>(task.head) * batch_->num_tokens + task.first_query) * group_;
    const Bf16* rows = queries + first_row * shape_.head_dim;
    Softmax further;
    for (int partition = task.first_partition; partition < task.end_partition; ++partition) {
      const bool is_first = partition == task.first_partition;
      const View seen = view(layer, task, partition);
      kKernels[num_rows - 1](rows, shape_.head_dim, scale_, seen, is_first ? whole : further);
      if (!is_first) fold(whole, further, num_rows, shape_.head_dim);
    }
  }

  View view(int layer, const Task& task, int partition) const {
    View view;
    const int begin = partition * kPartition;
    for (int row = 0; row < task.num_queries * group_; ++row)
      view.visible[row] = num_visible(task.sequence, task.first_query + row / group_) - begin;
    view.num_positions = std::min(kPartition, view.visible[task.num_queries * group_ - 1]);
    for (int at = 0; at < view.num_positions; at += kSpan) {
      const int block = batch_->blocks(task.sequence)[(begin + at) / shape_.block_size];
      const int offset = (begin + at) % shape_.block_size;
      view.keys[at / kSpan] = reinterpret_cast<const Byte*>(cache_.keys(layer, block, task.head, offset));
      view.values[at / kSpan] = reinterpret_cast<const Byte*>(cache_.values(layer, block, task.head, offset));
    }
    return view;
  }

  const Shape shape_;
  const Cache& cache_;
  const int group_;    // query heads of a key/value head
  const float scale_;  // of scores, to units of log 2
  const Batch* batch_ = nullptr;
  std::vector<Task> tasks_;
  std::vector<Range> joins_;  // tasks that are parts of one
  std::vector<Softmax> partials_;
  std::vector<std::atomic<int>> next_task_;  // of each layer: no layer waits until all have left the one before
};

}  // namespace trichord
