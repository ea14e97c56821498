// The matrix products of a step and nothing else, by the native step's own kernels, packing and threads: the time of a
// step whose norms, attention and sampling take none. Compiled and called by linear_layers.py.

#include <algorithm>
#include <vector>

#include "panels.h"
#include "product.h"
#include "rows.h"
#include "team.h"

namespace trichord {
namespace {

class LinearLayers {
 public:
  // `sizes` are the outputs and inputs of `count` matrices, which lie one after another in `weights`.
  LinearLayers(const Byte* weights, const std::int32_t* sizes, int count, bool int8, int threads)
      : format_(format(int8)), inputs_(2 * *std::max_element(sizes, sizes + 2 * count)), team_(threads) {
    for (int i = 0; i < count; ++i) {
      const int outputs = sizes[2 * i], inputs = sizes[2 * i + 1];
      matrices_.push_back({weights, inputs, outputs / kPanel, format_.panel_bytes(inputs)});
      phases_.push_back(phase_of(matrices_.back()));
      weights += outputs / kPanel * format_.panel_bytes(inputs);
    }
  }

  // Multiplies rows of zeros, which take as long as others; each matrix overwrites the products [rows, outputs].
  // With `fetches`, every panel is asked for while the one before it is computed.
  void run(int num_rows, bool fetches, float* products) {
    inputs_.reserve(num_rows);
    std::fill_n(inputs_[0], num_rows * inputs_.row_bytes(), Byte{0});
    team_.run(phases_, [&](const Turn& turn) { multiply(turn, num_rows, fetches, products); });
  }

 private:
  void multiply(const Turn& turn, int num_rows, bool fetches, float* products) {
    const Matrix& matrix = matrices_[turn.phase];
    const Matrix& next = matrices_[(turn.phase + 1) % matrices_.size()];
    const auto finish = [&](int row, int panel, const Sums& sums) {
      float* target = products + (static_cast<std::size_t>(row) * matrix.num_panels + panel) * kPanel;
      _mm512_storeu_ps(target, sums.low);
      _mm512_storeu_ps(target + kLanes, sums.high);
    };
    const Inputs inputs{inputs_[0], inputs_.row_bytes(), num_rows};
    trichord::multiply(team_, format_, turn, matrix, next, inputs, fetches, [] { return Fetch{}; }, finish);
  }

  const Format& format_;
  Rows<Byte> inputs_;
  Team team_;
  std::vector<Matrix> matrices_;
  std::vector<Phase> phases_;
};

}  // namespace
}  // namespace trichord

extern "C" {

void* linear_layers_create(const std::uint8_t* weights, const std::int32_t* sizes, int count, int int8, int threads) {
  return new trichord::LinearLayers(weights, sizes, count, int8, threads);
}

void linear_layers_run(void* layers, int num_rows, int fetches, float* products) {
  static_cast<trichord::LinearLayers*>(layers)->run(num_rows, fetches, products);
}

}  // extern "C"
