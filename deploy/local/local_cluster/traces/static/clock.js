// A stretch of a trace's time on a lane's width, in per cent. Pure.

const LEAST_TICKS = 3;

export class Clock {
  constructor(fromMs, toMs) {
    this.fromMs = fromMs;
    this.toMs = Math.max(toMs, fromMs + 1e-6);
  }

  at(ms) {
    return (100 * (ms - this.fromMs)) / (this.toMs - this.fromMs);
  }

  shows(ms) {
    return this.fromMs <= ms && ms <= this.toMs;
  }

  // What is seen of a span: where it begins and how wide it is, and whether it goes on beyond an edge; null if nothing is.
  seen(startMs, durationMs) {
    const endMs = startMs + durationMs;
    if (endMs < this.fromMs || startMs > this.toMs) return null;
    const [left, right] = [this.at(Math.max(startMs, this.fromMs)), this.at(Math.min(endMs, this.toMs))];
    return { left, width: right - left, isCutLeft: startMs < this.fromMs, isCutRight: endMs > this.toMs };
  }

  // Round times, as many as have room: three at least, one each `share` per cent at most.
  ticks(share) {
    const least = ((this.toMs - this.fromMs) * Math.min(share, 100 / LEAST_TICKS)) / 100;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= least * 0.999);
    const first = Math.ceil(this.fromMs / step - 1e-9);
    const count = Math.floor(this.toMs / step + 1e-9) - first + 1;
    return Array.from({ length: Math.min(count, 100) }, (_, index) => (first + index) * step);
  }
}
