// A whole step of a LLaMA (llm_decoder/llama.py) in one call: layers, final norm, logits of chosen rows.
//
// One team of threads goes through the layers together and streams the weights once. Sums, norms, softmax and the
// residual stream are float32; what enters a dot product is bf16, or int8 by groups. Built by native/build.py, called
// by native/step.py.

#include <algorithm>
#include <new>
#include <system_error>
#include <vector>

#include "ahead.h"
#include "attention.h"
#include "batch.h"
#include "panels.h"
#include "rows.h"
#include "team.h"

namespace trichord {
namespace {

// With up to so many rows memory is the limit, and the CPU's own prefetcher streams a panel best if left alone: asking
// for the next panel beside it costs a quarter of the speed. With more rows the sums take longer, and asking gains that.
constexpr int kStreamedRows = 5;

// Where the caller's tensors lie; native/step.py fills in the same struct and keeps them alive.
struct Tensors {
  const Byte* weights;   // panels of all matrices, layer by layer (qkv, o, gate-up, down), then of the output layer
  const float* norms;    // [2 * layers + 1, hidden]: before attention and before the MLP of each layer, then the last
  const float* cosines;  // [num_positions, head_dim / 2]
  const float* sines;    // the same
  Bf16* keys;            // see Cache
  Bf16* values;
};

struct Matrix {
  const Byte* panels;
  int inputs, num_panels;
  std::size_t panel_bytes;
};

struct Layer {
  Matrix qkv, output, gate_up, down;
};

// The two vectors of a row of a tile.
struct Sums {
  explicit Sums(const float* tile) : low(_mm512_loadu_ps(tile)), high(_mm512_loadu_ps(tile + kLanes)) {}

  __m512 low, high;
};

class Step {
 public:
  Step(const Shape& shape, const Tensors& tensors, int num_threads);

  // Computes a batch that was checked; logits are float32 [num_logits, vocab].
  void run(const Batch& batch, float* logits);

  const Shape& shape() const { return shape_; }

 private:
  void reserve(int num_tokens);
  void run(float* logits, int rank);
  void run_layer(int layer, int rank);
  void load(int rank);
  void normalise_all(const float* weights, int rank);
  void normalise(int row, const float* weights, int target);
  void place(int layer, int token, int panel, const Sums& sums);
  void rotate(int token, int dim, Sums& sums) const;
  void read_out(const Task& task, const Softmax& softmax);
  void gate(int row, int panel, const Sums& sums);
  void quantise_gated(int rank);
  void add(int row, int panel, const Sums& sums);

  template <class Finish>
  void multiply(const Matrix& matrix, const Matrix& next, const Rows<Bf16>& rows, int num_rows, int rank,
                Finish finish);

  const Byte* first_panel(const Matrix& matrix, int rank) const {
    return matrix.panels + team_.share(matrix.num_panels, rank).begin * matrix.panel_bytes;
  }

  const Matrix& after(int layer) const { return layer + 1 < shape_.layers ? layers_[layer + 1].qkv : vocabulary_; }

  const float* norm(int index) const { return tensors_.norms + static_cast<std::size_t>(index) * shape_.hidden; }

  const Shape shape_;
  const Tensors tensors_;
  const Format& format_;
  Cache cache_;
  Attention attention_;
  std::vector<Layer> layers_;
  Matrix vocabulary_;
  const Batch* batch_ = nullptr;
  Rows<float> residual_;
  Rows<Bf16> queries_;  // without gaps, in the order of Attention
  Rows<Bf16> inputs_;   // normalised rows, or what attention read
  Rows<Bf16> gated_;
  Rows<Byte> units_;  // either of these as int8
  Team team_;
  Ahead ahead_;
};

Step::Step(const Shape& shape, const Tensors& tensors, int num_threads)
    : shape_(shape),
      tensors_(tensors),
      format_(format(shape.int8)),
      cache_(shape, tensors.keys, tensors.values),
      attention_(shape, cache_),
      residual_(shape.hidden),
      queries_(shape.attended()),
      inputs_(std::max(shape.hidden, shape.attended())),
      gated_(shape.intermediate),
      units_(int8_row_bytes(std::max({shape.hidden, shape.attended(), shape.intermediate}))),
      team_(num_threads),
      ahead_(shape, cache_, team_) {
  const Byte* at = tensors.weights;
  const auto take = [&](int outputs, int inputs) {
    const Matrix matrix{at, inputs, outputs / kPanel, format_.panel_bytes(inputs)};
    at += matrix.num_panels * matrix.panel_bytes;
    return matrix;
  };
  for (int layer = 0; layer < shape.layers; ++layer)
    layers_.push_back({take(shape.attended() + 2 * shape.kv_heads * shape.head_dim, shape.hidden),
                       take(shape.hidden, shape.attended()), take(2 * shape.intermediate, shape.hidden),
                       take(shape.hidden, shape.intermediate)});
  vocabulary_ = take(shape.vocab, shape.hidden);
}

void Step::run(const Batch& batch, float* logits) {
  batch_ = &batch;
  reserve(batch.num_tokens);
  attention_.plan(batch);
  ahead_.plan(batch);
  team_.run([&](int rank) { run(logits, rank); });
}

void Step::reserve(int num_tokens) {
  residual_.reserve(num_tokens);
  queries_.reserve(num_tokens);
  inputs_.reserve(num_tokens);
  gated_.reserve(num_tokens);
  units_.reserve(num_tokens);
}

void Step::run(float* logits, int rank) {
  load(rank);
  ahead_.begin(0, rank);
  for (int layer = 0; layer < shape_.layers; ++layer) run_layer(layer, rank);
  const Range rows = team_.share(batch_->num_logits, rank);
  for (int row = rows.begin; row < rows.end; ++row) normalise(batch_->logit_rows[row], norm(2 * shape_.layers), row);
  team_.barrier();
  multiply(vocabulary_, layers_[0].qkv, inputs_, batch_->num_logits, rank, [&](int row, int panel, const Sums& sums) {
    float* target = logits + static_cast<std::size_t>(row) * shape_.vocab + panel * kPanel;
    _mm512_storeu_ps(target, sums.low);
    _mm512_storeu_ps(target + kLanes, sums.high);
  });
}

void Step::run_layer(int index, int rank) {
  const Layer& layer = layers_[index];
  const int num_tokens = batch_->num_tokens;
  const auto add_row = [this](int row, int panel, const Sums& sums) { add(row, panel, sums); };

  normalise_all(norm(2 * index), rank);
  multiply(layer.qkv, layer.output, inputs_, num_tokens, rank,
           [=, this](int row, int panel, const Sums& sums) { place(index, row, panel, sums); });
  team_.barrier();
  attention_.run(index, queries_[0], [this](const Task& task, const Softmax& softmax) { read_out(task, softmax); });
  ahead_.begin(index + 1, rank);
  team_.barrier();
  multiply(layer.output, layer.gate_up, inputs_, num_tokens, rank, add_row);
  team_.barrier();
  normalise_all(norm(2 * index + 1), rank);
  multiply(layer.gate_up, layer.down, inputs_, num_tokens, rank,
           [this](int row, int panel, const Sums& sums) { gate(row, panel, sums); });
  team_.barrier();
  if (shape_.int8) quantise_gated(rank);
  multiply(layer.down, after(index), gated_, num_tokens, rank, add_row);
  team_.barrier();
}

// Calls finish(row, panel, sums) for every row and every panel of this rank's share. A panel goes over the rows block
// by block: the last block asks for the next panel meanwhile, those before it for what attention will read.
template <class Finish>
void Step::multiply(const Matrix& matrix, const Matrix& next, const Rows<Bf16>& rows, int num_rows, int rank,
                    Finish finish) {
  const Byte* inputs = shape_.int8 ? units_[0] : reinterpret_cast<const Byte*>(rows[0]);
  const std::size_t row_bytes = shape_.int8 ? units_.row_bytes() : rows.row_bytes();
  const int num_blocks = (num_rows + kMaxRows - 1) / kMaxRows;
  const Range share = team_.share(matrix.num_panels, rank);
  alignas(kLine) Tile tile;
  for (int panel = share.begin; panel < share.end; ++panel) {
    const Byte* weights = matrix.panels + panel * matrix.panel_bytes;
    const Byte* following = num_rows > kStreamedRows ? weights + matrix.panel_bytes : nullptr;
    const Fetch next_panel{panel + 1 < share.end ? following : first_panel(next, rank)};
    for (int block = 0; block < num_blocks; ++block) {
      const int begin = num_rows * block / num_blocks, end = num_rows * (block + 1) / num_blocks;
      const Fetch fetch = block + 1 < num_blocks ? ahead_.take(matrix.inputs / kGroup, rank) : next_panel;
      format_.kernels[end - begin - 1](tile, inputs + begin * row_bytes, row_bytes, matrix.inputs, weights, fetch);
      for (int row = begin; row < end; ++row) finish(row, panel, Sums(tile + (row - begin) * kPanel));
    }
  }
}

void Step::load(int rank) {
  const Range rows = team_.share(batch_->num_tokens, rank);
  for (int row = rows.begin; row < rows.end; ++row)
    for (int at = 0; at < shape_.hidden; at += kLanes)
      _mm512_storeu_ps(residual_[row] + at, widen(batch_->x + static_cast<std::size_t>(row) * shape_.hidden + at));
}

void Step::normalise_all(const float* weights, int rank) {
  const Range rows = team_.share(batch_->num_tokens, rank);
  for (int row = rows.begin; row < rows.end; ++row) normalise(row, weights, row);
  team_.barrier();
}

// Row `target` of the inputs = the root-mean-square norm of a row of the residual stream.
void Step::normalise(int row, const float* weights, int target) {
  const float* values = residual_[row];
  __m512 squares = _mm512_setzero_ps();
  for (int at = 0; at < shape_.hidden; at += kLanes) {
    const __m512 value = _mm512_loadu_ps(values + at);
    squares = _mm512_fmadd_ps(value, value, squares);
  }
  const float mean = _mm512_reduce_add_ps(squares) / static_cast<float>(shape_.hidden);
  const __m512 factor = _mm512_set1_ps(1.0f / std::sqrt(mean + shape_.eps));
  for (int at = 0; at < shape_.hidden; at += kLanes) {
    const __m512 normalised = _mm512_mul_ps(_mm512_loadu_ps(values + at), factor);
    store(inputs_[target] + at, _mm512_mul_ps(normalised, _mm512_loadu_ps(weights + at)));
  }
  if (shape_.int8) quantise(inputs_[target], units_[target], shape_.hidden, 0, shape_.hidden);
}

// Puts 32 channels of queries, keys or values where attention reads them. A panel of a query or key head has two halves
// of 16 rotary pairs (native/packing.py), one of a value head 32 consecutive channels.
void Step::place(int layer, int token, int panel, const Sums& sums) {
  const int panels_per_head = shape_.head_dim / kPanel, half = shape_.head_dim / 2;
  const int head = panel / panels_per_head, part = panel % panels_per_head, slot = batch_->slots[token];
  if (const int value_head = head - shape_.heads - shape_.kv_heads; value_head >= 0) {
    cache_.put_value(layer, slot, value_head, part * kPanel, sums.low);
    cache_.put_value(layer, slot, value_head, part * kPanel + kLanes, sums.high);
    return;
  }
  Sums rotated = sums;
  rotate(token, part * kLanes, rotated);
  if (const int key_head = head - shape_.heads; key_head >= 0) {
    cache_.put_key(layer, slot, key_head, part * kLanes, rotated.low);
    cache_.put_key(layer, slot, key_head, part * kLanes + half, rotated.high);
    return;
  }
  Bf16* query = queries_[0] + attention_.query_row(head, token) * shape_.head_dim;
  store(query + part * kLanes, rotated.low);
  store(query + part * kLanes + half, rotated.high);
}

// Turns the pairs (dim, dim + head_dim / 2) by the token's position (RoFormer, arXiv 2104.09864).
void Step::rotate(int token, int dim, Sums& sums) const {
  const std::size_t at = static_cast<std::size_t>(batch_->positions[token]) * (shape_.head_dim / 2) + dim;
  const __m512 cosine = _mm512_loadu_ps(tensors_.cosines + at), sine = _mm512_loadu_ps(tensors_.sines + at);
  const __m512 low = _mm512_fnmadd_ps(sums.high, sine, _mm512_mul_ps(sums.low, cosine));
  sums.high = _mm512_fmadd_ps(sums.low, sine, _mm512_mul_ps(sums.high, cosine));
  sums.low = low;
}

// Makes what a task's rows read the inputs of the layer's output matrix.
void Step::read_out(const Task& task, const Softmax& softmax) {
  const int group = shape_.queries_per_key(), head_dim = shape_.head_dim;
  for (int row = 0; row < task.num_queries * group; ++row) {
    const int token = task.first_query + row / group, channel = (task.head * group + row % group) * head_dim;
    const __m512 share = _mm512_set1_ps(1.0f / softmax.total[row]);
    for (int dim = 0; dim < head_dim; dim += kLanes)
      store(inputs_[token] + channel + dim, _mm512_mul_ps(_mm512_load_ps(softmax.output + row * head_dim + dim), share));
    if (shape_.int8) quantise(inputs_[token], units_[token], shape_.attended(), channel, channel + head_dim);
  }
}

// SwiGLU (arXiv 2002.05202): a panel has 16 channels of the gate, then the 16 that they gate.
void Step::gate(int row, int panel, const Sums& sums) {
  store(gated_[row] + panel * kLanes, _mm512_mul_ps(silu(sums.low), sums.high));
}

void Step::quantise_gated(int rank) {
  const Range rows = team_.share(batch_->num_tokens, rank);
  for (int row = rows.begin; row < rows.end; ++row)
    quantise(gated_[row], units_[row], shape_.intermediate, 0, shape_.intermediate);
  team_.barrier();
}

void Step::add(int row, int panel, const Sums& sums) {
  float* target = residual_[row] + panel * kPanel;
  _mm512_storeu_ps(target, _mm512_add_ps(_mm512_loadu_ps(target), sums.low));
  _mm512_storeu_ps(target + kLanes, _mm512_add_ps(_mm512_loadu_ps(target + kLanes), sums.high));
}

}  // namespace
}  // namespace trichord

extern "C" {

// Null if there is no memory or no thread left.
void* trichord_step_create(const trichord::Shape* shape, const trichord::Tensors* tensors, int num_threads) {
  try {
    return new trichord::Step(*shape, *tensors, num_threads);
  } catch (const std::bad_alloc&) {
    return nullptr;
  } catch (const std::system_error&) {
    return nullptr;
  }
}

// Null if all went well, else a clause that says why nothing was computed. One call at a time.
const char* trichord_step_run(void* step, const trichord::Batch* batch, float* logits) {
  auto& runner = *static_cast<trichord::Step*>(step);
  if (const char* reason = trichord::refusal(runner.shape(), *batch)) return reason;
  try {
    runner.run(*batch, logits);
  } catch (const std::bad_alloc&) {
    return "there is not enough memory for so many tokens";
  }
  return nullptr;
}

void trichord_step_destroy(void* step) { delete static_cast<trichord::Step*>(step); }

}  // extern "C"
