// A fixed team of threads that go through phases of work together, and go on when one of them has lost its core.
//
// Not OpenMP: its barriers wait for every thread, and beside other busy processes that is much of a step. Between calls
// threads spin for some microseconds and then sleep. Knows threads and time; who does what is in seats.h.
#pragma once

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "seats.h"

namespace trichord {

// Waiting that lets others have the core now and then, the rank that is waited for may be queued for this very one, but
// not at once: beside a busy process every offer costs milliseconds, and waits are mostly shorter than that.
class Wait {
 public:
  void once() {
    if (++count_ % kPauses) {
      _mm_pause();
    } else {
      sched_yield();
    }
  }

  int count() const { return count_; }

 private:
  static constexpr int kPauses = 2048;  // some tens of microseconds
  int count_ = 0;
};

// How long to let others go on with their tasks: as long as two of one's own took, and at least some ten microseconds.
class Patience {
 public:
  void begin() { since_ = __rdtsc(); }
  void end() {
    const std::uint64_t now = __rdtsc();
    cycles_ = std::max(kLeastCycles, 2 * (now - since_));
    since_ = now;
  }

  bool is_over() const { return __rdtsc() - since_ > cycles_; }

 private:
  static constexpr std::uint64_t kLeastCycles = 30'000;
  std::uint64_t since_ = __rdtsc(), cycles_ = kLeastCycles;
};

class Team {
 public:
  using Job = std::function<void(const Turn&)>;

  // Throws std::system_error if the system has no thread left.
  explicit Team(int size) : seats_(size) {
    try {
      for (int rank = 1; rank < size; ++rank) workers_.emplace_back([this, rank] { serve(rank); });
    } catch (...) {
      dismiss();
      throw;
    }
  }

  ~Team() { dismiss(); }

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Goes through the phases, the caller being rank 0; returns when all is done and no rank is at work. The job calls
  // keep() once in every turn.
  void run(std::span<const Phase> phases, const Job& job) {
    seats_.open(phases);
    job_ = &job;
    door_ = kOpen;
    call();
    work(0);
    door_ &= ~kOpen;
    for (Wait wait; door_;) wait.once();
  }

  // See Seats.
  bool keep(int rank) { return seats_.keep(rank); }
  Range share(int count, int rank) const { return seats_.share(count, rank); }
  int size() const { return seats_.size(); }

  // The items of a phase that are a rank's own to begin with.
  Range items(const Phase& phase, int rank) const {
    const Range tasks = share(phase.num_tasks(), rank);
    return {phase.first_item(tasks.begin), phase.first_item(tasks.end)};
  }

 private:
  static constexpr unsigned kOpen = 1u << 31;
  static constexpr int kSpins = 2000;  // some tens of microseconds

  // Takes part until all phases are over.
  void work(int rank) {
    Wait wait;
    for (Patience patience; !seats_.is_past_last(rank);) {
      if (const auto turn = seats_.take(rank, patience.is_over())) {
        patience.begin();
        (*job_)(*turn);
        seats_.settle(rank);
        patience.end();
      } else if (!seats_.advance(rank)) {
        wait.once();
      }
    }
  }

  void serve(int rank) {
    for (unsigned last = 0;;) {
      last = next_call(last);
      if (is_dismissed_) return;
      if (enter()) {
        work(rank);
        --door_;
      }
    }
  }

  void call() {
    ++calls_;
    calls_.notify_all();
  }

  unsigned next_call(unsigned last) const {
    for (Wait wait; wait.count() < kSpins && calls_ == last;) wait.once();
    calls_.wait(last);
    return calls_;
  }

  // Whether the rank still came in time to take part.
  bool enter() {
    for (unsigned door = door_; door & kOpen;)
      if (door_.compare_exchange_weak(door, door + 1)) return true;
    return false;
  }

  void dismiss() {
    is_dismissed_ = true;
    call();
    for (std::thread& worker : workers_) worker.join();
  }

  Seats seats_;
  const Job* job_ = nullptr;
  std::atomic<unsigned> door_{0};  // kOpen while there is work, and how many workers are inside
  std::atomic<unsigned> calls_{0};
  std::atomic<bool> is_dismissed_{false};
  std::vector<std::thread> workers_;
};

}  // namespace trichord
