// Milliseconds of each part of a frame over many frames, as quantiles: the first frames are warm-up and not counted.

/** picture: a Blob. Returns { part: { p50, p90 } } and `total`. */
export async function bench(model, picture, { frames = 50, warmup = 5 } = {}) {
  const samples = {};
  for (let frame = -warmup; frame < frames; frame++) {
    const { timing } = await model.run(picture);
    if (frame < 0) continue;
    timing.total = Object.values(timing).reduce((a, b) => a + b, 0);
    for (const [part, ms] of Object.entries(timing)) (samples[part] ??= []).push(ms);
  }
  return Object.fromEntries(Object.entries(samples).map(([part, all]) => [part, quantiles(all)]));
}

function quantiles(samples) {
  const ordered = [...samples].sort((a, b) => a - b);
  const at = (q) => ordered[Math.min(ordered.length - 1, Math.floor(q * ordered.length))];
  return { p50: at(0.5), p90: at(0.9), frames: ordered.length };
}
