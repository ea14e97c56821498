// A matrix of panels times rows of activations, as tasks of a team.
#pragma once

#include "panels.h"
#include "team.h"

namespace trichord {

struct Matrix {
  const Byte* panels;
  int inputs, num_panels;
  std::size_t panel_bytes;

  const Byte* panel(int index) const { return panels + index * panel_bytes; }
  int num_groups() const { return inputs / kGroup; }
};

// What a matrix is multiplied with.
struct Inputs {
  const Byte* rows;
  std::size_t row_bytes;
  int num_rows;
};

// The two vectors of a row of a tile.
struct Sums {
  explicit Sums(const float* tile) : low(_mm512_loadu_ps(tile)), high(_mm512_loadu_ps(tile + kLanes)) {}

  __m512 low, high;
};

// Panels that a task takes; one, because what is taken over is computed again.
constexpr int kPanelsPerTask = 1;
// Rows of panels that a task computes aside.
constexpr int kAsideRows = 64;

inline Phase phase_of(const Matrix& matrix) { return {matrix.num_panels, kPanelsPerTask}; }

// Calls finish(row, panel, sums) for every row and every panel of the turn. A panel goes over the rows block by block:
// the last block asks for the panel after it, of this matrix if `fetches`, of the next one in any case; those before it
// for what `ahead()` says.
//
// Of many rows each block is finished at once, so that it is this rank's from the start: nobody waits for long, since
// such phases have many tasks.
template <class Ahead, class Finish>
void multiply(Team& team, const Format& format, const Turn& turn, const Matrix& matrix, const Matrix& next_matrix,
              const Inputs& inputs, bool fetches, Ahead ahead, Finish finish) {
  const int num_rows = inputs.num_rows, num_blocks = (num_rows + kMaxRows - 1) / kMaxRows;
  const bool is_aside = (turn.items.end - turn.items.begin) * num_rows <= kAsideRows;
  if (!is_aside && !team.keep(turn.rank)) return;
  alignas(kLine) float aside[kAsideRows * kPanel];
  const auto following = [&](int panel) {
    const int index = panel + 1 < turn.items.end ? panel + 1 : turn.next_item;
    if (index < 0) return next_matrix.panel(team.items(phase_of(next_matrix), turn.rank).begin);
    return fetches ? matrix.panel(index) : nullptr;
  };
  const auto finish_rows = [&](const float* tile, int panel, int begin, int end) {
    for (int row = begin; row < end; ++row) finish(row, panel, Sums(tile + (row - begin) * kPanel));
  };
  float* tile = aside;
  for (int panel = turn.items.begin; panel < turn.items.end; ++panel)
    for (int block = 0; block < num_blocks; ++block) {
      const int begin = num_rows * block / num_blocks, end = num_rows * (block + 1) / num_blocks;
      const Fetch fetch = block + 1 < num_blocks ? ahead() : Fetch{following(panel)};
      format.kernels[end - begin - 1](tile, inputs.rows + begin * inputs.row_bytes, inputs.row_bytes, matrix.inputs,
                                      matrix.panel(panel), fetch);
      if (is_aside) {
        tile += (end - begin) * kPanel;
      } else {
        finish_rows(tile, panel, begin, end);
      }
    }
  if (!is_aside || !team.keep(turn.rank)) return;
  tile = aside;
  for (int panel = turn.items.begin; panel < turn.items.end; ++panel, tile += num_rows * kPanel)
    finish_rows(tile, panel, 0, num_rows);
}

}  // namespace trichord
