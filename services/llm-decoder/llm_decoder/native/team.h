// A fixed team of threads that work on one thing together and meet at barriers.
//
// Not OpenMP: its pool is torch's, and what its idle threads do depends on the environment. These spin for some
// microseconds, which is what a barrier inside a step takes, and then sleep, so that they never starve other processes.
// Knows nothing of models.
#pragma once

#include <immintrin.h>
#include <sched.h>

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
  // Throws std::system_error if the system has no thread left.
  explicit Team(int size) : size_(size) {
    try {
      for (int rank = 1; rank < size; ++rank) workers_.emplace_back([this, rank] { serve(rank); });
    } catch (...) {
      size_ = static_cast<int>(workers_.size()) + 1;
      dismiss();
      throw;
    }
  }

  ~Team() { dismiss(); }

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

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
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_.load(std::memory_order_relaxed)) {
      arrived_.store(0, std::memory_order_relaxed);
      meeting_.store(meeting + 1, std::memory_order_release);
      meeting_.notify_all();
      return;
    }
    for (int spin = 1; spin < kSpins; ++spin) {
      if (meeting_.load(std::memory_order_acquire) != meeting) return;
      if (spin % kPauses) {
        _mm_pause();
      } else {
        sched_yield();
      }
    }
    meeting_.wait(meeting, std::memory_order_acquire);
  }

  int size() const { return size_.load(std::memory_order_relaxed); }

  // This rank's part of `count` items, in order, as even as can be.
  Range share(int count, int rank) const {
    const auto bound = [&](int r) { return static_cast<int>(static_cast<long>(count) * r / size()); };
    return {bound(rank), bound(rank + 1)};
  }

 private:
  static constexpr int kSpins = 2000;  // some tens of microseconds
  // Between two offers of the core to others: the rank that is waited for may be queued for this very core, and a busy
  // machine makes every step ten times as slow then.
  static constexpr int kPauses = 32;

  void serve(int rank) {
    for (;;) {
      barrier();
      if (!job_) return;
      job_(rank);
      barrier();
    }
  }

  void dismiss() {
    job_ = nullptr;
    barrier();
    for (std::thread& worker : workers_) worker.join();
  }

  std::atomic<int> size_;
  std::function<void(int)> job_;
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> meeting_{0};
  std::vector<std::thread> workers_;
};

}  // namespace trichord
