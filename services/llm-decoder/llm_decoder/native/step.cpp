// A whole step of a LLaMA (see llm_decoder/llama.py) in one call: layers, final norm, logits of chosen rows.
//
// One team of threads goes through the layers together. Weights are streamed once a step; what a thread will read next
// is asked for before it is needed, across barriers too. Sums, norms, softmax and the residual stream are float32;
// what enters a dot product is bf16 (or int8, by groups). Built and called by native/build.py and native/step.py.

#include <memory>
#include <new>
#include <system_error>

#include "attention.h"
#include "batch.h"
#include "panels.h"
#include "rows.h"
#include "team.h"

namespace trichord {
namespace {

// Where the caller's tensors lie; native/step.py fills in the same struct and keeps them alive.
struct Tensors {
  const Byte* weights;    // panels of all matrices, layer by layer (qkv, o, gate-up, down), then the output layer
  const float* norms;     // [2 * layers + 1, hidden]: before attention and before the MLP of each layer, then the last
  const float* cosines;   // [num_positions, head_dim / 2]
  const float* sines;     // the same
  Bf16* keys;             // see Cache
  Bf16* values;
};

struct Matrix {
  const Byte* panels;
  int inputs, num_panels;
  std::size_t panel_bytes;

  const Byte* end() const { return panels + num_panels * panel_bytes; }
};

struct Layer {
  Matrix qkv, output, gate_up, down;
};

// Lanes of a row of a tile: its two vectors of sums.
struct Lanes {
  __m512 low, high;

  explicit Lanes(const float* sums) : low(_mm512_loadu_ps(sums)), high(_mm512_loadu_ps(sums + kLanes)) {}
};

class Step {
 public:
  Step(const Shape& shape, const Tensors& tensors, int num_threads);

  // Computes a checked batch: float32 logits [num_logits, vocab].
  void run(const Batch& batch, float* logits);

  const Shape& shape() const { return shape_; }

 private:
  Matrix matrix(const Byte* panels, int outputs, int inputs) const;
  void run(const Batch& batch, float* logits, int rank);
  void run_layer(const Batch& batch, int layer, int rank);
  void load(const Batch& batch, int rank);
  void normalise(int row, const float* weights, int target);
  void normalise_rows(const Batch& batch, const float* weights, int rank);
  void place(const Batch& batch, int layer, int token, int panel, const float* sums);
  void place_rotated(int layer, int token, const Batch& batch, int head, int half, Lanes lanes);
  void attend(const Batch& batch, int layer, int rank);
  void finish_attention(const Task& task, const Softmax& softmax);
  void add(int row, int panel, const float* sums);
  void gate(int row, int panel, const float* sums);

  template <class Finish>
  void multiply(const Matrix& matrix, const Matrix& next, const Rows<Bf16>& rows, int num_rows, int rank,
                Finish finish);

  const Byte* first_panel(const Matrix& matrix, int rank) const {
    return matrix.panels + team_.share(matrix.num_panels, rank).begin * matrix.panel_bytes;
  }

  const float* norm(int index) const { return tensors_.norms + static_cast<std::size_t>(index) * shape_.hidden; }

  const Shape shape_;
  const Tensors tensors_;
  const Format& format_;
  Team team_;
  Cache cache_;
  Attention attention_;
  std::vector<Layer> layers_;
  Matrix logits_;
  Rows<float> residual_;
  Rows<Bf16> queries_;
  Rows<Bf16> inputs_;  // of the matrices that read normalised rows, and of attention's output matrix
  Rows<Bf16> gated_;   // of the MLP's second matrix
  Rows<Byte> units_;   // whichever of the two, as int8
};

Step::Step(const Shape& shape, const Tensors& tensors, int num_threads)
    : shape_(shape),
      tensors_(tensors),
      format_(format(shape.int8)),
      team_(num_threads),
      cache_(shape, tensors.keys, tensors.values),
      attention_(shape, cache_),
      residual_(shape.hidden),
      queries_(shape.heads * shape.head_dim),
      inputs_(std::max(shape.hidden, shape.heads * shape.head_dim)),
      gated_(shape.intermediate),
      units_(2 * std::max({shape.hidden, shape.heads * shape.head_dim, shape.intermediate})) {
  const Byte* at = tensors.weights;
  const auto take = [&](int outputs, int inputs) {
    const Matrix taken = matrix(at, outputs, inputs);
    at = taken.end();
    return taken;
  };
  const int attended = shape.heads * shape.head_dim;
  for (int layer = 0; layer < shape.layers; ++layer)
    layers_.push_back({take(attended + 2 * shape.kv_heads * shape.head_dim, shape.hidden), take(shape.hidden, attended),
                       take(2 * shape.intermediate, shape.hidden), take(shape.hidden, shape.intermediate)});
  logits_ = take(shape.vocab, shape.hidden);
}

Matrix Step::matrix(const Byte* panels, int outputs, int inputs) const {
  return {panels, inputs, outputs / kPanel, format_.panel_bytes(inputs)};
}

void Step::run(const Batch& batch, float* logits) {
  residual_.reserve(batch.num_tokens);
  queries_.reserve(batch.num_tokens);
  inputs_.reserve(batch.num_tokens);
  gated_.reserve(batch.num_tokens);
  units_.reserve(batch.num_tokens);
  attention_.plan(batch);
  team_.run([&](int rank) { run(batch, logits, rank); });
}

void Step::run(const Batch& batch, float* logits, int rank) {
  load(batch, rank);
  for (int layer = 0; layer < shape_.layers; ++layer) run_layer(batch, layer, rank);
  const Range rows = team_.share(batch.num_logits, rank);
  for (int row = rows.begin; row < rows.end; ++row) normalise(batch.logit_rows[row], norm(2 * shape_.layers), row);
  team_.barrier();
  multiply(logits_, layers_[0].qkv, inputs_, batch.num_logits, rank, [&](int row, int panel, const float* sums) {
    float* target = logits + static_cast<std::size_t>(row) * shape_.vocab + panel * kPanel;
    std::copy(sums, sums + kPanel, target);
  });
}

void Step::run_layer(const Batch& batch, int layer, int rank) {
  const Layer& matrices = layers_[layer];
  const Matrix& following = layer + 1 < shape_.layers ? layers_[layer + 1].qkv : logits_;
  const int num_tokens = batch.num_tokens;
  const auto add_row = [this](int row, int panel, const float* sums) { add(row, panel, sums); };

  normalise_rows(batch, norm(2 * layer), rank);
  multiply(matrices.qkv, matrices.output, inputs_, num_tokens, rank,
           [&](int token, int panel, const float* sums) { place(batch, layer, token, panel, sums); });
  team_.barrier();
  attend(batch, layer, rank);
  multiply(matrices.output, matrices.gate_up, inputs_, num_tokens, rank, add_row);
  team_.barrier();
  normalise_rows(batch, norm(2 * layer + 1), rank);
  multiply(matrices.gate_up, matrices.down, inputs_, num_tokens, rank,
           [this](int row, int panel, const float* sums) { gate(row, panel, sums); });
  team_.barrier();
  if (shape_.int8) {
    const Range rows = team_.share(num_tokens, rank);
    for (int row = rows.begin; row < rows.end; ++row)
      quantise(gated_[row], units_[row], shape_.intermediate, 0, shape_.intermediate);
    team_.barrier();
  }
  multiply(matrices.down, following, gated_, num_tokens, rank, add_row);
  team_.barrier();
}

// Calls finish(row, panel, sums) with 32 sums for every row and every panel of this rank's share.
template <class Finish>
void Step::multiply(const Matrix& matrix, const Matrix& next, const Rows<Bf16>& rows, int num_rows, int rank,
                    Finish finish) {
  const Byte* inputs = shape_.int8 ? units_[0] : reinterpret_cast<const Byte*>(rows[0]);
  const std::size_t row_bytes = shape_.int8 ? units_.row_bytes() : rows.row_bytes();
  const int num_blocks = (num_rows + format_.max_rows - 1) / format_.max_rows;
  const Range share = team_.share(matrix.num_panels, rank);
  alignas(kLine) Tile tile;
  for (int panel = share.begin; panel < share.end; ++panel) {
    const Byte* weights = matrix.panels + panel * matrix.panel_bytes;
    const Byte* fetch = panel + 1 < share.end ? weights + matrix.panel_bytes : first_panel(next, rank);
    for (int block = 0; block < num_blocks; ++block) {
      const int begin = num_rows * block / num_blocks, end = num_rows * (block + 1) / num_blocks;
      format_.kernels[end - begin - 1](tile, inputs + begin * row_bytes, row_bytes, matrix.inputs, weights,
                                       block + 1 < num_blocks ? nullptr : fetch);
      for (int row = begin; row < end; ++row) finish(row, panel, tile + (row - begin) * kPanel);
    }
  }
}

void Step::load(const Batch& batch, int rank) {
  const Range rows = team_.share(batch.num_tokens, rank);
  for (int row = rows.begin; row < rows.end; ++row)
    for (int at = 0; at < shape_.hidden; at += kLanes)
      _mm512_storeu_ps(residual_[row] + at, widen(batch.x + static_cast<std::size_t>(row) * shape_.hidden + at));
}

void Step::normalise_rows(const Batch& batch, const float* weights, int rank) {
  const Range rows = team_.share(batch.num_tokens, rank);
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
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(values + at), factor);
    store(inputs_[target] + at, _mm512_mul_ps(scaled, _mm512_loadu_ps(weights + at)));
  }
  if (shape_.int8) quantise(inputs_[target], units_[target], shape_.hidden, 0, shape_.hidden);
}

// Puts 32 channels of queries, keys or values where attention reads them. Panels of query and key heads hold both
// halves of 16 rotary pairs (native/packing.py), those of value heads 32 consecutive channels.
void Step::place(const Batch& batch, int layer, int token, int panel, const float* sums) {
  const int panels_per_head = shape_.head_dim / kPanel;
  const int head = panel / panels_per_head, part = panel % panels_per_head;
  const Lanes lanes(sums);
  if (head < shape_.heads + shape_.kv_heads) return place_rotated(layer, token, batch, head, part * kLanes, lanes);
  const int value_head = head - shape_.heads - shape_.kv_heads;
  cache_.put_value(layer, batch.slots[token], value_head, part * kPanel, lanes.low);
  cache_.put_value(layer, batch.slots[token], value_head, part * kPanel + kLanes, lanes.high);
}

// Rotates pairs (dim, dim + head_dim / 2) by the token's position (RoFormer, arXiv 2104.09864) and places them.
void Step::place_rotated(int layer, int token, const Batch& batch, int head, int dim, Lanes lanes) {
  const int half = shape_.head_dim / 2;
  const std::size_t angle = static_cast<std::size_t>(batch.positions[token]) * half + dim;
  const __m512 cosine = _mm512_loadu_ps(tensors_.cosines + angle), sine = _mm512_loadu_ps(tensors_.sines + angle);
  const __m512 low = _mm512_fnmadd_ps(lanes.high, sine, _mm512_mul_ps(lanes.low, cosine));
  const __m512 high = _mm512_fmadd_ps(lanes.low, sine, _mm512_mul_ps(lanes.high, cosine));
  if (head >= shape_.heads) {
    cache_.put_key(layer, batch.slots[token], head - shape_.heads, dim, low);
    cache_.put_key(layer, batch.slots[token], head - shape_.heads, dim + half, high);
    return;
  }
  const int group = shape_.queries_per_head();
  const std::size_t row = (static_cast<std::size_t>(head / group) * batch.num_tokens + token) * group + head % group;
  store(queries_[0] + row * shape_.head_dim + dim, low);
  store(queries_[0] + row * shape_.head_dim + dim + half, high);
}

void Step::attend(const Batch&, int layer, int rank) {
  const auto finish = [this](const Task& task, const Softmax& softmax) { finish_attention(task, softmax); };
  attention_.run(layer, queries_[0], finish);
  team_.barrier();
  if (!attention_.has_parts()) return;
  attention_.join(team_.share(attention_.num_joins(), rank), finish);
  team_.barrier();
}

// Writes what a task's rows read to the inputs of the output matrix.
void Step::finish_attention(const Task& task, const Softmax& softmax) {
  const int group = shape_.queries_per_head(), head_dim = shape_.head_dim;
  for (int row = 0; row < task.num_queries * group; ++row) {
    const int token = task.first_query + row / group, channel = (task.head * group + row % group) * head_dim;
    const __m512 inverse = _mm512_set1_ps(1.0f / softmax.total[row]);
    for (int dim = 0; dim < head_dim; dim += kLanes) {
      const __m512 sums = _mm512_loadu_ps(softmax.output + row * head_dim + dim);
      store(inputs_[token] + channel + dim, _mm512_mul_ps(sums, inverse));
    }
    if (shape_.int8)
      quantise(inputs_[token], units_[token], shape_.heads * head_dim, channel, channel + head_dim);
  }
}

void Step::add(int row, int panel, const float* sums) {
  float* target = residual_[row] + panel * kPanel;
  const Lanes lanes(sums);
  _mm512_storeu_ps(target, _mm512_add_ps(_mm512_loadu_ps(target), lanes.low));
  _mm512_storeu_ps(target + kLanes, _mm512_add_ps(_mm512_loadu_ps(target + kLanes), lanes.high));
}

// Panels of the MLP's first matrix hold 16 channels of the gate, then the same 16 of what it gates (SwiGLU, arXiv
// 2002.05202).
void Step::gate(int row, int panel, const float* sums) {
  const Lanes lanes(sums);
  store(gated_[row] + panel * kLanes, _mm512_mul_ps(silu(lanes.low), lanes.high));
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

// Null if all went well, else a sentence that says why nothing was computed. One call at a time.
const char* trichord_step_run(void* step, const trichord::Batch* batch, float* logits) {
  auto& runner = *static_cast<trichord::Step*>(step);
  if (const char* reason = trichord::refusal(runner.shape(), *batch)) return reason;
  try {
    runner.run(*batch, logits);
  } catch (const std::bad_alloc&) {
    return "there is not enough memory for a step of so many tokens";
  }
  return nullptr;
}

void trichord_step_destroy(void* step) { delete static_cast<trichord::Step*>(step); }

}  // extern "C"
