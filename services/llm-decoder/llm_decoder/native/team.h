// A fixed team of threads that work on one thing together and meet at barriers.
//
// Not OpenMP: its pool is torch's, and what its idle threads do depends on the environment. These spin for some
// microseconds, which is what a barrier inside a step takes, and then sleep, so that they never starve other processes.
// Knows nothing of models.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace trichord {

// Half-open interval of a rank's part of the work.
struct Range {
  int begin, end;
};

class Team {
 public:
  explicit Team(int size) : size_(size) {
    for (int rank = 1; rank < size; ++rank) workers_.emplace_back([this, rank] { serve(rank); });
  }

  ~Team() {
    job_ = nullptr;
    barrier();
    for (std::thread& worker : workers_) worker.join();
  }

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Runs job(rank) on every rank, the caller being rank 0, and returns when all are done.
  void run(std::function<void(int)> job) {
    job_ = std::move(job);
    barrier();
    job_(0);
    barrier();
  }

  // Waits until every rank is here; what any of them wrote before is seen by all after.
  void barrier() {
    const unsigned meeting = meeting_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
      arrived_.store(0, std::memory_order_relaxed);
      meeting_.store(meeting + 1, std::memory_order_release);
      meeting_.notify_all();
      return;
    }
    for (int spin = 0; spin < kSpins; ++spin) {
      if (meeting_.load(std::memory_order_acquire) != meeting) return;
      _mm_pause();
    }
    meeting_.wait(meeting, std::memory_order_acquire);
  }

  // This rank's part of `count` items, in order, as even as can be.
  Range share(int count, int rank) const {
    const auto bound = [&](int r) { return static_cast<int>(static_cast<long>(count) * r / size_); };
    return {bound(rank), bound(rank + 1)};
  }

 private:
  static constexpr int kSpins = 2000;  // x some 40 cycles: about 20 us

  void serve(int rank) {
    for (;;) {
      barrier();
      if (!job_) return;
      job_(rank);
      barrier();
    }
  }

  const int size_;
  std::function<void(int)> job_;
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> meeting_{0};
  std::vector<std::thread> workers_;
};

}  // namespace trichord
