// Who of a team does which task of which phase, while hardly ever waiting for one who has stopped.
//
// Each rank has a seat: one word that says what it is at, and which tasks of its share of the phase are left. Others
// may change it, as a whole: they take tasks from the back of a share, open the next phase's for a rank that lags
// behind, and take over the task that a rank is at. So a task computes aside, asks whether it is still its rank's to
// `keep`, and only then writes (helping, as in wait-free algorithms: Herlihy, "Wait-free synchronization", TOPLAS 13(1),
// 1991). Who stops between the two is waited for: of small tasks writing is a few percent. A rank that was overtaken may
// read what others write meanwhile: what it makes of that is thrown away.
// Knows nothing of threads or of what tasks are.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace trichord {

// Half-open interval.
struct Range {
  int begin, end;
};

// Items that may be worked on in any order, all before those of the next phase. A task is `grain` of them, or more
// where they are very many.
struct Phase {
  static constexpr int kMaxTasks = (1 << 12) - 1;

  int num_items, grain;

  int task_size() const { return std::max(grain, (num_items + kMaxTasks - 1) / kMaxTasks); }
  int num_tasks() const { return (num_items + task_size() - 1) / task_size(); }
  int first_item(int task) const { return std::min(task * task_size(), num_items); }
};

// A task and whose turn it is.
struct Turn {
  int rank, phase;
  Range items;
  int next_item;  // where the rank goes on; -1: it has no more of its own in this phase
};

class Seats {
 public:
  explicit Seats(int size) : places_(size) {}

  int size() const { return static_cast<int>(places_.size()); }

  // A rank's part of `count` things, in order, as even as can be.
  Range share(int count, int rank) const {
    const auto bound = [&](int r) { return static_cast<int>(static_cast<long>(count) * r / size()); };
    return {bound(rank), bound(rank + 1)};
  }

  // Seats everybody at the first of at most kMaxPhases phases. Nobody may be at work.
  void open(std::span<const Phase> phases) {
    phases_ = phases;
    for (int rank = 0; rank < size(); ++rank) places_[rank].word = opened(0, rank);
  }

  // Whether the rank has come past the last phase: then all is done.
  bool is_past_last(int rank) const { return places_[rank].word.load().phase == phases_.size(); }

  // A task that the rank is to perform from now on; none if there is none, or another rank was faster. Who is impatient
  // also takes over what another is at.
  std::optional<Turn> take(int rank, bool is_impatient) {
    const Seat seat = places_[rank].word;
    if (seat.phase == phases_.size()) return {};
    if (seat.begin != seat.end) return take_own(rank, seat);
    if (auto turn = take_from_others(rank, seat.phase)) return turn;
    return is_impatient ? take_over(rank, seat.phase) : std::nullopt;
  }

  // Whether the task that the rank is at is still its own. From then on it is: the rank may write.
  bool keep(int rank) {
    for (Seat seat = places_[rank].word; seat.state == kBusy;) {
      Seat keeping = seat;
      keeping.state = kKeeping;
      if (places_[rank].word.compare_exchange_weak(seat, keeping)) return true;
    }
    return false;
  }

  // Notes that the task is done, if the rank kept it.
  void settle(int rank) {
    for (Seat seat = places_[rank].word; seat.state == kKeeping;) {
      Seat done = seat;
      done.state = kIdle, done.num_done = seat.num_done + 1;
      if (places_[rank].word.compare_exchange_weak(seat, done)) return;
    }
  }

  // Seats the rank at the next phase if all tasks of this one are done; false if they are not.
  bool advance(int rank) {
    Seat seat = places_[rank].word;
    if (seat.phase == phases_.size() || !is_over(seat.phase)) return false;
    places_[rank].word.compare_exchange_strong(seat, opened(seat.phase + 1, rank));  // else another has done so
    return true;
  }

  static constexpr int kMaxPhases = (1 << 14) - 1;  // eight times as many as a model of 256 layers has

 private:
  enum State : std::uint64_t { kIdle, kBusy, kKeeping };

  // Tasks `begin` to `end` of the phase are left of the share; `num_done` the rank has done, others' among them.
  struct Seat {
    std::uint64_t state : 2, phase : 14, begin : 12, end : 12, task : 12, num_done : 12;
  };

  struct alignas(64) Place {
    std::atomic<Seat> word{Seat{}};
  };

  // A rank's seat when it comes to a phase; past the last there is nothing to do.
  Seat opened(int phase, int rank) const {
    const Range tasks = share(phase < static_cast<int>(phases_.size()) ? phases_[phase].num_tasks() : 0, rank);
    Seat seat{};
    seat.phase = phase, seat.begin = tasks.begin, seat.end = tasks.end;
    return seat;
  }

  Turn turn(int rank, const Seat& seat) const {
    const Phase& phase = phases_[seat.phase];
    const int next = seat.begin < seat.end ? phase.first_item(seat.begin) : -1;
    return {rank, static_cast<int>(seat.phase), {phase.first_item(seat.task), phase.first_item(seat.task + 1)}, next};
  }

  std::optional<Turn> take_own(int rank, Seat seat) {
    Seat taken = seat;
    taken.state = kBusy, taken.task = seat.begin, taken.begin = seat.begin + 1;
    if (!places_[rank].word.compare_exchange_strong(seat, taken)) return {};
    return turn(rank, taken);
  }

  std::optional<Turn> take_from_others(int rank, int phase) {
    for (int other = 0; other < size(); ++other) {
      Seat seat = places_[other].word;
      // Who lags behind has not begun with its share.
      Seat left = static_cast<int>(seat.phase) < phase ? opened(phase, other) : seat;
      if (other == rank || static_cast<int>(left.phase) != phase || left.begin == left.end) continue;
      left.end = left.end - 1;
      if (places_[other].word.compare_exchange_strong(seat, left)) return seize(rank, left.end);
    }
    return {};
  }

  std::optional<Turn> take_over(int rank, int phase) {
    for (int other = 0; other < size(); ++other) {
      Seat seat = places_[other].word;
      if (other == rank || static_cast<int>(seat.phase) != phase || seat.state != kBusy) continue;
      Seat robbed = seat;
      robbed.state = kIdle;
      if (places_[other].word.compare_exchange_strong(seat, robbed)) return seize(rank, seat.task);
    }
    return {};
  }

  // Makes another's task the rank's. Nobody else changes its seat meanwhile: nothing is left of its own share, and the
  // phase cannot end without this task.
  Turn seize(int rank, int task) {
    Seat seat = places_[rank].word;
    seat.state = kBusy, seat.task = task;
    places_[rank].word = seat;
    return turn(rank, seat);
  }

  bool is_over(int phase) const {
    int num_done = 0;
    for (const Place& place : places_) {
      const Seat seat = place.word;
      if (static_cast<int>(seat.phase) > phase) return true;
      if (static_cast<int>(seat.phase) == phase) num_done += seat.num_done;
    }
    return num_done == phases_[phase].num_tasks();
  }

  std::vector<Place> places_;
  std::span<const Phase> phases_;
};

}  // namespace trichord
