// Milliseconds to pixels. What comes before the first token is what one looks at: where a long answer would squeeze it,
// it keeps a share of the width of its own, and the clock changes its pace at the first token. Pure.

const LEAST_SHARE = 0.66;

export class Scale {
  constructor({ firstTokenMs, totalMs }, left, right) {
    this.left = left;
    this.right = right;
    this.bendMs = firstTokenMs > 0 && firstTokenMs < totalMs ? firstTokenMs : totalMs;
    this.totalMs = totalMs;
    this.isBent = this.bendMs / totalMs < LEAST_SHARE;
    this.bend = left + (right - left) * Math.max(this.bendMs / totalMs, LEAST_SHARE);
  }

  at(ms) {
    if (ms <= this.bendMs) return this.left + (ms / this.bendMs) * (this.bend - this.left);
    return this.bend + ((ms - this.bendMs) / (this.totalMs - this.bendMs)) * (this.right - this.bend);
  }

  // Round times before the bend, at least `apart` pixels from each other and from the bend.
  ticks(apart) {
    const least = (this.bendMs * apart) / (this.bend - this.left);
    const power = 10 ** Math.floor(Math.log10(least));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= least);
    const count = Math.floor((this.bendMs - least) / step) + 1;
    return Array.from({ length: Math.max(1, count) }, (_, index) => index * step);
  }
}
