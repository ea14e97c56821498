// What one step computes, as it comes from outside, and the check that no index of it leaves its bounds.
#pragma once

#include <cstdint>

namespace trichord {

// Sizes of the model and of its cache; native/step.py fills in the same struct.
struct Shape {
  std::int32_t hidden, layers, heads, kv_heads, head_dim, intermediate;
  std::int32_t vocab, padded_vocab;  // tokens; and logits, which are whole panels
  std::int32_t block_size, num_blocks;
  std::int32_t num_positions;  // that the rope table covers
  std::int32_t int8;           // weights are int8, else bf16
  float eps;

  int queries_per_key() const { return heads / kv_heads; }
  int attended() const { return heads * head_dim; }  // width of what attention reads
};

struct Batch {
  const std::uint16_t* x;               // bf16 [tokens, hidden]
  const std::int32_t* positions;        // [tokens]
  const std::int32_t* slots;            // [tokens]: block * block_size + offset where a token's key and value go
  const std::int32_t* query_starts;     // [sequences + 1]: first token of each sequence, then the number of tokens
  const std::int32_t* context_lens;     // [sequences]: tokens that there are, the new ones among them
  const std::int32_t* block_tables;     // [sequences, max_blocks]
  const std::int32_t* logit_rows;       // [logits]: tokens whose logits are wanted
  std::int32_t num_tokens, num_sequences, max_blocks, num_logits;

  int num_queries(int sequence) const { return query_starts[sequence + 1] - query_starts[sequence]; }
  int num_blocks(int sequence, const Shape& shape) const {
    return (context_lens[sequence] + shape.block_size - 1) / shape.block_size;
  }
  const std::int32_t* blocks(int sequence) const {
    return block_tables + static_cast<std::int64_t>(sequence) * max_blocks;
  }
};

inline bool all_within(const std::int32_t* values, int count, std::int64_t bound) {
  for (int i = 0; i < count; ++i)
    if (values[i] < 0 || values[i] >= bound) return false;
  return true;
}

inline const char* refusal_of_sequence(const Shape& shape, const Batch& batch, int sequence) {
  const int num_queries = batch.num_queries(sequence);
  const int context = batch.context_lens[sequence];
  if (num_queries < 1) return "query_starts must rise from 0 to the number of tokens";
  if (context < num_queries) return "a context is shorter than its own new tokens";
  if (context > static_cast<std::int64_t>(batch.max_blocks) * shape.block_size)
    return "a context is longer than its block table";
  if (!all_within(batch.blocks(sequence), batch.num_blocks(sequence, shape), shape.num_blocks))
    return "a block is outside the cache";
  return nullptr;
}

// Why the batch must not be computed; null if it may.
inline const char* refusal(const Shape& shape, const Batch& batch) {
  const std::int64_t num_slots = static_cast<std::int64_t>(shape.num_blocks) * shape.block_size;
  if (batch.num_sequences < 1 || batch.query_starts[0] != 0 ||
      batch.query_starts[batch.num_sequences] != batch.num_tokens)
    return "query_starts must rise from 0 to the number of tokens";
  for (int sequence = 0; sequence < batch.num_sequences; ++sequence)
    if (const char* reason = refusal_of_sequence(shape, batch, sequence)) return reason;
  if (!all_within(batch.positions, batch.num_tokens, shape.num_positions)) return "a position is outside the context";
  if (!all_within(batch.slots, batch.num_tokens, num_slots)) return "a slot is outside the cache";
  if (!all_within(batch.logit_rows, batch.num_logits, batch.num_tokens)) return "a logit row is not one of the tokens";
  return nullptr;
}

}  // namespace trichord
