// Phases of tasks that are idle, slow and late at random, and a record of what was done: for test_team.py.

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "team.h"

namespace {

using trichord::Phase;
using trichord::Team;
using trichord::Turn;

// What happened to the items of one phase.
struct Record {
  explicit Record(int num_items) : times_done(num_items) {}

  std::vector<std::atomic<int>> times_done;
  std::atomic<int> num_done{0};
};

class Check {
 public:
  Check(int size, int max_items, unsigned seed) : team_(size), max_items_(max_items), random_(seed) {}

  // Goes through so many random phases; the number of items that were not done exactly once, or before their phase.
  int run(int num_phases, int lateness) {
    std::vector<Phase> phases;
    std::vector<std::unique_ptr<Record>> records;
    for (int index = 0; index < num_phases; ++index) {
      const int num_items = static_cast<int>(random_() % (max_items_ + 1));
      phases.push_back({num_items, 1 + static_cast<int>(random_() % 3)});
      records.push_back(std::make_unique<Record>(num_items));
    }
    std::atomic<int> num_wrong{0};
    team_.run(phases, [&](const Turn& turn) {
      if (turn.phase && records[turn.phase - 1]->num_done != phases[turn.phase - 1].num_items) ++num_wrong;
      dawdle(turn, lateness);
      if (!team_.keep(turn.rank)) return void(++num_lost_);
      dawdle(turn, lateness);
      for (int item = turn.items.begin; item < turn.items.end; ++item) {
        ++records[turn.phase]->times_done[item];
        ++records[turn.phase]->num_done;
      }
    });
    for (const auto& record : records)
      for (const std::atomic<int>& times : record->times_done) num_wrong += times != 1;
    return num_wrong;
  }

  int num_lost() const { return num_lost_; }

  // Whether all items of all phases were done while one rank stood still in the middle of a task, or -1 if no rank but
  // the caller's came to take part.
  int run_without_one(int num_phases) {
    const std::vector<Phase> phases(num_phases, Phase{max_items_, 1});
    std::atomic<int> num_done{0}, went_on{-1};
    std::atomic<bool> stands{false};
    team_.run(phases, [&](const Turn& turn) {
      if (turn.rank && !stands.exchange(true)) went_on = comes_to(num_phases * max_items_, num_done);
      if (team_.keep(turn.rank)) ++num_done;
    });
    return went_on;
  }

 private:
  static bool comes_to(int count, const std::atomic<int>& num_done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (num_done != count && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return num_done == count;
  }

  // Of some tasks, for some tens or hundreds of microseconds, as if another process had the core.
  void dawdle(const Turn& turn, int lateness) const {
    thread_local std::minstd_rand random(turn.rank + 1);
    if (lateness && random() % lateness == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 100));
  }

  Team team_;
  int max_items_;
  std::minstd_rand random_;
  std::atomic<int> num_lost_{0};
};

}  // namespace

extern "C" {

void* team_check_create(int size, int max_items, unsigned seed) { return new Check(size, max_items, seed); }
int team_check_run(void* check, int num_phases, int lateness) {
  return static_cast<Check*>(check)->run(num_phases, lateness);
}
int team_check_run_without_one(void* check, int num_phases) {
  return static_cast<Check*>(check)->run_without_one(num_phases);
}
int team_check_num_lost(void* check) { return static_cast<Check*>(check)->num_lost(); }
void team_check_destroy(void* check) { delete static_cast<Check*>(check); }

}  // extern "C"
