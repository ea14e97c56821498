// Keeps the end in sight while an answer grows, until the reader scrolls away from it.

const NEAR_PX = 80;

export function followEnd(scroller, content) {
  let isFollowing = true;
  let lastTop = 0;
  scroller.addEventListener("scroll", () => {
    const isNear = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
    // What grows never scrolls upwards: only a reader does.
    isFollowing = isNear || (isFollowing && scroller.scrollTop >= lastTop);
    lastTop = scroller.scrollTop;
  }, { passive: true });
  new ResizeObserver(() => {
    if (isFollowing) scroller.scrollTop = scroller.scrollHeight;
  }).observe(content);
}
