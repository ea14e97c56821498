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
#include "likeliest.h"
#include "panels.h"
#include "product.h"
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

struct Layer {
  Matrix qkv, output, gate_up, down;
};

class Step {
 public:
  Step(const Shape& shape, const Tensors& tensors, int num_threads);

  // Computes a batch that was checked; logits are float32 [num_logits, padded_vocab], likeliest [num_logits].
  void run(const Batch& batch, float* logits, std::int32_t* likeliest);

  const Shape& shape() const { return shape_; }

 private:
  void reserve(const Batch& batch);
  void plan();
  void add_phase(const Phase& phase, void (Step::*job)(int, const Turn&), int layer = 0);
  Phase rows_phase(int num_rows) const;

  // What is done in a turn of each phase, in this order.
  void load(int layer, const Turn& turn);
  void normalise_for_attention(int layer, const Turn& turn);
  void multiply_qkv(int layer, const Turn& turn);
  void attend(int layer, const Turn& turn);
  void multiply_output(int layer, const Turn& turn);
  void normalise_for_mlp(int layer, const Turn& turn);
  void multiply_gate_up(int layer, const Turn& turn);
  void quantise_gated(int layer, const Turn& turn);
  void multiply_down(int layer, const Turn& turn);
  void normalise_last(int layer, const Turn& turn);
  void multiply_vocabulary(int layer, const Turn& turn);
  void find_likeliest(int layer, const Turn& turn);

  void normalise(int row, const float* weights, int target);
  void place(int layer, int token, int panel, const Sums& sums);
  void rotate(int token, int dim, Sums& sums) const;
  void read_out(const Task& task, const Softmax& softmax);
  void gate(int row, int panel, const Sums& sums);
  void add(int row, int panel, const Sums& sums);

  template <class Finish>
  void each_row(const Turn& turn, Finish finish);

  template <class Finish>
  void multiply(const Turn& turn, const Matrix& matrix, const Matrix& next, const Rows<Bf16>& rows, int layer_ahead,
                Finish finish);

  // What a phase is: which of the step's functions, and of which layer.
  struct Part {
    void (Step::*job)(int, const Turn&);
    int layer;
  };

  const Matrix& after(int layer) const { return layer + 1 < shape_.layers ? layers_[layer + 1].qkv : vocabulary_; }

  float* logits(int row) const { return logits_ + static_cast<std::size_t>(row) * shape_.padded_vocab; }

  const float* norm(int index) const { return tensors_.norms + static_cast<std::size_t>(index) * shape_.hidden; }

  const Shape shape_;
  const Tensors tensors_;
  const Format& format_;
  Cache cache_;
  Attention attention_;
  std::vector<Layer> layers_;
  Matrix vocabulary_;
  const Batch* batch_ = nullptr;
  float* logits_ = nullptr;
  std::int32_t* token_ids_ = nullptr;
  Rows<float> residual_;
  Rows<Bf16> queries_;  // without gaps, in the order of Attention
  Rows<Bf16> inputs_;   // normalised rows, or what attention read
  Rows<Bf16> gated_;
  Rows<Byte> units_;  // either of these as int8
  Likeliest likeliest_;
  std::vector<Phase> phases_;
  std::vector<Part> parts_;  // of each phase
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
      likeliest_(shape.vocab),
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
  vocabulary_ = take(shape.padded_vocab, shape.hidden);
}

void Step::run(const Batch& batch, float* logits, std::int32_t* likeliest) {
  batch_ = &batch;
  logits_ = logits;
  token_ids_ = likeliest;
  reserve(batch);
  attention_.plan(batch);
  ahead_.plan(batch);
  plan();
  team_.run(phases_, [this](const Turn& turn) {
    const Part& part = parts_[turn.phase];
    (this->*part.job)(part.layer, turn);
  });
}

void Step::reserve(const Batch& batch) {
  residual_.reserve(batch.num_tokens);
  queries_.reserve(batch.num_tokens);
  inputs_.reserve(batch.num_tokens);
  gated_.reserve(batch.num_tokens);
  units_.reserve(batch.num_tokens);
  likeliest_.reserve(batch.num_logits);
}

void Step::plan() {
  phases_.clear();
  parts_.clear();
  const Phase rows = rows_phase(batch_->num_tokens);
  add_phase(rows, &Step::load);
  for (int layer = 0; layer < shape_.layers; ++layer) {
    add_phase(rows, &Step::normalise_for_attention, layer);
    add_phase(phase_of(layers_[layer].qkv), &Step::multiply_qkv, layer);
    add_phase({attention_.num_tasks(), 1}, &Step::attend, layer);
    add_phase(phase_of(layers_[layer].output), &Step::multiply_output, layer);
    add_phase(rows, &Step::normalise_for_mlp, layer);
    add_phase(phase_of(layers_[layer].gate_up), &Step::multiply_gate_up, layer);
    if (shape_.int8) add_phase(rows, &Step::quantise_gated, layer);
    add_phase(phase_of(layers_[layer].down), &Step::multiply_down, layer);
  }
  if (!batch_->num_logits) return;
  add_phase(rows_phase(batch_->num_logits), &Step::normalise_last);
  add_phase(phase_of(vocabulary_), &Step::multiply_vocabulary);
  add_phase(rows_phase(batch_->num_logits), &Step::find_likeliest);
}

void Step::add_phase(const Phase& phase, void (Step::*job)(int, const Turn&), int layer) {
  phases_.push_back(phase);
  parts_.push_back({job, layer});
}

// Rows take so little time that a rank's share of them is one task.
Phase Step::rows_phase(int num_rows) const { return {num_rows, (num_rows + team_.size() - 1) / team_.size()}; }

// Calls finish(row) for every row of the turn.
template <class Finish>
void Step::each_row(const Turn& turn, Finish finish) {
  if (!team_.keep(turn.rank)) return;
  for (int row = turn.items.begin; row < turn.items.end; ++row) finish(row);
}

void Step::load(int, const Turn& turn) {
  each_row(turn, [this](int row) {
    for (int at = 0; at < shape_.hidden; at += kLanes)
      _mm512_storeu_ps(residual_[row] + at, widen(batch_->x + static_cast<std::size_t>(row) * shape_.hidden + at));
  });
}

void Step::normalise_for_attention(int layer, const Turn& turn) {
  each_row(turn, [=, this](int row) { normalise(row, norm(2 * layer), row); });
}

void Step::multiply_qkv(int layer, const Turn& turn) {
  multiply(turn, layers_[layer].qkv, layers_[layer].output, inputs_, layer,
           [=, this](int row, int panel, const Sums& sums) { place(layer, row, panel, sums); });
}

void Step::attend(int layer, const Turn& turn) {
  const bool is_aside = turn.items.end - turn.items.begin == 1;
  if (!is_aside && !team_.keep(turn.rank)) return;
  for (int index = turn.items.begin; index < turn.items.end; ++index) {
    const Task& task = attention_.task(index);
    Softmax softmax;
    attention_.attend(layer, task, queries_[0], softmax);
    if (!is_aside || team_.keep(turn.rank)) read_out(task, softmax);
  }
}

void Step::multiply_output(int layer, const Turn& turn) {
  multiply(turn, layers_[layer].output, layers_[layer].gate_up, inputs_, layer + 1,
           [this](int row, int panel, const Sums& sums) { add(row, panel, sums); });
}

void Step::normalise_for_mlp(int layer, const Turn& turn) {
  each_row(turn, [=, this](int row) { normalise(row, norm(2 * layer + 1), row); });
}

void Step::multiply_gate_up(int layer, const Turn& turn) {
  multiply(turn, layers_[layer].gate_up, layers_[layer].down, inputs_, layer + 1,
           [this](int row, int panel, const Sums& sums) { gate(row, panel, sums); });
}

void Step::quantise_gated(int, const Turn& turn) {
  each_row(turn, [this](int row) { quantise(gated_[row], units_[row], shape_.intermediate, 0, shape_.intermediate); });
}

void Step::multiply_down(int layer, const Turn& turn) {
  multiply(turn, layers_[layer].down, after(layer), gated_, layer + 1,
           [this](int row, int panel, const Sums& sums) { add(row, panel, sums); });
}

void Step::normalise_last(int, const Turn& turn) {
  each_row(turn, [this](int row) { normalise(batch_->logit_rows[row], norm(2 * shape_.layers), row); });
}

void Step::multiply_vocabulary(int, const Turn& turn) {
  multiply(turn, vocabulary_, layers_[0].qkv, inputs_, shape_.layers, [this](int row, int panel, const Sums& sums) {
    _mm512_storeu_ps(logits(row) + panel * kPanel, sums.low);
    _mm512_storeu_ps(logits(row) + panel * kPanel + kLanes, sums.high);
    likeliest_.note(row, panel, sums);
  });
}

void Step::find_likeliest(int, const Turn& turn) {
  each_row(turn, [this](int row) { token_ids_[row] = likeliest_.find(row, logits(row)); });
}

// Calls finish(row, panel, sums) for every row and panel of the turn; what comes next is asked for meanwhile.
template <class Finish>
void Step::multiply(const Turn& turn, const Matrix& matrix, const Matrix& next, const Rows<Bf16>& rows, int layer_ahead,
                    Finish finish) {
  const bool is_last = &matrix == &vocabulary_;
  const int num_rows = is_last ? batch_->num_logits : batch_->num_tokens;
  const Inputs inputs = shape_.int8 ? Inputs{units_[0], units_.row_bytes(), num_rows}
                                    : Inputs{reinterpret_cast<const Byte*>(rows[0]), rows.row_bytes(), num_rows};
  const auto ahead = [&] { return ahead_.take(layer_ahead, matrix.num_groups(), turn.rank); };
  trichord::multiply(team_, format_, turn, matrix, next, inputs, num_rows > kStreamedRows, ahead, finish);
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
const char* trichord_step_run(void* step, const trichord::Batch* batch, float* logits, std::int32_t* likeliest) {
  auto& runner = *static_cast<trichord::Step*>(step);
  if (const char* reason = trichord::refusal(runner.shape(), *batch)) return reason;
  try {
    runner.run(*batch, logits, likeliest);
  } catch (const std::bad_alloc&) {
    return "there is not enough memory for so many tokens";
  }
  return nullptr;
}

void trichord_step_destroy(void* step) { delete static_cast<trichord::Step*>(step); }

}  // extern "C"
