// The matrix products of a step and nothing else, by the native step's own kernels, packing and threads: the time of a
// step whose norms, attention and sampling take none. Compiled and called by linear_layers.py.

#include <algorithm>
#include <vector>

#include "panels.h"
#include "rows.h"
#include "team.h"

namespace trichord {
namespace {

struct Matrix {
  const Byte* panels;
  int inputs, num_panels;
  std::size_t panel_bytes;
};

class LinearLayers {
 public:
  // `sizes` are the outputs and inputs of `count` matrices, which lie one after another in `weights`.
  LinearLayers(const Byte* weights, const std::int32_t* sizes, int count, bool int8, int threads)
      : format_(format(int8)), inputs_(2 * *std::max_element(sizes, sizes + 2 * count)), team_(threads) {
    for (int i = 0; i < count; ++i) {
      const int outputs = sizes[2 * i], inputs = sizes[2 * i + 1];
      matrices_.push_back({weights, inputs, outputs / kPanel, format_.panel_bytes(inputs)});
      weights += outputs / kPanel * format_.panel_bytes(inputs);
    }
  }

  // Multiplies rows of zeros, which take as long as others; each matrix overwrites the products [rows, outputs].
  // With `fetches`, every panel is asked for while the one before it is computed.
  void run(int num_rows, bool fetches, float* products) {
    inputs_.reserve(num_rows);
    std::fill_n(inputs_[0], num_rows * inputs_.row_bytes(), Byte{0});
    team_.run([&](int rank) {
      for (std::size_t i = 0; i < matrices_.size(); ++i) {
        multiply(i, num_rows, fetches, rank, products);
        team_.barrier();
      }
    });
  }

 private:
  void multiply(std::size_t index, int num_rows, bool fetches, int rank, float* products) {
    const Matrix& matrix = matrices_[index];
    const Matrix& next = matrices_[(index + 1) % matrices_.size()];
    const Byte* next_panel = next.panels + team_.share(next.num_panels, rank).begin * next.panel_bytes;
    const Range share = team_.share(matrix.num_panels, rank);
    const int num_blocks = (num_rows + kMaxRows - 1) / kMaxRows;
    alignas(kLine) Tile tile;
    for (int panel = share.begin; panel < share.end; ++panel) {
      const Byte* weights = matrix.panels + panel * matrix.panel_bytes;
      const Byte* following = fetches ? weights + matrix.panel_bytes : nullptr;
      const Fetch fetch{panel + 1 < share.end ? following : next_panel};
      for (int block = 0; block < num_blocks; ++block) {
        const int begin = num_rows * block / num_blocks, end = num_rows * (block + 1) / num_blocks;
        format_.kernels[end - begin - 1](tile, inputs_[begin], inputs_.row_bytes(), matrix.inputs, weights,
                                         block + 1 < num_blocks ? Fetch{} : fetch);
        for (int row = begin; row < end; ++row) {
          const std::size_t at = static_cast<std::size_t>(row) * matrix.num_panels + panel;
          std::copy_n(tile + (row - begin) * kPanel, kPanel, products + at * kPanel);
        }
      }
    }
  }

  const Format& format_;
  Rows<Byte> inputs_;
  Team team_;
  std::vector<Matrix> matrices_;
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
