// Scratch memory of a step: a matrix that keeps its width and grows in rows.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace trichord {

template <class Element>
class Rows {
 public:
  // Rows start on cache lines, and an odd number of lines apart: were they a power of two apart, the rows that a kernel
  // reads together would compete for the same few places of the L1 cache.
  explicit Rows(std::size_t width) : lines_((width * sizeof(Element) + kLineBytes - 1) / kLineBytes | 1) {}

  // Makes room for so many rows; what they held is lost.
  void reserve(int num_rows) {
    if (num_rows <= capacity_) return;
    data_.reset(static_cast<Element*>(::operator new(num_rows * row_bytes(), kAlignment)));
    capacity_ = num_rows;
  }

  std::size_t row_bytes() const { return lines_ * kLineBytes; }
  Element* operator[](int row) const { return data_.get() + row * (row_bytes() / sizeof(Element)); }

 private:
  static constexpr std::size_t kLineBytes = 64;
  static constexpr std::align_val_t kAlignment{kLineBytes};

  struct Free {
    void operator()(Element* data) const { ::operator delete(data, kAlignment); }
  };

  std::size_t lines_;
  int capacity_ = 0;
  std::unique_ptr<Element, Free> data_;
};

}  // namespace trichord
