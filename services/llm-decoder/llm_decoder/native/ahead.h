// What attention will read of a layer, asked for while matrix products are computed.
//
// With many rows these keep the processor busy and the memory idle, and attention would then wait for the memory. Knows
// where keys and values lie; nothing but time depends on it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "attention.h"
#include "batch.h"
#include "panels.h"
#include "team.h"

namespace trichord {

class Ahead {
 public:
  Ahead(const Shape& shape, const Cache& cache, const Team& team)
      : shape_(shape), cache_(cache), team_(team), cursors_(team.size()) {}

  // Lists what attention reads of a layer, as far as caches can hold it.
  void plan(const Batch& batch) {
    pages_.clear();
    for (int sequence = 0; sequence < batch.num_sequences; ++sequence)
      for (int index = 0; index < batch.num_blocks(sequence, shape_) && pages_.size() < kMaxPages; ++index) {
        add(cache_.keys(0, batch.blocks(sequence)[index], 0, 0));
        add(cache_.values(0, batch.blocks(sequence)[index], 0, 0));
      }
    num_pages_ = static_cast<int>(pages_.size());
    // A kernel takes a page for each of its groups of inputs, behind the last one too.
    const int most_inputs = std::max({shape_.hidden, shape_.attended(), shape_.intermediate});
    pages_.resize(num_pages_ + most_inputs / kGroup, pages_.back());
    std::fill(cursors_.begin(), cursors_.end(), Cursor{});
  }

  // The next pages of this rank's share of a layer, if any are left; past the last layer there is nothing.
  Fetch take(int layer, int num_groups, int rank) {
    Cursor& cursor = cursors_[rank];
    if (cursor.layer != layer) cursor = {layer, team_.share(layer < shape_.layers ? num_pages_ : 0, rank)};
    if (cursor.left.begin >= cursor.left.end) return {};
    const Byte* const* pages = pages_.data() + cursor.left.begin;
    cursor.left.begin += num_groups;
    return {nullptr, pages, static_cast<std::size_t>(layer) * shape_.num_blocks * block_bytes()};
  }

 private:
  static constexpr std::size_t kMaxPages = 4096;  // 8 MiB

  struct alignas(kLine) Cursor {
    int layer = -1;
    Range left{0, 0};
  };

  std::size_t block_bytes() const { return sizeof(Bf16) * shape_.kv_heads * shape_.block_size * shape_.head_dim; }

  void add(const Byte* block) {
    for (std::size_t at = 0; at < block_bytes(); at += kPageBytes) pages_.push_back(block + at);
  }

  const Shape shape_;
  const Cache& cache_;
  const Team& team_;
  std::vector<Cursor> cursors_;
  std::vector<const Byte*> pages_;  // of the first layer
  int num_pages_ = 0;
};

}  // namespace trichord
